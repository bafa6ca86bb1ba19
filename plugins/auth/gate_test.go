package auth_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/conclave-llm/conclave/plugins/auth"
	"github.com/conclave-llm/conclave/plugins/contract"
	"github.com/conclave-llm/conclave/resource"
)

// fake is a plugin of functions.
type fake struct {
	describe     auth.Description
	authenticate func(ctx context.Context, c *auth.Credential) (auth.Answer, error)
	key          func(ctx context.Context, d *auth.KeyDraft) (auth.KeyVerdict, error)
}

func (f *fake) Configure(_ context.Context, s auth.Settings) (auth.Description, error) {
	if string(s.Config) == "bad" {
		return auth.Description{}, errors.New("issuer: is missing")
	}
	return f.describe, nil
}

func (f *fake) Authenticate(ctx context.Context, c *auth.Credential) (auth.Answer, error) {
	return f.authenticate(ctx, c)
}

func (f *fake) Key(ctx context.Context, d *auth.KeyDraft) (auth.KeyVerdict, error) {
	return f.key(ctx, d)
}

func dial(t *testing.T, impl auth.Plugin) *auth.Client {
	t.Helper()
	ln := bufconn.Listen(1 << 20)
	srv := grpc.NewServer()
	auth.Register(srv, impl)
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(ln) })
	conn, err := grpc.NewClient("passthrough:plugin", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return ln.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	c := auth.NewClient(conn)
	t.Cleanup(func() {
		c.Close()
		_ = conn.Close()
		srv.Stop()
		wg.Wait()
	})
	return c
}

// clock is a time that a test moves.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(1_800_000_000, c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

// gate makes a gate behind which the plugin runs.
func gate(t *testing.T, f *fake, wants ...string) (*auth.Gate, *resource.Auth, *clock) {
	t.Helper()
	f.describe = auth.Description{Version: "1", Hooks: []auth.Hook{auth.HookCredential}, Wants: wants}
	at := &clock{}
	g := auth.NewGate(auth.GateConfig{Now: at.now})
	c := dial(t, f)
	d, err := c.Configure(t.Context(), auth.Settings{Name: "idp"})
	if err != nil || d.SDKMinor != contract.Minor {
		t.Fatalf("configure: %+v, %v", d, err)
	}
	g.Set("idp", 0, c, d)
	a := &resource.Auth{Meta: resource.Meta{ID: "auth_1", Version: 1}, Name: "idp", Headers: []string{"X-User"}, CacheSeconds: 60}
	a.DeadlineMS = 5000
	return g, a, at
}

func TestGate_Ask_keeps(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	lasts := 30 * time.Second
	f := &fake{authenticate: func(_ context.Context, c *auth.Credential) (auth.Answer, error) {
		asked.Add(1)
		if c.Method != "" || c.Address != "" || c.Path == "" || len(c.Header["X-Secret"]) > 0 {
			t.Errorf("the plugin is told more than it wants: %+v", c)
		}
		i := &auth.Identity{UserID: c.Secret.Reveal()}
		if c.Secret.Reveal() == "soon" {
			i.ExpiresAt = time.Unix(1_800_000_010, 0)
		}
		return auth.Answer{Identity: i, CacheFor: lasts}, nil
	}}
	g, a, at := gate(t, f, auth.WantPath)
	ask := func(a *resource.Auth, r auth.Request) {
		t.Helper()
		if r.Header == nil {
			r.Header = http.Header{"X-Secret": {"s"}}
		}
		if got, err := g.Ask(t.Context(), a, &r); err != nil || got.Identity == nil || got.Identity.UserID != r.Secret {
			t.Fatalf("%+v: got %+v, %v", r, got.Identity, err)
		}
	}
	count := func(what string, want int64) {
		t.Helper()
		if got := asked.Swap(0); got != want {
			t.Errorf("%s: asked %d times, want %d", what, got, want)
		}
	}
	base := auth.Request{Secret: "u", Path: "/a", Method: "GET", Address: "10.0.0.1"}
	ask(a, base)
	ask(a, base)
	other := base
	other.Method, other.Address = "POST", "10.0.0.2"
	ask(a, other) // what the plugin does not want makes no difference
	count("the same", 1)
	for _, change := range []func(*auth.Request){
		func(r *auth.Request) { r.Secret = "v" },
		func(r *auth.Request) { r.Path = "/b" },
		func(r *auth.Request) { r.Header = http.Header{"X-User": {"x"}} },
		func(r *auth.Request) { r.Header = http.Header{"X-User": {"x", "y"}} },
		func(r *auth.Request) { r.Header = http.Header{"X-User": {"xy"}} },
	} {
		r := base
		change(&r)
		ask(a, r)
		ask(a, r)
	}
	count("what it depends on", 5)
	edited := *a
	edited.Version = 2
	ask(&edited, base)
	count("another version of the record", 1)
	at.advance(29 * time.Second)
	ask(a, base)
	count("within its time", 0)
	at.advance(time.Second)
	ask(a, base)
	count("after its time", 1)
	lasts = time.Hour
	ask(a, auth.Request{Secret: "long", Path: "/"})
	at.advance(time.Minute)
	ask(a, auth.Request{Secret: "long", Path: "/"})
	count("no longer than the record says", 2)
	none := *a
	none.CacheSeconds = -1
	ask(&none, auth.Request{Secret: "never", Path: "/"})
	ask(&none, auth.Request{Secret: "never", Path: "/"})
	count("none is kept", 2)
}

