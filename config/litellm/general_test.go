package litellm_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/config/litellm"
	"github.com/conclave-llm/conclave/resource"
)

// Every key that is listed is found, and stands for a setting that there is, whose default it can show and take again.
func TestGeneralKeys(t *testing.T) {
	t.Parallel()
	for _, listed := range litellm.GeneralKeys() {
		k, err := litellm.LookupGeneral(listed.Name)
		if err != nil {
			t.Errorf("%s: %v", listed.Name, err)
			continue
		}
		info, ok := resource.LookupSetting(k.Setting)
		if !ok {
			t.Errorf("%s: there is no setting %s", k.Name, k.Setting)
			continue
		}
		shown, err := k.Show(info.Default)
		if err != nil {
			t.Errorf("%s: %v", k.Name, err)
			continue
		}
		if back, err := k.Take(shown); err != nil || string(back) != string(info.Default) {
			t.Errorf("%s: %s became %s, and that %s, %v", k.Name, info.Default, shown, back, err)
		}
	}
}

func TestLookupGeneral_Refused(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"database_url": "there is no database", "custom_auth": "an auth plugin", "alerting": "/api/v1/settings/alerts",
		"pass_through_endpoints": "/config/pass_through_endpoint", "global_max_parallel_requests": "has no meaning here", "": "has no meaning here",
	} {
		if _, err := litellm.LookupGeneral(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", name, err, want)
		}
	}
}

func TestGeneralKey_Take(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, in, want string }{
		{"maximum_spend_logs_retention_period", `"14d"`, `14`},
		{"maximum_spend_logs_retention_period", `"1h"`, ``},
		{"maximum_spend_logs_retention_period", `14`, ``},
		{"service_account_settings", `{"enforced_params":["user"]}`, `["user"]`},
		{"service_account_settings", `{"other":1}`, ``},
		{"service_account_settings", `[]`, ``},
		{"max_request_size_mb", `8`, `8`},
		{"moderation_model", `"omni"`, `"omni"`},
	} {
		k, err := litellm.LookupGeneral(tt.name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := k.Take(json.RawMessage(tt.in))
		if (err == nil) != (tt.want != "") || err == nil && string(got) != tt.want {
			t.Errorf("%s %s: got %s, %v", tt.name, tt.in, got, err)
		}
	}
}

// What a key takes and its setting admits can be shown again, and means the same.
func FuzzGeneralKey_Take(f *testing.F) {
	for _, k := range litellm.GeneralKeys() {
		info, _ := resource.LookupSetting(k.Setting)
		shown, err := k.Show(info.Default)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(k.Name, []byte(shown))
	}
	f.Add("maximum_spend_logs_retention_period", []byte(`"9999999999999999999d"`))
	f.Add("service_account_settings", []byte(`{"enforced_params":[[]]}`))
	f.Fuzz(func(t *testing.T, name string, v []byte) {
		k, err := litellm.LookupGeneral(name)
		if err != nil {
			return
		}
		ours, err := k.Take(v)
		if err != nil {
			return
		}
		s := resource.Setting{Meta: resource.Meta{ID: k.Setting}, Value: ours}
		if s.Validate() != nil {
			return
		}
		shown, err := k.Show(ours)
		if err != nil {
			t.Fatalf("%s became %s, which cannot be shown: %v", v, ours, err)
		}
		if again, err := k.Take(shown); err != nil || string(again) != string(ours) {
			t.Errorf("%s became %s, then %s, then %s, %v", v, ours, shown, again, err)
		}
	})
}
