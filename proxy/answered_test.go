package proxy_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/mock"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/pass"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// examples are requests that are well, by what their path ends in; the first that fits counts. "%s" is
// where stream stands, if the body says that.
var examples = []struct {
	end, body string
	form      map[string]string
}{
	{end: "/chat/completions", body: `{"model":"demo","messages":[{"role":"user","content":"hello there"}]%s}`},
	{end: "/messages", body: `{"model":"demo","max_tokens":50,"messages":[{"role":"user","content":"hello there"}]%s}`},
	{end: "/count_tokens", body: `{"model":"demo","messages":[{"role":"user","content":"hello there"}]}`},
	{end: "/input_tokens", body: `{"model":"demo","input":"hello there"}`},
	{end: "/responses/compact", body: `{"model":"demo","input":"hello there"}`},
	{end: "/responses", body: `{"model":"demo","input":"hello there"%s}`},
	{end: "/completions", body: `{"model":"demo","prompt":"hello there"%s}`},
	{end: ":generateContent", body: `{"contents":[{"role":"user","parts":[{"text":"hello there"}]}]}`},
	{end: ":streamGenerateContent", body: `{"contents":[{"role":"user","parts":[{"text":"hello there"}]}]}`},
	{end: ":countTokens", body: `{"contents":[{"role":"user","parts":[{"text":"hello there"}]}]}`},
	{end: ":embedContent", body: `{"content":{"parts":[{"text":"hello there"}]}}`},
	{end: ":batchEmbedContents", body: `{"requests":[{"model":"models/demo","content":{"parts":[{"text":"hello there"}]}}]}`},
	{end: "/converse", body: `{"messages":[{"role":"user","content":[{"text":"hello there"}]}]}`},
	{end: "/converse-stream", body: `{"messages":[{"role":"user","content":[{"text":"hello there"}]}]}`},
	{end: "/invoke", body: `{"anthropic_version":"bedrock-2023-05-31","max_tokens":50,"messages":[{"role":"user","content":"hello there"}]}`},
	{end: "/invoke-with-response-stream", body: `{"anthropic_version":"bedrock-2023-05-31","max_tokens":50,"messages":[{"role":"user","content":"hello there"}]}`},
	{end: "/embeddings", body: `{"model":"demo","input":"hello there"}`},
	{end: "/moderations", body: `{"model":"demo","input":"hello there"}`},
	{end: "/images/generations", body: `{"model":"demo","prompt":"a house"%s}`},
	{end: "/images/edits", form: map[string]string{"model": "demo", "prompt": "a house", "image": "x"}},
	{end: "/images/variations", form: map[string]string{"model": "demo", "image": "x"}},
	{end: "/audio/speech", body: `{"model":"demo","input":"hello there","voice":"alloy"%s}`},
	{end: "/audio/transcriptions", form: map[string]string{"model": "demo"}},
	{end: "/audio/translations", form: map[string]string{"model": "demo"}},
	{end: "/rerank", body: `{"model":"demo","query":"hello","documents":["there","here"]}`},
	{end: "/decisions", body: `{"model":"demo","input":"hello there","questions":[{"type":"predicate","instructions":"It says hello."}]}`},
	{end: "/systemone", body: `{"model":"demo","state":"hello there","questions":{"greets":{"type":"noul","instructions":"It says hello."}}}`},
	{end: "/extraction", body: `{"model":"demo","state":"hello there","entities":{"greeting":"such as hello"}}`},
	{end: "/ocr", body: `{"model":"demo","document":{"type":"document_url","document_url":"https://x.example/a.pdf"}}`},
	{end: "/utils/token_counter", body: `{"model":"demo","messages":[{"role":"user","content":"hello there"}]}`},
	{end: "/utils/transform_request", body: `{"call_type":"completion","request_body":{"model":"demo","messages":[{"role":"user","content":"hello there"}]}}`},
	{body: `{"model":"demo","prompt":"hello there"%s}`},
}

