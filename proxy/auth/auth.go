// Package auth tells who a request comes from: it turns the credential in a request's
// headers into a resource.Principal, by one look-up of a SHA-256, and refuses what is
// unknown, blocked or expired.
//
// It answers 401 and 403 only for a credential that it has decided about. What it cannot
// decide, because a record that the key refers to is missing, is 503: a missing record
// never means "no limit".
package auth

import (
	"context"
	"crypto/subtle"
	"net/http"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/resource"
)

// The types of the errors, which clients of LiteLLM know.
const (
	typeAuth    = "auth_error"
	typeUnknown = "token_not_found_in_db"
	typeExpired = "expired_key"
)

// Keys looks virtual keys up, and what they refer to and the catalog does not hold.
type Keys interface {
	// KeyByHash returns the key that has the hash as its secret's, or had it and may still
	// be in its grace. The record must not be changed.
	KeyByHash(h resource.Hash) (*resource.Key, bool)
	// Key returns the key with the id. The record must not be changed.
	Key(id string) (*resource.Key, bool)
	// User returns the user with the id. The record must not be changed.
	User(id string) (*resource.User, bool)
	// TeamMember returns a user's place in a team. The record must not be changed.
	TeamMember(team, user string) (*resource.TeamMember, bool)
}

// Config configures an Authenticator.
type Config struct {
	// Keys is required.
	Keys Keys
	// Miss is asked once when a hash is unknown: it returns nil when the node has caught up
	// with the leader meanwhile, so that another look decides, and an error if it cannot.
	// Nil: this node knows all keys.
	Miss func(ctx context.Context, h resource.Hash) error
	// Master returns the hash of the master key. Nil, or a zero hash: there is none.
	Master func() resource.Hash
	// Plugins asks auth plugins; nil: there are none.
	Plugins Plugins
	// Now is the clock; nil: clock.Now.
	Now func() time.Time
}

// Authenticator turns credentials into principals. It is safe for concurrent use.
type Authenticator struct {
	cfg Config
}

// New makes an Authenticator.
func New(cfg Config) *Authenticator {
	if cfg.Miss == nil {
		cfg.Miss = func(context.Context, resource.Hash) error { return nil }
	}
	if cfg.Master == nil {
		cfg.Master = func() resource.Hash { return resource.Hash{} }
	}
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	return &Authenticator{cfg: cfg}
}

// Authenticate returns the principal whose secret is given, with every level above its key.
// Errors are *llm.Error: Unauthenticated for a secret that is missing, unknown or expired, or
// a key that is blocked at any level, and Unavailable if a record that the key refers to is
// not on this node. With the error of a known key comes its principal, as far as it was resolved: for
// the record of the refusal, and for nothing else.
func (a *Authenticator) Authenticate(ctx context.Context, cat *resource.Catalog, secret string) (*resource.Principal, error) {
	if secret == "" {
		return nil, refuse(typeAuth, "no_api_key", "", "No API key was given. Send it as \"Authorization: Bearer YOUR_KEY\".")
	}
	return a.AuthenticateHash(ctx, cat, resource.HashSecret(secret))
}

// AuthenticateHash is Authenticate for who knows that a secret with this hash was shown: in the
// place of it another one was given, that the gateway itself has made for its bearer.
func (a *Authenticator) AuthenticateHash(ctx context.Context, cat *resource.Catalog, h resource.Hash) (*resource.Principal, error) {
	if a.isMaster(h) {
		return &resource.Principal{Master: true}, nil
	}
	key, ok := a.cfg.Keys.KeyByHash(h)
	if !ok {
		if err := a.cfg.Miss(ctx, h); err != nil {
			return nil, undecided(ctx, err)
		}
		key, ok = a.cfg.Keys.KeyByHash(h)
	}
	if !ok {
		return nil, refuse(typeUnknown, "invalid_api_key", "key", "The API key is not known.")
	}
	if err := a.checkKey(key, h); err != nil {
		return &resource.Principal{Key: key}, err
	}
	return a.chain(cat, key)
}

// Holder returns the principal of a key by its id, "" for the master key, as Authenticate returns
// that of a secret: for requests that are made later, in the name of who asked for them.
func (a *Authenticator) Holder(cat *resource.Catalog, id string) (*resource.Principal, error) {
	if id == "" {
		return &resource.Principal{Master: true}, nil
	}
	key, ok := a.cfg.Keys.Key(id)
	if !ok {
		return nil, refuse(typeUnknown, "invalid_api_key", "key", "The API key is not known any more.")
	}
	if err := a.checkKey(key, key.Hash); err != nil {
		return &resource.Principal{Key: key}, err
	}
	return a.chain(cat, key)
}

func (a *Authenticator) isMaster(h resource.Hash) bool {
	master := a.cfg.Master()
	same := subtle.ConstantTimeCompare(master[:], h[:]) == 1
	return same && master != resource.Hash{}
}

// checkKey refuses a key that may not be used. A blocked key is refused first: it must not
// look merely expired to whoever blocked it.
func (a *Authenticator) checkKey(key *resource.Key, h resource.Hash) error {
	now := resource.At(a.cfg.Now())
	var e *llm.Error
	switch {
	case key.Blocked:
		e = refuse(typeAuth, "key_blocked", "key", "The API key is blocked.")
	case !key.AcceptsAt(h, now):
		e = refuse(typeExpired, "expired_key", "key", "The API key was replaced, and its grace has ended.")
		e.Count = &llm.Count{Of: llm.CountSecrets} // which no receipt tells apart
	case key.ExpiredAt(now):
		e = refuse(typeExpired, "expired_key", "key", "The API key has expired.")
	default:
		return nil
	}
	e.Scope, e.Entity = resource.HolderKey, key.ID
	return e
}

