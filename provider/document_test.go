package provider_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/document"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/mistral"
)

// documents are recorded answers of those who read documents.
var documents = []struct {
	name  string
	at    llm.Endpoint
	body  string
	want  []document.Page
	pages int64
	fails string
}{
	{"pages", llm.TextractRead, `{"DocumentMetadata":{"Pages":2},"Blocks":[{"BlockType":"PAGE","Page":1},{"BlockType":"LINE","Text":"a","Page":1},{"BlockType":"LINE","Text":"b","Page":1},{"BlockType":"WORD","Text":"b","Page":1},{"BlockType":"PAGE","Page":2}]}`, []document.Page{{Index: 0, Markdown: "a\nb"}, {Index: 1}}, 2, ""},
	{"a page without a number", llm.TextractRead, `{"DocumentMetadata":{"Pages":1},"Blocks":[{"BlockType":"LINE","Text":"a"}]}`, []document.Page{{Markdown: "a"}}, 1, ""},
	{"nothing", llm.TextractRead, `{}`, nil, 0, "invalid_response"},
	{"pieces", llm.ReductoParse, `{"result":{"type":"full","chunks":[{"content":"a","blocks":[{"bbox":{"page":1}}]},{"content":"b","blocks":[]}]},"usage":{"num_pages":2}}`, []document.Page{{Index: 0, Markdown: "a"}, {Index: 1, Markdown: "b"}}, 2, ""},
	{"elsewhere", llm.ReductoParse, `{"result":{"type":"url","url":"https://s3.example/x"}}`, nil, 0, "answer_elsewhere"},
	{"no result", llm.ReductoParse, `{}`, nil, 0, "invalid_response"},
	{"a page of Markdown", llm.CohereParse, `{"id":"i","pages":[{"type":"markdown","index":0,"markdown":{"content":"# a","images":[]}}],"meta":{"billed_units":{"pages":1}}}`, []document.Page{{Markdown: "# a"}}, 1, ""},
	{"nobody counted", llm.CohereParse, `{"pages":[{"index":0,"markdown":{"content":"a"}},{"index":1,"markdown":{"content":"b"}}]}`, []document.Page{{Markdown: "a"}, {Index: 1, Markdown: "b"}}, 2, ""},
	{"no pages", llm.CohereParse, `{"pages":[]}`, nil, 0, "invalid_response"},
	{"nonsense", llm.ReductoParse, `[`, nil, 0, "invalid_response"},
}

// TestDocuments reads answers of the vendors.
func TestDocuments(t *testing.T) {
	t.Parallel()
	for _, tt := range documents {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			out, ok := provider.DocumentOutboundOf(tt.at)
			if !ok {
				t.Fatal("no dialect")
			}
			res, err := out.DecodeResponse([]byte(tt.body))
			if tt.fails != "" {
				if e, ok := errors.AsType[*llm.Error](err); !ok || e.Code != tt.fails || e.Kind != llm.Upstream {
					t.Errorf("got %v, want %s", err, tt.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, res.Pages); d != "" || res.Usage.Units.Pages != tt.pages {
				t.Errorf("%d pages (-want +got):\n%s", res.Usage.Units.Pages, d)
			}
		})
	}
}

// TestParse_Requests: Cohere is sent a picture of a page, and nothing else.
func TestParse_Requests(t *testing.T) {
	t.Parallel()
	out, _ := provider.DocumentOutboundOf(llm.CohereParse)
	for _, tt := range []struct {
		name, want string
		req        document.Request
	}{
		{"a picture", `{"model":"parse-v5.0","document":{"type":"image_url","image_url":"data:image/jpeg;base64,UA=="},"output_format":"markdown"}`, document.Request{Data: "UA==", Type: "image/jpeg"}},
		{"at an address", `{"model":"parse-v5.0","document":{"type":"image_url","image_url":"https://x/a.png"},"output_format":"markdown"}`, document.Request{URL: "https://x/a.png"}},
		{"a PDF", "", document.Request{Data: "UA==", Type: "application/pdf"}},
		{"a file", "", document.Request{FileID: "f"}},
	} {
		sent, err := out.EncodeRequest(&tt.req, &llm.Target{Model: "parse-v5.0"})
		if tt.want == "" {
			if e, ok := errors.AsType[*llm.Error](err); !ok || e.Param != "document" {
				t.Errorf("%s: got %v", tt.name, err)
			}
			continue
		}
		if err != nil || string(sent.Body) != tt.want {
			t.Errorf("%s: got %s, %v", tt.name, sent.Body, err)
		}
	}
}

