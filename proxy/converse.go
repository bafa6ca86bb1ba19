package proxy

import "github.com/conclave-llm/conclave/llm"

// converseRoute serves Bedrock's converse.
func converseRoute() (*Route, error) {
	return inference(llm.Converse, "/model/{model}/converse", "/bedrock/model/{model}/converse")
}

// converseStreamRoute serves the same as a stream.
func converseStreamRoute() (*Route, error) {
	r, err := inference(llm.Converse, "/model/{model}/converse-stream", "/bedrock/model/{model}/converse-stream")
	if err != nil {
		return nil, err
	}
	r.stream = true
	return r, nil
}
