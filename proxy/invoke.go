package proxy

import (
	"net/http"
	"strings"

	"github.com/conclave-llm/conclave/llm"
)

// invokeRoute serves Bedrock's InvokeModel: at Bedrock in the words of the model's maker, elsewhere in those of
// Anthropic's messages.
func invokeRoute() (*Route, error) {
	return inference(llm.Invoke, "/model/{model}/invoke", "/bedrock/model/{model}/invoke")
}

// invokeStreamRoute serves the same as a stream.
func invokeStreamRoute() (*Route, error) {
	r, err := inference(llm.Invoke, "/model/{model}/invoke-with-response-stream", "/bedrock/model/{model}/invoke-with-response-stream")
	if err != nil {
		return nil, err
	}
	r.stream = true
	return r, nil
}

// invokes serves a pattern of InvokeModel. Below the provider's name it is in the provider's own words where the
// model is none of the gateway's.
func (s *Server) invokes(r *Route, pattern string) http.Handler {
	own := s.handler(r)
	words := s.wordsOf(pattern)
	if words == nil {
		return own
	}
	relayed := s.handler(words)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if _, ok := s.cfg.Catalog().Resolve(req.PathValue("model")); !ok {
			relayed.ServeHTTP(w, req)
			return
		}
		own.ServeHTTP(w, req)
	})
}

// wordsOf is the route in a provider's own words below whose name a path is; nil: it is below none.
func (s *Server) wordsOf(path string) *Route {
	for _, r := range s.routes {
		if r.prefix != nil && r.prefix.Below == nil && strings.HasPrefix(path, r.prefix.Path+"/") {
			return r
		}
	}
	return nil
}
