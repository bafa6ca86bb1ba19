package node_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/node/nodetest"
)

// receiver is the server of some webhooks: it keeps what came at each path.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex // guards what follows
	bodies map[string]string
	refuse string // bodies with it are refused; "": none
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{bodies: map[string]string{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		b, _ := io.ReadAll(q.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.refuse != "" && strings.Contains(string(b), r.refuse) {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if q.Header.Get("Authorization") != "Bearer sink-canary" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		r.bodies[q.URL.Path] += string(b)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) at(path string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bodies[path]
}

func (r *receiver) refuses(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = what
}

// Callbacks are told of the requests whose holders chose them, with contents where all allow it,
// through real plugins, and no secret of a sink can be read anywhere.
func TestSinks(t *testing.T) {
	c := nodetest.Start(t, 1)
	n, api := c.Nodes[0], c.Nodes[0].Admin()
	in := newReceiver(t)
	if _, err := api.Settings().Create(t.Context(), fields{"id": "log_content", "value": true}); err != nil {
		t.Fatal(err)
	}
	for name, more := range map[string]fields{
		"always": {}, "default": {"selection": "default", "content": true}, "own": {"selection": "chosen", "content": true},
	} {
		doc := fields{
			"name": name, "plugin": "webhook", "config": fields{"url": in.URL + "/" + name, "format": "ndjson"},
			"secrets": fields{"headers.Authorization": "Bearer sink-canary"},
		}
		maps.Copy(doc, more)
		if _, err := api.Callbacks().Create(t.Context(), doc); err != nil {
			t.Fatal(err)
		}
	}
	for _, team := range []fields{{"id": "plain"}, {"id": "chooser", "callbacks": []string{"own"}}, {"id": "silent", "callbacks": []string{"none"}}} {
		if _, err := api.Teams().Create(t.Context(), team); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"always", "default", "own"} {
		c.Await("the callback "+name+" to take a test event", func() bool {
			tested, err := api.TestCallback(t.Context(), name)
			return err == nil && tested.OK
		})
	}
	if _, err := api.Callbacks().Create(t.Context(), fields{
		"name": "strange", "plugin": "webhook", "selection": "chosen", "config": fields{"url": in.URL + "/strange"}, "secrets": fields{"headers.Authorization": "Bearer another"},
	}); err != nil {
		t.Fatal(err)
	}
	strange := c.Key(0, fields{"callbacks": []string{"strange"}}).Secret
	c.Await("the holder of the key to learn why", func() bool {
		status, body := n.Do("POST", "/key/health", strange, nil)
		return status == 200 && strings.Contains(string(body), "its server does not accept the credentials") && !strings.Contains(string(body), in.URL)
	})
	for _, team := range []string{"plain", "chooser", "silent"} {
		key := c.Key(0, fields{"team_id": team}).Secret
		body := nodetest.ChatBody(fields{"messages": []fields{{"role": "user", "content": "CANARY-" + team}}})
		if status, b := n.Do("POST", "/v1/chat/completions", key, body, "x-request-id", "of-"+team); status != 200 {
			t.Fatalf("got %d %s", status, b)
		}
	}
	for path, want := range map[string][]string{"/always": {"of-plain", "of-chooser", "of-silent"}, "/default": {"of-plain", "CANARY-plain"}, "/own": {"of-chooser", "CANARY-chooser"}} {
		for _, text := range want {
			c.Await(text+" at "+path, func() bool { return strings.Contains(in.at(path), text) })
		}
	}
	for path, never := range map[string][]string{
		"/always": {"CANARY"}, "/default": {"of-chooser", "of-silent", "CANARY-silent"}, "/own": {"of-plain", "of-silent", "CANARY-silent"},
	} {
		for _, text := range never {
			if strings.Contains(in.at(path), text) {
				t.Errorf("%s was told of %s", path, text)
			}
		}
	}
	if paths := holding(t, n.Dir, "sink-canary"); len(paths) > 0 {
		t.Errorf("a sink's secret stands in %v", paths)
	}
	var shown []byte
	for _, path := range []string{"/api/v1/callbacks", "/api/v1/audit", "/api/v1/config"} {
		_, b := n.Do("GET", path, nodetest.MasterKey, nil)
		shown = append(shown, b...)
	}
	if strings.Contains(string(shown), "sink-canary") {
		t.Error("a sink's secret is shown")
	}
	testDeadLetters(t, c, in)
}

// testDeadLetters has a sink refuse a record, tries it again, and has all told again.
func testDeadLetters(t *testing.T, c *nodetest.Cluster, in *receiver) {
	n, api := c.Nodes[0], c.Nodes[0].Admin()
	in.refuses("of-bad")
	for _, id := range []string{"of-bad", "of-good"} {
		if status, b := n.Do("POST", "/v1/chat/completions", c.Key(0, nodetest.Fields{}).Secret, nodetest.ChatBody(nil), "x-request-id", id); status != 200 {
			t.Fatalf("got %d %s", status, b)
		}
	}
	c.Await("what stands behind a record that is refused", func() bool { return strings.Contains(in.at("/always"), "of-good") })
	var dead client.DeadLetters
	c.Await("the dead letter", func() (ok bool) {
		var err error
		dead, err = api.DeadLetters(t.Context(), "always")
		return err == nil && len(dead.Items) == 1
	})
	if l := dead.Items[0]; l.RequestID != "of-bad" || l.Node != n.Name || !strings.Contains(l.Reason, "400") {
		t.Errorf("got %+v", l)
	}
	in.refuses("")
	if done, err := api.RetryDeadLetters(t.Context(), "always", client.DeadLettersChosen{Node: n.Name}); err != nil || done.Count != 1 {
		t.Errorf("tried again: %+v, %v", done, err)
	}
	c.Await("the dead letter to arrive", func() bool { return strings.Contains(in.at("/always"), "of-bad") })
	c.Await("no dead letter to be left", func() bool {
		states, err := api.CallbackStates(t.Context(), "always")
		return err == nil && len(states.Items) == 1 && states.Items[0].Dead == 0 && states.Items[0].State == "running"
	})
	before := strings.Count(in.at("/always"), "of-plain")
	if _, err := api.Redeliver(t.Context(), "always", client.RedeliverFrom{From: "1h"}); err != nil {
		t.Fatal(err)
	}
	c.Await("all to be told again", func() bool { return strings.Count(in.at("/always"), "of-plain") > before })
	var last struct{ Items []json.RawMessage }
	if _, b := n.Do("GET", "/api/v1/callbacks", nodetest.MasterKey, nil); json.Unmarshal(b, &last) != nil || !slices.ContainsFunc(last.Items, func(r json.RawMessage) bool { return strings.Contains(string(r), "redelivery") }) {
		t.Error("the order stands in no record")
	}
}
