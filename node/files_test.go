package node_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/node/nodetest"
	"github.com/conclave-llm/conclave/resource"
)

// upload sends a file with the fields, in pairs.
func upload(t *testing.T, n *nodetest.Node, key, text string, pairs ...string) (int, map[string]any) {
	t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for i := 0; i < len(pairs); i += 2 {
		if err := form.WriteField(pairs[i], pairs[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	part, err := form.CreateFormFile("file", "in.jsonl")
	if err == nil {
		_, err = io.WriteString(part, text)
	}
	if err == nil {
		err = form.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.URL+"/v1/files", &body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", form.FormDataContentType())
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	var out map[string]any
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, out
}

// mustUpload is upload of a file that is taken, and gives its id.
func mustUpload(t *testing.T, n *nodetest.Node, key, text, purpose string) string {
	t.Helper()
	status, f := upload(t, n, key, text, "purpose", purpose)
	id, _ := f["id"].(string)
	if status != 200 || f["object"] != "file" || f["status"] != "processed" || f["filename"] != "in.jsonl" || f["bytes"] != float64(len(text)) {
		t.Fatalf("got %d %v", status, f)
	}
	return id
}

func decoded(t *testing.T, raw []byte) (out map[string]any) {
	t.Helper()
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return out
}

func TestNode_files(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 3)
	a, b, third := c.Nodes[0], c.Nodes[1], c.Nodes[2]
	key, stranger := c.Key(0, fields{}).Secret, c.Key(0, fields{}).Secret
	text := strings.Repeat("the canary sings\n", 100)
	id := mustUpload(t, a, key, text, "user_data")
	for _, n := range c.Nodes { // at once, everywhere
		if status, raw := n.Do("GET", "/v1/files/"+id+"/content", key, nil); status != 200 || string(raw) != text {
			t.Errorf("content at %s: %d, %d bytes", n.Name, status, len(raw))
		}
		if found := grep(t, n.Dir, "the canary sings"); len(found) > 0 {
			t.Errorf("it can be read in %v", found)
		}
	}
	for _, call := range [][2]string{{"GET", ""}, {"GET", "/content"}, {"DELETE", ""}} {
		if status, raw := b.Do(call[0], "/v1/files/"+id+call[1], stranger, nil); status != 404 || errorCode(raw) != "not_found" {
			t.Errorf("%s%s of a stranger: %d %s", call[0], call[1], status, raw)
		}
	}
	second := mustUpload(t, b, key, "", "batch")
	_, raw := third.Do("GET", "/v1/files?limit=1", key, nil)
	if page := decoded(t, raw); page["has_more"] != true || page["first_id"] != second {
		t.Errorf("list: %s", raw)
	}
	_, raw = third.Do("GET", "/v1/files?purpose=user_data", key, nil)
	if page := decoded(t, raw); page["has_more"] != false || page["last_id"] != id {
		t.Errorf("list: %s", raw)
	}
	for name, pairs := range map[string][]string{
		"no purpose": {}, "a provider's purpose": {"purpose", "fine-tune"}, "expiry": {"purpose", "batch", "expires_after[anchor]", "created_at", "expires_after[seconds]", "1"},
	} {
		if status, out := upload(t, a, key, "x", pairs...); status != 400 {
			t.Errorf("%s: %d %v", name, status, out)
		}
	}
	if status, raw := a.Do("POST", "/v1/files", key, fields{"purpose": "batch"}); status != 400 || errorCode(raw) != "invalid_form" {
		t.Errorf("no form: %d %s", status, raw)
	}

	a.Stop()
	if status, raw := third.Do("GET", "/v1/files/"+id+"/content", key, nil); status != 200 || string(raw) != text {
		t.Errorf("content without a node: %d, %d bytes", status, len(raw))
	}
	a.Start()
	rec, _, err := b.Artifacts().Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if status, raw := third.Do("DELETE", "/v1/files/"+id, key, nil); status != 200 || !strings.Contains(string(raw), `"deleted":true`) {
		t.Fatalf("delete: %d %s", status, raw)
	}
	for _, n := range c.Nodes {
		c.Await("the file is gone from "+n.Name, func() bool { // which may lag
			status, _ := n.Do("GET", "/v1/files/"+id, key, nil)
			return status == 404
		})
		c.Await("the body is gone from "+n.Name, func() bool {
			_ = n.Blobs().Erase(t.Context(), rec.File.Parts[0].Blob)
			_, err := os.Stat(filepath.Join(n.Dir, "blobs", rec.File.Parts[0].Blob))
			return err != nil
		})
	}
	if n, err := b.Artifacts().Erase(t.Context(), resource.Owners{KeyID: rec.Owners.KeyID}); err != nil || n != 1 {
		t.Errorf("erased %d, %v", n, err)
	}
}

// chatLines is the file of a batch.
func chatLines(n int) string {
	var all strings.Builder
	for i := range n {
		fmt.Fprintf(&all, `{"custom_id":"c%d","method":"POST","url":"/v1/chat/completions","body":{"model":"demo","max_tokens":4,"messages":[{"role":"user","content":"line %d"}]}}`+"\n", i, i)
	}
	return all.String()
}

func TestNode_batch(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 3)
	a, b := c.Nodes[0], c.Nodes[1]
	made := c.Key(0, fields{"budgets": []fields{{"usd": 10}}})
	key := made.Secret
	text := chatLines(50) + `{"custom_id":"bad","method":"POST","url":"/v1/chat/completions","body":{"model":"unheard-of","messages":[]}}` + "\n"
	file := mustUpload(t, a, key, text, "batch")
	status, raw := b.Do("POST", "/v1/batches", key, fields{"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h", "metadata": fields{"job": "night"}})
	order := decoded(t, raw)
	if status != 200 || order["status"] != "validating" || order["metadata"].(map[string]any)["job"] != "night" {
		t.Fatalf("order: %d %s", status, raw)
	}
	id := order["id"].(string)
	var got map[string]any
	c.Await("the batch is complete", func() bool {
		_, raw := c.Nodes[2].Do("GET", "/v1/batches/"+id, key, nil)
		got = decoded(t, raw)
		return got["status"] == "completed"
	})
	counts := got["request_counts"].(map[string]any)
	if counts["total"] != 51.0 || counts["completed"] != 50.0 || counts["failed"] != 1.0 {
		t.Errorf("got %v", got)
	}
	_, out := a.Do("GET", "/v1/files/"+got["output_file_id"].(string)+"/content", key, nil)
	if n := bytes.Count(out, []byte(`"status_code":200`)); n != 50 || !bytes.Contains(out, []byte(`"custom_id":"c49"`)) {
		t.Errorf("%d lines: %s", n, out[:min(len(out), 500)])
	}
	_, failed := a.Do("GET", "/v1/files/"+got["error_file_id"].(string)+"/content", key, nil)
	if !bytes.Contains(failed, []byte(`"custom_id":"bad"`)) || !bytes.Contains(failed, []byte("model_not_found")) {
		t.Errorf("errors: %s", failed)
	}
	sent := 0
	for _, r := range c.Mock.Requests() {
		if strings.Contains(r.Body, `"content":"line `) {
			sent++
		}
	}
	if sent != 50 {
		t.Errorf("the upstream got %d lines", sent)
	}
	if status, raw := a.Do("POST", "/v1/batches/"+id+"/cancel", key, nil); status != 409 {
		t.Errorf("cancel what is complete: %d %s", status, raw)
	}
	stranger := c.Key(0, fields{}).Secret
	if status, _ := a.Do("GET", "/v1/batches/"+id, stranger, nil); status != 404 {
		t.Errorf("a stranger sees it: %d", status)
	}

	batchElsewhere(t, c)

	// A key that is blocked sends nothing more.
	file = mustUpload(t, a, key, chatLines(3), "batch")
	if err := a.Admin().Block(t.Context(), "keys", made.ID, client.Blocked); err != nil {
		t.Fatal(err)
	}
	if status, _ := b.Do("POST", "/v1/batches", key, fields{"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}); status != 401 {
		t.Errorf("a blocked key orders: %d", status)
	}
}

// batchElsewhere runs a batch of models of providers whose own batches are no files of OpenAI's form: it is the cluster that runs
// it, and what the lines have used is the key's.
func batchElsewhere(t *testing.T, c *nodetest.Cluster) {
	t.Helper()
	up := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		switch q.URL.Path {
		case "/v1beta/models/gem:generateContent":
			_, _ = io.WriteString(rw, `{"candidates":[{"content":{"role":"model","parts":[{"text":"hi"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":20,"totalTokenCount":30}}`)
		case "/model/nova/converse":
			_, _ = io.WriteString(rw, `{"output":{"message":{"role":"assistant","content":[{"text":"hi"}]}},"stopReason":"end_turn","usage":{"inputTokens":10,"outputTokens":20,"totalTokens":30}}`)
		default:
			http.NotFound(rw, q)
		}
	}))
	t.Cleanup(up.Close)
	n := c.Nodes[0]
	price := fields{"input": nodetest.PerMillion(1000), "output": nodetest.PerMillion(2000)}
	for _, d := range []fields{
		{"name": "gem", "provider": "gemini", "api_base": up.URL + "/v1beta", "api_key": "k", "price": price},
		{"name": "nova", "provider": "bedrock", "api_base": up.URL, "api_key": "k", "options": fields{"region": "eu-central-1"}, "price": price},
	} {
		if status, raw := n.Do("POST", "/api/v1/models", nodetest.MasterKey, fields{"name": d["name"], "deployments": []any{d}}); status != 201 {
			t.Fatalf("model %s: %d %s", d["name"], status, raw)
		}
	}
	c.Sync(n.Admin())
	key := c.Key(0, fields{"budgets": budgetOf(resource.Dollar)})
	lines := strings.ReplaceAll(chatLines(1), `"demo"`, `"gem"`) + strings.NewReplacer(`"demo"`, `"nova"`, `"c0"`, `"c1"`).Replace(chatLines(1))
	file := mustUpload(t, n, key.Secret, lines, "batch")
	status, raw := n.Do("POST", "/v1/batches", key.Secret, fields{"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"})
	if status != 200 {
		t.Fatalf("order: %d %s", status, raw)
	}
	id := decoded(t, raw)["id"].(string)
	c.Await("the batch is complete", func() bool {
		_, raw = n.Do("GET", "/v1/batches/"+id, key.Secret, nil)
		return decoded(t, raw)["status"] == "completed"
	})
	if counts := decoded(t, raw)["request_counts"].(map[string]any); counts["completed"] != 2.0 {
		t.Errorf("got %s", raw)
	}
	const cost = resource.Money(2 * (10*1000 + 20*2000))
	c.Await("its lines are booked", func() bool {
		k, err := n.Admin().Keys().One(t.Context(), key.ID)
		return err == nil && k.Spend == cost && len(k.Accounts) == 1 && dollars(t, k.Accounts[0].Settled) == cost
	})
}

