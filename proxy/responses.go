package proxy

import (
	"context"
	"encoding/json"
	"net/url"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/proxy/stored"
	"github.com/conclave-llm/conclave/proxy/view"
	"github.com/conclave-llm/conclave/resource"
)

// responsesRoute serves OpenAI's responses, which remember.
func responsesRoute() (*Route, error) {
	r, err := openAI(llm.Responses, "/responses")
	if err != nil {
		return nil, err
	}
	r.azure = []string{"/openai/responses"}
	r.steps.body = readResponse
	r.steps.plan = planResponse
	r.steps.answer = answerResponse
	return r, nil
}

// readResponse is the step that reads the body and puts what came before in front of its input.
func readResponse(ctx context.Context, s *Server, c *Call) error {
	if err := readBody(ctx, s, c); err != nil || s.keeper == nil {
		return err
	}
	turn, err := s.keeper.OpenIn(ctx, c.memory, c.who, c.body, c.asked(), c.terms())
	if err != nil {
		return err
	}
	if turn.Background() {
		return s.detach(ctx, c)
	}
	if turn.Expanded() {
		if err := c.peek(turn.Body()); err != nil {
			return err
		}
	}
	c.turn = turn
	return nil
}

// planResponse is the step that decides whether the answer is stored, and plans.
func planResponse(ctx context.Context, s *Server, c *Call) error {
	if c.turn != nil {
		if err := c.turn.Decide(c.terms()); err != nil {
			return err
		}
		if c.run != nil && !c.turn.Stored() {
			return &llm.Error{
				Kind: llm.Invalid, Code: "invalid_value", Param: "store",
				Message: "A response in the background must be stored, which the request, a policy or the cluster's settings forbid.",
			}
		}
	}
	return planAttempts(ctx, s, c)
}

// answerResponse is the step that makes the response. One in the background is told to the cluster
// first.
func answerResponse(ctx context.Context, s *Server, c *Call) error {
	if c.run != nil {
		if err := s.beginRun(ctx, c); err != nil {
			return err
		}
	}
	return dispatch(ctx, s, c)
}

// terms say what may be stored, as far as the levels are known.
func (c *Call) terms() stored.Terms {
	set := c.cat.Settings()
	return stored.Terms{Days: set.ResponseDays, Default: set.StoreByDefault, Private: policy.Private(c.levels)}
}

// owners are those for whom the request is.
func (c *Call) owners() resource.Owners {
	if c.bill != nil {
		return c.bill.Owners
	}
	return c.who.Owners(c.fields.User)
}

// native is the body for a deployment that has kept the turn before itself, and its fields;
// otherwise those that the call has.
func (c *Call) native(d *view.Deployment, at llm.Endpoint) ([]byte, *llm.Fields, error) {
	if c.turn == nil {
		return c.body, &c.fields, nil
	}
	if at != llm.Responses || !d.Provider.KeepsResponses {
		c.turn.Stateless()
		return c.body, &c.fields, nil
	}
	t := &c.result.target
	account := d.Provider.Name + " " + d.Base + " "
	if id := t.Deployment.CredentialID; id != "" {
		account += "credential/" + id
	} else {
		account += "deployment/" + t.Deployment.ID
	}
	raw, ok := c.turn.Native(account, c.body)
	if !ok {
		return c.body, &c.fields, nil
	}
	f, err := llm.Peek(raw)
	return raw, &f, err
}

// nameTurn gives an answer that is to be stored the gateway's id.
func (c *Call) nameTurn(a *Answer) {
	switch {
	case c.turn == nil:
	case a.Stream != nil:
		a.Stream = c.turn.Stream(a.Stream)
	default:
		a.Body = c.turn.Whole(a.Body)
	}
}

// responseRoute shows a stored response.
func responseRoute() (*Route, error) {
	return turnRoute("GET", "", func(ctx context.Context, s *Server, c *Call) error {
		if q, _ := url.ParseQuery(c.query); q.Get("stream") == "true" {
			return s.followAgain(ctx, c, q)
		}
		r, err := s.keeper.Response(ctx, c.who, c.named)
		if err != nil {
			return err
		}
		return s.writeJSON(c, r)
	})
}

// deleteResponseRoute deletes one.
func deleteResponseRoute() (*Route, error) {
	return turnRoute("DELETE", "", func(ctx context.Context, s *Server, c *Call) error {
		if err := s.keeper.Delete(ctx, c.who, c.named); err != nil {
			return err
		}
		if run := s.runs.Find(c.named); run != nil {
			run.Cancel()
			s.runs.Drop(c.named)
		}
		return s.writeJSON(c, map[string]any{"id": c.named, "object": "response", "deleted": true})
	})
}

// cancelResponseRoute ends one that is made in the background.
func cancelResponseRoute() (*Route, error) {
	return turnRoute("POST", "/cancel", func(ctx context.Context, s *Server, c *Call) error {
		r, err := s.keeper.Cancel(ctx, c.who, c.named)
		if err != nil {
			return err
		}
		if run := s.runs.Find(c.named); run != nil {
			run.Cancel()
		}
		return s.writeJSON(c, json.RawMessage(r))
	})
}

// inputItemsRoute lists what one answered.
func inputItemsRoute() (*Route, error) {
	return turnRoute("GET", "/input_items", func(ctx context.Context, s *Server, c *Call) error {
		q, err := url.ParseQuery(c.query)
		if err != nil {
			return &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Message: "The query of the URL cannot be read.", Err: err}
		}
		page, err := s.keeper.InputItems(ctx, c.who, c.named, q)
		if err != nil {
			return err
		}
		return s.writeJSON(c, page)
	})
}

// turnRoute makes a route about one stored response.
func turnRoute(method, path string, answer step) (*Route, error) {
	var patterns []string
	for _, p := range []string{"/v1/responses/", "/responses/", "/openai/v1/responses/"} {
		patterns = append(patterns, p+"{response}"+path)
	}
	r, err := lookupOf(method, patterns, llm.Responses, func(ctx context.Context, s *Server, c *Call) error {
		if s.keeper == nil {
			return &llm.Error{Kind: llm.NotFound, Code: "response_not_found", Message: "This gateway stores no responses."}
		}
		return answer(ctx, s, c)
	})
	if err != nil {
		return nil, err
	}
	r.azure = []string{"/openai/responses/{response}" + path}
	return r, nil
}
