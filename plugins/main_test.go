package plugins_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/conclave-llm/conclave/plugins"
	"github.com/conclave-llm/conclave/plugins/builtin"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/resource"
)

// TestMain lets the test binary be the binary that a host runs again: it serves the shipped
// plugins, one for tests, and a host that a test kills.
func TestMain(m *testing.M) {
	if len(os.Args) == 1 && os.Getenv(sdk.Handshake().MagicCookieKey) != "" { // as an external plugin
		sdk.ServeGuardrail(probe{})
		return
	}
	if len(os.Args) == 4 && os.Args[1] == "plugin" && os.Args[2] == "serve" {
		switch os.Args[3] {
		case "probe":
			sdk.ServeGuardrail(probe{})
			return
		case "authprobe":
			sdk.ServeAuth(authProbe{})
			return
		case "filterprobe":
			sdk.ServeRouterFilter(filterProbe{})
			return
		case "providerprobe":
			sdk.ServeProvider(providerProbe{})
			return
		case "bare":
			serveBare()
			return
		case "mute":
			serveMute()
			return
		case "unlicensed":
			fmt.Fprintln(os.Stderr, "there is no license")
			os.Exit(3)
		}
		if err := builtin.Serve(os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) == 3 && os.Args[1] == "host" {
		hostToKill(os.Args[2])
		return
	}
	os.Exit(m.Run())
}

// probe is a guardrail that does what the texts tell it to.
type probe struct{}

func (probe) Configure(_ context.Context, s sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	if string(s.Config) == `"refuse"` {
		return sdk.GuardrailDescription{}, errors.New("this configuration is refused")
	}
	return sdk.GuardrailDescription{
		Version: "test", Hooks: []resource.Hook{resource.HookBefore, resource.HookDuring, resource.HookAfter},
	}, nil
}

func (probe) Check(ctx context.Context, c *sdk.Check) (sdk.Verdict, error) {
	for _, t := range c.Texts {
		switch word, arg, _ := strings.Cut(t.Text, " "); word {
		case "hang":
			<-ctx.Done()
			time.Sleep(time.Hour) // a plugin that does not listen to its context
		case "wait":
			fmt.Fprintln(os.Stderr, "waiting")
			<-ctx.Done()
			return sdk.Verdict{}, ctx.Err()
		case "exit":
			os.Exit(7)
		case "panic":
			panic("told to")
		case "env":
			return sdk.Block(strings.Join(os.Environ(), "\n")), nil
		case "pid":
			return sdk.Block(fmt.Sprint(os.Getpid())), nil
		case "block":
			return sdk.Block(arg), nil
		case "grow":
			grown = make([]byte, 400<<20)
			for i := range grown {
				grown[i] = byte(i)
			}
		case "flood":
			return sdk.Block(strings.Repeat("x", 64<<20)), nil
		case "print":
			fmt.Fprintln(os.Stderr, arg)
		}
	}
	return sdk.Pass(), nil
}

func (probe) OpenStream(context.Context, *sdk.Info) (sdk.GuardrailStream, error) {
	return probeStream{}, nil
}

type probeStream struct{ probe }

func (p probeStream) Chunk(ctx context.Context, parts []sdk.Part) (sdk.Verdict, error) {
	c := &sdk.Check{}
	for _, part := range parts {
		c.Texts = append(c.Texts, sdk.Text{Text: part.Text})
	}
	return p.Check(ctx, c)
}

func (probeStream) End(context.Context) (sdk.Verdict, error) { return sdk.Pass(), nil }

func (probeStream) Close() {}

var grown []byte

// serveBare is a plugin as docs/plugins.md asks of other languages: a gRPC server and one line.
func serveBare() {
	path := filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "bare")
	ln, err := net.Listen("unix", path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	srv := grpc.NewServer()
	guardrail.Register(srv, probe{})
	fmt.Printf("1|1|unix|%s|grpc|\n", path)
	_ = srv.Serve(ln)
}

// newHost makes a host that is closed with the test.
func newHost(t testing.TB, cfg plugins.Config) *plugins.Host {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	h := plugins.NewHost(cfg)
	t.Cleanup(h.Close)
	return h
}

// guard is the spec of a guardrail.
func guard(name, plugin, config string) plugins.Spec {
	return plugins.Spec{
		Kind: plugins.KindGuardrail, ID: "gr_" + name, Name: name, Plugin: plugin, Config: []byte(config),
		OnError: resource.OnErrorBlock, Deadline: 5 * time.Second,
	}
}

// eventually waits for the condition: a minute at least, for a machine may be busy elsewhere.
func eventually(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	within = max(within, time.Minute)
	end := time.NewTimer(within)
	defer end.Stop()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-end.C:
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// syncReady runs the specs until their guardrails are up.
func syncReady(t testing.TB, h *plugins.Host, specs ...plugins.Spec) {
	t.Helper()
	if err := h.Sync(specs); err != nil {
		t.Fatalf("Sync: %v", err)
	}
	eventually(t, 10*time.Second, "guardrails are up", func() bool { return h.Ready() == nil })
}

// chat is a chat request with one text.
func chat(text string) *guardrail.Request {
	return &guardrail.Request{
		Info: guardrail.Info{Endpoint: "chat", Model: "demo"},
		Body: fmt.Appendf(nil, `{"model":"demo","messages":[{"role":"user","content":%q}]}`, text),
	}
}

func before(t testing.TB, h *plugins.Host, text string) *guardrail.Decision {
	t.Helper()
	set := h.Guardrails().For("demo", guardrail.Choice{})
	d, err := set.Before(context.Background(), chat(text))
	if err != nil {
		t.Fatalf("Before: %v", err)
	}
	return d
}
