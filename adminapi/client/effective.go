package client

import "github.com/conclave-llm/conclave/resource"

// Effective is what a key, or an end user with any key, may do now, with every level of the chain taken into account,
// and which level says so.
type Effective struct {
	KeyID     string            `json:"key_id,omitempty"` // absent where an end user is asked about
	Name      string            `json:"name,omitempty"`
	Allowed   bool              `json:"allowed"`            // a request may pass: nothing refuses all of them
	Blocks    []EffectiveBlock  `json:"blocks"`             // what refuses requests now
	Levels    []EffectiveLevel  `json:"levels"`             // the chain, outermost first
	Models    EffectiveModels   `json:"models"`             // of those that exist
	Routes    EffectiveList     `json:"routes"`             // paths or "/prefix/*"
	Passes    EffectiveList     `json:"passthrough_routes"` // of those in a provider's own words
	Addresses EffectiveList     `json:"addresses"`          // that requests may come from
	Denied    []string          `json:"denied_addresses"`   // that they may not, of all levels
	Objects   EffectiveObjects  `json:"objects"`            // MCP servers and tools, vector stores, agents, …
	Groups    []EffectiveGroup  `json:"access_groups"`      // of every level, outermost first
	Budgets   []EffectiveBudget `json:"budgets"`            // of every level, the least left first
	Limits    []EffectiveLimit  `json:"limits"`             // the lowest of each kind
	Rules     []EffectiveRule   `json:"rules"`              // what else counts of the levels
	ExpiresAt resource.Time     `json:"expires_at,omitempty"`
}

// EffectiveObjects are the things beside models that a key may use: what the lists of all levels
// have in common. Levels shows the lists themselves, for those of MCP stand for each other.
type EffectiveObjects struct {
	MCPServers   EffectiveList          `json:"mcp_servers"`
	VectorStores EffectiveList          `json:"vector_stores"`
	Agents       EffectiveList          `json:"agents"`
	SearchTools  EffectiveList          `json:"search_tools"`
	Skills       EffectiveList          `json:"skills"`
	BlockedTools []string               `json:"blocked_tools"` // of all levels
	Levels       []EffectiveObjectLevel `json:"levels"`
}

// EffectiveObjectLevel is what one level says about objects.
type EffectiveObjectLevel struct {
	Level EffectiveLevel `json:"level"`
	resource.Objects
}

// EffectiveGroup is an access group that a level has, with what it gives that level.
type EffectiveGroup struct {
	Level      EffectiveLevel      `json:"level"`
	ID         string              `json:"id"`
	Name       string              `json:"name,omitempty"`
	Models     []string            `json:"models,omitempty"`
	MCPServers []string            `json:"mcp_servers,omitempty"`
	MCPTools   map[string][]string `json:"mcp_tool_permissions,omitempty"`
	Missing    bool                `json:"missing,omitempty"` // the answering node does not have the record, which gives nothing there
}

// EffectiveBlock is one thing that refuses requests.
type EffectiveBlock struct {
	Code   string           `json:"code"` // as in the answer to the request: "team_blocked"
	Level  EffectiveLevel   `json:"level"`
	Reason string           `json:"reason"`
	Models []string         `json:"models,omitempty"` // only requests for these; none: all requests
	Until  resource.Time    `json:"until,omitempty"`  // null: until somebody changes it
	Budget *EffectiveBudget `json:"budget,omitempty"`
}

// EffectiveLevel is one level of a key's chain.
type EffectiveLevel struct {
	Kind    string `json:"kind"` // "team"
	ID      string `json:"id"`
	Name    string `json:"name,omitempty"`
	Blocked bool   `json:"blocked,omitempty"`

	ExpiresAt resource.Time `json:"expires_at,omitempty"` // requests pass it until then; absent: for ever
	Missing   bool          `json:"missing,omitempty"`    // the answering node does not have the record
}

// EffectiveModels are the models that a key may ask for.
type EffectiveModels struct {
	Allowed         []string            `json:"allowed"`
	Denied          []EffectiveModel    `json:"denied"`
	Aliases         []EffectiveAlias    `json:"aliases"`
	Bound           []EffectiveLevel    `json:"bound_by"` // the levels that have a list
	BudgetFallbacks []EffectiveFallback `json:"budget_fallbacks"`
}

// EffectiveFallback is which models take the place of one once the level's own budget of it is spent.
type EffectiveFallback struct {
	Model   string         `json:"model"`
	Instead []string       `json:"instead"`
	Level   EffectiveLevel `json:"level"`
}

// EffectiveModel is a model that a level refuses.
type EffectiveModel struct {
	Model string         `json:"model"`
	Level EffectiveLevel `json:"level"`
}

// EffectiveAlias is a name that a level gives to a model; the innermost level wins.
type EffectiveAlias struct {
	Alias string         `json:"alias"`
	Model string         `json:"model"`
	Level EffectiveLevel `json:"level"`
}

// EffectiveList is what all the lists of a chain have in common.
type EffectiveList struct {
	Any     bool             `json:"any"` // no level has a list
	Allowed []string         `json:"allowed"`
	Bound   []EffectiveLevel `json:"bound_by"` // the levels that have a list
}

// EffectiveBudget is one budget of one level in its window of now.
type EffectiveBudget struct {
	Level EffectiveLevel `json:"level"`
	Account
	Models   []string `json:"models,omitempty"` // that count; none: all
	Left     Amount   `json:"left"`             // of the limit, without what was spent or is presumed so
	Shared   string   `json:"shared,omitempty"` // name of the shared budget that the terms are of
	Tightest bool     `json:"tightest"`         // has the least left of its unit
}

// EffectiveLimit is the lowest limit of a kind.
type EffectiveLimit struct {
	Limit     string         `json:"limit"`                // "rpm"
	Model     string         `json:"model,omitempty"`      // "": of all models
	Tag       string         `json:"tag,omitempty"`        // of requests that carry it
	MCPServer string         `json:"mcp_server,omitempty"` // of calls of its tools
	Value     int64          `json:"value"`
	Level     EffectiveLevel `json:"level"`
}

// EffectiveRule is what counts of one field of a level's policy, in the words of records.
type EffectiveRule struct {
	Field string         `json:"field"` // "max_request_mb", "sessions.rpm", "model_output_holds.gpt-4o"
	Value any            `json:"value"`
	Level EffectiveLevel `json:"level"` // that says so
}
