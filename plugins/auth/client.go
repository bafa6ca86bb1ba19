package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc"

	"github.com/conclave-llm/conclave/plugins/contract"
	"github.com/conclave-llm/conclave/plugins/proto"
	"github.com/conclave-llm/conclave/plugins/session"
	"github.com/conclave-llm/conclave/plugins/wiretext"
)

// Bounds of what a plugin says.
const (
	maxText  = 300 // bytes of a message that a client sees
	maxCode  = 64
	maxNames = 1000    // models or tags of an identity
	maxFill  = 1 << 20 // bytes
)

// ErrNotRunning is why nobody answers.
var ErrNotRunning = session.ErrNotRunning

// hooks are the hooks on the wire.
var hooks = map[Hook]proto.AuthHook{
	HookCredential: proto.AuthHook_AUTH_HOOK_CREDENTIAL, HookGenerateKey: proto.AuthHook_AUTH_HOOK_GENERATE_KEY, HookUpdateKey: proto.AuthHook_AUTH_HOOK_UPDATE_KEY,
}

func hookOf(p proto.AuthHook) (Hook, bool) {
	for h, w := range hooks {
		if w == p {
			return h, true
		}
	}
	return "", false
}

// Client asks one plugin process over one session. It may be used concurrently.
type Client struct {
	*session.Client[proto.AuthQuestion, proto.AuthAnswer, *proto.AuthAnswer]
	rpc proto.AuthClient
}

// NewClient makes a client of a plugin's connection. Configure must be called next.
func NewClient(conn grpc.ClientConnInterface) *Client {
	return &Client{
		Client: session.NewClient[proto.AuthQuestion, proto.AuthAnswer](func(id uint64) *proto.AuthQuestion {
			return &proto.AuthQuestion{Id: id, Kind: &proto.AuthQuestion_Cancel{Cancel: true}}
		}),
		rpc: proto.NewAuthClient(conn),
	}
}

// Configure configures the plugin and opens the session.
func (c *Client) Configure(ctx context.Context, s Settings) (Description, error) {
	resp, err := c.rpc.Configure(ctx, &proto.ConfigureAuth{
		Config: s.Config, Name: s.Name, HostVersion: s.HostVersion, HostMinor: contract.Minor,
	})
	if err != nil {
		return Description{}, fmt.Errorf("configure auth plugin %s: %w", s.Name, session.Said(err))
	}
	d := Description{Version: resp.GetVersion(), SDKMinor: resp.GetSdkMinor()}
	for _, p := range resp.GetHooks() {
		if h, ok := hookOf(p); ok {
			d.Hooks = append(d.Hooks, h)
		}
	}
	for _, w := range resp.GetWants() {
		if w != WantMethod && w != WantPath && w != WantAddress {
			return Description{}, fmt.Errorf("configure auth plugin %s: it wants %q, which this host does not give", s.Name, w)
		}
		d.Wants = append(d.Wants, w)
	}
	return d, c.Open(c.rpc.Session)
}

// Ping asks for a sign of life through the session.
func (c *Client) Ping(ctx context.Context) error {
	return c.AskForSign(ctx, func(id uint64) *proto.AuthQuestion {
		return &proto.AuthQuestion{Id: id, Kind: &proto.AuthQuestion_Ping{Ping: true}}
	})
}

// Authenticate asks who a credential is of. An answer that makes no sense is an error.
func (c *Client) Authenticate(ctx context.Context, cred *Credential) (Answer, error) {
	q := &proto.Credential{
		Secret: cred.Secret.Reveal(), Method: cred.Method, Path: wiretext.Valid(cred.Path), Address: cred.Address, DeadlineMs: session.Remaining(ctx),
	}
	if !utf8.ValidString(q.GetSecret()) {
		return Answer{}, nil // it can be nobody's: protocol buffers have no such text
	}
	for name, values := range cred.Header {
		h := &proto.HeaderValues{Name: name}
		for _, v := range values {
			h.Values = append(h.Values, wiretext.Valid(v))
		}
		q.Headers = append(q.Headers, h)
	}
	a, err := c.Ask(ctx, func(id uint64) *proto.AuthQuestion {
		return &proto.AuthQuestion{Id: id, Kind: &proto.AuthQuestion_Credential{Credential: q}}
	})
	if err != nil {
		return Answer{}, err
	}
	return answerFromWire(a)
}