// TestOCR_Paths: who speaks Mistral's form has it at an address of its own.
func TestOCR_Paths(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ provider, base, model, want string }{
		{"mistral", "", "mistral-ocr-latest", "https://api.mistral.ai/v1/ocr"},
		{"azure_ai", "https://r.services.ai.azure.com", "mistral-document-ai-2505", "https://r.services.ai.azure.com/providers/mistral/azure/ocr"},
		{"azure_ai", "https://m.models.ai.azure.com", "m", "https://m.models.ai.azure.com/v1/ocr"},
		{"azure_ai", "https://m.models.ai.azure.com/v1", "m", "https://m.models.ai.azure.com/v1/ocr"},
		{"vertex_ai", "https://h.example/v1/projects/p/locations/l", "mistral-ocr-2505", "https://h.example/v1/projects/p/locations/l/publishers/mistralai/models/mistral-ocr-2505:rawPredict"},
	} {
		p, _ := provider.Lookup(tt.provider)
		p = p.For(tt.model)
		at, ok := p.Way(llm.OCR)
		got, err := p.URL(tt.base, llm.Place{Endpoint: at, Model: tt.model})
		if !ok || at != llm.OCR || got != tt.want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", tt.provider, got, err, tt.want)
		}
	}
}

// TestDecodeOCR reads requests of clients.
func TestDecodeOCR(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, body, param string
		want              document.Request
	}{
		{"an address", `{"model":"m","document":{"type":"document_url","document_url":"https://x/a.pdf","document_name":"a"},"pages":[0,2]}`, "", document.Request{Model: "m", URL: "https://x/a.pdf", Pages: []int64{0, 2}}},
		{"a picture", `{"document":{"type":"image_url","image_url":{"url":"data:image/png;base64,UA=="}},"pages":"0-2, 5"}`, "", document.Request{Data: "UA==", Type: "image/png", Pages: []int64{0, 1, 2, 5}}},
		{"a file", `{"document":{"file_id":"f"},"pages":null,"include_image_base64":true}`, "", document.Request{FileID: "f", Extra: []llm.Member{{Name: "include_image_base64", Value: []byte("true")}}}},
		{"none", `{"document":{}}`, "document", document.Request{}},
		{"of another type", `{"document":{"document_url":7}}`, "document.document_url", document.Request{}},
		{"too many pages", `{"document":{"document_url":"x"},"pages":"0-99999999"}`, "pages", document.Request{}},
		{"a page below 0", `{"document":{"document_url":"x"},"pages":[-1]}`, "pages", document.Request{}},
		{"pages of another type", `{"document":{"document_url":"x"},"pages":{}}`, "pages", document.Request{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := mistral.DecodeOCR([]byte(tt.body))
			if tt.param != "" {
				if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Invalid || e.Param != tt.param {
					t.Errorf("got %v, want an error at %s", err, tt.param)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(&tt.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// FuzzDocuments: no request and no answer makes a reader panic, and what is read can be written.
func FuzzDocuments(f *testing.F) {
	f.Add([]byte(`{"model":"m","document":{"document_url":"data:application/pdf;base64,UA=="},"pages":"0-3"}`), []byte(`{"result":{"type":"full","chunks":[{"content":"a"}]}}`))
	f.Add([]byte(`{"document":{"image_url":"https://x"},"pages":[1]}`), []byte(`{"DocumentMetadata":{"Pages":1},"Blocks":[{"BlockType":"LINE","Text":"a"}]}`))
	f.Fuzz(func(t *testing.T, request, answer []byte) {
		req, err := mistral.DecodeOCR(request)
		if err != nil {
			if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Invalid {
				t.Fatalf("got %v", err)
			}
			return
		}
		for _, at := range []llm.Endpoint{llm.TextractRead, llm.ReductoParse, llm.CohereParse} {
			out, _ := provider.DocumentOutboundOf(at)
			if sent, err := out.EncodeRequest(req, &llm.Target{Model: "m"}); err == nil && sent.Pieces == nil && !json.Valid(sent.Body) {
				t.Fatalf("%s: sent %s", at, sent.Body)
			}
			if fl, ok := out.(provider.DocumentFollower); ok {
				_, _ = fl.Follow(req, answer)
			}
			if res, err := out.DecodeResponse(answer); err == nil {
				res.Select(req)
				if got := mistral.EncodeOCR(req, res); !json.Valid(got) {
					t.Fatalf("%s: %s", at, got)
				}
			}
		}
	})
}
