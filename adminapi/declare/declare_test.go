package declare_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/adminapi/declare"
	"github.com/conclave-llm/conclave/resource"
)

// declared is one of everything.
func declared() declare.File {
	const secret = "sk-notebook-of-the-file"
	weight := int64(3)
	return declare.File{
		Credentials: []declare.Credential{{Record: resource.Credential{Name: "openai", Provider: "openai"}, APIKey: "upstream"}},
		Models: []declare.Model{{
			Record: resource.Model{Name: "demo", Fallbacks: []string{}},
			Deployments: []declare.Deployment{
				{Record: resource.Deployment{Name: "d1", Provider: "openai", Weight: &weight}, Credential: "openai"},
				{Record: resource.Deployment{Name: "d2", Provider: "openai"}, APIKey: "of its own"},
			},
		}},
		Teams: []declare.Team{{Organization: "acme", Record: resource.Team{Name: "research", Policy: resource.Policy{Allowance: resource.Allowance{Budgets: []resource.Terms{{USD: resource.Dollar, Per: resource.PerMonth}}}}}}},
		Keys: []declare.Key{{
			Record:  resource.Key{Name: "notebook", Hash: resource.HashSecret(secret), Hint: resource.HintOf(secret)},
			Project: "search", Budget: "shared",
		}},
		Organizations: []declare.Organization{{Record: resource.Organization{Name: "acme"}, Budget: "large"}},
		Projects:      []declare.Project{{Record: resource.Project{Name: "search"}, Team: "research"}},
		Users:         []declare.User{{Record: resource.User{Meta: resource.Meta{ID: "auth0|7"}, Email: "ada@example.org"}, Organization: "acme"}},
		Customers:     []declare.Customer{{Record: resource.Customer{Meta: resource.Meta{ID: "tenant/7"}}, Budget: "shared"}},
		Tags:          []declare.Tag{{Record: resource.Tag{Meta: resource.Meta{ID: "prod"}}}},
		Budgets:       []resource.Budget{{Name: "large", Terms: resource.Terms{USD: 100 * resource.Dollar, Per: resource.PerMonth}}, {Name: "shared", Terms: resource.Terms{USD: resource.Dollar, Per: resource.PerDay}}},
		Guardrails:    []resource.Guardrail{{Name: "words", Plugin: "keywords", Config: []byte(`{ "words": ["x"] }`)}},
		SecretSources: []declare.SecretSource{{Record: resource.SecretSource{Name: "vault", Plugin: "vault", Config: []byte(`{"address":"https://vault.example:8200"}`)}, Secrets: map[string]declare.Secret{"token": {Text: "s.x"}}}},
		Auths:         []declare.Auth{{Record: resource.Auth{Name: "idp", PluginUse: resource.PluginUse{Plugin: "idp"}}, Secrets: map[string]declare.Secret{"token": {Text: "s.y"}}}},
		AccessGroups:  []resource.AccessGroup{{Name: "eng", Models: []string{"demo"}}},
		RouterFilters: []declare.RouterFilter{{Record: resource.RouterFilter{Name: "near", PluginUse: resource.PluginUse{Plugin: "near"}}}},
		Callbacks:     []declare.Callback{{Record: resource.Callback{Name: "log", Plugin: "file", Config: []byte(`{"path":"x"}`)}}},
		Plugins:       []resource.Plugin{{Name: "own", Kind: "guardrail", Path: "/opt/own", SHA256: strings.Repeat("ab", 32)}},
		Settings:      []resource.Setting{{Meta: resource.Meta{ID: "serve_stale"}, Value: []byte(`"1h"`)}},
	}
}

