// Package payload is the standard payload: one finished request as an object of JSON, in which
// LiteLLM's names of its standard logging payload mean the same (docs/formats.md).
package payload

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/plugins/sdk"
)

// Version is the version of the payload. It grows when a field that there was changes or goes.
const Version = 1

// Payload tells of one request. Times are seconds since the Unix epoch.
type Payload struct {
	Version   int    `json:"version"`
	Node      string `json:"node"`
	Position  uint64 `json:"position"` // in the node's journal: with node it names the request
	Outcome   string `json:"outcome"`  // "success", "failure", "blocked", "canceled"
	HTTPCode  int    `json:"http_status"`
	Attempts  int    `json:"attempts"`
	UsageFrom string `json:"usage_source"` // "provider", "estimated", "none"

	ID           string          `json:"id"`
	CallID       string          `json:"litellm_call_id"`
	TraceID      string          `json:"trace_id"`
	SessionID    string          `json:"session_id,omitempty"`
	CallType     string          `json:"call_type"`
	Stream       bool            `json:"stream"`
	Status       string          `json:"status"` // "success" or "failure"
	StatusFields StatusFields    `json:"status_fields"`
	Cost         *float64        `json:"response_cost"` // US dollars; null: unknown
	Provider     string          `json:"custom_llm_provider,omitempty"`
	Model        string          `json:"model"` // of the provider
	ModelID      string          `json:"model_id,omitempty"`
	ModelGroup   string          `json:"model_group"` // that the client asked for
	Prompt       int64           `json:"prompt_tokens"`
	Completion   int64           `json:"completion_tokens"`
	Total        int64           `json:"total_tokens"`
	StartTime    float64         `json:"startTime"`
	EndTime      float64         `json:"endTime"`
	FirstToken   *float64        `json:"completionStartTime"` // null: there was none
	ResponseTime float64         `json:"response_time"`
	Tags         []string        `json:"request_tags"`
	EndUser      string          `json:"end_user,omitempty"`
	ErrorText    string          `json:"error_str,omitempty"`
	Error        *Error          `json:"error_information,omitempty"`
	Guardrails   []Guardrail     `json:"guardrail_information,omitempty"`
	Metadata     Metadata        `json:"metadata"`
	HiddenParams HiddenParams    `json:"hidden_params"`
	Messages     json.RawMessage `json:"messages,omitempty"` // the request's messages, or what stands for them; only where contents are told
	Response     json.RawMessage `json:"response,omitempty"`

	CostBreakdown *CostBreakdown             `json:"cost_breakdown"` // null: the price is unknown
	APIBase       string                     `json:"api_base"`       // of the deployment, where it has one of its own
	ModelMap      ModelMap                   `json:"model_map_information"`
	CacheHit      bool                       `json:"cache_hit"`
	AccessGroups  []string                   `json:"request_model_access_groups"` // of the model that was asked for
	Address       *string                    `json:"requester_ip_address"`        // where it is kept, and contents are told
	Params        map[string]json.RawMessage `json:"model_parameters"`            // the rest of the request's body; only where contents are told
	UserAgent     *string                    `json:"user_agent"`                  // likewise
	Tools         struct{}                   `json:"standard_built_in_tools_params"`
	Unknown
	ContentIsCut  bool   `json:"content_truncated,omitempty"`
	PromptName    string `json:"prompt_name,omitempty"`
	PromptVersion int64  `json:"prompt_version,omitempty"`
}

// None is what the gateway does not know of a request: null.
type None *struct{}

// Unknown is what LiteLLM's payload has at its top, and this one has only as null.
type Unknown struct {
	CostDebug  None `json:"response_cost_failure_debug_info"`
	CacheKey   None `json:"cache_key"`
	CacheSaved None `json:"saved_cache_cost"`
	Router     None `json:"autorouter_savings"`
}

// CostBreakdown is the cost; the gateway keeps no parts of it.
type CostBreakdown struct {
	Total    float64 `json:"total_cost"`
	Original float64 `json:"original_cost"`
	Input    None    `json:"input_cost"`
	Output   None    `json:"output_cost"`
}

// ModelMap says under which name the list of prices has the model.
type ModelMap struct {
	Key   string `json:"model_map_key"`
	Value None   `json:"model_map_value"`
}

// StatusFields tell what the provider and the guardrails did.
type StatusFields struct {
	LLM       string `json:"llm_api_status"`   // "success" or "failure"
	Guardrail string `json:"guardrail_status"` // "success", "guardrail_intervened", "guardrail_failed_to_respond", "not_run"
}

