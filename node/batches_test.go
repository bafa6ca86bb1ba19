package node_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/node"
	"github.com/conclave-llm/conclave/node/nodetest"
	"github.com/conclave-llm/conclave/resource"
)

// batchHouse answers for files and batches as OpenAI's document has them. Whoever reads an output waits for release.
type batchHouse struct {
	mu     sync.Mutex // guards what follows
	files  [][]byte   // file-abc1, file-abc2, …
	orders int
	done   bool
	reads  int

	reading chan struct{} // is closed when the output is first read
	release chan struct{} // is closed when it may be had
}

const batchShown = `{"id":"batch_abc123","object":"batch","endpoint":"/v1/chat/completions","model":"gpt-5-mini","errors":null,"input_file_id":"file-abc1",` +
	`"completion_window":"24h","status":%q,"output_file_id":%s,"error_file_id":null,"created_at":1711471533,"in_progress_at":1711471538,"expires_at":1711557933,` +
	`"finalizing_at":null,"completed_at":null,"failed_at":null,"expired_at":null,"cancelling_at":null,"cancelled_at":null,` +
	`"request_counts":{"total":4,"completed":0,"failed":0},"metadata":null}`

func (h *batchHouse) ServeHTTP(rw http.ResponseWriter, q *http.Request) {
	if q.Method == http.MethodGet && q.URL.Path == "/v1/files/file-out123/content" {
		h.mu.Lock()
		if h.reads++; h.reads == 1 {
			close(h.reading)
		}
		h.mu.Unlock()
		select {
		case <-h.release:
		case <-q.Context().Done():
			return
		}
		rw.Header().Set("Content-Type", "application/octet-stream")
		for i := range 4 {
			_, _ = fmt.Fprintf(rw, `{"id":"batch_req_%d","custom_id":"c%d","response":{"status_code":200,"request_id":"req_%d","body":{"id":"chatcmpl-%d","object":"chat.completion","created":1711475054,"model":"gpt-5-mini-2025-08-07","choices":[{"index":0,"message":{"role":"assistant","content":"hello","refusal":null},"finish_reason":"stop"}],"usage":{"prompt_tokens":20,"completion_tokens":10,"total_tokens":30}}},"error":null}`+"\n", i, i, i, i)
		}
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	rw.Header().Set("Content-Type", "application/json")
	switch q.Method + " " + q.URL.Path {
	case "POST /v1/files":
		var file []byte
		f, _, err := q.FormFile("file")
		if err == nil {
			file, err = io.ReadAll(f)
		}
		if err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		h.files = append(h.files, file)
		_, _ = fmt.Fprintf(rw, `{"id":"file-abc%d","object":"file","bytes":%d,"created_at":1711471533,"filename":"in.jsonl","purpose":"batch","status":"processed"}`, len(h.files), len(file))
		return
	case "GET /v1/files/file-abc1/content", "GET /v1/files/file-abc2/content":
		rw.Header().Set("Content-Type", "application/octet-stream")
		_, _ = rw.Write(h.files[q.URL.Path[len("/v1/files/file-abc")]-'1'])
		return
	case "POST /v1/batches":
		h.orders++
	case "GET /v1/batches/batch_abc123":
	default:
		http.NotFound(rw, q)
		return
	}
	if h.done {
		_, _ = fmt.Fprintf(rw, batchShown, "completed", `"file-out123"`)
		return
	}
	_, _ = fmt.Fprintf(rw, batchShown, "in_progress", "null")
}

func (h *batchHouse) ordered() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.orders
}

// What a batch of four lines of the test's holds, but for the prompts, and costs.
const (
	batchHeld = resource.Money(4 * 10000 * 2000 / 2)
	batchCost = resource.Money(4 * (20*1000 + 10*2000) / 2)
)

// serve starts three nodes with a model of the house's.
func (h *batchHouse) serve(t *testing.T) *nodetest.Cluster {
	t.Helper()
	up := httptest.NewServer(h)
	t.Cleanup(up.Close)
	c := nodetest.Config{Edit: func(_ int, cfg *node.Config) { cfg.BatchesEvery = 20 * time.Millisecond }}.Start(t, 3)
	if status, body := c.Nodes[0].Do("POST", "/api/v1/models", nodetest.MasterKey, fields{"name": "quick", "deployments": []any{fields{
		"name": "quick-1", "provider": "openai", "api_base": up.URL + "/v1", "model": "gpt-5-mini", "api_key": nodetest.UpstreamKey,
		"options": fields{"use_in_pass_through": "true"}, "price": fields{"input": nodetest.PerMillion(1000), "output": nodetest.PerMillion(2000)},
	}}}); status != 201 {
		t.Fatalf("%d %s", status, body)
	}
	c.Sync(c.Nodes[0].Admin())
	return c
}

