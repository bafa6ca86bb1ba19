package provider_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/rerank"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/providertest"
)

// rerankExchange is a recorded exchange, as embedExchange is.
type rerankExchange struct {
	embedExchange
	Queries int64 `json:"queries,omitempty"`
}

func loadRerank(t testing.TB) []rerankExchange {
	return load[rerankExchange](t, "testdata/rerank.json")
}

// rowServing is a row that serves the endpoint.
func rowServing(t *testing.T, e llm.Endpoint) *provider.Provider {
	t.Helper()
	for _, name := range provider.Names() {
		if p, _ := provider.Lookup(name); p.Serves(e) {
			return p
		}
	}
	t.Fatalf("nobody serves %s", e)
	return nil
}

// TestRerank plays the recorded exchanges.
func TestRerank(t *testing.T) {
	t.Parallel()
	in, _ := provider.RerankInboundOf(llm.Rerank)
	played := map[string]bool{}
	for _, x := range loadRerank(t) {
		played[x.Endpoint] = true
		t.Run(x.Endpoint+"/"+x.Name, func(t *testing.T) {
			t.Parallel()
			at := endpointNamed(x.Endpoint)
			out, ok := provider.RerankOutboundOf(at)
			if !ok {
				t.Fatalf("%s is no endpoint", x.Endpoint)
			}
			req, err := in.DecodeRequest(x.Request)
			if err != nil {
				t.Fatal(err)
			}
			target := llm.Target{Model: x.Model, Options: x.Options}
			sent, err := out.EncodeRequest(req, &target)
			if x.Refused != "" {
				if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Invalid || e.Param != x.Refused {
					t.Errorf("got %v, want a refusal of %s", err, x.Refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			same(t, "sent", x.Sent, sent)
			if d := cmp.Diff(x.Dropped, target.Dropped()); d != "" {
				t.Errorf("dropped (-want +got):\n%s", d)
			}
			if x.Answer == nil {
				return
			}
			report, err := rowServing(t, at).Codec.Read(at, x.Answer)
			if err != nil || report.HasError {
				t.Fatalf("read: %+v, %v", report, err)
			}
			if report.Usage.Input != x.Tokens || report.Usage.Units.Queries != x.Queries {
				t.Errorf("got usage %+v, want %d tokens and %d queries", report.Usage, x.Tokens, x.Queries)
			}
			res, err := out.DecodeResponse(x.Answer)
			if err != nil {
				t.Fatal(err)
			}
			if err := res.Arrange(req); err != nil {
				t.Fatal(err)
			}
			if res.ID == "" {
				res.ID = "own"
			}
			res.Usage = report.Usage
			got, err := in.EncodeResponse(req, res)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "got", x.Got, got)
		})
	}
	for _, e := range llm.Endpoints() {
		if _, ok := provider.RerankOutboundOf(e); ok && !played[e.String()] {
			t.Errorf("%s has no recorded exchange", e)
		}
	}
}

// TestRerank_Bad: what cannot be an answer to the request is refused, and what cannot be a request.
func TestRerank_Bad(t *testing.T) {
	t.Parallel()
	q := &rerank.Request{Documents: make([]rerank.Document, 2)}
	for name, results := range map[string][]rerank.Result{
		"one that is not there": {{Index: 2}, {Index: 0}},
		"a negative one":        {{Index: -1}, {Index: 0}},
		"one twice":             {{Index: 1}, {Index: 1}},
		"too few":               {{Index: 1}},
		"none":                  nil,
	} {
		res := rerank.Response{Results: results}
		if e, ok := errors.AsType[*llm.Error](res.Arrange(q)); !ok || e.Kind != llm.Upstream {
			t.Errorf("%s is taken", name)
		}
	}
	in, _ := provider.RerankInboundOf(llm.Rerank)
	for body, param := range map[string]string{
		`{"query":"q"}`:                               "documents",
		`{"documents":["a"]}`:                         "query",
		`{"query":1,"documents":["a"]}`:               "query",
		`{"query":"q","documents":["a",3]}`:           "documents[1]",
		`{"query":"q","documents":"a"}`:               "documents",
		`{"query":"q","documents":["a"],"top_n":-1}`:  "top_n",
		`{"query":"q","documents":["a"],"top_n":"1"}`: "top_n",
	} {
		_, err := in.DecodeRequest([]byte(body))
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Invalid || e.Param != param {
			t.Errorf("%s: got %v, want an error at %s", body, err, param)
		}
	}
}

// TestRerank_Addresses: rerankings are where their vendors have them.
func TestRerank_Addresses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		provider, base, model string
		options               map[string]string
		want                  string
	}{
		{"cohere", "", "rerank-v3.5", nil, "https://api.cohere.com/v2/rerank"},
		{"jina_ai", "", "jina-reranker-v2-base-multilingual", nil, "https://api.jina.ai/v1/rerank"},
		{"voyage", "", "rerank-2.5", nil, "https://api.voyageai.com/v1/rerank"},
		{"together_ai", "", "Salesforce/Llama-Rank-V1", nil, "https://api.together.ai/v1/rerank"},
		{"fireworks_ai", "", "fireworks/qwen3-reranker-8b", nil, "https://api.fireworks.ai/inference/v1/rerank"},
		{"deepinfra", "", "Qwen/Qwen3-Reranker-0.6B", nil, "https://api.deepinfra.com/v1/inference/Qwen/Qwen3-Reranker-0.6B"},
		{"nvidia_nim", "", "nvidia/llama-3.2-nv-rerankqa-1b-v2", nil, "https://ai.api.nvidia.com/v1/retrieval/nvidia/llama-3_2-nv-rerankqa-1b-v2/reranking"},
		{"nvidia_nim", "http://nim:8000/v1", "m", nil, "http://nim:8000/v1/ranking"},
		{"bedrock", "", "amazon.rerank-v1:0", map[string]string{"region": "us-west-2"}, "https://bedrock-agent-runtime.us-west-2.amazonaws.com/rerank"},
		{"bedrock", "http://127.0.0.1:1", "amazon.rerank-v1:0", nil, "http://127.0.0.1:1/rerank"},
		{"vertex_ai", "", "semantic-ranker-default@latest", map[string]string{"project": "p", "location": "us-central1"}, "https://discoveryengine.googleapis.com/v1/projects/p/locations/global/rankingConfigs/default_ranking_config:rank"},
		{"vertex_ai", "", "semantic-ranker-default@latest", map[string]string{"project": "p", "location": "eu"}, "https://discoveryengine.googleapis.com/v1/projects/p/locations/global/rankingConfigs/default_ranking_config:rank"},
		{"watsonx", "", "m", map[string]string{"region": "us-south"}, "https://us-south.ml.cloud.ibm.com/ml/v1/text/rerank?version=2025-05-20"},
		{"tei", "http://tei:80", "m", nil, "http://tei:80/rerank"},
		{"infinity", "http://inf:7997", "m", nil, "http://inf:7997/rerank"},
		{"hosted_vllm", "http://vllm:8000/v1", "m", nil, "http://vllm:8000/v1/rerank"},
		{"azure_ai", "https://x.models.ai.azure.com", "m", nil, "https://x.models.ai.azure.com/v1/rerank"},
		{"azure_ai", "https://x.models.ai.azure.com/v2", "m", nil, "https://x.models.ai.azure.com/v2/rerank"},
	} {
		p, ok := provider.Lookup(tt.provider)
		if !ok {
			t.Errorf("no row %s", tt.provider)
			continue
		}
		p = p.For(tt.model)
		at, ok := p.Way(llm.Rerank)
		if !ok {
			t.Errorf("%s does not rerank", tt.provider)
			continue
		}
		got, err := p.URL(tt.base, llm.Place{Endpoint: at, Model: tt.model, Options: tt.options})
		if err != nil || got != tt.want {
			t.Errorf("%s: got %q and %v, want %q", tt.provider, got, err, tt.want)
		}
	}
}

