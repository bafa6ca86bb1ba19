package logging_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi"
	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/resource"
)

// fake is callbacks of which one does not take test events.
type fake struct{ adminapi.Callbacks }

func (fake) Test(_ context.Context, c *resource.Callback) client.CallbackTested {
	return client.CallbackTested{Callback: c.Name, OK: c.Plugin != "langsmith", Error: "canary-of-the-operator", Reason: client.CallbackCredentials}
}

func harness(t *testing.T) *adminapitest.Harness {
	return adminapitest.New(t, func(c *adminapi.Config) { c.Callbacks = fake{} })
}

func text(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

func TestTeamCallbacks(t *testing.T) {
	t.Parallel()
	h := harness(t)
	team := h.Must("POST", "/team/new", `{"team_alias":"red"}`)["team_id"].(string)
	path := "/team/" + team + "/callback"
	h.Must("POST", path, `{"callback_name":"langfuse","callback_type":"success","callback_vars":{"langfuse_public_key":"pk-1","langfuse_secret_key":"canary-secret","langfuse_host":"https://lf.example"}}`)
	h.Must("POST", path, `{"callback_name":"datadog","callback_vars":{"dd_api_key":"canary-key","turn_off_message_logging":"true"}}`)
	got := h.Must("GET", path, "")["data"].(map[string]any)
	if text(got["success_callback"]) != `["datadog","langfuse"]` || text(got["failure_callback"]) != `["datadog"]` ||
		text(got["callback_vars"]) != `{"dd_api_key":"****","langfuse_host":"https://lf.example","langfuse_public_key":"pk-1","langfuse_secret_key":"****"}` {
		t.Errorf("got %v", got)
	}
	all := text(h.Must("GET", "/api/v1/callbacks", "")) + text(h.Must("GET", "/team/info?team_id="+team, "")) + text(h.Must("GET", "/api/v1/audit", ""))
	if strings.Contains(all, "canary") {
		t.Error("a secret can be read")
	}
	for name, body := range map[string]string{
		"twice":              `{"callback_name":"datadog","callback_vars":{"dd_api_key":"k"}}`,
		"no such callback":   `{"callback_name":"fax"}`,
		"neither on nor off": `{"callback_name":"langsmith","callback_vars":{"langsmith_api_key":"k","turn_off_message_logging":"perhaps"}}`,
		"no such type":       `{"callback_name":"langsmith","callback_type":"sometimes"}`,
		"no such variable":   `{"callback_name":"langsmith","callback_vars":{"dd_api_key":"canary"}}`,
		"no such field":      `{"callback_name":"langsmith","callback":"x"}`,
	} {
		if a := h.Call(adminapitest.MasterKey, "POST", path, body); a.Status != 400 || strings.Contains(string(a.Body), "canary") {
			t.Errorf("%s: got %d %s", name, a.Status, a.Body)
		}
	}
	h.Must("DELETE", path+"/langfuse", "")
	if a := h.Call(adminapitest.MasterKey, "DELETE", path+"/langfuse", ""); a.Status != 404 {
		t.Errorf("deleted twice: got %d", a.Status)
	}
	if n := len(h.Must("GET", "/api/v1/callbacks", "")["items"].([]any)); n != 1 {
		t.Errorf("%d callbacks are left, want that of Datadog", n)
	}

	disabled := h.Must("POST", "/team/"+team+"/disable_logging", "")["data"].(map[string]any)
	if text(disabled["success_callbacks"]) != "[]" || text(disabled["failure_callbacks"]) != "[]" {
		t.Errorf("disabled: got %v", disabled)
	}
	tm := h.Must("GET", "/api/v1/teams/"+team, "")
	if text(tm["callbacks"]) != `["none"]` {
		t.Errorf("the team chooses %v", tm["callbacks"])
	}
	h.Must("POST", path, `{"callback_name":"datadog","callback_vars":{"dd_api_key":"k2"}}`) // takes the place of the one that was left
	if got := h.Must("GET", path, "")["data"].(map[string]any); text(got["success_callback"]) != `["datadog"]` {
		t.Errorf("enabled again: got %v", got)
	}
	if a := h.Call(adminapitest.MasterKey, "POST", "/team/nobody/disable_logging", ""); a.Status != 404 {
		t.Errorf("another team: got %d", a.Status)
	}
}

// /key/health tests what the key's requests are told to: the nearest holder's callbacks, and one that is not there any more.
func TestKeyHealth_nearest(t *testing.T) {
	t.Parallel()
	h := harness(t)
	team := h.Must("POST", "/team/new", `{"team_alias":"red"}`)["team_id"].(string)
	h.Must("POST", "/team/"+team+"/callback", `{"callback_name":"langsmith","callback_vars":{"langsmith_api_key":"k"}}`)
	h.Must("POST", "/api/v1/callbacks", `{"name":"mine","plugin":"langfuse","selection":"chosen","config":{"public_key":"pk"},"secrets":{"secret_key":"s"}}`)
	h.Must("POST", "/api/v1/callbacks", `{"name":"gone","plugin":"langfuse","selection":"chosen","config":{"public_key":"pk"},"secrets":{"secret_key":"s"}}`)
	health := func(body string) string {
		key, _ := h.Must("POST", "/api/v1/keys", body)["secret"].(string)
		if strings.Contains(body, "gone") {
			h.Call(adminapitest.MasterKey, "DELETE", "/api/v1/callbacks/gone", "")
		}
		a := h.Call(key, "POST", "/key/health", "")
		return text(a.Object(t)["logging_callbacks"])
	}
	for name, tt := range map[string][2]string{
		"the team's":    {`{"team_id":"` + team + `"}`, `{"callbacks":["langsmith"],"details":"langsmith did not take a test event: its server does not accept the credentials","status":"unhealthy"}`},
		"its own":       {`{"team_id":"` + team + `","callbacks":["mine"]}`, `{"callbacks":["mine"],"details":"","status":"healthy"}`},
		"none":          {`{"team_id":"` + team + `","callbacks":["none"]}`, `null`},
		"of an admin":   {`{"role":"proxy_admin","team_id":"` + team + `"}`, `{"callbacks":["langsmith"],"details":"langsmith did not take a test event: its server does not accept the credentials (canary-of-the-operator)","status":"unhealthy"}`},
		"one that went": {`{"callbacks":["gone"]}`, `{"callbacks":["gone"],"details":"gone did not take a test event: there is no such callback any more","status":"unhealthy"}`},
	} {
		if got := health(tt[0]); got != tt[1] {
			t.Errorf("%s: got %s, want %s", name, got, tt[1])
		}
	}
}

func TestKeyLogging(t *testing.T) {
	t.Parallel()
	h := harness(t)
	made := h.Must("POST", "/key/generate", `{"key_alias":"mine","metadata":{"a":1,"logging":[
		{"callback_name":"langfuse","callback_vars":{"langfuse_public_key":"pk","langfuse_secret_key":"canary-secret"}},
		{"callback_name":"langsmith","callback_type":"failure","callback_vars":{"langsmith_api_key":"canary-secret"}}]}}`)
	key := made["key"].(string)
	info := text(h.Must("GET", "/key/info?key="+key, "")) + text(h.Must("GET", "/api/v1/callbacks", ""))
	if strings.Contains(info, "canary") || strings.Contains(info, `"logging"`) || !strings.Contains(info, `"a":1`) {
		t.Errorf("got %s", info)
	}
	a := h.Call(key, "POST", "/key/health", "")
	var health struct {
		Key     string
		Logging struct {
			Callbacks       []string
			Status, Details string
		} `json:"logging_callbacks"`
	}
	if err := json.Unmarshal(a.Body, &health); err != nil || a.Status != 200 {
		t.Fatalf("got %d %s", a.Status, a.Body)
	}
	slices.Sort(health.Logging.Callbacks)
	if health.Key != "unhealthy" || health.Logging.Status != "unhealthy" || text(health.Logging.Callbacks) != `["langfuse","langsmith"]` ||
		health.Logging.Details != "langsmith did not take a test event: its server does not accept the credentials" {
		t.Errorf("got %s", a.Body)
	}
	plain := h.Must("POST", "/key/generate", `{}`)["key"].(string)
	if a := h.Call(plain, "POST", "/key/health", ""); a.Status != 200 || !strings.Contains(string(a.Body), `"healthy"`) {
		t.Errorf("a key without callbacks: got %d %s", a.Status, a.Body)
	}

	before := len(h.Must("GET", "/api/v1/callbacks", "")["items"].([]any))
	for name, body := range map[string]string{
		"no such callback":    `{"metadata":{"logging":[{"callback_name":"langfuse","callback_vars":{"langfuse_public_key":"pk","langfuse_secret_key":"canary-secret"}},{"callback_name":"fax"}]}}`,
		"no list":             `{"metadata":{"logging":{"callback_name":"fax"}}}`,
		"key that is refused": `{"max_budget":-1,"metadata":{"logging":[{"callback_name":"langfuse","callback_vars":{"langfuse_public_key":"pk","langfuse_secret_key":"canary-secret"}}]}}`,
	} {
		if a := h.Call(adminapitest.MasterKey, "POST", "/key/generate", body); a.Status != 400 {
			t.Errorf("%s: got %d %s", name, a.Status, a.Body)
		}
	}
	if now := len(h.Must("GET", "/api/v1/callbacks", "")["items"].([]any)); now != before {
		t.Errorf("%d callbacks are left of keys that were refused", now-before)
	}
	for _, path := range []string{"/key/update", "/team/new", "/user/new"} {
		body := `{"key":"` + key + `","metadata":{"logging":[{"callback_name":"langfuse"}]}}`
		if path != "/key/update" {
			body = `{"metadata":{"logging":[{"callback_name":"langfuse"}]}}`
		}
		if a := h.Call(adminapitest.MasterKey, "POST", path, body); a.Status != 400 {
			t.Errorf("%s keeps credentials in metadata: got %d", path, a.Status)
		}
	}
	h.Must("POST", "/key/delete", `{"keys":["`+key+`"]}`)
	if left := h.Must("GET", "/api/v1/callbacks", "")["items"].([]any); len(left) != 0 {
		t.Errorf("callbacks outlive the key that they were made for: %v", left)
	}
}