// spoken are answers of providers whose paths the demo upstream does not have, whole and streamed, by a
// part of the path; the first that fits counts.
var spoken = []struct{ part, whole, stream string }{
	{"/ocr", `{"pages":[{"index":0,"markdown":"words of the model","images":[],"dimensions":null}],"model":"demo","usage_info":{"pages_processed":1,"doc_size_bytes":9}}`, ""},
	{"/input_tokens", `{"object":"response.input_tokens","input_tokens":5}`, ""},
	{
		"/complete?", `{"id":"made_12345678","content":[{"type":"text","text":"words of the model"}],"usage":{"input_tokens":9,"output_tokens":9}}`,
		"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n" +
			"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"words of the model\"}}\n\n" +
			"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":9}}\n\n" +
			"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
	},
	{
		"enerateContent", `{"candidates":[{"content":{"parts":[{"text":"words of the model"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":9}}`,
		"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"words of the model\"}]},\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":9,\"candidatesTokenCount\":9}}\n\n",
	},
	{
		"/v2/chat", `{"id":"made_12345678","message":{"role":"assistant","content":[{"type":"text","text":"words of the model"}]},"finish_reason":"COMPLETE","usage":{"billed_units":{"input_tokens":9,"output_tokens":9}}}`,
		"event: content-delta\ndata: {\"type\":\"content-delta\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"text\":\"words of the model\"}}}}\n\n" +
			"event: message-end\ndata: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"COMPLETE\",\"usage\":{\"billed_units\":{\"input_tokens\":9,\"output_tokens\":9}}}}\n\n",
	},
	{"/converse", `{"output":{"message":{"role":"assistant","content":[{"text":"words of the model"}]}},"stopReason":"end_turn","usage":{"inputTokens":9,"outputTokens":9}}`, ""},
	{"", `{"id":"made_12345678","choices":[{"message":{"content":"words of the model"}}],"usage":{"prompt_tokens":9,"completion_tokens":9}}`, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"words of the model\"}}]}\n\n" +
		"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":9}}\n\ndata: [DONE]\n\n"},
}

// relayed is a provider in its own words.
func relayed(rw http.ResponseWriter, q *http.Request) {
	body, _ := io.ReadAll(q.Body)
	if q.Method != http.MethodPost {
		rw.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(rw, `{"id":"made_12345678","object":"thing"}`)
		return
	}
	at := q.URL.RequestURI() + "?"
	i := slices.IndexFunc(spoken, func(s struct{ part, whole, stream string }) bool { return strings.Contains(at, s.part) })
	if spoken[i].stream != "" && (strings.Contains(string(body), `"stream":true`) || strings.Contains(at, ":stream")) {
		rw.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(rw, spoken[i].stream)
		return
	}
	rw.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(rw, spoken[i].whole)
}

// answering is a gateway with the real client of providers, and a provider for a route.
func answering(t *testing.T, row *proxy.Row) *rig {
	r := newRig(t)
	demo := mock.New(mock.Config{})
	up := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
		if prefixOf(row.Method, row.Name) != nil || strings.HasSuffix(row.Name, "/input_tokens") || row.Name == "/v1/ocr" || row.Name == "/pass-through-endpoint" {
			relayed(rw, q)
			return
		}
		demo.ServeHTTP(rw, q)
	}))
	t.Cleanup(up.Close)
	r.tables.Deployments = r.tables.Deployments[:1]
	d := r.tables.Deployments[0]
	d.Provider, d.APIBase, d.Price = "custom_openai", up.URL+"/v1", &resource.Price{Input: resource.Dollar, Output: resource.Dollar, Units: resource.Units{
		InputSecond: 1e12, Character: 1e11, Query: 2e12, OutputImage: 4e13, Page: 1e12,
	}}
	open(r, row.Method, row.Patterns[0])
	d.APIKey = &resource.Sealed{}
	client := upstream.New(upstream.Config{})
	t.Cleanup(client.Close)
	r.cfg.Upstream, r.cfg.Router = proxy.FromClient(client), r.router.Router
	if row.Name == "/pass-through-endpoint" {
		e := &resource.PassThroughEndpoint{Meta: resource.Meta{ID: "pt_1"}, Name: "search", Path: "/tools/search", Target: up.URL + "/s/", CostPerRequest: resource.Dollar / 4}
		e.Canonicalize()
		r.tables.PassThrough = []*resource.PassThroughEndpoint{e}
	}
	return r
}

// prefixOf is the prefix of a provider's own paths that a pattern and a method belong to, nil if there is none.
func prefixOf(method, pattern string) *pass.Prefix {
	all := append(slices.Clone(pass.Prefixes), pass.Files)
	for i := range all {
		if (all[i].Verb == "" || all[i].Verb == method) && slices.Contains(all[i].Patterns(), pattern) || i == len(all)-1 && keepsFiles(pattern) {
			return &all[i]
		}
	}
	return nil
}

// ownPaths are inferences in the words of the providers that prefixes lead to.
var ownPaths = map[string]string{
	"/anthropic/{rest...}": "/anthropic/v1/complete", "/vertex_ai/{rest...}": "/vertex_ai/v1/projects/p/locations/l/publishers/google/models/demo:generateContent",
	"/vertex-ai/{rest...}": "/vertex-ai/v1/projects/p/locations/l/publishers/google/models/demo:generateContent",
	"/v1/videos":           "/v1/videos", "/gemini/{rest...}": "/gemini/v1beta/models/demo:generateContent", "/bedrock/{rest...}": "/bedrock/model/demo/converse",
	"/cohere/{rest...}": "/cohere/v2/chat", "/v1/models/{id}": "/v1/models/demo", "/v1/chat/completions/{id}": "/v1/chat/completions/chatcmpl-1",
}

