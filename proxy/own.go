package proxy

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/translate"
)

// answerable says whether a guardrail may answer the call in the place of a model: there is a dialect in
// which to say it, and somebody who waits for it.
func (c *Call) answerable() bool {
	at := c.route.endpoint
	if at.Family() != llm.FamilyConversation || c.run != nil {
		return false
	}
	_, ok := provider.InboundOf(at)
	return ok
}

// ownAnswer is what a guardrail answered, as a provider of chats would say it.
type ownAnswer struct {
	ID      string      `json:"id"`
	Object  string      `json:"object"`
	Created int64       `json:"created"`
	Model   string      `json:"model"`
	Choices []ownChoice `json:"choices"`
	Usage   ownUsage    `json:"usage"`
}

type ownChoice struct {
	Index   int        `json:"index"`
	Message ownMessage `json:"message"`
	Finish  string     `json:"finish_reason"`
}

type ownMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

type ownUsage struct {
	Prompt     int64 `json:"prompt_tokens"`
	Completion int64 `json:"completion_tokens"`
	Total      int64 `json:"total_tokens"`
}

// answerOwn is the step that answers what a guardrail said, in the client's dialect. Nobody was asked and
// nothing is charged; guardrails of answers see it like any other.
func answerOwn(ctx context.Context, s *Server, c *Call) error {
	in, _ := provider.InboundOf(c.route.endpoint)
	out, _ := provider.OutboundOf(llm.Chat)
	x, err := translate.Read(in, c.body, c.asked(), c.fields.Stream)
	if err != nil {
		return err
	}
	said, err := json.Marshal(ownAnswer{
		ID: "chatcmpl-" + c.id, Object: "chat.completion", Created: s.now().Unix(), Model: c.asked(),
		Choices: []ownChoice{{Message: ownMessage{Role: "assistant", Content: *c.own}, Finish: "stop"}},
	})
	if err != nil {
		return err
	}
	c.turn = nil // it is not stored: there is no turn of a model to go on from
	c.result.began = s.now()
	c.result.dialled, c.result.answered = c.result.began, c.result.began
	a := Answer{Status: http.StatusOK, Header: http.Header{}}
	if !c.fields.Stream {
		if a.Body, err = x.Answer(out, said); err != nil {
			return err
		}
		return s.answer(ctx, c, &a)
	}
	if a.Stream, err = x.Whole(out, said, llm.Report{TextBytes: int64(len(*c.own))}); err != nil {
		return err
	}
	return s.relay(ctx, c, &a, router.Flight{})
}