func TestApply(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	cfg := declare.Config{State: h.State, Seal: adminapitest.Seal, Now: h.Clock}
	apply := func(d declare.File) string {
		t.Helper()
		changes, err := declare.Apply(t.Context(), h, cfg, d)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, c := range changes {
			out = append(out, c.Action+" "+c.Kind+" "+c.Name)
		}
		return strings.Join(out, ", ")
	}
	want := "create plugin own, create budget large, create budget shared, create credential openai, create access_group eng, create organization acme, create team research, " +
		"create project search, create user auth0|7, create customer tenant/7, create tag prod, create model demo, " +
		"create deployment demo/d1, create deployment demo/d2, create key notebook, create secret_source vault, create auth idp, create router_filter near, create guardrail words, create callback log, create setting serve_stale"
	if got := apply(declared()); got != want {
		t.Errorf("first:\n got %s\nwant %s", got, want)
	}
	k, ok := h.State.KeyByHash(resource.HashSecret("sk-notebook-of-the-file"))
	if !ok || k.TeamID == "" || k.ProjectID == "" || k.BudgetID == "" || k.Owner != resource.OwnerFile {
		t.Errorf("key: got %+v", k)
	}
	if n := len(h.State.Accounts("key/" + k.ID)); n != 1 {
		t.Errorf("the key has %d windows, want that of the shared budget", n)
	}
	if got := apply(declared()); got != "" {
		t.Errorf("second: got %s, want nothing", got)
	}

	h.Must("POST", "/api/v1/keys/notebook/block", "")
	if got := apply(declared()); got != "" {
		t.Errorf("after a block: got %s, want nothing", got)
	}
	if k, _ := h.State.Key(k.ID); !k.Blocked {
		t.Error("the file unblocked a key")
	}
	if a := h.Call(adminapitest.MasterKey, "PATCH", "/api/v1/keys/notebook", `{"tags":["x"]}`); a.Status != 409 || a.Object(t)["code"] != "owner" {
		t.Errorf("edit of the file's key: got %d %s", a.Status, a.Body)
	}
	if a := h.Call(adminapitest.MasterKey, "DELETE", "/api/v1/models/demo", ""); a.Status != 409 {
		t.Errorf("deletion of the file's model: got %d %s", a.Status, a.Body)
	}

	less := declared()
	less.Keys, less.Plugins, less.Guardrails = nil, nil, nil
	less.Models[0].Deployments = less.Models[0].Deployments[1:]
	less.Models[0].Deployments[0].APIKey = "changed"
	less.Teams[0].Record.Budgets[0].USD = 2 * resource.Dollar
	want = "update team research, update deployment demo/d2, delete key notebook, delete deployment "
	if got := apply(less); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "delete guardrail words, delete plugin own") {
		t.Errorf("less: got %s", got)
	}
	if got := apply(declare.File{}); strings.Contains(got, "create") || !strings.Contains(got, "delete setting serve_stale") {
		t.Errorf("nothing declared: got %s", got)
	}
	if n := len(h.State.Catalog().Tables().Deployments); n != 0 {
		t.Errorf("%d deployments are left", n)
	}
}

// TestApply_expiry: when a holder ends is a change as any other, and none when it is said again.
func TestApply_expiry(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	cfg := declare.Config{State: h.State, Seal: adminapitest.Seal, Now: h.Clock}
	apply := func(d declare.File) string {
		t.Helper()
		changes, err := declare.Apply(t.Context(), h, cfg, d)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, c := range changes {
			out = append(out, c.Action+" "+c.Kind)
		}
		return strings.Join(out, ", ")
	}
	ending := func(at resource.Time) declare.File {
		d := declared()
		for _, p := range []*resource.Time{
			&d.Organizations[0].Record.ExpiresAt, &d.Teams[0].Record.ExpiresAt, &d.Projects[0].Record.ExpiresAt, &d.Users[0].Record.ExpiresAt,
			&d.Customers[0].Record.ExpiresAt, &d.Tags[0].Record.ExpiresAt,
		} {
			*p = at
		}
		return d
	}
	apply(declared())
	end := resource.At(h.Clock().Add(time.Hour))
	want := "update organization, update team, update project, update user, update customer, update tag"
	for _, step := range []struct {
		name string
		file declare.File
		want string
	}{{"an end", ending(end), want}, {"the same", ending(end), ""}, {"later", ending(end + 1), want}, {"never", declared(), want}, {"never again", declared(), ""}} {
		if got := apply(step.file); got != step.want {
			t.Errorf("%s: got %s, want %s", step.name, got, step.want)
		}
	}
}

func TestNewPlan_refusals(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/api/v1/teams", `{"name":"research"}`)
	cfg := declare.Config{State: h.State, Seal: adminapitest.Seal, Now: h.Clock}
	if _, err := declare.NewPlan(cfg, declared()); !errors.Is(err, resource.ErrOwner) {
		t.Errorf("a team of the API: got %v, want ErrOwner", err)
	}
	d := declared()
	d.Teams = nil
	if _, err := declare.NewPlan(cfg, d); err != nil {
		t.Errorf("a file's key in the API's team: got %v", err)
	}
	d.Keys[0].Team = "nobody"
	if _, err := declare.NewPlan(cfg, d); err == nil || !strings.Contains(err.Error(), `key "notebook"`) {
		t.Errorf("unknown team: got %v", err)
	}
}
