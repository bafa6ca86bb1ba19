package plugintest

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/conclave-llm/conclave/plugins/auth"
	wire "github.com/conclave-llm/conclave/plugins/proto"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// AuthCase says what the auth plugin under test should do.
type AuthCase struct {
	Config []byte         // that must be accepted
	Bad    [][]byte       // configurations that must be refused
	Good   sdk.Credential // that must give an identity
	Names  string         // the id or hash that the identity must name
	Wrong  sdk.Credential // that must give none
	// Key is a key, as JSON, with which the plugin must find nothing wrong, and Refused one that it must
	// refuse; nil: skip what is about keys.
	Key, Refused []byte
}

// Auth runs the checks of auth plugins; make returns a fresh, unconfigured plugin.
func Auth(t *testing.T, make func() sdk.Auth, c AuthCase) {
	k := &authKit{c: c, from: inMemory{auth: make}}
	run(t, k.checks())
}

// AuthProgram runs the checks of auth plugins and of processes on a program.
func AuthProgram(t *testing.T, p Program, c AuthCase) {
	from := &launched{Program: p, kind: auth.PluginKey}
	k := &authKit{c: c, from: from}
	run(t, k.checks())
	run(t, from.checks())
	run(t, k.talk().processChecks(from))
	run(t, []check{{"does not write credentials", func(t *testing.T) { k.silent(t, from) }}})
}

type authKit struct {
	c    AuthCase
	from source
}

func (k *authKit) checks() []check {
	return append([]check{
		{"describes itself", k.describes},
		{"describes itself the same each time", k.stable},
		{"refuses bad configurations", k.refuses},
		{"names who it should", func(t *testing.T) { k.good(t, k.start(t)) }},
		{"does not let a wrong credential in", func(t *testing.T) { k.stranger(t, k.start(t), &k.c.Wrong) }},
		{"does not let an empty credential in", func(t *testing.T) { k.stranger(t, k.start(t), &sdk.Credential{}) }},
		{"does not let changed credentials in", k.changed},
		{"lives through strange credentials", k.strange},
		{"does not repeat what it refuses", k.discreet},
		{"answers the same each time", k.steady},
		{"answers at the same time", k.concurrent},
		{"heeds cancellation", k.cancelled},
		{"goes on after a new start", k.restart},
		{"lets a good key be", k.key},
		{"refuses a key that it must", k.refusedKey},
		{"fills in an object", k.fills},
		{"lives through strange keys", k.strangeKeys},
	}, k.talk().checks()...)
}

// start serves a fresh plugin and configures it.
func (k *authKit) start(t *testing.T) *auth.Client {
	c, _ := k.configured(t)
	return c
}

func (k *authKit) configured(t *testing.T) (*auth.Client, sdk.AuthDescription) {
	t.Helper()
	c := auth.NewClient(k.from.connect(t))
	t.Cleanup(c.Close)
	d, err := c.Configure(short(t), sdk.AuthSettings{Name: "test", Config: k.c.Config})
	if err != nil {
		t.Fatalf("the configuration is refused: %v", err)
	}
	return c, d
}

func (k *authKit) describes(t *testing.T) {
	_, d := k.configured(t)
	if d.Version == "" || len(d.Hooks) == 0 {
		t.Errorf("version %q, hooks %v: without any the plugin would never be asked", d.Version, d.Hooks)
	}
}

func (k *authKit) stable(t *testing.T) {
	_, a := k.configured(t)
	_, b := k.configured(t)
	if !slices.Equal(a.Hooks, b.Hooks) || !slices.Equal(a.Wants, b.Wants) {
		t.Errorf("one configuration is described as %+v and as %+v", a, b)
	}
}

func (k *authKit) refuses(t *testing.T) {
	for _, bad := range k.c.Bad {
		c := auth.NewClient(k.from.connect(t))
		if _, err := c.Configure(short(t), sdk.AuthSettings{Name: "test", Config: bad}); err == nil {
			t.Errorf("%s is accepted", bad)
		}
		c.Close()
	}
}

