package guardrail_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/contract"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/proto"
	"github.com/conclave-llm/conclave/resource"
)

func body(kind, text string) guardrail.Verdict {
	return guardrail.Verdict{Action: guardrail.Answer, ContentType: kind, Body: []byte(text)}
}

// What a guardrail answers must be what the endpoint takes; what is not counts as a check that was not run.
func TestSet_Answers(t *testing.T) {
	t.Parallel()
	text := guardrail.Verdict{Action: guardrail.Answer, Answer: "x"}
	for _, tt := range []struct {
		name     string
		endpoint string
		stream   bool
		v        guardrail.Verdict
		takes    func(*guardrail.Reply) error
		kind     string // of the answer, if it has a body
		fails    string
	}{
		{name: "a text", endpoint: "chat", v: text},
		{name: "an empty text", endpoint: "chat", stream: true, v: guardrail.Verdict{Action: guardrail.Answer}},
		{name: "a body", endpoint: "chat", v: body("", ` {"a":1} `), kind: "application/json"},
		{name: "a body in a stream", endpoint: "converse", stream: true, v: body("", `{}`), kind: "application/json"},
		{name: "a type in capitals", endpoint: "embeddings", v: body("Application/JSON;charset=utf-8", `{}`), kind: "application/json"},
		{name: "vectors, whatever streams", endpoint: "embeddings", stream: true, v: body("", "{}"), kind: "application/json"},
		{name: "sound", endpoint: "speech", stream: true, v: body("audio/L16; Rate=8000", "\x00"), kind: "audio/l16; rate=8000"},
		{name: "subtitles", endpoint: "transcriptions", v: body("text/vtt", "WEBVTT"), kind: "text/vtt"},
		{name: "a text for vectors", endpoint: "embeddings", v: text, fails: "an answer that is a text to a request for embeddings: give a body that is a JSON object (application/json)"},
		{name: "a text for sound", endpoint: "speech", v: text, fails: "give a body of audio (audio/*)"},
		{name: "a body for a stream of events", endpoint: "translations", stream: true, v: body("", `{}`), fails: "give a text"},
		{name: "pictures in events", endpoint: "images", stream: true, v: body("", `{}`), fails: "images that streams, which takes none"},
		{name: "a session", endpoint: "realtime", v: text, fails: "realtime, which takes none"},
		{name: "no endpoint", v: text, fails: "which takes none"},
		{name: "a picture", endpoint: "images", v: body("image/png", "PNG"), fails: `the type "image/png" to a request for images: give a body that is a JSON object`},
		{name: "events", endpoint: "chat", stream: true, v: body("text/event-stream; charset=utf-8", "data: {}\n\n"), fails: "text/event-stream"},
		{name: "events for subtitles", endpoint: "transcriptions", v: body("text/event-stream", "data: {}\n\n"), fails: "text/event-stream"},
		{name: "a page", endpoint: "translations", v: body("text/html", "<b>"), fails: `the type "text/html"`},
		{name: "text that is none", endpoint: "transcriptions", v: body("text/plain", "\xff"), fails: "not UTF-8"},
		{name: "half an object", endpoint: "rerank", v: body("", `{"a":`), fails: "not one JSON object"},
		{name: "an object twice", endpoint: "rerank", v: body("", `{}{}`), fails: "not one JSON object"},
		{name: "a member twice", endpoint: "rerank", v: body("", `{"a":1,"a":2}`), fails: "not one JSON object"},
		{name: "a list", endpoint: "rerank", v: body("", `[]`), fails: "not one JSON object"},
		{name: "both", endpoint: "chat", v: guardrail.Verdict{Action: guardrail.Answer, Answer: "x", Body: []byte(`{}`)}, fails: "a text and a body"},
		{name: "a type alone", endpoint: "chat", v: body("application/json", ""), fails: "no body"},
		{name: "no type", endpoint: "chat", v: body("json; a", "{}"), fails: "content type"},
		{name: "a header of its own", endpoint: "speech", v: body("audio/wav\r\nset-cookie: a=b", "x"), fails: "content type"},
		{name: "a long type", endpoint: "speech", v: body("audio/"+strings.Repeat("a", 5000), "x"), fails: "too long"},
		{name: "too large", endpoint: "speech", v: body("audio/wav", strings.Repeat("x", guardrail.MaxBody+1)), fails: "more than"},
		{name: "not to this client", endpoint: "rerank", v: body("", `{}`), takes: func(*guardrail.Reply) error { return errors.New("not today") }, fails: "not today"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			q := request(`{"input":"x"}`)
			q.Endpoint, q.Stream, q.Open, q.Takes = tt.endpoint, tt.stream, guardrail.MayAnswer, tt.takes
			d, err := chain(hook("a", says(tt.v, nil), resource.HookBefore)).For("m", guardrail.Choice{}).Before(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if tt.fails != "" {
				if d.Action != guardrail.Block || d.Results[0].Status != guardrail.StatusNotRun || !strings.Contains(d.Results[0].Err.Error(), tt.fails) {
					t.Errorf("got %s, %+v, want %q", d.Action, d.Results[0], tt.fails)
				}
				return
			}
			if d.Action != guardrail.Answer || d.Results[0].Status != guardrail.StatusAnswered || d.Reply.Text != tt.v.Answer || string(d.Reply.Body) != string(tt.v.Body) || d.Reply.Type != tt.kind {
				t.Errorf("got %s, %+v, %+v", d.Action, d.Reply, d.Results[0])
			}
		})
	}
}