// TestRerank_Conformance: the rules for codecs hold for the vendors whose codec is of rerankings.
func TestRerank_Conformance(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"deepinfra", "nvidia_nim", "infinity", "fireworks_ai"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, _ := provider.Lookup(name)
			providertest.Run(t, p, "testdata/errors_rerank.jsonl")
		})
	}
}

// FuzzRerankResponse: no answer makes a reader panic, and one that fits the request can be written.
func FuzzRerankResponse(f *testing.F) {
	for _, x := range loadRerank(f) {
		f.Add([]byte(x.Answer))
	}
	f.Add([]byte(`{"records":[{"id":"1e9"}],"nextToken":"x","scores":[null]}`))
	in, _ := provider.RerankInboundOf(llm.Rerank)
	q := &rerank.Request{Query: "q", Documents: make([]rerank.Document, 3), Return: true}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, e := range llm.Endpoints() {
			out, ok := provider.RerankOutboundOf(e)
			if !ok {
				continue
			}
			res, err := out.DecodeResponse(body)
			if err == nil {
				err = res.Arrange(q)
			}
			if err != nil {
				if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Upstream {
					t.Fatalf("got %v", err)
				}
				continue
			}
			if got, err := in.EncodeResponse(q, res); err != nil || !json.Valid(got) {
				t.Fatalf("%s of %s: %s, %v", e, body, got, err)
			}
		}
	})
}

// FuzzRerankRequest: no request makes the reader panic; one that is taken is written for every vendor.
func FuzzRerankRequest(f *testing.F) {
	for _, x := range loadRerank(f) {
		f.Add([]byte(x.Request))
	}
	in, _ := provider.RerankInboundOf(llm.Rerank)
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := in.DecodeRequest(body)
		if err != nil {
			if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Invalid {
				t.Fatalf("got %v", err)
			}
			return
		}
		for _, e := range llm.Endpoints() {
			out, ok := provider.RerankOutboundOf(e)
			if !ok {
				continue
			}
			for _, policy := range []llm.Policy{llm.PolicyDrop, llm.PolicyPass} {
				sent, err := out.EncodeRequest(req, &llm.Target{Model: "m", Policy: policy, Options: map[string]string{"project_id": "p"}})
				if err == nil && !json.Valid(sent) {
					t.Fatalf("%s of %s: %s", e, body, sent)
				}
			}
		}
	})
}
