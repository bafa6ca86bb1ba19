package resource_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/resource"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	hash := resource.HashSecret("sk-0123456789abcdef")
	for _, tt := range []struct {
		name   string
		record resource.Record
		field  string // of the *resource.Invalid; "": valid
	}{
		{"key", &resource.Key{Hash: hash, Policy: resource.Policy{Models: []string{"gpt*", "demo"}, Routes: []string{"/v1/chat/completions"}}}, ""},
		{"key without a secret", &resource.Key{}, "hash"},
		{"key with an unknown role", &resource.Key{Hash: hash, Role: "root"}, "role"},
		{"key with a relative route", &resource.Key{Hash: hash, Policy: resource.Policy{Routes: []string{"v1"}}}, "routes[0]"},
		{"key with a control character", &resource.Key{Hash: hash, Name: "a\nb"}, "name"},
		{"key with a negative budget", &resource.Key{Hash: hash, Policy: resource.Policy{Allowance: resource.Allowance{Budgets: []resource.Terms{{USD: -1}}}}}, "budgets[0].usd"},
		{"key with two budgets of a period", &resource.Key{Hash: hash, Policy: resource.Policy{Allowance: resource.Allowance{Budgets: []resource.Terms{{Per: "day"}, {Per: "day"}}}}}, "budgets[1].name"},
		{"key with a wrong zone", &resource.Key{Hash: hash, Policy: resource.Policy{Allowance: resource.Allowance{Budgets: []resource.Terms{{Zone: "Mars/Base"}}}}}, "budgets[0].zone"},
		{"key with a wrong period", &resource.Key{Hash: hash, Policy: resource.Policy{Allowance: resource.Allowance{Budgets: []resource.Terms{{Per: "year"}}}}}, "budgets[0].per"},
		{"key with a negative limit", &resource.Key{Hash: hash, Policy: resource.Policy{Allowance: resource.Allowance{Limits: resource.Limits{RPM: new(int64(-1))}}}}, "limits.rpm"},
		{"key with metadata that is no object", &resource.Key{Hash: hash, Policy: resource.Policy{Metadata: json.RawMessage(`[1]`)}}, "metadata"},
		{"team", &resource.Team{Name: "research"}, ""},
		{"team with a space at the end", &resource.Team{Name: "research "}, "name"},
		{"model", &resource.Model{Name: "openai/gpt-4o", Strategy: resource.StrategyLatency}, ""},
		{"model without a name", &resource.Model{}, "name"},
		{"model with an unknown strategy", &resource.Model{Name: "m", Strategy: "fastest"}, "strategy"},
		{"model that falls back to itself", &resource.Model{Name: "m", Fallbacks: []string{"m"}}, "fallbacks[0]"},
		{"model with too many retries", &resource.Model{Name: "m", Retries: new(11)}, "retries"},
		{"deployment", &resource.Deployment{ModelID: "m", Provider: "openai", APIBase: "http://10.0.0.5:8000/v1"}, ""},
		{"deployment with a health check", &resource.Deployment{ModelID: "m", Provider: "openai", HealthCheck: resource.HealthCheck{HealthCheckModel: "openai/gpt-4o-mini", HealthCheckMaxTokens: 1024}}, ""},
		{"health check of a pattern", &resource.Deployment{ModelID: "m", Provider: "openai", HealthCheck: resource.HealthCheck{HealthCheckModel: "openai/*"}}, "health_check_model"},
		{"health check without an end", &resource.Deployment{ModelID: "m", Provider: "openai", HealthCheck: resource.HealthCheck{HealthCheckModel: "x", HealthCheckMaxTokens: 1025}}, "health_check_max_tokens"},
		{"health check of no model", &resource.Deployment{ModelID: "m", Provider: "openai", HealthCheck: resource.HealthCheck{HealthCheckMaxTokens: 5}}, "health_check_max_tokens"},
		{"deployment without a model", &resource.Deployment{Provider: "openai"}, "model_id"},
		{"deployment with another scheme", &resource.Deployment{ModelID: "m", Provider: "openai", APIBase: "ftp://host"}, "api_base"},
		{"deployment with a secret in its address", &resource.Deployment{ModelID: "m", Provider: "openai", APIBase: "http://user:pass@host"}, "api_base"},
		{"deployment with a query", &resource.Deployment{ModelID: "m", Provider: "openai", APIBase: "http://host/?key=1"}, "api_base"},
		{"deployment with a negative price", &resource.Deployment{ModelID: "m", Provider: "openai", Price: &resource.Price{Output: -1}}, "price.output"},
		{"credential", &resource.Credential{Name: "openai"}, ""},
		{"credential without a name", &resource.Credential{}, "name"},
		{"guardrail", &resource.Guardrail{Name: "g", Plugin: "keywords", Hooks: []resource.Hook{"before"}}, ""},
		{"guardrail with an unknown hook", &resource.Guardrail{Name: "g", Plugin: "keywords", Hooks: []resource.Hook{"later"}}, "hooks"},
		{"guardrail that is a general hook", &resource.Guardrail{Name: "g", Plugin: "p", Hooks: []resource.Hook{"failure", "logging"}, May: resource.Powers, Headers: []string{"X-Team"}, Mandatory: true, Mode: "log_only"}, ""},
		{"guardrail with an unknown power", &resource.Guardrail{Name: "g", Plugin: "p", May: []resource.Power{"all"}}, "may"},
		{"guardrail that sees credentials", &resource.Guardrail{Name: "g", Plugin: "p", Headers: []string{"x-API-key"}}, "headers"},
		{"guardrail that sees all headers", &resource.Guardrail{Name: "g", Plugin: "p", Headers: []string{"*"}}, "headers"},
		{"guardrail with an unknown mode", &resource.Guardrail{Name: "g", Plugin: "p", Mode: "sometimes"}, "mode"},
		{"guardrail that is mandatory and optional", &resource.Guardrail{Name: "g", Plugin: "p", Optional: true, Mandatory: true}, "mandatory"},
		{"guardrail with an unknown policy", &resource.Guardrail{Name: "g", Plugin: "keywords", OnError: "maybe"}, "on_error"},
		{"callback with a broken configuration", &resource.Callback{Name: "c", Plugin: "file", Config: json.RawMessage(`{`)}, "config"},
		{"plugin", &resource.Plugin{Name: "p", Kind: "guardrail", Path: "/opt/p", SHA256: strings.Repeat("ab", 32)}, ""},
		{"plugin with a relative path", &resource.Plugin{Name: "p", Kind: "guardrail", Path: "p", SHA256: strings.Repeat("ab", 32)}, "path"},
		{"plugin with a short digest", &resource.Plugin{Name: "p", Kind: "guardrail", Path: "/opt/p", SHA256: "ab"}, "sha256"},
		{"setting", &resource.Setting{Meta: resource.Meta{ID: "serve_stale"}, Value: json.RawMessage(`"forever"`)}, ""},
		{"unknown setting", &resource.Setting{Meta: resource.Meta{ID: "colour"}, Value: json.RawMessage(`1`)}, "id"},
		{"setting with a wrong value", &resource.Setting{Meta: resource.Meta{ID: "budget_exceeded_status_code"}, Value: json.RawMessage(`500`)}, "value"},
		{"member", &resource.Member{Meta: resource.Meta{ID: "n"}, Name: "a", Address: "h:1"}, ""},
		{"member without an address", &resource.Member{Meta: resource.Meta{ID: "n"}, Name: "a"}, "address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.record.Canonicalize()
			err := tt.record.Validate()
			inv, _ := errors.AsType[*resource.Invalid](err)
			if tt.field == "" && err != nil {
				t.Errorf("Validate() = %v, want nil", err)
			}
			if tt.field != "" && (inv == nil || inv.Field != tt.field) {
				t.Errorf("Validate() = %v, want a complaint about %s", err, tt.field)
			}
		})
	}
}

