package proxy

import (
	"context"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/prompt"
)

// trialRoute tries a prompt that is not stored: the text of a .prompt file, with values for its
// variables, is asked of its model, as a chat completion that the key could have asked itself. A body
// without such a text is one.
func trialRoute() (*Route, error) {
	r, err := inference(llm.Chat, "/prompts/test")
	if err != nil {
		return nil, err
	}
	r.steps.body = readTrial
	return r, nil
}

// readTrial is the step that reads the body and makes the request of the prompt.
func readTrial(ctx context.Context, s *Server, c *Call) error {
	if err := readBody(ctx, s, c); err != nil {
		return err
	}
	made, err := prompt.Try(c.body, s.cfg.ParsePrompt)
	if err != nil || made == nil {
		return err
	}
	return c.peek(made)
}
