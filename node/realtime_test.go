package node_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/conclave-llm/conclave/mock"
	"github.com/conclave-llm/conclave/node/nodetest"
	"github.com/conclave-llm/conclave/resource"
)

// talk is a client's WebSocket.
type talk struct{ conn *websocket.Conn }

// dialTalk opens a WebSocket at a node with a key, or with the subprotocols that a browser offers.
func dialTalk(t *testing.T, n *nodetest.Node, path, key string, offer ...string) (*talk, int) {
	t.Helper()
	h := http.Header{}
	if key != "" {
		h.Set("Authorization", "Bearer "+key)
	}
	conn, res, err := websocket.Dial(t.Context(), n.URL+path, &websocket.DialOptions{HTTPHeader: h, Subprotocols: offer}) //nolint:bodyclose // the library has taken what is worth reading
	if err != nil {
		if res == nil {
			t.Fatal(err)
		}
		return nil, res.StatusCode
	}
	conn.SetReadLimit(1 << 24)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &talk{conn}, 101
}

func (k *talk) send(t *testing.T, format string, args ...any) {
	t.Helper()
	if err := k.conn.Write(t.Context(), websocket.MessageText, fmt.Appendf(nil, format, args...)); err != nil {
		t.Errorf("send: %v", err)
	}
}

// await reads up to an event of one of the types, or to the end.
func (k *talk) await(t *testing.T, kinds ...string) (e map[string]any, over *websocket.CloseError) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		_, raw, err := k.conn.Read(ctx)
		if c, ok := errors.AsType[websocket.CloseError](err); ok {
			return nil, &c
		}
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		e = nil
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatalf("event %s: %v", raw, err)
		}
		for _, kind := range kinds {
			if e["type"] == kind {
				return e, nil
			}
		}
	}
}

func codeOfEvent(e map[string]any) string {
	inner, _ := e["error"].(map[string]any)
	code, _ := inner["code"].(string)
	return code
}

// TestRealtime_neverOverspent has sessions on three nodes spend one budget, response by response.
func TestRealtime_neverOverspent(t *testing.T) {
	t.Parallel()
	const limit = 12 * resource.Dollar
	c := nodetest.Config{Mock: mock.Config{Chunks: 400}}.Start(t, 3)
	k := c.Key(0, fields{"name": "k", "budgets": budgetOf(limit)})
	stop := audit(t, c, k.ID, limit)
	var wg sync.WaitGroup
	for _, n := range c.Nodes {
		wg.Go(func() {
			s, status := dialTalk(t, n, "/v1/realtime?model=demo", k.Secret)
			for s == nil && status == 429 && c.Bill() < limit/3 { // a busy machine grants no lease in time
				s, status = dialTalk(t, n, "/v1/realtime?model=demo", k.Secret)
			}
			if s == nil {
				if status != 429 {
					t.Errorf("%s: %d", n.Name, status)
				}
				return
			}
			s.send(t, `{"type":"session.update","session":{"type":"realtime","output_modalities":["text"],"audio":{"input":{"turn_detection":null}}}}`)
			for {
				s.send(t, `{"type":"response.create","response":{"max_output_tokens":400}}`)
				e, over := s.await(t, "response.done", "error")
				if over != nil {
					t.Errorf("%s: closed without a word: %v", n.Name, over)
					return
				}
				if inner, _ := e["error"].(map[string]any); e["type"] == "response.done" || inner["retry_after"] != nil {
					continue // what other nodes hold may come back
				}
				if codeOfEvent(e) != "budget_exceeded" {
					t.Errorf("%s: %v", n.Name, e)
				}
				if _, over := s.await(t); over == nil || over.Code != 1008 || over.Reason != "budget_exceeded" {
					t.Errorf("%s: closed with %v", n.Name, over)
				}
				return
			}
		})
	}
	wg.Wait()
	stop()
	bill := c.Bill()
	if bill > limit || bill < limit/3 {
		t.Errorf("the upstream bills %s of %s", bill, limit)
	}
	c.Await("the books are the bill", func() bool {
		got, err := c.Nodes[1].Admin().Keys().One(t.Context(), k.ID)
		return err == nil && got.Spend == bill
	})
}