func TestErrors_SurviveTheWire(t *testing.T) {
	t.Parallel()
	for _, sentinel := range []error{
		resource.ErrNotFound, resource.ErrConflict, resource.ErrExists, resource.ErrDead, resource.ErrOwner,
		resource.ErrInUse, resource.ErrForbidden, resource.ErrNoLeader, resource.ErrExpired, resource.ErrRefused, resource.ErrFull,
	} {
		err := fmt.Errorf("key k: %w", sentinel)
		back := resource.FromCode(resource.Code(err), err.Error())
		if !errors.Is(back, sentinel) || back.Error() != err.Error() {
			t.Errorf("%v came back as %v", err, back)
		}
	}
	inv := resource.FromCode(resource.Code(&resource.Invalid{Field: "name", Reason: "is bad"}), "name: is bad")
	if _, ok := errors.AsType[*resource.Invalid](inv); !ok {
		t.Errorf("an *Invalid came back as %T", inv)
	}
}

func TestKey_AcceptsAt(t *testing.T) {
	t.Parallel()
	now, old := resource.HashSecret("sk-now-0123456789"), resource.HashSecret("sk-old-0123456789")
	k := resource.Key{Hash: now, OldHashes: []resource.OldHash{{Hash: old, Until: 100}}}
	for _, tt := range []struct {
		name string
		hash resource.Hash
		at   resource.Time
		want bool
	}{
		{"current", now, 1000, true},
		{"old in its grace", old, 99, true},
		{"old at the end of its grace", old, 100, false},
		{"another", resource.Hash{}, 0, false},
	} {
		if got := k.AcceptsAt(tt.hash, tt.at); got != tt.want {
			t.Errorf("%s: AcceptsAt = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestAllowsModel(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		list  []string
		model string
		want  bool
	}{
		{nil, "any", true},
		{[]string{"demo"}, "demo", true},
		{[]string{"demo"}, "demo2", false},
		{[]string{"gpt*"}, "gpt-4o", true},
		{[]string{"gpt*"}, "o3", false},
		{[]string{"*"}, "o3", true},
		{[]string{"none"}, "", false},
	} {
		if got := resource.AllowsModel(tt.list, tt.model); got != tt.want {
			t.Errorf("AllowsModel(%v, %q) = %v, want %v", tt.list, tt.model, got, tt.want)
		}
	}
}

func TestSealed_NeverShowsItsBox(t *testing.T) {
	t.Parallel()
	s := &resource.Sealed{DEK: "dek", Box: []byte("CIPHERTEXT"), Fingerprint: "01234567"}
	b, err := json.Marshal(map[string]any{"api_key": s})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(b), s.String(), fmt.Sprintf("%v %+v %#v %s", s, s, s, s)} {
		if strings.Contains(text, "CIPHERTEXT") || strings.Contains(text, "Q0lQSEVS") || !strings.Contains(text, "01234567") {
			t.Errorf("shown as %s, want the fingerprint alone", text)
		}
	}
	if err := json.Unmarshal(b, &map[string]*resource.Sealed{}); err == nil {
		t.Error("what is shown was read back as a secret")
	}
}

// TestSealed_Follow: what a sign-in gave knows what somebody gave before it, however often it was renewed.
func TestSealed_Follow(t *testing.T) {
	t.Parallel()
	given := &resource.Sealed{Fingerprint: "given"}
	first, second, none := &resource.Sealed{Fingerprint: "first"}, &resource.Sealed{Fingerprint: "second"}, &resource.Sealed{Fingerprint: "none"}
	first.Follow(given)
	second.Follow(first)
	none.Follow(nil)
	if !first.SignIn || first.Given != "given" || !second.SignIn || second.Given != "given" || !none.SignIn || none.Given != "" {
		t.Errorf("got %+v, %+v, %+v", *first, *second, *none)
	}
}

func TestCatalog(t *testing.T) {
	t.Parallel()
	c := resource.NewCatalog(resource.Tables{
		Index:  7,
		Models: []*resource.Model{{Meta: resource.Meta{ID: "m2"}, Name: "b"}, {Meta: resource.Meta{ID: "m1"}, Name: "a"}},
		Deployments: []*resource.Deployment{
			{Meta: resource.Meta{ID: "d2"}, ModelID: "m1", Name: "x", Order: 1},
			{Meta: resource.Meta{ID: "d1"}, ModelID: "m1", Name: "z"},
		},
		Budgets: []*resource.Budget{{Meta: resource.Meta{ID: "b1"}, Name: "shared", Terms: resource.Terms{Name: "month", USD: 5}}},
		Settings: []*resource.Setting{
			{Meta: resource.Meta{ID: "max_body_bytes"}, Value: json.RawMessage(`4096`)},
			{Meta: resource.Meta{ID: "from_a_later_version"}, Value: json.RawMessage(`1`)},
		},
	})
	if m, ok := c.Model("a"); !ok || m.ID != "m1" || c.Index() != 7 {
		t.Errorf("Model(a) = %v, %v at %d", m, ok, c.Index())
	}
	var ids []string
	for _, d := range c.Deployments("m1") {
		ids = append(ids, d.ID)
	}
	if diff := cmp.Diff([]string{"d1", "d2"}, ids); diff != "" {
		t.Errorf("deployments by order (-want +got):\n%s", diff)
	}
	if got := c.Settings().MaxBodyBytes; got != 4096 || c.Settings().BudgetExceededStatus != 429 {
		t.Errorf("settings = %+v", c.Settings())
	}
	inline := []resource.Terms{{Name: "day", USD: 1}}
	if got, ok := c.Terms(inline, "b1"); !ok || len(got) != 2 || len(inline) != 1 {
		t.Errorf("Terms = %v, %v, want the inline and the shared ones", got, ok)
	}
	if _, ok := c.Terms(inline, "gone"); ok {
		t.Error("Terms of a budget that is not in the catalog are no terms at all")
	}
}
