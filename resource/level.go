package resource

// The kinds of holders: who can be limited.
const (
	HolderOrganization = "organization"
	HolderTeam         = "team"
	HolderProject      = "project"
	HolderUser         = "user"
	HolderMember       = "member" // of a team; the id is TEAM/USER
	HolderKey          = "key"
	HolderCustomer     = "customer"
	HolderTag          = "tag"
	HolderModel        = "model"
	HolderDeployment   = "deployment"
)

// Level is one holder in the chain of a request, from the organization down to the key,
// then the customer, the tags and the model. Budgets and limits are reserved in every
// level or in none.
type Level struct {
	Kind      string
	ID        string
	Name      string // for messages; "" if it has none
	Allowance *Allowance
	Policy    *Policy // nil for models and deployments, which have only an allowance
}
