package config

import "github.com/conclave-llm/conclave/resource"

// Resources are the records that a file declares, in the file's order. Every record is
// valid, canonical and owned by the file; what it lacks is said at its kind.
type Resources struct {
	Credentials   []Credential
	Models        []Model
	Organizations []Organization
	Teams         []Team
	Projects      []Project
	Users         []User
	Customers     []Customer
	Tags          []Tag
	Keys          []Key
	Budgets       []Budget
	Guardrails    []Guardrail
	Callbacks     []Callback
	SecretSources []SecretSource
	Auths         []Auth
	RouterFilters []RouterFilter
	AccessGroups  []AccessGroup
	Plugins       []Plugin
	MCPServers    []MCPServer
	PassThrough   []PassThroughEndpoint
	Prompts       []Prompt
	Settings      []Setting
	Environment   map[string]Secret   // by name
	EnvironmentAt map[string]Position // where each is declared

	Skipped bool // there are records that were not read, because of Source.NodeOnly
}

// Credential declares a credential. Its record lacks APIKey and Secrets.
type Credential struct {
	Position
	Resource resource.Credential
	APIKey   Secret            // "" for none
	Secrets  map[string]Secret // by name
}

// Model declares a model and its deployments.
type Model struct {
	Position
	Resource     resource.Model
	SharedBudget string // name; "" for none
	Deployments  []Deployment
}

// Deployment declares a deployment of the model around it. Its record lacks ModelID,
// CredentialID, APIKey and Secrets.
type Deployment struct {
	Position
	Resource     resource.Deployment
	Credential   string            // name; "" for none
	SharedBudget string            // name; "" for none
	APIKey       Secret            // "" for none
	Secrets      map[string]Secret // by name
}

// Organization declares an organization. Its record lacks BudgetID.
type Organization struct {
	Position
	Resource     resource.Organization
	SharedBudget string // name; "" for none
}

// Team declares a team. Its record lacks OrganizationID and BudgetID.
type Team struct {
	Position
	Resource     resource.Team
	Organization string // name; "" for none
	SharedBudget string // name; "" for none
	Members      []Member
}

// Member declares the place of a user in the team around it. Its record lacks TeamID and
// BudgetID, and the id.
type Member struct {
	Position
	Resource     resource.TeamMember
	SharedBudget string // name; "" for none
}

// Project declares a project. Its record lacks TeamID and BudgetID.
type Project struct {
	Position
	Resource     resource.Project
	Team         string // name
	SharedBudget string // name; "" for none
}

// User declares a user by id. Its record lacks OrganizationID and BudgetID.
type User struct {
	Position
	Resource     resource.User
	Organization string // name; "" for none
	SharedBudget string // name; "" for none
}

// Customer declares an end user by id. Its record lacks BudgetID.
type Customer struct {
	Position
	Resource     resource.Customer
	SharedBudget string // name; "" for none
}

// Tag declares a tag. Its record lacks BudgetID.
type Tag struct {
	Position
	Resource     resource.Tag
	SharedBudget string // name; "" for none
}

// Key declares a key. Its record lacks TeamID, ProjectID, BudgetID and RotationKey, and has
// the secret's hash and hint.
type Key struct {
	Position
	Resource     resource.Key
	Secret       Secret
	Team         string // name; "" for none
	Project      string // name; "" for none
	SharedBudget string // name; "" for none
	RotationKey  Secret // "" for none
}

// Budget declares a shared budget.
type Budget struct {
	Position
	Resource resource.Budget
}

// AccessGroup declares an access group. Holders name theirs in AccessGroupIDs, where a file has names. Its record
// lacks BudgetID.
type AccessGroup struct {
	Position
	Resource     resource.AccessGroup
	SharedBudget string // name; "" for none
}

// Guardrail declares a guardrail. Its record lacks Secrets.
type Guardrail struct {
	Position
	Resource resource.Guardrail
	Secrets  map[string]Secret // by the name of the field of its configuration
}

// Callback declares a callback. Its record lacks Secrets.
type Callback struct {
	Position
	Resource resource.Callback
	Secrets  map[string]Secret // by the name of the field of its configuration
}

// SecretSource declares a secret source. Its record lacks Secrets.
type SecretSource struct {
	Position
	Resource resource.SecretSource
	Secrets  map[string]Secret // by the name of the field of its configuration
}

// Auth declares an auth plugin. Its record lacks Secrets.
type Auth struct {
	Position
	Resource resource.Auth
	Secrets  map[string]Secret // by the name of the field of its configuration
}

// RouterFilter declares a router filter. Its record lacks Secrets.
type RouterFilter struct {
	Position
	Resource resource.RouterFilter
	Secrets  map[string]Secret // by the name of the field of its configuration
}

// Plugin declares a plugin that is not shipped.
type Plugin struct {
	Position
	Resource resource.Plugin
}

// MCPServer declares an MCP server. Its record lacks CredentialID and Secrets.
type MCPServer struct {
	Position
	Resource   resource.MCPServer
	Credential string            // name; "" for none
	Secrets    map[string]Secret // by name
}

// PassThroughEndpoint declares a pass-through endpoint. Its record lacks Secrets.
type PassThroughEndpoint struct {
	Position
	Resource resource.PassThroughEndpoint
	Secrets  map[string]Secret // by name
}

// Prompt declares a stored prompt.
type Prompt struct {
	Position
	Resource resource.Prompt
}

// Setting declares a setting, whose id is its name.
type Setting struct {
	Position
	Resource resource.Setting
}

// Len is the number of records, deployments included.
func (r *Resources) Len() int {
	n := len(r.Organizations) + len(r.Projects) + len(r.Users) + len(r.Customers) + len(r.Tags) +
		len(r.Credentials) + len(r.Models) + len(r.Teams) + len(r.Keys) + len(r.Budgets) +
		len(r.Guardrails) + len(r.Callbacks) + len(r.SecretSources) + len(r.RouterFilters) + len(r.AccessGroups) + len(r.Auths) + len(r.Plugins) + len(r.MCPServers) + len(r.PassThrough) + len(r.Prompts) + len(r.Settings) + len(r.Environment)
	for i := range r.Models {
		n += len(r.Models[i].Deployments)
	}
	for i := range r.Teams {
		n += len(r.Teams[i].Members)
	}
	return n
}

// ReferencePrefix begins a reference to a variable.
const ReferencePrefix = "env://"

// Declare declares a variable of the cluster's environment, or reports what is wrong with its name.
func (r *Resources) Declare(name, value string, at Position, report func(error)) {
	v := resource.Variable{Meta: resource.Meta{ID: name}, Value: &resource.Sealed{}} // is sealed when it is applied
	if err := v.Validate(); err != nil {
		report(err)
		return
	}
	if r.Environment == nil {
		r.Environment, r.EnvironmentAt = map[string]Secret{}, map[string]Position{}
	}
	r.Environment[name], r.EnvironmentAt[name] = Secret(value), at
}