// chain resolves what the key refers to, and refuses a key one of whose levels is blocked. The
// principal comes with an error too, as far as it was resolved.
func (a *Authenticator) chain(cat *resource.Catalog, key *resource.Key) (*resource.Principal, error) {
	who := &resource.Principal{Key: key}
	organization := ""
	if key.TeamID != "" {
		team, ok := cat.Team(key.TeamID)
		if !ok {
			return who, incomplete(resource.HolderTeam)
		}
		if team.Blocked {
			return who, blocked(resource.HolderTeam, team.ID)
		}
		who.Team, organization = team, team.OrganizationID
	}
	if key.ProjectID != "" {
		project, ok := cat.Project(key.ProjectID)
		if !ok || project.TeamID != key.TeamID {
			return who, incomplete(resource.HolderProject)
		}
		if project.Blocked {
			return who, blocked(resource.HolderProject, project.ID)
		}
		who.Project = project
	}
	if key.UserID != "" {
		if err := a.person(who); err != nil {
			return who, err
		}
		if who.User != nil && organization == "" {
			organization = who.User.OrganizationID
		}
	}
	if err := house(cat, who, organization); err != nil {
		return who, err
	}
	var room [6]resource.Level
	levels := who.Levels(room[:0])
	if err := policy.CheckExpiry(levels, a.cfg.Now()); err != nil {
		return who, err
	}
	return who, checkBudgets(cat, levels)
}

// house resolves the organization, which may be none.
func house(cat *resource.Catalog, who *resource.Principal, id string) error {
	if id == "" {
		return nil
	}
	o, ok := cat.Organization(id)
	if !ok {
		return incomplete(resource.HolderOrganization)
	}
	if o.Blocked {
		return blocked(resource.HolderOrganization, o.ID)
	}
	who.Organization = o
	return nil
}

// person resolves the key's user and his place in its team. A user without a record is a
// label, which limits nothing.
func (a *Authenticator) person(who *resource.Principal) error {
	if u, ok := a.cfg.Keys.User(who.Key.UserID); ok {
		if u.Blocked {
			return blocked(resource.HolderUser, u.ID)
		}
		who.User = u
	}
	if who.Key.TeamID != "" {
		if m, ok := a.cfg.Keys.TeamMember(who.Key.TeamID, who.Key.UserID); ok {
			who.Member = m
		}
	}
	return nil
}

// checkBudgets refuses a principal one of whose shared budgets is not on this node.
func checkBudgets(cat *resource.Catalog, levels []resource.Level) error {
	for _, l := range levels {
		if !hasBudget(cat, l.Allowance.BudgetID) {
			return incomplete("budget")
		}
	}
	return nil
}

func hasBudget(cat *resource.Catalog, id string) bool {
	if id == "" {
		return true
	}
	_, ok := cat.Budget(id)
	return ok
}

func refuse(typ, code, param, message string) *llm.Error {
	return &llm.Error{Kind: llm.Unauthenticated, Type: typ, Code: code, Param: param, Message: message}
}

// blocked refuses a key because of a level above it.
func blocked(level, id string) error {
	e := refuse(typeAuth, level+"_blocked", "key", "The "+level+" of the API key is blocked.")
	e.Scope, e.Entity = level, id
	return e
}

// undecided says that this node does not know a key and cannot ask whether it is new.
func undecided(ctx context.Context, err error) *llm.Error {
	if ctx.Err() != nil {
		return &llm.Error{Kind: llm.Canceled, Message: "The client went away.", Err: err}
	}
	return &llm.Error{
		Kind: llm.Unavailable, Code: "no_leader", RetryAfter: time.Second, Err: err,
		Message: "This node does not know the API key, and there is no leader to tell whether it is new.",
	}
}

// incomplete says that this node does not have a record that the key refers to.
func incomplete(what string) error {
	return &llm.Error{
		Kind: llm.Unavailable, Code: "conclave_catalog_incomplete", RetryAfter: time.Second,
		Message: "This node does not have the " + what + " that the API key belongs to.",
	}
}

// headers are where a key may stand, in the order in which they are read. All but the first
// hold the bare key.
var headers = [...]string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "X-Litellm-Api-Key"}

// Secret finds the credential of a request: the first one that is not empty of the headers
// Authorization (as a bearer), x-api-key, api-key, x-goog-api-key, x-litellm-api-key and
// the configured further one. Where headers carry different credentials the first decides,
// and no other is tried. It returns "" if there is none.
func Secret(h http.Header, further string) string {
	for _, name := range headers {
		if v := bearer(first(h, name)); v != "" {
			return v
		}
	}
	if further == "" {
		return ""
	}
	return bearer(h.Get(further))
}

// first reads a header whose name is in canonical form.
func first(h http.Header, canonical string) string {
	if v := h[canonical]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// bearer strips the scheme, which clients send with the other headers too.
func bearer(v string) string {
	const scheme = "bearer "
	v = strings.TrimSpace(v)
	if len(v) >= len(scheme) && strings.EqualFold(v[:len(scheme)], scheme) {
		return strings.TrimSpace(v[len(scheme):])
	}
	if strings.EqualFold(v, "bearer") {
		return ""
	}
	return v
}