func TestGate_Ask_expiry(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	f := &fake{authenticate: func(context.Context, *auth.Credential) (auth.Answer, error) {
		asked.Add(1)
		return auth.Answer{Identity: &auth.Identity{UserID: "u", ExpiresAt: time.Unix(1_800_000_010, 0)}, CacheFor: time.Minute}, nil
	}}
	g, a, at := gate(t, f)
	for _, step := range []time.Duration{0, 9 * time.Second, time.Second} {
		at.advance(step)
		if _, err := g.Ask(t.Context(), a, &auth.Request{Secret: "u"}); err != nil {
			t.Fatal(err)
		}
	}
	if asked.Load() != 2 {
		t.Errorf("asked %d times, want 2: an identity is not kept beyond its end", asked.Load())
	}
}

// A thousand requests with one new credential are one question, and the one that leaves does not end it.
func TestGate_Ask_once(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	began, goOn := make(chan struct{}), make(chan struct{})
	f := &fake{authenticate: func(context.Context, *auth.Credential) (auth.Answer, error) {
		if asked.Add(1) == 1 {
			close(began)
		}
		<-goOn
		return auth.Answer{Identity: &auth.Identity{UserID: "u"}, CacheFor: time.Minute}, nil
	}}
	g, a, _ := gate(t, f)
	first, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := g.Ask(first, a, &auth.Request{Secret: "u"})
		left <- err
	}()
	<-began
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("who leaves gets %v", err)
	}
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			if _, err := g.Ask(t.Context(), a, &auth.Request{Secret: "u"}); err != nil {
				t.Error(err)
			}
		})
	}
	close(goOn)
	wg.Wait()
	if asked.Load() != 1 {
		t.Errorf("asked %d times, want once", asked.Load())
	}
}

func TestGate_Ask_room(t *testing.T) {
	t.Parallel()
	f := &fake{authenticate: func(context.Context, *auth.Credential) (auth.Answer, error) {
		return auth.Answer{Refusal: &auth.Refusal{Status: 401}, CacheFor: time.Minute}, nil
	}}
	g, a, _ := gate(t, f)
	const many = 21_000 // more than are kept
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range many / 8 {
				if got, err := g.Ask(t.Context(), a, &auth.Request{Secret: strings.Repeat("x", w+1) + time.Duration(i).String()}); err != nil || got.Refusal == nil {
					t.Errorf("got %+v, %v", got, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestGate_Ask_deadline(t *testing.T) {
	t.Parallel()
	goOn := make(chan struct{})
	f := &fake{authenticate: func(context.Context, *auth.Credential) (auth.Answer, error) {
		<-goOn
		return auth.Answer{Identity: &auth.Identity{UserID: "late"}}, nil
	}}
	g, a, _ := gate(t, f)
	defer close(goOn)
	a.DeadlineMS = 20
	if got, err := g.Ask(t.Context(), a, &auth.Request{Secret: "u"}); err == nil || !strings.Contains(err.Error(), "20 ms") {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestGate_Ask_undeclared(t *testing.T) {
	t.Parallel()
	f := &fake{}
	g, a, _ := gate(t, f)
	g.Set("idp", 0, dial(t, f), auth.Description{Hooks: []auth.Hook{auth.HookGenerateKey}})
	if got, err := g.Ask(t.Context(), a, &auth.Request{Secret: "u"}); err != nil || got != (auth.Answer{}) {
		t.Errorf("a plugin that does not want credentials: %+v, %v", got, err)
	}
}

func TestClient_Configure(t *testing.T) {
	t.Parallel()
	if _, err := dial(t, &fake{}).Configure(t.Context(), auth.Settings{Config: []byte("bad")}); err == nil || !strings.Contains(err.Error(), "issuer: is missing") {
		t.Errorf("got %v", err)
	}
	if _, err := dial(t, &fake{describe: auth.Description{Wants: []string{"body"}}}).Configure(t.Context(), auth.Settings{}); err == nil {
		t.Error("a plugin that wants what nobody gives is taken")
	}
}
