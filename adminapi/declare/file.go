package declare

import "github.com/conclave-llm/conclave/resource"

// File is what a configuration file says the cluster should hold. Records name each
// other by name, in access_group_ids too, and lack ids, seals and versions; secrets are text. In JSON it is what
// /api/v1/config takes and gives.
type File struct {
	Credentials   []Credential       `json:"credentials,omitempty"`
	Models        []Model            `json:"models,omitempty"`
	Organizations []Organization     `json:"organizations,omitempty"`
	Teams         []Team             `json:"teams,omitempty"`
	Projects      []Project          `json:"projects,omitempty"`
	Users         []User             `json:"users,omitempty"`
	Customers     []Customer         `json:"customers,omitempty"`
	Tags          []Tag              `json:"tags,omitempty"`
	Keys          []Key              `json:"keys,omitempty"`
	Budgets       []resource.Budget  `json:"budgets,omitempty"`
	Guardrails    []Guardrail        `json:"guardrails,omitempty"`
	Callbacks     []Callback         `json:"callbacks,omitempty"`
	SecretSources []SecretSource     `json:"secret_sources,omitempty"`
	Auths         []Auth             `json:"auths,omitempty"`
	RouterFilters []RouterFilter     `json:"router_filters,omitempty"`
	AccessGroups  []AccessGroup      `json:"access_groups,omitempty"`
	Plugins       []resource.Plugin  `json:"plugins,omitempty"`
	MCPServers    []MCPServer        `json:"mcp_servers,omitempty"`
	PassThrough   []PassThrough      `json:"pass_through_endpoints,omitempty"`
	Prompts       []resource.Prompt  `json:"prompts,omitempty"`
	Settings      []resource.Setting `json:"settings,omitempty"` // the id is the name
	Environment   map[string]Secret  `json:"environment,omitempty"`

	// At is where each record stands, "file:line:column" by "kind name", for errors.
	At map[string]string `json:"at,omitempty"`
}

// Secret is a secret of a name.
type Secret struct {
	Text   string `json:"text,omitempty"`
	Sealed string `json:"sealed,omitempty"` // fingerprint of the stored one, instead of it
}

// Credential is a credential; its record lacks APIKey and Secrets.
type Credential struct {
	Record resource.Credential `json:"record"`
	APIKey string              `json:"api_key,omitempty"` // "": none
	Sealed string              `json:"sealed,omitempty"`  // fingerprint of the stored one, instead of it

	Secrets map[string]Secret `json:"secrets,omitempty"`
}

// MCPServer is an MCP server; its record lacks CredentialID and Secrets.
type MCPServer struct {
	Record     resource.MCPServer `json:"record"`
	Credential string             `json:"credential,omitempty"` // name; "": none
	Secrets    map[string]Secret  `json:"secrets,omitempty"`
}

// AccessGroup is an access group; its record, which is not apart in JSON, lacks BudgetID.
type AccessGroup struct {
	resource.AccessGroup
	Budget string `json:"shared_budget,omitempty"` // name of a shared budget; "": none
}

// Guardrail is a guardrail; its record, which is not apart in JSON, lacks Secrets.
type Guardrail struct {
	resource.Guardrail
	Secrets map[string]Secret `json:"secrets,omitempty"`
}

// Callback is a callback; its record lacks Secrets.
type Callback struct {
	Record  resource.Callback `json:"record"`
	Secrets map[string]Secret `json:"secrets,omitempty"`
}

// SecretSource is a secret source; its record lacks Secrets.
type SecretSource struct {
	Record  resource.SecretSource `json:"record"`
	Secrets map[string]Secret     `json:"secrets,omitempty"`
}

// Auth is an auth plugin; its record lacks Secrets.
type Auth struct {
	Record  resource.Auth     `json:"record"`
	Secrets map[string]Secret `json:"secrets,omitempty"`
}

// RouterFilter is a router filter; its record lacks Secrets.
type RouterFilter struct {
	Record  resource.RouterFilter `json:"record"`
	Secrets map[string]Secret     `json:"secrets,omitempty"`
}

// PassThrough is a pass-through endpoint; its record lacks Secrets.
type PassThrough struct {
	Record  resource.PassThroughEndpoint `json:"record"`
	Secrets map[string]Secret            `json:"secrets,omitempty"`
}

// Model is a model with its deployments.
type Model struct {
	Record      resource.Model `json:"record"`
	Budget      string         `json:"shared_budget,omitempty"` // name of a shared budget; "": none
	Deployments []Deployment   `json:"deployments,omitempty"`
}

// Deployment is a deployment of the model around it; its record has a name and
// lacks ModelID, CredentialID, APIKey and Secrets.
type Deployment struct {
	Record     resource.Deployment `json:"record"`
	Credential string              `json:"credential,omitempty"`    // name; "": none
	Budget     string              `json:"shared_budget,omitempty"` // name of a shared budget; "": none
	APIKey     string              `json:"api_key,omitempty"`       // "": none
	Sealed     string              `json:"sealed,omitempty"`        // fingerprint of the stored one, instead of it

	Secrets map[string]Secret `json:"secrets,omitempty"`
}

// Organization is an organization; its record lacks BudgetID.
type Organization struct {
	Record resource.Organization `json:"record"`
	Budget string                `json:"shared_budget,omitempty"` // name of a shared budget; "": none
}

// Project is a project; its record lacks TeamID and BudgetID.
type Project struct {
	Record resource.Project `json:"record"`
	Team   string           `json:"team,omitempty"`          // name
	Budget string           `json:"shared_budget,omitempty"` // name of a shared budget; "": none
}

// User is a user, called by his id; its record lacks OrganizationID and BudgetID.
type User struct {
	Record       resource.User `json:"record"`
	Organization string        `json:"organization,omitempty"`  // name; "": none
	Budget       string        `json:"shared_budget,omitempty"` // name of a shared budget; "": none
}

// Customer is an end user, called by his id; its record lacks BudgetID.
type Customer struct {
	Record resource.Customer `json:"record"`
	Budget string            `json:"shared_budget,omitempty"` // name of a shared budget; "": none
}

// Tag is a tag, called by its id; its record lacks BudgetID.
type Tag struct {
	Record resource.Tag `json:"record"`
	Budget string       `json:"shared_budget,omitempty"` // name of a shared budget; "": none
}

// Team is a team; its record lacks OrganizationID and BudgetID.
type Team struct {
	Record       resource.Team `json:"record"`
	Organization string        `json:"organization,omitempty"`  // name; "": none
	Budget       string        `json:"shared_budget,omitempty"` // name of a shared budget; "": none
	Members      []Member      `json:"members,omitempty"`
}

// Member is a user's place in the team around it; its record has UserID and lacks TeamID,
// BudgetID and the id.
type Member struct {
	Record resource.TeamMember `json:"record"`
	Budget string              `json:"shared_budget,omitempty"` // name of a shared budget; "": none
}

// Key is a key; its record has Hash and Hint and lacks TeamID, ProjectID and BudgetID.
type Key struct {
	Record  resource.Key `json:"record"`
	Team    string       `json:"team,omitempty"`          // name; "": none
	Project string       `json:"project,omitempty"`       // name; "": none
	Budget  string       `json:"shared_budget,omitempty"` // name of a shared budget; "": none

	RotationKey    string `json:"rotation_key,omitempty"`    // signs what a rotation sends; "": none
	RotationSealed string `json:"rotation_sealed,omitempty"` // fingerprint of the stored one, instead of it
}
