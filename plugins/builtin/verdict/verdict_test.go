package verdict_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/verdict"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

func TestTerms_Texts(t *testing.T) {
	t.Parallel()
	check := func(hook sdk.Hook) *sdk.Check {
		return &sdk.Check{Hook: hook, Texts: []sdk.Text{
			{Role: "system", Text: "be kind"},
			{Role: "user", Text: "hi"},
			{Role: "assistant", Text: "hello"},
			{Role: "user", Text: " "},
			{Role: "tool", Text: "42"},
			{Text: "nobody's"},
		}}
	}
	for _, tt := range []struct {
		name  string
		terms verdict.Terms
		hook  sdk.Hook
		want  string
	}{
		{"all", verdict.Terms{}, sdk.Before, "[0 1 2 4 5]"},
		{"roles", verdict.Terms{Roles: []string{"user", "tool"}}, sdk.Before, "[1 4 5]"},
		{"latest", verdict.Terms{Latest: true}, sdk.Before, "[4 5]"},
		{"an answer has no roles to choose from", verdict.Terms{Roles: []string{"user"}, Latest: true}, sdk.After, "[0 1 2 4 5]"},
	} {
		if got := fmt.Sprint(tt.terms.Texts(check(tt.hook))); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

// What a client makes of the end of a conversation hides nothing of its last turn.
func TestTerms_Latest(t *testing.T) {
	t.Parallel()
	terms := verdict.Terms{Latest: true}
	for _, tt := range []struct{ roles, want string }{
		{"user", "[0]"},
		{"user assistant", "[0 1]"},
		{"user model", "[0 1]"},
		{"system user assistant user assistant", "[3 4]"},
		{"user assistant user assistant assistant", "[2 3 4]"},
		{"user assistant user assistant tool", "[4]"},
		{"user assistant user assistant system", "[2 3 4]"},
		{"user assistant user assistant -", "[2 3 4]"}, // a description of a tool, say
		{"assistant user", "[1]"},
		{"assistant", "[0]"},
		{"user assistant blank", "[0 1]"},
	} {
		c := &sdk.Check{Hook: sdk.Before}
		for r := range strings.FieldsSeq(tt.roles) {
			x := sdk.Text{Role: r, Text: "text"}
			switch r {
			case "-":
				x.Role = ""
			case "blank":
				x = sdk.Text{Role: "user", Text: " "}
			}
			c.Texts = append(c.Texts, x)
		}
		if got := fmt.Sprint(terms.Texts(c)); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.roles, got, tt.want)
		}
	}
}

func TestTerms_Decide(t *testing.T) {
	t.Parallel()
	terms := verdict.Terms{}
	if err := terms.Validate("no"); err != nil {
		t.Fatal(err)
	}
	if v := terms.Decide(nil); v.Action != guardrail.Pass {
		t.Errorf("got %v for nothing found", v.Action)
	}
	found := []sdk.Finding{{Category: "x"}}
	if v := terms.Decide(found); v.Action != guardrail.Block || v.Message != "no" || len(v.Findings) != 1 {
		t.Errorf("got %+v", v)
	}
	terms.Action = scan.Flag
	if v := terms.Decide(found); v.Action != guardrail.Pass || len(v.Findings) != 1 {
		t.Errorf("got %+v, want a flag", v)
	}
}

func TestTerms_Validate(t *testing.T) {
	t.Parallel()
	mask := func() *verdict.Terms { return &verdict.Terms{Action: scan.Mask} }
	if err := mask().Validate("no", scan.Mask); err != nil {
		t.Error(err)
	}
	if err := mask().Validate("no"); err == nil || err.Error() != `action: "mask" is not one of block, flag` {
		t.Errorf("got %v", err)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	half, two := 0.5, 2.0
	th := verdict.Thresholds{Threshold: &half, Thresholds: map[string]float64{"hate": 0.9}}
	if err := th.Validate([]string{"hate"}); err != nil || th.Of("hate", 1) != 0.9 || th.Of("other", 1) != 0.5 || (&verdict.Thresholds{}).Of("x", 0.7) != 0.7 {
		t.Errorf("got %v, %v, %v", err, th.Of("hate", 1), th.Of("other", 1))
	}
	for want, err := range map[string]error{
		"threshold: 2 is not from 0 to 1":  (&verdict.Thresholds{Threshold: &two}).Validate(nil),
		"there are hate, sexual":           (&verdict.Thresholds{Thresholds: map[string]float64{"x": 1}}).Validate([]string{"hate", "sexual"}),
		"thresholds.hate: -1 is not":       (&verdict.Thresholds{Thresholds: map[string]float64{"hate": -1}}).Validate(nil),
		`action: "mask" is not one of`:     (&verdict.Terms{Action: scan.Mask}).Validate(""),
		"roles[0]: is empty":               (&verdict.Terms{Roles: []string{""}}).Validate(""),
		"unknown object member name \"b\"": verdict.Read([]byte(`{"b":1}`), &verdict.Terms{}),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
