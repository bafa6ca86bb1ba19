package provider_test

import (
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/providertest"
)

// embedExchange is a recorded exchange: what a client of OpenAI's form asks, what the vendor is sent,
// what it answers, and what the client gets. An empty Request tests the answer alone.
type embedExchange struct {
	Name     string            `json:"name"`
	Endpoint string            `json:"endpoint"`
	Model    string            `json:"model"`
	Options  map[string]string `json:"options,omitempty"`
	Request  json.RawMessage   `json:"request,omitempty"`
	Sent     json.RawMessage   `json:"sent,omitempty"`
	Dropped  []string          `json:"dropped,omitempty"`
	Refused  string            `json:"refused,omitempty"` // the param of the error
	Answer   json.RawMessage   `json:"answer,omitempty"`
	Got      json.RawMessage   `json:"got,omitempty"`
	Tokens   int64             `json:"tokens,omitempty"`
}

// load reads recorded exchanges.
func load[T any](t testing.TB, file string) (list []T) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		t.Fatal(err)
	}
	return list
}

func loadEmbed(t testing.TB) []embedExchange {
	return load[embedExchange](t, "testdata/embeddings.json")
}

func endpointNamed(name string) llm.Endpoint {
	for _, e := range llm.Endpoints() {
		if e.String() == name {
			return e
		}
	}
	return 255
}

// TestEmbeddings plays the recorded exchanges.
func TestEmbeddings(t *testing.T) {
	t.Parallel()
	in, _ := provider.EmbedInboundOf(llm.Embeddings)
	for _, x := range loadEmbed(t) {
		t.Run(x.Endpoint+"/"+x.Name, func(t *testing.T) {
			t.Parallel()
			out, ok := provider.EmbedOutboundOf(endpointNamed(x.Endpoint))
			if !ok {
				t.Fatalf("%s is no endpoint", x.Endpoint)
			}
			req, err := in.DecodeRequest(x.Request)
			if err != nil {
				t.Fatal(err)
			}
			req.Model = x.Model
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
			res, err := out.DecodeResponse(x.Answer)
			if err != nil {
				t.Fatal(err)
			}
			if res.Usage.Input != x.Tokens {
				t.Errorf("got %d tokens, want %d", res.Usage.Input, x.Tokens)
			}
			got, err := in.EncodeResponse(req, res)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "got", x.Got, got)
		})
	}
}

func same(t *testing.T, what string, want, got []byte) {
	t.Helper()
	var w, g any
	if err := json.Unmarshal(got, &g); err != nil {
		t.Fatalf("%s: %s: %v", what, got, err)
	}
	_ = json.Unmarshal(want, &w)
	if d := cmp.Diff(w, g); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// TestEmbeddings_Conformance: the rules for codecs hold for vendors of embeddings, and their recorded
// errors become what they mean.
func TestEmbeddings_Conformance(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"voyage", "jina_ai", "mistral", "tei", "huggingface", "watsonx", "databricks", "snowflake", "cloudflare", "triton"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, ok := provider.Lookup(name)
			if !ok {
				t.Fatal("no row")
			}
			providertest.Run(t, p, "testdata/errors_"+name+".jsonl")
		})
	}
}

// FuzzEmbedResponse: no answer makes a reader panic; one that is taken has vectors that are numbers,
// and can be written for every client.
func FuzzEmbedResponse(f *testing.F) {
	var outs []provider.EmbedOutbound
	var ins []provider.EmbedInbound
	for _, e := range llm.Endpoints() {
		if out, ok := provider.EmbedOutboundOf(e); ok {
			outs = append(outs, out)
		}
		if in, ok := provider.EmbedInboundOf(e); ok {
			ins = append(ins, in)
		}
	}
	for _, x := range loadEmbed(f) {
		f.Add([]byte(x.Answer))
	}
	f.Add([]byte(`[[1,2],[-0.5e-3,4]]`))
	f.Add([]byte(`{"data":[{"embedding":"AACAPw==","index":0}]}`))
	f.Add([]byte(`{"embeddings":{"float":[[1]],"int8":[[1]]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, out := range outs {
			res, err := out.DecodeResponse(body)
			if err != nil {
				if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Upstream {
					t.Fatalf("got %v", err)
				}
				continue
			}
			for _, encoding := range []embed.Encoding{embed.Floats, embed.Base64} {
				for _, in := range ins {
					got, err := in.EncodeResponse(&embed.Request{Encoding: encoding}, res)
					if err != nil || !json.Valid(got) {
						t.Fatalf("%T of %s: %s, %v", in, body, got, err)
					}
				}
			}
		}
	})
}

// FuzzEmbedRequest: no request makes a reader panic; one that is taken is written for every vendor, or
// refused as the client's.
func FuzzEmbedRequest(f *testing.F) {
	for _, x := range loadEmbed(f) {
		f.Add([]byte(x.Request))
	}
	f.Add([]byte(`{"content":{"parts":[{"text":"a"},{"inlineData":{}}]},"taskType":"RETRIEVAL_QUERY"}`))
	f.Add([]byte(`{"requests":[{"content":{"parts":[{"text":"a"}]},"outputDimensionality":3},{"content":"b"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, from := range llm.Endpoints() {
			in, ok := provider.EmbedInboundOf(from)
			if !ok {
				continue
			}
			req, err := in.DecodeRequest(body)
			if err != nil {
				if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Invalid {
					t.Fatalf("got %v", err)
				}
				continue
			}
			for _, to := range llm.Endpoints() {
				out, ok := provider.EmbedOutboundOf(to)
				if !ok {
					continue
				}
				target := llm.Target{Model: "amazon.titan-embed-text-v2:0"}
				sent, err := out.EncodeRequest(req.Part(0, 1), &target)
				if err == nil && !json.Valid(sent) {
					t.Fatalf("%s of %s: %s", to, body, sent)
				}
			}
		}
	})
}
