package proxy_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

func says(text string) guardrail.Verdict {
	return guardrail.Verdict{Action: guardrail.Answer, Answer: text}
}

func gives(kind, body string) guardrail.Verdict {
	return guardrail.Verdict{Action: guardrail.Answer, ContentType: kind, Body: []byte(body)}
}

// own is a request that a guardrail answers.
type own struct {
	name, path, body string
	form             map[string]string // in the place of body
	v                guardrail.Verdict
	want             string // the whole answer, or what it contains if more is set
	more             bool
	kind             string // of the answer
	endpoint         string
}

func (o *own) ask(t *testing.T, r *rig) (code int, kind, body string) {
	t.Helper()
	w := o.do(t, r)
	return w.Code, w.Header().Get("Content-Type"), w.Body.String()
}

func (o *own) do(t *testing.T, r *rig) *httptest.ResponseRecorder {
	t.Helper()
	content, sent := json200, o.body
	if o.form != nil {
		content, sent = formOf(t, o.form, []byte("RIFF"))
	}
	return r.do("POST", o.path, sent, header("Content-Type", content))
}

var (
	vectors   = `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1,0.5]}],"model":"demo","usage":{"prompt_tokens":0,"total_tokens":0}}`
	called    = `{"id":"c1","object":"chat.completion","created":1,"model":"demo","choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"t1","type":"function","function":{"name":"look","arguments":"{}"}}]},"finish_reason":"tool_calls"}],"note":"mine"}`
	message   = `{"id":"m1","type":"message","role":"assistant","model":"demo","content":[{"type":"text","text":"by the hook"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":0,"output_tokens":0}}`
	response  = `{"id":"r1","object":"response","created_at":1,"status":"completed","model":"demo","output":[{"type":"message","id":"m1","role":"assistant","status":"completed","content":[{"type":"output_text","text":"by the hook","annotations":[]}]}]}`
	completed = `{"id":"c1","object":"text_completion","created":1,"model":"demo","choices":[{"index":0,"text":"by the hook","finish_reason":"stop"}]}`
	conversed = `{"output":{"message":{"role":"assistant","content":[{"text":"by the hook"}]}},"stopReason":"end_turn","usage":{"inputTokens":0,"outputTokens":0,"totalTokens":0}}`
	content   = `{"candidates":[{"index":0,"content":{"role":"model","parts":[{"text":"by the hook"}]},"finishReason":"STOP"}]}`
)

