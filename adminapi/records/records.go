package records

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/keyshelf"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/plugins/auth"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/delegate"
)

// confirmWait bounds how long a write that takes something away waits for all members.
const confirmWait = 250 * time.Millisecond

// ErrVersionRequired says that a replacement does not name the version that it replaces.
var ErrVersionRequired = errors.New("a replacement names the version that it replaces")

// Store commits commands.
type Store interface {
	// Propose returns when the command is applied on this node. Its errors are the
	// sentinels of package resource, or an *resource.Invalid.
	Propose(ctx context.Context, by fsm.Actor, requestID string, cmd fsm.Command) (fsm.Result, error)
}

// State reads the replicated records of this node. *fsm.FSM implements it.
type State interface {
	Keys
	People
	Catalog() *resource.Catalog
	Accounts(holder string) []fsm.Account
	// Grouped lists the teams and keys that have an access group.
	Grouped(group string) (teams, keys []string)
}

// World is the state as package delegate decides from it.
func World(s State) delegate.World { return world{s} }

type world struct{ State }

// Organization implements delegate.World.
func (w world) Organization(id string) (*resource.Organization, bool) {
	return w.Catalog().Organization(id)
}

// Team implements delegate.World.
func (w world) Team(id string) (*resource.Team, bool) { return w.Catalog().Team(id) }

// Called implements delegate.World.
func (w world) Called() resource.Called {
	return resource.CalledAmong(func() []*resource.MCPServer { return w.Catalog().Tables().MCPServers })
}

// Tagged implements delegate.World.
func (w world) Tagged(tag string) bool { _, ok := w.Catalog().Tag(tag); return ok }

// AccessGroup implements delegate.World.
func (w world) AccessGroup(id string) (*resource.AccessGroup, bool) {
	return w.Catalog().AccessGroup(id)
}

// Available implements delegate.World.
func (w world) Available(team string) bool { return w.Catalog().Settings().AvailableTeams.Has(team) }

// Keys reads virtual keys.
type Keys interface {
	Key(id string) (*resource.Key, bool)
	KeyByName(name string) (*resource.Key, bool)
	KeysByName(names []string) map[string]*resource.Key
	KeyByHash(h resource.Hash) (*resource.Key, bool)
	Keys(q fsm.ListQuery) (items []*resource.Key, next string, total int)
}

// People reads users, their places in teams, and customers.
type People interface {
	User(id string) (*resource.User, bool)
	UserByEmail(email string) (*resource.User, bool)
	Users(q fsm.ListQuery) (items []*resource.User, next string, total int)
	Customer(id string) (*resource.Customer, bool)
	Customers(q fsm.ListQuery) (items []*resource.Customer, next string, total int)
	TeamMember(team, user string) (*resource.TeamMember, bool)
	TeamMembers(team string) []*resource.TeamMember
	Memberships(user string) []*resource.TeamMember
	KeysOf(user string) []*resource.Key
}

// Config says what Records works on. No field but Derive may be zero.
type Config struct {
	Store Store
	State State
	// Confirm waits for every registered member to apply the index, and says who has and who is late.
	Confirm func(ctx context.Context, index uint64, wait time.Duration) client.Receipt
	// Seal encrypts a secret for one field of one record.
	Seal func(plaintext, kind, id, field string) (*resource.Sealed, error)
	// Derive makes 16 bytes of the parts that nobody without the cluster's keys can make.
	// Nil: a rotation cannot be named.
	Derive func(parts ...string) ([]byte, error)
	// Files reads the body of a blob of the configuration, for the check of what refers to one; nil:
	// nothing of it is checked.
	Files func(digest string) ([]byte, error)
	// Shelf keeps the secrets of keys in stores of secrets.
	Shelf *keyshelf.Shelf
	// MayGrant decides whether the caller may write a key so; before is nil for a new one.
	MayGrant func(by Caller, before, after *resource.Key) error
	// KeyHook asks an auth plugin about a key that is being made or changed; one that does not want
	// to be asked has the zero verdict. Nil: no plugin can be asked.
	KeyHook func(ctx context.Context, a *resource.Auth, d *auth.KeyDraft) (auth.KeyVerdict, error)
	// MayLearn decides whether the caller may be told the secret of a key.
	MayLearn func(by Caller, k *resource.Key) error
	Now      func() time.Time
}

