package node_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/nodetest"
	"github.com/conclave-llm/conclave/resource"
)

// respond sends one turn and returns the response's id and all of it.
func respond(t *testing.T, n *nodetest.Node, key string, more fields) (id string, response map[string]any) {
	t.Helper()
	body := fields{"model": "demo", "max_output_tokens": 8}
	maps.Copy(body, more)
	status, raw := n.Do("POST", "/v1/responses", key, body)
	if status != 200 {
		t.Fatalf("%v at %s: %d %s", more, n.Name, status, raw)
	}
	if more["stream"] == true {
		at := bytes.LastIndex(raw, []byte("\ndata: ")) + len("\ndata: ")
		var ev struct {
			Type     string         `json:"type"`
			Response map[string]any `json:"response"`
		}
		if err := json.Unmarshal(raw[at:], &ev); err != nil || ev.Type != "response.completed" {
			t.Fatalf("the last event is %s: %v", raw[at:], err)
		}
		response = ev.Response
		if n := bytes.Count(raw, []byte(fmt.Sprintf(`"id":%q`, response["id"]))); n != 3 {
			t.Errorf("the id stands in %d events, want 3: %s", n, raw)
		}
	} else if err := json.Unmarshal(raw, &response); err != nil {
		t.Fatal(err)
	}
	id, _ = response["id"].(string)
	return id, response
}

// asked is the body of the last request that the upstream got.
func asked(c *nodetest.Cluster) string {
	all := c.Mock.Requests()
	return all[len(all)-1].Body
}

// grep finds the files of a folder that have the text.
func grep(t *testing.T, dir, text string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(text)) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func errorCode(raw []byte) string {
	var e struct {
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	_ = json.Unmarshal(raw, &e)
	return e.Error.Code
}

func TestNode_responsesRemember(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 3)
	a, b, third := c.Nodes[0], c.Nodes[1], c.Nodes[2]
	for _, team := range []string{"one", "two"} {
		if _, err := a.Admin().Teams().Create(t.Context(), fields{"name": team}); err != nil {
			t.Fatal(err)
		}
	}
	key := c.Key(0, fields{"team_id": teamID(t, a, "one")}).Secret
	mate := c.Key(0, fields{"team_id": teamID(t, a, "one")}).Secret
	stranger := c.Key(0, fields{"team_id": teamID(t, a, "two")}).Secret

	first, res := respond(t, a, key, fields{"input": "the canary sings", "store": true})
	if res["store"] != true || res["previous_response_id"] != nil {
		t.Errorf("got %v", res)
	}
	second, res := respond(t, b, key, fields{"input": []fields{{"role": "user", "content": "and then?"}}, "previous_response_id": first, "stream": true})
	if res["previous_response_id"] != first || res["store"] != true || second == first {
		t.Errorf("got %v", res)
	}
	said := asked(c)
	if strings.Count(said, `"content":"the canary sings"`) != 1 || !strings.Contains(said, "and then?") || !strings.Contains(said, `"role":"assistant"`) {
		t.Errorf("the upstream got %s", said)
	}
	a.Stop()
	last, _ := respond(t, third, mate, fields{"input": "the end", "previous_response_id": second})
	if said := asked(c); strings.Count(said, `"content":"the canary sings"`) != 1 || strings.Count(said, `"content":"and then?"`) != 1 || strings.Count(said, `"role":"assistant"`) != 2 {
		t.Errorf("the upstream got %s", said)
	}
	for _, n := range []*nodetest.Node{b, third} {
		status, raw := n.Do("GET", "/v1/responses/"+first, key, nil)
		if status != 200 || !strings.Contains(string(raw), first) {
			t.Errorf("GET at %s: %d %s", n.Name, status, raw)
		}
	}

	// The item of an answer is known by its id, on every node, as clients send it that believe the provider to keep it.
	again := []fields{{"role": "user", "content": "again"}, {"type": "item_reference", "id": res["output"].([]any)[0].(map[string]any)["id"]}, {"role": "user", "content": "and again"}}
	if respond(t, third, mate, fields{"input": again}); strings.Count(asked(c), `"role":"assistant"`) != 1 {
		t.Errorf("the upstream got %s", asked(c))
	}
	if status, raw := b.Do("POST", "/v1/responses", stranger, fields{"model": "demo", "input": again}); status != 400 || errorCode(raw) != "unsupported_value" {
		t.Errorf("another team refers to an item: %d %s", status, raw)
	}

	// Others do not see it.
	for _, path := range []string{"", "/input_items", "/cancel"} {
		method := map[string]string{"/cancel": "POST"}[path]
		if method == "" {
			method = "GET"
		}
		if status, raw := b.Do(method, "/v1/responses/"+first+path, stranger, nil); status != 404 || errorCode(raw) != "response_not_found" {
			t.Errorf("%s of another team: %d %s", path, status, raw)
		}
	}
	if status, _ := b.Do("DELETE", "/v1/responses/"+first, stranger, nil); status != 404 {
		t.Errorf("another team deletes: %d", status)
	}
	status, raw := b.Do("POST", "/v1/responses", stranger, fields{"model": "demo", "input": "x", "previous_response_id": first})
	if status != 400 || errorCode(raw) != "previous_response_not_found" {
		t.Errorf("another team goes on: %d %s", status, raw)
	}
	if status, raw := b.Do("POST", "/v1/responses/"+first+"/cancel", key, nil); status != 400 {
		t.Errorf("cancel: %d %s", status, raw)
	}
	inputItems(t, b, key, last)

	// Nothing of it can be read on disk.
	a.Start()
	for _, n := range c.Nodes {
		for _, text := range []string{"the canary sings", "and then?"} {
			if found := grep(t, n.Dir, text); len(found) > 0 {
				t.Errorf("%q can be read in %v", text, found)
			}
		}
	}

	// Deleted is gone, everywhere and for good, with its body.
	rec := record(t, b, first)
	if status, raw := third.Do("DELETE", "/v1/responses/"+first, mate, nil); status != 200 || !strings.Contains(string(raw), `"deleted":true`) {
		t.Fatalf("delete: %d %s", status, raw)
	}
	for _, n := range c.Nodes {
		if status, _ := n.Do("GET", "/v1/responses/"+first, key, nil); status != 404 {
			t.Errorf("deleted, but at %s: %d", n.Name, status)
		}
		c.Await("the body is gone from "+n.Name, func() bool {
			_ = n.Blobs().Erase(t.Context(), rec.Blob)
			_, err := os.Stat(filepath.Join(n.Dir, "blobs", rec.Blob))
			return err != nil
		})
	}
	status, raw = b.Do("POST", "/v1/responses", key, fields{"model": "demo", "input": "x", "previous_response_id": second})
	if status != 400 || errorCode(raw) != "previous_response_not_found" {
		t.Errorf("a chain with a hole: %d %s", status, raw)
	}
}