// Key asks about a key that is being made or changed.
func (c *Client) Key(ctx context.Context, d *KeyDraft) (KeyVerdict, error) {
	a, err := c.Ask(ctx, func(id uint64) *proto.AuthQuestion {
		return &proto.AuthQuestion{Id: id, Kind: &proto.AuthQuestion_Key{Key: &proto.KeyDraft{
			Hook: hooks[d.Hook], Key: d.Key, Before: d.Before, Actor: d.Actor, DeadlineMs: session.Remaining(ctx),
		}}}
	})
	if err != nil {
		return KeyVerdict{}, err
	}
	if text := a.GetError(); text != "" {
		return KeyVerdict{}, fmt.Errorf("plugin: %s", wiretext.Line(text, maxText))
	}
	v := a.GetKey()
	if v == nil {
		return KeyVerdict{}, errors.New("plugin answers a key with something else")
	}
	if len(v.GetFill()) > maxFill {
		return KeyVerdict{}, fmt.Errorf("plugin fills in more than %d bytes", maxFill)
	}
	return KeyVerdict{Fill: v.GetFill(), Refused: wiretext.Line(v.GetRefused(), maxText)}, nil
}

func answerFromWire(a *proto.AuthAnswer) (Answer, error) {
	if text := a.GetError(); text != "" {
		return Answer{}, fmt.Errorf("plugin: %s", wiretext.Line(text, maxText))
	}
	out := Answer{CacheFor: time.Duration(a.GetCacheSeconds()) * time.Second}
	switch k := a.GetKind().(type) {
	case nil:
		return out, nil
	case *proto.AuthAnswer_Identity:
		i := k.Identity
		out.Identity = &Identity{
			KeyID: i.GetKeyId(), KeyHash: i.GetKeyHash(), UserID: i.GetUserId(), TeamID: i.GetTeamId(), ProjectID: i.GetProjectId(), CustomerID: i.GetCustomerId(),
			Models: i.GetModels(), RPM: i.GetRpm(), TPM: i.GetTpm(), Parallel: i.GetParallel(), Tags: i.GetTags(),
		}
		if at := i.GetExpiresUnix(); at != 0 {
			out.Identity.ExpiresAt = time.Unix(at, 0)
		}
		return out, out.Identity.check()
	case *proto.AuthAnswer_Refusal:
		r := k.Refusal
		out.Refusal = &Refusal{Status: int(r.GetStatus()), Code: code(r.GetCode()), Message: wiretext.Line(r.GetMessage(), maxText)}
		if out.Refusal.Status != http.StatusUnauthorized && out.Refusal.Status != http.StatusForbidden {
			return Answer{}, fmt.Errorf("plugin refuses with the status %d, which is neither 401 nor 403", out.Refusal.Status)
		}
		return out, nil
	}
	return Answer{}, errors.New("plugin answers a credential with something else")
}

// check refuses an identity that names nobody, or two.
func (i *Identity) check() error {
	by := 0
	for _, name := range []string{i.KeyID, i.KeyHash, i.UserID + i.TeamID + i.ProjectID + i.CustomerID} {
		if name != "" {
			by++
		}
	}
	switch {
	case by != 1:
		return errors.New("plugin names a key and somebody else at once, or nobody")
	case i.KeyID+i.KeyHash != "" && i.limited():
		return errors.New("plugin names a key and limits: the key has its own")
	case i.ProjectID != "" && i.TeamID == "":
		return errors.New("plugin names a project without its team")
	case i.RPM < 0 || i.TPM < 0 || i.Parallel < 0:
		return errors.New("plugin gives a limit below 0")
	case len(i.Models) > maxNames || len(i.Tags) > maxNames:
		return fmt.Errorf("plugin gives more than %d models or tags", maxNames)
	}
	return nil
}

// limited says whether the identity comes with limits.
func (i *Identity) limited() bool {
	return len(i.Models)+len(i.Tags) > 0 || i.RPM != 0 || i.TPM != 0 || i.Parallel != 0
}

// code is the code of an error: letters, digits, dots, dashes and underscores.
func code(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r == '.' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return -1
	}, s)
	return s[:min(len(s), maxCode)]
}

var _ KeyPlugin = (*Client)(nil)
