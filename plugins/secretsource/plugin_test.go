package secretsource_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/conclave-llm/conclave/plugins/contract"
	"github.com/conclave-llm/conclave/plugins/secretsource"
	"github.com/conclave-llm/conclave/secret"
)

// source is a plugin whose Read is a function.
type source struct {
	settings secretsource.Settings
	read     func(ctx context.Context, at secretsource.Address) (secretsource.Value, error)
}

func (s *source) Configure(_ context.Context, set secretsource.Settings) (secretsource.Description, error) {
	s.settings = set
	if string(set.Config) == "bad" {
		return secretsource.Description{}, errors.New("address: is missing")
	}
	return secretsource.Description{Version: "2.0"}, nil
}

func (s *source) Read(ctx context.Context, at secretsource.Address) (secretsource.Value, error) {
	return s.read(ctx, at)
}

func dial(t *testing.T, impl secretsource.Plugin) *secretsource.Client {
	t.Helper()
	ln := bufconn.Listen(1 << 20)
	srv := grpc.NewServer()
	secretsource.Register(srv, impl)
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(ln) })
	conn, err := grpc.NewClient("passthrough:plugin", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return ln.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		srv.Stop()
		wg.Wait()
	})
	return secretsource.NewClient(conn)
}

func TestClient_Configure(t *testing.T) {
	t.Parallel()
	s := &source{}
	c := dial(t, s)
	d, err := c.Configure(t.Context(), secretsource.Settings{Name: "n", Config: []byte(`{}`), HostVersion: "v"})
	if err != nil || d.Version != "2.0" || d.SDKMinor != contract.Minor {
		t.Errorf("got %+v, %v", d, err)
	}
	if s.settings.Name != "n" || s.settings.HostMinor != contract.Minor || string(s.settings.Config) != "{}" || s.settings.HostVersion != "v" {
		t.Errorf("the plugin is told %+v", s.settings)
	}
	if _, err := c.Configure(t.Context(), secretsource.Settings{Config: []byte("bad")}); err == nil || !strings.Contains(err.Error(), "address: is missing") {
		t.Errorf("a bad configuration: %v", err)
	}
}

func TestClient_Read(t *testing.T) {
	t.Parallel()
	fail := func(r secretsource.Reason, text string) func(context.Context, secretsource.Address) (secretsource.Value, error) {
		return func(context.Context, secretsource.Address) (secretsource.Value, error) {
			return secretsource.Value{}, &secretsource.Error{Reason: r, Text: text}
		}
	}
	is := func(text string) func(context.Context, secretsource.Address) (secretsource.Value, error) {
		return func(_ context.Context, at secretsource.Address) (secretsource.Value, error) {
			return secretsource.Value{Text: secret.New(text + at.Path + at.Field), Version: "7"}, nil
		}
	}
	for _, tt := range []struct {
		name   string
		read   func(context.Context, secretsource.Address) (secretsource.Value, error)
		value  string
		reason secretsource.Reason
	}{
		{"a value", is("="), "=pf", ""},
		{"bytes that are no text", is("\xff\x00"), "\xff\x00pf", ""},
		{"too large", is(strings.Repeat("x", 1<<20)), "", secretsource.Malformed},
		{"larger than a message", is(strings.Repeat("x", 2<<20)), "", secretsource.Unavailable},
		{"empty", func(context.Context, secretsource.Address) (secretsource.Value, error) {
			return secretsource.Value{}, nil
		}, "", secretsource.NotFound},
		{"not there", fail(secretsource.NotFound, "x"), "", secretsource.NotFound},
		{"denied", fail(secretsource.Denied, "\xff"), "", secretsource.Denied},
		{"malformed", fail(secretsource.Malformed, strings.Repeat("ü", 1000)), "", secretsource.Malformed},
		{"unavailable", fail(secretsource.Unavailable, "x"), "", secretsource.Unavailable},
		{"a reason that there is not", fail("odd", "x"), "", secretsource.Unavailable},
		{"another error", func(context.Context, secretsource.Address) (secretsource.Value, error) {
			return secretsource.Value{}, errors.New("boom")
		}, "", secretsource.Unavailable},
		{"a panic", func(context.Context, secretsource.Address) (secretsource.Value, error) { panic("boom") }, "", secretsource.Unavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v, err := dial(t, &source{read: tt.read}).Read(t.Context(), secretsource.Address{Path: "p", Field: "f"})
			if v.Text.Reveal() != tt.value {
				t.Errorf("got %d bytes, want %d", len(v.Text.Reveal()), len(tt.value))
			}
			e, _ := errors.AsType[*secretsource.Error](err)
			if (e == nil) != (tt.reason == "") || e != nil && (e.Reason != tt.reason || len(e.Text) > 310) {
				t.Errorf("got %v, want %q", err, tt.reason)
			}
		})
	}
}

