// Package plugintest is the conformance kit of plugins: an author calls Guardrail or Callback
// in a test of the plugin, and it is put through what a Conclave node will do with it, over
// real gRPC, without a node.
package plugintest

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/conclave-llm/conclave/plugins/callback"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/resource"
)

// patience is how long the kit waits for an answer.
const patience = 10 * time.Second

// GuardrailCase says what the guardrail under test should do.
type GuardrailCase struct {
	Config []byte   // that must be accepted
	Bad    [][]byte // configurations that must be refused
	Passes string   // a text that must pass
	Stops  string   // a text that must be blocked or rewritten; "": skip these checks
	Word   string   // a text that must not leave a stream, however it is cut; "": skip these checks
}

// Guardrail runs the checks of guardrails; make returns a fresh, unconfigured plugin.
func Guardrail(t *testing.T, make func() sdk.Guardrail, c GuardrailCase) {
	k := &guardrailKit{make: make, c: c}
	for _, check := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"describes itself", k.describes},
		{"describes itself the same each time", k.stable},
		{"refuses bad configurations", k.refuses},
		{"passes a harmless text", k.passes},
		{"passes a body without texts", k.empty},
		{"stops what it must", k.stops},
		{"finds it behind many texts", k.many},
		{"does not repeat what it blocks", k.discreet},
		{"rewrites only texts that are there", k.indexes},
		{"judges at the same time", k.concurrent},
		{"takes a text of a megabyte", k.large},
		{"takes strange texts", k.strange},
		{"heeds cancellation", k.cancelled},
		{"passes a harmless stream", k.streamPasses},
		{"stops a word that is cut anywhere", k.streamStops},
		{"keeps texts side by side apart", k.channels},
		{"keeps streams apart", k.streamsApart},
		{"lives through streams that are dropped", k.dropped},
	} {
		t.Run(check.name, check.run)
	}
}

// CallbackCase says how to see what the callback under test has delivered.
type CallbackCase struct {
	Config []byte               // that must be accepted
	Bad    [][]byte             // configurations that must be refused
	Count  func(testing.TB) int // records in the sink; nil: not counted
}

// Callback runs the checks of callbacks; make returns a fresh, unconfigured plugin.
func Callback(t *testing.T, make func() sdk.Callback, c CallbackCase) {
	k := &callbackKit{make: make, c: c}
	for _, check := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"refuses bad configurations", k.refuses},
		{"delivers what it says", k.delivers},
		{"takes a record twice", k.twice},
		{"takes strange records", k.strange},
		{"takes a large batch", k.large},
		{"goes on after a new start", k.restart},
	} {
		t.Run(check.name, check.run)
	}
}

type guardrailKit struct {
	make func() sdk.Guardrail
	c    GuardrailCase
}

// start serves a fresh plugin and configures it.
func (k *guardrailKit) start(t *testing.T) (*guardrail.Client, sdk.GuardrailDescription) {
	t.Helper()
	c := guardrail.NewClient(connect(t, func(s grpc.ServiceRegistrar) { guardrail.Register(s, k.make()) }))
	t.Cleanup(c.Close)
	d, err := c.Configure(short(t), sdk.GuardrailSettings{Name: "test", Config: k.c.Config})
	if err != nil {
		t.Fatalf("the configuration is refused: %v", err)
	}
	return c, d
}

func (k *guardrailKit) describes(t *testing.T) {
	_, d := k.start(t)
	if len(d.Hooks) == 0 {
		t.Error("no hooks: the plugin would never be asked")
	}
	if d.Version == "" {
		t.Error("no version")
	}
	if d.HoldBack > 1<<20 {
		t.Errorf("hold-back of %d bytes: say HoldAll", d.HoldBack)
	}
}

func (k *guardrailKit) stable(t *testing.T) {
	_, a := k.start(t)
	_, b := k.start(t)
	if a.HoldBack != b.HoldBack || a.HoldAll != b.HoldAll || len(a.Hooks) != len(b.Hooks) {
		t.Errorf("one configuration is described as %+v and as %+v", a, b)
	}
}