var owns = []own{
	{name: "embeddings", path: "/v1/embeddings", body: `{"model":"demo","input":"hi"}`, v: gives("", vectors), want: vectors, kind: json200, endpoint: "embeddings"},
	{
		name: "embeddings in base64", path: "/v1/embeddings", body: `{"model":"demo","input":"hi","encoding_format":"base64"}`, v: gives("Application/JSON; charset=utf-8", vectors),
		want: `"embedding":"AACAPwAAAD8="`, more: true, kind: json200, endpoint: "embeddings",
	},
	{name: "embedContent", path: "/v1beta/models/demo:embedContent", body: `{"content":{"parts":[{"text":"hi"}]}}`, v: gives(json200, `{"embedding":{"values":[1]}}`), want: `{"embedding":{"values":[1]}}`, kind: json200, endpoint: "embed_content"},
	{name: "batchEmbedContents", path: "/v1beta/models/demo:batchEmbedContents", body: `{"requests":[{"content":{"parts":[{"text":"hi"}]}}]}`, v: gives("", `{"embeddings":[{"values":[1]}]}`), want: `{"embeddings":[{"values":[1]}]}`, kind: json200, endpoint: "batch_embed_contents"},
	{name: "moderations", path: "/v1/moderations", body: `{"model":"demo","input":"hi"}`, v: gives("", `{"results":[{"flagged":false}]}`), want: `{"results":[{"flagged":false}]}`, kind: json200, endpoint: "moderations"},
	{name: "images", path: "/v1/images/generations", body: `{"model":"demo","prompt":"a cat"}`, v: gives("", `{"data":[{"b64_json":"AA=="}]}`), want: `{"data":[{"b64_json":"AA=="}]}`, kind: json200, endpoint: "images"},
	{name: "edits", path: "/v1/images/edits", form: map[string]string{"model": "demo", "prompt": "a dog", "image": "x"}, v: gives("", `{"data":[]}`), want: `{"data":[]}`, kind: json200, endpoint: "image_edits"},
	{name: "variations", path: "/v1/images/variations", form: map[string]string{"model": "demo", "image": "x"}, v: gives("", `{"data":[]}`), want: `{"data":[]}`, kind: json200, endpoint: "image_variations"},
	{
		name: "decisions", path: "/v1/decisions", body: `{"model":"demo","input":"a","questions":[{"type":"predicate","instructions":"b"}]}`,
		v: gives("", `{"answers":[]}`), want: `{"answers":[]}`, kind: json200, endpoint: "decisions",
	},
	{
		name: "System One", path: "/v1/systemone", body: `{"model":"demo","state":"a","questions":{"b":{"type":"noul","instructions":"c"}}}`,
		v: gives("", `{"answers":{}}`), want: `{"answers":{}}`, kind: json200, endpoint: "system_one",
	},
	{
		name: "extraction", path: "/v1/extraction", body: `{"model":"demo","state":"a","entities":{"b":"c"}}`,
		v: gives("", `{"entities":{}}`), want: `{"entities":{}}`, kind: json200, endpoint: "extraction",
	},
	{name: "rerank", path: "/v2/rerank", body: `{"model":"demo","query":"a","documents":["b"]}`, v: gives("", `{"results":[]}`), want: `{"results":[]}`, kind: json200, endpoint: "rerank"},
	{name: "ocr", path: "/v1/ocr", body: `{"model":"demo","document":{"type":"document_url","document_url":"https://example.com/a.pdf"}}`, v: gives("", `{"pages":[]}`), want: `{"pages":[]}`, kind: json200, endpoint: "ocr"},
	{name: "count_tokens", path: "/v1/messages/count_tokens", body: `{"model":"demo","messages":[{"role":"user","content":"hi"}]}`, v: gives("", `{"input_tokens":7}`), want: `{"input_tokens":7}`, kind: json200, endpoint: "count_tokens"},
	{name: "countTokens", path: "/v1beta/models/demo:countTokens", body: `{"contents":[{"parts":[{"text":"hi"}]}]}`, v: gives("", `{"totalTokens":7}`), want: `{"totalTokens":7}`, kind: json200, endpoint: "count_content"},
	{name: "input_tokens", path: "/v1/responses/input_tokens", body: `{"model":"demo","input":"hi"}`, v: gives("", `{"object":"response.input_tokens","input_tokens":7}`), want: `{"object":"response.input_tokens","input_tokens":7}`, kind: json200, endpoint: "input_tokens"},
	{name: "a count of a stream", path: "/v1/messages/count_tokens", body: `{"model":"demo","stream":true,"messages":[{"role":"user","content":"hi"}]}`, v: gives("", `{"input_tokens":7}`), want: `{"input_tokens":7}`, kind: json200, endpoint: "count_tokens"},
	{name: "transcription", path: "/v1/audio/transcriptions", form: map[string]string{"model": "demo"}, v: says("a \"word\""), want: `{"text":"a \"word\""}`, kind: json200, endpoint: "transcriptions"},
	{name: "transcription as text", path: "/v1/audio/transcriptions", form: map[string]string{"model": "demo", "response_format": "text"}, v: says("a word"), want: "a word\n", kind: "text/plain; charset=utf-8", endpoint: "transcriptions"},
	{name: "transcription in events", path: "/v1/audio/transcriptions", form: map[string]string{"model": "demo", "stream": "true"}, v: says("a word"), want: `"type":"transcript.text.done","text":"a word"`, more: true, kind: "text/event-stream", endpoint: "transcriptions"},
	{name: "transcription of its own", path: "/v1/audio/transcriptions", form: map[string]string{"model": "demo", "response_format": "verbose_json"}, v: gives("", `{"text":"a","duration":1}`), want: `{"text":"a","duration":1}`, kind: json200, endpoint: "transcriptions"},
	{name: "translation", path: "/v1/audio/translations", form: map[string]string{"model": "demo", "response_format": "json"}, v: says("a word"), want: `{"text":"a word"}`, kind: json200, endpoint: "translations"},
	{name: "subtitles", path: "/v1/audio/translations", form: map[string]string{"model": "demo", "response_format": "vtt"}, v: gives("text/vtt", "WEBVTT\n"), want: "WEBVTT\n", kind: "text/vtt", endpoint: "translations"},
	{name: "speech", path: "/v1/audio/speech", body: `{"model":"demo","input":"one","voice":"alloy"}`, v: gives("audio/wav", "\x00\xffRIFF"), want: "\x00\xffRIFF", kind: "audio/wav", endpoint: "speech"},
	{name: "speech in events", path: "/v1/audio/speech", body: `{"model":"demo","input":"one","voice":"alloy","stream_format":"sse"}`, v: gives("audio/mpeg", "SOUND"), want: `"audio":"U09VTkQ="`, more: true, kind: "text/event-stream", endpoint: "speech"},
	{name: "chat", path: "/v1/chat/completions", body: chatBody, v: gives("", called), want: called, kind: json200, endpoint: "chat"},
	{name: "streamed chat", path: "/v1/chat/completions", body: streamBody, v: gives("", called), want: `"name":"look"`, more: true, kind: "text/event-stream", endpoint: "chat"},
	{name: "messages", path: "/v1/messages", body: `{"model":"demo","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`, v: gives("", message), want: message, kind: json200, endpoint: "messages"},
	{name: "streamed messages", path: "/v1/messages", body: `{"model":"demo","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi"}]}`, v: gives("", message), want: `"text":"by the hook"`, more: true, kind: "text/event-stream", endpoint: "messages"},
	{name: "responses", path: "/v1/responses", body: `{"model":"demo","input":"hi"}`, v: gives("", response), want: response, kind: json200, endpoint: "responses"},
	{name: "streamed responses", path: "/v1/responses", body: `{"model":"demo","stream":true,"input":"hi"}`, v: gives("", response), want: `"delta":"by the hook"`, more: true, kind: "text/event-stream", endpoint: "responses"},
	{name: "completions", path: "/v1/completions", body: `{"model":"demo","prompt":"hi"}`, v: gives("", completed), want: completed, kind: json200, endpoint: "completions"},
	{name: "streamed completions", path: "/v1/completions", body: `{"model":"demo","stream":true,"prompt":"hi"}`, v: gives("", completed), want: `"text":"by the hook"`, more: true, kind: "text/event-stream", endpoint: "completions"},
	{name: "converse", path: "/model/demo/converse", body: `{"messages":[{"role":"user","content":[{"text":"hi"}]}]}`, v: gives("", conversed), want: conversed, kind: json200, endpoint: "converse"},
	{name: "streamed converse", path: "/model/demo/converse-stream", body: `{"messages":[{"role":"user","content":[{"text":"hi"}]}]}`, v: gives("", conversed), want: `"text":"by the hook"`, more: true, kind: "application/vnd.amazon.eventstream", endpoint: "converse"},
	{name: "invoke", path: "/model/demo/invoke", body: `{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`, v: says("by the hook"), want: `"content":[{"type":"text","text":"by the hook"}]`, more: true, kind: json200, endpoint: "invoke"},
	{name: "invoke in the words of another maker", path: "/model/demo/invoke", body: `{"inputText":"hi"}`, v: gives("", `{"results":[]}`), want: `{"results":[]}`, kind: json200, endpoint: "invoke"},
	{name: "streamed invoke", path: "/model/demo/invoke-with-response-stream", body: `{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`, v: says("by the hook"), want: `"text":"by the hook"`, more: true, kind: "application/vnd.amazon.eventstream", endpoint: "invoke"},
	{name: "contents", path: "/v1beta/models/demo:generateContent", body: `{"contents":[{"parts":[{"text":"hi"}]}]}`, v: gives("", content), want: content, kind: json200, endpoint: "generate_content"},
	{name: "contents in an array", path: "/v1beta/models/demo:streamGenerateContent", body: `{"contents":[{"parts":[{"text":"hi"}]}]}`, v: gives("", content), want: `"text":"by the hook"`, more: true, kind: json200, endpoint: "generate_content"},
	{name: "streamed contents", path: "/v1beta/models/demo:streamGenerateContent?alt=sse", body: `{"contents":[{"parts":[{"text":"hi"}]}]}`, v: gives("", content), want: `"text":"by the hook"`, more: true, kind: "text/event-stream", endpoint: "generate_content"},
}

