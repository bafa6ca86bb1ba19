package auth_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/auth"
	"github.com/conclave-llm/conclave/resource"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

type table map[resource.Hash]*resource.Key

func (t table) KeyByHash(h resource.Hash) (*resource.Key, bool) { k, ok := t[h]; return k, ok }

func (t table) Key(id string) (*resource.Key, bool) {
	for _, k := range t {
		if k.ID == id {
			return k, true
		}
	}
	return nil, false
}

func (t table) User(id string) (*resource.User, bool) {
	u := &resource.User{Meta: resource.Meta{ID: id}, Blocked: id == "user_blocked"}
	switch id {
	case "user_org":
		u.OrganizationID = "org_blocked"
	case "user_lost":
		u.BudgetID = "budget_lost"
	case "a label":
		return nil, false
	}
	return u, true
}

func (t table) TeamMember(team, user string) (*resource.TeamMember, bool) {
	return &resource.TeamMember{TeamID: team, UserID: user}, team == "team_a" && user == "user_a"
}

func (t table) put(secret string, k *resource.Key) {
	h := resource.HashSecret(secret)
	if k.Hash == (resource.Hash{}) {
		k.Hash = h
	}
	t[h] = k
}

// people answers without allocating.
type people struct {
	table
	user   *resource.User
	member *resource.TeamMember
}

func (p people) User(string) (*resource.User, bool) { return p.user, true }

func (p people) TeamMember(string, string) (*resource.TeamMember, bool) { return p.member, true }

