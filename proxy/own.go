package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/bedrock"
	"github.com/conclave-llm/conclave/provider/openai/embeddings"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/translate"
)

// answerable says whether a guardrail may answer the call in the place of a model: there is a form in
// which to say it, and somebody who waits for it.
func (c *Call) answerable() bool {
	return c.run == nil && !c.route.about && guardrail.FormsOf(c.route.endpoint.String(), false) != 0
}

// takes says why a guardrail's answer, whose form fits the endpoint, is none to this request; nil: it is.
func (c *Call) takes(r *guardrail.Reply) error {
	switch at := c.route.endpoint; {
	case at.Family() == llm.FamilyConversation && c.fields.Stream && r.Body != nil:
		out, ok := provider.OutboundOf(at) // of every dialect that is read whose streams may be made of a body
		if !ok {
			return errors.New("an answer with a body: give a text")
		}
		if _, err := out.DecodeResponse(r.Body); err != nil {
			return fmt.Errorf("an answer with a body that cannot be said as a stream: %w", err)
		}
	case at == llm.Invoke && r.Body == nil && !bedrock.IsAnthropic(c.body):
		return errors.New("an answer that is a text, where the words are not those of Anthropic's messages: give an object")
	case at == llm.Embeddings:
		if _, err := packed(c.body, r.Body); err != nil {
			return fmt.Errorf("an answer with a body that has no embeddings: %w", err)
		}
	case at == llm.Transcriptions || at == llm.Translations:
		return c.takesHeard(r)
	}
	return nil
}

// takesHeard says why an answer is no transcription as the client wants it; nil: it is.
func (c *Call) takesHeard(r *guardrail.Reply) error {
	var heard struct {
		Format string `json:"response_format"`
	}
	_ = json.Unmarshal(c.body, &heard) // what is no text is the client's fault, of which it learns later
	if c.fields.Stream {
		return nil // a text, whatever the format
	}
	want := guardrail.FormObject
	switch heard.Format {
	case "", "json":
		want |= guardrail.FormText
	case "text":
		want = guardrail.FormText | guardrail.FormPlain
	case "srt", "vtt":
		want = guardrail.FormPlain
	}
	if r.Form()&want == 0 {
		return fmt.Errorf("an answer that is %s where response_format is %q: give %s", r.Form(), heard.Format, want)
	}
	return nil
}

// packed is an answer with embeddings as the request has them encoded.
func packed(request, answer []byte) ([]byte, error) {
	if _, packs := embeddings.Wants(request); !packs {
		return answer, nil
	}
	return embeddings.Packed(answer)
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
	a := &Answer{Status: http.StatusOK, Header: http.Header{}}
	var err error
	switch at := c.route.endpoint; {
	case at.Family() == llm.FamilyConversation && (c.own.Body == nil || c.fields.Stream):
		err = s.ownTalk(c, a)
	case c.own.Body == nil:
		err = c.ownHeard(a)
	case at == llm.Speech:
		c.ownSound(a)
	case at == llm.Embeddings:
		a.Body, err = packed(c.body, c.own.Body)
	default:
		a.Body = c.own.Body
		a.Header.Set("Content-Type", c.own.Type)
	}
	if err != nil {
		return err
	}
	c.turn = nil // it is not stored: there is no turn of a model to go on from
	c.result.began = s.now()
	c.result.dialled, c.result.answered = c.result.began, c.result.began
	if a.Stream == nil {
		return s.answer(ctx, c, a)
	}
	c.result.raw = a.Raw
	return s.relay(ctx, c, a, router.Flight{})
}

// ownTalk says a text, or a whole answer of the client's dialect that is to be a stream.
func (s *Server) ownTalk(c *Call, a *Answer) error {
	in, _ := provider.InboundOf(c.route.endpoint)
	x, err := translate.Read(in, c.body, c.asked(), c.fields.Stream)
	if err != nil {
		return err
	}
	at, said := c.route.endpoint, c.own.Body
	if said == nil {
		at = llm.Chat
		said, err = json.Marshal(ownAnswer{
			ID: "chatcmpl-" + c.id, Object: "chat.completion", Created: s.now().Unix(), Model: c.asked(),
			Choices: []ownChoice{{Message: ownMessage{Role: "assistant", Content: c.own.Text}, Finish: "stop"}},
		})
		if err != nil {
			return err
		}
	}
	out, _ := provider.OutboundOf(at)
	if c.fields.Stream {
		a.Stream, err = x.Whole(out, said, llm.Report{TextBytes: int64(len(c.own.Text))})
	} else {
		a.Body, err = x.Answer(out, said, llm.Report{})
	}
	return err
}

// ownHeard says a text that was not heard by a provider.
func (c *Call) ownHeard(a *Answer) error {
	said, err := translate.Heard(c.body, c.own.Text)
	if err != nil {
		return err
	}
	a.Body, a.Stream = said.Body, said.Stream
	if said.Type != "" {
		a.Header.Set("Content-Type", said.Type)
	}
	return nil
}

// ownSound says audio, as bytes or as events.
func (c *Call) ownSound(a *Answer) {
	said := translate.Spoken(c.own.Body, c.own.Type, c.fields.Stream)
	a.Stream, a.Raw = said.Stream, said.Raw
	a.Header.Set("Content-Type", said.Type)
	if a.Raw {
		a.Header.Set("Content-Length", strconv.Itoa(len(c.own.Body)))
	}
}
