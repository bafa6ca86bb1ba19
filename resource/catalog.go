package resource

import (
	"cmp"
	"slices"
	"strings"
)

// Tables are the small replicated tables, from which a Catalog is built. Keys are not
// among them: they are looked up by hash (fsm.FSM.KeyByHash); nor are users, customers and
// team members, which are looked up by id.
type Tables struct {
	Index         uint64
	Organizations []*Organization
	Teams         []*Team
	Projects      []*Project
	Tags          []*Tag
	Models        []*Model
	Deployments   []*Deployment
	Credentials   []*Credential
	Budgets       []*Budget
	Guardrails    []*Guardrail
	Callbacks     []*Callback
	SecretSources []*SecretSource
	RouterFilters []*RouterFilter
	AccessGroups  []*AccessGroup
	Auths         []*Auth
	Plugins       []*Plugin
	MCPServers    []*MCPServer
	Variables     []*Variable
	PassThrough   []*PassThroughEndpoint
	Prompts       []*Prompt
	Members       []*Member
	Settings      []*Setting
	Prices        *PriceTable // nil: none was imported
}

// Catalog is an immutable, indexed view of the small tables at one Raft index. A request
// takes it once and uses the same one to its end. Nothing in it may be changed.
type Catalog struct {
	index       uint64
	settings    Settings
	tables      Tables
	orgs        map[string]*Organization
	teams       map[string]*Team
	projects    map[string]*Project
	tags        map[string]*Tag
	models      map[string]*Model // by name
	modelIDs    map[string]*Model
	deployments map[string][]*Deployment // by model id
	byID        map[string]*Deployment
	credentials map[string]*Credential
	budgets     map[string]*Budget
	wild        *wildcards
	mcp         map[string]*MCPServer // by prefix
	variables   map[string]*Variable
	passThrough []*PassThrough     // by name
	prompts     map[string]*Prompt // by name
	groups      map[string]*AccessGroup
	limiting    []*AccessGroup        // those with budgets or limits, by name
	given       map[string]*Allowance // the shared budgets as end users are given them who have none of their own, by id and name
}

// NewCatalog indexes the tables, which it takes over. Every list is sorted by name, then id.
func NewCatalog(t Tables) *Catalog {
	c := &Catalog{
		index:       t.Index,
		settings:    DefaultSettings(),
		orgs:        make(map[string]*Organization, len(t.Organizations)),
		teams:       make(map[string]*Team, len(t.Teams)),
		projects:    make(map[string]*Project, len(t.Projects)),
		tags:        make(map[string]*Tag, len(t.Tags)),
		models:      make(map[string]*Model, len(t.Models)),
		modelIDs:    make(map[string]*Model, len(t.Models)),
		deployments: make(map[string][]*Deployment, len(t.Models)),
		byID:        make(map[string]*Deployment, len(t.Deployments)),
		credentials: make(map[string]*Credential, len(t.Credentials)),
		budgets:     make(map[string]*Budget, len(t.Budgets)),
		mcp:         make(map[string]*MCPServer, len(t.MCPServers)),
		groups:      make(map[string]*AccessGroup, len(t.AccessGroups)),
		variables:   make(map[string]*Variable, len(t.Variables)), prompts: make(map[string]*Prompt, len(t.Prompts)),
	}
	t.sort()
	byID(c.orgs, t.Organizations)
	byID(c.teams, t.Teams)
	byID(c.projects, t.Projects)
	byID(c.tags, t.Tags)
	for _, r := range t.Models {
		c.models[r.Name] = r
		c.modelIDs[r.ID] = r
	}
	for _, r := range t.Deployments {
		c.deployments[r.ModelID] = append(c.deployments[r.ModelID], r)
		c.byID[r.ID] = r
	}
	byID(c.credentials, t.Credentials)
	byID(c.budgets, t.Budgets)
	byID(c.groups, t.AccessGroups)
	for _, g := range t.AccessGroups {
		if !g.IsZero() {
			c.limiting = append(c.limiting, g)
		}
	}
	byID(c.variables, t.Variables)
	for _, r := range t.PassThrough {
		c.passThrough = append(c.passThrough, passThroughOf(r))
	}
	for _, r := range slices.Backward(t.MCPServers) {
		c.mcp[r.Prefix()] = r // of two with the same, which nobody lets be written, the first by name
	}
	for _, r := range t.Prompts {
		c.prompts[r.Name] = r
	}
	for _, r := range t.Settings {
		_ = c.settings.Set(r.ID, r.Value) // a setting that this version does not know keeps its default
	}
	c.wild = newWildcards(t.Models)
	c.tables = t
	c.given = givenOf(t.Budgets)
	return c
}

