package proxy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/speech"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/bedrock"
	"github.com/conclave-llm/conclave/provider/providertest"
	"github.com/conclave-llm/conclave/provider/providertest/vendors"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// An adapter is a way to ask a provider: what a client sends, and what the vendor answers.
type adapter struct {
	name, provider, model string
	options               map[string]string
	endpoint              llm.Endpoint

	path, kind, body string // of the client's request

	whole      []byte // the vendor's answer
	answerKind string
	stream     [][]byte // its events; nil: it is not asked to stream
	streamBody string   // of the client's request for a stream
}

// adapters are all ways to ask providers that are not sessions: the dialects of conversations, and one recorded
// exchange of each other dialect.
func adapters(t *testing.T) (list []adapter) {
	t.Helper()
	for _, f := range vendors.Conversations() {
		list = append(list, talking(t, f))
	}
	have := map[string]bool{}
	for _, x := range recordedExchanges(t) {
		at := endpointOf(x.Endpoint)
		p := x.client(at)
		if p == "" || have[x.Endpoint] || x.Refused != "" || x.Fails != "" {
			continue
		}
		have[x.Endpoint] = true
		list = append(list, x.adapter(t, at, p))
	}
	for _, e := range llm.Endpoints() {
		if _, ok := clientPaths[e]; !have[e.String()] && (ok || hasOther(e)) {
			t.Errorf("%s is asked by nobody", e)
		}
	}
	return list
}

// hasOther says that there is a dialect for an endpoint that is no conversation.
func hasOther(e llm.Endpoint) bool {
	_, embeds := provider.EmbedOutboundOf(e)
	_, ranks := provider.RerankOutboundOf(e)
	_, decides := provider.DecisionOutboundOf(e)
	_, reads := provider.DocumentOutboundOf(e)
	_, draws := provider.PictureOutboundOf(e)
	_, speaks := provider.SpeechOutboundOf(e)
	_, hears := provider.TranscriptOutboundOf(e)
	return embeds || ranks || decides || reads || draws || speaks || hears
}

// talking is how a client of OpenAI's, or of the dialect itself, holds a conversation.
func talking(t *testing.T, f *providertest.Format) adapter {
	t.Helper()
	a := adapter{
		name: f.Provider + "/" + f.Endpoint.String(), provider: f.Provider, model: f.Model, options: f.Options, endpoint: f.Endpoint,
		kind: json200, answerKind: json200,
	}
	if a.model == "" {
		a.model = "model"
	}
	p, _ := provider.Lookup(f.Provider)
	for _, cl := range clients {
		if at, ok := p.For(a.model).Way(cl.endpoint); ok && at == f.Endpoint && !cl.endpoint.ModelInPath() {
			a.path, a.body, a.streamBody = cl.path, strings.Replace(cl.body, "%s", "", 1), strings.Replace(cl.body, "%s", `,"stream":true`, 1)
			break
		}
	}
	if f.Endpoint == llm.FalChat {
		a.body = `{"model":"demo","messages":[{"role":"user","content":[{"type":"text","text":"say hello"},{"type":"image_url","image_url":{"url":"data:image/png;base64,UA=="}}]}]}`
	}
	if a.path == "" {
		t.Fatalf("%s: no client reaches it", a.name)
	}
	answer := said()
	a.whole = f.Vendor().Answer(answer)
	if p.Streams {
		a.answerKind = "text/event-stream"
	}
	if !f.Lacking(providertest.Streams) {
		a.stream = f.Vendor().Stream(pieces())
	}
	return a
}

// exchange is what is looked at here of a recorded exchange of package provider.
type exchange struct {
	Name, Endpoint, Model, Client string
	Options                       map[string]string
	Request, Answer               json.RawMessage
	File                          string
	NameOf                        string `json:"name_of"`
	Again, English                bool
	Refused, Fails                string
}

