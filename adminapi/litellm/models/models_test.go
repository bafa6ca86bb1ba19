package models_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
)

func TestModelUpdate(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	for _, id := range []string{"first", "second"} {
		h.Must("POST", "/model/new", fmt.Sprintf(`{"model_name":"gpt","litellm_params":{"model":"openai/gpt-4o","api_base":"http://127.0.0.1:1/v1",`+
			`"api_key":"sk-upstream","rpm":5,"tpm":100},"model_info":{"id":%q,"mode":"chat","supports_vision":true,"max_input_tokens":1000}}`, id))
	}
	row := h.Must("POST", "/model/update", `{"litellm_params":{"rpm":7},"model_info":{"id":"first","tier":"free"}}`)
	params, info := row["litellm_params"].(map[string]any), row["model_info"].(map[string]any)
	if params["rpm"] != 7.0 || params["tpm"] != 100.0 || params["model"] != "openai/gpt-4o" || info["tier"] != "free" || info["mode"] != "chat" {
		t.Errorf("updated: got %v", row)
	}
	row = h.Must("PATCH", "/model/first/update", `{"model_name":"gpt-new","litellm_params":{"model":"openai/gpt-5"},"blocked":true}`)
	if row["model_name"] != "gpt-new" || row["blocked"] != true || row["litellm_params"].(map[string]any)["model"] != "openai/gpt-5" {
		t.Errorf("moved: got %v", row)
	}
	row = h.Must("PATCH", "/model/second/update", `{"model_name":"gpt-2"}`)
	if row["model_name"] != "gpt-2" {
		t.Errorf("renamed: got %v", row)
	}
	row = h.Must("PATCH", "/model/second/update", `{"model_name":"gpt-new"}`)
	if a := h.Call(adminapitest.MasterKey, "GET", "/api/v1/models/gpt-2", ""); a.Status != 404 || row["model_name"] != "gpt-new" {
		t.Errorf("a model that lost its last deployment: got %d %s", a.Status, a.Body)
	}
	h.Must("POST", "/model/unblock", `{"model_id":"first"}`)
	groups := h.Must("GET", "/model_group/info?model_group=gpt-new", "")["data"].([]any)
	g := groups[0].(map[string]any)
	if len(groups) != 1 || g["rpm"] != 12.0 || g["tpm"] != 200.0 || g["supports_vision"] != true || g["max_input_tokens"] != 1000.0 || g["mode"] != "chat" {
		t.Errorf("groups: got %v", groups)
	}
	page := h.Must("GET", "/v2/model/info?size=1&search=GPT", "")
	if page["total_count"] != 2.0 || page["total_pages"] != 2.0 || len(page["data"].([]any)) != 1 {
		t.Errorf("page: got %v", page)
	}
}