func catalog() *resource.Catalog {
	return resource.NewCatalog(resource.Tables{
		Teams: []*resource.Team{
			{Meta: resource.Meta{ID: "team_a"}, Name: "a", OrganizationID: "org_a"},
			{Meta: resource.Meta{ID: "team_org"}, Name: "d", OrganizationID: "org_blocked"},
			{Meta: resource.Meta{ID: "team_noorg"}, Name: "e", OrganizationID: "org_gone"},
			{Meta: resource.Meta{ID: "team_expired"}, Name: "x", Policy: resource.Policy{ExpiresAt: resource.At(now)}},
			{Meta: resource.Meta{ID: "team_orgexpired"}, Name: "y", OrganizationID: "org_expired", Policy: resource.Policy{ExpiresAt: resource.At(now) + 1}},
			{Meta: resource.Meta{ID: "team_blocked"}, Name: "b", Blocked: true},
			{Meta: resource.Meta{ID: "team_lost"}, Name: "c", Policy: resource.Policy{Allowance: resource.Allowance{BudgetID: "budget_lost"}}},
		},
		Organizations: []*resource.Organization{
			{Meta: resource.Meta{ID: "org_a"}, Name: "a"},
			{Meta: resource.Meta{ID: "org_blocked"}, Name: "b", Blocked: true},
			{Meta: resource.Meta{ID: "org_expired"}, Name: "c", Policy: resource.Policy{ExpiresAt: resource.At(now)}},
		},
		Projects: []*resource.Project{
			{Meta: resource.Meta{ID: "project_a"}, Name: "a", TeamID: "team_a"},
			{Meta: resource.Meta{ID: "project_expired"}, Name: "c", TeamID: "team_a", Policy: resource.Policy{ExpiresAt: resource.At(now) - 1}},
			{Meta: resource.Meta{ID: "project_blocked"}, Name: "b", TeamID: "team_a", Blocked: true},
		},
		Budgets: []*resource.Budget{{Meta: resource.Meta{ID: "budget_a"}, Name: "a"}},
	})
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	at := func(d time.Duration) resource.Time { return resource.At(now.Add(d)) }
	old := resource.HashSecret("sk-old")
	keys := table{}
	keys.put("sk-plain", &resource.Key{})
	keys.put("sk-team", &resource.Key{TeamID: "team_a", Policy: resource.Policy{Allowance: resource.Allowance{BudgetID: "budget_a"}}})
	keys.put("sk-blocked", &resource.Key{Blocked: true, Role: resource.RoleAdmin})
	keys.put("sk-expired", &resource.Key{Policy: resource.Policy{ExpiresAt: at(0)}})
	keys.put("sk-later", &resource.Key{Policy: resource.Policy{ExpiresAt: at(1)}})
	keys.put("sk-old", &resource.Key{Hash: resource.HashSecret("sk-new"), OldHashes: []resource.OldHash{{Hash: old, Until: at(1)}}})
	keys.put("sk-older", &resource.Key{Hash: resource.HashSecret("sk-new"), OldHashes: []resource.OldHash{{Hash: resource.HashSecret("sk-older"), Until: at(0)}}})
	keys.put("sk-teamblocked", &resource.Key{TeamID: "team_blocked"})
	keys.put("sk-noteam", &resource.Key{TeamID: "team_gone"})
	keys.put("sk-nobudget", &resource.Key{Policy: resource.Policy{Allowance: resource.Allowance{BudgetID: "budget_gone"}}})
	keys.put("sk-teamnobudget", &resource.Key{TeamID: "team_lost"})
	keys.put("sk-whole", &resource.Key{TeamID: "team_a", ProjectID: "project_a", UserID: "user_a"})
	keys.put("sk-label", &resource.Key{UserID: "a label"})
	keys.put("sk-orgblocked", &resource.Key{TeamID: "team_org"})
	keys.put("sk-noorg", &resource.Key{TeamID: "team_noorg"})
	keys.put("sk-projectblocked", &resource.Key{TeamID: "team_a", ProjectID: "project_blocked"})
	keys.put("sk-noproject", &resource.Key{TeamID: "team_a", ProjectID: "project_gone"})
	keys.put("sk-userblocked", &resource.Key{UserID: "user_blocked"})
	keys.put("sk-userorg", &resource.Key{UserID: "user_org"})
	keys.put("sk-usernobudget", &resource.Key{UserID: "user_lost"})
	keys.put("sk-teamexpired", &resource.Key{TeamID: "team_expired"})
	keys.put("sk-organizationexpired", &resource.Key{TeamID: "team_orgexpired"})
	keys.put("sk-projectexpired", &resource.Key{TeamID: "team_a", ProjectID: "project_expired"})
	keys.put("", &resource.Key{}) // the hash of nothing opens nothing
	master := resource.HashSecret("sk-master")

	for _, tt := range []struct {
		name, secret string
		kind         llm.Kind
		typ, code    string // "": admitted
	}{
		{"plain", "sk-plain", 0, "", ""},
		{"team and budget", "sk-team", 0, "", ""},
		{"master", "sk-master", 0, "", ""},
		{"not expired yet", "sk-later", 0, "", ""},
		{"rotated, in its grace", "sk-old", 0, "", ""},
		{"none", "", llm.Unauthenticated, "auth_error", "no_api_key"},
		{"unknown", "sk-unknown", llm.Unauthenticated, "token_not_found_in_db", "invalid_api_key"},
		{"malformed", "\x00'; drop", llm.Unauthenticated, "token_not_found_in_db", "invalid_api_key"},
		{"huge", strings.Repeat("x", 1<<20), llm.Unauthenticated, "token_not_found_in_db", "invalid_api_key"},
		{"a hash is no secret", master.String(), llm.Unauthenticated, "token_not_found_in_db", "invalid_api_key"},
		{"blocked, also an admin", "sk-blocked", llm.Unauthenticated, "auth_error", "key_blocked"},
		{"expired", "sk-expired", llm.Unauthenticated, "expired_key", "expired_key"},
		{"grace ended", "sk-older", llm.Unauthenticated, "expired_key", "expired_key"},
		{"team blocked", "sk-teamblocked", llm.Unauthenticated, "auth_error", "team_blocked"},
		{"team missing", "sk-noteam", llm.Unavailable, "", "conclave_catalog_incomplete"},
		{"all levels", "sk-whole", 0, "", ""},
		{"a user without a record", "sk-label", 0, "", ""},
		{"organization blocked", "sk-orgblocked", llm.Unauthenticated, "auth_error", "organization_blocked"},
		{"organization missing", "sk-noorg", llm.Unavailable, "", "conclave_catalog_incomplete"},
		{"project blocked", "sk-projectblocked", llm.Unauthenticated, "auth_error", "project_blocked"},
		{"project missing", "sk-noproject", llm.Unavailable, "", "conclave_catalog_incomplete"},
		{"user blocked", "sk-userblocked", llm.Unauthenticated, "auth_error", "user_blocked"},
		{"the user's organization blocked", "sk-userorg", llm.Unauthenticated, "auth_error", "organization_blocked"},
		{"team expired", "sk-teamexpired", llm.Unauthenticated, "auth_error", "team_expired"},
		{"project expired", "sk-projectexpired", llm.Unauthenticated, "auth_error", "project_expired"},
		{"organization expired", "sk-organizationexpired", llm.Unauthenticated, "auth_error", "organization_expired"},
		{"user's budget missing", "sk-usernobudget", llm.Unavailable, "", "conclave_catalog_incomplete"},
		{"budget missing", "sk-nobudget", llm.Unavailable, "", "conclave_catalog_incomplete"},
		{"team's budget missing", "sk-teamnobudget", llm.Unavailable, "", "conclave_catalog_incomplete"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := auth.New(auth.Config{Keys: keys, Master: func() resource.Hash { return master }, Now: func() time.Time { return now }})
			who, err := a.Authenticate(context.Background(), catalog(), tt.secret)
			if tt.code == "" {
				if err != nil || who == nil || who.Master != (tt.secret == "sk-master") || (who.Key == nil) != who.Master {
					t.Fatalf("got %+v, %v", who, err)
				}
				return
			}
			var e *llm.Error
			if !errors.As(err, &e) || e.Kind != tt.kind || e.Code != tt.code || e.Type != tt.typ {
				t.Fatalf("got %+v, want kind %d, type %q, code %q", err, tt.kind, tt.typ, tt.code)
			}
			if tt.secret != "" && strings.Contains(e.Error(), tt.secret) {
				t.Errorf("error %q repeats the secret", e)
			}
		})
	}
}

