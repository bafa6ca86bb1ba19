package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/resource"
)

// trier asks guardrails about texts of no request.
type trier struct{ n *Node }

// tried is the text as it stands in what a guardrail is asked about.
type tried struct {
	Choices []said `json:"choices"`
}

type said struct {
	Index   int    `json:"index"`
	Message spoken `json:"message"`
}

type spoken struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Try implements adminapi.Guardrails.
func (t trier) Try(ctx context.Context, name string, q client.GuardrailTry) (client.GuardrailTried, error) {
	out := client.GuardrailTried{Guardrail: name, Node: t.n.cfg.Name}
	set, ok := t.n.plugins.Guardrails().Only(name)
	if !ok {
		return out, fmt.Errorf("guardrail %s: %w", name, resource.ErrNotFound)
	}
	hook := resource.Hook(q.Hook)
	for _, h := range []resource.Hook{resource.HookBefore, resource.HookAfter, resource.HookDuring} {
		if hook == "" && set.Wants(h) {
			hook = h
		}
	}
	if !set.Wants(hook) {
		return out, &llm.Error{Kind: llm.Invalid, Param: "hook", Message: fmt.Sprintf("The guardrail is not asked at the hook %q.", hook)}
	}
	body, err := json.Marshal(tried{[]said{{Message: spoken{Role: cmp.Or(q.Role, "user"), Content: q.Text}}}})
	if err != nil {
		return out, err
	}
	out.Hook = string(hook)
	info := guardrail.Info{RequestID: reply.RequestID(http.Header{}), Endpoint: llm.Chat.String(), User: q.User}
	start := time.Now()
	results, body, err := ask(ctx, set, hook, &guardrail.Request{Info: info, Body: body})
	out.Duration = int64(time.Since(start))
	return answered(out, results, body, err)
}

// ask asks the set at the hook, and returns the body as it would go on.
func ask(ctx context.Context, set *guardrail.Set, hook resource.Hook, q *guardrail.Request) ([]guardrail.Result, []byte, error) {
	if hook == resource.HookDuring {
		c, err := set.Stream(ctx, q)
		if err != nil {
			return nil, nil, err
		}
		defer c.Close()
		if _, err := c.Feed(ctx, q.Body); err != nil {
			return c.Results(), nil, err
		}
		out, _, err := c.Finish(ctx, nil)
		if err != nil || len(out) != 1 {
			return c.Results(), nil, err
		}
		return c.Results(), out[0], nil
	}
	asked := set.Before
	if hook == resource.HookAfter {
		asked = set.After
	}
	d, err := asked(ctx, q)
	if err != nil {
		return nil, nil, err
	}
	return d.Results, d.Body, d.Err()
}

// answered says what came of it.
func answered(out client.GuardrailTried, results []guardrail.Result, body []byte, err error) (client.GuardrailTried, error) {
	e, refused := errors.AsType[*llm.Error](err)
	if err != nil && (!refused || len(results) == 0) {
		return out, err
	}
	for i := range results {
		r := &results[i]
		out.Status, out.Found = string(r.Status), r.Found()
		if r.Err != nil {
			out.Error = r.Err.Error()
		}
	}
	if refused {
		out.Message = e.Message
		return out, nil
	}
	var left tried
	if err := json.Unmarshal(body, &left); err != nil || len(left.Choices) != 1 {
		return out, fmt.Errorf("read what the guardrail made of the text: %w", err)
	}
	out.Text = left.Choices[0].Message.Content
	return out, nil
}
