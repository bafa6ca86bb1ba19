package proxy

import "github.com/conclave-llm/conclave/llm"

// completionsRoute serves the older text completions.
func completionsRoute() (*Route, error) { return openAI(llm.Completions, "/completions") }