func TestAuthenticate_Levels(t *testing.T) {
	t.Parallel()
	keys := table{}
	keys.put("sk-whole", &resource.Key{TeamID: "team_a", ProjectID: "project_a", UserID: "user_a"})
	who, err := auth.New(auth.Config{Keys: keys}).Authenticate(context.Background(), catalog(), "sk-whole")
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, l := range who.Levels(nil) {
		kinds = append(kinds, l.Kind)
	}
	if got, want := strings.Join(kinds, " "), "organization team project user member key"; got != want {
		t.Errorf("got levels %s, want %s", got, want)
	}
}

func TestAuthenticate_NoMaster(t *testing.T) {
	t.Parallel()
	a := auth.New(auth.Config{Keys: table{}, Master: func() resource.Hash { return resource.Hash{} }})
	if _, err := a.Authenticate(context.Background(), catalog(), "sk-any"); err == nil {
		t.Error("without a master key anybody is the master")
	}
}

func TestAuthenticate_Miss(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		found bool
		err   error // of the look at the leader
		kind  llm.Kind
	}{
		{"fresh key", true, nil, 0},
		{"unknown key", false, nil, llm.Unauthenticated},
		{"no leader to ask", false, resource.ErrNoLeader, llm.Unavailable},
	} {
		keys, asked := table{}, 0
		a := auth.New(auth.Config{Keys: keys, Miss: func(context.Context, resource.Hash) error {
			asked++
			if tt.found {
				keys.put("sk-fresh", &resource.Key{})
			}
			return tt.err
		}})
		_, err := a.Authenticate(context.Background(), catalog(), "sk-fresh")
		e, _ := errors.AsType[*llm.Error](err)
		if asked != 1 || (err == nil) != tt.found || (e != nil && e.Kind != tt.kind) {
			t.Errorf("%s: asked %d times, got %v", tt.name, asked, err)
		}
	}
}

