package proxy_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/providertest"
	"github.com/conclave-llm/conclave/resource"
)

// systemOneAnswers is a stand-in of who speaks System One, at a path.
func systemOneAnswers(path string) map[string]func(*http.Request, string) (string, string) {
	return map[string]func(*http.Request, string) (string, string){
		"POST " + path: func(_ *http.Request, body string) (string, string) {
			if !strings.Contains(body, `"state":"I was charged twice."`) || !strings.Contains(body, `"billing":{"type":"noul","instructions":"It is about billing."}`) {
				return json200, `{"detail":[{"loc":["body","questions"],"msg":"wrong","type":"missing"}]}`
			}
			return json200, `{"model":"jev-1.14.0","answers":{"billing":{"type":"noul","noul":0.98}},"usage":{"input_tokens":120,"output_tokens":2}}`
		},
	}
}

// deciders are vendors of decisions.
var deciders = []studio{
	{"typesafe", "jev-latest", "Authorization", systemOneAnswers("/v1/systemone")},
	{"laya", "english", "Authorization", systemOneAnswers("/v1/systemone")},
	{"strands_decider", "d", "Authorization", systemOneAnswers("/v1/systemone")},
	{"openai", "gpt-6-luna", "Authorization", map[string]func(*http.Request, string) (string, string){
		"POST /decisions": func(_ *http.Request, body string) (string, string) {
			if !strings.Contains(body, `"input":"I was charged twice."`) || !strings.Contains(body, `"instructions":"It is about billing."`) {
				return json200, `{}`
			}
			return json200, `{"model":"gpt-6-luna","answers":[{"type":"predicate","name":"billing","probability":0.98}],"usage":{"input_tokens":120,"input_tokens_details":{"cached_tokens":0,"cache_write_tokens":0},"output_tokens":2,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":122}}`
		},
	}},
}

// TestDecisions: every vendor answers questions in both forms, at the price that decisions have.
func TestDecisions(t *testing.T) {
	t.Parallel()
	for _, v := range deciders {
		for _, form := range []struct{ path, body, want string }{
			{"/v1/decisions", `{"model":"demo","input":"I was charged twice.","questions":[{"type":"predicate","name":"billing","instructions":"It is about billing."}]}`, `"answers":[{"type":"predicate","name":"billing","probability":0.98}]`},
			{"/v1/systemone", `{"model":"demo","state":"I was charged twice.","questions":{"billing":{"type":"noul","instructions":"It is about billing."}}}`, `"answers":{"billing":{"type":"noul","noul":0.98}}`},
		} {
			t.Run(v.provider+form.path, func(t *testing.T) {
				t.Parallel()
				w := v.wireFor(t)
				w.tables.Deployments[0].Price = &resource.Price{Input: resource.Dollar, Output: 2 * resource.Dollar, Variants: []resource.PriceVariant{{Service: "decisions", Input: new(resource.Money(4 * resource.Dollar))}}}
				res, got := w.ask(t.Context(), form.path, json200, strings.NewReader(form.body)) //nolint:bodyclose // ask closes it
				if res.StatusCode != 200 || !strings.Contains(got, form.want) {
					t.Fatalf("got %d %s", res.StatusCode, got)
				}
				rec := w.record()
				if rec.Usage.Input != 120 || rec.Usage.Output != 2 || rec.Cost != 120*4000+2*2000 || rec.Usage.Source != llm.UsageProvider {
					t.Errorf("record %+v", rec)
				}
			})
		}
	}
}

