package guardrail_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/conclave-llm/conclave/plugins/contract"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/resource"
)

// impl is a Plugin made of functions.
type impl struct {
	fake
	description guardrail.Description
	refuse      error
}

func (p *impl) Configure(context.Context, guardrail.Settings) (guardrail.Description, error) {
	return p.description, p.refuse
}

// serve serves the plugin and returns a connection.
func serve(t testing.TB, p guardrail.Plugin) *grpc.ClientConn {
	t.Helper()
	ln := bufconn.Listen(1 << 20)
	srv := grpc.NewServer(grpc.MaxRecvMsgSize(guardrail.MaxMessage))
	guardrail.Register(srv, p)
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(srv.Stop)
	conn, err := grpc.NewClient("passthrough:test", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return ln.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// dial serves the plugin and returns a configured client.
func dial(t testing.TB, p guardrail.Plugin) *guardrail.Client {
	t.Helper()
	c := guardrail.NewClient(serve(t, p))
	t.Cleanup(c.Close)
	d, err := c.Configure(t.Context(), guardrail.Settings{Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := p.(*impl); ok {
		want := p.description
		want.SDKMinor = contract.Minor
		if diff := cmp.Diff(want, d); diff != "" {
			t.Fatalf("description (-want +got):\n%s", diff)
		}
	}
	return c
}

func TestSession_Check(t *testing.T) {
	t.Parallel()
	want := &guardrail.Check{
		Hook: resource.HookAfter, Info: guardrail.Info{RequestID: "r", Model: "m", KeyID: "k", Stream: true},
		Texts: []guardrail.Text{{Path: "p", Role: "user", Text: "é"}}, Body: []byte(`{}`),
	}
	p := &impl{
		description: guardrail.Description{Version: "7", Hooks: allHooks, HoldBack: 12, HoldAll: true, WantsBody: true},
		fake: fake{check: func(ctx context.Context, got *guardrail.Check) (guardrail.Verdict, error) {
			got.Info.Models = nil // is the session's own
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("check (-want +got):\n%s", diff)
			}
			if _, ok := ctx.Deadline(); !ok {
				t.Error("the plugin does not know the deadline")
			}
			return guardrail.Verdict{Action: guardrail.Rewrite, Replacements: []guardrail.Replacement{{Index: 0, Text: "x"}}}, nil
		}},
	}
	c := dial(t, p)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	v, err := c.Check(ctx, want)
	if err != nil || v.Action != guardrail.Rewrite || len(v.Replacements) != 1 || v.Replacements[0].Text != "x" {
		t.Errorf("got %+v, %v", v, err)
	}
	if c.Waiting() > 0 {
		t.Error("client is not idle after the verdict")
	}
}

func TestSession_Cancel(t *testing.T) {
	t.Parallel()
	asked, told := make(chan struct{}), make(chan struct{})
	c := dial(t, &impl{fake: fake{check: func(ctx context.Context, q *guardrail.Check) (guardrail.Verdict, error) {
		if len(q.Texts) > 0 && q.Texts[0].Text == "quick" {
			return guardrail.Verdict{}, nil
		}
		close(asked)
		<-ctx.Done()
		close(told)
		return guardrail.Verdict{}, ctx.Err()
	}}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := c.Check(ctx, &guardrail.Check{Hook: resource.HookBefore})
		done <- err
	}()
	<-asked
	if _, err := c.Check(t.Context(), &guardrail.Check{Hook: resource.HookBefore, Texts: []guardrail.Text{{Text: "quick"}}}); err != nil {
		t.Errorf("a slow check holds up a quick one: %v", err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the cancellation", err)
	}
	<-told
}

func TestSession_PluginGoes(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 10)
	block := make(chan struct{})
	defer close(block)
	c := dial(t, &impl{fake: fake{check: func(context.Context, *guardrail.Check) (guardrail.Verdict, error) {
		asked <- struct{}{}
		<-block
		return guardrail.Verdict{}, nil
	}}})
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, err := c.Check(t.Context(), &guardrail.Check{}); !errors.Is(err, guardrail.ErrNotRunning) {
				t.Errorf("got %v, want ErrNotRunning", err)
			}
		})
	}
	for range 10 {
		<-asked
	}
	c.Close()
	wg.Wait()
	if _, err := c.OpenStream(t.Context(), &guardrail.Info{}); !errors.Is(err, guardrail.ErrNotRunning) {
		t.Errorf("got %v, want ErrNotRunning", err)
	}
}

func TestSession_Streams(t *testing.T) {
	t.Parallel()
	c := dial(t, &impl{fake: fake{stream: func(context.Context, *guardrail.Info) (guardrail.Stream, error) {
		return &finder{word: "secret", seen: map[string]string{}}, nil
	}}})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			st, err := c.OpenStream(t.Context(), &guardrail.Info{})
			if err != nil {
				t.Error(err)
				return
			}
			defer st.Close()
			for text := range strings.SplitSeq("a sec ret b", " ") {
				if i%2 == 0 {
					text += " " // the word never comes together
				}
				v, err := st.Chunk(t.Context(), []guardrail.Part{{Channel: "c", Text: text}})
				if err != nil {
					t.Error(err)
					return
				}
				if v.Action == guardrail.Block {
					if i%2 == 0 {
						t.Error("blocked another stream's word")
					}
					return
				}
			}
			if i%2 == 1 {
				t.Error("the word was not found")
			}
			if v, err := st.End(t.Context()); err != nil || v.Action != guardrail.Pass {
				t.Errorf("end: got %+v, %v, want a pass", v, err)
			}
		})
	}
	wg.Wait()
}

func TestSession_NoStreams(t *testing.T) {
	t.Parallel()
	c := dial(t, onlyChecks{})
	st, err := c.OpenStream(t.Context(), &guardrail.Info{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if _, err := st.Chunk(t.Context(), nil); err == nil {
		t.Error("a plugin without streams passed a chunk")
	}
	if err := c.Ping(t.Context()); err != nil {
		t.Errorf("ping: %v", err)
	}
}

type onlyChecks struct{}

func (onlyChecks) Configure(context.Context, guardrail.Settings) (guardrail.Description, error) {
	return guardrail.Description{}, nil
}

func (onlyChecks) Check(context.Context, *guardrail.Check) (guardrail.Verdict, error) {
	return guardrail.Verdict{}, nil
}

func TestSession_TooLarge(t *testing.T) {
	t.Parallel()
	c := dial(t, onlyChecks{})
	huge := []guardrail.Text{{Text: strings.Repeat("x", guardrail.MaxMessage)}}
	if _, err := c.Check(t.Context(), &guardrail.Check{Texts: huge}); err == nil {
		t.Error("a check that does not fit was made")
	}
	if _, err := c.Check(t.Context(), &guardrail.Check{}); err != nil {
		t.Errorf("the session did not survive: %v", err)
	}
}
