package proxy_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// rankers are vendors of rerankings: where each is asked, and how it answers that of three documents
// the last is the best and the first the worst.
var rankers = []struct {
	provider, model, path, answer string
	header                        map[string]string
	tokens                        int64
	source                        llm.UsageSource
}{
	{provider: "cohere", model: "rerank-v3.5", path: "/rerank", source: llm.UsageProvider, answer: `{"id":"x","results":[{"index":2,"relevance_score":0.9},{"index":1,"relevance_score":0.5}],"meta":{"billed_units":{"search_units":1}}}`},
	{provider: "jina_ai", model: "jina-reranker-v2", path: "/rerank", tokens: 26, source: llm.UsageProvider, answer: `{"model":"m","object":"list","usage":{"total_tokens":26},"results":[{"index":2,"relevance_score":0.9},{"index":1,"relevance_score":0.5}]}`},
	{provider: "voyage", model: "rerank-2.5", path: "/rerank", tokens: 26, source: llm.UsageProvider, answer: `{"object":"list","data":[{"relevance_score":0.9,"index":2},{"relevance_score":0.5,"index":1}],"model":"m","usage":{"total_tokens":26}}`},
	{provider: "fireworks_ai", model: "fireworks/r", path: "/rerank", tokens: 26, source: llm.UsageProvider, answer: `{"object":"list","data":[{"relevance_score":0.9,"index":2,"document":"c"},{"relevance_score":0.5,"index":1,"document":"b"}],"usage":{"total_tokens":26,"prompt_tokens":26,"completion_tokens":0}}`},
	{provider: "tei", model: "m", path: "/rerank", tokens: 26, source: llm.UsageProvider, header: map[string]string{"X-Compute-Tokens": "26"}, answer: `[{"index":0,"score":0.1},{"index":1,"score":0.5},{"index":2,"score":0.9}]`},
	{provider: "bedrock", model: "amazon.rerank-v1:0", path: "/rerank", source: llm.UsageEstimated, answer: `{"results":[{"index":2,"relevanceScore":0.9},{"index":1,"relevanceScore":0.5}]}`},
	{provider: "nvidia_nim", model: "m", path: "/ranking", tokens: 26, source: llm.UsageProvider, answer: `{"rankings":[{"index":1,"logit":0.5},{"index":2,"logit":0.9},{"index":0,"logit":-3}],"usage":{"prompt_tokens":26,"total_tokens":26}}`},
	{provider: "deepinfra", model: "Q/R", path: "/inference/Q/R", tokens: 26, source: llm.UsageProvider, answer: `{"scores":[0.1,0.5,0.9],"input_tokens":26,"request_id":"r"}`},
	{provider: "watsonx", model: "m", path: "/ml/v1/text/rerank", tokens: 26, source: llm.UsageProvider, answer: `{"model_id":"m","results":[{"index":2,"score":0.9},{"index":1,"score":0.5}],"input_token_count":26}`},
}

// TestRerank asks every vendor in Cohere's form, and settles what it used: searches, and tokens where
// it says them.
func TestRerank(t *testing.T) {
	t.Parallel()
	for _, rk := range rankers {
		t.Run(rk.provider, func(t *testing.T) {
			t.Parallel()
			var path string
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				path = q.URL.EscapedPath()
				_, _ = io.Copy(io.Discard, q.Body)
				w.Header().Set("Content-Type", "application/json")
				for k, v := range rk.header {
					w.Header().Set(k, v)
				}
				_, _ = io.WriteString(w, rk.answer)
			}))
			t.Cleanup(srv.Close)
			r := (&embedder{provider: rk.provider, model: rk.model}).rigFor(t, srv.URL, map[string]string{"project_id": "p"})
			if rk.provider == "watsonx" {
				r.tables.Deployments[0].Secrets = map[string]*resource.Sealed{"watsonx_token": {}}
			}
			r.tables.Deployments[0].Price = &resource.Price{Input: resource.Dollar, Units: resource.Units{Query: 2e12}}
			w := r.do("POST", "/v2/rerank", `{"model":"demo","query":"q","documents":["a","b","c"],"top_n":2}`)
			var got struct {
				Results []struct {
					Index int
					Score float64 `json:"relevance_score"`
				}
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 {
				t.Fatalf("got %d %s", w.Code, w.Body)
			}
			if len(got.Results) != 2 || got.Results[0].Index != 2 || got.Results[0].Score != 0.9 || got.Results[1].Index != 1 || path != rk.path {
				t.Errorf("%s: got %s", path, w.Body)
			}
			r.checkBalance()
			rec := r.journal.settled[0]
			if u := rec.Usage; u.Units.Queries != 1 || u.Source != rk.source || rk.source == llm.UsageProvider && u.Input != rk.tokens {
				t.Errorf("usage %+v", u)
			}
			if want := resource.Money(2_000_000 + rec.Usage.Input*1000); rec.Cost != want {
				t.Errorf("cost %d, want %d", rec.Cost, want)
			}
		})
	}
}

// TestRerank_Bad: answers that do not fit the request are the provider's fault; documents come back
// from the request, and what a vendor does not take is named.
func TestRerank_Bad(t *testing.T) {
	t.Parallel()
	answer := `{"scores":[0.1,0.5]}`
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(srv.Close)
	r := (&embedder{provider: "deepinfra", model: "R"}).rigFor(t, srv.URL, nil)
	const body = `{"model":"demo","query":"q","documents":["a",{"text":"b","id":7},"c"],"return_documents":true,"max_tokens_per_doc":9}`
	if w := r.do("POST", "/rerank", body); w.Code != 502 || codeOf(t, w.Body.String()) != "invalid_response" {
		t.Errorf("too few: got %d %s", w.Code, w.Body)
	}
	answer = `{"scores":[0.1,0.5,0.2]}`
	w := r.do("POST", "/rerank", body)
	if w.Code != 200 || !strings.Contains(w.Body.String(), `{"index":1,"relevance_score":0.5,"document":{"text":"b","id":7}}`) ||
		!strings.Contains(w.Header().Get("X-Conclave-Dropped-Params"), "max_tokens_per_doc") {
		t.Errorf("got %d %v %s", w.Code, w.Header(), w.Body)
	}
	if w := r.do("POST", "/rerank", `{"model":"demo","query":"q","documents":[]}`); w.Code != 400 || !strings.Contains(w.Body.String(), "documents") {
		t.Errorf("no documents: got %d %s", w.Code, w.Body)
	}
}