// Error tells why a request failed.
type Error struct {
	Code     string `json:"error_code"` // HTTP status
	Class    string `json:"error_class"`
	Message  string `json:"error_message,omitempty"` // of the gateway; what a provider says is not told
	Provider string `json:"llm_provider,omitempty"`
	Step     string `json:"step,omitempty"` // of the gateway that refused: "budget"
}

// Guardrail tells of one guardrail's check.
type Guardrail struct {
	Name    string `json:"guardrail_name"`
	Mode    string `json:"guardrail_mode"`   // "pre_call", "during_call", "post_call"
	Status  string `json:"guardrail_status"` // "success", "guardrail_intervened", "guardrail_failed_to_respond"
	Verdict string `json:"verdict"`          // "passed", "flagged", "rewritten", "blocked", "answered", "not_run"
	Found   string `json:"guardrail_response,omitempty"`
}

// Metadata says for whom the request was.
type Metadata struct {
	Key       string    `json:"user_api_key_hash,omitempty"` // the key's id: a hash is not told
	KeyAlias  string    `json:"user_api_key_alias,omitempty"`
	UserID    string    `json:"user_api_key_user_id,omitempty"`
	TeamID    string    `json:"user_api_key_team_id,omitempty"`
	TeamAlias string    `json:"user_api_key_team_alias,omitempty"`
	OrgID     string    `json:"user_api_key_org_id,omitempty"`
	ProjectID string    `json:"user_api_key_project_id,omitempty"`
	EndUserID string    `json:"user_api_key_end_user_id,omitempty"`
	Usage     UsageInfo `json:"usage_object"`

	OrgAlias      string   `json:"user_api_key_org_alias,omitempty"`
	ProjectAlias  string   `json:"user_api_key_project_alias,omitempty"`
	UserEmail     *string  `json:"user_api_key_user_email"` // where contents are told
	Route         string   `json:"user_api_key_request_route,omitempty"`
	MaxBudget     *float64 `json:"user_api_key_max_budget"` // US dollars, of the first window
	TeamMaxBudget *float64 `json:"user_api_key_team_max_budget"`
	Address       *string  `json:"requester_ip_address"`
	Guardrails    []string `json:"applied_guardrails"`

	// As the cluster knows it when the callback is told.
	Spend         *float64   `json:"user_api_key_spend"`
	Reset         *time.Time `json:"user_api_key_budget_reset_at"`
	UserSpend     *float64   `json:"user_api_key_user_spend"`
	UserMaxBudget *float64   `json:"user_api_key_user_max_budget"`
	TeamSpend     *float64   `json:"user_api_key_team_spend"`

	SpendLogs json.RawMessage `json:"spend_logs_metadata"` // of the key or the team and, where contents are told, of the request
	UserAgent *string         `json:"user_agent"`          // where contents are told
	Requester json.RawMessage `json:"requester_metadata"`  // the request's metadata, where contents are told
	Prompt    *PromptUsed     `json:"prompt_management_metadata"`
	UnknownMetadata
}

// PromptUsed is the stored prompt that a request was made of.
type PromptUsed struct {
	ID          string `json:"prompt_id"`
	Version     int64  `json:"prompt_version"`
	Variables   None   `json:"prompt_variables"`
	Integration string `json:"prompt_integration"`
}

// UnknownMetadata is what LiteLLM's payload has in its metadata, and this one has only as null.
type UnknownMetadata struct {
	Auth         None `json:"user_api_key_auth_metadata"`
	Headers      None `json:"requester_custom_headers"`
	MCP          None `json:"mcp_tool_call_metadata"`
	VectorStores None `json:"vector_store_request_metadata"`
	Routing      None `json:"routing_decision"`
	ColdStorage  None `json:"cold_storage_object_key"`
	OAuth        None `json:"used_client_oauth_token"`
	Experiment   None `json:"is_silent_experiment"`
}

// UsageInfo is tokens, in disjoint classes but for the totals.
type UsageInfo struct {
	Prompt     int64 `json:"prompt_tokens"`
	Completion int64 `json:"completion_tokens"`
	Total      int64 `json:"total_tokens"`
	Input      int64 `json:"input_tokens"`
	CacheRead  int64 `json:"cache_read_input_tokens"`
	CacheWrite int64 `json:"cache_creation_input_tokens"`
	Output     int64 `json:"output_tokens"`
	Reasoning  int64 `json:"reasoning_tokens"`
}

