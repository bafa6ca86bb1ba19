package proxy_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/mock"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/resource"
)

// mediaWire is a gateway in front of the demo upstream, with a price for each unit.
func mediaWire(t *testing.T) (*wire, *mock.Server) {
	up := mock.New(mock.Config{Key: "sk-provider"})
	w := newWire(t, up.ServeHTTP)
	d := w.tables.Deployments[0]
	d.APIKey, d.Provider = &resource.Sealed{}, "custom_openai"
	d.Price = &resource.Price{Input: resource.Dollar, Output: 2 * resource.Dollar, Units: resource.Units{
		InputSecond: 1e12, Character: 1e11, Query: 2e12, OutputImage: 4e13,
	}}
	return w, up
}

func formOf(t testing.TB, fields map[string]string, file []byte) (contentType, body string) {
	t.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	for _, name := range []string{"model", "prompt", "stream", "response_format", "n", "user", "tags[]", "words[]", "language"} {
		if v, ok := fields[name]; ok {
			if err := m.WriteField(name, v); err != nil {
				t.Fatal(err)
			}
		}
	}
	if file != nil {
		name := "file"
		if fields["image"] != "" {
			name = "image"
		}
		f, err := m.CreateFormFile(name, "it.bin")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(file); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	return m.FormDataContentType(), b.String()
}

// ask sends a body to a path over the network.
func (w *wire) ask(ctx context.Context, path, contentType string, body io.Reader) (*http.Response, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(ctx, "POST", w.url+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+goodKey)
	req.Header.Set("Content-Type", contentType)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatalf("%s: read answer: %v", path, err)
	}
	return res, string(got)
}

const wav = 16000 // bytes: two seconds at the demo upstream

