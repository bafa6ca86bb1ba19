package proxy

import "github.com/conclave-llm/conclave/llm"

// messagesRoute serves Anthropic's messages.
func messagesRoute() (*Route, error) {
	return inference(llm.Messages, "/v1/messages", "/messages", "/anthropic/v1/messages")
}
