package litellm_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/adminapi/declare"
	"github.com/conclave-llm/conclave/resource"
)

func TestKeys(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	team := h.Must("POST", "/team/new", `{"team_alias":"research","max_budget":100,"budget_duration":"30d","models":["all-proxy-models"],"members_with_roles":[{"role":"admin","user_id":"u"}]}`)
	if team["max_budget"] != 100.0 || team["budget_duration"] != "30d" || team["budget_reset_at"] != "2026-04-01T00:00:00Z" {
		t.Errorf("team: got %v %v %v", team["max_budget"], team["budget_duration"], team["budget_reset_at"])
	}
	key := h.Must("POST", "/key/generate", fmt.Sprintf(`{"key_alias":"nb","team_id":%q,"models":["demo"],"max_budget":0.5,`+
		`"budget_duration":"1d","tpm_limit":1000,"rpm_limit":10,"max_parallel_requests":2,"duration":"1h","metadata":{"a":1},"some_future_field":1}`, team["team_id"]))
	secret, _ := key["key"].(string)
	hash := resource.HashSecret(secret).String()
	for name, want := range map[string]any{
		"token": hash, "token_id": hash, "key_alias": "nb", "team_id": team["team_id"], "max_budget": 0.5, "budget_duration": "1d",
		"tpm_limit": 1000.0, "rpm_limit": 10.0, "max_parallel_requests": 2.0, "expires": "2026-03-11T11:00:00Z", "spend": 0.0,
	} {
		if key[name] != want {
			t.Errorf("%s: got %v, want %v", name, key[name], want)
		}
	}
	if !strings.HasPrefix(secret, "sk-") {
		t.Fatalf("key: got %q", secret)
	}

	updated := h.Must("POST", "/key/update", fmt.Sprintf(`{"key":%q,"max_budget":2,"rpm_limit":null,"duration":"-1"}`, secret))
	if updated["max_budget"] != 2.0 || updated["budget_duration"] != "1d" || updated["rpm_limit"] != nil ||
		updated["tpm_limit"] != 1000.0 || updated["expires"] != nil {
		t.Errorf("updated: got %v", updated)
	}
	info := h.Must("GET", "/key/info?key="+hash, "")["info"].(map[string]any)
	if info["status"] != "active" || info["token"] != nil || info["max_budget"] != 2.0 {
		t.Errorf("info: got %v", info)
	}
	h.Must("POST", "/key/block", fmt.Sprintf(`{"key":%q}`, hash))
	if a := h.Call(secret, "GET", "/key/info", ""); a.Status != 401 {
		t.Errorf("blocked: got %d", a.Status)
	}
	h.Must("POST", "/key/unblock", fmt.Sprintf(`{"key":%q}`, hash))
	again := h.Must("POST", "/key/regenerate", fmt.Sprintf(`{"key":%q,"grace_period":"1h","max_budget":3}`, secret))
	if again["key"] == secret || again["max_budget"] != 3.0 {
		t.Errorf("regenerated: got %v", again)
	}
	list := h.Must("GET", "/key/list?size=1&return_full_object=true&key_alias=nb", "")
	if list["total_count"] != 1.0 || list["total_pages"] != 1.0 {
		t.Errorf("list: got %v", list)
	}
	teamInfo := h.Must("GET", "/team/info?team_id="+team["team_id"].(string), "")
	if keys := teamInfo["keys"].([]any); len(keys) != 1 {
		t.Errorf("keys of the team: got %d", len(keys))
	}
	h.Must("POST", "/team/update", fmt.Sprintf(`{"team_id":%q,"max_budget":null}`, team["team_id"]))
	h.Must("POST", "/team/delete", fmt.Sprintf(`{"team_ids":[%q]}`, team["team_id"]))
	if a := h.Call(adminapitest.MasterKey, "GET", "/key/info?key=nb", ""); a.Status != 404 {
		t.Errorf("a key of the deleted team: got %d %s", a.Status, a.Body)
	}
	h.Must("POST", "/key/generate", `{"key":"sk-of-their-own-choice","key_alias":"mine","budget_limits":[{"budget_duration":"1d","max_budget":1},{"budget_duration":"30d","max_budget":9}]}`)
	h.Must("POST", "/key/delete", `{"keys":["sk-of-their-own-choice"]}`)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	for _, tt := range []struct {
		name, path, body string
		status           int
		says             string
	}{
		{"budget duration", "/key/generate", `{"max_budget":1,"budget_duration":"45m"}`, 400, "whole hours"},
		{"unsupported limit", "/key/generate", `{"router_settings":{"num_retries":1}}`, 400, "router_settings"},
		{"unsupported limit that is empty", "/key/generate", `{"router_settings":{},"budget_fallbacks":{},"model_max_budget":null}`, 200, ""},
		{"zero is a limit", "/key/generate", `{"tpd_limit":0}`, 400, "tpd_limit"},
		{"unknown type", "/key/generate", `{"key_type":"root"}`, 400, "key_type"},
		{"spend", "/key/generate", `{"spend":3}`, 400, "spend"},
		{"duration", "/key/generate", `{"duration":"soon"}`, 400, "duration"},
		{"no key", "/key/update", `{}`, 400, "key"},
		{"unknown secret", "/key/block", `{"key":"sk-0123456789abcdef"}`, 404, "not found"},
		{"no models", "/key/generate", `{"models":["no-default-models"]}`, 200, "no-default-models"},
		{"soft budget", "/key/generate", `{"max_budget":1,"soft_budget":1}`, 400, "soft_budget"},
		{"increase without an end", "/key/generate", `{"max_budget":1,"temp_budget_increase":1}`, 400, "temp_budget_expiry"},
		{"unknown team", "/team/update", `{"team_id":"x"}`, 404, "not found"},
		{"environment", "/model/new", `{"model_name":"m","litellm_params":{"model":"openai/x","api_key":"os.environ/CONCLAVE_MASTER_KEY"}}`, 400, "environment"},
		{"no provider", "/model/new", `{"model_name":"m","litellm_params":{"model":"gpt-4o"}}`, 400, "openai/gpt-4o"},
		{"unsupported parameter", "/model/new", `{"model_name":"m","litellm_params":{"model":"openai/x","temperature":0.2}}`, 400, "temperature"},
		{"not JSON", "/key/generate", `{`, 400, "JSON"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := h.Call(adminapitest.MasterKey, "POST", tt.path, tt.body)
			if a.Status != tt.status || !strings.Contains(string(a.Body), tt.says) {
				t.Fatalf("got %d %s, want %d with %q", a.Status, a.Body, tt.status, tt.says)
			}
			if tt.status == 200 {
				return
			}
			e, _ := a.Object(t)["error"].(map[string]any)
			if e["code"] != fmt.Sprint(tt.status) || e["type"] == "" || e["message"] == "" {
				t.Errorf("got %s, want OpenAI's shape with the code as a string", a.Body)
			}
			if strings.Contains(string(a.Body), "sk-0123456789abcdef") {
				t.Errorf("the error shows a secret: %s", a.Body)
			}
		})
	}
}

