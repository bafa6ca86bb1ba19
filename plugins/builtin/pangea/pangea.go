// Package pangea is the guardrail that asks Pangea's AI Guard, whose recipes say what is looked for.
package pangea

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/service"
	"github.com/conclave-llm/conclave/plugins/builtin/verdict"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// Config is the configuration of the guardrail.
type Config struct {
	service.Config
	verdict.Terms
	InputRecipe  string `json:"pangea_input_recipe,omitempty"`  // default pangea_prompt_guard
	OutputRecipe string `json:"pangea_output_recipe,omitempty"` // default pangea_llm_response_guard
}

// Pangea is the guardrail.
type Pangea struct {
	cfg    Config
	sender *service.Sender
}

// Configure implements sdk.Guardrail.
func (g *Pangea) Configure(_ context.Context, s sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	cfg := Config{InputRecipe: "pangea_prompt_guard", OutputRecipe: "pangea_llm_response_guard"}
	err := verdict.Read(s.Config, &cfg)
	if err == nil {
		err = cfg.Validate("the text violates a policy")
	}
	if err == nil {
		g.sender, err = service.New(cfg.Config, "https://ai-guard.aws.us.pangea.cloud")
	}
	g.cfg = cfg
	return service.Described(), err
}

type answer struct {
	Status string  `json:"status"`
	Result *result `json:"result"`
}

type result struct {
	Blocked     *bool             `json:"blocked"`
	Transformed bool              `json:"transformed"`
	Messages    []service.Message `json:"prompt_messages"`
	Detectors   map[string]struct {
		Detected bool `json:"detected"`
	} `json:"detectors"`
}

// maxJSON is how many bytes of messages, as JSON, AI Guard reads in one request.
const maxJSON = 20 << 10

// errTooLong says that a text alone is more than that: cut, it could not be put together again from what it becomes.
var errTooLong = fmt.Errorf("a text has more than the %d bytes that AI Guard reads", maxJSON)

// batch is the texts of one request: from and to count the messages.
type batch struct{ from, to int }

// batches are as few requests as hold the messages.
func batches(messages []service.Message) (all []batch, err error) {
	size := maxJSON
	for i, m := range messages {
		b, err := json.Marshal(m)
		if err != nil {
			return nil, fmt.Errorf("write request: %w", err)
		}
		if size += len(b) + len(","); size > maxJSON {
			all, size = append(all, batch{i, i}), len("[]")+len(b)
		}
		if size > maxJSON {
			return nil, errTooLong
		}
		all[len(all)-1].to++
	}
	return all, nil
}

// Check implements sdk.Guardrail.
func (g *Pangea) Check(ctx context.Context, c *sdk.Check) (sdk.Verdict, error) {
	texts, messages := g.cfg.Texts(c), service.Messages(&g.cfg.Terms, c)
	all, err := batches(messages)
	if err != nil {
		return sdk.Verdict{}, err
	}
	recipe := g.cfg.InputRecipe
	if c.Hook != sdk.Before {
		recipe = g.cfg.OutputRecipe
	}
	results := make([]*result, len(all))
	err = service.Each(ctx, len(all), func(ctx context.Context, i int) error {
		b := all[i]
		var out answer
		body := map[string]any{"recipe": recipe, "messages": messages[b.from:b.to]}
		if err := g.sender.Post(ctx, service.Request{Path: "/v1/text/guard", Header: g.sender.Bearer(), Body: body}, &out); err != nil {
			return err
		}
		r := out.Result
		if out.Status != "Success" || r == nil || r.Blocked == nil || r.Transformed && len(r.Messages) != b.to-b.from {
			return service.ErrIncomplete
		}
		results[i] = r
		return nil
	})
	if err != nil {
		return sdk.Verdict{}, err
	}
	return g.judge(c, texts, all, results), nil
}

// judge reads what the service says of the texts, batch by batch.
func (g *Pangea) judge(c *sdk.Check, texts []int, all []batch, results []*result) sdk.Verdict {
	var found service.Found
	var rs []sdk.Replacement
	blocked := false
	for i, r := range results {
		blocked = blocked || *r.Blocked
		for _, name := range slices.Sorted(maps.Keys(r.Detectors)) {
			if r.Detectors[name].Detected {
				found.Add(name, 0)
			}
		}
		if !r.Transformed || g.cfg.Action != scan.Block {
			continue
		}
		for n, m := range r.Messages {
			if at := texts[all[i].from+n]; m.Content != c.Texts[at].Text {
				rs = append(rs, sdk.Replacement{Index: at, Text: m.Content})
			}
		}
	}
	if blocked {
		if len(found.All()) == 0 {
			found.Add("blocked", 0)
		}
		return g.cfg.Decide(found.All())
	}
	v := sdk.Pass()
	if len(rs) > 0 {
		v = sdk.Rewrite(rs...)
	}
	v.Findings = found.All()
	return v
}
