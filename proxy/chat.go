package proxy

import "github.com/conclave-llm/conclave/llm"

// chatRoute serves chat completions, in OpenAI's format on both sides.
func chatRoute() (*Route, error) { return inference(llm.Chat, "/chat/completions") }