// At each endpoint a guardrail answers in the place of a model, in the client's dialect: nobody is asked, nothing is
// charged, and the record says so.
func TestOwn_Endpoints(t *testing.T) {
	t.Parallel()
	for _, tt := range owns {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			tt.v.Headers = []guardrail.Header{{Name: "x-source", Value: "hook"}}
			r.general(func(*guardrail.Check) guardrail.Verdict { return tt.v }, guardrail.MayAnswer|guardrail.MayHeaders, nil, resource.HookBefore)
			w := tt.do(t, r)
			kind, body := w.Header().Get("Content-Type"), unframed(w.Body.String())
			if w.Code != 200 || !strings.HasPrefix(kind, tt.kind) || body != tt.want && (!tt.more || !strings.Contains(body, tt.want)) {
				t.Fatalf("got %d %s %q, want %s %q", w.Code, kind, body, tt.kind, tt.want)
			}
			if w.Header().Get("X-Source") != "hook" {
				t.Errorf("headers %v", w.Header())
			}
			r.checkBalance()
			rec := r.journal.settled[0]
			if rec.Cost != 0 || rec.Usage.Total() != 0 || rec.Status != 200 || rec.Attempts != 0 || rec.ErrorKind != "" || rec.Endpoint != tt.endpoint ||
				rec.Guardrail != "hook" || rec.Guardrails[0].Status != "answered" {
				t.Errorf("recorded %+v", rec)
			}
			if r.router.began != 0 || r.limit.tokens != 0 || r.limit.settled != 1 {
				t.Errorf("%d attempts, limit %+v", r.router.began, r.limit)
			}
		})
	}
}

