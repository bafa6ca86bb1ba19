package auth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	plugin "github.com/conclave-llm/conclave/plugins/auth"
	"github.com/conclave-llm/conclave/resource"
)

// Plugins asks auth plugins; *plugin.Gate is one.
type Plugins interface {
	Ask(ctx context.Context, a *resource.Auth, r *plugin.Request) (plugin.Answer, error)
}

// codePlugin is the code of the answer to who cannot be told from anybody because a plugin is away.
const codePlugin = "auth_plugin_unavailable"

// errUnlikely is an answer of a plugin that no plugin may give.
var errUnlikely = errors.New("the auth plugin names the master key")

// AuthenticateRequest is Authenticate for a request of the data path: where auth plugins are
// registered, they are asked as their modes say. Errors are those of Authenticate, and the plugins' refusals,
// and Unavailable if a plugin cannot be asked that must be.
func (a *Authenticator) AuthenticateRequest(ctx context.Context, cat *resource.Catalog, r *plugin.Request) (*resource.Principal, error) {
	all := cat.Tables().Auths
	if len(all) == 0 || a.cfg.Plugins == nil {
		return a.Authenticate(ctx, cat, r.Secret)
	}
	h := resource.HashSecret(r.Secret)
	if r.Secret != "" && a.isMaster(h) {
		return &resource.Principal{Master: true}, nil
	}
	for _, p := range all {
		if !a.concerns(p, r, h) {
			continue
		}
		answer, err := a.cfg.Plugins.Ask(ctx, p, r)
		var who *resource.Principal
		switch {
		case err != nil:
		case answer.Refusal != nil:
			return nil, refusedBy(p, answer.Refusal)
		case answer.Identity != nil:
			if who, err = a.identified(ctx, cat, p, answer.Identity); !errors.Is(err, errUnlikely) {
				return who, err
			}
		case p.Mode == resource.AuthOn:
			return nil, refuse(typeUnknown, "invalid_api_key", "key", "The credential is not known.")
		}
		if err != nil && (p.OnError != resource.OnErrorPass || ctx.Err() != nil) {
			return nil, away(ctx, err)
		}
	}
	return a.Authenticate(ctx, cat, r.Secret)
}

// concerns says whether the plugin is to be asked about the request.
func (a *Authenticator) concerns(p *resource.Auth, r *plugin.Request, h resource.Hash) bool {
	if !resource.AllowsRoute(p.Routes, r.Path) {
		return false
	}
	if r.Secret == "" && !offers(p.Headers, r.Header) {
		return false // a request without any credential
	}
	if p.Mode != resource.AuthUnknown || r.Secret == "" {
		return true
	}
	if resource.CheckSecret(r.Secret) == nil {
		return false
	}
	_, known := a.cfg.Keys.KeyByHash(h) // that was imported in another form
	return !known
}

func offers(names []string, h http.Header) bool {
	for _, name := range names {
		if first(h, name) != "" {
			return true
		}
	}
	return false
}

// identified resolves whom a plugin names. What the records say counts at this moment, however old the
// plugin's answer is.
func (a *Authenticator) identified(ctx context.Context, cat *resource.Catalog, p *resource.Auth, i *plugin.Identity) (who *resource.Principal, err error) {
	now := a.cfg.Now()
	if !i.ExpiresAt.IsZero() && !now.Before(i.ExpiresAt) {
		return nil, refuse(typeExpired, "expired_key", "key", "The credential has expired.")
	}
	switch {
	case i.KeyHash != "":
		var h resource.Hash
		if err := h.UnmarshalText([]byte(strings.ToLower(i.KeyHash))); err != nil {
			return nil, away(ctx, fmt.Errorf("auth plugin %s: %w", p.Name, err))
		}
		if a.isMaster(h) {
			return nil, fmt.Errorf("%s: %w", p.Name, errUnlikely)
		}
		who, err = a.AuthenticateHash(ctx, cat, h)
	case i.KeyID != "":
		who, err = a.Holder(cat, i.KeyID)
	default:
		who, err = a.made(cat, p, i)
	}
	if who != nil {
		who.Auth = p.Name
	}
	return who, err
}

// made makes the principal of a user, a team or an end user who has no key. Each must have a record:
// what limits nobody is no identity.
func (a *Authenticator) made(cat *resource.Catalog, p *resource.Auth, i *plugin.Identity) (*resource.Principal, error) {
	if i.UserID != "" {
		if _, ok := a.cfg.Keys.User(i.UserID); !ok {
			return nil, Stranger(resource.HolderUser)
		}
	}
	if i.TeamID != "" {
		if _, ok := cat.Team(i.TeamID); !ok {
			return nil, Stranger(resource.HolderTeam)
		}
	}
	if i.ProjectID != "" {
		if pr, ok := cat.Project(i.ProjectID); !ok || pr.TeamID != i.TeamID {
			return nil, Stranger(resource.HolderProject)
		}
	}
	key := &resource.Key{TeamID: i.TeamID, UserID: i.UserID, ProjectID: i.ProjectID, Policy: resource.Policy{Models: i.Models, Tags: i.Tags}}
	key.ID = madeID(p, i)
	for _, l := range []struct {
		v  int64
		to **int64
	}{{i.RPM, &key.Limits.RPM}, {i.TPM, &key.Limits.TPM}, {i.Parallel, &key.Limits.Parallel}} {
		if l.v > 0 {
			*l.to = &l.v
		}
	}
	who, err := a.chain(cat, key)
	who.Unkept, who.CustomerID = true, i.CustomerID
	return who, err
}

// madeID is the id of the key of who has none: the same for the same people on every node, and it does
// not tell who they are.
func madeID(p *resource.Auth, i *plugin.Identity) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{i.UserID, i.TeamID, i.ProjectID, i.CustomerID}, "\x00")))
	return p.ID + "-" + hex.EncodeToString(sum[:8])
}

// Stranger says that a plugin names somebody whom the cluster does not have.
func Stranger(what string) error {
	return &llm.Error{
		Kind: llm.Forbidden, Type: typeAuth, Code: "identity_unknown",
		Message: "The credential belongs to a " + what + " that this gateway does not have.",
	}
}

func refusedBy(p *resource.Auth, r *plugin.Refusal) error {
	kind := llm.Unauthenticated
	if r.Status == http.StatusForbidden {
		kind = llm.Forbidden
	}
	return &llm.Error{
		Kind: kind, Type: typeAuth, Code: cmp.Or(r.Code, "credential_refused"), Param: "key",
		Message: cmp.Or(r.Message, "The credential is refused."), Err: fmt.Errorf("refused by the auth plugin %s", p.Name),
	}
}

// away says that a plugin could not be asked that must be.
func away(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return &llm.Error{Kind: llm.Canceled, Message: "The client went away.", Err: err}
	}
	return &llm.Error{
		Kind: llm.Unavailable, Code: codePlugin, RetryAfter: time.Second, Err: err,
		Message: "Who the credential belongs to cannot be found out now.",
	}
}