func TestModels_NotFound(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
	}{
		{"info", "GET", "/model/info?litellm_model_id=x", "", 400},
		{"delete", "POST", "/model/delete", `{"id":"x"}`, 400},
		{"update", "POST", "/model/update", `{"model_info":{"id":"x"}}`, 400},
		{"patch", "PATCH", "/model/x/update", `{}`, 404},
		{"block", "POST", "/model/block", `{"model_id":"x"}`, 404},
	} {
		a := h.Call(adminapitest.MasterKey, tt.method, tt.path, tt.body)
		if a.Status != tt.status || !strings.Contains(string(a.Body), "model not found") {
			t.Errorf("%s: got %d %s, want %d", tt.name, a.Status, a.Body, tt.status)
		}
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/credentials", `{"credential_name":"c","credential_values":{"api_key":"sk-canary","api_base":"http://127.0.0.1:1/v1"},"credential_info":{"custom_llm_provider":"openai","description":"x"}}`)
	got := h.Must("GET", "/credentials/by_name/c", "")
	if got["credential_info"].(map[string]any)["custom_llm_provider"] != "openai" || got["credential_values"].(map[string]any)["api_base"] != "http://127.0.0.1:1/v1" {
		t.Errorf("got %v", got)
	}
	h.Must("PATCH", "/credentials/c", `{"display_name":"The lab's"}`)
	if got := h.Must("GET", "/credentials/by_name/c", ""); got["display_name"] != "The lab's" {
		t.Errorf("a name for people: got %v", got)
	}
	h.Must("PATCH", "/credentials/c", `{"credential_name":"c","display_name":null,"credential_values":{"api_key":"sk-canary-2","aws_region_name":"us-east-1"}}`)
	h.Must("PATCH", "/credentials/c", `{"credential_values":{"api_key":"sk-canary-3"},"credential_values_to_delete":["api_base","aws_region_name"]}`)
	if values := h.Must("GET", "/credentials/by_name/c", "")["credential_values"].(map[string]any); len(values) != 1 || values["api_key"] == nil {
		t.Errorf("after two values were deleted: got %v", values)
	}
	list := h.Call(adminapitest.MasterKey, "GET", "/credentials", "")
	if list.Status != 200 || strings.Contains(string(list.Body), "canary") || len(list.Object(t)["credentials"].([]any)) != 1 {
		t.Errorf("list: got %d %s", list.Status, list.Body)
	}
	h.Must("POST", "/model/new", `{"model_name":"m","litellm_params":{"model":"openai/x","litellm_credential_name":"c"},"model_info":{"id":"d"}}`)
	if by := h.Must("GET", "/credentials/by_model/d", ""); by["credential_name"] != "c" {
		t.Errorf("by model: got %v", by)
	}
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
	}{
		{"unknown", "GET", "/credentials/by_name/x", "", 404},
		{"twice", "POST", "/credentials", `{"credential_name":"c","credential_values":{"api_key":"sk-x"}}`, 409},
		{"unsupported value", "POST", "/credentials", `{"credential_name":"d","credential_values":{"aws_profile_name":"x"}}`, 400},
		{"no values", "POST", "/credentials", `{"credential_name":"d"}`, 400},
		{"another name", "PATCH", "/credentials/c", `{"credential_name":"d"}`, 400},
		{"a name for people alone", "POST", "/credentials", `{"credential_name":"d","display_name":"x"}`, 400},
		{"a name for people that is none", "PATCH", "/credentials/c", `{"display_name":" x"}`, 400},
		{"a model's account", "PATCH", "/credentials/c", `{"model_id":"d"}`, 400},
		{"set and deleted", "PATCH", "/credentials/c", `{"credential_values":{"api_key":"x"},"credential_values_to_delete":["api_key"]}`, 400},
		{"no list", "PATCH", "/credentials/c", `{"credential_values_to_delete":"api_key"}`, 400},
		{"in use", "DELETE", "/credentials/c", "", 409},
	} {
		if a := h.Call(adminapitest.MasterKey, tt.method, tt.path, tt.body); a.Status != tt.status {
			t.Errorf("%s: got %d %s, want %d", tt.name, a.Status, a.Body, tt.status)
		}
	}
	h.Must("POST", "/model/delete", `{"id":"d"}`)
	h.Must("DELETE", "/credentials/c", "")
}

