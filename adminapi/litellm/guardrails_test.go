package litellm_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
)

func TestGuardrails(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	made := h.Must("POST", "/guardrails", `{"guardrail":{"guardrail_name":"moderated","guardrail_info":{"params":[]},"litellm_params":{"guardrail":"openai_moderation","mode":["pre_call","post_call"],"default_on":true,"api_key":"os.environ/K","headers":{"x-a":"1"},"timeout":3}}}`)
	id, _ := made["guardrail_id"].(string)
	params, _ := made["litellm_params"].(map[string]any)
	if id == "" || params["guardrail"] != "openai_moderation" || params["default_on"] != true || params["api_base"] != "https://api.openai.com/v1" || params["api_key"] != "os.environ/K" || len(params["mode"].([]any)) != 2 {
		t.Errorf("got %v", made)
	}
	if g := h.Must("GET", "/api/v1/guardrails/moderated", ""); g["deadline_ms"] != 3000.0 || g["plugin"] != "openai_moderation" || g["optional"] == true {
		t.Errorf("got %v", g)
	}
	for _, path := range []string{"/guardrails/list", "/v2/guardrails/list"} {
		if all, _ := h.Must("GET", path, "")["guardrails"].([]any); len(all) != 1 {
			t.Errorf("%s: got %v", path, all)
		}
	}
	for _, path := range []string{"/guardrails/" + id, "/guardrails/" + id + "/info"} {
		if g := h.Must("GET", path, ""); g["guardrail_name"] != "moderated" {
			t.Errorf("%s: got %v", path, g)
		}
	}
	moved := h.Must("PATCH", "/guardrails/"+id, `{"litellm_params":{"guardrail":"lakera","mode":"pre_call","api_base":"https://guard","headers":{"x-b":"2"}}}`)
	if params := moved["litellm_params"].(map[string]any); params["api_base"] != "https://guard" || fmt.Sprint(params["headers"]) != "map[x-b:2]" {
		t.Errorf("got %v", moved)
	}
	changed := h.Must("PATCH", "/guardrails/"+id, `{"litellm_params":{"guardrail":"hide-secrets","mode":"pre_call"}}`)
	if params := changed["litellm_params"].(map[string]any); params["guardrail"] != "secrets" || params["default_on"] != false || params["api_base"] != nil {
		t.Errorf("got %v", changed)
	}
	h.Must("PUT", "/guardrails/"+id, `{"guardrail":{"guardrail_name":"renamed","litellm_params":{"guardrail":"keywords","mode":"pre_call","words":["a"]}}}`)
	logs := h.Must("PATCH", "/guardrails/"+id, `{"litellm_params":{"guardrail":"pii","mode":"logging_only","default_on":true}}`)
	if mode := logs["litellm_params"].(map[string]any)["mode"].([]any); len(mode) != 1 || mode[0] != "logging_only" {
		t.Errorf("got %v", logs)
	}
	if ours := h.Must("GET", "/api/v1/guardrails/"+id, ""); ours["mode"] != "log_only" {
		t.Errorf("got %v", ours)
	}
	for name, body := range map[string]string{
		"what is shown":    `{"guardrail":{"guardrail_name":"x","litellm_params":{"guardrail":"lakera_v2","mode":"pre_call","api_key":"****"}}}`,
		"an unknown mode":  `{"guardrail":{"guardrail_name":"x","litellm_params":{"guardrail":"pii","mode":"sometimes"}}}`,
		"a mode beside":    `{"guardrail":{"guardrail_name":"x","litellm_params":{"guardrail":"pii","mode":["pre_call","logging_only"]}}}`,
		"no kind":          `{"guardrail":{"guardrail_name":"x","litellm_params":{"mode":"pre_call"}}}`,
		"an unknown field": `{"guardrail":{"guardrail_name":"x","team_id":"t","litellm_params":{"guardrail":"pii"}}}`,
		"no region":        `{"guardrail":{"guardrail_name":"x","litellm_params":{"guardrail":"bedrock","mode":"pre_call"}}}`,
	} {
		if a := h.Call(adminapitest.MasterKey, "POST", "/guardrails", body); a.Status != 400 || strings.Contains(string(a.Body), "canary") {
			t.Errorf("%s: got %d %s", name, a.Status, a.Body)
		}
	}
	if a := h.Call(adminapitest.MasterKey, "POST", "/apply_guardrail", `{"guardrail_name":"none","text":"x"}`); a.Status != 404 {
		t.Errorf("a guardrail that there is not: got %d", a.Status)
	}
	if a := h.Call(adminapitest.MasterKey, "POST", "/apply_guardrail", `{"guardrail_name":"renamed","text":"x"}`); a.Status != 503 {
		t.Errorf("none runs here: got %d %s", a.Status, a.Body)
	}
	h.Must("DELETE", "/guardrails/"+id, "")
	if a := h.Call(adminapitest.MasterKey, "GET", "/guardrails/"+id, ""); a.Status != 404 {
		t.Errorf("deleted: got %d", a.Status)
	}
}

