package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/conclave-llm/conclave/resource"
)

// The headers of the admin API.
const (
	HeaderIndex    = "X-Conclave-Index"         // of an answer to a write: "GENERATION-INDEX"
	HeaderMinIndex = "X-Conclave-Min-Index"     // of a request: answer from this index or a later one
	HeaderPending  = "X-Conclave-Pending"       // of an answer: names of the members that have not yet applied the write
	HeaderEnforced = "X-Conclave-Enforced-By"   // and of those that have
	HeaderUntil    = "X-Conclave-Pending-Until" // when the last of the pending ones stops serving what it does not know to be revoked: RFC 3339, or "forever"
	HeaderRequest  = "X-Request-Id"
)

// Secret is a provider's secret. Written, it is the text; read, it is the fingerprint.
type Secret struct {
	Text        string // sent if set
	Fingerprint string // all that is ever shown of a stored secret
}

// MarshalJSON writes the text if there is one, else {"fingerprint": …}.
func (s *Secret) MarshalJSON() ([]byte, error) {
	if s.Text != "" {
		return json.Marshal(s.Text)
	}
	return json.Marshal(map[string]string{"fingerprint": s.Fingerprint})
}

// UnmarshalJSON reads either form.
func (s *Secret) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &s.Text)
	}
	var shown struct {
		Fingerprint string `json:"fingerprint"`
	}
	if err := json.Unmarshal(b, &shown); err != nil {
		return fmt.Errorf("read secret: %w", err)
	}
	s.Fingerprint = shown.Fingerprint
	return nil
}

// String gives the fingerprint, never the text.
func (s *Secret) String() string {
	if s == nil {
		return ""
	}
	if s.Fingerprint == "" {
		return "secret"
	}
	return "sealed:" + s.Fingerprint
}

// GoString gives the fingerprint for %#v.
func (s *Secret) GoString() string { return s.String() }

// Shown makes the Secret that shows a sealed one; nil gives nil.
func Shown(s *resource.Sealed) *Secret {
	if s == nil {
		return nil
	}
	return &Secret{Fingerprint: s.Fingerprint}
}

// ShownAll makes what shows sealed secrets by name; none gives nil.
func ShownAll(all map[string]*resource.Sealed) map[string]*Secret {
	if len(all) == 0 {
		return nil
	}
	out := make(map[string]*Secret, len(all))
	for name, s := range all {
		out[name] = Shown(s)
	}
	return out
}

// Model is a name that clients ask for. Deployments may be given on create, and are shown
// in answers for one model.
type Model struct {
	resource.Model
	Deployments []Deployment `json:"deployments,omitempty"`
}

// Deployment is one way to serve a model.
type Deployment struct {
	resource.Deployment
	APIKey  *Secret            `json:"api_key,omitempty"`
	Secrets map[string]*Secret `json:"secrets,omitempty"` // by name: "aws_secret_access_key"
}

// Setting is a value of the cluster, with what it may be.
type Setting struct {
	resource.Setting
	Type    string          `json:"type,omitempty"` // "integer", "list", "duration", …; "" for one that this version does not know
	Default json.RawMessage `json:"default,omitempty"`
	Help    string          `json:"help,omitempty"`
	Unset   bool            `json:"unset,omitempty"` // nobody has set it: the value is the default
}

// Credential is a provider's secret that deployments share.
type Credential struct {
	resource.Credential
	APIKey  *Secret            `json:"api_key,omitempty"`
	Secrets map[string]*Secret `json:"secrets,omitempty"` // by name: "aws_secret_access_key"
}

// Variable is a named value of the cluster's environment; its id is its name, and of its value
// the fingerprint is shown.
type Variable struct {
	resource.Variable
	Value *Secret `json:"value"`
	// Overridden says that the environment of the node that answers has a variable of the name,
	// which counts before this one there.
	Overridden bool `json:"overridden,omitempty"`
}

// MCPServer is a server of the Model Context Protocol.
type MCPServer struct {
	resource.MCPServer
	Secrets map[string]*Secret `json:"secrets,omitempty"` // by name: "auth", "env.NAME", "header.NAME"
}

