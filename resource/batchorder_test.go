package resource_test

import (
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/resource"
)

func TestBatchOrder_HoldOf(t *testing.T) {
	t.Parallel()
	o := &resource.BatchOrder{At: "batches", Holds: []resource.BatchHold{{Sent: "gpt-x"}, {Sent: "gpt-x-mini"}}}
	for answered, want := range map[string]int{"gpt-x": 0, "gpt-x-2026": 0, "gpt-x-mini-2026": 1, "unheard-of": 0} {
		if got := o.HoldOf(answered); got != want {
			t.Errorf("%s: got %d, want %d", answered, got, want)
		}
	}
	if got := new(resource.BatchOrder).HoldOf("gpt-x"); got != -1 {
		t.Errorf("of nothing held: got %d", got)
	}
}

func TestArtifact_order(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		edit func(a *resource.Artifact)
		ok   bool
	}{
		{"one", func(*resource.Artifact) {}, true},
		{"of a file", func(a *resource.Artifact) {
			a.Kind, a.DeploymentID, a.File = resource.ArtifactFile, "", &resource.FileFacts{Purpose: "batch"}
		}, false},
		{"at no place", func(a *resource.Artifact) { a.Order.At = "" }, false},
		{"of no account", func(a *resource.Artifact) { a.Order.Holds[0].Shares[0].Account = "key" }, false},
		{"of a debt", func(a *resource.Artifact) { a.Order.Holds[0].Shares[0].Amount = -1 }, false},
		{"of a long name", func(a *resource.Artifact) { a.Names[0].Asked = strings.Repeat("x", 513) }, false},
	} {
		a := &resource.Artifact{
			ID: "batch_1", Kind: resource.ArtifactProvider, DeploymentID: "dep_1", ExpiresAt: 1, Names: []resource.ModelName{{Asked: "quick", Sent: "gpt-x"}},
			Order: &resource.BatchOrder{At: "batches", Holds: []resource.BatchHold{{Model: "quick", Sent: "gpt-x", Shares: []resource.BatchShare{{Account: "key/k1/total", Amount: 1, Unit: resource.UnitUSD}}}}},
		}
		tt.edit(a)
		if err := a.Validate(); (err == nil) != tt.ok {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
}