func (k *guardrailKit) refuses(t *testing.T) {
	for _, bad := range k.c.Bad {
		c := guardrail.NewClient(connect(t, func(s grpc.ServiceRegistrar) { guardrail.Register(s, k.make()) }))
		if _, err := c.Configure(short(t), sdk.GuardrailSettings{Name: "test", Config: bad}); err == nil {
			t.Errorf("%s is accepted", bad)
		}
		c.Close()
	}
}

// hooks are those of whole bodies that the plugin wants.
func hooks(d sdk.GuardrailDescription) []resource.Hook {
	var out []resource.Hook
	for _, h := range d.Hooks {
		if h != resource.HookDuring {
			out = append(out, h)
		}
	}
	return out
}

// ask checks the texts at each hook of whole bodies.
func (k *guardrailKit) ask(t *testing.T, want func(sdk.Verdict) bool, texts ...string) {
	t.Helper()
	c, d := k.start(t)
	for _, h := range hooks(d) {
		v, err := c.Check(short(t), check(h, texts...))
		if err != nil {
			t.Errorf("%s: %v", h, err)
		} else if !want(v) {
			t.Errorf("%s: got %v", h, v.Action)
		}
	}
}

func check(h resource.Hook, texts ...string) *sdk.Check {
	c := &sdk.Check{Hook: h, Info: sdk.Info{RequestID: "test", Endpoint: "chat", Model: "test"}, Body: []byte("{}")}
	for _, s := range texts {
		c.Texts = append(c.Texts, sdk.Text{Path: "messages.0.content", Role: "user", Text: s})
	}
	return c
}

func passed(v sdk.Verdict) bool  { return v.Action == guardrail.Pass }
func stopped(v sdk.Verdict) bool { return v.Action != guardrail.Pass }
func anything(sdk.Verdict) bool  { return true }

func (k *guardrailKit) passes(t *testing.T) { k.ask(t, passed, k.c.Passes) }
func (k *guardrailKit) empty(t *testing.T)  { k.ask(t, passed) }

func (k *guardrailKit) stops(t *testing.T) {
	needs(t, k.c.Stops)
	k.ask(t, stopped, k.c.Stops)
}

func (k *guardrailKit) many(t *testing.T) {
	needs(t, k.c.Stops)
	texts := make([]string, 1000)
	for i := range texts {
		texts[i] = k.c.Passes
	}
	k.ask(t, stopped, append(texts, k.c.Stops)...)
}

func (k *guardrailKit) discreet(t *testing.T) {
	needs(t, k.c.Stops)
	k.ask(t, func(v sdk.Verdict) bool {
		return v.Action != guardrail.Block || (v.Message != "" && !strings.Contains(v.Message, k.c.Stops))
	}, k.c.Stops)
}

func (k *guardrailKit) indexes(t *testing.T) {
	needs(t, k.c.Stops)
	k.ask(t, func(v sdk.Verdict) bool {
		for _, r := range v.Replacements {
			if r.Index < 0 || r.Index > 1 {
				return false
			}
		}
		return true
	}, k.c.Passes, k.c.Stops)
}

func (k *guardrailKit) concurrent(t *testing.T) {
	c, d := k.start(t)
	var wg sync.WaitGroup
	for _, h := range hooks(d) {
		for i := range 50 {
			text, want := k.c.Passes, passed
			if i%2 == 0 && k.c.Stops != "" {
				text, want = k.c.Stops, stopped
			}
			wg.Go(func() {
				if v, err := c.Check(short(t), check(h, text)); err != nil || !want(v) {
					t.Errorf("got %v, %v", v.Action, err)
				}
			})
		}
	}
	wg.Wait()
}