// Records is all kinds of records. It may be used concurrently.
type Records struct {
	cfg Config

	Organizations *Noun[resource.Organization, *resource.Organization]
	Projects      *Noun[resource.Project, *resource.Project]
	Users         *Noun[resource.User, *resource.User]
	TeamMembers   *Noun[resource.TeamMember, *resource.TeamMember]
	Customers     *Noun[resource.Customer, *resource.Customer]
	Tags          *Noun[resource.Tag, *resource.Tag]

	Keys          *Noun[resource.Key, *resource.Key]
	Teams         *Noun[resource.Team, *resource.Team]
	Models        *Noun[resource.Model, *resource.Model]
	Deployments   *Noun[resource.Deployment, *resource.Deployment]
	Credentials   *Noun[resource.Credential, *resource.Credential]
	Budgets       *Noun[resource.Budget, *resource.Budget]
	Guardrails    *Noun[resource.Guardrail, *resource.Guardrail]
	Callbacks     *Noun[resource.Callback, *resource.Callback]
	Sources       *Noun[resource.SecretSource, *resource.SecretSource]
	Auths         *Noun[resource.Auth, *resource.Auth]
	RouterFilters *Noun[resource.RouterFilter, *resource.RouterFilter]
	AccessGroups  *Noun[resource.AccessGroup, *resource.AccessGroup]
	Plugins       *Noun[resource.Plugin, *resource.Plugin]
	MCPServers    *Noun[resource.MCPServer, *resource.MCPServer]
	PassThrough   *Noun[resource.PassThroughEndpoint, *resource.PassThroughEndpoint]
	Prompts       *Noun[resource.Prompt, *resource.Prompt]
	Settings      *Noun[resource.Setting, *resource.Setting]
	Variables     *Noun[resource.Variable, *resource.Variable]
}

// New returns the records of a cluster.
func New(cfg Config) *Records {
	rs := &Records{cfg: cfg}
	rs.Organizations = rs.organizationNoun()
	rs.Projects = rs.projectNoun()
	rs.Users = rs.userNoun()
	rs.TeamMembers = rs.memberNoun()
	rs.Customers = rs.customerNoun()
	rs.Tags = rs.tagNoun()
	rs.Keys = rs.keyNoun()
	rs.Teams = rs.teamNoun()
	rs.Models = rs.modelNoun()
	rs.Deployments = rs.deploymentNoun()
	rs.Credentials = rs.credentialNoun()
	rs.Budgets = rs.budgetNoun()
	rs.Guardrails = rs.guardrailNoun()
	rs.Callbacks = rs.callbackNoun()
	rs.Sources = rs.secretSourceNoun()
	rs.Auths = rs.authNoun()
	rs.RouterFilters = rs.routerFilterNoun()
	rs.AccessGroups = rs.accessGroupNoun()
	rs.Plugins = rs.pluginNoun()
	rs.MCPServers = rs.mcpServerNoun()
	rs.PassThrough = rs.passThroughNoun()
	rs.Prompts = rs.promptNoun()
	rs.Settings = rs.settingNoun()
	rs.Variables = rs.variableNoun()
	return rs
}

// TakeOver makes a record the API's that belongs to the configuration file.
func (rs *Records) TakeOver(ctx context.Context, by Caller, kind, ref string) (Written, error) {
	take, ok := map[string]func(context.Context, Caller, string) (Written, error){
		"organization": rs.Organizations.TakeOver, "project": rs.Projects.TakeOver, "user": rs.Users.TakeOver, "member": rs.TeamMembers.TakeOver,
		"customer": rs.Customers.TakeOver, "tag": rs.Tags.TakeOver, "key": rs.Keys.TakeOver, "team": rs.Teams.TakeOver, "model": rs.Models.TakeOver,
		"deployment": rs.Deployments.TakeOver, "credential": rs.Credentials.TakeOver, "budget": rs.Budgets.TakeOver,
		"guardrail": rs.Guardrails.TakeOver, "callback": rs.Callbacks.TakeOver, "secret_source": rs.Sources.TakeOver, "router_filter": rs.RouterFilters.TakeOver, "auth": rs.Auths.TakeOver, "access_group": rs.AccessGroups.TakeOver, "plugin": rs.Plugins.TakeOver, "mcp_server": rs.MCPServers.TakeOver, "prompt": rs.Prompts.TakeOver, "pass_through_endpoint": rs.PassThrough.TakeOver, "setting": rs.Settings.TakeOver, "variable": rs.Variables.TakeOver,
	}[kind]
	if !ok {
		return Written{}, invalid("kind", fmt.Sprintf("%q is no kind of record that a file can declare", kind))
	}
	return take(ctx, by, ref)
}