func teamID(t *testing.T, n *nodetest.Node, name string) string {
	t.Helper()
	team, err := n.Admin().Teams().One(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return team.ID
}

// record is what the cluster knows of a stored response.
func record(t *testing.T, n *nodetest.Node, id string) (found resource.Response) {
	t.Helper()
	rec, _, err := n.Turns().Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return *rec
}

func inputItems(t *testing.T, n *nodetest.Node, key, id string) {
	t.Helper()
	var page struct {
		Object  string           `json:"object"`
		Data    []map[string]any `json:"data"`
		LastID  string           `json:"last_id"`
		HasMore bool             `json:"has_more"`
	}
	var roles, ids []string
	for after := ""; ; after = page.LastID {
		status, raw := n.Do("GET", "/v1/responses/"+id+"/input_items?order=asc&limit=2&after="+after, key, nil)
		if err := json.Unmarshal(raw, &page); status != 200 || err != nil {
			t.Fatalf("input items: %d %s", status, raw)
		}
		for _, it := range page.Data {
			roles = append(roles, fmt.Sprint(it["role"]))
			ids = append(ids, fmt.Sprint(it["id"]))
		}
		if !page.HasMore {
			break
		}
	}
	if got := strings.Join(roles, " "); got != "user assistant user assistant user" {
		t.Errorf("input items of %s", got)
	}
	_, raw := n.Do("GET", "/v1/responses/"+id+"/input_items?limit=1&before="+ids[2], key, nil)
	if err := json.Unmarshal(raw, &page); err != nil || len(page.Data) != 1 || page.Data[0]["id"] != ids[4] || !page.HasMore {
		t.Errorf("the newest: %s", raw)
	}
	for _, q := range []string{"limit=0", "limit=x", "order=up", "after=none"} {
		if status, raw := n.Do("GET", "/v1/responses/"+id+"/input_items?"+q, key, nil); status != 400 {
			t.Errorf("%s: %d %s", q, status, raw)
		}
	}
}

func TestNode_responsesAtOnceEverywhere(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 3)
	key := c.Key(0, fields{}).Secret
	if status, raw := c.Nodes[0].Do("POST", "/api/v1/models", nodetest.MasterKey, fields{"name": "claude", "deployments": []any{fields{
		"name": "claude-1", "provider": "anthropic", "api_base": strings.TrimSuffix(c.MockURL, "/v1"), "model": "claude", "api_key": nodetest.UpstreamKey,
	}}}); status != 201 {
		t.Fatalf("%d %s", status, raw)
	}
	c.Sync(c.Nodes[0].Admin())
	chains, turns := 8, 6
	if os.Getenv("CONCLAVE_FULL") != "" {
		chains, turns = 200, 10
	}
	for chain := range chains {
		previous, call := "", ""
		for turn := range turns {
			more := fields{"input": fmt.Sprintf("turn %d of chain %d", turn, chain), "stream": (chain+turn)%2 == 0}
			tools, called := chain%4 == 3, call != ""
			if tools {
				more["model"], more["tools"] = "claude", []fields{{"type": "function", "name": "look", "parameters": fields{"type": "object"}}}
			}
			if called {
				more["input"] = []fields{
					{"type": "function_call_output", "call_id": call, "output": "seen"}, {"role": "user", "content": more["input"]},
				}
			}
			if previous != "" {
				more["previous_response_id"] = previous
			}
			var response map[string]any
			previous, response = respond(t, c.Nodes[(chain+turn)%3], key, more)
			call = callOf(response)
			if got := strings.Count(asked(c), `"turn `); got != turn+1 {
				t.Fatalf("turn %d of chain %d: the upstream got %d turns", turn, chain, got)
			}
			if calls := tools && !called; calls != (call != "") { // the demo upstream calls one unless one has just answered
				t.Fatalf("turn %d of chain %d: a tool is called: %t, want %t", turn, chain, call != "", calls)
			}
		}
	}
}

