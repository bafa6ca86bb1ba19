package resource_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/resource"
)

func TestSetting_Validate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, id, value, wrong string // wrong is a part of the refusal, "" for none
	}{
		{"unknown", "no_such", `1`, `"no_such" is not a setting`},
		{"addresses", "allowed_ips", `["10.0.0.0/8","2001:db8::/32","192.0.2.7","::1"]`, ""},
		{"range with host bits", "allowed_ips", `["10.1.2.3/8"]`, ""},
		{"bad range", "allowed_ips", `["10.0.0.0/8","10.0.0.0/33"]`, "value[1]"},
		{"bad address", "denied_ips", `["localhost"]`, "neither IPv4 nor IPv6"},
		{"no list", "trusted_proxies", `"10.0.0.1"`, "not a list"},
		{"not a switch", "enforce_user_param", `"yes"`, "not true or false"},
		{"null is no switch", "enforce_user_param", `null`, "not true or false"},
		{"params", "enforced_params", `["user","metadata.cost_center"]`, ""},
		{"two dots", "enforced_params", `["a.b.c"]`, "value[0]"},
		{"empty part", "service_account_enforced_params", `["metadata."]`, "value[0]"},
		{"MiB", "max_request_size_mb", `64`, ""},
		{"too many MiB", "max_request_size_mb", `2048`, "not between 1 and 1024"},
		{"no MiB", "max_response_size_mb", `0`, ""},
		{"list of ids", "blocked_user_list", `["a","b"]`, ""},
		{"lines of ids", "blocked_user_list", `"alice\n\nbob\r\n"`, ""},
		{"bad line", "blocked_user_list", `"alice\n\nbo\u0007b\n"`, "line 3"},
		{"bad entry", "blocked_user_list", `["alice"," bob"]`, "value[1]"},
		{"long line", "blocked_user_list", `"` + strings.Repeat("x", 257) + `"`, "line 1"},
		{"neither list nor text", "banned_keywords_list", `{"a":1}`, "neither a list"},
		{"headers", "user_header_mappings", `["x-user",{"header_name":"X-Other","litellm_user_role":"customer"}]`, ""},
		{"unknown field of prices", "price_sync", `{"url":"https://x/p.json","evrey":"24h"}`, `value.evrey: there is no such field; there are apply, every, url`},
		{"no duration of prices", "price_sync", `{"url":"https://x/p.json","every":24}`, `value.every: 24 is not a string`},
		{"no object of prices", "price_sync", `"https://x/p.json"`, `value: "https://x/p.json" is not an object with apply, every, url`},
		{"no sinks", "audit", `{"sinks":{"kind":"file"}}`, `sinks: {"kind":"file"} is not a list`},
		{"no path of a sink", "audit", `{"sinks":[{"kind":"file","path":5}]}`, `sinks[0].path: 5 is not a string`},
		{"unknown field of a sink", "audit", `{"sinks":[{"kind":"file","pth":"x"}]}`, `sinks[0].pth: there is no such field; there are address, callback, facility, kind, name, path`},
		{"no number of days", "spend_capture_rate_check", `{"lookback_days":"7"}`, `value.lookback_days: "7" is not a whole number`},
		{"no list of keys", "plugin_trust", `{"publishers":"ed25519:x"}`, `value.publishers: "ed25519:x" is not a list`},
		{"unknown field of a store", "rotation_store", `{"vualt":"https://v"}`, `value.vualt: there is no such field; there are credential, mount, namespace, prefix, vault`},
		{"no channels", "alerts", `{"channels":{}}`, `value.channels: {} is not a list`},
		{"unknown field of a channel", "alerts", `{"channels":[{"nam":"ops"}]}`, `value.channels[0].nam: there is no such field`},
		{"no snapshots", "snapshots", `{"s3":{"bucket":1}}`, `s3.bucket: 1 is not a string`},
		{"no rule", "key_defaults", `{"budgets":[{"usd":"ten"}]}`, `value.budgets[0].usd: `},
		{"unknown rule", "key_ceilings", `{"max_aeg":"720h"}`, `value.max_aeg: there is no such field`},
		{"all fields of prices", "price_sync", `{"url":"https://x/p.json","every":"24h","apply":"auto"}`, ""},
		{"unknown field of a price", "unknown_price", `{"input":5,"ouptut":25}`, `value.ouptut: there is no such field; there are `},
		{"all sorts of a price", "unknown_price", `{"input":5,"output":25,"cache_read":1,"variants":[{"above":200000,"input":10}]}`, ""},
		{"unknown field of a variant", "unknown_price", `{"input":5,"variants":[{"above":200000,"input":10,"otput":1}]}`, `value.variants[0].otput: there is no such field`},
		{"unknown field of an adjustment", "price_adjustments", `{"openai":{"discuont":0.1}}`, `value.openai.discuont: there is no such field; there are discount, fixed, margin`},
		{"an adjustment", "price_adjustments", `{"openai":{"discount":0.1,"margin":0.2,"fixed":0.01}}`, ""},
		{"unknown field of a proxy", "provider_proxies", `{"openai":{"url":"http://h:3128","no_prxy":".corp"}}`, `value.openai.no_prxy: there is no such field`},
		{"a proxy", "provider_proxies", `{"openai":{"url":"http://h:3128","no_proxy":".corp"}}`, ""},
		{"unknown field of a mapping", "user_header_mappings", `["x",{"header_name":"x-user","role":"customer"}]`, `value[1].role: there is no such field; there are header_name, litellm_user_role`},
		{"another role", "user_header_mappings", `[{"header_name":"x","litellm_user_role":"internal_user"}]`, "is not customer"},
		{"no header", "user_header_mappings", `["a b"]`, "not the name of a header"},
		{"key header", "key_header", `"x y"`, "not the name of a header"},
		{"too large", "blocked_user_list", `"` + strings.Repeat("a\\n", 1<<19) + `"`, "bytes are more than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := resource.Setting{Meta: resource.Meta{ID: tt.id}, Value: json.RawMessage(tt.value)}
			err := s.Validate()
			if tt.wrong == "" {
				if err != nil {
					t.Errorf("got %v, want none", err)
				}
				return
			}
			if _, ok := errors.AsType[*resource.Invalid](err); !ok || !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("got %v, want a refusal with %q", err, tt.wrong)
			}
		})
	}
}

