package proxy_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/files/filestest"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// batchVendor is a provider whose batch is over when done is set.
type batchVendor struct {
	done, broken atomic.Bool
	reads        atomic.Int64
}

const batchOutput = `{"custom_id":"a","response":{"status_code":200,"body":{"model":"gpt-x-2026","choices":[],"usage":{"prompt_tokens":100,"completion_tokens":50}}}}
{"custom_id":"b","response":{"status_code":400,"body":{"error":{"message":"no"}}}}
{"custom_id":"c","response":{"status_code":200,"body":{"model":"gpt-x-2026","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4}}}}}
`

func (v *batchVendor) ServeHTTP(rw http.ResponseWriter, q *http.Request) {
	shown := `{"id":"batch_made12345","object":"batch","status":"in_progress","output_file_id":null}`
	if v.done.Load() {
		shown = `{"id":"batch_made12345","object":"batch","status":"completed","output_file_id":"file-out12345"}`
	}
	rw.Header().Set("Content-Type", "application/json")
	switch {
	case strings.HasSuffix(q.URL.Path, "/files/file-out12345/content"):
		v.reads.Add(1)
		if v.broken.Load() {
			rw.WriteHeader(http.StatusInternalServerError)
			return
		}
		rw.Header().Set("Content-Type", "application/octet-stream")
		_, _ = io.WriteString(rw, batchOutput)
	case q.Method == http.MethodGet && strings.HasSuffix(q.URL.Path, "/batches"):
		_, _ = io.WriteString(rw, `{"object":"list","data":[`+shown+`,{"id":"batch_ofothers123","object":"batch","status":"completed","output_file_id":"file-out12345"}]}`)
	default:
		_, _ = io.WriteString(rw, shown)
	}
}

// TestBatches_Charged: what a provider's batch has used is charged once, to the key that made it, before
// anybody learns where its output is.
func TestBatches_Charged(t *testing.T) {
	t.Parallel()
	v := new(batchVendor)
	up := httptest.NewServer(v)
	t.Cleanup(up.Close)
	r := newRig(t)
	d := r.tables.Deployments[0]
	d.APIBase, d.Options = up.URL+"/v1", map[string]string{"use_in_pass_through": "true"}
	d.Price = &resource.Price{Input: resource.Dollar, Output: 2 * resource.Dollar}
	r.tables.Deployments = r.tables.Deployments[:1]
	for secret, id := range map[string]string{goodKey: "key_good", mateKey: "key_mate"} {
		k := &resource.Key{Meta: resource.Meta{ID: id}, Hash: resource.HashSecret(secret), TeamID: "team_1"}
		r.keys[k.Hash] = k
	}
	r.tables.Teams = []*resource.Team{{Meta: resource.Meta{ID: "team_1"}, Name: "t"}}
	client := upstream.New(upstream.Config{})
	t.Cleanup(client.Close)
	store := filestest.New()
	r.cfg.Artifacts, r.cfg.Upstream, r.cfg.Router = store, proxy.FromClient(client), r.router.Router
	ask := func(key, method, path, body string) {
		t.Helper()
		if w := r.do(method, path, body, as(key)); w.Code != 200 {
			t.Fatalf("%s %s: got %d %s", method, path, w.Code, w.Body)
		}
	}
	bills := func() (n int) {
		for i := range r.journal.settled {
			rec := &r.journal.settled[i]
			if rec.RequestID != "batch_made12345.usage" || rec.Usage.Source == llm.UsageNone {
				continue
			}
			n++
			if rec.KeyID != "key_good" || rec.TeamID != "team_1" || rec.Usage.Prompt() != 110 || rec.Usage.CacheRead != 4 || rec.Usage.Completion() != 55 || rec.Cost != 110_000 /* half, as for any batch */ || rec.Model != "demo" {
				t.Errorf("record %+v", rec)
			}
		}
		return n
	}
	ask(goodKey, "POST", "/v1/batches?custom_llm_provider=openai", `{"input_file_id":"file-in12345","endpoint":"/v1/chat/completions","completion_window":"24h"}`)
	ask(goodKey, "GET", "/v1/batches/batch_made12345", "")
	if n := bills(); n != 0 || v.reads.Load() != 0 {
		t.Errorf("%d bills before it is over", n)
	}
	v.done.Store(true)
	v.broken.Store(true)
	ask(goodKey, "GET", "/v1/batches/batch_made12345", "")
	if n := bills(); n != 0 {
		t.Errorf("%d bills of an output that cannot be read", n)
	}
	v.broken.Store(false)
	ask(mateKey, "GET", "/v1/batches?custom_llm_provider=openai", "")
	if n := bills(); n != 1 {
		t.Fatalf("%d bills, want one", n)
	}
	reads := v.reads.Load()
	for range 2 {
		ask(goodKey, "GET", "/v1/batches/batch_made12345", "")
		ask(mateKey, "GET", "/v1/batches?custom_llm_provider=openai", "")
	}
	if n := bills(); n != 1 || v.reads.Load() != reads {
		t.Errorf("%d bills, %d reads of the output: it was charged before", n, v.reads.Load())
	}
	if r.money.taken != r.money.released || r.limit.taken != r.limit.released {
		t.Errorf("left held: %+v %+v", r.limit, r.money)
	}
}