// TestDecisions_Form: a picture that comes beside the request stands in it.
func TestDecisions_Form(t *testing.T) {
	t.Parallel()
	v := studio{"typesafe", "jev-latest", "Authorization", map[string]func(*http.Request, string) (string, string){
		"POST /v1/systemone": func(r *http.Request, body string) (string, string) {
			if r.Header.Get("Content-Type") != json200 || !strings.Contains(body, `"assets":{"A":{"type":"image","format":"png","data_base64":"UE5H"}}`) || !strings.Contains(body, `"model":"jev-latest"`) {
				return json200, `{"error":{"message":"no picture"}}`
			}
			return json200, `{"model":"m","answers":{"q":{"type":"box","box":{"top":0.1,"bottom":0.2,"left":0.1,"right":0.2},"confidence":null}},"usage":{"input_tokens":9,"output_tokens":0}}`
		},
	}}
	const body = "--b\r\nContent-Disposition: form-data; name=\"request\"\r\n\r\n" + `{"model":"demo","state":"A","questions":{"q":{"type":"box"}},"assets":{"A":{"type":"image","part":"p"}}}` +
		"\r\n--b\r\nContent-Disposition: form-data; name=\"p\"; filename=\"p\"\r\nContent-Type: image/png\r\n\r\nPNG\r\n--b--\r\n"
	res, got := v.wireFor(t).ask(t.Context(), "/v1/systemone", "multipart/form-data; boundary=b", strings.NewReader(body)) //nolint:bodyclose // ask closes it
	if res.StatusCode != 200 || !strings.Contains(got, `"box":{"top":0.1`) {
		t.Errorf("got %d %s", res.StatusCode, got)
	}
	res, got = v.wireFor(t).ask(t.Context(), "/v1/systemone", "multipart/form-data; boundary=b", strings.NewReader("--b\r\n\r\nx")) //nolint:bodyclose // ask closes it
	if res.StatusCode != 400 || !strings.Contains(got, "invalid_form") {
		t.Errorf("a broken form: got %d %s", res.StatusCode, got)
	}
}

// TestDecisions_Refused: what a vendor's form has no words for is refused before it is asked, and an error
// in a good answer is one.
func TestDecisions_Refused(t *testing.T) {
	t.Parallel()
	v := studio{"openai", "gpt-6-luna", "Authorization", nil}
	res, got := v.wireFor(t).ask(t.Context(), "/systemone", json200, strings.NewReader(`{"model":"demo","state":"s","questions":{"where":{"type":"box"}}}`)) //nolint:bodyclose // ask closes it
	if res.StatusCode != 400 || !strings.Contains(got, `"param":"questions.where.type"`) {
		t.Errorf("got %d %s", res.StatusCode, got)
	}
	v = studio{"strands_decider", "d", "Authorization", map[string]func(*http.Request, string) (string, string){
		"POST /v1/systemone": answers(json200, `{"error":{"code":"bad_request","message":"no such question"}}`),
	}}
	res, got = v.wireFor(t).ask(t.Context(), "/systemone", json200, strings.NewReader(`{"model":"demo","state":"s","questions":{"a":{"type":"noul","instructions":"i"}}}`)) //nolint:bodyclose // ask closes it
	if res.StatusCode < 400 {
		t.Errorf("an error in a good answer: got %d %s", res.StatusCode, got)
	}
}

// TestExtraction: what a text names is asked of who has it, and of nobody else.
func TestExtraction(t *testing.T) {
	t.Parallel()
	const body = `{"model":"demo","state":"s","entities":{"email":"an address"}}`
	v := studio{"laya", "g", "Authorization", map[string]func(*http.Request, string) (string, string){
		"POST /v1/extraction": answers(json200, `{"model":"g","entities":{"email":[]},"usage":{"input_tokens":63,"output_tokens":0}}`),
	}}
	w := v.wireFor(t)
	res, got := w.ask(t.Context(), "/v1/extraction", json200, strings.NewReader(body)) //nolint:bodyclose // ask closes it
	if res.StatusCode != 200 || !strings.Contains(got, `"entities":{"email":[]}`) {
		t.Fatalf("got %d %s", res.StatusCode, got)
	}
	if rec := w.record(); rec.Usage.Input != 63 || rec.Cost != 63_000 || rec.Endpoint != "extraction" {
		t.Errorf("record %+v", rec)
	}
	none := studio{"typesafe", "jev-latest", "Authorization", nil}
	if res, got := none.wireFor(t).ask(t.Context(), "/v1/extraction", json200, strings.NewReader(body)); res.StatusCode < 400 { //nolint:bodyclose // ask closes it
		t.Errorf("who has none: got %d %s", res.StatusCode, got)
	}
}

// TestDecisions_Conformance: the rules for codecs hold for who speaks System One.
func TestDecisions_Conformance(t *testing.T) {
	t.Parallel()
	p, ok := provider.Lookup("typesafe")
	if !ok {
		t.Fatal("no row")
	}
	providertest.Run(t, p, "../provider/testdata/errors_typesafe.jsonl")
}
