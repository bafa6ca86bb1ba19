//go:build e2e

package clients

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/test/cluster"
)

// step is one call as Terraform's community providers for LiteLLM make it.
type step struct {
	name, method, path, body string
	status                   int
	want                     map[string]any    // by dotted path; nil: null or absent
	keep                     map[string]string // name for later steps: path of the value
	says                     string            // part of an error
}

// terraformSteps is the life of each resource: create, read, update, read, delete, read. A
// {name} stands for what a step before has kept.
var terraformSteps = []step{
	// A model is found again by the id that the provider made. Both providers' updates are here.
	{
		name: "model create", method: "POST", path: "/model/new",
		body: `{"model_name":"tf","litellm_params":{"custom_llm_provider":"openai","model":"openai/gpt-4o","api_key":"sk-up","api_base":"http://127.0.0.1:1/v1",
			"tpm":1000,"rpm":10,"input_cost_per_token":0.0000025,"output_cost_per_token":0.00001,"merge_reasoning_content_in_choices":false},
			"model_info":{"id":"tf-model","db_model":true,"base_model":"gpt-4o","tier":"paid","mode":"chat"},"additional":{}}`,
		want: map[string]any{"model_name": "tf", "model_info.id": "tf-model"},
	},
	{
		name: "model read", method: "GET", path: "/model/info?litellm_model_id=tf-model",
		want: map[string]any{
			"data.0.model_name": "tf", "data.0.litellm_params.custom_llm_provider": "openai", "data.0.litellm_params.model": "openai/gpt-4o",
			"data.0.litellm_params.tpm": 1000.0, "data.0.litellm_params.rpm": 10.0, "data.0.litellm_params.api_base": "http://127.0.0.1:1/v1",
			"data.0.litellm_params.api_key": nil, "data.0.model_info.id": "tf-model", "data.0.model_info.base_model": "gpt-4o",
			"data.0.model_info.tier": "paid", "data.0.model_info.mode": "chat", "data.0.model_info.input_cost_per_token": 2.5e-06,
		},
	},
	{
		name: "model update", method: "POST", path: "/model/update",
		body: `{"model_name":"tf-renamed","litellm_params":{"custom_llm_provider":"openai","model":"openai/gpt-4o-mini","rpm":20},
			"model_info":{"id":"tf-model","db_model":true,"base_model":"gpt-4o-mini","tier":"free","mode":"chat"},"additional":{}}`,
		want: map[string]any{"model_name": "tf-renamed", "litellm_params.rpm": 20.0, "litellm_params.tpm": 1000.0, "model_info.tier": "free"},
	},
	{
		name: "model patch", method: "PATCH", path: "/model/tf-model/update", body: `{"litellm_params":{"rpm":30}}`,
		want: map[string]any{"litellm_params.rpm": 30.0, "litellm_params.model": "openai/gpt-4o-mini", "model_info.mode": "chat"},
	},

	// A team. Its members are resources of their own.
	{
		name: "team create", method: "POST", path: "/team/new",
		body: `{"team_id":"tf-team","team_alias":"engineering","models":["tf-renamed"],"max_budget":100,"budget_duration":"30d","tpm_limit":5000,"rpm_limit":50,
			"blocked":false,"metadata":{"dept":"eng"}}`,
		want: map[string]any{"team_id": "tf-team", "team_alias": "engineering"},
	},
	{
		name: "team read", method: "GET", path: "/team/info?team_id=tf-team",
		want: map[string]any{
			"team_id": "tf-team", "team_info.team_alias": "engineering", "team_info.max_budget": 100.0, "team_info.budget_duration": "30d",
			"team_info.tpm_limit": 5000.0, "team_info.rpm_limit": 50.0, "team_info.blocked": false, "team_info.metadata.dept": "eng",
			"team_info.models.0": "tf-renamed", "team_info.organization_id": nil,
		},
	},
	{
		name: "team update", method: "POST", path: "/team/update",
		body: `{"team_id":"tf-team","team_alias":"engineering-2","max_budget":200,"budget_duration":"7d","models":[]}`,
		want: map[string]any{"data.team_alias": "engineering-2", "data.max_budget": 200.0, "data.budget_duration": "7d", "data.rpm_limit": 50.0},
	},

	// A user, without and with a key of its own.
	{
		name: "user create", method: "POST", path: "/user/new",
		body: `{"user_id":"tf-user","user_alias":"Alice","user_email":"alice@example.com","user_role":"internal_user","models":["tf-renamed"],
			"max_budget":25,"budget_duration":"30d","tpm_limit":500,"auto_create_key":false,"metadata":{"dept":"eng"}}`,
		want: map[string]any{"user_id": "tf-user", "key": nil},
	},
	{
		name: "user read", method: "GET", path: "/user/info?user_id=tf-user",
		want: map[string]any{
			"user_id": "tf-user", "user_info.user_id": "tf-user", "user_info.user_email": "alice@example.com", "user_info.user_alias": "Alice",
			"user_info.user_role": "internal_user", "user_info.max_budget": 25.0, "user_info.budget_duration": "30d", "user_info.tpm_limit": 500.0,
			"user_info.metadata.dept": "eng", "user_info.models.0": "tf-renamed",
		},
	},
	{
		name: "user is there already", method: "POST", path: "/user/new", status: http.StatusConflict,
		body: `{"user_email":"alice@example.com","auto_create_key":false}`,
	},
	{
		name: "user found by address", method: "GET", path: "/user/list?page=1&page_size=100&user_email=alice@example.com",
		want: map[string]any{"users.0.user_id": "tf-user", "total_pages": 1.0},
	},
	{
		name: "user update", method: "POST", path: "/user/update", body: `{"user_id":"tf-user","user_alias":"Alice B","max_budget":30,"metadata":{}}`,
		want: map[string]any{"user_id": "tf-user", "data.user_alias": "Alice B", "data.max_budget": 30.0},
	},
	{
		name: "user with a key", method: "POST", path: "/user/new", body: `{"user_id":"tf-user-2","user_role":"internal_user","auto_create_key":true}`,
		want: map[string]any{"user_id": "tf-user-2"}, keep: map[string]string{"userkey": "key"},
	},
	{
		name: "member add", method: "POST", path: "/team/member_add",
		body: `{"team_id":"tf-team","member":[{"role":"user","user_id":"tf-user"}],"max_budget_in_team":10}`,
		want: map[string]any{"team_id": "tf-team"},
	},
	{
		name: "member read", method: "GET", path: "/team/info?team_id=tf-team",
		want: map[string]any{"team_info.members_with_roles.0.user_id": "tf-user", "team_info.members_with_roles.0.role": "user"},
	},
	{
		name: "member update", method: "POST", path: "/team/member_update",
		body: `{"team_id":"tf-team","user_id":"tf-user","role":"admin","max_budget_in_team":20}`,
		want: map[string]any{"team_id": "tf-team", "user_id": "tf-user"},
	},
	{name: "member delete", method: "POST", path: "/team/member_delete", body: `{"team_id":"tf-team","user_id":"tf-user"}`},

	// A key is a resource under its hash.
	{
		name: "key create", method: "POST", path: "/key/generate",
		body: `{"models":["tf-renamed"],"max_budget":5,"user_id":"tf-user","team_id":"tf-team","max_parallel_requests":2,"metadata":{"a":"b"},"tpm_limit":100,
			"rpm_limit":10,"budget_duration":"1d","soft_budget":4,"key_alias":"tf-key","duration":"30d","aliases":{},"config":{},"permissions":{},
			"model_max_budget":{},"model_rpm_limit":{"tf-renamed":5},"model_tpm_limit":{},"guardrails":[],"blocked":false,"tags":["x"]}`,
		want: map[string]any{"key_alias": "tf-key", "max_budget": 5.0}, keep: map[string]string{"key": "key", "token": "token_id"},
	},
	{
		name: "key read", method: "GET", path: "/key/info?key={token}",
		want: map[string]any{
			"key": "{token}", "info.key_alias": "tf-key", "info.max_budget": 5.0, "info.soft_budget": 4.0, "info.user_id": "tf-user", "info.team_id": "tf-team",
			"info.max_parallel_requests": 2.0, "info.tpm_limit": 100.0, "info.rpm_limit": 10.0, "info.budget_duration": "1d", "info.blocked": false,
			"info.models.0": "tf-renamed", "info.metadata.a": "b", "info.tags.0": "x", "info.spend": 0.0, "info.model_rpm_limit.tf-renamed": 5.0,
		},
	},
	{
		name: "key update", method: "POST", path: "/key/update",
		body: `{"key":"{token}","team_id":"tf-team","metadata":{"a":"c"},"budget_duration":"7d","key_alias":"tf-key-2","aliases":{},"permissions":{},
			"model_max_budget":{},"model_rpm_limit":{},"model_tpm_limit":{},"blocked":false,"max_budget":6,"rpm_limit":20,"models":["tf-renamed"]}`,
		want: map[string]any{"key": "{token}", "max_budget": 6.0, "budget_duration": "7d", "key_alias": "tf-key-2", "rpm_limit": 20.0, "tpm_limit": 100.0, "metadata.a": "c"},
	},
	{name: "key is blocked", method: "POST", path: "/key/update", body: `{"key":"{token}","blocked":true}`, want: map[string]any{"blocked": true}},
	{name: "key delete", method: "POST", path: "/key/delete", body: `{"keys":["{token}"]}`, want: map[string]any{"deleted_keys.0": "{token}"}},
	{name: "key is gone", method: "GET", path: "/key/info?key={token}", status: http.StatusNotFound, want: map[string]any{"error.code": "404"}},

	// A credential.
	{
		name: "credential create", method: "POST", path: "/credentials",
		body: `{"credential_name":"tf-cred","credential_info":{"custom_llm_provider":"openai"},"credential_values":{"api_key":"sk-up"}}`,
		want: map[string]any{"success": true},
	},
	{
		name: "credential read", method: "GET", path: "/credentials/by_name/tf-cred",
		want: map[string]any{"credential_name": "tf-cred", "credential_info.custom_llm_provider": "openai"},
	},
	{name: "credential update", method: "PATCH", path: "/credentials/tf-cred", body: `{"credential_name":"tf-cred","credential_values":{"api_key":"sk-up-2"}}`},
	{name: "credential delete", method: "DELETE", path: "/credentials/tf-cred"},
	{name: "credential is gone", method: "GET", path: "/credentials/by_name/tf-cred", status: http.StatusNotFound},

	// What is gone is told in the words that the providers look for.
	{name: "user delete", method: "POST", path: "/user/delete", body: `{"user_ids":["tf-user","tf-user-2"]}`},
	{name: "user is gone", method: "GET", path: "/user/info?user_id=tf-user", status: http.StatusNotFound},
	{name: "team delete", method: "POST", path: "/team/delete", body: `{"team_ids":["tf-team"]}`},
	{name: "team is gone", method: "GET", path: "/team/info?team_id=tf-team", status: http.StatusNotFound},
	{name: "model delete", method: "POST", path: "/model/delete", body: `{"id":"tf-model"}`},
	{name: "model is gone", method: "GET", path: "/model/info?litellm_model_id=tf-model", status: http.StatusBadRequest, says: "model not found"},
	{name: "model delete again", method: "POST", path: "/model/delete", body: `{"id":"tf-model"}`, status: http.StatusBadRequest, says: "model not found"},
}

