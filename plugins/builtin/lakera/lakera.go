// Package lakera is the guardrail that asks Lakera Guard, whose policy belongs to a project there.
package lakera

import (
	"context"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/service"
	"github.com/conclave-llm/conclave/plugins/builtin/verdict"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// Config is the configuration of the guardrail.
type Config struct {
	service.Config
	verdict.Terms
	ProjectID string `json:"project_id,omitempty"` // default: the account's own policy
	// Mask masks personal data where nothing else was found, instead of blocking. Default true.
	Mask *bool `json:"mask,omitempty"`
}

// Lakera is the guardrail.
type Lakera struct {
	cfg    Config
	sender *service.Sender
}

// Configure implements sdk.Guardrail.
func (g *Lakera) Configure(_ context.Context, s sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	var cfg Config
	err := verdict.Read(s.Config, &cfg)
	if err == nil {
		err = cfg.Validate("the text violates a policy")
	}
	if err == nil {
		g.sender, err = service.New(cfg.Config, "https://api.lakera.ai")
	}
	g.cfg = cfg
	return service.Described(), err
}

type answer struct {
	Flagged   *bool `json:"flagged"`
	Breakdown []struct {
		Detector string `json:"detector_type"`
		Detected bool   `json:"detected"`
	} `json:"breakdown"`
	Payload []place `json:"payload"`
}

// placed says that each kind that was detected has a place: what has none could not be masked.
func (a *answer) placed() bool {
	for _, b := range a.Breakdown {
		if b.Detected && !slices.ContainsFunc(a.Payload, func(p place) bool { return p.Detector == b.Detector }) {
			return false
		}
	}
	return true
}

// place is where something stands, in characters of a message.
type place struct {
	Start    int    `json:"start"`
	End      int    `json:"end"`
	Detector string `json:"detector_type"`
	Message  int    `json:"message_id"`
}

const personal = "pii/"

// Check implements sdk.Guardrail.
func (g *Lakera) Check(ctx context.Context, c *sdk.Check) (sdk.Verdict, error) {
	texts := g.cfg.Texts(c)
	if len(texts) == 0 {
		return sdk.Pass(), nil
	}
	body := map[string]any{"messages": service.Messages(&g.cfg.Terms, c), "breakdown": true, "payload": true}
	if g.cfg.ProjectID != "" {
		body["project_id"] = g.cfg.ProjectID
	}
	var out answer
	if err := g.sender.Post(ctx, service.Request{Path: "/v2/guard", Header: g.sender.Bearer(), Body: body}, &out); err != nil {
		return sdk.Verdict{}, err
	}
	if out.Flagged == nil {
		return sdk.Verdict{}, service.ErrIncomplete
	}
	if !*out.Flagged {
		return sdk.Pass(), nil
	}
	return g.flagged(c, texts, &out), nil
}

// flagged is the verdict about the texts at the indexes, of which the answer says that something is wrong.
func (g *Lakera) flagged(c *sdk.Check, texts []int, out *answer) sdk.Verdict {
	var found service.Found
	onlyPersonal := true
	for _, b := range out.Breakdown {
		if b.Detected {
			found.Add(b.Detector, 0)
			onlyPersonal = onlyPersonal && strings.HasPrefix(b.Detector, personal)
		}
	}
	if len(found.All()) == 0 {
		found.Add("flagged", 0)
		onlyPersonal = false
	}
	masks := g.cfg.Mask == nil || *g.cfg.Mask
	if onlyPersonal && masks && g.cfg.Action == scan.Block {
		if rs, ok := masked(c, texts, out.Payload); ok && out.placed() {
			v := sdk.Rewrite(rs...)
			v.Findings = found.All()
			return v
		}
	}
	return g.cfg.Decide(found.All())
}

// masked masks the places, if each of them is one.
func masked(c *sdk.Check, texts []int, places []place) ([]sdk.Replacement, bool) {
	spans := map[int][]scan.Span{}
	for _, p := range places {
		kind, ok := strings.CutPrefix(p.Detector, personal)
		if !ok {
			continue
		}
		if p.Message < 0 || p.Message >= len(texts) {
			return nil, false
		}
		at := texts[p.Message]
		from, to, ok := service.Bytes(c.Texts[at].Text, p.Start, p.End)
		if !ok || from == to {
			return nil, false
		}
		spans[at] = append(spans[at], scan.Span{Start: from, End: to, Action: scan.Mask, Text: "[MASKED " + strings.ToUpper(kind) + "]"})
	}
	var out []sdk.Replacement
	for at, all := range spans {
		if text, ok := scan.Replace(c.Texts[at].Text, scan.Apart(all)); ok {
			out = append(out, sdk.Replacement{Index: at, Text: text})
		}
	}
	slices.SortFunc(out, func(a, b sdk.Replacement) int { return a.Index - b.Index })
	return out, len(out) > 0
}
