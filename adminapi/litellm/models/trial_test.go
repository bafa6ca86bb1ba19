package models_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/adminapi"
	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/adminapi/litellm/models"
	"github.com/conclave-llm/conclave/resource"
)

// trials is a harness whose trials are noted, and end as err says.
func trials(t *testing.T, err error) (h *adminapitest.Harness, tried *[]*resource.Deployment) {
	tried = new([]*resource.Deployment)
	return adminapitest.New(t, func(c *adminapi.Config) {
		c.TryDeployment = func(_ context.Context, d *resource.Deployment) models.Tried {
			*tried = append(*tried, d)
			return models.Tried{URL: "https://x.example/v1/chat/completions", Header: http.Header{"Authorization": {"(left out)"}}, Body: json.RawMessage(`{"model":"m"}`), Err: err}
		}
	}), tried
}

func TestTestConnection(t *testing.T) {
	t.Parallel()
	h, tried := trials(t, nil)
	before := h.State.Applied()
	got := h.Must("POST", "/health/test_connection", `{"mode":"embedding","litellm_params":{"model":"openai/small","api_key":"sk-canary","api_base":"https://x.example/v1","rpm":7}}`)
	want := map[string]any{"status": "success", "result": map[string]any{
		"model": "openai/small", "error": nil,
		"raw_request_typed_dict": map[string]any{
			"raw_request_api_base": "https://x.example/v1/chat/completions", "raw_request_body": map[string]any{"model": "m"},
			"raw_request_headers": map[string]any{"Authorization": "(left out)"}, "error": nil,
		},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if h.State.Applied() != before || len(h.State.Catalog().Tables().Deployments) != 0 {
		t.Error("a trial has written something")
	}
	if len(*tried) != 1 {
		t.Fatalf("%d trials", len(*tried))
	}
	d := (*tried)[0]
	if d.ID != models.TrialID || d.ModelID != models.TrialID || d.Provider != "openai" || d.Upstream != "small" || d.HealthCheckModel != "openai/small" ||
		d.APIBase != "https://x.example/v1" || string(d.Metadata) != `{"mode":"embedding"}` {
		t.Errorf("tried %+v", d)
	}
	if key, err := adminapitest.Open(d.APIKey, "deployment", d.ID, "api_key"); err != nil || key != "sk-canary" {
		t.Errorf("the key: %q, %v", key, err)
	}
}

func TestTestConnection_Fails(t *testing.T) {
	t.Parallel()
	h, _ := trials(t, errors.New("no such model"))
	got := h.Must("POST", "/health/test_connection", `{"litellm_params":{"model":"openai/small","api_key":"sk-1"}}`)
	if result, _ := got["result"].(map[string]any); got["status"] != "error" || result["error"] != "no such model" {
		t.Errorf("got %v", got)
	}
}

// A stored deployment is tried as it would be with the parameters; its key goes to no other host.
func TestTestConnection_Stored(t *testing.T) {
	t.Parallel()
	h, tried := trials(t, nil)
	id, _ := h.Must("POST", "/model/new", `{"model_name":"m","litellm_params":{"model":"openai/small","api_key":"sk-stored","api_base":"https://x.example/v1"}}`)["model_id"].(string)
	h.Must("POST", "/health/test_connection", `{"litellm_params":{"model":"openai/large"},"model_info":{"id":"`+id+`"}}`)
	d := (*tried)[0]
	if d.ID != id || d.Upstream != "large" || d.APIBase != "https://x.example/v1" {
		t.Errorf("tried %+v", d)
	}
	if key, err := adminapitest.Open(d.APIKey, "deployment", d.ID, "api_key"); err != nil || key != "sk-stored" {
		t.Errorf("the key: %q, %v", key, err)
	}
	if stored, _ := h.State.Catalog().Deployment(id); stored.Upstream != "small" {
		t.Errorf("stored is %+v", stored)
	}
	a := h.Call(adminapitest.MasterKey, "POST", "/health/test_connection", `{"litellm_params":{"api_base":"https://thief.example/v1"},"model_info":{"id":"`+id+`"}}`)
	if a.Status != 400 || !strings.Contains(string(a.Body), "api_key") || len(*tried) != 1 {
		t.Errorf("the stored key to another host: %d %s", a.Status, a.Body)
	}
}

func TestTestConnection_Refused(t *testing.T) {
	t.Parallel()
	h, tried := trials(t, nil)
	for name, tt := range map[string]struct{ body, field string }{
		"no model":         {`{}`, "litellm_params.model"},
		"no provider":      {`{"litellm_params":{"model":"small"}}`, "litellm_params.model"},
		"a pattern":        {`{"litellm_params":{"model":"openai/*"}}`, "litellm_params.model"},
		"mode":             {`{"mode":"image_generation","litellm_params":{"model":"openai/x"}}`, "mode"},
		"mode of info":     {`{"model_info":{"mode":"batch"},"litellm_params":{"model":"openai/x"}}`, "model_info.mode"},
		"unknown field":    {`{"litellm_params":{"model":"openai/x","mock_response":"y"}}`, "litellm_params.mock_response"},
		"environment":      {`{"litellm_params":{"model":"openai/x","api_key":"os.environ/KEY"}}`, "litellm_params.api_key"},
		"address":          {`{"litellm_params":{"model":"openai/x","api_base":"nowhere"}}`, "api_base"},
		"stored, not here": {`{"litellm_params":{},"model_info":{"id":"dep_x"}}`, "dep_x"},
		"a plugin":         {`{"litellm_params":{"model":"plugin/house/x","custom_llm_provider":"plugin/house"}}`, "house"},
	} {
		a := h.Call(adminapitest.MasterKey, "POST", "/health/test_connection", tt.body)
		if a.Status != 400 || !strings.Contains(string(a.Body), tt.field) {
			t.Errorf("%s: got %d %s", name, a.Status, a.Body)
		}
	}
	if len(*tried) != 0 {
		t.Errorf("tried %+v", *tried)
	}
}

// Admins of teams try models with keys of their own, and with nothing that is the gateway's.
func TestTestConnection_TeamAdmin(t *testing.T) {
	t.Parallel()
	h, tried := trials(t, nil)
	h.Must("POST", "/api/v1/teams", `{"id":"red"}`)
	h.Must("POST", "/api/v1/teams", `{"id":"blue"}`)
	h.Must("POST", "/api/v1/credentials", `{"name":"house","provider":"openai","api_key":"sk-house"}`)
	key := func(user, role string) string {
		h.Must("POST", "/team/member_add", `{"team_id":"red","member":{"user_id":"`+user+`","role":"`+role+`"}}`)
		secret, _ := h.Must("POST", "/key/generate", `{"user_id":"`+user+`"}`)["key"].(string)
		return secret
	}
	admin, user := key("ann", "admin"), key("bob", "user")
	for _, tt := range []struct {
		name, key, body string
		want            int
	}{
		{"his own key", admin, `{"litellm_params":{"model":"openai/small","api_key":"sk-own"},"model_info":{"team_id":"red"}}`, 200},
		{"no key", admin, `{"litellm_params":{"model":"openai/small"}}`, 400},
		{"another team", admin, `{"litellm_params":{"model":"openai/small","api_key":"sk-own"},"model_info":{"team_id":"blue"}}`, 404},
		{"an address", admin, `{"litellm_params":{"model":"openai/small","api_key":"sk-own","api_base":"http://10.0.0.1/v1"}}`, 403},
		{"a credential", admin, `{"litellm_params":{"model":"openai/small","litellm_credential_name":"house"}}`, 403},
		{"a stored one", admin, `{"litellm_params":{"model":"openai/small","api_key":"sk-own"},"model_info":{"id":"dep_1"}}`, 403},
		{"a variable", admin, `{"litellm_params":{"model":"openai/small","api_key":"env://OPENAI_API_KEY"}}`, 403},
		{"a file", admin, `{"litellm_params":{"model":"openai/small","api_key":"file:///etc/passwd"}}`, 403},
		{"a store of secrets", admin, `{"litellm_params":{"model":"openai/small","api_key":"vault://kv/openai#key"}}`, 403},
		{"a price", admin, `{"litellm_params":{"model":"openai/small","api_key":"sk-own","input_cost_per_token":9}}`, 403},
		{"no admin", user, `{"litellm_params":{"model":"openai/small","api_key":"sk-own"}}`, 403},
	} {
		if a := h.Call(tt.key, "POST", "/health/test_connection", tt.body); a.Status != tt.want {
			t.Errorf("%s: got %d %s, want %d", tt.name, a.Status, a.Body, tt.want)
		}
	}
	if len(*tried) != 1 || (*tried)[0].Price == nil || !(*tried)[0].Price.IsFree() {
		t.Errorf("tried %+v, want one, at his own cost", *tried)
	}
}