func (k *guardrailKit) large(t *testing.T) {
	k.ask(t, anything, strings.Repeat(k.c.Passes+" ", 1+(1<<20)/(len(k.c.Passes)+1)))
}

func (k *guardrailKit) strange(t *testing.T) {
	k.ask(t, anything, "", "\x00", "\uFFFD", "\u202e\u0301", strings.Repeat("\U0001F468\u200D", 1000))
}

func (k *guardrailKit) cancelled(t *testing.T) {
	c, d := k.start(t)
	ctx, cancel := context.WithCancel(short(t))
	cancel()
	for _, h := range hooks(d) {
		_, _ = c.Check(ctx, check(h, k.c.Passes)) // may or may not be answered
		if v, err := c.Check(short(t), check(h, k.c.Passes)); err != nil || !passed(v) {
			t.Errorf("after a cancelled check: got %v, %v", v.Action, err)
		}
	}
}

// streamer skips the test for a plugin that does not check streams.
func (k *guardrailKit) streamer(t *testing.T) (*guardrail.Client, sdk.GuardrailDescription) {
	t.Helper()
	c, d := k.start(t)
	if !slices.Contains(d.Hooks, resource.HookDuring) {
		t.Skip("the plugin does not check streams")
	}
	return c, d
}

// feed sends the chunks on one channel and says whether they, or the end, were stopped.
func feed(t *testing.T, c *guardrail.Client, parts ...sdk.Part) bool {
	t.Helper()
	st, err := c.OpenStream(short(t), &sdk.Info{Stream: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for _, p := range parts {
		v, err := st.Chunk(short(t), []sdk.Part{p})
		if err != nil {
			t.Fatal(err)
		}
		if stopped(v) {
			return true
		}
	}
	v, err := st.End(short(t))
	if err != nil {
		t.Fatal(err)
	}
	return stopped(v)
}

func on(channel string, texts ...string) []sdk.Part {
	var parts []sdk.Part
	for _, s := range texts {
		parts = append(parts, sdk.Part{Channel: channel, Text: s})
	}
	return parts
}

func (k *guardrailKit) streamPasses(t *testing.T) {
	c, _ := k.streamer(t)
	if feed(t, c, on("a", strings.SplitAfter(k.c.Passes, " ")...)...) {
		t.Error("a harmless stream is stopped")
	}
}

func (k *guardrailKit) streamStops(t *testing.T) {
	needs(t, k.c.Word)
	c, d := k.streamer(t)
	if !d.HoldAll && d.HoldBack < len(k.c.Word)-1 {
		t.Errorf("hold-back of %d bytes: the start of a word of %d would leave", d.HoldBack, len(k.c.Word))
	}
	for i := range k.c.Word {
		if !feed(t, c, on("a", k.c.Passes+" "+k.c.Word[:i], k.c.Word[i:]+" "+k.c.Passes)...) {
			t.Errorf("cut at %d it is not stopped", i)
		}
	}
	var letters []string
	for _, r := range k.c.Word {
		letters = append(letters, string(r))
	}
	if !feed(t, c, on("a", letters...)...) {
		t.Error("letter by letter it is not stopped")
	}
}

func (k *guardrailKit) channels(t *testing.T) {
	needs(t, k.c.Word)
	c, _ := k.streamer(t)
	half := len(k.c.Word) / 2
	parts := append(on("a", k.c.Word[:half]), on("b", " and ")...)
	if !feed(t, c, append(parts, on("a", k.c.Word[half:])...)...) {
		t.Error("a word is not stopped when another text comes between")
	}
}

func (k *guardrailKit) streamsApart(t *testing.T) {
	c, _ := k.streamer(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if feed(t, c, on("a", k.c.Passes)...) {
				t.Error("a harmless stream is stopped")
			}
		})
	}
	wg.Wait()
}