// HiddenParams repeat what LiteLLM has here too.
type HiddenParams struct {
	ModelID string   `json:"model_id,omitempty"`
	Cost    *float64 `json:"response_cost"`
	Model   string   `json:"litellm_model_name,omitempty"`

	APIBase  string    `json:"api_base"`
	Usage    UsageInfo `json:"usage_object"`
	CacheKey None      `json:"cache_key"`
	Overhead None      `json:"litellm_overhead_time_ms"`
	Headers  None      `json:"additional_headers"`
	Models   None      `json:"batch_models"`
}

// Of makes the payload of a record.
func Of(r *sdk.Record) *Payload {
	usage := UsageInfo{
		Prompt: r.Usage.Input + r.Usage.CacheRead + r.Usage.CacheWrite, Completion: r.Usage.Output + r.Usage.Reasoning,
		Input: r.Usage.Input, CacheRead: r.Usage.CacheRead, CacheWrite: r.Usage.CacheWrite, Output: r.Usage.Output, Reasoning: r.Usage.Reasoning,
	}
	usage.Total = usage.Prompt + usage.Completion
	p := &Payload{
		Version: Version, Node: r.NodeID, Position: r.Position, Outcome: r.Status, HTTPCode: r.HTTPStatus, Attempts: r.Attempts,
		UsageFrom: r.Usage.Source.String(),
		ID:        r.RequestID, CallID: r.RequestID, TraceID: r.RequestID, SessionID: r.SessionID, CallType: r.Endpoint, Stream: r.Stream,
		Status: "success", StatusFields: StatusFields{LLM: "success", Guardrail: guardrailStatus(r)},
		Cost: costOf(r), Provider: r.Provider, Model: UpstreamModel(r), ModelID: r.DeploymentID, ModelGroup: r.Model,
		Prompt: usage.Prompt, Completion: usage.Completion, Total: usage.Total,
		StartTime: seconds(r.StartedAt), EndTime: seconds(r.StartedAt.Add(r.Duration)), ResponseTime: r.Duration.Seconds(),
		Tags: append([]string{}, r.Tags...), EndUser: r.EndUser,
		Metadata: Metadata{
			Key: r.KeyID, KeyAlias: r.KeyName, UserID: r.UserID, TeamID: r.TeamID, TeamAlias: r.TeamName,
			OrgID: r.OrganizationID, ProjectID: r.ProjectID, EndUserID: r.CustomerID, Usage: usage,
			OrgAlias: r.OrganizationName, ProjectAlias: r.ProjectName, UserEmail: known(r.UserEmail), Route: r.Path,
			MaxBudget: dollars(r.KeyBudget), TeamMaxBudget: dollars(r.TeamBudget), Address: known(r.Address), Guardrails: []string{},
			Spend: dollars(r.Books.KeySpend), UserSpend: dollars(r.Books.UserSpend), UserMaxBudget: dollars(r.Books.UserBudget), TeamSpend: dollars(r.Books.TeamSpend),
			UserAgent: known(r.UserAgent),
		},
		HiddenParams: HiddenParams{ModelID: r.DeploymentID, Cost: costOf(r), Model: UpstreamModel(r), APIBase: r.APIBase, Usage: usage},
		ContentIsCut: r.Truncated, PromptName: r.Prompt, PromptVersion: r.PromptVersion, Response: Content(r.Response),
		APIBase: r.APIBase, ModelMap: ModelMap{Key: UpstreamModel(r)}, CacheHit: r.Cached, AccessGroups: append([]string{}, r.AccessGroups...), Address: known(r.Address),
		UserAgent: known(r.UserAgent),
	}
	p.Messages, p.Params = parts(r.Request)
	p.Metadata.Requester, p.Metadata.SpendLogs = metadata(p.Params["metadata"], r.LogMetadata)
	if !r.Books.KeyResets.IsZero() {
		p.Metadata.Reset = &r.Books.KeyResets
	}
	if r.Prompt != "" {
		p.Metadata.Prompt = &PromptUsed{ID: r.Prompt, Version: r.PromptVersion, Integration: "conclave"}
	}
	if p.Cost != nil {
		p.CostBreakdown = &CostBreakdown{Total: *p.Cost, Original: *p.Cost}
	}
	if r.FirstToken > 0 {
		at := seconds(r.StartedAt.Add(r.FirstToken))
		p.FirstToken = &at
	}
	if r.Status != "success" {
		p.Status, p.StatusFields.LLM, p.ErrorText = "failure", "failure", ErrorText(r)
		p.Error = &Error{Code: fmt.Sprint(r.HTTPStatus), Class: r.ErrorCode, Message: r.Message, Provider: r.Provider, Step: r.Step}
	}
	for _, g := range r.Guardrails {
		p.Guardrails = append(p.Guardrails, Guardrail{Name: g.Guardrail, Mode: mode(g.Hook), Status: verdict(g.Status), Verdict: g.Status, Found: g.Found})
		if !slices.Contains(p.Metadata.Guardrails, g.Guardrail) {
			p.Metadata.Guardrails = append(p.Metadata.Guardrails, g.Guardrail)
		}
	}
	return p
}