// Caller is who asks, after the table of rights let him in. The zero value is nobody, whose
// writes the state machine refuses.
type Caller struct {
	Who       resource.Principal
	RequestID string
	OwnOnly   bool // may see his own record and that of his team only
	// Delegate is the person who acts, if he manages a part of the cluster only; nil: the key
	// speaks for itself. OwnOnly is true beside it.
	Delegate *delegate.Delegate
	Address  string // that the request came from
	For      string // whom the caller says he acts for
}

// Actor names the credential under which the caller's commands are applied.
func (c Caller) Actor() fsm.Actor {
	switch {
	case c.Who.Key != nil:
		return fsm.Actor{Kind: "key", ID: c.Who.Key.ID, Version: c.Who.Key.Version, Address: c.Address, For: c.For}
	case c.Who.Master:
		return fsm.Actor{Kind: "master", Address: c.Address, For: c.For}
	default:
		return fsm.Actor{Kind: "nobody"}
	}
}

// sees says whether the caller may see the record, of which owns says whether it is that of
// his key.
func (c Caller) sees(r resource.Record, owns bool) bool {
	return !c.OwnOnly || owns || c.Delegate != nil && c.Delegate.Sees(r)
}

// Leads says whether the caller may see all of what belongs to the record.
func (c Caller) Leads(r resource.Record) bool {
	return !c.OwnOnly || c.Delegate != nil && c.Delegate.Leads(r)
}

// MayJoin says that the caller may put himself into a team that he does not lead.
func (c Caller) MayJoin(t *resource.Team) bool { return c.Delegate != nil && c.Delegate.MayJoin(t) }

// Written is what came of a write.
type Written struct {
	Index   string         // "GENERATION-INDEX"
	Version uint64         // of the record; 0: it has none any more
	Receipt client.Receipt // of one that takes something away
	Secret  string         // of a key that was made or rotated; to be shown this once
}

// Accounts shows the budget windows of a holder, "key/ID", "team/ID", …, that are open now.
func (rs *Records) Accounts(holder string) []client.Account {
	var out []client.Account
	now := resource.At(rs.cfg.Now())
	for _, a := range rs.cfg.State.Accounts(holder) {
		shown := account(holder, &a)
		if a.Window.Contains(now) && !resource.IsSession(shown.Budget) {
			out = append(out, shown)
		}
	}
	return out
}

func account(holder string, a *fsm.Account) client.Account {
	return client.Account{
		Budget: string(a.ID[len(holder)+1:]), Unit: a.Unit,
		StartsAt: a.Window.Start, ResetsAt: a.Window.End,
		Limit: client.AmountOf(a.Limit, a.Unit), Settled: client.AmountOf(a.Settled, a.Unit),
		Presumed: client.AmountOf(a.Presumed, a.Unit), Granted: client.AmountOf(a.Granted, a.Unit),
	}
}

// AllKeys yields every key that q selects, in q's order; its Limit and Cursor do not count.
func (rs *Records) AllKeys(q Query) iter.Seq[*resource.Key] { return allPages(q, rs.keyPage) }

// KeysFor yields the keys that q selects and the caller may see, in q's order.
func (rs *Records) KeysFor(by Caller, q Query) iter.Seq[*resource.Key] { return rs.Keys.every(by, q) }

// UsersFor yields the users that q selects and the caller may see, in q's order.
func (rs *Records) UsersFor(by Caller, q Query) iter.Seq[*resource.User] {
	return rs.Users.every(by, q)
}

