package memory

import (
	"fmt"
	"maps"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// Tables holds the decoded records of the small tables by id.
type Tables struct {
	orgs        map[string]*resource.Organization
	teams       map[string]*resource.Team
	projects    map[string]*resource.Project
	tags        map[string]*resource.Tag
	models      map[string]*resource.Model
	deployments map[string]*resource.Deployment
	credentials map[string]*resource.Credential
	budgets     map[string]*resource.Budget
	guardrails  map[string]*resource.Guardrail
	callbacks   map[string]*resource.Callback
	plugins     map[string]*resource.Plugin
	mcpServers  map[string]*resource.MCPServer
	passThrough map[string]*resource.PassThroughEndpoint
	prompts     map[string]*resource.Prompt
	settings    map[string]*resource.Setting
	variables   map[string]*resource.Variable
	sources     map[string]*resource.SecretSource
	auths       map[string]*resource.Auth
	filters     map[string]*resource.RouterFilter
	groups      map[string]*resource.AccessGroup
	members     map[string]*resource.Member
	prices      map[string]*resource.PriceTable
}

// NewTables makes empty tables.
func NewTables() *Tables {
	return &Tables{
		orgs: map[string]*resource.Organization{}, projects: map[string]*resource.Project{}, tags: map[string]*resource.Tag{},
		teams: map[string]*resource.Team{}, models: map[string]*resource.Model{},
		deployments: map[string]*resource.Deployment{}, credentials: map[string]*resource.Credential{},
		budgets: map[string]*resource.Budget{}, guardrails: map[string]*resource.Guardrail{},
		callbacks: map[string]*resource.Callback{}, plugins: map[string]*resource.Plugin{}, mcpServers: map[string]*resource.MCPServer{}, prompts: map[string]*resource.Prompt{}, passThrough: map[string]*resource.PassThroughEndpoint{},
		settings: map[string]*resource.Setting{}, members: map[string]*resource.Member{},
		prices: map[string]*resource.PriceTable{}, variables: map[string]*resource.Variable{}, sources: map[string]*resource.SecretSource{}, filters: map[string]*resource.RouterFilter{}, auths: map[string]*resource.Auth{},
		groups: map[string]*resource.AccessGroup{},
	}
}

// buckets are those that Tables holds.
var buckets = []store.Bucket{
	store.Teams, store.Models, store.Deployments, store.Credentials, store.Budgets,
	store.Guardrails, store.Callbacks, store.Plugins, store.Settings, store.Members, store.Prices,
	store.Organizations, store.Projects, store.Tags, store.MCPServers, store.Prompts, store.PassThrough, store.Variables, store.SecretSources, store.RouterFilters, store.Auths, store.AccessGroups,
}

// Decode decodes one value of a small table, nil for one that was deleted; the function
// returned changes the tables.
func Decode(b store.Bucket, id string, v []byte) (func(*Tables), error) { //nolint:gocyclo // one row for each table
	switch b {
	case store.Teams:
		return decodeInto(id, v, func(s *Tables) map[string]*resource.Team { return s.teams })
	case store.Organizations:
		return decodeInto(id, v, func(s *Tables) map[string]*resource.Organization { return s.orgs })
	case store.Projects:
		return decodeInto(id, v, func(s *Tables) map[string]*resource.Project { return s.projects })
	case store.Tags:
		return decodeInto(id, v, func(s *Tables) map[string]*resource.Tag { return s.tags })
	case store.Models:
		return decodeInto(id, v, func(s *Tables) map[string]*resource.Model { return s.models })
	case store.Deployments:
		return decodeInto(id, v, func(s *Tables) map[string]*resource.Deployment { return s.deployments })
	case store.Credentials:
		return decodeInto(id, v, func(s *Tables) map[string]*resource.Credential { return s.credentials })
	case store.Budgets:
		return decodeInto(id, v, func(s *Tables) map[string]*resource.Budget { return s.budgets })
	case store.Guardrails:
		return decodeInto(id, v, func(s *Tables) map[string]*resource.Guardrail { return s.guardrails })
	case store.Callbacks:
		return decodeInto(id, v, func(s *Tables) map[string]*resource.Callback { return s.callbacks })
	case store.Plugins:
		return decodeInto(id, v, func(s *Tables) map[string]*resource.Plugin { return s.plugins })
	case store.PassThrough:
		return decodeInto(id, v, func(s *Tables) map[string]*resource.PassThroughEndpoint { return s.passThrough })
	case store.MCPServers:
		return decodeInto(id, v, func(s *Tables) map[string]*resource.MCPServer { return s.mcpServers })
	case store.Prompts:
		return decodeInto(id, v, func(s *Tables) map[string]*resource.Prompt { return s.prompts })
	case store.Settings:
		return decodeInto(id, v, func(s *Tables) map[string]*resource.Setting { return s.settings })
	case store.Variables:
		return decodeInto(id, v, func(s *Tables) map[string]*resource.Variable { return s.variables })
	case store.SecretSources:
		return decodeInto(id, v, func(s *Tables) map[string]*resource.SecretSource { return s.sources })
	case store.Auths:
		return decodeInto(id, v, func(s *Tables) map[string]*resource.Auth { return s.auths })
	case store.AccessGroups:
		return decodeInto(id, v, func(s *Tables) map[string]*resource.AccessGroup { return s.groups })
	case store.RouterFilters:
		return decodeInto(id, v, func(s *Tables) map[string]*resource.RouterFilter { return s.filters })
	case store.Members:
		return decodeInto(id, v, func(s *Tables) map[string]*resource.Member { return s.members })
	case store.Prices:
		return decodeInto(id, v, func(s *Tables) map[string]*resource.PriceTable { return s.prices })
	default:
		return nil, fmt.Errorf("bucket %s is not small: %w", b.Name(), frame.ErrDamaged)
	}
}

func decodeInto[T any, P codec.Canonicalizer[T]](id string, v []byte, in func(*Tables) map[string]P) (func(*Tables), error) {
	if v == nil {
		return func(s *Tables) { delete(in(s), id) }, nil
	}
	f, err := frame.Parse([]byte(id), v)
	if err != nil {
		return nil, err
	}
	rec, err := codec.Record[T, P](f)
	if err != nil {
		return nil, err
	}
	return func(s *Tables) { in(s)[id] = rec }, nil
}

// Catalog gives an immutable view of the tables as of an index. Of the members it has the
// living.
func (s *Tables) Catalog(index uint64) *resource.Catalog {
	return resource.NewCatalog(resource.Tables{
		Index: index, Organizations: list(s.orgs), Projects: list(s.projects), Tags: list(s.tags), Teams: list(s.teams), Models: list(s.models), Deployments: list(s.deployments),
		Credentials: list(s.credentials), Budgets: list(s.budgets), Guardrails: list(s.guardrails),
		Callbacks: list(s.callbacks), Plugins: list(s.plugins), MCPServers: list(s.mcpServers), Prompts: list(s.prompts), PassThrough: list(s.passThrough), Settings: list(s.settings), Variables: list(s.variables), SecretSources: list(s.sources), RouterFilters: list(s.filters), Auths: list(s.auths), AccessGroups: list(s.groups),
		Members: slices.DeleteFunc(list(s.members), func(m *resource.Member) bool { return m.Removed }),
		Prices:  s.prices[resource.PriceTableID],
	})
}

// list gives the values; NewCatalog sorts them.
func list[R any](m map[string]R) []R { return slices.Collect(maps.Values(m)) }

// Members returns a copy of the table of members, with those that were removed.
func (s *Tables) Members() map[string]*resource.Member { return maps.Clone(s.members) }

// Read reads all tables from the file, verifying each value.
func (s *Tables) Read(tx *bolt.Tx) error {
	for _, b := range buckets {
		err := b.In(tx).ForEach(func(k, v []byte) error {
			set, err := Decode(b, string(k), v)
			if err == nil {
				set(s)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