func TestModels(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	for _, id := range []string{"first", "second"} {
		h.Must("POST", "/model/new", fmt.Sprintf(`{"model_name":"gpt","litellm_params":{"model":"openai/gpt-4o","api_base":"http://127.0.0.1:1/v1",`+
			`"api_key":"sk-upstream","rpm":5,"weight":2,"timeout":1.5,"input_cost_per_token":1.5e-07,"output_cost_per_token":0.0000006},"model_info":{"id":%q,"mode":"chat","health_check_model":"gpt-4o-mini","health_check_max_tokens":5}}`, id))
	}
	deployments := h.Must("GET", "/api/v1/models/gpt", "")["deployments"].([]any)
	if len(deployments) != 2 {
		t.Fatalf("got %d deployments, want 2", len(deployments))
	}
	d := h.Must("GET", "/api/v1/deployments/first", "")
	price := d["price"].(map[string]any)
	if d["provider"] != "openai" || d["model"] != "gpt-4o" || d["timeout_ms"] != 1500.0 || d["health_check_model"] != "gpt-4o-mini" || d["health_check_max_tokens"] != 5.0 || price["input"] != 0.15 || price["output"] != 0.6 {
		t.Errorf("deployment: got %v", d)
	}
	data := h.Must("GET", "/v1/model/info?litellm_model_id=first", "")["data"].([]any)
	info := data[0].(map[string]any)["model_info"].(map[string]any)
	if len(data) != 1 || info["input_cost_per_token"] != 1.5e-07 || info["mode"] != "chat" || info["db_model"] != true || info["health_check_model"] != "gpt-4o-mini" {
		t.Errorf("model info: got %v", data)
	}
	h.Must("POST", "/model/delete", `{"id":"first"}`)
	h.Must("GET", "/api/v1/models/gpt", "")
	h.Must("POST", "/model/delete", `{"id":"second"}`)
	if a := h.Call(adminapitest.MasterKey, "GET", "/api/v1/models/gpt", ""); a.Status != 404 {
		t.Errorf("model without deployments: got %d", a.Status)
	}
}

// TestModels_known: what the list of prices knows of a model is shown, to keys the models that they may use; what a client
// sends back as it has read it does not become the deployment's own.
func TestModels_known(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	for name, upstream := range map[string]string{"mine": "openai/gpt-4o", "theirs": "anthropic/claude-sonnet-4-20250514", "vectors": "openai/text-embedding-3-small"} {
		h.Must("POST", "/model/new", fmt.Sprintf(`{"model_name":%q,"litellm_params":{"model":%q,"api_base":"http://127.0.0.1:1/v1","api_key":"sk-upstream"},"model_info":{"id":%q,"tier":"gold"}}`, name, upstream, name))
	}
	key := h.Must("POST", "/key/generate", `{"models":["mine"]}`)["key"].(string)
	read := func(key, path string) []any {
		a := h.Call(key, "GET", path, "")
		if a.Status != 200 {
			t.Fatalf("%s: got %d %s", path, a.Status, a.Body)
		}
		var out struct{ Data []any }
		if err := json.Unmarshal(a.Body, &out); err != nil {
			t.Fatal(err)
		}
		return out.Data
	}
	for _, path := range []string{"/model/info", "/v1/model/info", "/v2/model/info", "/model_group/info"} {
		if n := len(read(adminapitest.MasterKey, path)); n != 3 {
			t.Errorf("%s: the master key sees %d, want 3", path, n)
		}
		if data := read(key, path); len(data) != 1 {
			t.Errorf("%s: the key sees %v, want one", path, data)
		}
	}
	row := read(key, "/model/info?litellm_model_id=mine")[0].(map[string]any)
	params, info := row["litellm_params"].(map[string]any), row["model_info"].(map[string]any)
	if params["api_base"] != nil || params["model"] != "openai/gpt-4o" {
		t.Errorf("params: got %v", params)
	}
	for field, want := range map[string]any{
		"max_input_tokens": 128000.0, "max_output_tokens": 16384.0, "max_tokens": 16384.0, "input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05,
		"cache_read_input_token_cost": 1.25e-06, "supports_vision": true, "supports_function_calling": true, "key": "openai/gpt-4o", "mode": "chat", "tier": "gold",
	} {
		if info[field] != want {
			t.Errorf("%s: got %v, want %v", field, info[field], want)
		}
	}
	if params, _ := info["supported_openai_params"].([]any); !slices.Contains(params, any("temperature")) {
		t.Errorf("parameters: got %v", params)
	}
	group := read(key, "/model_group/info")[0].(map[string]any)
	if group["max_input_tokens"] != 128000.0 || group["input_cost_per_token"] != 2.5e-06 || group["supports_vision"] != true || group["supports_web_search"] != false {
		t.Errorf("group: got %v", group)
	}
	if vectors := read(adminapitest.MasterKey, "/model/info?litellm_model_id=vectors")[0].(map[string]any)["model_info"].(map[string]any); vectors["output_vector_size"] != 1536.0 || vectors["mode"] != "embedding" {
		t.Errorf("vectors: got %v", vectors)
	}
	info["tier"] = "silver"
	b, _ := json.Marshal(map[string]any{"model_info": info})
	h.Must("POST", "/model/update", string(b))
	if d := h.Must("GET", "/api/v1/deployments/mine", ""); d["price"] != nil || fmt.Sprint(d["metadata"]) != "map[tier:silver]" {
		t.Errorf("sent back: got the price %v and %v", d["price"], d["metadata"])
	}
	info["input_cost_per_token"] = 1e-06
	b, _ = json.Marshal(map[string]any{"model_info": info})
	h.Must("POST", "/model/update", string(b))
	price, _ := h.Must("GET", "/api/v1/deployments/mine", "")["price"].(map[string]any)
	if price["input"] != 1.0 || price["output"] != 10.0 || price["cache_read"] != 1.25 {
		t.Errorf("changed: got the price %v", price)
	}
}