// TestGuardrails_Secrets seals a key that is written out, and shows it never again. What is shown of it may
// be sent back.
func TestGuardrails_Secrets(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	key := func(id string) (config, sealed any) {
		t.Helper()
		g := h.Must("GET", "/api/v1/guardrails/"+id, "")
		config = g["config"].(map[string]any)["api_key"]
		secrets, _ := g["secrets"].(map[string]any)
		return config, secrets["api_key"]
	}
	send := func(method, path, body string) map[string]any {
		t.Helper()
		a := h.Call(adminapitest.MasterKey, method, path, body)
		if a.Status != 200 || strings.Contains(string(a.Body), "canary") {
			t.Fatalf("%s %s %s: got %d %s", method, path, body, a.Status, a.Body)
		}
		return a.Object(t)
	}
	made := send("POST", "/guardrails", `{"guardrail":{"guardrail_name":"guard","litellm_params":{"guardrail":"lakera_v2","mode":"pre_call","api_key":"canary-1"}}}`)
	id, _ := made["guardrail_id"].(string)
	path := "/guardrails/" + id
	if shown := made["litellm_params"].(map[string]any)["api_key"]; shown != "****" {
		t.Errorf("shown as %v", shown)
	}
	config, first := key(id)
	if config != nil || first == nil {
		t.Fatalf("got %v in config, sealed %v", config, first)
	}
	for _, body := range []string{
		`{"litellm_params":{"guardrail":"lakera_v2","mode":"post_call","api_key":"****"}}`,
		`{"litellm_params":{"guardrail":"lakera_v2","mode":"post_call"}}`,
	} {
		send("PATCH", path, body)
		if config, now := key(id); config != nil || fmt.Sprint(now) != fmt.Sprint(first) {
			t.Errorf("%s: got %v in config, sealed %v, want %v", body, config, now, first)
		}
	}
	send("PUT", path, `{"guardrail":{"guardrail_name":"guard","litellm_params":{"guardrail":"lakera_v2","mode":"pre_call","api_key":"****"}}}`)
	if _, now := key(id); fmt.Sprint(now) != fmt.Sprint(first) {
		t.Errorf("replaced: sealed %v, want %v", now, first)
	}
	elsewhere := `{"litellm_params":{"guardrail":"lakera_v2","mode":"pre_call","api_base":"https://elsewhere","api_key":"****"}}`
	if a := h.Call(adminapitest.MasterKey, "PATCH", path, elsewhere); a.Status != 400 {
		t.Errorf("the stored key for another address: got %d %s", a.Status, a.Body)
	}
	send("PATCH", path, `{"litellm_params":{"guardrail":"lakera_v2","mode":"pre_call","api_key":"canary-2"}}`)
	if _, now := key(id); now == nil || fmt.Sprint(now) == fmt.Sprint(first) {
		t.Errorf("another key: sealed %v", now)
	}
	send("PATCH", path, `{"litellm_params":{"guardrail":"lakera_v2","mode":"pre_call","api_key":"os.environ/K"}}`)
	if config, now := key(id); config != "os.environ/K" || now != nil {
		t.Errorf("a reference: got %v in config, sealed %v", config, now)
	}
	send("PATCH", path, `{"litellm_params":{"guardrail":"lakera_v2","mode":"post_call"}}`)
	if config, _ := key(id); config != "os.environ/K" {
		t.Errorf("unnamed: got %v in config, want what was there", config)
	}
	send("PATCH", path, `{"litellm_params":{"guardrail":"lakera_v2","mode":"pre_call","api_key":"canary-3"}}`)
	send("PATCH", path, `{"litellm_params":{"guardrail":"pii","mode":"pre_call"}}`)
	if _, now := key(id); now != nil {
		t.Errorf("another plugin has the key: %v", now)
	}
}