// An endpoint that an administrator configures is served by every node, with its secret and its price,
// also by nodes that dial nothing else.
func TestNode_passThroughEndpoint(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 2)
	var got []string
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("X-Token"))
		_, _ = io.WriteString(w, `{"found":true}`)
	}))
	t.Cleanup(target.Close)
	a, b := c.Nodes[0], c.Nodes[1]
	status, raw := a.Do("POST", "/api/v1/pass-through-endpoints", nodetest.MasterKey, fields{
		"name": "search", "path": "/tools/search", "target": target.URL + "/v2", "include_subpath": true, "secrets": fields{"header.X-Token": "canary-token"}, "cost_per_request": 0.25,
	})
	if status != 201 || bytes.Contains(raw, []byte("canary-token")) {
		t.Fatalf("got %d %s", status, raw)
	}
	if status, raw := a.Do("PUT", "/api/v1/settings/sealed", nodetest.MasterKey, fields{"value": true}); status/100 != 2 {
		t.Fatalf("got %d %s", status, raw)
	}
	key := c.Key(0, fields{})
	for i, n := range []*nodetest.Node{a, b} {
		if status, raw := n.Do("GET", "/tools/search/x?q=1", key.Secret, nil); status != 200 || string(raw) != `{"found":true}` || len(got) != i+1 || got[i] != "GET /v2/x?q=1 canary-token" {
			t.Errorf("at %s: %d %s, asked %v", n.Name, status, raw, got)
		}
		if status, _ := n.Do("GET", "/tools/search", "", nil); status != 401 {
			t.Errorf("without a key at %s: %d", n.Name, status)
		}
		if found := grep(t, n.Dir, "canary-token"); len(found) > 0 {
			t.Errorf("the secret can be read in %v", found)
		}
	}
	c.Await("the key is charged", func() bool {
		k, err := a.Admin().Keys().One(t.Context(), key.ID)
		return err == nil && k.Spend == resource.Dollar/2
	})
	if status, _ := a.Do("DELETE", "/api/v1/pass-through-endpoints/search", nodetest.MasterKey, nil); status != 204 {
		t.Errorf("delete: %d", status)
	}
	c.Await("it is gone from the other node", func() bool {
		status, _ := b.Do("GET", "/tools/search", key.Secret, nil)
		return status == 404
	})
}