func TestKeyList_pages(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/team/new", `{"team_id":"t","team_alias":"t"}`)
	for i := range 25 {
		h.Must("POST", "/key/generate", fmt.Sprintf(`{"key_alias":"k%d","team_id":%q}`, i, []string{"", "t"}[i%2]))
		h.Advance(1)
	}
	for _, tt := range []struct {
		query        string
		first        any
		shown, total int
		pages        float64
	}{
		{"size=10&return_full_object=true", "k24", 10, 25, 3},
		{"size=10&page=3&return_full_object=true", "k4", 5, 25, 3},
		{"size=10&page=4&return_full_object=true", nil, 0, 25, 3},
		{"size=5&page=2&team_id=t&return_full_object=true", "k13", 5, 12, 3},
		{"key_alias=k7&return_full_object=true", "k7", 1, 1, 1},
		{"key_alias=k7&page=2&return_full_object=true", nil, 0, 1, 1},
		{"key_alias=k7&team_id=other&return_full_object=true", nil, 0, 0, 0},
		{"key_alias=none&return_full_object=true", nil, 0, 0, 0},
	} {
		got := h.Must("GET", "/key/list?"+tt.query, "")
		keys, _ := got["keys"].([]any)
		var first any
		if len(keys) > 0 {
			first = keys[0].(map[string]any)["key_alias"]
		}
		if first != tt.first || len(keys) != tt.shown || got["total_count"] != float64(tt.total) || got["total_pages"] != tt.pages {
			t.Errorf("%s: got %v first of %d, %v in all on %v pages", tt.query, first, len(keys), got["total_count"], got["total_pages"])
		}
	}
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/credentials", `{"credential_name":"aws","credential_values":{"aws_access_key_id":"AKIA-canary","aws_secret_access_key":"canary-secret","region_name":"eu-west-1"}}`)
	h.Must("PATCH", "/credentials/aws", `{"credential_values":{"aws_region_name":"eu-west-2","aws_session_token":"canary-token"}}`)
	c := h.Must("GET", "/api/v1/credentials/aws", "")
	options, secrets := c["options"].(map[string]any), c["secrets"].(map[string]any)
	if options["region"] != "eu-west-2" || len(secrets) != 3 || strings.Contains(fmt.Sprint(c), "canary") {
		t.Errorf("credential: got %v", c)
	}
	kept := secrets["aws_secret_access_key"].(map[string]any)["fingerprint"]
	c = h.Must("PATCH", "/api/v1/credentials/aws", `{"secrets":{"aws_session_token":null,"aws_access_key_id":"other"}}`)
	after := c["secrets"].(map[string]any)
	if len(after) != 2 || kept == "" || after["aws_secret_access_key"].(map[string]any)["fingerprint"] != kept ||
		fmt.Sprint(after["aws_access_key_id"]) == fmt.Sprint(secrets["aws_access_key_id"]) {
		t.Errorf("patched: got %v, before %v", after, secrets)
	}
	for _, body := range []string{
		`{"api_base":"https://elsewhere.example"}`, `{"options":{"aws_sts_endpoint":"https://elsewhere.example"}}`,
		`{"options":{"azure_authority_host":"https://elsewhere.example"}}`,
	} {
		if a := h.Call(adminapitest.MasterKey, "PATCH", "/api/v1/credentials/aws", body); a.Status < 400 || !strings.Contains(string(a.Body), "not given for this host") {
			t.Errorf("stored secrets went to another host by %s: %d %s", body, a.Status, a.Body)
		}
	}
	row := h.Must("POST", "/model/new", `{"model_name":"g","litellm_params":{"model":"openai/g","vertex_project":"p","vertex_credentials":{"type":"canary"}},"model_info":{"id":"g"}}`)
	params := row["litellm_params"].(map[string]any)
	if params["vertex_project"] != "p" || !strings.HasPrefix(fmt.Sprint(params["vertex_credentials"]), "sealed:") {
		t.Errorf("model: got %v", params)
	}
	a := h.Call(adminapitest.MasterKey, "POST", "/model/new", `{"model_name":"g2","litellm_params":{"model":"openai/g","aws_session_token":"os.environ/X"}}`)
	if a.Status != 400 || !strings.Contains(string(a.Body), "aws_session_token") {
		t.Errorf("from the environment: got %d %s", a.Status, a.Body)
	}
}

