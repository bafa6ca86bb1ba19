package mock_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/mock"
)

// likely is a token with its likelihood, in OpenAI's form.
type likely struct {
	Token   string
	LogProb float64
	Bytes   []int
	Top     []likely `json:"top_logprobs"`
}

// probable is what OpenAI tells of the tokens of a choice.
type probable struct{ Content, Refusal []likely }

// events are the data of a stream.
func events(text string) (list []string) {
	for line := range strings.Lines(text) {
		if data, ok := strings.CutPrefix(strings.TrimSpace(line), "data: "); ok && data != "[DONE]" {
			list = append(list, data)
		}
	}
	return list
}

func decode(t *testing.T, data string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(data), v); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
}

func TestChat_LogProbs(t *testing.T) {
	t.Parallel()
	_, url := start(t, mock.Config{})
	const body = `{"model":"m","messages":[{"role":"user","content":"a \"é"}],"logprobs":true,"top_logprobs":2`
	_, text := read(t, url+"/v1/chat/completions", body+`}`)
	var whole struct{ Choices []struct{ LogProbs probable } }
	decode(t, text, &whole)
	got := whole.Choices[0].LogProbs
	if len(got.Content) != 4 || got.Refusal != nil {
		t.Fatalf("got %+v", got)
	}
	if d := cmp.Diff(likely{` "é`, -0.25, []int{32, 34, 195, 169}, []likely{{Token: ` "é`, LogProb: -0.25, Bytes: []int{32, 34, 195, 169}}, {Token: "ipsum ", LogProb: -1.25, Bytes: []int{105, 112, 115, 117, 109, 32}}}}, got.Content[3]); d != "" {
		t.Error(d)
	}
	_, text = read(t, url+"/v1/chat/completions", body+`,"stream":true}`)
	var streamed []likely
	for _, e := range events(text) {
		var chunk struct {
			Choices []struct{ LogProbs *probable }
		}
		if decode(t, e, &chunk); chunk.Choices[0].LogProbs != nil {
			streamed = append(streamed, chunk.Choices[0].LogProbs.Content...)
		}
	}
	if d := cmp.Diff(got.Content, streamed); d != "" {
		t.Error(d)
	}
	for _, more := range []string{`{"model":"m","messages":[]}`, `{"model":"m","messages":[],"logprobs":false}`} {
		if _, text := read(t, url+"/v1/chat/completions", more); !strings.Contains(text, `"logprobs":null`) {
			t.Errorf("%s: got %s", more, text)
		}
	}
}

func TestGenerateContent_LogProbs(t *testing.T) {
	t.Parallel()
	_, url := start(t, mock.Config{})
	const body = `{"contents":[{"role":"user","parts":[{"text":"hi"}]}],"generationConfig":{"responseLogprobs":true,"logprobs":1}}`
	type result struct {
		Chosen []struct {
			Token string
			Prob  float64 `json:"logProbability"`
		} `json:"chosenCandidates"`
		Top []struct{ Candidates []struct{ Token string } } `json:"topCandidates"`
	}
	type answer struct {
		Candidates []struct {
			Probs result `json:"logprobsResult"`
		}
	}
	var whole answer
	_, text := read(t, url+"/v1beta/models/m:generateContent", body)
	decode(t, text, &whole)
	got := whole.Candidates[0].Probs
	if len(got.Chosen) != 3 || got.Chosen[2].Token != " hi" || got.Chosen[2].Prob != -0.25 || len(got.Top) != 3 || got.Top[2].Candidates[0].Token != " hi" {
		t.Errorf("got %+v", got)
	}
	_, text = read(t, url+"/v1beta/models/m:streamGenerateContent?alt=sse", body)
	var streamed result
	for _, e := range events(text) {
		var a answer
		decode(t, e, &a)
		streamed.Chosen = append(streamed.Chosen, a.Candidates[0].Probs.Chosen...)
		streamed.Top = append(streamed.Top, a.Candidates[0].Probs.Top...)
	}
	if d := cmp.Diff(got, streamed); d != "" {
		t.Error(d)
	}
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	_, url := start(t, mock.Config{Refuse: true})
	const apology = "I am sorry, I cannot help with that."
	const google = `{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}`
	const said = `{"model":"m","max_tokens":64,"messages":[{"role":"user","content":"hi"}]`
	for _, tt := range []struct {
		path, body string
		want       []string
	}{
		{"/v1/chat/completions", said + `}`, []string{`"content":null,"refusal":"` + apology + `"`, `"finish_reason":"stop"`}},
		{"/v1/chat/completions", said + `,"stream":true}`, []string{`"delta":{"refusal":" sorry,"}`, `"finish_reason":"stop"`}},
		{"/v1/chat/completions", said + `,"logprobs":true}`, []string{`"logprobs":{"content":null,"refusal":[{"token":"I"`}},
		{"/v1/messages", said + `}`, []string{apology, `"stop_reason":"refusal"`}},
		{"/v1/messages", said + `,"stream":true}`, []string{`"text":" sorry,"`, `"stop_reason":"refusal"`}},
		{"/v1beta/models/m:generateContent", google, []string{`"finishReason":"SAFETY"`}},
		{"/v1beta/models/m:streamGenerateContent?alt=sse", google, []string{`"finishReason":"SAFETY"`}},
	} {
		_, text := read(t, url+tt.path, tt.body, "Anthropic-Version", "2023-06-01")
		for _, want := range tt.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s %s: got %s, want %s", tt.path, tt.body, text, want)
			}
		}
	}
	if _, text := read(t, url+"/v1/chat/completions", said+`}`, "X-Mock-Refuse", "false"); !strings.Contains(text, "You said: hi") {
		t.Errorf("a request that is answered: got %s", text)
	}
}

func TestModerations_Categories(t *testing.T) {
	t.Parallel()
	_, url := start(t, mock.Config{})
	_, text := read(t, url+"/v1/moderations", `{"model":"m","input":["well","self-harm"]}`)
	var got struct {
		Results []struct {
			Flagged    bool
			Categories map[string]bool
			Scores     map[string]float64  `json:"category_scores"`
			Types      map[string][]string `json:"category_applied_input_types"`
		}
	}
	decode(t, text, &got)
	for i, flagged := range []bool{false, true} {
		r := got.Results[i]
		if r.Flagged != flagged || r.Categories["self-harm"] != flagged || (r.Scores["self-harm"] > 0.5) != flagged || r.Categories["hate"] {
			t.Errorf("input %d: got %+v", i, r)
		}
		if len(r.Categories) != 13 || len(r.Scores) != 13 || len(r.Types) != 13 {
			t.Errorf("input %d: got %d categories, %d scores, %d types", i, len(r.Categories), len(r.Scores), len(r.Types))
		}
	}
}
