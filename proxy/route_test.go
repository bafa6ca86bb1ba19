package proxy

import (
	"context"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
)

// A route that leaves out a step is not made, but with the reason why the step does not apply.
func TestNewRoute_incomplete(t *testing.T) {
	t.Parallel()
	here := func(context.Context, *Server, *Call) error { return nil }
	whole := steps{auth: here, body: here, policy: here, access: here, limits: here, budget: here, guardrails: here, plan: here, ledger: here, answer: here}
	if _, err := newRoute("POST", []string{"/v1/x"}, llm.Chat, whole); err != nil {
		t.Fatal(err)
	}
	for name, omit := range map[string]func(*steps){
		stepAuth: func(s *steps) { s.auth = nil }, stepBody: func(s *steps) { s.body = nil }, stepPolicy: func(s *steps) { s.policy = nil },
		stepAccess: func(s *steps) { s.access = nil }, stepLimits: func(s *steps) { s.limits = nil }, stepBudget: func(s *steps) { s.budget = nil },
		stepGuardrails: func(s *steps) { s.guardrails = nil }, stepPlan: func(s *steps) { s.plan = nil }, stepLedger: func(s *steps) { s.ledger = nil },
		stepAnswer: func(s *steps) { s.answer = nil },
	} {
		st := whole
		omit(&st)
		if _, err := newRoute("POST", []string{"/v1/x"}, llm.Chat, st); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: got %v, want an error that names it", name, err)
		}
		st.exempt = map[string]string{name: "there is a reason"}
		if _, err := newRoute("POST", []string{"/v1/x"}, llm.Chat, st); err != nil {
			t.Errorf("without %s, for a reason: %v", name, err)
		}
	}
}
