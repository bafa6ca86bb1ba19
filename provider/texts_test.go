package provider_test

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/providertest"
)

// textExchange is a recorded exchange with a vendor whose conversations have a form of their own.
type textExchange struct {
	Name     string            `json:"name"`
	Endpoint string            `json:"endpoint"`
	Model    string            `json:"model"`
	Options  map[string]string `json:"options"`
	Request  json.RawMessage   `json:"request"`
	Sent     json.RawMessage   `json:"sent"`
	Dropped  []string          `json:"dropped"`
	Refused  string            `json:"refused"`
	Answer   json.RawMessage   `json:"answer"`
	Fails    string            `json:"fails"`
	Text     string            `json:"text"`
	Finish   string            `json:"finish"`
	Usage    []int64           `json:"usage"`
}

func loadTexts(t testing.TB) (list []textExchange) {
	t.Helper()
	raw, err := os.ReadFile("testdata/texts.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		t.Fatal(err)
	}
	return list
}

// gistOf is what an answer says, in one line.
func gistOf(parts []chat.Part) string {
	var b strings.Builder
	for _, p := range parts {
		if p.Type == chat.PartToolCall {
			b.WriteString(p.Name + "(" + string(p.Arguments) + ")")
		} else {
			b.WriteString(p.Text)
		}
	}
	return b.String()
}

// TestTexts plays the recorded exchanges.
func TestTexts(t *testing.T) {
	t.Parallel()
	in, _ := provider.InboundOf(llm.Chat)
	for _, x := range loadTexts(t) {
		t.Run(x.Endpoint+"/"+x.Name, func(t *testing.T) {
			t.Parallel()
			at := endpointNamed(x.Endpoint)
			out, ok := provider.OutboundOf(at)
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
			res, err := out.DecodeResponse(x.Answer)
			report, _ := rowServing(t, at).Codec.Read(at, x.Answer)
			if x.Fails != "" {
				if e, ok := errors.AsType[*llm.Error](err); !ok || e.Code != x.Fails || !report.HasError {
					t.Errorf("got %v and %+v, want the code %s", err, report, x.Fails)
				}
				return
			}
			if err != nil || len(res.Choices) != 1 {
				t.Fatalf("got %+v, %v", res, err)
			}
			if got := gistOf(res.Choices[0].Parts); got != x.Text || res.Choices[0].Finish.String() != x.Finish {
				t.Errorf("got %q and %s, want %q and %s", got, res.Choices[0].Finish, x.Text, x.Finish)
			}
			var used []int64
			if res.Usage.Source != llm.UsageNone {
				used = []int64{res.Usage.Prompt(), res.Usage.Completion()}
			}
			if !slices.Equal(used, x.Usage) || report.HasUsage != (x.Usage != nil) {
				t.Errorf("used %v, reported %+v, want %v", used, report, x.Usage)
			}
		})
	}
}

// TestTexts_Stream reads streams of those that have some, and refuses what was cut.
func TestTexts_Stream(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		endpoint llm.Endpoint
		events   []string
		want     string
		fails    bool
	}{
		{llm.TritonChat, []string{`{"text_output":"Hel"}`, `{"text_output":"lo"}`}, "Hello stop", false},
		{llm.TritonChat, []string{`{"text_output":"Hel"}`, `{"error":"it failed"}`}, "", true},
		{llm.GigaChat, []string{`{"choices":[{"delta":{"content":"Hel","role":"assistant"},"index":0}],"model":"G"}`, `{"choices":[{"delta":{"content":"lo"},"index":0,"finish_reason":"length"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`, `[DONE]`}, "Hello length", false},
		{llm.GigaChat, []string{`{"choices":[{"delta":{"content":"","function_call":{"name":"look","arguments":{"a":1}}},"index":0,"finish_reason":"function_call"}]}`, `[DONE]`}, `look({"a":1}) tool_calls`, false},
		{llm.GigaChat, []string{`{"choices":[{"delta":{"content":"Hel"},"index":0}]}`}, "", true},
		{llm.GigaChat, []string{`nonsense`}, "", true},
	} {
		out, _ := provider.OutboundOf(tt.endpoint)
		dec, all := out.NewDecoder(), new(chat.Collector)
		var err error
		var list []chat.Chunk
		for _, data := range tt.events {
			if err == nil {
				list, err = dec.Decode(list, llm.Event{Data: []byte(data)})
			}
		}
		if err == nil {
			list, err = dec.End(list)
		}
		if (err != nil) != tt.fails {
			t.Errorf("%s %v: got %v", tt.endpoint, tt.events, err)
		}
		if err != nil {
			continue
		}
		for i := range list {
			all.Add(&list[i])
		}
		res := all.Response()
		if got := gistOf(res.Choices[0].Parts) + " " + res.Choices[0].Finish.String(); got != tt.want || list[len(list)-1].Type != chat.ChunkEnd {
			t.Errorf("%s: got %q, want %q", tt.endpoint, got, tt.want)
		}
	}
}