func TestMedia(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, path, body string
		form             map[string]string
		want, kind       string // of the answer, and its content type
		endpoint         string
		cost             resource.Money
		source           llm.UsageSource
	}{
		{
			name: "moderations", path: "/v1/moderations", body: `{"model":"demo","input":["violence","peace"]}`,
			want: `"flagged":true`, kind: "application/json", endpoint: "moderations", cost: 22_000, source: llm.UsageEstimated,
		},
		{
			name: "images", path: "/v1/images/generations", body: `{"model":"demo","prompt":"a cat","n":2}`,
			want: `"b64_json"`, kind: "application/json", endpoint: "images", cost: 80_000_000, source: llm.UsageProvider,
		},
		{
			name: "images of a model of a deployment", path: "/openai/deployments/demo/images/generations", body: `{"prompt":"a cat"}`,
			want: `"b64_json"`, kind: "application/json", endpoint: "images", cost: 40_000_000, source: llm.UsageProvider,
		},
		{
			name: "images in events", path: "/images/generations", body: `{"model":"demo","prompt":"a cat","stream":true}`,
			want: `image_generation.completed`, kind: "text/event-stream", endpoint: "images", cost: 40_202_000, source: llm.UsageProvider,
		},
		{
			name: "edits", path: "/v1/images/edits", form: map[string]string{"model": "demo", "prompt": "a dog", "image": "x"},
			want: `"b64_json"`, kind: "application/json", endpoint: "image_edits", cost: 40_000_000, source: llm.UsageProvider,
		},
		{
			name: "variations", path: "/openai/v1/images/variations", form: map[string]string{"model": "demo", "image": "x", "n": "3"},
			want: `"b64_json"`, kind: "application/json", endpoint: "image_variations", cost: 120_000_000, source: llm.UsageProvider,
		},
		{
			name: "speech in events", path: "/v1/audio/speech", body: `{"model":"demo","input":"one two","voice":"alloy","stream_format":"sse"}`,
			want: `speech.audio.done`, kind: "text/event-stream", endpoint: "speech", cost: 742_000, source: llm.UsageProvider,
		},
		{
			name: "transcription", path: "/v1/audio/transcriptions", form: map[string]string{"model": "demo"},
			want: `audio of 16000 bytes`, kind: "application/json", endpoint: "transcriptions", cost: 2_000_000, source: llm.UsageProvider,
		},
		{
			name: "verbose transcription", path: "/v1/audio/transcriptions", form: map[string]string{"model": "demo", "response_format": "verbose_json"},
			want: `"duration":2`, kind: "application/json", endpoint: "transcriptions", cost: 2_000_000, source: llm.UsageProvider,
		},
		{
			name: "transcription in events", path: "/audio/transcriptions", form: map[string]string{"model": "demo", "stream": "true"},
			want: `transcript.text.done`, kind: "text/event-stream", endpoint: "transcriptions", cost: 2_000_000, source: llm.UsageProvider,
		},
		{
			name: "translation as text", path: "/v1/audio/translations", form: map[string]string{"model": "demo", "response_format": "text"},
			want: "audio of 16000 bytes\n", kind: "text/plain", endpoint: "translations", cost: 2_074_000, source: llm.UsageEstimated,
		},
		{
			name: "rerank", path: "/v2/rerank", body: `{"model":"demo","query":"a b","documents":["b","a b"]}`,
			want: `{"index":1,"relevance_score":1}`, kind: "application/json", endpoint: "rerank", cost: 2_000_000, source: llm.UsageProvider,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, _ := mediaWire(t)
			kind, body := "application/json", tt.body
			if tt.form != nil {
				kind, body = formOf(t, tt.form, make([]byte, wav))
			}
			res, got := w.ask(t.Context(), tt.path, kind, strings.NewReader(body)) //nolint:bodyclose // ask closes it
			if res.StatusCode != 200 || !strings.Contains(got, tt.want) || !strings.HasPrefix(res.Header.Get("Content-Type"), tt.kind) {
				t.Fatalf("got %d %s %q, want %q", res.StatusCode, res.Header.Get("Content-Type"), got, tt.want)
			}
			rec := w.record()
			if rec.Endpoint != tt.endpoint || rec.Cost != tt.cost || rec.Usage.Source != tt.source || rec.KeyID != "key_good" || rec.Model != "demo" {
				t.Errorf("recorded %s, cost %d, usage %+v of %s; want %s, %d, %s", rec.Endpoint, rec.Cost, rec.Usage, rec.Model, tt.endpoint, tt.cost, tt.source)
			}
			if w.journal.Open() != 0 {
				t.Error("a reservation is left open")
			}
		})
	}
}

// Audio is bytes: they come as they are made, and what they cost is the text that is spoken.
func TestMedia_Speech(t *testing.T) {
	t.Parallel()
	w, _ := mediaWire(t)
	res, got := w.ask(t.Context(), "/v1/audio/speech", "application/json", strings.NewReader(`{"model":"demo","input":"one two","voice":"alloy"}`)) //nolint:bodyclose // ask closes it
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "audio/mpeg" || len(got) != 1024 {
		t.Fatalf("got %d, %s, %d bytes", res.StatusCode, res.Header.Get("Content-Type"), len(got))
	}
	if rec := w.record(); rec.Usage.Units.Characters != 7 || rec.Usage.Source != llm.UsageEstimated || rec.Cost < 700_000 {
		t.Errorf("recorded %+v, cost %d", rec.Usage, rec.Cost)
	}
}