// sort puts every list in order: by name, then id.
func (t *Tables) sort() {
	sortRecords(t.Organizations)
	sortRecords(t.Teams)
	sortRecords(t.Projects)
	sortRecords(t.Tags)
	sortRecords(t.Models)
	slices.SortFunc(t.Deployments, func(a, b *Deployment) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID))
	})
	sortRecords(t.Credentials)
	sortRecords(t.Budgets)
	sortRecords(t.Guardrails)
	sortRecords(t.Callbacks)
	sortRecords(t.SecretSources)
	sortRecords(t.RouterFilters)
	sortRecords(t.AccessGroups)
	sortRecords(t.Auths)
	sortRecords(t.Plugins)
	sortRecords(t.MCPServers)
	sortRecords(t.Variables)
	sortRecords(t.PassThrough)
	sortRecords(t.Prompts)
	sortRecords(t.Members)
	sortRecords(t.Settings)
}

func byID[R Record](into map[string]R, rs []R) {
	for _, r := range rs {
		into[r.Head().ID] = r
	}
}

func sortRecords[R Record](rs []R) {
	slices.SortFunc(rs, func(a, b R) int {
		return cmp.Or(strings.Compare(a.Label(), b.Label()), strings.Compare(a.Head().ID, b.Head().ID))
	})
}

// Index is the Raft index of the newest change that the catalog holds.
func (c *Catalog) Index() uint64 { return c.index }

// Settings returns the settings with defaults filled in.
func (c *Catalog) Settings() *Settings { return &c.settings }

// Organization returns the organization with the id.
func (c *Catalog) Organization(id string) (*Organization, bool) { o, ok := c.orgs[id]; return o, ok }

// Project returns the project with the id.
func (c *Catalog) Project(id string) (*Project, bool) { p, ok := c.projects[id]; return p, ok }

// Tag returns the record of a tag; most tags have none.
func (c *Catalog) Tag(tag string) (*Tag, bool) { t, ok := c.tags[tag]; return t, ok }

// Team returns the team with the id.
func (c *Catalog) Team(id string) (*Team, bool) { t, ok := c.teams[id]; return t, ok }

// Model returns the model with the name, letter for letter; requests ask Resolve.
func (c *Catalog) Model(name string) (*Model, bool) { m, ok := c.models[name]; return m, ok }

// ModelByID returns the model with the id.
func (c *Catalog) ModelByID(id string) (*Model, bool) { m, ok := c.modelIDs[id]; return m, ok }

// Deployments returns the model's deployments by order, name and id.
func (c *Catalog) Deployments(modelID string) []*Deployment { return c.deployments[modelID] }

// Deployment returns the deployment with the id.
func (c *Catalog) Deployment(id string) (*Deployment, bool) { d, ok := c.byID[id]; return d, ok }

// Credential returns the credential with the id.
func (c *Catalog) Credential(id string) (*Credential, bool) {
	r, ok := c.credentials[id]
	return r, ok
}

// Budget returns the shared budget with the id.
func (c *Catalog) Budget(id string) (*Budget, bool) { b, ok := c.budgets[id]; return b, ok }

// Variable returns a variable of the cluster's environment.
func (c *Catalog) Variable(name string) (*Variable, bool) { v, ok := c.variables[name]; return v, ok }

// MCPServer returns the MCP server whose tools have the prefix.
func (c *Catalog) MCPServer(prefix string) (*MCPServer, bool) { s, ok := c.mcp[prefix]; return s, ok }

// Prompt returns the prompt with the name.
func (c *Catalog) Prompt(name string) (*Prompt, bool) { p, ok := c.prompts[name]; return p, ok }

// Terms returns the inline terms together with those of the shared budget, if there is one.
// A shared budget that is not in the catalog gives false: the caller must refuse with 503,
// never go on without a limit.
func (c *Catalog) Terms(inline []Terms, budgetID string) ([]Terms, bool) {
	if budgetID == "" {
		return inline, true
	}
	b, ok := c.budgets[budgetID]
	if !ok {
		return nil, false
	}
	return append(slices.Clip(inline), b.All()...), true
}

// Prices returns the imported prices, nil for none.
func (c *Catalog) Prices() *PriceTable { return c.tables.Prices }

// Tables returns the sorted tables, which must not be changed.
func (c *Catalog) Tables() *Tables { return &c.tables }