// A body that no message holds fails its check alone: the session goes on.
func TestSession_LargeBody(t *testing.T) {
	t.Parallel()
	size := guardrail.MaxBody + 1
	c := dial(t, &impl{
		description: guardrail.Description{Hooks: allHooks},
		fake: fake{check: func(context.Context, *guardrail.Check) (guardrail.Verdict, error) {
			return body("audio/wav", strings.Repeat("x", size)), nil
		}},
	})
	if _, err := c.Check(t.Context(), &guardrail.Check{Hook: resource.HookBefore}); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("got %v", err)
	}
	size = guardrail.MaxBody
	if v, err := c.Check(t.Context(), &guardrail.Check{Hook: resource.HookBefore}); err != nil || len(v.Body) != guardrail.MaxBody {
		t.Errorf("got %d bytes, %v", len(v.Body), err)
	}
}

// A host from before bodies is told an error: it would take the answer for an empty text.
func TestSession_BodyForOlderHost(t *testing.T) {
	t.Parallel()
	for host, fails := range map[uint32]bool{0: true, contract.MinorBodies - 1: true, contract.MinorBodies: false, contract.MinorBodies + 90: false} {
		rpc := proto.NewGuardrailClient(serve(t, &impl{
			description: guardrail.Description{Hooks: allHooks},
			fake:        fake{check: func(context.Context, *guardrail.Check) (guardrail.Verdict, error) { return body("", `{}`), nil }},
		}))
		if _, err := rpc.Configure(t.Context(), &proto.ConfigureGuardrail{Name: "test", HostMinor: host}); err != nil {
			t.Fatal(err)
		}
		s, err := rpc.Session(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(&proto.HostMessage{Id: 1, Kind: &proto.HostMessage_Check{Check: &proto.Check{Hook: proto.Hook_HOOK_BEFORE}}}); err != nil {
			t.Fatal(err)
		}
		m, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if v := m.GetVerdict(); (v.GetError() != "") != fails || fails && !strings.Contains(v.GetError(), "needs 1.9") {
			t.Errorf("minor %d: got %v", host, v)
		}
	}
}

// FuzzReply answers with any body of any type: what is taken is what its type says.
func FuzzReply(f *testing.F) {
	f.Add("", []byte(`{"a":1}`), "embeddings", false)
	f.Add("audio/wav", []byte("\x00"), "speech", true)
	f.Add("text/vtt; charset=\"utf-8\"", []byte("WEBVTT"), "transcriptions", false)
	f.Add("text/event-stream", []byte("data: {}\n\n"), "chat", true)
	f.Fuzz(func(t *testing.T, kind string, answer []byte, endpoint string, stream bool) {
		v := guardrail.Verdict{Action: guardrail.Answer, ContentType: kind, Body: answer}
		if v.Fits(&guardrail.Info{Endpoint: endpoint, Stream: stream}) != nil {
			return
		}
		q := request(`{"input":"x"}`)
		q.Endpoint, q.Stream, q.Open = endpoint, stream, guardrail.MayAnswer
		d, err := chain(hook("a", says(v, nil), resource.HookBefore)).For("m", guardrail.Choice{}).Before(t.Context(), q)
		if err != nil || d.Action != guardrail.Answer {
			t.Fatalf("it fits, and is not taken: %+v, %v", d, err)
		}
		r := &d.Reply
		if strings.ContainsFunc(r.Type, func(c rune) bool { return c < ' ' || c > '~' }) || r.Form()&guardrail.FormsOf(endpoint, stream) == 0 {
			t.Errorf("%q is taken at %q as %q", kind, endpoint, r.Type)
		}
		if r.Form() == guardrail.FormObject {
			var o map[string]any
			if err := json.Unmarshal(answer, &o); err != nil || o == nil {
				t.Errorf("%q is taken as an object: %v", answer, err)
			}
		}
	})
}
