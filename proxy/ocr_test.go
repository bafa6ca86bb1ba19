package proxy_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/providertest"
	"github.com/conclave-llm/conclave/resource"
)

// readers are vendors that read documents.
var readers = []studio{
	{"mistral", "mistral-ocr-latest", "Authorization", map[string]func(*http.Request, string) (string, string){
		"POST /ocr": func(_ *http.Request, body string) (string, string) {
			if !strings.HasPrefix(body, `{"model":"mistral-ocr-latest","document":{`) {
				return json200, `{}`
			}
			return json200, `{"pages":[{"index":0,"markdown":"# Hello","images":[],"dimensions":{"dpi":200,"height":2200,"width":1700}}],"model":"mistral-ocr-latest","usage_info":{"pages_processed":3,"doc_size_bytes":3002}}`
		},
	}},
	{"aws_textract", "detect-document-text", "Authorization", map[string]func(*http.Request, string) (string, string){
		"POST /": func(r *http.Request, body string) (string, string) {
			if r.Header.Get("X-Amz-Target") != "Textract.DetectDocumentText" || r.Header.Get("Content-Type") != "application/x-amz-json-1.1" || body != `{"Document":{"Bytes":"UERG"}}` {
				return json200, `{}`
			}
			return json200, `{"DocumentMetadata":{"Pages":3},"Blocks":[{"BlockType":"PAGE","Page":1},{"BlockType":"LINE","Text":"# Hello","Page":1},{"BlockType":"WORD","Text":"Hello","Page":1}]}`
		},
	}},
	{"reducto", "r-1", "Authorization", map[string]func(*http.Request, string) (string, string){
		"POST /upload": func(r *http.Request, body string) (string, string) {
			return json200, fmt.Sprintf(`{"file_id":"reducto://%s"}`, fieldsOf(r, body)["file"])
		},
		"POST /parse": func(_ *http.Request, body string) (string, string) {
			if body != `{"input":"reducto://PDF","retrieval":{"chunking":{"chunk_mode":"page"}}}` {
				return json200, `{}`
			}
			return json200, `{"job_id":"j","duration":1,"result":{"type":"full","chunks":[{"content":"# Hello","blocks":[{"type":"Title","bbox":{"page":1}}]}]},"usage":{"num_pages":3,"credits":3}}`
		},
	}},
}

// TestOCR: a document is read by any of them in Mistral's form, and its pages are paid.
func TestOCR(t *testing.T) {
	t.Parallel()
	for _, v := range readers {
		t.Run(v.provider, func(t *testing.T) {
			t.Parallel()
			w := v.wireFor(t)
			w.tables.Deployments[0].Price = &resource.Price{Units: resource.Units{Page: 1e12}}
			res, got := w.ask(t.Context(), "/v1/ocr", json200, strings.NewReader(`{"model":"demo","document":{"type":"document_url","document_url":"data:application/pdf;base64,UERG"}}`)) //nolint:bodyclose // ask closes it
			if res.StatusCode != 200 || !strings.Contains(got, `"index":0,"markdown":"# Hello"`) || !strings.Contains(got, `"pages_processed":3`) {
				t.Fatalf("got %d %s", res.StatusCode, got)
			}
			rec := w.record()
			if rec.Usage.Units.Pages != 3 || rec.Cost != 3_000_000 || rec.Usage.Source != llm.UsageProvider || rec.Endpoint != "ocr" || rec.Usage.Input != 0 {
				t.Errorf("record %+v", rec)
			}
		})
	}
}

// TestOCR_Refused: what a request or a vendor cannot say is refused before anybody is asked.
func TestOCR_Refused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, provider, body, param string }{
		{"no document", "mistral", `{"model":"demo"}`, ""}, // is Mistral's to refuse
		{"no document, translated", "reducto", `{"model":"demo"}`, "document"},
		{"pages that are none", "reducto", `{"model":"demo","document":{"document_url":"https://x/a"},"pages":"3-1"}`, "pages"},
		{"an address", "aws_textract", `{"model":"demo","document":{"document_url":"https://x/a.pdf"}}`, "document"},
		{"what is no base64", "reducto", `{"model":"demo","document":{"document_url":"data:application/pdf;base64,%%"}}`, "document"},
		{"a file of another's", "reducto", `{"model":"demo","document":{"type":"file","file_id":"f1"}}`, "document"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := studio{tt.provider, "m", "Authorization", nil}
			res, got := v.wireFor(t).ask(t.Context(), "/ocr", json200, strings.NewReader(tt.body)) //nolint:bodyclose // ask closes it
			if want := `"param":"` + tt.param + `"`; tt.param != "" && (res.StatusCode != 400 || !strings.Contains(got, want)) {
				t.Errorf("got %d %s", res.StatusCode, got)
			}
			if tt.param == "" && res.StatusCode < 400 {
				t.Errorf("got %d %s", res.StatusCode, got)
			}
		})
	}
}

// TestOCR_Conformance: the rules for codecs hold for vendors of documents.
func TestOCR_Conformance(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"aws_textract", "reducto"} {
		p, ok := provider.Lookup(name)
		if !ok {
			t.Fatal("no row " + name)
		}
		providertest.Run(t, p, "../provider/testdata/errors_document_"+name+".jsonl")
	}
}
