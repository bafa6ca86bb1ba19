package proxy_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm/tokenize"
)

// chats answers chat completions with what it was asked, n times, whole or streamed, and refuses "bad".
func chats(rw http.ResponseWriter, q *http.Request) {
	var in struct {
		Messages []struct {
			Content string `json:"content"`
		} `json:"messages"`
		N      int  `json:"n"`
		Stream bool `json:"stream"`
	}
	_ = json.NewDecoder(q.Body).Decode(&in)
	said := in.Messages[0].Content
	rw.Header().Set("Content-Type", "application/json")
	if said == "bad" {
		rw.WriteHeader(400)
		_, _ = io.WriteString(rw, `{"error":{"message":"no","type":"invalid_request_error"}}`)
		return
	}
	var b strings.Builder
	for i := range max(1, in.N) {
		if in.Stream {
			fmt.Fprintf(&b, "data: {\"id\":\"c-%s\",\"choices\":[{\"index\":%d,\"delta\":{\"content\":\"%s%d\"},\"finish_reason\":\"stop\"}]}\n\n", said, i, said, i)
			continue
		}
		fmt.Fprintf(&b, `,{"index":%d,"message":{"role":"assistant","content":"%s%d"},"finish_reason":"stop"}`, i, said, i)
	}
	const usage = `"usage":{"prompt_tokens":10,"completion_tokens":20,"total_tokens":30}`
	if in.Stream {
		rw.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(rw, b.String()+"data: {\"choices\":[],"+usage+"}\n\ndata: [DONE]\n\n")
		return
	}
	_, _ = io.WriteString(rw, `{"id":"c-`+said+`","model":"x","choices":[`+strings.TrimPrefix(b.String(), ",")+`],`+usage+`}`)
}

// Several prompts at a provider that has conversations alone are asked one by one, and are one answer.
func TestCompletions_Prompts(t *testing.T) {
	t.Parallel()
	encoder, err := tokenize.Get("o200k_base")
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := encoder.Encode("hi")
	if err != nil {
		t.Fatal(err)
	}
	ids, err := json.Marshal(encoded)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, body string
		want       []string // the choices by their index
		parts      int64
	}{
		{"three", `"prompt":["a","b","c"]`, []string{"a0", "b0", "c0"}, 3},
		{"two of two choices", `"n":2,"prompt":["a","b"]`, []string{"a0", "a1", "b0", "b1"}, 2},
		{"echoed", `"echo":true,"n":2,"prompt":["a","b"]`, []string{"aa0", "aa1", "bb0", "bb1"}, 2},
		{"one in a list", `"prompt":["a"]`, []string{"a0"}, 1},
		{"tokens", `"prompt":` + string(ids), []string{"hi0"}, 1},
		{"lists of tokens, and a text", `"prompt":[` + string(ids) + `,"b",` + string(ids) + `]`, []string{"hi0", "b0", "hi0"}, 3},
		{"more than are asked at once", `"prompt":["a","b","c","d","e","f","g","h","i"]`, []string{"a0", "b0", "c0", "d0", "e0", "f0", "g0", "h0", "i0"}, 9},
	} {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprint(tt.name, stream), func(t *testing.T) {
				t.Parallel()
				w := newWire(t, chats)
				w.tables.Deployments[0].Provider, w.tables.Deployments[0].Upstream = "groq", "gpt-4o"
				w.mux, w.cfg.Catalog = nil, nil
				body := `{"model":"demo",` + tt.body + `}`
				if stream {
					body = `{"model":"demo","stream":true,"stream_options":{"include_usage":true},` + tt.body + `}`
				}
				got := w.do("POST", "/v1/completions", body)
				if got.Code != 200 {
					t.Fatalf("got %d %s", got.Code, got.Body)
				}
				texts, tokens := make([]string, len(tt.want)), int64(0)
				for part := range strings.SplitSeq(got.Body.String(), "\n\n") {
					part = strings.TrimPrefix(part, "data: ")
					if part == "" || part == "[DONE]" {
						continue
					}
					var a struct {
						Choices []struct {
							Index int
							Text  string
						}
						Usage struct {
							Total int64 `json:"total_tokens"`
						}
					}
					if err := json.Unmarshal([]byte(part), &a); err != nil {
						t.Fatalf("%v in %s", err, part)
					}
					for _, ch := range a.Choices {
						texts[ch.Index] += ch.Text
					}
					tokens += a.Usage.Total
				}
				if strings.Join(texts, " ") != strings.Join(tt.want, " ") || tokens != 30*tt.parts {
					t.Errorf("got %q of %d tokens, want %q: %s", texts, tokens, tt.want, got.Body)
				}
				if stream != strings.HasSuffix(got.Body.String(), "data: [DONE]\n\n") {
					t.Errorf("got %s", got.Body)
				}
				if rec := w.record(); rec.Usage.Total() != 30*tt.parts || rec.Cost == 0 {
					t.Errorf("recorded %+v", rec)
				}
				if n := w.journal.Open(); n != 0 {
					t.Errorf("%d reservations are left open", n)
				}
			})
		}
	}
}

// What of a list cannot be completed is said by its place, and leaves nothing behind.
func TestCompletions_PromptsRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ model, body, param string }{
		"one of them":                {"gpt-4o", `"prompt":["a","bad","c"]`, "prompt[1]"},
		"one of them, streamed":      {"gpt-4o", `"stream":true,"prompt":["bad","bad"]`, "prompt["},
		"too many":                   {"gpt-4o", `"prompt":["` + strings.Repeat(`a","`, 128) + `b"]`, "prompt"},
		"an empty list":              {"gpt-4o", `"prompt":[]`, "prompt"},
		"tokens of an unknown model": {"mystery", `"prompt":[1,2]`, "prompt"},
		"tokens that are none":       {"gpt-4o", `"prompt":[-1]`, "prompt"},
		"a suffix":                   {"gpt-4o", `"prompt":["a","b"],"suffix":"z"`, "suffix"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t, chats)
			w.tables.Deployments[0].Provider, w.tables.Deployments[0].Upstream = "groq", tt.model
			w.mux, w.cfg.Catalog = nil, nil
			got := w.do("POST", "/v1/completions", `{"model":"demo",`+tt.body+`}`)
			if got.Code != 400 || !strings.Contains(got.Body.String(), `"param":"`+tt.param) {
				t.Errorf("got %d %s", got.Code, got.Body)
			}
			if n := w.journal.Open(); n != 0 {
				t.Errorf("%d reservations are left open", n)
			}
		})
	}
}
