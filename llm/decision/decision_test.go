package decision_test

import (
	"slices"
	"testing"

	"github.com/conclave-llm/conclave/llm/decision"
)

// TestKeys: questions keep their names if those tell all of them apart.
func TestKeys(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ names, want []string }{
		{[]string{"b", "a"}, []string{"b", "a"}},
		{[]string{"a", ""}, []string{"0", "1"}},
		{[]string{"a", "b", "a"}, []string{"0", "1", "2"}},
		{nil, []string{}},
	} {
		var r decision.Request
		for _, name := range tt.names {
			r.Questions = append(r.Questions, decision.Question{Name: name})
		}
		if got := r.Keys(); !slices.Equal(got, tt.want) {
			t.Errorf("%q: got %q, want %q", tt.names, got, tt.want)
		}
	}
}
