package node

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/facts"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/callback"
	"github.com/conclave-llm/conclave/resource"
)

func TestJournalSource(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	j, err := ledger.OpenJournal(ledger.Config{
		Dir: t.TempDir(), NodeID: "node_a", SegmentBytes: 2 << 10, MaxBytes: 4 << 10, HoldBytes: 8 << 10, Now: func() time.Time { return now },
		Mode: ledger.ModeFsync,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	cat := resource.NewCatalog(resource.Tables{
		Deployments: []*resource.Deployment{
			// it was another provider's then
			{Meta: resource.Meta{ID: "dep_1"}, Provider: "azure", Upstream: "gpt-x", APIBase: "https://me:s3cret@llm.corp/v1?token=s3cret"},
		},
		Models:        []*resource.Model{{Meta: resource.Meta{ID: "model_1"}, Name: "demo", AccessGroups: []string{"premium"}}},
		Teams:         []*resource.Team{{Meta: resource.Meta{ID: "team_1"}, Name: "research"}},
		Organizations: []*resource.Organization{{Meta: resource.Meta{ID: "org_1"}, Name: "corp"}},
		Projects:      []*resource.Project{{Meta: resource.Meta{ID: "proj_1"}, Name: "search"}},
	})
	looked := 0
	src := journalSource{
		journal: j, catalog: func() *resource.Catalog { return cat }, now: func() time.Time { return now.Add(time.Hour) },
		key: func(string) (*resource.Key, bool) {
			k := &resource.Key{Meta: resource.Meta{ID: "key_1"}, Name: "notebook"}
			k.Metadata = []byte(`{"spend_logs_metadata":{"cost_center":"7"},"logging":["secret"]}`)
			k.Budgets = []resource.Terms{{Tokens: new(int64(9))}, {USD: 5_000_000_000}}
			return k, true
		},
		user: func(string) (*resource.User, bool) { return &resource.User{Email: "ann@corp"}, true },
		spent: func(kind, id string) int64 {
			looked++
			return map[string]int64{"key/key_1": 7, "user/user_1": 8, "team/team_1": 0}[kind+"/"+id]
		},
		resets: func(holder, budget string) time.Time {
			return map[string]time.Time{"key/key_1/": now}[holder+"/"+budget]
		},
	}
	for range 20 {
		err := j.Settle(0, &ledger.Record{
			RequestID: "r", KeyID: "key_1", UserID: "user_1", TeamID: "team_1", OrganizationID: "org_1", ProjectID: "proj_1", Flags: ledger.Cached,
			Receipt: ledger.Receipt{Facts: facts.Facts{Path: "/v1/chat/completions", Address: "192.0.2.1"}}, Model: "demo", DeploymentID: "dep_1", Provider: "openai", Attempts: 2,
			Status: 400, ErrorKind: llm.Blocked.String(), ErrorCode: "guardrail_blocked",
			Guardrail: "words", Guardrails: []ledger.GuardrailResult{{Guardrail: "words", Hook: "before", Status: "blocked"}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	got, next, err := src.Read(&callback.Subscription{}, 0, 1)
	if err != nil || len(got) != 1 {
		t.Fatalf("got %d records, %v", len(got), err)
	}
	r := got[0]
	if r.UserID != "user_1" || r.Provider != "openai" || r.UpstreamModel != "gpt-x" || r.Attempts != 2 || r.Status != "blocked" || r.ErrorCode != "guardrail_blocked" {
		t.Errorf("got %+v", r)
	}
	if r.APIBase != "https://llm.corp/v1" || !r.Cached || r.Path != "/v1/chat/completions" || r.OrganizationName != "corp" || r.ProjectName != "search" ||
		!slices.Equal(r.AccessGroups, []string{"premium"}) || r.KeyName != "notebook" || r.KeyBudget == nil || *r.KeyBudget != 5_000_000_000 || r.TeamBudget != nil {
		t.Errorf("got %+v", r)
	}
	b := r.Books
	if b.KeySpend == nil || *b.KeySpend != 7 || *b.UserSpend != 8 || *b.TeamSpend != 0 || b.UserBudget != nil || !b.KeyResets.Equal(now) || string(r.LogMetadata) != `{"cost_center":"7"}` {
		t.Errorf("the books say %+v, metadata %s", b, r.LogMetadata)
	}
	looked = 0
	if got, _, err := src.Read(&callback.Subscription{}, 0, 20); err != nil || len(got) != 20 || looked != 3 {
		t.Errorf("for %d records, %v, the books were asked %d times, want 3", len(got), err, looked)
	}
	if r.Address != "" || r.UserEmail != "" {
		t.Errorf("a callback without contents is told of %q at %q", r.UserEmail, r.Address)
	}
	if got, _, err := src.Read(&callback.Subscription{Content: true}, 0, 1); err != nil || got[0].Address != "192.0.2.1" || got[0].UserEmail != "ann@corp" {
		t.Errorf("a callback with contents is told %+v, %v", got, err)
	}
	if len(r.Guardrails) != 1 || r.Guardrails[0] != (callback.GuardrailResult{Guardrail: "words", Hook: "before", Status: "blocked"}) {
		t.Errorf("guardrails %+v", r.Guardrails)
	}

	j.SetSoftFloor(callbackFloor, next-1)
	for range 200 {
		if err := j.Settle(0, &ledger.Record{RequestID: "r", Status: 200}); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Trim(); err != nil {
		t.Fatal(err)
	}
	_, _, err = src.Read(&callback.Subscription{}, next, 1)
	gone, ok := errors.AsType[*callback.Truncated](err)
	if !ok || gone.Oldest <= next || gone.Records != int64(gone.Oldest-next) {
		t.Fatalf("got %v (next is %d), want all that is gone", err, next)
	}
	if got, _, err := src.Read(&callback.Subscription{}, gone.Oldest, 1); err != nil || got[0].Position != gone.Oldest {
		t.Errorf("goes on with %+v, %v", got, err)
	}
}