// TestModel_PassThrough: whether a deployment is open to requests in its provider's own words is kept and shown as LiteLLM has it.
func TestModel_PassThrough(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	row := h.Must("POST", "/model/new", `{"model_name":"p","litellm_params":{"model":"openai/p","use_in_pass_through":true},"model_info":{"id":"p"}}`)
	if got := row["litellm_params"].(map[string]any)["use_in_pass_through"]; got != true {
		t.Errorf("got %v", row)
	}
	if d := h.Must("GET", "/api/v1/deployments/p", ""); d["options"].(map[string]any)["use_in_pass_through"] != "true" {
		t.Errorf("stored %v", d)
	}
	row = h.Must("POST", "/model/update", `{"litellm_params":{"use_in_pass_through":"false"},"model_info":{"id":"p"}}`)
	if got := row["litellm_params"].(map[string]any)["use_in_pass_through"]; got != false {
		t.Errorf("updated to %v", row)
	}
	a := h.Call(adminapitest.MasterKey, "POST", "/model/new", `{"model_name":"q","litellm_params":{"model":"openai/q","use_in_pass_through":"maybe"}}`)
	if a.Status != 400 || !strings.Contains(string(a.Body), "use_in_pass_through") {
		t.Errorf("what is neither: got %d %s", a.Status, a.Body)
	}
}

// TestModel_PromptTemplate: LiteLLM's custom prompt template is kept and shown.
func TestModel_PromptTemplate(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/model/new", `{"model_name":"base","litellm_params":{"model":"text-completion-openai/base","api_base":"http://127.0.0.1:1/v1",`+
		`"roles":{"user":{"pre_message":"[U]","post_message":"\n"}},"final_prompt_value":"[A]"},"model_info":{"id":"b"}}`)
	row := h.Must("POST", "/model/update", `{"litellm_params":{"bos_token":"<s>"},"model_info":{"id":"b"}}`)
	params := row["litellm_params"].(map[string]any)
	if got := fmt.Sprint(params["roles"], params["final_prompt_value"], params["bos_token"]); got != "map[user:map[post_message:\n pre_message:[U]]][A]<s>" {
		t.Errorf("got %q", got)
	}
	a := h.Call(adminapitest.MasterKey, "POST", "/model/new", `{"model_name":"x","litellm_params":{"model":"openai/x","roles":{"robot":{}}}}`)
	if a.Status != 400 || !strings.Contains(string(a.Body), "robot") {
		t.Errorf("an unknown role: got %d %s", a.Status, a.Body)
	}
}