// A cut answer of bytes must not look whole, for no error can be said in it.
func TestMedia_CutSpeech(t *testing.T) {
	t.Parallel()
	up := mock.New(mock.Config{CutAfter: 2})
	w := newWire(t, up.ServeHTTP)
	req, err := http.NewRequestWithContext(t.Context(), "POST", w.url+"/v1/audio/speech", strings.NewReader(`{"model":"demo","input":"one two three","voice":"alloy"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+goodKey)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if got, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("got %d bytes that look whole", len(got))
	}
	if rec := w.record(); rec.Flags&ledger.Cut == 0 || rec.ErrorCode != "upstream_cut" {
		t.Errorf("recorded %+v", rec)
	}
}

// These are refusals that come before any provider is asked.
func TestMedia_Refuses(t *testing.T) {
	t.Parallel()
	kind, noModel := formOf(t, map[string]string{"prompt": "x"}, []byte("audio"))
	for _, tt := range []struct{ name, path, kind, body, code, param string }{
		{"no model in a form", "/v1/audio/transcriptions", kind, noModel, "missing_model", "model"},
		{"no model", "/v1/images/generations", "application/json", `{"prompt":"x"}`, "missing_model", "model"},
		{"no model of a rerank", "/rerank", "application/json", `{"query":"x","documents":["y"]}`, "missing_model", "model"},
		{"no boundary", "/v1/audio/transcriptions", "multipart/form-data", "x", "invalid_form", ""},
		{"cut form", "/v1/audio/transcriptions", kind, noModel[:len(noModel)-8], "invalid_form", ""},
		{"no form", "/v1/audio/transcriptions", "text/plain", "hello", "invalid_json", ""},
		{"banned field", "/v1/audio/transcriptions", "multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"api_base\"\r\n\r\nhttp://evil\r\n--b--\r\n", "unsupported_parameter", "api_base"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, up := mediaWire(t)
			res, got := w.ask(t.Context(), tt.path, tt.kind, strings.NewReader(tt.body)) //nolint:bodyclose // ask closes it
			if res.StatusCode != 400 || codeOf(t, got) != tt.code && tt.param != "api_base" || !strings.Contains(got, tt.param) {
				t.Errorf("got %d %s, want 400 and %s", res.StatusCode, got, tt.code)
			}
			if n := asked(t, up); n != 0 {
				t.Errorf("the provider was asked %d times", n)
			}
		})
	}
}

// asked counts the requests that the demo upstream got.
func asked(t *testing.T, up *mock.Server) int {
	t.Helper()
	rec := httptest.NewRecorder()
	up.ServeHTTP(rec, httptest.NewRequest("GET", "/mock/requests", nil))
	return strings.Count(rec.Body.String(), `"path"`)
}

// A guardrail reads and rewrites the texts of a form, and its files stay as they are.
func TestMedia_Guardrail(t *testing.T) {
	t.Parallel()
	var sent string
	w := newWire(t, func(rw http.ResponseWriter, q *http.Request) {
		b, _ := io.ReadAll(q.Body)
		sent = string(b)
		rw.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(rw, `{"text":"the secret word"}`)
	})
	r := newRig(t)
	r.tables = w.tables
	r.cfg.Upstream, r.cfg.Router = w.cfg.Upstream, w.cfg.Router
	r.guard(&judge{check: func(c *guardrail.Check) guardrail.Verdict {
		out := guardrail.Verdict{}
		for i, p := range c.Texts {
			if strings.Contains(p.Text, "secret") {
				out.Action = guardrail.Rewrite
				out.Replacements = append(out.Replacements, guardrail.Replacement{Index: i, Text: strings.ReplaceAll(p.Text, "secret", "******")})
			}
		}
		return out
	}}, resource.HookBefore, resource.HookAfter)
	kind, body := formOf(t, map[string]string{"model": "demo", "prompt": "my secret", "tags[]": "t"}, []byte("sound of secret"))
	got := r.do("POST", "/v1/audio/transcriptions", body, header("Content-Type", kind))
	if got.Code != 200 || got.Body.String() != `{"text":"the ****** word"}` {
		t.Errorf("got %d %s", got.Code, got.Body)
	}
	if !strings.Contains(sent, "my ******") || !strings.Contains(sent, "sound of secret") || strings.Contains(sent, "tags") || !strings.Contains(sent, "gpt-x") {
		t.Errorf("sent %q", sent)
	}
	r.checkBalance()
}

// A rewrite that a form cannot take must not be lost: the request fails.
func TestMedia_GuardrailChangesList(t *testing.T) {
	t.Parallel()
	asked := false
	w := newWire(t, func(http.ResponseWriter, *http.Request) { asked = true })
	r := newRig(t)
	r.tables = w.tables
	r.cfg.Upstream, r.cfg.Router = w.cfg.Upstream, w.cfg.Router
	r.guard(&judge{check: func(c *guardrail.Check) guardrail.Verdict {
		out := guardrail.Verdict{Action: guardrail.Rewrite}
		for i := range c.Texts {
			out.Replacements = append(out.Replacements, guardrail.Replacement{Index: i, Text: "******"})
		}
		return out
	}}, resource.HookBefore)
	kind, body := formOf(t, map[string]string{"model": "demo", "words[]": "my secret"}, []byte("sound"))
	got := r.do("POST", "/v1/audio/transcriptions", body, header("Content-Type", kind))
	if got.Code != 500 || !strings.Contains(got.Body.String(), "conclave_guardrail_failed") || asked {
		t.Errorf("got %d %s (asked: %t)", got.Code, got.Body, asked)
	}
	r.checkBalance()
}

// Limits and budgets hold what an image may cost, before a provider is asked.
func TestMedia_Budget(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	price := &resource.Price{Units: resource.Units{OutputImage: 4e13}}
	for _, d := range r.tables.Deployments {
		d.Price = price
	}
	var most budget.Amounts
	r.cfg.Budgets = budgetsFunc(func(q budget.Request) (proxy.BudgetHold, error) {
		most = q.Most
		return nil, &llm.Error{Kind: llm.OverBudget, Message: "spent"}
	})
	got := r.do("POST", "/v1/images/generations", `{"model":"demo","prompt":"x","n":3}`)
	if got.Code != 429 && got.Code != 400 && got.Code != 402 || most.Cost != 120_000_000 {
		t.Errorf("got %d %s, held %d", got.Code, got.Body, most.Cost)
	}
}

// A large file is in memory once, and a client that leaves stops the upstream.
func TestMedia_LargeForm(t *testing.T) {
	const size = 20 << 20
	var peak uint64
	w := newWire(t, func(rw http.ResponseWriter, q *http.Request) {
		n, _ := io.Copy(io.Discard, q.Body)
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		peak = m.TotalAlloc
		if n < size {
			rw.WriteHeader(400)
		}
		rw.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(rw, `{"text":"long"}`)
	})
	kind, body := formOf(t, map[string]string{"model": "demo"}, bytes.Repeat([]byte{1, 2, 3, 4}, size/4))
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	res, got := w.ask(t.Context(), "/v1/audio/transcriptions", kind, strings.NewReader(body)) //nolint:bodyclose // ask closes it
	if res.StatusCode != 200 || got != `{"text":"long"}` {
		t.Fatalf("got %d %s", res.StatusCode, got)
	}
	if used := peak - before.TotalAlloc; used > size*3/2 {
		t.Errorf("allocated %d bytes for a body of %d", used, size)
	}
}

func TestMedia_ClientLeaves(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	w := newWire(t, func(rw http.ResponseWriter, q *http.Request) {
		_, _ = io.Copy(io.Discard, q.Body)
		rw.Header().Set("Content-Type", "audio/mpeg")
		_, _ = rw.Write(make([]byte, 64<<10))
		_ = http.NewResponseController(rw).Flush()
		<-q.Context().Done()
		close(gone)
	})
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", w.url+"/v1/audio/speech", strings.NewReader(`{"model":"demo","input":"one","voice":"alloy"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+goodKey)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.ReadFull(res.Body, make([]byte, 32<<10)); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-gone
	if _, err := io.ReadAll(res.Body); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if rec := w.record(); rec.Flags&ledger.Cut == 0 || rec.Usage.Units.Characters != 3 {
		t.Errorf("recorded %+v", rec)
	}
}
