package resource_test

import (
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/resource"
)

func TestArtifact_Validate(t *testing.T) {
	t.Parallel()
	part := resource.PartOf([]byte("hello"), 0)
	file := func(change func(*resource.Artifact)) *resource.Artifact {
		a := &resource.Artifact{
			ID: "file-1", Kind: resource.ArtifactFile, ExpiresAt: 1,
			File: &resource.FileFacts{Purpose: "batch", Bytes: 5, Parts: []resource.Part{part}},
		}
		change(a)
		return a
	}
	batch := func(change func(*resource.BatchJob)) *resource.Artifact {
		a := &resource.Artifact{
			ID: "batch_1", Kind: resource.ArtifactBatch, ExpiresAt: 1,
			Batch: &resource.BatchJob{Endpoint: "/v1/embeddings", InputFile: "file-1", Status: resource.BatchInProgress, Next: 1, Asked: []int64{0}, Total: 3},
		}
		change(a.Batch)
		return a
	}
	for _, a := range []*resource.Artifact{
		file(func(*resource.Artifact) {}), batch(func(*resource.BatchJob) {}),
		{ID: "vs_1", Kind: resource.ArtifactProvider, DeploymentID: "d1", ExpiresAt: 1},
	} {
		if err := a.Validate(); err != nil {
			t.Errorf("%+v: %v", a, err)
		}
	}
	for name, a := range map[string]*resource.Artifact{
		"id":         file(func(a *resource.Artifact) { a.ID = "a/b" }),
		"long id":    file(func(a *resource.Artifact) { a.ID = strings.Repeat("x", 257) }),
		"expiry":     file(func(a *resource.Artifact) { a.ExpiresAt = 0 }),
		"kind":       file(func(a *resource.Artifact) { a.Kind = resource.ArtifactBatch }),
		"deployment": file(func(a *resource.Artifact) { a.DeploymentID = "d1" }),
		"bytes":      file(func(a *resource.Artifact) { a.File.Bytes = 4 }),
		"digest":     file(func(a *resource.Artifact) { a.File.Parts[0].Blob = "x" }),
		"purpose":    file(func(a *resource.Artifact) { a.File.Purpose = "" }),
		"nothing":    {ID: "x", ExpiresAt: 1},
		"asked":      batch(func(b *resource.BatchJob) { b.Asked = make([]int64, 257) }),
		"total":      batch(func(b *resource.BatchJob) { b.Total = 0 }),
		"status":     batch(func(b *resource.BatchJob) { b.Status = "done" }),
		"input":      batch(func(b *resource.BatchJob) { b.InputFile = "" }),
		"parts":      batch(func(b *resource.BatchJob) { b.Output = make([]resource.Part, 65) }),
	} {
		if a.Validate() == nil {
			t.Errorf("%s: valid", name)
		}
	}
}

func TestPrincipal_Sees(t *testing.T) {
	t.Parallel()
	team, org := &resource.Team{Meta: resource.Meta{ID: "t1"}}, &resource.Organization{Meta: resource.Meta{ID: "o1"}}
	who := func(key, user string, team *resource.Team, org *resource.Organization) *resource.Principal {
		return &resource.Principal{Key: &resource.Key{Meta: resource.Meta{ID: key}, UserID: user}, Team: team, Organization: org}
	}
	for _, tt := range []struct {
		name   string
		who    *resource.Principal
		owners resource.Owners
		want   bool
	}{
		{"its own", who("k1", "", nil, nil), resource.Owners{KeyID: "k1"}, true},
		{"another's", who("k1", "", nil, nil), resource.Owners{KeyID: "k2"}, false},
		{"the user's", who("k1", "u1", nil, nil), resource.Owners{KeyID: "k2", UserID: "u1"}, true},
		{"the user's in another organization", who("k1", "u1", nil, org), resource.Owners{KeyID: "k2", UserID: "u1", OrganizationID: "o2"}, false},
		{"the team's", who("k1", "", team, nil), resource.Owners{KeyID: "k2", TeamID: "t1"}, true},
		{"a user's of the team", who("k1", "", team, nil), resource.Owners{KeyID: "k2", TeamID: "t1", UserID: "u1"}, false},
		{"the master's", who("k1", "", team, nil), resource.Owners{}, false},
		{"the master's own", &resource.Principal{Master: true}, resource.Owners{}, true},
		{"a key's for the master", &resource.Principal{Master: true}, resource.Owners{KeyID: "k1"}, false},
	} {
		if got := tt.who.Sees(&tt.owners); got != tt.want {
			t.Errorf("%s: %t, want %t", tt.name, got, tt.want)
		}
	}
}
