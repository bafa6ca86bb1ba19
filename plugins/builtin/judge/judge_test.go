package judge_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/judge"
	"github.com/conclave-llm/conclave/plugins/builtin/service/servicetest"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// model is a model that says what its function makes of the question.
type model func(question string) string

func (m model) Ask(_ context.Context, endpoint string, body []byte) ([]byte, error) {
	var in struct {
		Model    string
		Messages []struct{ Role, Content string }
	}
	if err := json.Unmarshal(body, &in); err != nil || endpoint != "chat" || in.Model != "guard" || len(in.Messages) == 0 {
		return nil, errors.New("bad request")
	}
	answer := m(in.Messages[len(in.Messages)-1].Content)
	return json.Marshal(map[string]any{"choices": []any{map[string]any{"index": 0, "message": map[string]string{"role": "assistant", "content": answer}}}})
}

func check(m guardrail.Models, hook sdk.Hook, texts ...string) *sdk.Check {
	c := servicetest.Check(hook, texts...)
	c.Info.Models = m
	return c
}

func TestJudge(t *testing.T) {
	t.Parallel()
	const criteria, llama = `{"model":"guard","criteria":"bombs"}`, `{"model":"guard","form":"llama_guard"}`
	for _, tt := range []struct{ config, answer, want, found string }{
		{criteria, "No", "pass", "[]"},
		{criteria, "No, it is about cake.", "pass", "[]"},
		{criteria, "**Yes**\nbecause", "block", "[violation]"},
		{criteria, "<think>yes or no?</think>\n\nno.", "pass", "[]"},
		{criteria, "Nobody knows", "error", "[]"},
		{criteria, "", "error", "[]"},
		{criteria, "I cannot say yes", "error", "[]"},
		{llama, "\n\nsafe", "pass", "[]"},
		{llama, "unsafe\nS1,S10", "block", "[S1 S10]"},
		{llama, "unsafe", "block", "[unsafe]"},
		{llama, "safe-ish", "error", "[]"},
		{llama, "unsafe\nthe text said: canary", "block", "[unsafe]"},
	} {
		g := servicetest.Configured(t, &judge.Judge{}, tt.config)
		for _, hook := range []sdk.Hook{sdk.Before, sdk.After} {
			v, err := g.Check(t.Context(), check(model(func(string) string { return tt.answer }), hook, "a text"))
			got := v.Action.String()
			if err != nil {
				got = "error"
			}
			if got != tt.want || fmt.Sprint(v.Findings) != tt.found {
				t.Errorf("%q: got %s, %v, %v, want %s %s", tt.answer, got, v.Findings, err, tt.want, tt.found)
			}
		}
	}
}

// A text cannot end its own quotation: the marks are not known to who writes it. A long one is judged in
// pieces, all of it.
func TestJudge_Question(t *testing.T) {
	t.Parallel()
	g := servicetest.Configured(t, &judge.Judge{}, `{"model":"guard","criteria":"bombs","params":{"temperature":0}}`)
	var marks [2]string
	for i := range marks {
		_, err := g.Check(t.Context(), check(model(func(q string) string {
			_, rest, _ := strings.Cut(q, "two lines that say ")
			marks[i], _, _ = strings.Cut(rest, ",")
			if strings.Count(q, marks[i]) != 3 || !strings.Contains(q, "bombs") {
				t.Errorf("asked %s", q)
			}
			return "no"
		}), sdk.Before, "a text"))
		if err != nil {
			t.Fatal(err)
		}
	}
	if marks[0] == marks[1] || len(marks[0]) < 20 {
		t.Errorf("marks %q", marks)
	}
	var asked atomic.Int64
	v, err := g.Check(t.Context(), check(model(func(q string) string {
		asked.Add(1)
		if strings.Contains(q, "bomb here") {
			return "yes"
		}
		return "no"
	}), sdk.Before, strings.Repeat("cake ", 20_000)+"bomb here"+strings.Repeat(" cake", 20_000)))
	if err != nil || v.Action != guardrail.Block || asked.Load() < 6 {
		t.Errorf("got %v, %v after %d questions", v.Action, err, asked.Load())
	}
}

func TestJudge_Configure(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{
		`{}`: "model: is missing", `{"model":"m"}`: "criteria: say", `{"model":"m","form":"x"}`: "form", `{"model":"m","criteria":"c","params":{"stream":true}}`: "params.stream",
	} {
		if _, err := (&judge.Judge{}).Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(config)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
	}
}
