package provider_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/providertest"
	"github.com/conclave-llm/conclave/provider/providertest/vendors"
)

// These targets go through the tables, so that whatever is added there is in them: FuzzConversations reads the
// answers and events of every dialect of conversations, FuzzCodecs those of every codec as the relay does, and
// FuzzRequests the requests of every dialect that clients speak. FuzzEmbedResponse, FuzzRerankResponse,
// FuzzDecisionResponse and FuzzDocuments stand beside their tests, and FuzzTask, for media, in proxy/translate.

// FuzzConversations: no answer and no event makes a reader panic, and what is taken can be written for clients.
func FuzzConversations(f *testing.F) {
	for _, x := range loadTexts(f) {
		f.Add([]byte(x.Request), []byte(x.Answer))
	}
	answer := &chat.Response{Choices: []chat.Choice{{Parts: []chat.Part{{Text: "a"}}, Finish: chat.FinishStop}}}
	for _, v := range vendors.Conversations() {
		f.Add([]byte(`{"messages":[{"role":"user","content":"Hi"}]}`), v.Vendor().Answer(answer))
	}
	in, _ := provider.InboundOf(llm.Chat)
	f.Fuzz(func(t *testing.T, request, answer []byte) {
		req, bad := in.DecodeRequest(request)
		for _, e := range llm.Endpoints() {
			out, ok := provider.OutboundOf(e)
			if !ok {
				continue
			}
			if bad == nil {
				sent, err := out.EncodeRequest(req, &llm.Target{Model: "m", Options: map[string]string{"project_id": "p"}})
				if err == nil && e != llm.PetalsGenerate && !json.Valid(sent) {
					t.Fatalf("%s: sent %s", e, sent)
				}
			}
			if fl, ok := out.(provider.Follower); ok {
				_, _ = fl.Follow(answer)
			}
			fuzzAnswer(t, e, out, in, answer)
			dec := out.NewDecoder()
			if list, err := dec.Decode(nil, llm.Event{Data: answer}); err == nil {
				_, _ = dec.End(list)
			}
		}
	})
}

func fuzzAnswer(t *testing.T, e llm.Endpoint, out provider.Outbound, in provider.Inbound, answer []byte) {
	res, err := out.DecodeResponse(answer)
	if err != nil {
		if x, ok := errors.AsType[*llm.Error](err); !ok || x.Kind == llm.Invalid {
			t.Fatalf("%s: got %v", e, err)
		}
		return
	}
	if got, err := in.EncodeResponse(&chat.Request{}, res); err != nil || !json.Valid(got) {
		t.Fatalf("%s of %s: %s, %v", e, answer, got, err)
	}
}

// FuzzCodecs: no answer, no stream and no error makes a codec panic; what it cannot read is the provider's fault,
// and an error always says something.
func FuzzCodecs(f *testing.F) {
	answer := &chat.Response{Choices: []chat.Choice{{Parts: []chat.Part{{Text: "a"}}, Finish: chat.FinishStop}}}
	for _, v := range vendors.Conversations() {
		f.Add(200, v.Vendor().Answer(answer))
		if !v.Lacking(providertest.Streams) {
			f.Add(200, bytes.Join(v.Vendor().Stream(chat.Chunks(nil, answer)), nil))
			f.Add(200, []byte(v.Failure))
		}
	}
	f.Add(429, []byte(`{"error":{"message":"m","code":"c","details":[{"retryDelay":"3s"}]}}`))
	type way struct {
		codec provider.Codec
		at    llm.Endpoint
	}
	var ways []way
	seen := map[string]bool{}
	for _, name := range provider.Names() {
		p, _ := provider.Lookup(name)
		for _, e := range p.Endpoints {
			if key := fmt.Sprintf("%T %s", p.Codec, e); e.Family() != llm.FamilySession && !seen[key] {
				seen[key] = true
				ways = append(ways, way{p.Codec, e})
			}
		}
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		for _, w := range ways {
			r, err := w.codec.Read(w.at, bytes.Clone(body))
			if x, ok := errors.AsType[*llm.Error](err); err != nil && (!ok || x.Kind != llm.Upstream) || r.TextBytes < 0 || r.Usage.Total() < 0 {
				t.Fatalf("%T %s: got %+v, %v", w.codec, w.at, r, err)
			}
			if e := w.codec.Classify(providertest.Now, status, nil, bytes.Clone(body)); e == nil || e.Message == "" || e.HTTPStatus() < 400 {
				t.Fatalf("%T %s: got %+v", w.codec, w.at, e)
			}
			fuzzStream(t, w.codec, w.at, body)
			if out, ok := provider.SpeechOutboundOf(w.at); ok {
				if events, ok := out.(provider.SpeechEvents); ok {
					_, _ = events.Sound(bytes.Clone(body))
				}
			}
		}
	})
}

// fuzzStream divides the bytes into events and measures them.
func fuzzStream(t *testing.T, codec provider.Codec, at llm.Endpoint, body []byte) {
	events := codec.Frames(at, bytes.NewReader(body), 1<<20)
	if events == nil {
		events = llm.NewSSEReader(bytes.NewReader(body), 1<<20)
	}
	meter := codec.Meter(at)
	for {
		e, err := events.Next()
		if err != nil {
			return
		}
		if meter == nil || e.Data == nil {
			continue
		}
		if r, err := meter.Event(e); err == nil && (r.TextBytes < 0 || r.Usage.Total() < 0) {
			t.Fatalf("%T %s: measured %+v", codec, at, r)
		}
	}
}

// FuzzRequests: no request makes a reader panic, what it refuses is the client's fault, and what it takes is
// written for every provider, or refused as the client's.
func FuzzRequests(f *testing.F) {
	var ins []provider.Inbound
	for _, e := range llm.Endpoints() {
		if in, ok := provider.InboundOf(e); ok {
			ins = append(ins, in)
		}
	}
	req := &chat.Request{Model: "m", MaxTokens: 9, Messages: []chat.Message{{Role: chat.RoleUser, Parts: []chat.Part{{Text: "Hi"}}}}}
	for _, e := range llm.Endpoints() {
		if out, ok := provider.OutboundOf(e); ok {
			if body, err := out.EncodeRequest(req, &llm.Target{Model: "m"}); err == nil {
				f.Add(body)
			}
		}
	}
	f.Add([]byte(`{"anthropic_version":"bedrock-2023-05-31","max_tokens":64,"messages":[{"role":"user","content":"say hello"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, in := range ins {
			req, err := in.DecodeRequest(bytes.Clone(body))
			if err != nil {
				if x, ok := errors.AsType[*llm.Error](err); !ok || x.Kind != llm.Invalid || x.Message == "" {
					t.Fatalf("%T: got %v", in, err)
				}
				continue
			}
			for _, e := range llm.Endpoints() {
				out, ok := provider.OutboundOf(e)
				if !ok {
					continue
				}
				sent, err := out.EncodeRequest(req, &llm.Target{Model: "m", Options: map[string]string{"project_id": "p"}})
				if x, ok := errors.AsType[*llm.Error](err); err != nil && (!ok || x.Kind != llm.Invalid) {
					t.Fatalf("%T to %s: got %v", in, e, err)
				}
				if err == nil && e != llm.PetalsGenerate && !json.Valid(sent) {
					t.Fatalf("%T to %s: sent %s", in, e, sent)
				}
			}
		}
	})
}
