package payload_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/plugins/builtin/payload"
	"github.com/conclave-llm/conclave/plugins/builtin/sink/sinktest"
	"github.com/conclave-llm/conclave/plugins/callback"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

func object(t *testing.T, r *sdk.Record) map[string]any {
	t.Helper()
	b, err := payload.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// Every field that LiteLLM's standard logging payload has stands in this one, if only as null.
func TestOf_LiteLLM(t *testing.T) {
	t.Parallel()
	r := sinktest.Telling(sinktest.Records(2))[1]
	r.FirstToken, r.Guardrails = 1, []callback.GuardrailResult{{Guardrail: "words", Hook: "before", Status: "passed"}}
	r.ProjectName, r.OrganizationName, r.Path = "p", "o", "/v1/chat/completions"
	m := object(t, &r)
	for _, tt := range []struct {
		of    map[string]any
		names []string
	}{
		{m, []string{
			"id", "trace_id", "session_id", "litellm_call_id", "call_type", "stream", "status", "status_fields", "response_cost", "cost_breakdown",
			"response_cost_failure_debug_info", "custom_llm_provider", "model", "model_id", "model_group", "api_base", "model_map_information",
			"prompt_tokens", "completion_tokens", "total_tokens", "startTime", "endTime", "completionStartTime", "response_time", "cache_hit", "cache_key",
			"saved_cache_cost", "request_tags", "request_model_access_groups", "end_user", "requester_ip_address", "user_agent", "messages", "response",
			"model_parameters", "error_str", "error_information", "hidden_params", "guardrail_information", "standard_built_in_tools_params", "metadata",
			"autorouter_savings",
		}},
		{m["hidden_params"].(map[string]any), []string{
			"model_id", "cache_key", "api_base", "response_cost", "litellm_overhead_time_ms", "additional_headers", "batch_models", "litellm_model_name", "usage_object",
		}},
		{m["metadata"].(map[string]any), []string{
			"user_api_key_hash", "user_api_key_alias", "user_api_key_spend", "user_api_key_max_budget", "user_api_key_budget_reset_at", "user_api_key_user_id",
			"user_api_key_user_email", "user_api_key_user_spend", "user_api_key_user_max_budget", "user_api_key_team_id", "user_api_key_team_alias",
			"user_api_key_team_spend", "user_api_key_team_max_budget", "user_api_key_org_id", "user_api_key_org_alias", "user_api_key_project_id",
			"user_api_key_project_alias", "user_api_key_end_user_id", "user_api_key_request_route", "user_api_key_auth_metadata", "spend_logs_metadata",
			"requester_ip_address", "user_agent", "requester_metadata", "requester_custom_headers", "prompt_management_metadata", "mcp_tool_call_metadata",
			"vector_store_request_metadata", "routing_decision", "applied_guardrails", "usage_object", "cold_storage_object_key", "used_client_oauth_token",
			"is_silent_experiment",
		}},
	} {
		for _, name := range tt.names {
			if _, ok := tt.of[name]; !ok {
				t.Errorf("%s is missing", name)
			}
		}
	}
}

// Messages are the list, whatever the dialect calls it, and parameters are the rest.
func TestOf_Messages(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, request, messages, params string }{
		{"chat", `{"model":"m","messages":[{"role":"user"}],"temperature":0.5}`, `[{"role":"user"}]`, `{"temperature":0.5}`},
		{"responses", `{"model":"m","input":"hi","stream":true}`, `"hi"`, `{"stream":true}`},
		{"Google", `{"contents":[1],"generationConfig":{}}`, `[1]`, `{"generationConfig":{}}`},
		{"completions", `{"model":"m","prompt":"hi"}`, `"hi"`, `{}`},
		{"form", "--x", `"--x"`, `{}`},
		{"null", "null", "null", `{}`},
		{"not told", "", "", `{}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := payload.Of(&sdk.Record{Request: []byte(tt.request)})
			params, err := json.Marshal(p.Params)
			if string(p.Messages) != tt.messages || string(params) != tt.params || err != nil {
				t.Errorf("got messages %s and parameters %s, want %s and %s", p.Messages, params, tt.messages, tt.params)
			}
		})
	}
}

// Statuses of guardrails are LiteLLM's words, and the verdict is beside them.
func TestOf_Guardrails(t *testing.T) {
	t.Parallel()
	r := sdk.Record{Status: "success"}
	if got := payload.Of(&r).StatusFields.Guardrail; got != "not_run" {
		t.Errorf("without any: %s", got)
	}
	want := []string{"success", "success", "guardrail_failed_to_respond", "guardrail_intervened", "guardrail_intervened", "guardrail_intervened"}
	for i, status := range []string{"passed", "flagged", "not_run", "rewritten", "answered", "blocked"} {
		r.Guardrails = append(r.Guardrails, callback.GuardrailResult{Guardrail: "words", Hook: "before", Status: status})
		p := payload.Of(&r)
		if g := p.Guardrails[i]; g.Status != want[i] || g.Verdict != status || p.StatusFields.Guardrail != want[i] {
			t.Errorf("%s: got %+v, in all %s, want %s", status, g, p.StatusFields.Guardrail, want[i])
		}
		if !slices.Equal(p.Metadata.Guardrails, []string{"words"}) {
			t.Errorf("applied: %v", p.Metadata.Guardrails)
		}
	}
}

func TestOf_Known(t *testing.T) {
	t.Parallel()
	r := sinktest.Records(1)[0]
	r.APIBase, r.Cached, r.Address, r.UserEmail, r.KeyBudget, r.AccessGroups = "https://x", true, "192.0.2.1", "a@b.c", new(int64(2_500_000_000)), []string{"g"}
	p := payload.Of(&r)
	if p.CostBreakdown == nil || p.CostBreakdown.Total != *p.Cost || p.APIBase != "https://x" || !p.CacheHit || *p.Address != "192.0.2.1" || p.AccessGroups[0] != "g" ||
		*p.Metadata.UserEmail != "a@b.c" || *p.Metadata.MaxBudget != 2.5 || p.Metadata.TeamMaxBudget != nil || p.HiddenParams.Usage.Total != p.Total {
		t.Errorf("got %+v", p)
	}
}

// What the cluster's books say of holders, and what the request and they have for logs.
func TestOf_Books(t *testing.T) {
	t.Parallel()
	r := sinktest.Records(1)[0]
	if m := payload.Of(&r).Metadata; m.Spend != nil || m.Reset != nil || m.SpendLogs != nil || m.Requester != nil || m.UserAgent != nil || m.Prompt != nil {
		t.Errorf("of a record that tells nothing: %+v", m)
	}
	r.Books = callback.Books{KeySpend: new(int64(1_500_000_000)), UserSpend: new(int64(0)), TeamSpend: new(int64(2_000_000_000)), UserBudget: new(int64(3_000_000_000)), KeyResets: time.Unix(86400, 0).UTC()}
	r.LogMetadata, r.UserAgent, r.Prompt, r.PromptVersion = []byte(`{"cost_center":"7","job":"a"}`), "curl/8", "greeting", 3
	m := object(t, &r)["metadata"].(map[string]any)
	for name, want := range map[string]any{
		"user_api_key_spend": 1.5, "user_api_key_user_spend": 0.0, "user_api_key_team_spend": 2.0, "user_api_key_user_max_budget": 3.0,
		"user_api_key_budget_reset_at": "1970-01-02T00:00:00Z", "user_agent": "curl/8", "requester_metadata": nil,
		"spend_logs_metadata":        map[string]any{"cost_center": "7", "job": "a"},
		"prompt_management_metadata": map[string]any{"prompt_id": "greeting", "prompt_version": 3.0, "prompt_variables": nil, "prompt_integration": "conclave"},
	} {
		if !reflect.DeepEqual(m[name], want) {
			t.Errorf("%s is %v, want %v", name, m[name], want)
		}
	}
	for _, tt := range []struct{ request, requester, logs string }{
		{`{"metadata":{"job_id":1,"spend_logs_metadata":{"job":"b"}}}`, `{"job_id":1,"spend_logs_metadata":{"job":"b"}}`, `{"cost_center":"7","job":"b"}`},
		{`{"metadata":{"spend_logs_metadata":"none"}}`, `{"spend_logs_metadata":"none"}`, `{"cost_center":"7","job":"a"}`},
		{`{"metadata":null}`, ``, `{"cost_center":"7","job":"a"}`},
		{`{"metadata":[1]}`, ``, `{"cost_center":"7","job":"a"}`},
	} {
		r.Request = []byte(tt.request)
		if m := payload.Of(&r).Metadata; string(m.Requester) != tt.requester || string(m.SpendLogs) != tt.logs {
			t.Errorf("%s: requester %s, logs %s", tt.request, m.Requester, m.SpendLogs)
		}
	}
}