// recordedExchanges are those of package provider, and of what OpenAI's own endpoints and readers of documents answer.
func recordedExchanges(t *testing.T) (list []exchange) {
	t.Helper()
	for _, file := range []string{"embeddings", "rerank", "decisions", "media"} {
		raw, err := os.ReadFile("../provider/testdata/" + file + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var some []exchange
		if err := json.Unmarshal(raw, &some); err != nil {
			t.Fatal(err)
		}
		list = append(list, some...)
	}
	document := json.RawMessage(`{"document":{"type":"image_url","image_url":"data:image/png;base64,UA=="}}`)
	return append(list, []exchange{
		{Endpoint: "images", Model: "gpt-image-1", Request: json.RawMessage(`{"prompt":"a cat"}`), Answer: json.RawMessage(`{"created":1,"data":[{"b64_json":"UA=="}]}`)},
		{Endpoint: "image_edits", Model: "gpt-image-1", File: "P", Request: json.RawMessage(`{"prompt":"a cat"}`), Answer: json.RawMessage(`{"created":1,"data":[{"b64_json":"UA=="}]}`)},
		{Endpoint: "image_variations", Model: "dall-e-2", File: "P", Again: true, Request: json.RawMessage(`{}`), Answer: json.RawMessage(`{"created":1,"data":[{"b64_json":"UA=="}]}`)},
		{Endpoint: "speech", Model: "tts-1", Request: json.RawMessage(`{"input":"Hi","voice":"alloy"}`)},
		{Endpoint: "transcriptions", Model: "whisper-1", File: "S", Request: json.RawMessage(`{}`), Answer: json.RawMessage(`{"text":"Hello","usage":{"type":"duration","seconds":2}}`)},
		{Endpoint: "translations", Model: "whisper-1", File: "S", English: true, Request: json.RawMessage(`{}`), Answer: json.RawMessage(`{"text":"Hello"}`)},
		{Endpoint: "moderations", Model: "omni-moderation-latest", Request: json.RawMessage(`{"input":"hi"}`), Answer: json.RawMessage(`{"id":"m","model":"omni-moderation-latest","results":[{"flagged":false}]}`)},
		{Endpoint: "input_tokens", Model: "gpt-5", Request: json.RawMessage(`{"input":"hi"}`), Answer: json.RawMessage(`{"object":"response.input_tokens","input_tokens":7}`)},
		{Endpoint: "count_tokens", Model: "claude", Request: json.RawMessage(`{"messages":[{"role":"user","content":"hi"}]}`), Answer: json.RawMessage(`{"input_tokens":7}`)},
		{Endpoint: "ocr", Model: "mistral-ocr-latest", Request: document, Answer: json.RawMessage(`{"pages":[{"index":0,"markdown":"# Hello"}],"model":"m","usage_info":{"pages_processed":1}}`)},
		{Endpoint: "textract_read", Model: "m", Request: document, Answer: json.RawMessage(`{"DocumentMetadata":{"Pages":1},"Blocks":[{"BlockType":"LINE","Text":"a"}]}`)},
		{Endpoint: "reducto_parse", Model: "m", Request: document, Answer: json.RawMessage(`{"file_id":"reducto://x"}`)},
		{Endpoint: "cohere_parse", Model: "parse-v5.0", Request: document, Answer: json.RawMessage(`{"id":"i","pages":[{"type":"markdown","index":0,"markdown":{"content":"# a"}}]}`)},
		{Endpoint: "transcribe_listen", Model: "m", File: "W", Request: json.RawMessage(`{"language":"en"}`)},
		{Endpoint: "extraction", Model: "m", Request: json.RawMessage(`{"text":"a","entities":["x"]}`), Answer: json.RawMessage(`{"entities":[]}`)},
	}...)
}

// clientPaths are where clients ask for what is not a conversation.
var clientPaths = map[llm.Endpoint]string{
	llm.Embeddings: "/v1/embeddings", llm.Rerank: "/v1/rerank", llm.Decisions: "/v1/decisions", llm.SystemOne: "/v1/systemone", llm.Extraction: "/v1/extraction", llm.OCR: "/v1/ocr",
	llm.Images: "/v1/images/generations", llm.ImageEdits: "/v1/images/edits", llm.ImageVariations: "/v1/images/variations", llm.Speech: "/v1/audio/speech",
	llm.Transcriptions: "/v1/audio/transcriptions", llm.Translations: "/v1/audio/translations", llm.Moderations: "/v1/moderations", llm.InputTokens: "/v1/responses/input_tokens",
	llm.CountTokens: "/v1/messages/count_tokens",
}

func endpointOf(name string) llm.Endpoint {
	for _, e := range llm.Endpoints() {
		if e.String() == name {
			return e
		}
	}
	return 255
}

// client is where a client asks for the exchange; "": nobody does.
func (x *exchange) client(at llm.Endpoint) string {
	_, draws := provider.PictureOutboundOf(at)
	_, speaks := provider.SpeechOutboundOf(at)
	_, hears := provider.TranscriptOutboundOf(at)
	_, reads := provider.DocumentOutboundOf(at)
	switch {
	case x.Client != "":
		return clientPaths[endpointOf(x.Client)]
	case clientPaths[at] != "":
		return clientPaths[at]
	case draws && x.Again:
		return clientPaths[llm.ImageVariations]
	case draws && x.File != "":
		return clientPaths[llm.ImageEdits]
	case draws:
		return clientPaths[llm.Images]
	case speaks:
		return clientPaths[llm.Speech]
	case hears && x.English:
		return clientPaths[llm.Translations]
	case hears:
		return clientPaths[llm.Transcriptions]
	case reads:
		return clientPaths[llm.OCR]
	case at.Family() == llm.FamilyEmbedding:
		return clientPaths[llm.Embeddings]
	case at.Family() == llm.FamilyRanking:
		return clientPaths[llm.Rerank]
	}
	return ""
}

// adapter is the exchange as a client and the vendor have it.
func (x *exchange) adapter(t *testing.T, at llm.Endpoint, path string) adapter {
	t.Helper()
	a := adapter{name: x.Endpoint, model: x.Model, options: x.Options, endpoint: at, path: path, kind: json200, whole: x.Answer, answerKind: json200}
	for _, name := range provider.Names() {
		if p, _ := provider.Lookup(name); p.Serves(at) && p.For(x.Model).Serves(at) {
			a.provider = name
			break
		}
	}
	fields := map[string]any{}
	if err := json.Unmarshal(x.Request, &fields); err != nil {
		t.Fatal(err)
	}
	fields["model"] = "demo"
	body, _ := json.Marshal(fields)
	a.body = string(body)
	if strings.Contains(path, "/images/edits") || strings.Contains(path, "variations") || strings.Contains(path, "transcriptions") || strings.Contains(path, "translations") {
		form := map[string]string{}
		for k, v := range fields {
			if s, ok := v.(string); ok {
				form[k] = s
			}
		}
		file := []byte("\x89PNG\r\n\x1a\n")
		if strings.Contains(path, "audio") {
			file = append(speech.WAVHead(4000, 16000), make([]byte, 4000)...)
		} else {
			form["image"] = "x"
		}
		a.kind, a.body = formOf(t, form, file)
	}
	if a.whole == nil {
		a.whole, a.answerKind = bytes.Repeat([]byte("SOUND"), 100), "audio/mpeg"
	}
	if at == llm.TranscribeListen {
		a.whole, a.answerKind = bedrock.AppendEvent(nil, "TranscriptEvent", func(b []byte) []byte {
			return append(b, `{"Transcript":{"Results":[{"IsPartial":false,"StartTime":0,"EndTime":2,"Alternatives":[{"Transcript":"Hello there."}]}]}}`...)
		}), "application/vnd.amazon.eventstream"
	}
	return a
}

// streamKind is the content type of a stream.
func (a *adapter) streamKind() string {
	switch a.endpoint {
	case llm.OllamaChat:
		return "application/x-ndjson"
	case llm.Converse, llm.SageMakerText:
		return "application/vnd.amazon.eventstream"
	}
	if strings.HasPrefix(a.provider, "sagemaker") || a.provider == bedrock.RowAnthropic {
		return "application/vnd.amazon.eventstream"
	}
	return "text/event-stream"
}

// pipes is a listener whose connections are in memory, so that a bubble sees who waits for what.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error { close(p.done); return nil }

func (*pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// rig is a gateway with a deployment that is asked so, at a vendor behind connections in memory.
func (a *adapter) rig(t *testing.T, vendor http.HandlerFunc) *rig {
	t.Helper()
	l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.Copy(io.Discard, q.Body)
		if q.URL.Path == "/copilot/conversations" { // which is made before something is said in it
			_, _ = io.WriteString(w, `{"id":"c1"}`)
			return
		}
		vendor(w, q)
	})}
	served := make(chan struct{})
	go func() { defer close(served); _ = srv.Serve(l) }() // it is closed
	up := upstream.New(upstream.Config{Dial: l.dial, MaxEvent: 1 << 20})
	t.Cleanup(func() {
		up.Close()
		_ = srv.Close()
		<-served
	})
	r := newRig(t)
	r.cfg.Upstream = proxy.FromClient(up)
	no := 0
	r.tables.Models[0].Retries = &no
	options := map[string]string{"region": "eu-central-1", "aws_access_key_id": "AKIA0", "project_id": "p", "account_id": "a1", "location": "eu", "project": "p"}
	maps.Copy(options, a.options)
	secrets := map[string]*resource.Sealed{}
	for _, name := range []string{"aws_secret_access_key", "gigachat_access_token", "chatgpt_auth", "watsonx_token"} {
		secrets[name] = &resource.Sealed{}
	}
	r.tables.Deployments = []*resource.Deployment{{
		Meta: resource.Meta{ID: "dep_1"}, Name: "d1", ModelID: "model_demo", Provider: a.provider, Upstream: a.model, APIBase: "http://127.0.0.1",
		APIKey: &resource.Sealed{}, Options: options, Secrets: secrets,
	}}
	return r
}

// ask sends the client's request, whose answer may be broken off.
func (a *adapter) ask(ctx context.Context, r *rig, body string) (w *httptest.ResponseRecorder) {
	q := httptest.NewRequest("POST", a.path, strings.NewReader(body)).WithContext(ctx)
	q.Header.Set("Authorization", "Bearer "+goodKey)
	q.Header.Set("Content-Type", a.kind)
	w = httptest.NewRecorder()
	defer func() {
		if v := recover(); v != nil && v != http.ErrAbortHandler { //nolint:errorlint // the very value
			panic(v)
		}
	}()
	r.handler().ServeHTTP(w, q)
	return w
}