func exampleOf(t *testing.T, row *proxy.Row, stream string) (method, path, contentType, body string) {
	method, path = row.Method, row.Name
	if method == "" {
		method = "POST"
	}
	if own, ok := ownPaths[path]; ok {
		path = own
		if stream != "" {
			path = strings.Replace(path, ":generate", ":streamGenerate", 1)
		}
	}
	if row.Name == "/pass-through-endpoint" {
		path = "/tools/search"
	}
	path = strings.NewReplacer("{model}", "demo", "{model...}", "demo", "{rest...}", "chat/completions", "{artifact}", "file_12345678", "{project}", "p", "{location}", "l").Replace(path)
	if method != "POST" {
		if keepsFiles(path) {
			path += "?custom_llm_provider=groq"
		}
		return method, path, "", ""
	}
	for _, e := range examples {
		if !strings.HasSuffix(path, e.end) {
			continue
		}
		if e.form != nil {
			fields := maps.Clone(e.form)
			if stream != "" && strings.HasSuffix(path, "edits") {
				fields["stream"] = "true"
			}
			contentType, body = formOf(t, fields, []byte("bytes"))
			return method, path, contentType, body
		}
		return method, path, "application/json", strings.Replace(e.body, "%s", stream, 1)
	}
	panic("the last example fits any path")
}

// answerAll asks every route that asks a provider for an answer, whole and streamed, let through and
// blocked by a guardrail, and notes what came of it.
func answerAll(t *testing.T, sheet *sheet) {
	sheet.rows = map[string][]string{}
	for _, row := range newRig(t).server().Rows() {
		if row.Lookup {
			continue
		}
		cells := make([]string, 4)
		sheet.rows[titleOf(&row)] = cells
		for i := range cells {
			t.Run(row.Method+row.Name+"/"+[]string{"whole", "streamed", "whole and blocked", "streamed and blocked"}[i], func(t *testing.T) {
				t.Parallel()
				cells[i] = answered(t, &row, streams[i%2], i >= 2)
			})
		}
	}
}

// answered is one cell of the second table.
func answered(t *testing.T, row *proxy.Row, stream string, blocked bool) string {
	if row.Name == "/v1/realtime" {
		return "`TestRealtime`"
	}
	r := answering(t, row)
	if blocked {
		no := guardrail.Verdict{Action: guardrail.Block, Message: "no"}
		r.guard(&judge{check: func(*guardrail.Check) guardrail.Verdict { return no }, chunk: func(string) guardrail.Verdict { return no }}, resource.HookAfter, resource.HookDuring)
	}
	cat := resource.NewCatalog(r.tables)
	r.cfg.Catalog = func() *resource.Catalog { return cat }
	mux := http.NewServeMux()
	s := r.server()
	s.Mount(mux)
	method, path, contentType, body := exampleOf(t, row, stream)
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+goodKey)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	w := httptest.NewRecorder()
	s.Over(mux).ServeHTTP(w, req)
	if r.limit.taken != r.limit.released || r.money.taken != r.money.released {
		t.Errorf("left held: %+v %+v", r.limit, r.money)
	}
	if len(r.journal.settled) != 1 {
		t.Fatalf("%d records, want one: %d %s", len(r.journal.settled), w.Code, w.Body)
	}
	rec := &r.journal.settled[0]
	streamed := rec.Flags&ledger.Streamed != 0
	if stream != "" && !streamed {
		return "–"
	}
	if blocked {
		return blockedAs(t, w, rec, streamed)
	}
	if w.Code != 200 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if r.money.settled != 1 || r.money.cost != rec.Cost {
		t.Errorf("%d settlements of the budget, %d of the record's %d", r.money.settled, r.money.cost, rec.Cost)
	}
	cell := strconv.Itoa(w.Code) + " " + sourceOf(rec)
	if rec.Cost > 0 {
		cell += " charged"
	}
	return cell
}

func sourceOf(rec *ledger.Record) string {
	if rec.Usage.Source == llm.UsageNone {
		return "no usage"
	}
	return rec.Usage.Source.String()
}

// blockedAs says how a client learns that its answer was blocked.
func blockedAs(t *testing.T, w *httptest.ResponseRecorder, rec *ledger.Record, streamed bool) string {
	if rec.ErrorCode == "" {
		if w.Code != 200 {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
		return "–"
	}
	if rec.ErrorCode != "guardrail_blocked" {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	for _, said := range []string{" said", "words of"} {
		if strings.Contains(unframed(w.Body.String()), said) {
			t.Errorf("the client got %q", w.Body)
		}
	}
	if streamed && w.Code == 200 {
		return "ends"
	}
	var e any
	if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil {
		t.Errorf("got %s", w.Body)
	}
	return strconv.Itoa(w.Code)
}