// Guardrail is a plugin that judges requests and answers.
type Guardrail struct {
	resource.Guardrail
	Secrets map[string]*Secret `json:"secrets,omitempty"` // by the name of the field of config: "api_key", "headers.NAME"
}

// Callback is a plugin that is told of finished requests.
type Callback struct {
	resource.Callback
	Secrets map[string]*Secret `json:"secrets,omitempty"` // by the name of the field of config: "api_key", "headers.NAME"
}

// SecretSource is a plugin that reads secrets out of a store of secrets.
type SecretSource struct {
	resource.SecretSource
	Secrets map[string]*Secret `json:"secrets,omitempty"` // by the name of the field of config: "token"
}

// Auth is an auth plugin.
type Auth struct {
	resource.Auth
	Secrets map[string]*Secret `json:"secrets,omitempty"` // by the name of the field of config: "token"
}

// RouterFilter is a router filter.
type RouterFilter struct {
	resource.RouterFilter
	Secrets map[string]*Secret `json:"secrets,omitempty"` // by the name of the field of config: "token"
}

// AccessGroup is an access group. Written, the ids are those that are to have it, and what is left out stays as it
// is; an answer for one group shows who has it.
type AccessGroup struct {
	resource.AccessGroup
	AssignedTeamIDs []string  `json:"assigned_team_ids,omitempty"`
	AssignedKeyIDs  []string  `json:"assigned_key_ids,omitempty"`
	Accounts        []Account `json:"accounts,omitempty"` // in answers for one group
}

// PassThroughEndpoint is a path that leads to a URL which an administrator has chosen.
type PassThroughEndpoint struct {
	resource.PassThroughEndpoint
	Secrets map[string]*Secret `json:"secrets,omitempty"` // by name: "header.NAME"
}

// MCPTool is a tool of an MCP server.
type MCPTool struct {
	Server      string          `json:"server"`
	Name        string          `json:"name"` // as it is called: "git-push"
	Description string          `json:"description,omitempty"`
	InputSchema json.RawMessage `json:"input_schema,omitempty"`
}

// MCPTools are the tools that a key may call.
type MCPTools struct {
	Items []MCPTool `json:"items"`
}

// MCPGrant tells whether a person has allowed the gateway to act for him at an MCP server that asks for OAuth.
type MCPGrant struct {
	Server    string        `json:"server"`
	ServerID  string        `json:"server_id"`
	Allowed   bool          `json:"allowed"`
	ExpiresAt resource.Time `json:"expires_at,omitempty"` // of the access token, which is refreshed by itself
	Scopes    string        `json:"scopes,omitempty"`
	URL       string        `json:"url,omitempty"` // where he allows it, in a browser; needs the setting public_url
}

// MCPGrants are those of all servers that the caller may use.
type MCPGrants struct {
	Items []MCPGrant `json:"items"`
}

// MCPHealth says whether an MCP server answers.
type MCPHealth struct {
	Server  string `json:"server"`
	Healthy bool   `json:"healthy"`
	Error   string `json:"error,omitempty"`
}

// Rotate asks for a new secret of a key.
type Rotate struct {
	Secret string `json:"secret,omitempty"` // default: made
	Grace  string `json:"grace,omitempty"`  // how long the old secret stays valid: "24h"; default: not at all
	// IdempotencyKey names the rotation: asking again with it answers the same secret.
	IdempotencyKey string `json:"idempotency_key,omitempty"`
	// Change is a merge patch of the key, for the same entry: {"limits": {"rpm": 60}}.
	Change map[string]any `json:"change,omitempty"`
}

// Raise asks for more of a budget for a time.
type Raise struct {
	Budget string         `json:"budget,omitempty"` // name of the terms; default: the only ones
	Amount resource.Money `json:"amount"`           // in whole units of the budget; 0 ends an increase
	Until  resource.Time  `json:"until,omitempty"`
	For    string         `json:"for,omitempty"` // instead of Until: "24h"
	Reason string         `json:"reason,omitempty"`
}