// The export of a person has his files, whole.
func TestExport_files(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 1)
	n := c.Nodes[0]
	if status, b := n.Do("POST", "/api/v1/users", nodetest.MasterKey, fields{"id": "carol"}); status != 201 {
		t.Fatalf("user: got %d %s", status, b)
	}
	k := c.Key(0, fields{"user_id": "carol"})
	text := strings.Repeat("what carol said\n", 100_000) // longer than a line of the export may have
	id := mustUpload(t, n, k.Secret, text, "user_data")
	mustUpload(t, n, c.Key(0, fields{}).Secret, "of nobody", "user_data")
	status, b := n.Do("GET", "/api/v1/users/carol/export", nodetest.MasterKey, nil)
	if status != 200 {
		t.Fatalf("export: got %d %s", status, b)
	}
	var got []byte
	artifacts := 0
	for line := range strings.Lines(string(b)) {
		var l struct {
			Type string
			Data struct {
				ID     string
				Offset int64
				Base64 []byte
			}
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil && (l.Type == "artifact" || l.Type == "file_part") {
			t.Fatal(err)
		}
		switch l.Type {
		case "artifact":
			artifacts++
		case "file_part":
			if l.Data.ID != id || l.Data.Offset != int64(len(got)) {
				t.Errorf("a part of %s at %d, want one of %s at %d", l.Data.ID, l.Data.Offset, id, len(got))
			}
			got = append(got, l.Data.Base64...)
		}
	}
	if artifacts != 1 || string(got) != text {
		t.Errorf("%d artifacts, %d bytes, want one of %d bytes", artifacts, len(got), len(text))
	}
}
