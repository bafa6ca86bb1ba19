// Package cel is the guardrail whose rules are expressions in the Common Expression Language: it blocks
// or flags what makes one of them true.
package cel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/ext"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/verdict"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// Bounds of rules, and of what one of them may take.
const (
	maxRules      = 100
	maxExpression = 4096
	maxCost       = 10_000_000 // in CEL's units; a rule that takes more was not run
)

// Config is the configuration of the guardrail.
type Config struct {
	verdict.Terms
	Rules []Rule `json:"rules"`
	// Answers also runs the rules on answers. A stream is then held to its end.
	Answers bool `json:"answers,omitempty"`
	// Body gives the rules the whole body as the variable body.
	Body bool `json:"body,omitempty"`
}

// Rule is one expression.
type Rule struct {
	Name       string      `json:"name"`              // the category, for logs
	Expression string      `json:"expression"`        // must be a bool
	Action     scan.Action `json:"action,omitempty"`  // block or flag; default: the guardrail's
	Message    string      `json:"message,omitempty"` // default: the guardrail's
}

// CEL is the guardrail.
type CEL struct {
	cfg   Config
	rules []rule
}

type rule struct {
	Rule
	program cel.Program
}

// Configure implements sdk.Guardrail.
func (g *CEL) Configure(_ context.Context, s sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	var cfg Config
	if err := verdict.Read(s.Config, &cfg); err != nil {
		return sdk.GuardrailDescription{}, err
	}
	if err := cfg.Validate("a rule does not let this pass"); err != nil {
		return sdk.GuardrailDescription{}, err
	}
	if len(cfg.Rules) == 0 || len(cfg.Rules) > maxRules {
		return sdk.GuardrailDescription{}, fmt.Errorf("rules: give 1 to %d", maxRules)
	}
	env, err := environment(cfg.Body)
	if err != nil {
		return sdk.GuardrailDescription{}, err
	}
	g.cfg, g.rules = cfg, nil
	for i, r := range cfg.Rules {
		c, err := compile(env, r, &cfg.Terms)
		if err != nil {
			return sdk.GuardrailDescription{}, fmt.Errorf("rules[%d].%w", i, err)
		}
		g.rules = append(g.rules, c)
	}
	d := sdk.GuardrailDescription{Version: scan.Version, Hooks: []sdk.Hook{sdk.Before}, WantsBody: cfg.Body}
	if cfg.Answers {
		d.Hooks = append(d.Hooks, sdk.After)
	}
	return d, nil
}

// environment is what expressions may name.
func environment(body bool) (*cel.Env, error) {
	opts := []cel.EnvOption{
		cel.Variable("hook", cel.StringType), // before, after
		cel.Variable("endpoint", cel.StringType),
		cel.Variable("model", cel.StringType),
		cel.Variable("key", cel.StringType), // their ids
		cel.Variable("team", cel.StringType),
		cel.Variable("user", cel.StringType),
		cel.Variable("stream", cel.BoolType),
		cel.Variable("text", cel.StringType),                                             // all texts, each on lines of its own
		cel.Variable("texts", cel.ListType(cel.MapType(cel.StringType, cel.StringType))), // path, role, text
		ext.Strings(), ext.Lists(), ext.Math(), ext.Sets(),
	}
	if body {
		opts = append(opts, cel.Variable("body", cel.DynType))
	}
	return cel.NewEnv(opts...)
}

func compile(env *cel.Env, r Rule, t *verdict.Terms) (rule, error) {
	own := verdict.Terms{Action: r.Action, Message: r.Message}
	if own.Action == "" {
		own.Action = t.Action
	}
	if err := own.Validate(t.Message); err != nil {
		return rule{}, err
	}
	r.Action, r.Message = own.Action, own.Message
	if r.Name == "" {
		return rule{}, errors.New("name: is missing")
	}
	if r.Expression == "" || len(r.Expression) > maxExpression {
		return rule{}, fmt.Errorf("expression: has %d bytes, not 1 to %d", len(r.Expression), maxExpression)
	}
	ast, issues := env.Compile(r.Expression)
	if err := issues.Err(); err != nil {
		return rule{}, fmt.Errorf("expression: %w", err)
	}
	if !ast.OutputType().IsExactType(cel.BoolType) {
		return rule{}, fmt.Errorf("expression: is a %s, not a bool", ast.OutputType())
	}
	p, err := env.Program(ast, cel.CostLimit(maxCost), cel.InterruptCheckFrequency(100), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return rule{}, fmt.Errorf("expression: %w", err)
	}
	return rule{r, p}, nil
}

// Check implements sdk.Guardrail. A rule that fails was not run, and neither was the guardrail.
func (g *CEL) Check(ctx context.Context, c *sdk.Check) (sdk.Verdict, error) {
	vars, err := g.variables(c)
	if err != nil {
		return sdk.Verdict{}, err
	}
	v := sdk.Pass()
	var found []sdk.Finding
	for i := range g.rules {
		r := &g.rules[i]
		out, _, err := r.program.ContextEval(ctx, vars)
		if err != nil {
			return sdk.Verdict{}, fmt.Errorf("rule %s: it cannot be told", r.Name) // CEL's error may quote the text
		}
		if is, _ := out.Value().(bool); !is {
			continue
		}
		found = append(found, sdk.Finding{Category: r.Name})
		if r.Action == scan.Block && v.Message == "" {
			v = sdk.Block(r.Message)
		}
	}
	v.Findings = found
	return v, nil
}

func (g *CEL) variables(c *sdk.Check) (map[string]any, error) {
	all := g.cfg.Texts(c)
	texts := make([]map[string]string, len(all))
	lines := make([]string, len(all))
	for n, i := range all {
		t := &c.Texts[i]
		texts[n] = map[string]string{"path": t.Path, "role": t.Role, "text": t.Text}
		lines[n] = t.Text
	}
	vars := map[string]any{
		"hook": string(c.Hook), "endpoint": c.Info.Endpoint, "model": c.Info.Model, "key": c.Info.KeyID, "team": c.Info.TeamID,
		"user": c.Info.User, "stream": c.Info.Stream, "texts": texts, "text": strings.Join(lines, "\n"),
	}
	if g.cfg.Body {
		var body any
		if err := json.NewDecoder(bytes.NewReader(c.Body)).Decode(&body); err != nil {
			return nil, fmt.Errorf("read body: %w", err)
		}
		vars["body"] = body
	}
	return vars, nil
}
