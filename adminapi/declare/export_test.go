package declare_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/adminapi/declare"
	"github.com/conclave-llm/conclave/config/hclfile"
	"github.com/conclave-llm/conclave/config/load"
	"github.com/conclave-llm/conclave/resource"
)

// draw makes random configurations.
type draw struct{ *rand.Rand }

func (d draw) chance() bool { return d.IntN(2) == 0 }

// options are sometimes those of an account.
func (d draw) options() map[string]string {
	if d.chance() {
		return nil
	}
	return map[string]string{"region": "eu-west-" + fmt.Sprint(d.IntN(9)), "a b": `x"${y}`}
}

// secrets are sometimes those of an account.
func (d draw) secrets() map[string]declare.Secret {
	if d.chance() {
		return nil
	}
	return map[string]declare.Secret{"aws_secret_access_key": {Text: "s" + d.text()}, `q"r`: {Text: "canary"}}
}

func (d draw) int() *int64 {
	if d.chance() {
		return nil
	}
	v := d.Int64N(1_000_000)
	return &v
}

func (d draw) money() resource.Money { return resource.Money(d.Int64N(1_000_000_000_000)) }

// text is a name with what is special in HCL.
func (d draw) text() string {
	parts := []string{"a", "Ü", "${x}", "%{if}", "$${y}", `"`, `\`, "'", "#", "//", "/*", "<<EOT", "日本", "-", ".", "{", "}", "1", "true", "null", "$", "%%{"}
	var b strings.Builder
	for range 1 + d.IntN(4) {
		b.WriteString(parts[d.IntN(len(parts))])
	}
	return b.String()
}

func (d draw) list(of func() string) (out []string) {
	for i := range d.IntN(3) {
		out = append(out, fmt.Sprintf("%s%d", of(), i))
	}
	return out
}

// object is any JSON object.
func (d draw) object() json.RawMessage {
	if d.chance() {
		return nil
	}
	b, err := json.Marshal(map[string]any{
		d.text(): d.text() + "\n\ttwo", "n": json.Number(fmt.Sprintf("%d.%d", d.IntN(100), d.IntN(100))), "": nil, "list": []any{d.text(), 1, true, map[string]any{}}, "none": []any{},
	})
	if err != nil {
		panic(err)
	}
	return b
}

func (d draw) limits() resource.Limits {
	return resource.Limits{RPM: d.int(), TPM: d.int(), InputTPM: d.int(), OutputTPM: d.int(), Parallel: d.int()}
}

func (d draw) terms() (out []resource.Terms) {
	for i := range d.IntN(4) {
		t := resource.Terms{Name: fmt.Sprintf("b%d", i), Per: []resource.Per{"hour", "day", "week", "month", "total"}[d.IntN(5)], Every: d.Int64N(5)}
		switch d.IntN(4) {
		case 0:
			t.Tokens = new(d.Int64N(1000))
		case 1:
			t.Requests = new(d.Int64N(1000))
		case 2:
			t.GPUSeconds = new(d.money())
		default:
			t.USD, t.Overdraft, t.Soft = d.money(), d.money(), d.money()
		}
		t.Strict, t.Clamp, t.Models = d.chance(), d.chance(), d.list(d.text)
		if d.chance() {
			t.Zone, t.NoQuorum, t.Unpriced = "Europe/Paris", resource.NoQuorumShare, resource.UnpricedDeny
		}
		if d.chance() {
			t.Increase = &resource.TempIncrease{Amount: d.money(), Until: resource.Time(d.Int64N(4e18)), By: "master", Reason: d.text()}
		}
		out = append(out, t)
	}
	return out
}

func (d draw) policy() resource.Policy {
	p := resource.Policy{
		Allowance: resource.Allowance{Budgets: d.terms(), Limits: d.limits()},
		Models:    d.list(d.text), EnforcedParams: d.list(func() string { return "metadata.x" }), Tags: d.list(d.text), Metadata: d.object(),
		Guardrails: d.list(d.text), Callbacks: d.list(d.text),
	}
	if d.chance() {
		p.ModelLimits = map[string]resource.Limits{d.text(): d.limits(), "other": {RPM: new(int64(1))}}
		p.Aliases = map[string]string{d.text(): "demo"}
		p.Objects = &resource.Objects{MCPServers: []string{"s", d.text()}, MCPTools: map[string][]string{"s": {d.text()}}}
		p.Routes, p.AllowedIPs, p.DeniedIPs = []string{"/v1/*"}, []string{"10.0.0.0/8", "::1"}, []string{"10.1.2.3"}
		p.Sessions = &resource.SessionLimits{Budget: d.money(), Iterations: d.Int64N(9), RPM: d.int(), TPM: d.int(), RequireTraceID: d.chance()}
		p.ExpiresAt = resource.At(time.Date(2040, 1, 1+d.IntN(20), 0, 0, 0, 0, time.UTC))
		p.LogContentDays = new(1 + d.Int64N(365))
		p.LogContent, p.MaxRequestMB, p.MaxResponseMB = new(d.chance()), new(1+d.Int64N(9)), new(1+d.Int64N(9))
		p.TagLimits = map[string]resource.Limits{"batch": {RPM: d.int(), TPM: d.int()}}
		p.MCPLimits = map[string]resource.Limits{"s": {RPM: d.int(), Parallel: d.int()}}
		p.BudgetFallbacks = map[string][]string{"demo": {"other", "nick"}}
		p.OutputHold, p.ModelOutputHolds = new(1+d.Int64N(9)), map[string]int64{"demo": 1 + d.Int64N(9)}
		p.PassThrough, p.DeniedPassThrough = []string{"/openai/*"}, []string{"/openai/v1/files"}
		p.NoGuardrails, p.AccessGroupIDs = d.chance(), []string{"eng"}
	}
	return p
}

func (d draw) price() *resource.Price {
	if d.chance() {
		return nil
	}
	return &resource.Price{
		Input: d.money(), Output: d.money(), Request: d.money(), Classes: resource.Classes{CacheRead: new(d.money()), AudioInput: new(d.money())},
		Units:    resource.Units{GPUs: d.money(), Second: resource.Rate(d.Int64N(1e12)), Page: resource.Rate(d.Int64N(1e12))},
		Variants: []resource.PriceVariant{{Above: 1 + d.Int64N(1e6), Input: new(d.money())}, {Service: "batch", Output: new(d.money())}},
	}
}

// file is a random configuration.
func (d draw) file() declare.File {
	name := func(i int) string { return fmt.Sprintf("%s%d", d.text(), i) }
	f := declare.File{
		Budgets: []resource.Budget{
			{Name: "shared", Terms: resource.Terms{Name: "x y", USD: d.money(), Per: resource.PerDay}},
			{Name: name(1), Terms: resource.Terms{Tokens: new(int64(5))}},
			{
				Name: name(2), Terms: resource.Terms{USD: d.money(), Per: resource.PerDay}, Budgets: []resource.Terms{{Name: "of x", USD: d.money(), Models: []string{"x"}}},
				Limits: d.limits(), ModelLimits: map[string]resource.Limits{"x": d.limits()},
			},
			{Name: name(3), Terms: resource.Terms{USD: resource.MaxMoney}, Limits: resource.Limits{RPM: new(d.Int64N(9))}},
		},
		Guardrails: []declare.Guardrail{{
			Guardrail: resource.Guardrail{Name: name(1), Plugin: "mine", Hooks: []resource.Hook{"before"}, Models: d.list(d.text), Optional: d.chance(), Config: d.object()},
			Secrets:   map[string]declare.Secret{"the_key": {Text: d.text() + "x"}},
		}},
		Callbacks: []declare.Callback{{
			Record: resource.Callback{
				Name: name(1), Plugin: "mine", Config: d.object(), Content: d.chance(), Selection: resource.SelectChosen, Statuses: []string{"failure"},
				Redelivery: &resource.Redelivery{From: resource.Time(1 + d.Int64N(9)), Asked: 5},
			},
		}},
		SecretSources: []declare.SecretSource{{
			Record: resource.SecretSource{Name: strings.NewReplacer("/", "", "#", "", "?", "").Replace(name(1)), Plugin: "mine", Config: d.object(), RefreshSeconds: 1 + d.Int64N(9), MaxStaleSeconds: 10 + d.Int64N(9), MemoryMB: 64},
		}},
		Auths: []declare.Auth{{Record: resource.Auth{
			Name: name(1), Mode: resource.AuthOn, OnError: resource.OnErrorPass, Routes: []string{"/v1/*"}, Headers: []string{"X-User"}, CacheSeconds: -1,
			PluginUse: resource.PluginUse{Plugin: "mine", Config: d.object(), DeadlineMS: 10 + d.Int64N(9), Instances: 2, MemoryMB: 64},
		}}},
		AccessGroups: []declare.AccessGroup{{AccessGroup: resource.AccessGroup{Name: "eng", Description: d.text(), Models: []string{name(1)}, MCPTools: map[string][]string{name(1): {"send"}}, Allowance: resource.Allowance{Budgets: d.terms(), Limits: d.limits(), ModelLimits: map[string]resource.Limits{"x": d.limits()}}}, Budget: "shared"}},
		RouterFilters: []declare.RouterFilter{{Record: resource.RouterFilter{
			Name: name(1), OnError: resource.OnErrorPass, Models: []string{name(1)},
			PluginUse: resource.PluginUse{Plugin: "mine", Config: d.object(), DeadlineMS: 10 + d.Int64N(9), Instances: 2, MemoryMB: 64},
		}}},
		Plugins:  []resource.Plugin{{Name: name(1), Kind: "callback", Path: "/opt/" + d.text(), SHA256: strings.Repeat("ab", 32), MTLS: new(d.chance())}},
		Settings: []resource.Setting{{Meta: resource.Meta{ID: "serve_stale"}, Value: []byte(`"1h"`)}, {Meta: resource.Meta{ID: "enforced_params"}, Value: []byte(`["user"]`)}},
	}
	secret := ""
	if d.chance() {
		secret = d.text()
	}
	f.Credentials = []declare.Credential{{Record: resource.Credential{Name: "cred", DisplayName: "The lab's", Provider: "openai", APIBase: "https://x.example/" + fmt.Sprint(d.IntN(9)), Options: d.options()}, APIKey: secret, Secrets: d.secrets()}}
	f.MCPServers = []declare.MCPServer{
		{Record: resource.MCPServer{Name: "tools", Alias: "t", MCPUpstream: resource.MCPUpstream{URL: "https://x.example/mcp", Headers: map[string]string{"X-A": d.text()}, ForwardHeaders: []string{"X-User"}, Auth: "api_key", AuthHeader: "X-K"}, CostPerCall: d.money(), ToolCosts: map[string]resource.Money{d.text(): d.money()}, AllowedTools: d.list(d.text), AccessGroups: d.list(d.text), AllowAllKeys: d.chance(), Metadata: d.object()}, Credential: "cred"},
		{Record: resource.MCPServer{Name: "local", MCPUpstream: resource.MCPUpstream{Command: "/bin/x", Args: d.list(d.text), Env: map[string]string{"A": d.text()}}, Disabled: d.chance()}, Secrets: map[string]declare.Secret{"env.TOKEN": {Text: "s" + d.text()}}},
	}
	f.PassThrough = []declare.PassThrough{{
		Record: resource.PassThroughEndpoint{
			Name: "search", Path: "/tools/search", Target: "https://x.example/s", IncludeSubpath: d.chance(), Headers: map[string]string{"X-A": d.text()}, ForwardHeaders: d.chance(),
			Query: map[string]string{"a": d.text()}, NoAuth: d.chance(), CostPerRequest: d.money(), Guardrails: d.list(d.text), Disabled: d.chance(),
		},
		Secrets: map[string]declare.Secret{"header.Authorization": {Text: "s" + d.text()}},
	}}
	f.Organizations = []declare.Organization{{Record: resource.Organization{Name: "org", Policy: resource.Policy{Metadata: d.object()}}}}
	f.Users = []declare.User{{Record: resource.User{Meta: resource.Meta{ID: "auth0|" + strings.ReplaceAll(name(1), "/", "_")}, Name: d.text(), Email: "a@example.org", ServiceAccount: d.chance(), Policy: d.policy()}}}
	team := name(1)
	f.Teams = []declare.Team{{
		Record: resource.Team{Name: team}, Organization: "org",
		Members: []declare.Member{{Record: resource.TeamMember{UserID: f.Users[0].Record.ID, Admin: d.chance(), Policy: resource.Policy{Tags: d.list(d.text), Allowance: resource.Allowance{Budgets: d.terms()}}}}},
	}, {Record: resource.Team{
		Name: "wide", Policy: d.policy(), CustomerBudget: "shared", FileExpiry: &resource.Expiry{Anchor: "created_at", Seconds: 3600 + d.Int64N(9)},
		BatchOutputExpiry: &resource.Expiry{Anchor: "created_at", Seconds: 7200},
	}}}
	f.Projects = []declare.Project{{Record: resource.Project{Name: "p" + name(1), Description: d.text()}, Team: team, Budget: "shared"}}
	f.Customers = []declare.Customer{{Record: resource.Customer{Meta: resource.Meta{ID: name(1)}, Name: d.text(), Region: "eu", Policy: d.policy()}}}
	f.Tags = []declare.Tag{{Record: resource.Tag{Meta: resource.Meta{ID: name(1)}, Description: d.text(), Policy: d.policy()}}}
	f.Models = []declare.Model{{
		Record: resource.Model{
			Name: name(1), Fallbacks: d.list(d.text), Retries: new(d.IntN(9)), TimeoutMS: d.Int64N(9), AccessGroups: d.list(d.text), Metadata: d.object(), UnsupportedParams: []resource.ParamsPolicy{"", "drop", "reject", "pass"}[d.IntN(4)],
			Allowance: resource.Allowance{Budgets: d.terms(), Limits: d.limits(), ModelLimits: map[string]resource.Limits{"x": d.limits()}},
		},
		Deployments: []declare.Deployment{
			{Record: resource.Deployment{Name: name(1), Provider: "openai", Upstream: d.text(), Weight: d.int(), Order: d.Int64N(5), Price: d.price(), Blocked: d.chance(), Metadata: d.object(), Options: d.options()}, Credential: "cred", Secrets: d.secrets()},
			{Record: resource.Deployment{Name: name(2), Provider: "openai", HealthCheck: resource.HealthCheck{HealthCheckModel: "small", HealthCheckMaxTokens: 1 + d.Int64N(9)}, Allowance: resource.Allowance{Limits: d.limits()}}, APIKey: secret, Budget: "shared"},
		},
	}}
	for i := range 2 {
		text := fmt.Sprintf("sk-of-the-property-%d", i)
		k := declare.Key{Record: resource.Key{Name: name(i), Hash: resource.HashSecret(text), Hint: resource.HintOf(text), Policy: d.policy(), UserID: d.text()}}
		if d.chance() {
			k.Record.ExpiresAt = resource.Time(3e18 + d.Int64N(1e18))
			k.Record.Access = resource.Access{
				Permissions: map[string]bool{"get_spend_routes": d.chance()}, Prompts: d.list(d.text),
				IncreaseCap: new(d.money()),
			}
			k.Record.PassThrough = d.list(func() string { return "/x/*" })
		}
		if i == 0 {
			k.Record.Policy, k.Project = resource.Policy{Tags: d.list(d.text)}, f.Projects[0].Record.Name
			k.Record.Rotation = &resource.Rotation{Every: "30d", Grace: "1d", Deliver: resource.DeliverWebhook, URL: "https://x.example/h"}
			k.RotationKey = "signing-key"
		}
		f.Keys = append(f.Keys, k)
	}
	for _, p := range []*resource.Policy{&f.Organizations[0].Record.Policy, &f.Teams[0].Members[0].Record.Policy, &f.Projects[0].Record.Policy} {
		if d.chance() {
			p.AccessGroupIDs = []string{"eng"}
		}
	}
	return f
}

// TestExport_roundTrip holds the export of any configuration to what it promises: it changes
// nothing, whoever owns what is in it.
func TestExport_roundTrip(t *testing.T) {
	t.Parallel()
	for seed := range uint64(16) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			h := adminapitest.New(t)
			cfg := declare.Config{State: h.State, Seal: seal, Now: h.Clock}
			d := draw{rand.New(rand.NewPCG(seed, 1))}
			if _, err := declare.Apply(t.Context(), h, cfg, d.file()); err != nil {
				t.Fatal(err)
			}
			h.Must("POST", "/api/v1/keys", `{"models":["x"],"metadata":{"b":1,"a":{"d":2,"c":1.50}}}`) // without a name
			h.Must("POST", "/api/v1/teams", `{"tags":["x"]}`)
			text := exported(t, h)
			f, err := load.Text("export.hcl", []byte(text), func(string) (string, bool) { return "", false })
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			back := declare.FromConfig(&f.Resources)
			for _, o := range []declare.Options{{}, {Keep: true}} {
				cfg.Options = o
				plan, err := declare.NewPlan(cfg, back)
				if err != nil || len(plan.Changes) > 0 {
					t.Fatalf("plan of the export: %v, %+v\n%s", err, plan.Changes, text)
				}
			}
		})
	}
}

// seal makes fingerprints that are the same whatever record has the secret, as the real one.
func seal(plaintext, _, _, field string) (*resource.Sealed, error) {
	return adminapitest.Seal(plaintext, "", "", field)
}

func exported(t *testing.T, h *adminapitest.Harness) string {
	t.Helper()
	f := declare.Export(h.State)
	var b strings.Builder
	if err := hclfile.Write(&b, f.ToConfig()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestDraw_whole keeps the property test from forgetting a field of a policy.
func TestDraw_whole(t *testing.T) {
	t.Parallel()
	d := draw{rand.New(rand.NewPCG(1, 1))}
	seen := map[string]bool{}
	for range 200 {
		v := reflect.ValueOf(d.policy())
		for i := range v.NumField() {
			seen[v.Type().Field(i).Name] = seen[v.Type().Field(i).Name] || !v.Field(i).IsZero()
		}
	}
	for name, ok := range seen {
		if !ok {
			t.Errorf("no configuration has the policy's %s", name)
		}
	}
}