func TestRealtime_revokedElsewhere(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 3)
	k := c.Key(0, fields{"name": "k"})
	s, status := dialTalk(t, c.Nodes[1], "/v1/realtime?model=demo", k.Secret)
	if s == nil {
		t.Fatalf("no session: %d", status)
	}
	if _, over := s.await(t, "session.created"); over != nil {
		t.Fatal(over)
	}
	if status, b := c.Nodes[0].Do("POST", "/api/v1/keys/"+k.ID+"/block", nodetest.MasterKey, nil); status/100 != 2 {
		t.Fatalf("block: %d %s", status, b)
	}
	began := time.Now() // of the promise
	e, over := s.await(t, "error")
	if over != nil || codeOfEvent(e) != "key_blocked" {
		t.Fatalf("got %v, %v", e, over)
	}
	if _, over = s.await(t); over == nil || over.Code != 1008 {
		t.Errorf("closed with %v", over)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the session lived %s longer than its key", took)
	}
}

// TestRealtime_secretOfAnotherNode opens a session on a node with a secret that another one made.
func TestRealtime_secretOfAnotherNode(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 2)
	k := c.Key(0, fields{"name": "k"})
	status, raw := c.Nodes[0].Do("POST", "/v1/realtime/client_secrets", k.Secret, fields{"session": fields{"type": "realtime", "model": "demo"}})
	var made struct{ Value string }
	if err := json.Unmarshal(raw, &made); err != nil || status != 200 {
		t.Fatalf("%d %s", status, raw)
	}
	s, status := dialTalk(t, c.Nodes[1], "/v1/realtime?model=demo", "", "realtime", "openai-insecure-api-key."+made.Value)
	if s == nil {
		t.Fatalf("no session: %d", status)
	}
	s.send(t, `{"type":"response.create","response":{"output_modalities":["text"]}}`)
	if _, over := s.await(t, "response.done"); over != nil {
		t.Fatal(over)
	}
	bill := c.Bill()
	c.Await("the key is charged", func() bool {
		got, err := c.Nodes[0].Admin().Keys().One(t.Context(), k.ID)
		return err == nil && got.Spend == bill && bill > 0
	})
}

// TestRealtime_drain stops a node amid a response: it ends, is told of, and is in the books.
func TestRealtime_drain(t *testing.T) {
	t.Parallel()
	c := nodetest.Config{Mock: mock.Config{Chunks: 30, ChunkDelay: 10 * time.Millisecond}}.Start(t, 2)
	k := c.Key(0, fields{"name": "k"})
	s, status := dialTalk(t, c.Nodes[1], "/v1/realtime?model=demo", k.Secret)
	if s == nil {
		t.Fatalf("no session: %d", status)
	}
	s.send(t, `{"type":"response.create","response":{"output_modalities":["text"]}}`)
	if _, over := s.await(t, "response.output_text.delta"); over != nil {
		t.Fatal(over)
	}
	done := make(chan struct{})
	go func() { c.Nodes[1].Stop(); close(done) }()
	if e, over := s.await(t, "error"); over != nil || codeOfEvent(e) != "node_stopping" {
		t.Errorf("got %v, %v", e, over)
	}
	if e, over := s.await(t, "response.done"); over != nil || e["response"].(map[string]any)["status"] != "completed" {
		t.Errorf("got %v, %v", e, over)
	}
	if _, over := s.await(t); over == nil || over.Code != 1012 {
		t.Errorf("closed with %v", over)
	}
	<-done
	bill := c.Bill()
	c.Await("the response is in the books", func() bool {
		got, err := c.Nodes[0].Admin().Keys().One(t.Context(), k.ID)
		return err == nil && got.Spend == bill && bill > 0
	})
}
