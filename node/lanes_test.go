package node_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/mock"
	"github.com/conclave-llm/conclave/node/nodetest"
)

// turn sends one request and returns its last event's response.
func (k *talk) turn(t *testing.T, format string, args ...any) map[string]any {
	t.Helper()
	k.send(t, format, args...)
	e, over := k.await(t, "response.completed", "error")
	if over != nil || e["type"] == "error" {
		t.Fatalf("got %v, %v", e, over)
	}
	return e["response"].(map[string]any)
}

func TestResponsesSocket_turns(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 2)
	key := c.Key(0, fields{"name": "k"}).Secret
	a, status := dialTalk(t, c.Nodes[0], "/v1/responses", key)
	if a == nil {
		t.Fatalf("no connection: %d", status)
	}
	first := a.turn(t, `{"type":"response.create","model":"demo","store":false,"input":"the canary sings"}`)
	second := a.turn(t, `{"type":"response.create","model":"demo","store":false,"input":[{"role":"user","content":"and then?"}],"previous_response_id":%q}`, first["id"])
	if said := asked(c); strings.Count(said, `"content":"the canary sings"`) != 1 || !strings.Contains(said, "and then?") || strings.Count(said, `"role":"assistant"`) != 1 {
		t.Errorf("the upstream got %s", said)
	}
	if second["previous_response_id"] != first["id"] {
		t.Errorf("got %v", second)
	}
	kept := a.turn(t, `{"type":"response.create","model":"demo","store":true,"input":"the end","previous_response_id":%q}`, second["id"])
	if said := asked(c); strings.Count(said, `"role":"assistant"`) != 2 {
		t.Errorf("the upstream got %s", said)
	}
	// What is not stored is this connection's alone.
	b, _ := dialTalk(t, c.Nodes[1], "/v1/responses", key)
	b.send(t, `{"type":"response.create","model":"demo","input":"x","previous_response_id":%q}`, first["id"])
	e, _ := b.await(t, "error", "response.completed")
	if codeOfEvent(e) != "previous_response_not_found" || e["status"] != 400.0 {
		t.Errorf("got %v", e)
	}
	if status, raw := c.Nodes[1].Do("GET", "/v1/responses/"+fmt.Sprint(kept["id"]), key, nil); status != 200 {
		t.Errorf("the stored turn on another node: %d %s", status, raw)
	}
	bill := c.Bill()
	c.Await("the books are the bill", func() bool {
		got, err := c.Nodes[0].Admin().Keys().One(t.Context(), "k")
		return err == nil && got.Spend == bill && bill > 0
	})
}

func TestResponsesSocket_lanes(t *testing.T) {
	t.Parallel()
	c := nodetest.Config{Mock: mock.Config{Chunks: 20, ChunkDelay: 10 * time.Millisecond}}.Start(t, 1)
	key := c.Key(0, fields{"name": "k"}).Secret
	a, _ := dialTalk(t, c.Nodes[0], "/v1/responses", key)
	for _, lane := range []string{"one", "two", "one"} {
		a.send(t, `{"type":"response.create","model":"demo","store":false,"input":"x","stream_id":%q}`, lane)
	}
	open, most := map[string]int{}, 0
	for done := 0; done < 3; {
		e, over := a.await(t, "response.created", "response.completed", "error")
		if over != nil || e["type"] == "error" {
			t.Fatalf("got %v, %v", e, over)
		}
		lane := fmt.Sprint(e["stream_id"])
		if e["type"] == "response.created" {
			open[lane]++
		} else {
			open[lane]--
			done++
		}
		if open[lane] > 1 {
			t.Errorf("lane %s answers two requests at a time", lane)
		}
		most = max(most, open["one"]+open["two"])
	}
	if most != 2 {
		t.Errorf("%d lanes are answered side by side, want 2", most)
	}
}

func TestResponsesSocket_errors(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 1)
	k := c.Key(0, fields{"name": "k", "models": []string{"demo"}})
	if s, status := dialTalk(t, c.Nodes[0], "/v1/responses", "sk-no"); s != nil || status != 401 {
		t.Errorf("an unknown key: %d", status)
	}
	if status, raw := c.Nodes[0].Do("GET", "/v1/responses", k.Secret, nil); status != 426 || errorCode(raw) != "upgrade_required" {
		t.Errorf("without an upgrade: %d %s", status, raw)
	}
	a, _ := dialTalk(t, c.Nodes[0], "/v1/responses", k.Secret)
	for _, tt := range []struct {
		event, code string
		status      float64
	}{
		{`{`, "invalid_json", 400},
		{`"x"`, "invalid_event", 400},
		{`{"model":"demo","input":"x"}`, "invalid_event", 400},
		{`{"type":"response.cancel"}`, "invalid_event", 400},
		{`{"type":"response.create","type":"x"}`, "invalid_event", 400},
		{`{"type":"response.create","model":"demo","input":"x","background":true}`, "unsupported_parameter", 400},
		{`{"type":"response.create","model":"demo","input":"x","generate":false}`, "unsupported_parameter", 400},
		{`{"type":"response.create","input":"x"}`, "missing_model", 400},
		{`{"type":"response.create","model":"demo","model":"other","input":"x"}`, "duplicate_field", 400},
		{`{"type":"response.create","model":"other","input":"x"}`, "model_access_denied", 403},
		{`{"type":"response.create","model":"demo","input":"x","previous_response_id":"resp_no"}`, "previous_response_not_found", 400},
	} {
		a.send(t, "%s", tt.event)
		e, over := a.await(t, "error", "response.completed")
		if over != nil {
			t.Fatal(over)
		}
		if codeOfEvent(e) != tt.code || e["status"] != tt.status {
			t.Errorf("%s: got %v, want %s", tt.event, e, tt.code)
		}
	}
	a.turn(t, `{"type":"response.create","model":"demo","input":"x"}`)
	if status, b := c.Nodes[0].Do("POST", "/api/v1/keys/"+k.ID+"/block", nodetest.MasterKey, nil); status/100 != 2 {
		t.Fatalf("block: %d %s", status, b)
	}
	if e, over := a.await(t, "error"); over != nil || codeOfEvent(e) != "key_blocked" {
		t.Errorf("got %v, %v", e, over)
	}
	if _, over := a.await(t); over == nil || over.Code != 1008 || over.Reason != "key_blocked" {
		t.Errorf("closed with %v", over)
	}
}

// TestResponsesSocket_drain stops a node amid an answer, which ends.
func TestResponsesSocket_drain(t *testing.T) {
	t.Parallel()
	c := nodetest.Config{Mock: mock.Config{Chunks: 30, ChunkDelay: 10 * time.Millisecond}}.Start(t, 1)
	a, _ := dialTalk(t, c.Nodes[0], "/v1/responses", c.Key(0, fields{"name": "k"}).Secret)
	a.send(t, `{"type":"response.create","model":"demo","store":false,"input":"x"}`)
	if _, over := a.await(t, "response.output_text.delta"); over != nil {
		t.Fatal(over)
	}
	done := make(chan struct{})
	go func() { c.Nodes[0].Stop(); close(done) }()
	if e, over := a.await(t, "error"); over != nil || codeOfEvent(e) != "node_stopping" {
		t.Errorf("got %v, %v", e, over)
	}
	if _, over := a.await(t, "response.completed"); over != nil {
		t.Errorf("the answer was cut: %v", over)
	}
	if _, over := a.await(t); over == nil || over.Code != 1012 {
		t.Errorf("closed with %v", over)
	}
	<-done
}
