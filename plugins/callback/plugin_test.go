package callback_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/callback"
)

type recorder struct {
	sink
	records []callback.Record
}

func (r *recorder) Deliver(ctx context.Context, rs []callback.Record) (int, error) {
	r.records = append(r.records, rs...)
	return r.sink.Deliver(ctx, rs)
}

func dial(t *testing.T, p callback.Plugin) *callback.Client {
	t.Helper()
	ln := bufconn.Listen(1 << 20)
	srv := grpc.NewServer()
	callback.Register(srv, p)
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(srv.Stop)
	conn, err := grpc.NewClient("passthrough:test", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return ln.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return callback.NewClient(conn)
}

func TestClient_Record(t *testing.T) {
	t.Parallel()
	want := callback.Record{
		Position: 7, RequestID: "r", NodeID: "n", StartedAt: time.Unix(1, 5).UTC(), Duration: 3, FirstToken: 2,
		Endpoint: "chat", Model: "m", DeploymentID: "d", Provider: "p", UpstreamModel: "u", KeyID: "k", TeamID: "t",
		UserID: "us", EndUser: "eu", Tags: []string{"a"}, Stream: true, Status: "blocked", HTTPStatus: 400,
		ErrorCode: "e", Attempts: 2, CostNanoUSD: 9, Priced: true,
		Usage:      llm.Usage{Input: 1, CacheRead: 2, CacheWrite: 3, Output: 4, Reasoning: 5, Source: llm.UsageEstimated},
		Guardrails: []callback.GuardrailResult{{Guardrail: "g", Hook: "before", Status: "not_run"}},

		OrganizationID: "o", ProjectID: "pr", CustomerID: "cu", SessionID: "s", KeyName: "kn", TeamName: "tn", Step: "budget", Message: "spent",
		APIBase: "https://x", Cached: true, Path: "/v1/chat/completions", OrganizationName: "on", ProjectName: "pn", AccessGroups: []string{"g"},
		KeyBudget: new(int64(5)), TeamBudget: new(int64(0)), Address: "192.0.2.1", UserEmail: "a@b.c", UserAgent: "curl/8", LogMetadata: []byte(`{"a":1}`),
		Books:  callback.Books{KeySpend: new(int64(1)), UserSpend: new(int64(0)), TeamSpend: new(int64(3)), UserBudget: new(int64(4)), KeyResets: time.Unix(9, 0).UTC()},
		Prompt: "support", PromptVersion: 4, Request: []byte("{}"), Response: []byte{0xff}, Truncated: true,
	}
	r := &recorder{}
	if n, err := dial(t, r).Deliver(t.Context(), []callback.Record{want}); n != 1 || err != nil {
		t.Fatalf("got %d, %v, want 1", n, err)
	}
	if diff := cmp.Diff([]callback.Record{want}, r.records); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
}

func TestClient_Deliver(t *testing.T) {
	t.Parallel()
	records := []callback.Record{{Position: 3, EndUser: "\xff"}, {Position: 8}, {Position: 9}}
	for _, tt := range []struct {
		name string
		take func(int) (int, error)
		want int
		fail bool
	}{
		{"all", nil, 3, false},
		{"some", func(int) (int, error) { return 2, nil }, 2, false}, // the rest may come at once
		{"none, and no error", func(int) (int, error) { return 0, nil }, 0, true},
		{"some and an error", func(int) (int, error) { return 1, errors.New("full") }, 1, true},
		{"none", func(int) (int, error) { return 0, errors.New("down") }, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n, err := dial(t, &sink{take: tt.take}).Deliver(t.Context(), records)
			if n != tt.want || (err != nil) != tt.fail {
				t.Errorf("got %d, %v, want %d", n, err, tt.want)
			}
			if tt.name == "some and an error" && !strings.Contains(fmt.Sprint(err), "full") {
				t.Errorf("got %v, which does not say why", err)
			}
			if tt.name == "none" && fmt.Sprint(err) != "deliver 3 records: down" {
				t.Errorf("got %v, want the sink's words alone", err)
			}
		})
	}
}

// What a plugin says of credentials that its sink does not accept is told apart from other errors.
func TestClient_Denied(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		said   error
		denied bool
	}{
		{fmt.Errorf("https://sink answered 401: %w", callback.ErrDenied), true},
		{errors.New("https://sink answered 503"), false},
	} {
		_, err := dial(t, &sink{take: func(int) (int, error) { return 0, tt.said }}).Deliver(t.Context(), []callback.Record{{Position: 3}})
		if errors.Is(err, callback.ErrDenied) != tt.denied || fmt.Sprint(err) != "deliver 1 records: "+tt.said.Error() {
			t.Errorf("%v: got %v", tt.said, err)
		}
	}
}

// A record that is refused for good is told with those that were delivered before it.
func TestClient_Refused(t *testing.T) {
	t.Parallel()
	records := []callback.Record{{Position: 3}, {Position: 8}, {Position: 9}}
	for _, taken := range []int{0, 1, 2} {
		n, err := dial(t, &sink{take: func(int) (int, error) { return taken, &callback.Refused{Reason: "odd"} }}).Deliver(t.Context(), records)
		if refused, ok := errors.AsType[*callback.Refused](err); n != taken || !ok || refused.Reason != "odd" {
			t.Errorf("got %d, %v, want %d and a refusal", n, err, taken)
		}
	}
}

// slow delivers one record after the other until its context ends.
type slow struct{ sink }

func (s *slow) Deliver(ctx context.Context, rs []callback.Record) (int, error) {
	for i := range rs {
		if i == 2 {
			<-ctx.Done()
			return i, ctx.Err()
		}
	}
	return len(rs), nil
}

// What was delivered when the time is over is told nevertheless, and is no failure.
func TestClient_Deadline(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	n, err := dial(t, &slow{}).Deliver(ctx, []callback.Record{{Position: 3}, {Position: 8}, {Position: 9}})
	if n != 2 || err != nil {
		t.Errorf("got %d, %v, want the two that were delivered in time", n, err)
	}
}