func (k *guardrailKit) dropped(t *testing.T) {
	c, _ := k.streamer(t)
	for range 100 {
		st, err := c.OpenStream(short(t), &sdk.Info{Stream: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Chunk(short(t), on("a", k.c.Passes)); err != nil {
			t.Fatal(err)
		}
		st.Close()
	}
	if feed(t, c, on("a", k.c.Passes)...) {
		t.Error("a harmless stream is stopped")
	}
}

type callbackKit struct {
	make func() sdk.Callback
	c    CallbackCase
	next uint64
}

func (k *callbackKit) start(t *testing.T) *callback.Client {
	t.Helper()
	c := callback.NewClient(connect(t, func(s grpc.ServiceRegistrar) { callback.Register(s, k.make()) }))
	if _, err := c.Configure(short(t), sdk.CallbackSettings{Name: "test", Config: k.c.Config}); err != nil {
		t.Fatalf("the configuration is refused: %v", err)
	}
	return c
}

func (k *callbackKit) records(n int) []sdk.Record {
	rs := make([]sdk.Record, n)
	for i := range rs {
		k.next++
		rs[i] = sdk.Record{
			Position: k.next, RequestID: "test", NodeID: "test", StartedAt: time.Unix(1_700_000_000, 0),
			Endpoint: "chat", Model: "test", Status: "success", HTTPStatus: 200,
		}
	}
	return rs
}

// deliver brings the records and sees that at least as many are in the sink afterwards.
func (k *callbackKit) deliver(t *testing.T, c *callback.Client, rs []sdk.Record) {
	t.Helper()
	before := 0
	if k.c.Count != nil {
		before = k.c.Count(t)
	}
	n, err := c.Deliver(short(t), rs)
	if err != nil || n != len(rs) {
		t.Fatalf("delivered %d of %d, %v", n, len(rs), err)
	}
	if k.c.Count != nil {
		if got := k.c.Count(t) - before; got < len(rs) {
			t.Errorf("the plugin says that %d records are safe, the sink has %d", len(rs), got)
		}
	}
}

func (k *callbackKit) refuses(t *testing.T) {
	for _, bad := range k.c.Bad {
		c := callback.NewClient(connect(t, func(s grpc.ServiceRegistrar) { callback.Register(s, k.make()) }))
		if _, err := c.Configure(short(t), sdk.CallbackSettings{Name: "test", Config: bad}); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

func (k *callbackKit) delivers(t *testing.T) {
	c := k.start(t)
	for _, n := range []int{1, 10} {
		k.deliver(t, c, k.records(n))
	}
}

func (k *callbackKit) twice(t *testing.T) {
	c, rs := k.start(t), k.records(3)
	k.deliver(t, c, rs)
	if n, err := c.Deliver(short(t), rs); n != len(rs) || err != nil {
		t.Errorf("delivered %d of %d again, %v", n, len(rs), err)
	}
}

func (k *callbackKit) strange(t *testing.T) {
	rs := k.records(2)
	rs[0] = sdk.Record{Position: rs[0].Position}
	rs[1].EndUser, rs[1].Tags, rs[1].Status = "\x00\xff\n\"", []string{"", strings.Repeat("x", 1<<16)}, "failure"
	k.deliver(t, k.start(t), rs)
}

func (k *callbackKit) large(t *testing.T) { k.deliver(t, k.start(t), k.records(5000)) }

func (k *callbackKit) restart(t *testing.T) {
	k.deliver(t, k.start(t), k.records(2))
	k.deliver(t, k.start(t), k.records(2))
}

// connect serves on a connection in memory.
func connect(t *testing.T, register func(grpc.ServiceRegistrar)) *grpc.ClientConn {
	t.Helper()
	ln := bufconn.Listen(1 << 20)
	srv := grpc.NewServer(grpc.MaxRecvMsgSize(guardrail.MaxMessage), grpc.MaxSendMsgSize(guardrail.MaxAnswer))
	register(srv)
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
	return conn
}

func short(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func needs(t *testing.T, given string) {
	t.Helper()
	if given == "" {
		t.Skip("the case names no such text")
	}
}