// TestTexts_Conformance: the rules for codecs hold for these vendors, which are where they are.
func TestTexts_Conformance(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		provider, model string
		stream          bool
		options         map[string]string
		base, want      string
	}{
		{"triton", "ensemble", true, nil, "http://triton:8000", "http://triton:8000/v2/models/ensemble/generate_stream"},
		{"triton", "m", false, nil, "http://triton:8000/v2/models/m/generate", "http://triton:8000/v2/models/m/generate"},
		{"replicate", "meta/llama-3", false, nil, "", "https://api.replicate.com/v1/models/meta/llama-3/predictions"},
		{"replicate", "deployments/acme/mine", false, nil, "", "https://api.replicate.com/v1/deployments/acme/mine/predictions"},
		{"replicate", "meta/llama-2:02e5", false, nil, "", "https://api.replicate.com/v1/predictions"},
		{"nlp_cloud", "dolphin", false, nil, "", "https://api.nlpcloud.io/v1/gpu/dolphin/generation"},
		{"predibase", "qwen3-8b:repo/1", false, map[string]string{"tenant_id": "t1"}, "", "https://serving.app.predibase.com/t1/deployments/v2/llms/qwen3-8b/v1/chat/completions"},
		{"gigachat", "GigaChat", false, nil, "", "https://gigachat.devices.sberbank.ru/api/v1/chat/completions"},
		{"oci", "meta.llama-4", false, map[string]string{"region": "us-chicago-1"}, "", "https://inference.generativeai.us-chicago-1.oci.oraclecloud.com/openai/v1/chat/completions"},
	} {
		t.Run(tt.provider+"/"+tt.model, func(t *testing.T) {
			t.Parallel()
			p, ok := provider.Lookup(tt.provider)
			if !ok {
				t.Fatal("no row")
			}
			at, _ := p.Way(llm.Chat)
			got, err := p.URL(tt.base, llm.Place{Endpoint: at, Model: tt.model, Stream: tt.stream, Options: tt.options})
			if err != nil || got != tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
			providertest.Run(t, p, "testdata/errors_texts.jsonl")
		})
	}
}

// FuzzTexts: no answer and no event makes a reader panic, and what is taken can be written for clients.
func FuzzTexts(f *testing.F) {
	for _, x := range loadTexts(f) {
		f.Add([]byte(x.Request), []byte(x.Answer))
	}
	in, _ := provider.InboundOf(llm.Chat)
	ours := []llm.Endpoint{llm.TritonChat, llm.NLPCloudChat, llm.ReplicateChat, llm.PredibaseChat, llm.GigaChat}
	f.Fuzz(func(t *testing.T, request, answer []byte) {
		req, bad := in.DecodeRequest(request)
		for _, e := range ours {
			out, _ := provider.OutboundOf(e)
			if bad == nil {
				if sent, err := out.EncodeRequest(req, &llm.Target{Model: "m"}); err == nil && !json.Valid(sent) {
					t.Fatalf("%s: sent %s", e, sent)
				}
			}
			if fl, ok := out.(provider.Follower); ok {
				_, _ = fl.Follow(answer)
			}
			if res, err := out.DecodeResponse(answer); err == nil {
				if got, err := in.EncodeResponse(&chat.Request{}, res); err != nil || !json.Valid(got) {
					t.Fatalf("%s of %s: %s, %v", e, answer, got, err)
				}
			} else if x, ok := errors.AsType[*llm.Error](err); !ok || x.Kind == llm.Invalid {
				t.Fatalf("%s: got %v", e, err)
			}
			dec := out.NewDecoder()
			if list, err := dec.Decode(nil, llm.Event{Data: answer}); err == nil {
				_, _ = dec.End(list)
			}
		}
	})
}
