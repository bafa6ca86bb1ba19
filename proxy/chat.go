package proxy

import "github.com/conclave-llm/conclave/llm"

// chatRoute serves OpenAI's chat completions.
func chatRoute() (*Route, error) { return openAI(llm.Chat, "/chat/completions") }
