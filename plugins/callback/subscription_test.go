package callback_test

import (
	"testing"

	"github.com/conclave-llm/conclave/plugins/callback"
	"github.com/conclave-llm/conclave/resource"
)

func TestSubscription_Wants(t *testing.T) {
	t.Parallel()
	plugins := map[string]string{"lf": "langfuse", "lf-team": "langfuse", "dd": "datadog"}
	for _, tt := range []struct {
		name   string
		sub    callback.Subscription
		status string
		chosen []string
		want   bool
	}{
		{"always is told of all", callback.Subscription{Name: "lf"}, "success", []string{"dd"}, true},
		{"always is told even where none is wanted", callback.Subscription{Name: "lf"}, "success", []string{"none"}, true},
		{"default without a choice", callback.Subscription{Name: "lf", Plugin: "langfuse", Selection: resource.SelectDefault}, "success", nil, true},
		{"default beside another plugin", callback.Subscription{Name: "lf", Plugin: "langfuse", Selection: resource.SelectDefault}, "success", []string{"dd"}, true},
		{"default gives way to its own plugin", callback.Subscription{Name: "lf", Plugin: "langfuse", Selection: resource.SelectDefault}, "success", []string{"lf-team"}, false},
		{"default that was chosen by name", callback.Subscription{Name: "lf", Plugin: "langfuse", Selection: resource.SelectDefault}, "success", []string{"lf", "lf-team"}, true},
		{"default and none", callback.Subscription{Name: "lf", Plugin: "langfuse", Selection: resource.SelectDefault}, "success", []string{"none"}, false},
		{"chosen and not chosen", callback.Subscription{Name: "dd", Selection: resource.SelectChosen}, "success", nil, false},
		{"chosen", callback.Subscription{Name: "dd", Selection: resource.SelectChosen}, "success", []string{"lf", "dd"}, true},
		{"always is told although the request would do without it", callback.Subscription{Name: "lf", Plugin: "langfuse"}, "success", []string{"-lf", "-langfuse"}, true},
		{"the same, said in full", callback.Subscription{Name: "lf", Selection: resource.SelectAlways}, "success", []string{"-lf"}, true},
		{"default that the request does without", callback.Subscription{Name: "lf", Plugin: "langfuse", Selection: resource.SelectDefault}, "success", []string{"-lf"}, false},
		{"default whose plugin the request does without", callback.Subscription{Name: "lf", Plugin: "langfuse", Selection: resource.SelectDefault}, "success", []string{"-langfuse"}, false},
		{"default, and another is done without", callback.Subscription{Name: "dd", Plugin: "datadog", Selection: resource.SelectDefault}, "success", []string{"-lf"}, true},
		{"chosen, and the request does without it", callback.Subscription{Name: "dd", Selection: resource.SelectChosen}, "success", []string{"lf", "dd", "-dd"}, false},
		{"another status", callback.Subscription{Name: "dd", Statuses: []string{"failure"}}, "success", nil, false},
		{"its status", callback.Subscription{Name: "dd", Statuses: []string{"failure", "blocked"}}, "blocked", nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.sub.Wants(tt.status, tt.chosen, func(name string) string { return plugins[name] }); got != tt.want {
				t.Errorf("got %t, want %t", got, tt.want)
			}
		})
	}
}