// callOf is the id of the call of a tool that a response has, "" for none.
func callOf(response map[string]any) string {
	output, _ := response["output"].([]any)
	for _, item := range output {
		if m, _ := item.(map[string]any); m["type"] == "function_call" {
			id, _ := m["call_id"].(string)
			return id
		}
	}
	return ""
}

func TestNode_responsesPrivate(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 1)
	n := c.Nodes[0]
	key := c.Key(0, fields{"log_content": false}).Secret
	id, res := respond(t, n, key, fields{"input": "hush"})
	if res["store"] != false {
		t.Errorf("the answer says store: %v", res["store"])
	}
	if status, _ := n.Do("GET", "/v1/responses/"+id, key, nil); status != 404 {
		t.Errorf("stored although content is off and nobody asked: %d", status)
	}
	id, _ = respond(t, n, key, fields{"input": "hush", "store": true})
	if status, _ := n.Do("GET", "/v1/responses/"+id, key, nil); status != 200 {
		t.Errorf("not stored although asked to: %d", status)
	}
	other := c.Key(0, fields{}).Secret
	id, _ = respond(t, n, other, fields{"input": "hello", "store": false})
	if status, _ := n.Do("GET", "/v1/responses/"+id, other, nil); status != 404 {
		t.Errorf("stored although asked not to: %d", status)
	}
	if err := n.Turns().Sweep(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestNode_responsesExpireAndErase(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 2)
	n := c.Leader()
	put := func(id string, owners resource.Owners, expires time.Duration) {
		t.Helper()
		err := n.Turns().Put(t.Context(), resource.Response{ID: id, Owners: owners, ExpiresAt: resource.At(time.Now().Add(expires))}, []byte(id+" said"))
		if err != nil {
			t.Fatal(err)
		}
	}
	put("resp_over", resource.Owners{KeyID: "k1"}, -time.Second)
	put("resp_b", resource.Owners{KeyID: "k1", CustomerID: "c1"}, time.Hour)
	put("resp_c", resource.Owners{KeyID: "k2", CustomerID: "c1"}, time.Hour)
	put("resp_d", resource.Owners{KeyID: "k2", CustomerID: "c2"}, time.Hour)
	gone := func(id string) bool { _, _, err := n.Turns().Get(t.Context(), id); return err != nil }
	if !gone("resp_over") {
		t.Error("what has expired is there")
	}
	if err := n.Turns().Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.Turns().Delete(t.Context(), "resp_over"); err == nil {
		t.Error("what has expired was not swept")
	}
	var said []string
	err := n.Turns().List(t.Context(), resource.Owners{CustomerID: "c1"}, func(_ *resource.Response, body []byte) error {
		said = append(said, string(body))
		return nil
	})
	if got := strings.Join(said, ", "); err != nil || got != "resp_b said, resp_c said" {
		t.Errorf("listed %s, %v", got, err)
	}
	if count, err := n.Turns().Erase(t.Context(), resource.Owners{CustomerID: "c1"}); err != nil || count != 2 || !gone("resp_b") || gone("resp_d") {
		t.Errorf("erased %d, %v", count, err)
	}
	if count, _ := n.Turns().Erase(t.Context(), resource.Owners{}); count != 0 {
		t.Errorf("nobody's were erased: %d", count)
	}
}

func TestNode_responseCutOffBeforeItsIndex(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 2)
	n := c.Leader()
	b, err := n.Blobs().Place(t.Context(), fsm.Actor{Kind: "node"}, resource.Blob{
		Class: resource.BlobClient, Kind: "response", Refs: []string{"response/resp_x"},
	}, []byte("half a turn"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := n.Turns().Get(t.Context(), "resp_x"); err == nil {
		t.Error("it can be seen")
	}
	for _, node := range c.Nodes {
		path := filepath.Join(node.Dir, "blobs", b.ID)
		if _, err := os.Stat(path); err != nil {
			t.Errorf("%s has no copy: %v", node.Name, err)
		}
		if err := node.Blobs().Tend(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Errorf("a write that may go on was swept: %v", err)
		}
		old := time.Now().Add(-2 * time.Hour)
		if err := os.Chtimes(path, old, old); err != nil {
			t.Error(err)
		}
		if err := node.Blobs().Tend(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s keeps it", node.Name)
		}
	}
}