// AllUsers yields every user that q selects, in q's order; its Limit and Cursor do not count.
func (rs *Records) AllUsers(q Query) iter.Seq[*resource.User] { return allPages(q, rs.Users.page) }

// AllCustomers yields every customer that q selects, in q's order.
func (rs *Records) AllCustomers(q Query) iter.Seq[*resource.Customer] {
	return allPages(q, rs.Customers.page)
}

// Each page is one pass over all records, so pages grow.
const (
	firstPage = 500
	largePage = 32_000
)

// allPages yields the records of all pages.
func allPages[P any](q Query, page func(Query) ([]P, string, int)) iter.Seq[P] {
	return func(yield func(P) bool) {
		q.Limit, q.Cursor = firstPage, ""
		for ; ; q.Limit = min(q.Limit*8, largePage) {
			items, next, _ := page(q)
			for _, r := range items {
				if !yield(r) {
					return
				}
			}
			if next == "" {
				return
			}
			q.Cursor = next
		}
	}
}

// commit commits the commands as one entry.
func (rs *Records) commit(ctx context.Context, by Caller, cmds ...fsm.Command) (Written, error) {
	res, err := rs.propose(ctx, by, cmds)
	if err != nil {
		return Written{}, err
	}
	return WrittenAt(res), nil
}

// confirmed commits commands that take something away: it waits a moment for every member
// to have applied them, and names those that have not.
func (rs *Records) confirmed(ctx context.Context, by Caller, cmds ...fsm.Command) (Written, error) {
	res, err := rs.propose(ctx, by, cmds)
	if err != nil {
		return Written{}, err
	}
	w := WrittenAt(res)
	w.Receipt = rs.cfg.Confirm(ctx, res.Index, confirmWait)
	return w, nil
}

func (rs *Records) propose(ctx context.Context, by Caller, cmds []fsm.Command) (fsm.Result, error) {
	left := rs.Leaving(cmds)
	res, err := rs.proposed(ctx, by, cmds)
	if err == nil {
		left(ctx)
	}
	return res, err
}

// Leaving notes the keys that commands are about to delete, alone, with a membership or with a person, and
// whose secrets are kept in a store. What it returns is called when they are committed, and takes the
// secrets of those out that there are no more.
func (rs *Records) Leaving(cmds []fsm.Command) (committed func(ctx context.Context)) {
	var keys []*resource.Key
	for _, c := range cmds {
		switch c := c.(type) {
		case fsm.DeleteKey:
			if k, ok := rs.cfg.State.Key(c.ID); ok {
				keys = append(keys, k)
			}
		case fsm.DeleteTeamMember:
			if m, ok := rs.findMember(c.ID); ok {
				keys = append(keys, rs.cfg.State.KeysOf(m.UserID)...) // those of other teams will still be there
			}
		case fsm.OrderErasure:
			if c.Kind == resource.HolderUser {
				keys = append(keys, rs.cfg.State.KeysOf(c.Subject)...)
			}
		}
	}
	keys = slices.DeleteFunc(keys, func(k *resource.Key) bool { return k.StoredIn == "" })
	return func(ctx context.Context) {
		var gone []keyshelf.Gone
		for _, k := range keys {
			if _, still := rs.cfg.State.Key(k.ID); !still {
				gone = append(gone, keyshelf.Gone{Ref: k.StoredIn, Hash: k.Hash})
			}
		}
		rs.cfg.Shelf.Remove(ctx, gone)
	}
}

func (rs *Records) proposed(ctx context.Context, by Caller, cmds []fsm.Command) (fsm.Result, error) {
	if len(cmds) == 1 {
		return rs.cfg.Store.Propose(ctx, by.Actor(), by.RequestID, cmds[0])
	}
	b, err := Batch(cmds)
	if err != nil {
		return fsm.Result{}, err
	}
	return rs.cfg.Store.Propose(ctx, by.Actor(), by.RequestID, b)
}

// WrittenAt is what came of a command.
func WrittenAt(res fsm.Result) Written {
	return Written{
		Index:   strconv.FormatUint(res.Generation, 10) + "-" + strconv.FormatUint(res.Index, 10),
		Version: res.Version,
	}
}