// orderBatch uploads four lines, which costs nothing, and orders a batch of them.
func orderBatch(t *testing.T, at *nodetest.Node, key client.Key) (status int, body []byte) {
	t.Helper()
	lines := strings.ReplaceAll(chatLines(4), `"model":"demo","max_tokens":4`, `"model":"quick","max_tokens":10000`)
	status, out := upload(t, at, key.Secret, lines, "purpose", "batch", "custom_llm_provider", "openai")
	if status != 200 {
		t.Fatalf("upload: %d %v", status, out)
	}
	return at.Do("POST", "/v1/batches", key.Secret, fields{"input_file_id": out["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"})
}

// A node that has begun to book a batch and was ended then books it when it is back, though another leads and nobody asks.
func TestNode_batchBegunByAFollower(t *testing.T) {
	t.Parallel()
	h := &batchHouse{reading: make(chan struct{}), release: make(chan struct{})}
	close(h.release)
	c := h.serve(t)
	at := c.Followers()[0]
	key := c.Key(0, fields{"budgets": budgetOf(resource.Dollar)})
	if status, body := orderBatch(t, at, key); status != 200 {
		t.Fatalf("order: %d %s", status, body)
	}
	begin := func() bool { // as a client's question at the node does before it writes
		a, version, err := at.Artifacts().Get(t.Context(), "batch_abc123")
		if err != nil {
			return false
		}
		next, order := *a, *a.Order
		order.Booker, next.Order = at.ID(), &order
		_, err = at.Artifacts().Put(t.Context(), &next, version)
		return err == nil
	}
	c.Await("the follower has begun", begin)
	at.Kill()
	at.Start()
	h.mu.Lock()
	h.done = true
	h.mu.Unlock()
	for _, n := range c.Nodes {
		c.Await(n.Name+" knows that it is booked", func() bool {
			k, err := n.Admin().Keys().One(t.Context(), key.ID)
			return err == nil && k.Spend == batchCost && len(k.Accounts) == 1 && dollars(t, k.Accounts[0].Settled) == batchCost
		})
	}
}

// A batch that a provider runs is held for from its order on, and booked once by the leader, though the node that it was
// ordered at is killed, and the leader while it reads what the batch has made. Nobody asks for it.
func TestNode_batchOfProvider(t *testing.T) {
	t.Parallel()
	h := &batchHouse{reading: make(chan struct{}), release: make(chan struct{})}
	c := h.serve(t)
	rich, poor := c.Key(0, fields{"budgets": budgetOf(resource.Dollar)}), c.Key(0, fields{"budgets": budgetOf(batchHeld - 1)})
	at, leader := c.Followers()[0], c.Leader()
	order := func(key client.Key) (int, []byte) { return orderBatch(t, at, key) }
	var last client.Key // that was seen
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the key was last seen with %s spent and %+v", last.Spend, last.Accounts)
		}
	})
	account := func(n *nodetest.Node) (settled, spend resource.Money) {
		k, err := n.Admin().Keys().One(t.Context(), rich.ID)
		if err != nil || len(k.Accounts) != 1 {
			return -1, -1
		}
		last = k
		return dollars(t, k.Accounts[0].Settled), k.Spend
	}
	if status, body := order(rich); status != 200 {
		t.Fatalf("order: %d %s", status, body)
	}
	if status, body := order(poor); status != 429 || errorCode(body) != "budget_exceeded" || h.ordered() != 1 {
		t.Errorf("beyond the budget: %d %s, %d orders", status, body, h.ordered())
	}
	c.Await("it is held for", func() bool {
		settled, spend := account(leader)
		return settled >= batchHeld && settled < 2*batchHeld && spend == 0
	})
	backup := save(t, at)
	at.Kill()
	at.Start()
	h.mu.Lock()
	h.done = true
	h.mu.Unlock()
	select {
	case <-h.reading:
	case <-time.After(time.Minute):
		t.Fatal("nobody reads the output")
	}
	leader.Kill()
	close(h.release)
	c.Await("it is booked", func() bool {
		settled, spend := account(at)
		return settled == batchCost && spend == batchCost
	})
	leader.Start()
	for _, n := range c.Nodes {
		c.Await(n.Name+" knows", func() bool {
			settled, spend := account(n)
			return settled == batchCost && spend == batchCost
		})
		get := func(path, secret string) (status int, body []byte) {
			c.Await(n.Name+" can ask the leader, and has a lease", func() bool {
				status, body = n.Do("GET", path, secret, nil)
				return status != 503 && status != 429
			})
			return status, body
		}
		if status, body := get("/v1/batches/batch_abc123", rich.Secret); status != 200 {
			t.Errorf("show at %s: %d %s", n.Name, status, body)
		}
		status, body := get("/v1/files/file-out123/content", rich.Secret)
		if status != 200 || strings.Count(string(body), `"model":"quick"`) != 4 || strings.Contains(string(body), "gpt-5") {
			t.Errorf("results at %s: %d %s", n.Name, status, body)
		}
		if status, _ := get("/v1/files/file-out123/content", poor.Secret); status != 404 {
			t.Errorf("a stranger reads the results at %s: %d", n.Name, status)
		}
	}
	if settled, spend := account(at); settled != batchCost || spend != batchCost {
		t.Errorf("asked for again: settled %s, spent %s, want %s", settled, spend, batchCost)
	}
	if _, err := restore(t, c, at, backup, nil); err != nil { // in which it is not booked
		t.Fatal(err)
	}
	replayed(t, c, 1)
	now := c.Leader()
	c.Await("the leader has looked again", func() bool { // an answer waits until it is booked
		status, _ := now.Do("GET", "/v1/batches/batch_abc123", rich.Secret, nil)
		return status == 200
	})
	c.Await("the ledger adds up", func() bool {
		v, err := now.Admin().VerifyLedger(t.Context())
		return err == nil && len(v.Missing)+len(v.Differences) == 0
	})
	if settled, spend := account(now); settled != batchCost || spend != batchCost {
		t.Errorf("after a restore: settled %s, spent %s, want %s", settled, spend, batchCost)
	}
}