func (k *authKit) good(t *testing.T, c *auth.Client) {
	t.Helper()
	a, err := c.Authenticate(short(t), &k.c.Good)
	if err != nil || a.Identity == nil {
		t.Errorf("got %+v, %v, want an identity", a, err)
		return
	}
	i := a.Identity
	if !slices.Contains([]string{i.KeyID, i.KeyHash, i.UserID, i.TeamID, i.CustomerID}, k.c.Names) {
		t.Errorf("it names %+v, want %s", i, k.c.Names)
	}
	if !i.ExpiresAt.IsZero() && !i.ExpiresAt.After(time.Now()) {
		t.Errorf("the identity has expired: %v", i.ExpiresAt)
	}
}

// stranger sees that nobody is let in; an error lets nobody in either.
func (k *authKit) stranger(t *testing.T, c *auth.Client, cred *sdk.Credential) {
	t.Helper()
	if a, err := c.Authenticate(short(t), cred); err == nil && a.Identity != nil {
		t.Errorf("a credential of %d bytes is let in as %+v", len(cred.Secret.Reveal()), a.Identity)
	}
}

func (k *authKit) changed(t *testing.T) {
	c, secret := k.start(t), k.c.Good.Secret.Reveal()
	needs(t, secret)
	for _, other := range []string{secret + "x", "x" + secret, secret + secret, secret[:len(secret)-1], secret[1:], secret + "\x00"} {
		cred := k.c.Good
		cred.Secret = sdk.NewSecret(other)
		k.stranger(t, c, &cred)
	}
}

func (k *authKit) strange(t *testing.T) {
	c := k.start(t)
	for _, s := range []string{" ", "\x00", "\u202e", "Bearer", "null", "{}", "../../etc/passwd", "' OR 1=1 --", strings.Repeat("a", 1<<20), strings.Repeat(".", 1<<12)} {
		k.stranger(t, c, &sdk.Credential{Secret: sdk.NewSecret(s), Header: map[string][]string{"X-Strange": {s[:min(len(s), 100)], ""}}})
	}
	k.good(t, c)
}

func (k *authKit) discreet(t *testing.T) {
	secret := k.c.Wrong.Secret.Reveal()
	needs(t, secret)
	a, err := k.start(t).Authenticate(short(t), &k.c.Wrong)
	if err != nil && strings.Contains(err.Error(), secret) || a.Refusal != nil && strings.Contains(a.Refusal.Message+a.Refusal.Code, secret) {
		t.Error("what it says of a credential holds the credential")
	}
}

func (k *authKit) steady(t *testing.T) {
	c := k.start(t)
	for range 10 {
		k.good(t, c)
		k.stranger(t, c, &k.c.Wrong)
	}
}

func (k *authKit) concurrent(t *testing.T) {
	c := k.start(t)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { k.good(t, c) })
		wg.Go(func() { k.stranger(t, c, &k.c.Wrong) })
	}
	wg.Wait()
}

func (k *authKit) cancelled(t *testing.T) {
	c := k.start(t)
	ctx, cancel := context.WithCancel(short(t))
	cancel()
	_, _ = c.Authenticate(ctx, &k.c.Good) // may or may not be answered
	k.good(t, c)
}

func (k *authKit) restart(t *testing.T) {
	k.good(t, k.start(t))
	k.good(t, k.start(t))
}

// keyHooks skips the check of a plugin that is not asked about keys.
func (k *authKit) keyHooks(t *testing.T) (*auth.Client, []sdk.AuthHook) {
	t.Helper()
	needs(t, string(k.c.Key))
	c, d := k.configured(t)
	hooks := slices.DeleteFunc(slices.Clone(d.Hooks), func(h sdk.AuthHook) bool { return h == sdk.AuthCredential })
	if len(hooks) == 0 {
		t.Error("the case names keys, and the plugin does not want to be asked about them")
	}
	return c, hooks
}

func (k *authKit) key(t *testing.T) {
	c, hooks := k.keyHooks(t)
	for _, h := range hooks {
		if v, err := c.Key(short(t), &sdk.KeyDraft{Hook: h, Key: k.c.Key, Actor: "master"}); err != nil || v.Refused != "" {
			t.Errorf("%s: refused %q, %v", h, v.Refused, err)
		}
	}
}

