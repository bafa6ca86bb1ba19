package proxy_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/files/filestest"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// A key that may not use a model may not have it work below the top of a body either.
func TestPassThrough_Nested(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, provider, path, body string
		form                       map[string]string
		status                     int
	}{
		{"a batch", "anthropic", "/anthropic/v1/messages/batches", `{"requests":[{"custom_id":"1","params":{"model":"gpt-x"}},{"custom_id":"2","params":{"model":"secret"}}]}`, nil, 403},
		{"its own batch", "anthropic", "/anthropic/v1/messages/batches", `{"requests":[{"custom_id":"1","params":{"model":"gpt-x"}}]}`, nil, 200},
		{"an eval", "openai", "/v1/evals/e/runs", `{"data_source":{"type":"completions","model":"secret"}}`, nil, 403},
		{"a grader", "openai", "/openai/v1/evals", `{"testing_criteria":[{"type":"score_model","model":"secret"}]}`, nil, 403},
		{"its own eval", "openai", "/v1/evals/e/runs", `{"data_source":{"type":"completions","model":"demo"}}`, nil, 200},
		{"lines", "openai", "/v1/files?custom_llm_provider=openai", "", map[string]string{"purpose": "batch", "file": `{"custom_id":"1","body":{"model":"secret"}}`}, 403},
		{"lines in the provider's words", "openai", "/openai_passthrough/v1/files", "", map[string]string{"purpose": "batch", "file": `{"custom_id":"1","body":{"model":"secret"}}`}, 403},
		{"its own lines", "openai", "/v1/files?custom_llm_provider=openai", "", map[string]string{"purpose": "batch", "file": `{"custom_id":"1","body":{"model":"gpt-x"}}`}, 200},
		{"another file", "openai", "/v1/files?custom_llm_provider=openai", "", map[string]string{"purpose": "evals", "file": `{"model":"secret"}`}, 200},
		{"parts of a batch's file", "openai", "/v1/uploads", `{"purpose":"batch","filename":"a"}`, nil, 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			asked := false
			w := passWire(t, tt.provider, func(rw http.ResponseWriter, _ *http.Request) {
				asked = true
				rw.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(rw, `{"id":"thing_1"}`)
			})
			kind := "application/json"
			if tt.form != nil {
				tt.body, kind = uploadWith(t, tt.form["file"], "purpose", tt.form["purpose"])
			}
			res, got := w.send(t.Context(), "POST", tt.path, tt.body, func(r *http.Request) { r.Header.Set("Content-Type", kind) }) //nolint:bodyclose // send closes it
			if res.StatusCode != tt.status || asked != (tt.status == 200) || tt.status == 403 && !strings.Contains(got, "model_access_denied") && !strings.Contains(got, "secret") {
				t.Errorf("got %d %s (asked: %t), want %d", res.StatusCode, got, asked, tt.status)
			}
		})
	}
}