// TestLiteLLM_Terraform makes the calls of Terraform's providers in their order.
func TestLiteLLM_Terraform(t *testing.T) {
	c := cluster.Start(t, 1)
	kept := map[string]string{}
	for _, s := range terraformSteps {
		t.Run(s.name, func(t *testing.T) {
			status, text := callLiteLLM(t, c.Nodes[0].URL, s.method, fill(s.path, kept), fill(s.body, kept))
			if status != cmp.Or(s.status, http.StatusOK) {
				t.Fatalf("got %d %s", status, text)
			}
			if !strings.Contains(text, s.says) {
				t.Errorf("got %s, want %q in it", text, s.says)
			}
			var v any
			if err := json.Unmarshal([]byte(text), &v); err != nil {
				t.Fatalf("got %q: %v", text, err)
			}
			for path, want := range s.want {
				if w, ok := want.(string); ok {
					want = fill(w, kept)
				}
				if got := member(v, path); !reflect.DeepEqual(got, want) {
					t.Errorf("%s: got %#v, want %#v in %s", path, got, want, text)
				}
			}
			for name, path := range s.keep {
				kept[name] = fmt.Sprint(member(v, path))
			}
		})
	}
}

// callLiteLLM makes a call with the header that the providers send the key in.
func callLiteLLM(t *testing.T, base, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("x-api-key", cluster.MasterKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func fill(text string, kept map[string]string) string {
	for name, v := range kept {
		text = strings.ReplaceAll(text, "{"+name+"}", v)
	}
	return text
}

// member finds "data.0.model_info.id" in what JSON decodes to.
func member(v any, path string) any {
	for name := range strings.SplitSeq(path, ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i >= len(in) {
				return nil
			}
			v = in[i]
		default:
			return nil
		}
	}
	return v
}