// Page is one page of a list.
type Page[V any] struct {
	Items      []V    `json:"items"`
	NextCursor string `json:"next_cursor,omitempty"` // "" on the last page
	Total      int    `json:"total"`                 // of all pages
}

// Egress is what the nodes may dial, and what they did.
type Egress struct {
	Nodes []NodeEgress `json:"nodes"`
}

// NodeEgress is one node's.
type NodeEgress struct {
	NodeID string        `json:"node_id"`
	Node   string        `json:"node"`
	Error  string        `json:"error,omitempty"` // why it did not answer
	Report *EgressReport `json:"report,omitempty"`
}

// EgressReport is what a node may dial, and what it did since it started.
type EgressReport struct {
	Sealed  bool                `json:"sealed"`
	Allowed []EgressDestination `json:"allowed"`
	Seen    []EgressSeen        `json:"seen"`
}

// EgressDestination is an address that the configuration names.
type EgressDestination struct {
	Address  string   `json:"address"`
	By       []string `json:"by"`                 // who names it
	Insecure bool     `json:"insecure,omitempty"` // its certificate is not verified
}

// EgressSeen is what was dialled of an address.
type EgressSeen struct {
	Address string    `json:"address"`        // "" for those beyond the first thousands
	Via     string    `json:"via,omitempty"`  // the proxy that was asked last
	Peer    bool      `json:"peer,omitempty"` // another node of the cluster
	By      string    `json:"by,omitempty"`   // what beside the node dialled it: "key service", which the node's file names
	Opened  int64     `json:"opened"`
	Failed  int64     `json:"failed"`
	Refused int64     `json:"refused"` // by sealed mode
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
}

// Usage is what was spent under one id.
type Usage struct {
	Kind             string         `json:"kind,omitempty"` // "total", "key", "team" or "model"; "": By says whose
	ID               string         `json:"id,omitempty"`   // of the key or team; name of the model
	Day              string         `json:"day,omitempty"`  // "2026-01-31", UTC; "" for all time
	Cost             resource.Money `json:"cost"`
	Requests         int64          `json:"requests"`
	Failures         int64          `json:"failures"`
	PromptTokens     int64          `json:"prompt_tokens"`
	CompletionTokens int64          `json:"completion_tokens"`

	// Only of an answer that was grouped, filtered or cut into times.
	Start            resource.Time     `json:"start,omitzero"` // of the minute, hour, day or month
	By               map[string]string `json:"by,omitempty"`   // "key" → its id, …
	CacheReadTokens  int64             `json:"cache_read_tokens,omitempty"`
	CacheWriteTokens int64             `json:"cache_write_tokens,omitempty"`
	ReasoningTokens  int64             `json:"reasoning_tokens,omitempty"`
	CacheHits        int64             `json:"cache_hits,omitempty"`
	Unpriced         int64             `json:"unpriced,omitempty"`  // requests whose price is unknown
	Estimated        int64             `json:"estimated,omitempty"` // requests that were charged their hold
	AverageMS        int64             `json:"average_ms,omitempty"`
	AverageTTFTMS    int64             `json:"average_ttft_ms,omitempty"`
}

// Merge merges patch into doc as RFC 7396 has it: null removes, objects merge, all else
// replaces. Both are JSON; numbers keep their digits.
func Merge(doc, patch json.RawMessage) (json.RawMessage, error) {
	var p map[string]json.RawMessage
	if !isObject(patch) {
		return patch, nil
	}
	if err := json.Unmarshal(patch, &p); err != nil {
		return nil, fmt.Errorf("read patch: %w", err)
	}
	d := map[string]json.RawMessage{}
	if isObject(doc) {
		if err := json.Unmarshal(doc, &d); err != nil {
			return nil, fmt.Errorf("read document: %w", err)
		}
	}
	for name, v := range p {
		if string(bytes.TrimSpace(v)) == "null" {
			delete(d, name)
			continue
		}
		merged, err := Merge(d[name], v)
		if err != nil {
			return nil, err
		}
		d[name] = merged
	}
	return json.Marshal(d)
}

func isObject(b json.RawMessage) bool {
	b = bytes.TrimSpace(b)
	return len(b) > 0 && b[0] == '{'
}