// TestTeamDelete_fileKey declares a key in a team of the API.
func TestTeamDelete_fileKey(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	team := h.Must("POST", "/team/new", `{"team_alias":"research"}`)
	key := declare.Key{Record: resource.Key{Name: "nb", Hash: resource.HashSecret("sk-of-the-file")}, Team: "research"}
	cfg := declare.Config{State: h.State, Seal: adminapitest.Seal, Now: h.Clock}
	if _, err := declare.Apply(t.Context(), h, cfg, declare.File{Keys: []declare.Key{key}}); err != nil {
		t.Fatal(err)
	}
	a := h.Call(adminapitest.MasterKey, "POST", "/team/delete", fmt.Sprintf(`{"team_ids":[%q]}`, team["team_id"]))
	if a.Status != 409 || !strings.Contains(string(a.Body), "configuration file") {
		t.Errorf("got %d %s, want 409", a.Status, a.Body)
	}
	if _, ok := h.State.KeyByName("nb"); !ok {
		t.Error("the file's key is gone")
	}
}

func TestConfigUpdate(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	a := h.Call(adminapitest.MasterKey, "POST", "/config/update", `{"environment_variables":{"LANGFUSE_KEY":"pk-1","REGION":"eu"}}`)
	if a.Status != 200 {
		t.Fatalf("got %d %s", a.Status, a.Body)
	}
	for _, tt := range []struct {
		name, body string
		status     int
	}{
		{"again, another value", `{"environment_variables":{"REGION":"us"}}`, 200},
		{"a section of its own", `{"environment_variables":{"A":"b"},"litellm_settings":{"num_retries":1}}`, 400},
		{"nothing", `{}`, 400},
		{"a bad name beside a good one", `{"environment_variables":{"GOOD":"1","no-good":"2"}}`, 400},
		{"no value", `{"environment_variables":{"GOOD":""}}`, 400},
	} {
		if a := h.Call(adminapitest.MasterKey, "POST", "/config/update", tt.body); a.Status != tt.status {
			t.Errorf("%s: got %d %s, want %d", tt.name, a.Status, a.Body, tt.status)
		}
	}
	a = h.Call(adminapitest.MasterKey, "GET", "/api/v1/environment", "")
	if a.Status != 200 || bytes.Contains(a.Body, []byte("pk-1")) || bytes.Contains(a.Body, []byte("GOOD")) || !bytes.Contains(a.Body, []byte("REGION")) {
		t.Errorf("got %d %s, want the names and no values", a.Status, a.Body)
	}
}
