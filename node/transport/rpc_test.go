package transport_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/node/transport"
	"github.com/conclave-llm/conclave/resource"
)

// rpcPair makes two nodes that can call each other.
func rpcPair(t testing.TB) (a, b *transport.RPC, tb *transport.Transport) {
	t.Helper()
	c := newCluster(t)
	ta, tb := c.open(t, "a"), c.open(t, "b")
	resolve := func(id string) (string, bool) {
		addr, ok := map[string]string{"a": ta.Addr(), "b": tb.Addr(), "c": "127.0.0.1:1"}[id]
		return addr, ok
	}
	a, b = transport.NewRPC(ta, resolve, nil), transport.NewRPC(tb, resolve, nil)
	for _, r := range []*transport.RPC{a, b} {
		r.Start()
		t.Cleanup(r.Close)
	}
	return a, b, tb
}

func TestRPC_Call(t *testing.T) {
	t.Parallel()
	a, b, _ := rpcPair(t)
	b.Handle("echo", func(_ context.Context, peer string, body []byte) ([]byte, error) {
		return append([]byte(peer+":"), body...), nil
	})
	b.Handle("fail", func(context.Context, string, []byte) ([]byte, error) {
		return nil, fmt.Errorf("put key: %w", resource.ErrConflict)
	})
	b.Handle("slow", func(ctx context.Context, _ string, _ []byte) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	b.Handle("big", func(context.Context, string, []byte) ([]byte, error) { return make([]byte, transport.MaxBody), nil })
	b.Handle("bigger", func(context.Context, string, []byte) ([]byte, error) { return make([]byte, transport.MaxBody+1), nil })

	got, err := a.Call(t.Context(), "b", "echo", []byte("x"))
	if err != nil || string(got) != "a:x" {
		t.Errorf("echo = %q, %v, want a:x", got, err)
	}
	if _, err := a.Call(t.Context(), "b", "fail", nil); !errors.Is(err, resource.ErrConflict) || err.Error() != "put key: changed since it was read" {
		t.Errorf("fail: got %v, want ErrConflict with its text", err)
	}
	if _, err := a.Call(t.Context(), "b", "none", nil); err == nil || errors.Is(err, transport.ErrUnknown) {
		t.Errorf("an unknown method: got %v", err)
	}
	if got, err := a.Call(t.Context(), "b", "big", nil); err != nil || len(got) != transport.MaxBody {
		t.Errorf("big = %d bytes, %v", len(got), err)
	}
	if _, err := a.Call(t.Context(), "b", "bigger", nil); err == nil {
		t.Error("an answer over the limit came through")
	}
	if _, err := a.Call(t.Context(), "b", "echo", make([]byte, transport.MaxBody+1)); err == nil {
		t.Error("a call over the limit came through")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.Call(ctx, "b", "slow", nil); !errors.Is(err, transport.ErrUnknown) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("slow: got %v, want ErrUnknown or the deadline", err)
	}
	for _, node := range []string{"c", "d"} {
		if _, err := a.Call(t.Context(), node, "echo", nil); !errors.Is(err, transport.ErrUnreachable) {
			t.Errorf("node %s: got %v, want ErrUnreachable", node, err)
		}
	}
	if got, err := a.Call(t.Context(), "a", "echo", nil); err == nil {
		t.Errorf("a call to the node itself = %q, want no such method", got)
	}
}

func TestRPC_Call_manyAtOnce(t *testing.T) {
	t.Parallel()
	a, b, _ := rpcPair(t)
	gate := make(chan struct{})
	var in sync.WaitGroup
	in.Add(50)
	b.Handle("wait", func(_ context.Context, _ string, body []byte) ([]byte, error) {
		in.Done()
		<-gate
		return body, nil
	})
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			body := fmt.Appendf(nil, "%d", i)
			got, err := a.Call(t.Context(), "b", "wait", body)
			if err != nil || !bytes.Equal(got, body) {
				t.Errorf("call %d = %q, %v", i, got, err)
			}
		})
	}
	in.Wait() // all of them are on the one connection
	close(gate)
	wg.Wait()
}

func TestRPC_Call_redialsOnce(t *testing.T) {
	t.Parallel()
	a, b, tb := rpcPair(t)
	b.Handle("echo", func(_ context.Context, _ string, body []byte) ([]byte, error) { return body, nil })
	for i := range 5 {
		if _, err := a.Call(t.Context(), "b", "echo", []byte("x")); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
		tb.Authorize(func(string) bool { return false }) // hangs up
		tb.Authorize(func(string) bool { return true })
	}
}

func BenchmarkRPC_Call(b *testing.B) {
	x, y, _ := rpcPair(b)
	y.Handle("echo", func(_ context.Context, _ string, body []byte) ([]byte, error) { return body, nil })
	body := make([]byte, 200)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x.Call(b.Context(), "b", "echo", body); err != nil {
			b.Fatal(err)
		}
	}
}