// Every endpoint at which a guardrail may answer is tried.
func TestOwn_All(t *testing.T) {
	t.Parallel()
	tried := map[string]bool{}
	for _, o := range owns {
		tried[o.endpoint] = true
	}
	for _, e := range llm.Endpoints() {
		takes := guardrail.FormsOf(e.String(), false)
		if tried[e.String()] != (takes != 0) {
			t.Errorf("%s takes %q, tried is %t", e, takes, tried[e.String()])
		}
	}
}

// What is no answer to the request is none: on_error decides, and the log says what to give.
func TestOwn_Refused(t *testing.T) {
	t.Parallel()
	embed, speak := `{"model":"demo","input":"hi"}`, `{"model":"demo","input":"one","voice":"alloy"}`
	subtitles := map[string]string{"model": "demo", "response_format": "srt"}
	for _, tt := range []struct {
		own
		may guardrail.Powers
		log string
	}{
		{own{name: "without the power", path: "/v1/embeddings", body: embed, v: gives("", vectors)}, everything &^ guardrail.MayAnswer, `the power \"answer\"`},
		{own{name: "a text for vectors", path: "/v1/embeddings", body: embed, v: says("hi")}, everything, "give a body that is a JSON object"},
		{own{name: "no JSON", path: "/v1/embeddings", body: embed, v: gives("", `{"data":`)}, everything, "not one JSON object"},
		{own{name: "no object", path: "/v1/moderations", body: embed, v: gives("", `[1]`)}, everything, "not one JSON object"},
		{own{name: "two objects", path: "/v1/moderations", body: embed, v: gives("", `{}{}`)}, everything, "not one JSON object"},
		{own{name: "another type", path: "/v1/moderations", body: embed, v: gives("text/html", `<b>`)}, everything, "give a body that is a JSON object"},
		{own{name: "no type", path: "/v1/moderations", body: embed, v: gives("a b", `{}`)}, everything, "content type"},
		{own{name: "events of its own", path: "/v1/chat/completions", body: streamBody, v: gives("text/event-stream", "data: {}\n\n")}, everything, "text/event-stream"},
		{own{name: "two answers", path: "/v1/chat/completions", body: chatBody, v: guardrail.Verdict{Action: guardrail.Answer, Answer: "x", Body: []byte(`{}`)}}, everything, "a text and a body"},
		{own{name: "no body", path: "/v1/moderations", body: embed, v: gives(json200, "")}, everything, "no body"},
		{own{name: "too large", path: "/v1/audio/speech", body: speak, v: gives("audio/wav", strings.Repeat("x", guardrail.MaxBody+1))}, everything, "more than"},
		{own{name: "no vectors in base64", path: "/v1/embeddings", body: `{"model":"demo","input":"hi","encoding_format":"base64"}`, v: gives("", `{"data":7}`)}, everything, "no embeddings"},
		{own{name: "a stream of pictures", path: "/v1/images/generations", body: `{"model":"demo","prompt":"a","stream":true}`, v: gives("", `{"data":[]}`)}, everything, "that streams, which takes none"},
		{own{name: "what cannot be streamed", path: "/v1/chat/completions", body: streamBody, v: gives("", `{"choices":7}`)}, everything, "cannot be said as a stream"},
		{own{name: "JSON for sound", path: "/v1/audio/speech", body: speak, v: gives("", `{}`)}, everything, "give a body of audio"},
		{own{name: "a text for sound", path: "/v1/audio/speech", body: speak, v: says("one")}, everything, "give a body of audio"},
		{own{name: "a text for subtitles", path: "/v1/audio/transcriptions", form: subtitles, v: says("a word")}, everything, "give a body that is a text"},
		{own{name: "JSON for subtitles", path: "/v1/audio/transcriptions", form: subtitles, v: gives("", `{}`)}, everything, "give a body that is a text"},
		{own{name: "subtitles that are no text", path: "/v1/audio/transcriptions", form: subtitles, v: gives("text/plain", "\xff")}, everything, "not UTF-8"},
		{own{name: "a stream of its own transcription", path: "/v1/audio/transcriptions", form: map[string]string{"model": "demo", "stream": "true"}, v: gives("", `{}`)}, everything, "give a text"},
		{own{name: "a question about a request", path: "/utils/token_counter", body: `{"model":"demo","messages":[{"role":"user","content":"hi"}]}`, v: gives("", `{}`)}, everything, "does not apply to this request"},
	} {
		for _, onError := range []resource.OnError{resource.OnErrorBlock, resource.OnErrorPass} {
			t.Run(tt.name+" "+string(onError), func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				var log bytes.Buffer
				r.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
				r.general(func(*guardrail.Check) guardrail.Verdict { return tt.v }, tt.may, func(m *guardrail.Member) { m.OnError = onError }, resource.HookBefore)
				code, _, body := tt.ask(t, r)
				r.checkBalance()
				rec := r.journal.settled[0]
				if rec.Guardrails[0].Status != "not_run" || rec.Guardrail != "" {
					t.Errorf("recorded %+v", rec.Guardrails)
				}
				if !strings.Contains(log.String(), "guardrail_error=") || !strings.Contains(log.String(), tt.log) {
					t.Errorf("logged %s, want %q", log.String(), tt.log)
				}
				if onError == resource.OnErrorPass {
					if code == 503 || strings.HasPrefix(tt.path, "/v1/") && rec.Attempts == 0 {
						t.Errorf("it does not pass: %d %s, %d attempts", code, body, rec.Attempts)
					}
					return
				}
				if code != 503 || codeOf(t, body) != "guardrail_not_run" || rec.Attempts != 0 {
					t.Errorf("got %d %s, %d attempts", code, body, rec.Attempts)
				}
			})
		}
	}
}

