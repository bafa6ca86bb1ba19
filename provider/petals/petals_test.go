package petals_test

import (
	"encoding/json"
	"errors"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/petals"
)

// TestFormat: a conversation becomes a form with a text, and the answer a text.
func TestFormat(t *testing.T) {
	t.Parallel()
	in, _ := provider.InboundOf(llm.Chat)
	for _, tt := range []struct {
		name, request string
		want          url.Values
		dropped       []string
	}{
		{
			"greedy", `{"messages":[{"role":"user","content":"Hi"}],"temperature":0}`,
			url.Values{"model": {"m"}, "max_new_tokens": {"256"}},
			nil,
		},
		{
			"drawn", `{"messages":[{"role":"user","content":"Hi"}],"temperature":0.6,"top_p":0.9,"top_k":5,"max_tokens":9,"stop":"x","seed":3,"repetition_penalty":1.2}`,
			url.Values{"model": {"m"}, "max_new_tokens": {"9"}, "do_sample": {"1"}, "temperature": {"0.6"}, "top_p": {"0.9"}, "top_k": {"5"}, "repetition_penalty": {"1.2"}},
			[]string{"seed", "stop"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			req, err := in.DecodeRequest([]byte(tt.request))
			if err != nil {
				t.Fatal(err)
			}
			target := llm.Target{Model: "m"}
			sent, err := petals.New().EncodeRequest(req, &target)
			if err != nil {
				t.Fatal(err)
			}
			form, err := url.ParseQuery(string(sent))
			if err != nil || form.Get("inputs") == "" {
				t.Fatalf("sent %s, %v", sent, err)
			}
			form.Del("inputs")
			if d := cmp.Diff(tt.want, form); d != "" {
				t.Errorf("form (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tt.dropped, target.Dropped()); d != "" {
				t.Errorf("dropped (-want +got):\n%s", d)
			}
		})
	}
	res, err := petals.New().DecodeResponse([]byte(`{"ok":true,"outputs":" Hello"}`))
	if err != nil || res.Choices[0].Parts[0].Text != " Hello" || res.Usage.Source != llm.UsageNone {
		t.Errorf("got %+v, %v", res, err)
	}
	for body, message := range map[string]string{
		`{"ok":false,"traceback":"Traceback (most recent call last):\n  File \"/srv/x.py\"\nKeyError: 'm'\n"}`: "KeyError: 'm'",
		`{"ok":false}`: "The provider could not make the text.",
	} {
		_, err := petals.New().DecodeResponse([]byte(body))
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Upstream || e.Message != message {
			t.Errorf("%s: got %v", body, err)
		}
	}
}

// FuzzFormat: no answer makes the reader panic, and what is taken can be written for clients.
func FuzzFormat(f *testing.F) {
	f.Add([]byte(`{"ok":true,"outputs":"x"}`))
	f.Add([]byte(`{"ok":false,"traceback":"\n"}`))
	in, _ := provider.InboundOf(llm.Chat)
	f.Fuzz(func(t *testing.T, body []byte) {
		_, _ = petals.New().Read(llm.PetalsGenerate, body)
		res, err := petals.New().DecodeResponse(body)
		if err != nil {
			return
		}
		if got, err := in.EncodeResponse(&chat.Request{}, res); err != nil || !json.Valid(got) {
			t.Fatalf("%s: %s, %v", body, got, err)
		}
	})
}
