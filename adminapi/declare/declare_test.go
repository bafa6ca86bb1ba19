package declare_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/adminapi/declare"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/codec"
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
		Guardrails:    []declare.Guardrail{{Guardrail: resource.Guardrail{Name: "words", Plugin: "keywords", Config: []byte(`{ "words": ["x"] }`)}}},
		SecretSources: []declare.SecretSource{{Record: resource.SecretSource{Name: "vault", Plugin: "vault", Config: []byte(`{"address":"https://vault.example:8200"}`)}, Secrets: map[string]declare.Secret{"token": {Text: "s.x"}}}},
		Auths:         []declare.Auth{{Record: resource.Auth{Name: "idp", PluginUse: resource.PluginUse{Plugin: "idp"}}, Secrets: map[string]declare.Secret{"token": {Text: "s.y"}}}},
		AccessGroups:  []declare.AccessGroup{{AccessGroup: resource.AccessGroup{Name: "eng", Models: []string{"demo"}}, Budget: "shared"}},
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

// TestApply_configSecrets seals what the schema of a plugin marks as secret, although the file has it in the
// configuration, and sees no change when it is applied again.
func TestApply_configSecrets(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	cfg := declare.Config{State: h.State, Seal: adminapitest.Seal, Now: h.Clock}
	guard := func(config string, secrets map[string]declare.Secret) declare.File {
		return declare.File{Guardrails: []declare.Guardrail{{Guardrail: resource.Guardrail{Name: "g", Plugin: "lakera", Config: []byte(config)}, Secrets: secrets}}}
	}
	const config = `{"api_key":"canary","api_base":"https://x"}`
	for _, want := range []int{1, 0} {
		changes, err := declare.Apply(t.Context(), h, cfg, guard(config, nil))
		if err != nil || len(changes) != want {
			t.Fatalf("got %v, %v, want %d changes", changes, err, want)
		}
	}
	g := h.State.Catalog().Tables().Guardrails[0]
	if string(g.Config) != `{"api_base":"https://x"}` || g.Secrets["api_key"] == nil {
		t.Errorf("got %s and %v", g.Config, g.Secrets)
	}
	kept := declare.Secret{Sealed: g.Secrets["api_key"].Fingerprint}
	for _, tt := range []struct {
		name string
		file declare.File
		want string // of the error
	}{
		{"both", guard(config, map[string]declare.Secret{"api_key": {Text: "x"}}), "is given in config too"},
		{"the stored one elsewhere", guard(`{"api_base":"https://elsewhere"}`, map[string]declare.Secret{"api_key": kept}), "give the secrets again"},
		{"another's", guard(`{"api_base":"https://x"}`, map[string]declare.Secret{"api_key": {Sealed: "00000000"}}), "not stored here"},
		{"the stored one", guard(`{"api_base":"https://x"}`, map[string]declare.Secret{"api_key": kept}), ""},
	} {
		plan, err := declare.NewPlan(cfg, tt.file)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) || err == nil && len(plan.Changes) != 0 {
			t.Errorf("%s: got %+v, %v, want %q", tt.name, plan, err, tt.want)
		}
	}
}

// TestApply_storedKey: a file that takes a key over leaves where its secret is kept, and whoever applies one
// that declares the key no more is told of it.
func TestApply_storedKey(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	const ref = "vault://keys/k"
	e, err := codec.Encode(resource.Key{
		Meta: resource.Meta{ID: "key_1", Owner: resource.OwnerAPI}, Name: "k", Hash: resource.HashSecret("sk-k"), Hint: "sk-...k", StoredIn: ref,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Propose(t.Context(), fsm.Actor{Kind: "master"}, "", fsm.PutKey{Key: e}); err != nil {
		t.Fatal(err)
	}
	var told []fsm.Command
	left := 0
	cfg := declare.Config{State: h.State, Seal: adminapitest.Seal, Now: h.Clock, Options: declare.Options{TakeOver: true}}
	cfg.Leaving = func(cmds []fsm.Command) func(context.Context) {
		told = cmds
		return func(context.Context) { left++ }
	}
	file := declare.Export(h.State)
	if got := file.Keys[0].Record.StoredIn; got != "" {
		t.Errorf("the export says where the secret is: %s", got)
	}
	file.Keys[0].Record.StoredIn = "vault://elsewhere"
	by := records.Caller{Who: resource.Principal{Master: true}}
	if _, _, err := declare.ApplyAs(t.Context(), h, cfg, by, file); err != nil {
		t.Fatal(err)
	}
	if k, _ := h.State.Key("key_1"); k.Owner != resource.OwnerFile || k.StoredIn != ref || left != 1 {
		t.Errorf("got %+v, told %d times", k, left)
	}
	if _, _, err := declare.ApplyAs(t.Context(), h, cfg, by, declare.File{}); err != nil {
		t.Fatal(err)
	}
	if left != 2 || len(told) != 1 || told[0] != fsm.Command(fsm.DeleteKey{ID: "key_1"}) {
		t.Errorf("told %d times, of %v", left, told)
	}
}
