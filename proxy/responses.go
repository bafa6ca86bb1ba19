package proxy

import "github.com/conclave-llm/conclave/llm"

// responsesRoute serves OpenAI's responses.
func responsesRoute() (*Route, error) { return openAI(llm.Responses, "/responses") }