// A plugin that hangs holds no more than its share, and who waits is let go in time.
func TestClient_Hangs(t *testing.T) {
	t.Parallel()
	c := dial(t, &source{read: func(ctx context.Context, _ secretsource.Address) (secretsource.Value, error) {
		<-ctx.Done()
		return secretsource.Value{}, ctx.Err()
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			if _, err := c.Read(ctx, secretsource.Address{Path: "p"}); err == nil {
				t.Error("a plugin that hangs has answered")
			}
		})
	}
	all.Wait()
}

// shelf is a source that also writes.
type shelf struct {
	source
	mu   sync.Mutex
	kept map[string]string
}

func (s *shelf) Write(_ context.Context, w secretsource.Written) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch w.Path {
	case "denied":
		return "", &secretsource.Error{Reason: secretsource.Denied, Text: "no policy"}
	case "panics":
		panic("boom")
	}
	s.kept[w.Path] = w.Text.Reveal() + " " + w.Description
	return "8", nil
}

func (s *shelf) Delete(_ context.Context, path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept[path] == "" {
		return &secretsource.Error{Reason: secretsource.NotFound, Text: "nothing is there"}
	}
	delete(s.kept, path)
	return nil
}

func TestClient_Write(t *testing.T) {
	t.Parallel()
	s := &shelf{kept: map[string]string{}}
	c := dial(t, s)
	if _, err := c.Write(t.Context(), secretsource.Written{Path: "p", Text: secret.New("x")}); err == nil {
		t.Error("written before the plugin has said that it writes")
	}
	if d, err := c.Configure(t.Context(), secretsource.Settings{}); err != nil || !d.Writes {
		t.Fatalf("got %+v, %v", d, err)
	}
	if version, err := c.Write(t.Context(), secretsource.Written{Path: "p", Text: secret.New("x"), Description: "d"}); err != nil || version != "8" || s.kept["p"] != "x d" {
		t.Errorf("got version %q, %v, kept %v", version, err, s.kept)
	}
	if err := c.Delete(t.Context(), "p"); err != nil || len(s.kept) != 0 {
		t.Errorf("deleted: %v, kept %v", err, s.kept)
	}
	for what, want := range map[string]secretsource.Reason{"denied": secretsource.Denied, "panics": secretsource.Unavailable, "empty": secretsource.Malformed} {
		text := "x"
		if what == "empty" {
			text = ""
		}
		_, err := c.Write(t.Context(), secretsource.Written{Path: what, Text: secret.New(text)})
		if e, ok := errors.AsType[*secretsource.Error](err); !ok || e.Reason != want {
			t.Errorf("%s: %v, want %s", what, err, want)
		}
	}
	err := c.Delete(t.Context(), "p")
	if e, ok := errors.AsType[*secretsource.Error](err); !ok || e.Reason != secretsource.NotFound {
		t.Errorf("deleted twice: %v", err)
	}

	only := dial(t, &source{})
	if d, err := only.Configure(t.Context(), secretsource.Settings{}); err != nil || d.Writes {
		t.Fatalf("a plugin that only reads says %+v, %v", d, err)
	}
	_, err = only.Write(t.Context(), secretsource.Written{Path: "p", Text: secret.New("x")})
	if e, ok := errors.AsType[*secretsource.Error](err); !ok || e.Reason != secretsource.Denied {
		t.Errorf("a plugin that only reads: %v", err)
	}
}