// What orders a batch names the gateway's models, and the provider learns its own names.
func TestPassThrough_BatchNames(t *testing.T) {
	t.Parallel()
	const line = `{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{"model":"NAME","messages":[{"role":"user","content":"model \"demo\"","model":"demo"}]}}`
	lines := func(names ...string) string {
		var b strings.Builder
		for _, name := range names {
			b.WriteString(strings.Replace(line, "NAME", name, 1) + "\n")
		}
		return b.String()
	}
	for _, tt := range []struct{ name, provider, path, body, file, purpose, want string }{
		{"lines", "openai", "/v1/files?custom_llm_provider=openai", "", lines("demo", "gpt-x", "mini"), "batch", lines("gpt-x", "gpt-x", "gpt-mini")},
		{"lines in the provider's words", "openai", "/openai/v1/files", "", lines("demo"), "batch", lines("gpt-x")},
		{"another file", "openai", "/v1/files?custom_llm_provider=openai", "", lines("demo"), "evals", lines("demo")},
		{"not of lines", "openai", "/v1/files?custom_llm_provider=openai", "", "demo\r\n{\"body\":{\"model\":\"demo\"}", "batch", "demo\r\n{\"body\":{\"model\":\"demo\"}"},
		{
			"Anthropic's", "anthropic", "/anthropic/v1/messages/batches",
			`{"requests":[{"custom_id":"1","params":{"model":"demo","messages":[{"model":"demo"}]}},{"custom_id":"2","params":{"model":"mini"}}]}`, "", "",
			`{"requests":[{"custom_id":"1","params":{"model":"gpt-x","messages":[{"model":"demo"}]}},{"custom_id":"2","params":{"model":"gpt-mini"}}]}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sent := ""
			w := passWire(t, tt.provider, func(rw http.ResponseWriter, q *http.Request) {
				rw.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(rw, `{"id":"thing_1"}`)
				if tt.purpose == "" {
					b, _ := io.ReadAll(q.Body)
					sent = string(b)
					return
				}
				f, _, err := q.FormFile("file")
				if err != nil {
					t.Error(err)
					return
				}
				b, _ := io.ReadAll(f)
				sent = string(b)
			})
			m, d := *w.tables.Models[0], *w.tables.Deployments[0]
			m.ID, m.Name, d.ID, d.ModelID, d.Upstream = "model_mini", "mini", "dep_mini", "model_mini", "gpt-mini"
			w.tables.Models, w.tables.Deployments = append(w.tables.Models, &m), append(w.tables.Deployments, &d)
			w.keys[resource.HashSecret(goodKey)].Models = []string{"demo", "mini"}
			w.mux, w.cfg.Catalog = nil, nil
			front := httptest.NewServer(w.handler())
			t.Cleanup(front.Close)
			w.url = front.URL
			body, kind := tt.body, "application/json"
			if tt.purpose != "" {
				body, kind = uploadWith(t, tt.file, "purpose", tt.purpose)
			}
			res, got := w.send(t.Context(), "POST", tt.path, body, func(r *http.Request) { r.Header.Set("Content-Type", kind) }) //nolint:bodyclose // send closes it
			if res.StatusCode != 200 || sent != tt.want {
				t.Errorf("got %d %s, sent %s, want %s", res.StatusCode, got, sent, tt.want)
			}
		})
	}
}

// anthropicBatches is a provider with one batch that is over.
func anthropicBatches(rw http.ResponseWriter, q *http.Request) {
	rw.Header().Set("Content-Type", "application/json")
	switch {
	case strings.HasSuffix(q.URL.Path, "/results"):
		rw.Header().Set("Content-Type", "application/x-jsonl")
		_, _ = io.WriteString(rw, `{"custom_id":"a","result":{"type":"succeeded","message":{"model":"gpt-x","usage":{"input_tokens":100,"output_tokens":50}}}}`+"\n")
	case q.Method == http.MethodPost:
		_, _ = io.WriteString(rw, `{"id":"msgbatch_1","type":"message_batch","processing_status":"in_progress"}`)
	default:
		_, _ = io.WriteString(rw, `{"id":"msgbatch_1","type":"message_batch","processing_status":"ended","results_url":"https://api.anthropic.com/v1/messages/batches/msgbatch_1/results"}`)
	}
}

// What a batch of Anthropic's has used is charged once, before its results pass: whoever asks for what first.
func TestPassThrough_AnthropicBatch(t *testing.T) {
	t.Parallel()
	for name, paths := range map[string][]string{
		"results": {"/results", "/results", ""}, "the batch": {"", "/results", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := httptest.NewServer(http.HandlerFunc(anthropicBatches))
			t.Cleanup(up.Close)
			r := newRig(t)
			r.tables.Deployments = r.tables.Deployments[:1]
			d := r.tables.Deployments[0]
			d.Provider, d.APIBase, d.Options = "anthropic", up.URL, map[string]string{"use_in_pass_through": "true"}
			d.Price = &resource.Price{Input: resource.Dollar, Output: 2 * resource.Dollar}
			client := upstream.New(upstream.Config{})
			t.Cleanup(client.Close)
			r.cfg.Artifacts, r.cfg.Upstream, r.cfg.Router = filestest.New(), proxy.FromClient(client), r.router.Router
			const at = "/anthropic/v1/messages/batches"
			if w := r.do("POST", at, `{"requests":[{"custom_id":"a","params":{"model":"gpt-x","max_tokens":9,"messages":[]}}]}`); w.Code != 200 {
				t.Fatalf("got %d %s", w.Code, w.Body)
			}
			if rec := r.journal.settled[0]; rec.Cost != 0 || rec.Usage.Source != llm.UsageNone {
				t.Errorf("the order is recorded as %+v", rec)
			}
			for _, p := range paths {
				if w := r.do("GET", at+"/msgbatch_1"+p, ""); w.Code != 200 {
					t.Errorf("%s: got %d %s", p, w.Code, w.Body)
				}
			}
			bills := 0
			for _, rec := range r.journal.settled {
				if rec.RequestID != "msgbatch_1.usage" {
					continue
				}
				bills++
				if rec.Usage.Input != 100 || rec.Usage.Output != 50 || rec.Cost != 100_000 /* half, as for any batch */ || rec.KeyID != "key_good" {
					t.Errorf("recorded %+v", rec)
				}
			}
			if bills != 1 {
				t.Errorf("%d bills, want one", bills)
			}
		})
	}
}

// A batch whose use nobody would learn is refused to who has a budget.
func TestPassThrough_Unbillable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, provider, path string
		budget               bool
		status               int
	}{
		{"Google's", "gemini", "/gemini/v1beta/models/gpt-x:batchGenerateContent", true, 403},
		{"Vertex's", "vertex_ai", "/vertex_ai/v1/projects/p/locations/l/batchPredictionJobs", true, 403},
		{"Anthropic's without owners", "anthropic", "/anthropic/v1/messages/batches", true, 403},
		{"without a budget", "gemini", "/gemini/v1beta/models/gpt-x:asyncBatchEmbedContent", false, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := passWire(t, tt.provider, func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(rw, `{"name":"batches/b1","metadata":{"state":"BATCH_STATE_PENDING"}}`)
			})
			if tt.budget {
				w.keys[resource.HashSecret(goodKey)].Budgets = []resource.Terms{{USD: resource.Dollar}}
			}
			res, got := w.send(t.Context(), "POST", tt.path, `{"x":1}`) //nolint:bodyclose // send closes it
			if res.StatusCode != tt.status || tt.status == 403 && !strings.Contains(got, "batch_not_billable") && !strings.Contains(got, "budget that it must") {
				t.Errorf("got %d %s, want %d", res.StatusCode, got, tt.status)
			}
			if tt.status != 200 {
				return
			}
			if rec := w.record(); rec.Usage.Source != llm.UsageEstimated || rec.Usage.Output != 4096 || rec.Cost == 0 {
				t.Errorf("what is held for it is not its cost: recorded %+v", rec)
			}
		})
	}
}
