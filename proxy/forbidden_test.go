package proxy_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/plugins/builtin"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/resource"
)

// forbidden is a text of which not three letters in a row may reach a client.
const forbidden = "qjzvkxwqyz"

// places are where a model may say it.
var places = map[string]func() *chat.Response{
	"text": func() *chat.Response {
		return saying(chat.Part{Type: chat.PartText, Text: "so: " + forbidden + ", and more"})
	},
	"second choice": func() *chat.Response {
		r := saying(chat.Part{Type: chat.PartText, Text: "nothing"})
		r.Choices = append(r.Choices, chat.Choice{Index: 1, Parts: []chat.Part{{Type: chat.PartText, Text: "so: " + forbidden}}, Finish: chat.FinishStop})
		return r
	},
	"arguments": func() *chat.Response {
		r := saying(chat.Part{Type: chat.PartToolCall, ID: "call_1", Name: "look", Arguments: json.RawMessage(`{"for":"` + forbidden + `"}`)})
		r.Choices[0].Finish = chat.FinishTools
		return r
	},
	"reasoning": func() *chat.Response {
		return saying(chat.Part{Type: chat.PartReasoning, Text: "hm, " + forbidden}, chat.Part{Type: chat.PartText, Text: "nothing"})
	},
	"refusal": func() *chat.Response { return saying(chat.Part{Type: chat.PartRefusal, Text: "not " + forbidden}) },
}

func saying(parts ...chat.Part) *chat.Response {
	r := said()
	r.Choices[0].Parts = parts
	return r
}

// cut are the chunks of the answer, with the forbidden text divided at the offset.
func cut(r *chat.Response, offset int) []chat.Chunk {
	var list []chat.Chunk
	for _, c := range chat.Chunks(nil, r) {
		at := strings.Index(c.Text, forbidden)
		if at < 0 {
			list = append(list, c)
			continue
		}
		text := c.Text
		for _, piece := range []string{text[:at+offset], text[at+offset:]} {
			c.Text = piece
			list = append(list, c)
		}
	}
	return list
}

// ids are random, so that any letters may stand in them.
var ids = regexp.MustCompile(`[a-z]+[-_][0-9A-Za-z]{8,}`)

// leaks says whether a part of the forbidden text stands in what the client got.
func leaks(got string) bool {
	got = ids.ReplaceAllString(got, "")
	for i := range len(forbidden) - 2 {
		if strings.Contains(got, forbidden[i:i+3]) {
			return true
		}
	}
	return false
}

// TestForbidden lets providers of every dialect say a forbidden text in every place, divided at every
// offset, to clients of every dialect. With the shipped guardrail nothing of it reaches them by any hook,
// and who would have got it without is told why he does not.
func TestForbidden(t *testing.T) {
	t.Parallel()
	for place, answer := range places {
		for _, hooks := range [][]resource.Hook{nil, {resource.HookAfter}, {resource.HookDuring}} {
			t.Run(fmt.Sprint(place, hooks), func(t *testing.T) {
				t.Parallel()
				pairs(t, func(t *testing.T, name string, cl client, way llm.Endpoint, path, mime, mode string) {
					offsets := 1
					if mode == "stream" && hooks == nil {
						offsets = len(forbidden)
					}
					for offset := range offsets {
						srv := vendorSaying(t, way, path, mime, mode == "unstreamed", answer(), cut(answer(), offset))
						said := ask(t, newRig(t), name, cl, srv, mode != "whole").Body.String()
						r := newRig(t)
						guardWord(t, r, hooks)
						w := ask(t, r, name, cl, srv, mode != "whole")
						if leaks(w.Body.String()) {
							t.Errorf("at %d: got %d %q", offset, w.Code, w.Body)
						}
						if rec := r.journal.settled[0]; leaks(said) && rec.ErrorCode != "guardrail_blocked" {
							t.Errorf("at %d: recorded %+v of %q", offset, rec, said)
						}
					}
				})
			})
		}
	}
}

// guardWord puts the shipped guardrail of words before the rig.
func guardWord(t *testing.T, r *rig, hooks []resource.Hook) {
	t.Helper()
	k := &builtin.Keywords{}
	d, err := k.Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(`{"words":["` + strings.ToUpper(forbidden) + `"]}`)})
	if err != nil {
		t.Fatal(err)
	}
	m := &guardrail.Member{Name: "words", Hooks: hooks}
	m.Set(&guardrail.Live{Backend: k, Description: d})
	r.cfg.Guardrails = guardrail.NewChain(nil, nil)
	r.cfg.Guardrails.Replace([]*guardrail.Member{m})
}
