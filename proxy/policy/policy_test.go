package policy_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/resource"
)

func settings(t testing.TB, values map[string]string) *resource.Settings {
	t.Helper()
	s := resource.DefaultSettings()
	for name, v := range values {
		if err := s.Set(name, json.RawMessage(v)); err != nil {
			t.Fatal(err)
		}
	}
	return &s
}

func level(kind string, p resource.Policy) resource.Level {
	return resource.Level{Kind: kind, ID: kind + "_1", Allowance: &p.Allowance, Policy: &p}
}

func headers(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func codeOf(err error) string {
	if e, ok := errors.AsType[*llm.Error](err); ok {
		return e.Code
	}
	return ""
}

func TestClientAddress(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, peer string
		forwarded  []string
		want       string // "": it cannot be told
	}{
		{"direct", "192.0.2.7:1234", nil, "192.0.2.7"},
		{"IPv6", "[2001:db8::7]:1234", nil, "2001:db8::7"},
		{"IPv4 in IPv6", "[::ffff:192.0.2.7]:1", nil, "192.0.2.7"},
		{"zone", "[fe80::1%eth0]:1", nil, "fe80::1"},
		{"a stranger's header is not believed", "192.0.2.7:1", []string{"10.9.9.9"}, "192.0.2.7"},
		{"one proxy", "10.0.0.1:1", []string{"192.0.2.7"}, "192.0.2.7"},
		{"forged on the left", "10.0.0.1:1", []string{"10.9.9.9, 127.0.0.1, 192.0.2.7"}, "192.0.2.7"},
		{"two proxies", "10.0.0.1:1", []string{"6.6.6.6, 192.0.2.7, 10.0.0.2"}, "192.0.2.7"},
		{"several lines are one list", "10.0.0.1:1", []string{"6.6.6.6", "192.0.2.7", "10.0.0.2"}, "192.0.2.7"},
		{"forged line before the proxy's", "10.0.0.1:1", []string{"6.6.6.6", "192.0.2.7"}, "192.0.2.7"},
		{"with ports", "10.0.0.1:1", []string{"192.0.2.7:99, 10.0.0.2:7"}, "192.0.2.7"},
		{"IPv6 in brackets", "10.0.0.1:1", []string{"[2001:db8::7]:99"}, "2001:db8::7"},
		{"IPv6 in brackets without a port", "10.0.0.1:1", []string{"[2001:db8::7]"}, "2001:db8::7"},
		{"all are trusted", "10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"a proxy that says nothing", "10.0.0.1:1", nil, "10.0.0.1"},
		{"garbage", "10.0.0.1:1", []string{"192.0.2.7, unknown"}, ""},
		{"empty entry", "10.0.0.1:1", []string{"192.0.2.7,"}, ""},
		{"no peer", "pipe", []string{"192.0.2.7"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
			got := policy.ClientAddress(tt.peer, http.Header{"X-Forwarded-For": tt.forwarded}, trusted)
			if want, _ := netip.ParseAddr(tt.want); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
			if got := policy.ClientAddress(tt.peer, http.Header{"X-Forwarded-For": tt.forwarded}, nil); got != policy.ClientAddress(tt.peer, nil, nil) {
				t.Errorf("without trusted proxies the header counts: got %v", got)
			}
		})
	}
}

func FuzzClientAddress(f *testing.F) {
	f.Add("10.0.0.1:1", "1.2.3.4, [::1]:2,,x")
	f.Fuzz(func(t *testing.T, peer, forwarded string) {
		trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		got := policy.ClientAddress(peer, http.Header{"X-Forwarded-For": {forwarded}}, trusted)
		if direct := policy.ClientAddress(peer, nil, nil); !trusted[0].Contains(direct) && got != direct {
			t.Errorf("peer %q and %q gave %v", peer, forwarded, got)
		}
	})
}

func TestCheckAddress(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		set     map[string]string
		levels  []resource.Level
		address string
		refused string // "": not; the kind of the level, or "cluster"
	}{
		{"nothing said", nil, nil, "192.0.2.7", ""},
		{"in the cluster's list", map[string]string{"allowed_ips": `["192.0.2.0/24"]`}, nil, "192.0.2.7", ""},
		{"not in it", map[string]string{"allowed_ips": `["192.0.2.0/24"]`}, nil, "198.51.100.1", "cluster"},
		{"denied wins", map[string]string{"allowed_ips": `["192.0.2.0/24"]`, "denied_ips": `["192.0.2.7"]`}, nil, "192.0.2.7", "cluster"},
		{"IPv6", nil, []resource.Level{level("key", resource.Policy{AllowedIPs: []string{"2001:db8::/32"}})}, "2001:db8::7", ""},
		{"IPv6 not in it", nil, []resource.Level{level("key", resource.Policy{AllowedIPs: []string{"2001:db8::/32"}})}, "2001:db9::7", "key"},
		{"IPv4 is not IPv6", nil, []resource.Level{level("key", resource.Policy{AllowedIPs: []string{"::/0"}})}, "192.0.2.7", "key"},
		{"each level must allow", nil, []resource.Level{
			level("team", resource.Policy{AllowedIPs: []string{"10.0.0.0/8"}}), level("key", resource.Policy{AllowedIPs: []string{"192.0.2.7"}}),
		}, "192.0.2.7", "team"},
		{"a level denies", nil, []resource.Level{level("key", resource.Policy{DeniedIPs: []string{"192.0.2.0/24"}})}, "192.0.2.7", "key"},
		{"unknown is not allowed", nil, []resource.Level{level("key", resource.Policy{AllowedIPs: []string{"0.0.0.0/0", "::/0"}})}, "", "key"},
		{"unknown may be denied", nil, []resource.Level{level("key", resource.Policy{DeniedIPs: []string{"192.0.2.0/24"}})}, "", "key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, _ := netip.ParseAddr(tt.address)
			set := settings(t, tt.set)
			err := policy.CheckAddress(a, set, tt.levels)
			e, _ := errors.AsType[*llm.Error](err)
			switch {
			case tt.refused == "" && err != nil:
				t.Errorf("got %v", err)
			case tt.refused != "":
				if e == nil || e.Code != policy.CodeAddress || e.HTTPStatus() != 403 || !strings.Contains(e.Message, tt.address) {
					t.Fatalf("got %v", err)
				}
				if e.Scope != strings.TrimSuffix(tt.refused, "cluster") {
					t.Errorf("scope %q, want %q", e.Scope, tt.refused)
				}
			}
			if (len(tt.set) > 0 || len(tt.levels) > 0) != policy.Addressed(set, tt.levels) {
				t.Error("Addressed says otherwise")
			}
		})
	}
}