func TestSecret(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		header http.Header
		want   string
	}{
		{"none", http.Header{}, ""},
		{"bearer", http.Header{"Authorization": {"Bearer sk-a"}}, "sk-a"},
		{"scheme in lower case", http.Header{"Authorization": {"bearer  sk-a "}}, "sk-a"},
		{"no scheme", http.Header{"Authorization": {"sk-a"}}, "sk-a"},
		{"scheme alone", http.Header{"Authorization": {"Bearer "}, "X-Api-Key": {"sk-b"}}, "sk-b"},
		{"x-api-key", http.Header{"X-Api-Key": {"sk-a"}}, "sk-a"},
		{"api-key", http.Header{"Api-Key": {"sk-a"}}, "sk-a"},
		{"x-goog-api-key", http.Header{"X-Goog-Api-Key": {"sk-a"}}, "sk-a"},
		{"x-litellm-api-key", http.Header{"X-Litellm-Api-Key": {"Bearer sk-a"}}, "sk-a"},
		{"configured", http.Header{"X-Team-Key": {"sk-a"}}, "sk-a"},
		{"conflict: the first in order", http.Header{"Authorization": {"Bearer sk-a"}, "X-Api-Key": {"sk-b"}, "X-Team-Key": {"sk-c"}}, "sk-a"},
		{"conflict without authorization", http.Header{"X-Litellm-Api-Key": {"sk-c"}, "Api-Key": {"sk-b"}}, "sk-b"},
		{"the same header twice: the first", http.Header{"Authorization": {"Bearer sk-a", "Bearer sk-b"}}, "sk-a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := auth.Secret(tt.header, "x-team-key"); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func FuzzSecret(f *testing.F) {
	f.Add("Bearer sk-a", "sk-b")
	f.Add("\x00", "' or 1=1 --")
	a := auth.New(auth.Config{Keys: table{}})
	cat := catalog()
	f.Fuzz(func(t *testing.T, authorization, key string) {
		secret := auth.Secret(http.Header{"Authorization": {authorization}, "X-Api-Key": {key}}, "")
		who, err := a.Authenticate(context.Background(), cat, secret)
		var e *llm.Error
		if who != nil || !errors.As(err, &e) || e.Kind != llm.Unauthenticated {
			t.Errorf("%q and %q got %v, %v", authorization, key, who, err)
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	for _, chain := range []struct{ name, project, user string }{{name: "team"}, {"whole", "project_a", "user_a"}} {
		b.Run(chain.name, func(b *testing.B) { benchmarkAuthenticate(b, chain.project, chain.user) })
	}
}

func benchmarkAuthenticate(b *testing.B, project, user string) {
	keys := people{user: &resource.User{}, member: &resource.TeamMember{}, table: table{}}
	keys.put("sk-0123456789abcdefghijkl", &resource.Key{TeamID: "team_a", ProjectID: project, UserID: user, Policy: resource.Policy{Allowance: resource.Allowance{BudgetID: "budget_a"}}})
	a := auth.New(auth.Config{Keys: keys})
	cat := catalog()
	h := http.Header{"Authorization": {"Bearer sk-0123456789abcdefghijkl"}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Authenticate(context.Background(), cat, auth.Secret(h, "")); err != nil {
			b.Fatal(err)
		}
	}
}

func TestHolder(t *testing.T) {
	t.Parallel()
	keys := table{}
	keys.put("sk-plain", &resource.Key{Meta: resource.Meta{ID: "plain"}})
	keys.put("sk-blocked", &resource.Key{Meta: resource.Meta{ID: "blocked"}, Blocked: true})
	keys.put("sk-expired", &resource.Key{Meta: resource.Meta{ID: "expired"}, Policy: resource.Policy{ExpiresAt: resource.At(now.Add(-time.Second))}})
	a := auth.New(auth.Config{Keys: keys, Now: func() time.Time { return now }})
	for id, code := range map[string]string{"": "", "plain": "", "blocked": "key_blocked", "expired": "expired_key", "deleted": "invalid_api_key"} {
		who, err := a.Holder(catalog(), id)
		e, _ := errors.AsType[*llm.Error](err)
		if code == "" && (err != nil || who.Master != (id == "") || !who.Master && who.Key.ID != id) || code != "" && (e == nil || e.Code != code) {
			t.Errorf("%q: got %+v, %v", id, who, err)
		}
	}
}