func (k *authKit) refusedKey(t *testing.T) {
	c, hooks := k.keyHooks(t)
	needs(t, string(k.c.Refused))
	refused := false
	for _, h := range hooks {
		v, err := c.Key(short(t), &sdk.KeyDraft{Hook: h, Key: k.c.Refused, Actor: "master"})
		refused = refused || err == nil && v.Refused != ""
	}
	if !refused {
		t.Error("the key is let be")
	}
}

func (k *authKit) fills(t *testing.T) {
	c, hooks := k.keyHooks(t)
	for _, h := range hooks {
		v, err := c.Key(short(t), &sdk.KeyDraft{Hook: h, Key: k.c.Key, Actor: "key/key_1"})
		var fields map[string]json.RawMessage
		if err != nil || len(v.Fill) > 0 && json.Unmarshal(v.Fill, &fields) != nil {
			t.Errorf("%s: it fills in %q, which is no object, %v", h, v.Fill, err)
		}
	}
}

func (k *authKit) strangeKeys(t *testing.T) {
	c, hooks := k.keyHooks(t)
	for _, h := range hooks {
		for _, key := range []string{"", "{}", "null", "[1]", `{"name":"` + strings.Repeat("x", 1<<16) + `"}`} {
			_, _ = c.Key(short(t), &sdk.KeyDraft{Hook: h, Key: []byte(key)}) // may be refused, and may be an error
		}
	}
	k.good(t, c)
}

// silent looks into what the process writes for the credentials.
func (k *authKit) silent(t *testing.T, from *launched) {
	c := k.start(t)
	k.good(t, c)
	k.stranger(t, c, &k.c.Wrong)
	c.Close()
	from.last.client.Kill() // what it has written has arrived
	for _, cred := range []sdk.Credential{k.c.Good, k.c.Wrong} {
		if s := cred.Secret.Reveal(); s != "" && strings.Contains(from.last.said.String(), s) {
			t.Error("it writes a credential to its log, which the node keeps")
		}
	}
}

// talk is the plugin as a host of any minor speaks to it.
func (k *authKit) talk() *talk[wire.AuthQuestion, wire.AuthAnswer] {
	cred := &wire.Credential{Secret: k.c.Good.Secret.Reveal(), Method: k.c.Good.Method, Path: k.c.Good.Path, Address: k.c.Good.Address}
	for name, values := range k.c.Good.Header {
		cred.Headers = append(cred.Headers, &wire.HeaderValues{Name: name, Values: values})
	}
	return &talk[wire.AuthQuestion, wire.AuthAnswer]{
		open: func(t *testing.T, minor uint32, newer bool) (grpc.BidiStreamingClient[wire.AuthQuestion, wire.AuthAnswer], uint32) {
			t.Helper()
			rpc := wire.NewAuthClient(k.from.connect(t))
			c := &wire.ConfigureAuth{Name: "test", Config: k.c.Config, HostMinor: minor}
			if newer {
				c.ProtoReflect().SetUnknown(unknownField)
			}
			d, err := rpc.Configure(short(t), c)
			if err != nil {
				t.Fatalf("the configuration is refused: %v", err)
			}
			s, err := rpc.Session(short(t))
			if err != nil {
				t.Fatal(err)
			}
			return s, d.GetSdkMinor()
		},
		question: func(id uint64) *wire.AuthQuestion {
			return &wire.AuthQuestion{Id: id, Kind: &wire.AuthQuestion_Credential{Credential: proto.CloneOf(cred)}}
		},
		ping: func(id uint64) *wire.AuthQuestion {
			return &wire.AuthQuestion{Id: id, Kind: &wire.AuthQuestion_Ping{Ping: true}}
		},
		cancel: func(id uint64) *wire.AuthQuestion {
			return &wire.AuthQuestion{Id: id, Kind: &wire.AuthQuestion_Cancel{Cancel: true}}
		},
		unknown: func(id uint64) *wire.AuthQuestion { return &wire.AuthQuestion{Id: id} },
		message: func(q *wire.AuthQuestion) proto.Message { return q },
		answer:  func(a *wire.AuthAnswer) (uint64, string) { return a.GetId(), a.GetError() },
	}
}
