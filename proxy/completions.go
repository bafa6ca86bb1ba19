package proxy

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
	"sync/atomic"
	"unicode/utf8"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/tokenize"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/openai"
	"github.com/conclave-llm/conclave/proxy/translate"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/proxy/utility"
	"github.com/conclave-llm/conclave/proxy/view"
)

// completionsRoute serves the older text completions.
func completionsRoute() (*Route, error) { return openAI(llm.Completions, "/completions") }

// spell puts the texts of tokens in their place where a provider takes texts: as the model's own tokenizer has them.
func (s *Server) spell(ctx context.Context, c *Call, d *view.Deployment, at llm.Endpoint) error {
	if c.spelled != nil {
		c.spelled, c.exchange = nil, nil // by another model's
	}
	if c.route.endpoint != llm.Completions || at == c.route.endpoint {
		return nil
	}
	spelled, ok, err := openai.SpellPrompts(c.body, func(tokens []int) (string, error) {
		t, exact, err := utility.Tokenizer(ctx, s.cfg.Tokenizers, c.result.target.Deployment, d.Name)
		if err != nil {
			return "", err
		}
		if !exact {
			return "", llm.Unsayable("prompt", "The provider of this model takes texts, and nobody knows which tokens the model has: send strings as \"prompt\", or let model_info.custom_tokenizer of the deployment name its tokenizer.")
		}
		text, err := t.Decode(tokens)
		if err == nil && !utf8.ValidString(text) {
			err = tokenize.ErrNoText
		}
		if err != nil {
			return "", llm.Unsayable("prompt", "The provider of this model takes texts, and the tokens are not the model's: "+err.Error()+".")
		}
		return text, nil
	})
	if ok {
		c.spelled, c.exchange = spelled, nil
	}
	return err
}

// each makes bodies those of the texts that are completed each by itself.
func (c *Call) each(d *view.Deployment, at llm.Endpoint, bodies [][]byte) (err error) {
	for i, body := range bodies {
		if body, err = c.hosted(body, d.Provider, at); err == nil && at == llm.Chat {
			body, err = c.fitted(d, body)
		}
		if err != nil {
			return err
		}
		bodies[i] = body
	}
	c.bodies = bodies
	return nil
}

// askPrompts asks for the completion of each text of the request, a few at once, under its one hold.
func (s *Server) askPrompts(ctx context.Context, c *Call, a *upstream.Attempt) (Answer, error) {
	ask := func(ctx context.Context, body []byte) (Answer, error) {
		part := *a
		part.Body, part.Waits = body, nil // the parts have other goroutines than the client's answer
		return s.cfg.Upstream.Do(ctx, &part)
	}
	if c.fields.Stream {
		out, _ := provider.OutboundOf(a.Endpoint)
		merged := c.exchange.Merge(ctx, out, c.bodies, func(ctx context.Context, _ int, body []byte) (translate.Source, *translate.Part, error) {
			got, err := ask(ctx, body)
			if err != nil || got.Stream != nil {
				return got.Stream, nil, err
			}
			return nil, &translate.Part{Body: got.Body, Report: got.Report}, nil
		}, c.waits)
		return Answer{Status: http.StatusOK, Header: http.Header{}, Stream: merged}, nil
	}
	var size atomic.Int64
	most := cmp.Or(a.MaxBody, upstream.DefaultMaxBody)
	parts, err := translate.AskParts(ctx, c.bodies, func(ctx context.Context, _ int, body []byte) (translate.Part, error) {
		got, err := ask(ctx, body)
		if err == nil && size.Add(int64(len(got.Body))) > most {
			err = &llm.Error{
				Kind: llm.TooLarge, Status: http.StatusBadGateway, Code: "response_too_large", NoRetry: true,
				Message: "The answers to all texts of the request are larger than " + strconv.FormatInt(most, 10) + " bytes.",
			}
		}
		return translate.Part{Body: got.Body, Report: got.Report}, err
	})
	if err != nil {
		return Answer{}, err
	}
	c.parts = parts
	return Answer{Status: http.StatusOK, Header: http.Header{}, Report: translate.Report(parts)}, nil
}

// joined says the answers to the texts as one; streams are one already.
func (c *Call) joined(a *Answer, out provider.Outbound) (err error) {
	if a.Stream == nil {
		a.Body, err = c.exchange.Joined(out, c.parts, a.Report)
		c.parts = nil
	}
	return err
}