// The machine itself may always correct a list that leaves out everybody.
func TestCheckAdmin(t *testing.T) {
	t.Parallel()
	set := settings(t, map[string]string{"allowed_ips": `["10.0.0.0/8"]`, "trusted_proxies": `["127.0.0.1"]`})
	for _, tt := range []struct {
		peer, forwarded, code string
	}{
		{"10.1.1.1:1", "", ""},
		{"192.0.2.7:1", "", policy.CodeAddress},
		{"127.0.0.1:1", "", ""},
		{"[::1]:1", "", ""},
		{"127.0.0.1:1", "192.0.2.7", policy.CodeAddress},
		{"127.0.0.1:1", "10.1.1.1", ""},
		{"192.0.2.7:1", "127.0.0.1", policy.CodeAddress},
	} {
		h := http.Header{}
		if tt.forwarded != "" {
			h.Set("X-Forwarded-For", tt.forwarded)
		}
		if got := codeOf(policy.CheckAdmin(tt.peer, h, set, nil)); got != tt.code {
			t.Errorf("%s for %q: got %q, want %q", tt.peer, tt.forwarded, got, tt.code)
		}
	}
}

func TestCustomer(t *testing.T) {
	t.Parallel()
	set := settings(t, map[string]string{"user_header_mappings": `["x-a","x-b"]`})
	all := llm.Fields{User: "user", SafetyIdentifier: "safety", MetadataUser: "meta"}
	for _, tt := range []struct {
		name string
		h    http.Header
		f    llm.Fields
		want string
	}{
		{"none", nil, llm.Fields{}, ""},
		{"end user", headers("x-litellm-end-user-id", "e", "x-litellm-customer-id", "c", "x-a", "a"), all, "e"},
		{"customer", headers("x-litellm-customer-id", "c", "x-a", "a"), all, "c"},
		{"mapped, the first", headers("x-b", "b", "x-a", "a"), all, "a"},
		{"mapped, the second", headers("x-b", "b"), all, "b"},
		{"user", headers("x-c", "c"), all, "user"},
		{"safety identifier", nil, llm.Fields{SafetyIdentifier: "safety", MetadataUser: "meta"}, "safety"},
		{"metadata", nil, llm.Fields{MetadataUser: "meta"}, "meta"},
		{"a header in Latin-1", headers("x-litellm-end-user-id", "Jos\xe9"), all, "José"},
		{"a mapped header in Latin-1", headers("x-a", "\xff"), all, "ÿ"},
		{"a header in UTF-8", headers("x-litellm-end-user-id", "José"), all, "José"},
		{"as long as may be", nil, llm.Fields{User: strings.Repeat("x", 512)}, strings.Repeat("x", 512)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got, err := policy.Customer(tt.h, set, &tt.f); got != tt.want || err != nil {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

// TestNames refuses names that nothing can be counted for, and says where they stand.
func TestNames(t *testing.T) {
	t.Parallel()
	set := settings(t, map[string]string{"user_header_mappings": `["x-a"]`})
	long := strings.Repeat("x", 513)
	var many []string
	for i := range 257 {
		many = append(many, strconv.Itoa(i))
	}
	for _, tt := range []struct {
		name  string
		h     http.Header
		f     llm.Fields
		param string
	}{
		{"long header", headers("x-litellm-end-user-id", strings.Repeat("x", 2000)), llm.Fields{}, "x-litellm-end-user-id"},
		{"long in UTF-8", headers("x-litellm-customer-id", strings.Repeat("\xe9", 300)), llm.Fields{}, "x-litellm-customer-id"},
		{"long mapped header", headers("x-a", long), llm.Fields{User: "u"}, "x-a"},
		{"long user", nil, llm.Fields{User: strings.Repeat("x", 9<<20)}, "user"},
		{"long identifier", nil, llm.Fields{SafetyIdentifier: long}, "safety_identifier"},
		{"long metadata", nil, llm.Fields{MetadataUser: long}, "metadata.user_id"},
		{"user that is not UTF-8, of a form", nil, llm.Fields{User: "Jos\xe9"}, "user"},
		{"long tag", nil, llm.Fields{Tags: []string{"a", long}}, "tags"},
		{"tag that is not UTF-8, of a form", nil, llm.Fields{Tags: []string{"\xff"}}, "tags"},
		{"long tag in a header", headers("x-litellm-tags", "a,"+long), llm.Fields{}, "x-litellm-tags"},
		{"too many tags", headers("x-litellm-tags", strings.Join(many, ",")), llm.Fields{}, "x-litellm-tags"},
		{"too many tags in all", headers("x-litellm-tags", "a"), llm.Fields{Tags: many[:256]}, "x-litellm-tags"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := policy.Customer(tt.h, set, &tt.f)
			_, bad := policy.Tags(tt.h, nil, tt.f.Tags)
			var e *llm.Error
			if !errors.As(errors.Join(err, bad), &e) || e.Kind != llm.Invalid || e.Code != policy.CodeValue || e.Param != tt.param || len(e.Message) > 200 {
				t.Errorf("got %v and %v, want one about %s", err, bad, tt.param)
			}
		})
	}
}

// FuzzCustomer holds that whatever a request says, what is counted for has bounds and is UTF-8.
func FuzzCustomer(f *testing.F) {
	f.Add("Jos\xe9", "a,\xff", "u")
	f.Fuzz(func(t *testing.T, header, tags, user string) {
		h := http.Header{"X-Litellm-End-User-Id": {header}, "X-Litellm-Tags": {tags}}
		fields := llm.Fields{User: user, Tags: []string{user}}
		id, _ := policy.Customer(h, &resource.Settings{}, &fields)
		names, _ := policy.Tags(h, nil, fields.Tags)
		for _, s := range append(slices.Clone(names), id) {
			if len(s) > 512 || !utf8.ValidString(s) {
				t.Errorf("counted for %q", s)
			}
		}
	})
}

func TestCheckCustomer(t *testing.T) {
	t.Parallel()
	set := settings(t, map[string]string{"blocked_user_list": `"mallory\neve"`})
	for _, tt := range []struct {
		id     string
		record *resource.Customer
		code   string
	}{
		{"", nil, ""},
		{"alice", nil, ""},
		{"eve", nil, policy.CodeCustomer},
		{"alice", &resource.Customer{}, ""},
		{"alice", &resource.Customer{Blocked: true}, policy.CodeCustomer},
		{"mallory", &resource.Customer{}, policy.CodeCustomer},
	} {
		if got := codeOf(policy.CheckCustomer(tt.id, set, tt.record)); got != tt.code {
			t.Errorf("%q, %+v: got %q, want %q", tt.id, tt.record, got, tt.code)
		}
	}
}

func TestSession(t *testing.T) {
	t.Parallel()
	f := llm.Fields{SessionID: "body", CacheKey: "cache"}
	for want, h := range map[string]http.Header{
		"body": nil, "s": headers("x-litellm-session-id", "s", "x-litellm-trace-id", "t"), "t": headers("x-litellm-trace-id", "t"),
	} {
		if got := policy.Session(h, &f); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	needs := []resource.Level{level("team", resource.Policy{Sessions: &resource.SessionLimits{RequireTraceID: true}})}
	if err := policy.CheckSession(needs, ""); codeOf(err) != policy.CodeSession {
		t.Errorf("got %v", err)
	}
	if err := policy.CheckSession(needs, "s"); err != nil {
		t.Error(err)
	}
}

func TestCheckParams(t *testing.T) {
	t.Parallel()
	account := &resource.Key{TeamID: "team_1"}
	set := settings(t, map[string]string{
		"enforced_params": `["metadata.app"]`, "service_account_enforced_params": `["metadata.job"]`,
	})
	team := []resource.Level{level("team", resource.Policy{EnforcedParams: []string{"temperature"}})}
	for _, tt := range []struct {
		name, body string
		key        *resource.Key
		levels     []resource.Level
		missing    string
	}{
		{"the cluster's", `{"metadata":{}}`, nil, nil, "metadata.app"},
		{"all given", `{"metadata":{"app":"a"}}`, nil, nil, ""},
		{"a person's key", `{"metadata":{"app":"a"}}`, &resource.Key{TeamID: "team_1", UserID: "u"}, nil, ""},
		{"a service account's", `{"metadata":{"app":"a"}}`, account, nil, "metadata.job"},
		{"a team's", `{"metadata":{"app":"a","job":"j"}}`, account, team, "temperature"},
		{"of every kind", `{"metadata":{"app":"a","job":"j"},"temperature":0}`, account, team, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := policy.CheckParams([]byte(tt.body), set, tt.key, tt.levels, "")
			e, _ := errors.AsType[*llm.Error](err)
			if tt.missing == "" && err == nil {
				return
			}
			if e == nil || e.Param != tt.missing || e.Code != policy.CodeMissing || !strings.Contains(e.Message, tt.missing) {
				t.Errorf("got %v, want a refusal that names %q", err, tt.missing)
			}
		})
	}
	enforced := settings(t, map[string]string{"enforce_user_param": `true`})
	if err := policy.CheckParams([]byte(`{}`), enforced, nil, nil, ""); codeOf(err) != policy.CodeMissing {
		t.Errorf("got %v", err)
	}
	if err := policy.CheckParams([]byte(`{}`), enforced, nil, nil, "alice"); err != nil {
		t.Error(err)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	one, two := int64(1), int64(2)
	levels := []resource.Level{
		level("team", resource.Policy{MaxRequestMB: &two, MaxResponseMB: &two}), level("key", resource.Policy{MaxRequestMB: &one}),
		{Kind: "model"},
	}
	set := settings(t, map[string]string{"max_request_size_mb": `8`, "max_response_size_mb": `4`})
	if got := policy.RequestLimit(set, levels); got != 1<<20 {
		t.Errorf("request: got %d", got)
	}
	if got := policy.ResponseLimit(set, levels); got != 2<<20 {
		t.Errorf("response: got %d", got)
	}
	if got := policy.ResponseLimit(settings(t, nil), nil); got != 0 {
		t.Errorf("response without a limit: got %d", got)
	}
}

func TestTagsAndGuardrails(t *testing.T) {
	t.Parallel()
	no := false
	levels := []resource.Level{
		level("team", resource.Policy{Tags: []string{"t", "a"}, Guardrails: []string{"pii"}}),
		level("key", resource.Policy{Tags: []string{"k"}, LogContent: &no}),
	}
	for header, want := range map[string]string{" b ,a,,": "a b t k", "Jos\xe9, b": "a José b t k"} {
		got, err := policy.Tags(headers("x-litellm-tags", header), levels, []string{"a"})
		if strings.Join(got, " ") != want || err != nil {
			t.Errorf("%q: got %q, %v, want %q", header, got, err, want)
		}
	}
	if diff := cmp.Diff([]string{"own", "pii"}, policy.Guardrails(levels, []string{"own"})); diff != "" {
		t.Error(diff)
	}
	if !policy.Private(levels) || policy.Private(levels[:1]) {
		t.Error("Private says otherwise")
	}
}

func TestCheckGuardrails(t *testing.T) {
	t.Parallel()
	for metadata, code := range map[string]string{
		`{"guardrails":{"modify_guardrails":false}}`: "guardrails_not_allowed", `{"guardrails":{"modify_guardrails":true}}`: "",
		`{"modify_guardrails":false}`: "", `{"guardrails":["modify_guardrails"]}`: "", ``: "",
	} {
		levels := []resource.Level{level("team", resource.Policy{Metadata: []byte(metadata)}), level("key", resource.Policy{})}
		if got := codeOf(policy.CheckGuardrails(levels, []string{"pii"})); got != code {
			t.Errorf("%s: got %q, want %q", metadata, got, code)
		}
		if err := policy.CheckGuardrails(levels, nil); err != nil {
			t.Errorf("%s: a request that names none is refused: %v", metadata, err)
		}
	}
}

func TestCheckRoute(t *testing.T) {
	t.Parallel()
	levels := []resource.Level{
		level("team", resource.Policy{Routes: []string{"/v1/*"}}), level("key", resource.Policy{Routes: []string{"/v1/embeddings"}}),
	}
	for path, code := range map[string]string{"/v1/embeddings": "", "/v1/chat/completions": "route_not_allowed", "/other": "route_not_allowed"} {
		if got := codeOf(policy.CheckRoute(levels, path, path)); got != code {
			t.Errorf("%s: got %q, want %q", path, got, code)
		}
	}
	if err := policy.CheckRoute(levels, "/other", "/v1/embeddings"); err != nil {
		t.Errorf("another spelling: %v", err)
	}
}

func BenchmarkNothingSaid(b *testing.B) {
	set := settings(b, nil)
	levels := []resource.Level{level("team", resource.Policy{}), level("key", resource.Policy{}), {Kind: "model"}}
	h := headers("Authorization", "Bearer x", "Content-Type", "application/json")
	f := llm.Fields{User: "alice"}
	body := []byte(`{}`)
	b.ReportAllocs()
	for b.Loop() {
		id, _ := policy.Customer(h, set, &f)
		tags, _ := policy.Tags(h, levels, f.Tags)
		if policy.CheckRoute(levels, "/v1/chat/completions", "/chat/completions") != nil || policy.Addressed(set, levels) ||
			policy.CheckCustomer(id, set, nil) != nil || policy.CheckParams(body, set, nil, levels, id) != nil ||
			policy.CheckSession(levels, policy.Session(h, &f)) != nil || len(tags) != 0 {
			b.Fatal("refused")
		}
	}
}

func TestTold(t *testing.T) {
	t.Parallel()
	levels := []resource.Level{{Kind: "key", Policy: &resource.Policy{Callbacks: []string{"a"}}}}
	h := headers("X-Litellm-Disable-Callbacks", " langfuse,, b ")
	for _, tt := range []struct {
		name  string
		h     http.Header
		noLog bool
		set   resource.Settings
		want  []string
	}{
		{"nothing is said", nil, false, resource.Settings{}, []string{"a"}},
		{"two are done without", h, false, resource.Settings{}, []string{"a", "-langfuse", "-b"}},
		{"none may be done without", h, false, resource.Settings{KeepCallbacks: true}, []string{"a"}},
		{"no-log", h, true, resource.Settings{}, []string{"none"}},
		{"no-log is not heeded", h, true, resource.Settings{KeepLog: true}, []string{"a", "-langfuse", "-b"}},
	} {
		if got := policy.Told(tt.h, &llm.Fields{NoLog: tt.noLog}, &tt.set, levels); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	if levels[0].Policy.Callbacks[0] != "a" || len(levels[0].Policy.Callbacks) != 1 {
		t.Error("a policy was changed")
	}
}

func TestCallbacks(t *testing.T) {
	t.Parallel()
	level := func(kind string, callbacks ...string) resource.Level {
		return resource.Level{Kind: kind, Policy: &resource.Policy{Callbacks: callbacks}}
	}
	for _, tt := range []struct {
		name   string
		levels []resource.Level
		want   []string
	}{
		{"nobody chooses", []resource.Level{level("team"), level("key"), {Kind: "model"}}, nil},
		{"the team's go down to its keys", []resource.Level{level("organization", "a"), level("team", "b"), level("key"), {Kind: "model"}}, []string{"b"}},
		{"the key's count before the team's", []resource.Level{level("team", "b"), level("key", "c", "d")}, []string{"c", "d"}},
		{"those of customer and tags are added", []resource.Level{level("team", "b"), level("key"), level("customer", "e"), level("tag", "b", "f")}, []string{"b", "f", "e"}},
		{"a key that wants none", []resource.Level{level("team", "b"), level("key", "none")}, []string{"none"}},
		{"a key that chooses in a team that wants none", []resource.Level{level("team", "none"), level("key", "c")}, []string{"c"}},
		{"a customer who wants none", []resource.Level{level("team", "b"), level("key"), level("customer", "none")}, []string{"none"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := resource.ChosenCallbacks(tt.levels); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if !policy.Private([]resource.Level{level("team", "none"), level("key", "c")}) {
		t.Error("what is said under a level that wants no callbacks is kept")
	}
}