// parts are the messages of a request, or what stands for them, and the rest of its body but for the model. What is
// no object is all messages.
func parts(request []byte) (messages json.RawMessage, rest map[string]json.RawMessage) {
	rest = map[string]json.RawMessage{}
	if json.Unmarshal(request, &rest) != nil || rest == nil {
		return Content(request), map[string]json.RawMessage{}
	}
	delete(rest, "model")
	for _, name := range []string{"messages", "input", "contents", "prompt"} {
		if m, ok := rest[name]; ok {
			delete(rest, name)
			return m, rest
		}
	}
	return nil, rest
}

// metadata are those of the request, and what they and its holders have for logs of spending: where both have a member, the request's.
func metadata(request, holders json.RawMessage) (requester, logs json.RawMessage) {
	var of struct {
		Logs map[string]json.RawMessage `json:"spend_logs_metadata"`
	}
	var all map[string]json.RawMessage
	if json.Unmarshal(request, &all) == nil && all != nil {
		requester = request
		_ = json.Unmarshal(request, &of) // what is no object says nothing
	}
	if len(of.Logs) == 0 {
		return requester, holders
	}
	both := map[string]json.RawMessage{}
	_ = json.Unmarshal(holders, &both) // the node has seen that it is an object
	maps.Copy(both, of.Logs)
	logs, _ = json.Marshal(both) // it was read as JSON
	return requester, logs
}

// known is the text, nil if there is none.
func known(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// dollars are nanodollars as US dollars.
func dollars(nano *int64) *float64 {
	if nano == nil {
		return nil
	}
	return new(float64(*nano) / 1e9)
}

// Marshal is the payload of a record as JSON.
func Marshal(r *sdk.Record) ([]byte, error) {
	b, err := json.Marshal(Of(r))
	if err != nil {
		return nil, fmt.Errorf("encode record %d: %w", r.Position, err)
	}
	return b, nil
}

// Content is a body as JSON: as it is, if it is JSON, else as text. An empty one is nil.
func Content(b []byte) json.RawMessage {
	if len(b) == 0 {
		return nil
	}
	if json.Valid(b) {
		return b
	}
	text, err := json.Marshal(string(b))
	if err != nil {
		return nil
	}
	return text
}

// UpstreamModel is the model's name at the provider, or else the one that was asked for.
func UpstreamModel(r *sdk.Record) string {
	if r.UpstreamModel != "" {
		return r.UpstreamModel
	}
	return r.Model
}

// ErrorText says in one line why a request did not succeed; empty if it did.
func ErrorText(r *sdk.Record) string {
	switch {
	case r.Status == "success":
		return ""
	case r.Message != "":
		return r.ErrorCode + ": " + r.Message
	default:
		return r.ErrorCode
	}
}

func costOf(r *sdk.Record) *float64 {
	if !r.Priced {
		return nil
	}
	usd := float64(r.CostNanoUSD) / 1e9
	return &usd
}

func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

func mode(hook string) string {
	switch hook {
	case "before":
		return "pre_call"
	case "during":
		return "during_call"
	case "after":
		return "post_call"
	}
	return hook
}

// The words that LiteLLM has for what became of a guardrail's check.
const (
	succeeded  = "success"
	intervened = "guardrail_intervened"
	failed     = "guardrail_failed_to_respond"
	notRun     = "not_run"
)

// verdict is LiteLLM's word for what became of one check.
func verdict(status string) string {
	switch status {
	case "blocked", "rewritten", "answered":
		return intervened
	case "not_run":
		return failed
	}
	return succeeded
}

// guardrailStatus is LiteLLM's word for what became of all checks.
func guardrailStatus(r *sdk.Record) string {
	if len(r.Guardrails) == 0 {
		return notRun
	}
	status := succeeded
	for _, g := range r.Guardrails {
		switch verdict(g.Status) {
		case intervened:
			return intervened
		case failed:
			status = failed
		}
	}
	return status
}