// Guardrails of answers see what a guardrail answered, as they see a provider's; audio has no text for them.
func TestOwn_After(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		own
		saw string
	}{
		{own{name: "object", path: "/v1/moderations", body: `{"model":"demo","input":"hi"}`, v: gives("", `{"note":"a secret"}`), want: `{"note":"a ***"}`}, "a secret"},
		{own{name: "text", path: "/v1/audio/transcriptions", form: map[string]string{"model": "demo", "response_format": "text"}, v: says("a secret"), want: "a ***\n"}, "a secret\n"},
		{own{name: "sound", path: "/v1/audio/speech", body: `{"model":"demo","input":"one","voice":"alloy"}`, v: gives("audio/wav", "a secret"), want: "a secret"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			saw := ""
			r.general(func(q *guardrail.Check) guardrail.Verdict {
				if q.Hook == resource.HookBefore {
					return tt.v
				}
				saw = q.Texts[0].Text
				return guardrail.Verdict{Action: guardrail.Rewrite, Replacements: []guardrail.Replacement{{Text: strings.Replace(saw, "secret", "***", 1)}}}
			}, guardrail.MayAnswer, nil, resource.HookBefore, resource.HookAfter)
			if code, _, body := tt.ask(t, r); code != 200 || body != tt.want || saw != tt.saw {
				t.Errorf("got %d %q, the guardrail saw %q", code, body, saw)
			}
			r.checkBalance()
		})
	}
}