// TestSettingInfos holds the table to its word: each default is a value that the setting
// takes, and it is what a cluster that sets nothing has.
func TestSettingInfos(t *testing.T) {
	t.Parallel()
	want := resource.DefaultSettings()
	for _, info := range resource.SettingInfos() {
		if info.Type == "" || info.Help == "" {
			t.Errorf("%s has no type or help", info.Name)
		}
		if info.Name == "key_header" {
			continue
		}
		got := resource.DefaultSettings()
		if err := got.Set(info.Name, info.Default); err != nil {
			t.Errorf("%s does not take its default: %v", info.Name, err)
		}
		if info.Type == "object" {
			continue // has more than one empty form
		}
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(want)
		if diff := cmp.Diff(strings.ReplaceAll(string(b), "null", "[]"), strings.ReplaceAll(string(a), "null", "[]")); diff != "" {
			t.Errorf("default of %s (-want +got):\n%s", info.Name, diff)
		}
	}
}

func TestSettings_Set(t *testing.T) {
	t.Parallel()
	var s resource.Settings
	for name, value := range map[string]string{
		"blocked_user_list": `"bob\nalice\nbob"`, "max_request_size_mb": `3`, "banned_keywords_list": `["Secret"]`,
		"user_header_mappings": `["x-user-id"]`, "allowed_ips": `["::ffff:10.0.0.1"]`,
	} {
		if err := s.Set(name, json.RawMessage(value)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(resource.Names{"alice", "bob"}, s.BlockedCustomers); diff != "" {
		t.Error(diff)
	}
	if !s.BlockedCustomers.Has("bob") || s.BlockedCustomers.Has("bo") {
		t.Error("the list of blocked ids is not searched right")
	}
	if s.MaxBodyBytes != 3<<20 || s.BannedKeywords[0] != "secret" || s.CustomerHeaders[0] != "X-User-Id" || s.AllowedIPs[0].String() != "10.0.0.1/32" {
		t.Errorf("got %+v", s)
	}
}

func TestSettings_CaptureCheck(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ value, field string }{
		{`null`, ""},
		{`{}`, ""},
		{`{"providers":["openai"],"threshold":1,"lookback_days":180,"openai_project_ids":["proj_a"],"openai_api_base":"http://127.0.0.1:1/v1/"}`, ""},
		{`[]`, "value"},
		{`{"treshold":0.5}`, "value.treshold"},
		{`{"providers":[]}`, "value.providers"},
		{`{"providers":["openai","azure"]}`, "value.providers[1]"},
		{`{"providers":["openai","openai"]}`, "value.providers[1]"},
		{`{"threshold":0}`, "value.threshold"},
		{`{"threshold":1.01}`, "value.threshold"},
		{`{"lookback_days":0}`, "value.lookback_days"},
		{`{"lookback_days":181}`, "value.lookback_days"},
		{`{"openai_project_ids":[""]}`, "value.openai_project_ids[0]"},
		{`{"openai_api_base":"file:///v1"}`, "value.openai_api_base"},
		{`{"openai_api_base":"https://user:pass@x/v1"}`, "value.openai_api_base"},
		{`{"openai_api_base":"https://x/v1?a=b"}`, "value.openai_api_base"},
	} {
		t.Run(tt.value, func(t *testing.T) {
			t.Parallel()
			var s resource.Settings
			err := s.Set("spend_capture_rate_check", json.RawMessage(tt.value))
			in, _ := errors.AsType[*resource.Invalid](err)
			if (err != nil) != (tt.field != "") || in != nil && in.Field != tt.field {
				t.Errorf("got %v, want %q", err, tt.field)
			}
		})
	}
	s := resource.DefaultSettings()
	if err := s.Set("spend_capture_rate_check", json.RawMessage(`{"lookback_days":3,"openai_api_base":"https://x/v1/"}`)); err != nil {
		t.Fatal(err)
	}
	want := &resource.CaptureCheck{Providers: []string{"openai"}, Threshold: 0.9, Days: 3, APIBase: "https://x/v1"}
	if d := cmp.Diff(want, s.CaptureCheck); d != "" {
		t.Error(d)
	}
}

func FuzzSetting(f *testing.F) {
	for _, info := range resource.SettingInfos() {
		f.Add(info.Name, string(info.Default))
	}
	f.Add("blocked_user_list", `"a\nb"`)
	f.Fuzz(func(t *testing.T, name, value string) {
		var s resource.Settings
		err := s.Set(name, json.RawMessage(value))
		if _, ok := errors.AsType[*resource.Invalid](err); err != nil && !ok {
			t.Errorf("%s = %q: %v is not about a field", name, value, err)
		}
	})
}

// TestSettings_Later goes on with a stored value that has a field of a later version.
func TestSettings_Later(t *testing.T) {
	t.Parallel()
	c := resource.NewCatalog(resource.Tables{Settings: []*resource.Setting{
		{Meta: resource.Meta{ID: "price_sync"}, Value: json.RawMessage(`{"url":"https://x/p.json","later":1}`)},
	}})
	if got := c.Settings().PriceSync.URL; got != "https://x/p.json" {
		t.Errorf("got %q", got)
	}
}