// A guardrail that only observes is recorded, and a model answers.
func TestOwn_Observed(t *testing.T) {
	t.Parallel()
	for _, v := range []guardrail.Verdict{gives("", vectors), says("x")} {
		r := newRig(t)
		r.general(func(*guardrail.Check) guardrail.Verdict { return v }, guardrail.MayAnswer, func(m *guardrail.Member) { m.Observe = true }, resource.HookBefore)
		asked := 0
		next := r.upstream
		r.upstream = func(ctx context.Context, a *upstream.Attempt) (proxy.Answer, error) {
			asked++
			return next(ctx, a)
		}
		want := map[bool]string{true: "flagged", false: "not_run"}[v.Body != nil]
		w := r.do("POST", "/v1/embeddings", `{"model":"demo","input":"hi"}`)
		if got := r.journal.settled[0].Guardrails[0].Status; w.Code != 200 || asked != 1 || got != want {
			t.Errorf("got %d %s, asked %d, recorded %s, want %s", w.Code, w.Body, asked, got, want)
		}
	}
}

// An answer is bounded like a provider's, by what the levels of the request allow.
func TestOwn_TooLargeForThePolicy(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	limit := int64(1)
	r.key().MaxResponseMB = &limit
	r.general(func(*guardrail.Check) guardrail.Verdict {
		return gives("", fmt.Sprintf(`{"a":%q}`, strings.Repeat("x", 1<<20)))
	}, guardrail.MayAnswer, nil, resource.HookBefore)
	if w := r.do("POST", "/v1/moderations", `{"model":"demo","input":"hi"}`); w.Code != 502 || codeOf(t, w.Body.String()) != "response_too_large" {
		t.Errorf("got %d with %d bytes", w.Code, w.Body.Len())
	}
	r.checkBalance()
	if rec := r.journal.settled[0]; rec.Cost != 0 || rec.Usage.Total() != 0 {
		t.Errorf("recorded %+v", rec)
	}
}
