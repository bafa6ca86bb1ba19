package mock_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"flag"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/mock"
)

func start(t testing.TB, cfg mock.Config) (*mock.Server, string) {
	t.Helper()
	s := mock.New(cfg)
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return s, srv.URL
}

// post sends body with headers given as name, value, …
func post(t testing.TB, ctx context.Context, url, body string, headers ...string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return http.DefaultClient.Do(req)
}

func read(t testing.TB, url, body string, headers ...string) (int, string) {
	t.Helper()
	res, err := post(t, t.Context(), url, body, headers...)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()          //nolint:errcheck // it was only read
	data, _ := io.ReadAll(res.Body) // cut answers are looked at elsewhere
	return res.StatusCode, string(data)
}

// completion is an answer of either format, as far as the tests look.
type completion struct {
	Choices []struct {
		Index   int
		Text    string
		Message struct {
			Content   *string
			ToolCalls []struct {
				Function struct{ Name, Arguments string }
			} `json:"tool_calls"`
		}
		FinishReason string `json:"finish_reason"`
	}
	Usage struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
	}
}

func TestChat(t *testing.T) {
	t.Parallel()
	_, url := start(t, mock.Config{})
	tools := `,"tools":[{"type":"function","function":{"name":"weather","parameters":{"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer","minimum":3},"unit":{"enum":["C","F"]},"tags":{"type":"array","items":{"type":"boolean"}}}}}},{"type":"function","function":{"name":"time"}}]`
	for _, tt := range []struct {
		name, body    string
		headers       []string
		content, tool string
		finish        string
		tokens        int
		choices       int
	}{
		{"echo", `"messages":[{"role":"user","content":"hello \"big\" world"}]`, nil, `You said: hello "big" world`, "", "stop", 5, 1},
		{"parts", `"messages":[{"role":"user","content":[{"type":"text","text":"a b"}]}]`, nil, `You said: a b`, "", "stop", 4, 1},
		{"maximum", `"messages":[{"role":"user","content":"a b c"}],"max_tokens":3`, nil, `You said: a`, "", "length", 3, 1},
		{"choices", `"messages":[{"role":"user","content":"a"}],"n":3`, nil, `You said: a`, "", "stop", 9, 3},
		{"chunks", `"messages":[]`, []string{"x-mock-chunks", "2"}, `lorem ipsum `, "", "stop", 2, 1},
		{"usage", `"messages":[]`, []string{"x-mock-usage", "10,20"}, `You said: nothing`, "", "stop", 20, 1},
		{"tool", `"messages":[{"role":"user","content":"a"}]` + tools, nil, "", `weather {"city":"text","days":3,"tags":[true],"unit":"C"}`, "tool_calls", 7, 1},
		{"forced tool", `"messages":[{"role":"tool","content":"a"}],"tool_choice":{"type":"function","function":{"name":"time"}}` + tools, nil, "", `time {}`, "tool_calls", 1, 1},
		{"no tool", `"messages":[{"role":"user","content":"a"}],"tool_choice":"none"` + strings.ReplaceAll(tools, `"type":"text"`, ``), nil, "You said: a", "", "stop", 3, 1},
		{"after a tool", `"messages":[{"role":"tool","content":"sunny"}]` + tools, nil, "You said: sunny", "", "stop", 3, 1},
		{"object", `"messages":[],"response_format":{"type":"json_object"}`, nil, `{"answer":"text"}`, "", "stop", 3, 1},
		{"schema", `"messages":[],"response_format":{"type":"json_schema","json_schema":{"name":"s","schema":{"type":"object","properties":{"a":{"type":["string","null"]},"b":{"anyOf":[{"type":"null"}]}}}}}`, nil, `{"a":"text","b":null}`, "", "stop", 3, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			status, data := read(t, url+"/v1/chat/completions", `{"model":"m",`+tt.body+`}`, tt.headers...)
			var c completion
			if err := json.Unmarshal([]byte(data), &c); err != nil || status != 200 || len(c.Choices) != tt.choices {
				t.Fatalf("got %d %s (%v)", status, data, err)
			}
			choice := c.Choices[len(c.Choices)-1]
			content, tool := "", ""
			if choice.Message.Content != nil {
				content = *choice.Message.Content
			}
			if len(choice.Message.ToolCalls) > 0 {
				f := choice.Message.ToolCalls[0].Function
				tool = f.Name + " " + f.Arguments
			}
			if content != tt.content || tool != tt.tool || choice.FinishReason != tt.finish || c.Usage.Completion != tt.tokens || choice.Index != tt.choices-1 {
				t.Errorf("got %s", data)
			}
			streamed := readChunks(t, url, tt.body, tt.headers)
			if streamed.content != content || streamed.tool != tool || streamed.finish != tt.finish || streamed.usage.Completion() != int64(tt.tokens) {
				t.Errorf("got %+v streamed", streamed)
			}
		})
	}
}

type streamed struct {
	content, tool, finish string
	usage                 llm.Usage
}

// readChunks puts the last choice of a stream together.
func readChunks(t *testing.T, url, body string, headers []string) (got streamed) {
	t.Helper()
	res, err := post(t, t.Context(), url+"/v1/chat/completions", `{"model":"m","stream":true,"stream_options":{"include_usage":true},`+body+`}`, headers...)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // it was only read
	r := llm.NewSSEReader(res.Body, 0)
	last := 0
	for {
		e, err := r.Next()
		if err != nil {
			t.Fatalf("no [DONE]: %v", err)
		}
		if string(e.Data) == "[DONE]" {
			return got
		}
		var c struct {
			Choices []struct {
				Index int
				Delta struct {
					Content   string
					ToolCalls []struct {
						Function struct{ Name, Arguments string }
					} `json:"tool_calls"`
				}
				FinishReason string `json:"finish_reason"`
			}
		}
		if err := json.Unmarshal(e.Data, &c); err != nil {
			t.Fatalf("%v in %s", err, e.Data)
		}
		if rep, err := llm.Read(e.Data); err != nil {
			t.Fatal(err)
		} else if rep.HasUsage {
			got.usage = rep.Usage
		}
		for _, ch := range c.Choices {
			if ch.Index > last {
				last, got = ch.Index, streamed{}
			}
			if ch.Index < last {
				continue
			}
			got.content += ch.Delta.Content
			for _, call := range ch.Delta.ToolCalls {
				if call.Function.Name != "" {
					got.tool = call.Function.Name + " "
				}
				got.tool += call.Function.Arguments
			}
			got.finish += ch.FinishReason
		}
	}
}

func TestCompletions(t *testing.T) {
	t.Parallel()
	_, url := start(t, mock.Config{})
	_, data := read(t, url+"/v1/completions", `{"model":"m","prompt":"hi there","n":2,"max_tokens":3}`)
	var c completion
	if err := json.Unmarshal([]byte(data), &c); err != nil || len(c.Choices) != 2 || c.Choices[1].Text != "You said: hi" || c.Choices[1].FinishReason != "length" {
		t.Errorf("got %s (%v)", data, err)
	}
	_, data = read(t, url+"/v1/completions", `{"model":"m","prompt":"hi","stream":true}`)
	if !strings.Contains(data, `"text":" hi"`) || !strings.HasSuffix(data, "\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n") {
		t.Errorf("got %s", data)
	}
}

func TestEmbeddings(t *testing.T) {
	t.Parallel()
	_, url := start(t, mock.Config{Dimensions: 8})
	for _, tt := range []struct {
		name, body string
		vectors, n int
		tokens     int
	}{
		{"text", `"input":"hello"`, 1, 8, 2},
		{"texts", `"input":["a","b"],"dimensions":3`, 2, 3, 2},
		{"tokens", `"input":[1,2,3]`, 1, 8, 3},
		{"lists of tokens", `"input":[[1,2],[3]]`, 2, 8, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, data := read(t, url+"/v1/embeddings", `{"model":"m",`+tt.body+`}`)
			var got struct {
				Data []struct {
					Embedding []float64
				}
				Usage struct {
					Prompt int `json:"prompt_tokens"`
				}
			}
			if err := json.Unmarshal([]byte(data), &got); err != nil || len(got.Data) != tt.vectors || got.Usage.Prompt != tt.tokens {
				t.Fatalf("got %s (%v)", data, err)
			}
			sum := 0.0
			for _, f := range got.Data[0].Embedding {
				sum += f * f
			}
			if len(got.Data[0].Embedding) != tt.n || math.Abs(sum-1) > 1e-6 {
				t.Errorf("got %d numbers of length %v", len(got.Data[0].Embedding), sum)
			}
			_, packed := read(t, url+"/v1/embeddings", `{"model":"m","encoding_format":"base64",`+tt.body+`}`)
			var b struct{ Data []struct{ Embedding string } }
			if err := json.Unmarshal([]byte(packed), &b); err != nil {
				t.Fatal(err)
			}
			if raw, err := base64.StdEncoding.DecodeString(b.Data[0].Embedding); err != nil || len(raw) != 4*tt.n {
				t.Errorf("got %d bytes, %v", len(raw), err)
			}
		})
	}
	if status, data := read(t, url+"/v1/embeddings", `{"model":"m","input":[]}`); status != 400 {
		t.Errorf("got %d %s, want 400", status, data)
	}
}

const ask = `{"model":"m","messages":[{"role":"user","content":"a b c d"}],"stream":true}`

func TestErrors(t *testing.T) {
	t.Parallel()
	s, url := start(t, mock.Config{Key: "k", RetryAfter: 1500 * time.Millisecond})
	if status, data := read(t, url+"/v1/chat/completions", ask); status != 401 || !strings.Contains(data, `"code":"invalid_api_key"`) {
		t.Errorf("got %d %s, want 401", status, data)
	}
	res, err := post(t, t.Context(), url+"/v1/chat/completions", ask, "Authorization", "Bearer k", "x-mock-status", "429")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // it was only read
	if res.StatusCode != 429 || res.Header.Get("Retry-After") != "2" || res.Header.Get("Retry-After-Ms") != "1500" {
		t.Errorf("got %d %v", res.StatusCode, res.Header)
	}
	for _, body := range []string{`{`, `{}`, `{"model":"m","model":"n"}`} {
		if status, data := read(t, url+"/v1/chat/completions", body, "Authorization", "Bearer k"); status != 400 {
			t.Errorf("%s: got %d %s, want 400", body, status, data)
		}
	}
	if status, data := read(t, url+"/v1/chat/completions", ask, "Authorization", "Bearer k", "x-mock-status", "x"); status != 400 {
		t.Errorf("got %d %s, want 400", status, data)
	}
	if u := s.Usage(); u.Requests != 6 || u.Errors != 6 || u.CompletionTokens != 0 {
		t.Errorf("got %+v", u)
	}
}

func TestErrorRate(t *testing.T) {
	t.Parallel()
	s, url := start(t, mock.Config{ErrorRate: 0.5})
	for range 200 {
		read(t, url+"/v1/chat/completions", ask)
	}
	if u := s.Usage(); u.Errors < 70 || u.Errors > 130 {
		t.Errorf("got %d errors of 200, want about 100", u.Errors)
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	s, url := start(t, mock.Config{})
	res, err := post(t, t.Context(), url+"/v1/chat/completions", ask, "x-mock-cut-after", "2")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // it was only read
	data, err := io.ReadAll(res.Body)
	if err == nil || strings.Count(string(data), "data: ") != 3 {
		t.Errorf("got %q and %v, want three chunks and an error", data, err)
	}
	if u := s.Usage(); u.Cut != 1 || u.CompletionTokens != 2 {
		t.Errorf("got %+v, want two tokens billed", u)
	}
	if _, err := post(t, t.Context(), url+"/v1/chat/completions", strings.Replace(ask, "true", "false", 1), "x-mock-cut-after", "0"); err == nil { //nolint:bodyclose // there is none
		t.Error("got an answer, want a reset connection")
	}
}

func TestStall(t *testing.T) {
	t.Parallel()
	s, url := start(t, mock.Config{StallAfter: 1})
	ctx, cancel := context.WithCancel(t.Context())
	res, err := post(t, ctx, url+"/v1/chat/completions", ask)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // it was only read
	r := bufio.NewReader(res.Body)
	for range 4 { // two chunks, each with a blank line
		if _, err := r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	for s.Usage().Requests == 0 { // until the handler has noticed
		if t.Context().Err() != nil {
			t.Fatal("the stalled handler does not end")
		}
		read(t, url+"/health", "") // to let time pass
	}
	if u := s.Usage(); u.Cut != 1 || u.CompletionTokens != 1 {
		t.Errorf("got %+v, want one token billed", u)
	}
}

func TestLatency(t *testing.T) {
	t.Parallel()
	_, url := start(t, mock.Config{})
	began := time.Now()
	_, data := read(t, url+"/v1/chat/completions", ask, "x-mock-latency", "40ms", "x-mock-chunk-delay", "10", "x-mock-chunks", "5")
	if d := time.Since(began); d < 90*time.Millisecond || !strings.HasSuffix(data, "[DONE]\n\n") {
		t.Errorf("got %q after %v, want it whole after 90 ms", data, d)
	}
}

func TestJournal(t *testing.T) {
	t.Parallel()
	s, url := start(t, mock.Config{Journal: 3})
	for range 5 {
		read(t, url+"/v1/chat/completions", ask, "Authorization", "Bearer sk-secret", "x-mock-usage", "7,3,2,1")
	}
	get := func(path string) string {
		res, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close() //nolint:errcheck // it was only read
		data, _ := io.ReadAll(res.Body)
		return string(data)
	}
	data := get("/mock/requests?limit=2")
	if strings.Contains(data, "secret") || strings.Count(data, `"number"`) != 2 || !strings.Contains(data, `"number":5`) {
		t.Errorf("got %s", data)
	}
	if data := get("/mock/usage"); !strings.Contains(data, `"m":{"requests":5,"errors":0,"cut":0,"prompt_tokens":35,"completion_tokens":15,"cached_tokens":10,"reasoning_tokens":5}`) {
		t.Errorf("got %s", data)
	}
	list := s.Requests()
	if len(list) != 3 || list[2].Number != 5 || list[0].Body != ask || !list[0].Whole {
		t.Errorf("got %+v", list)
	}
	s.Reset()
	if u := s.Usage(); u != (mock.Billed{}) {
		t.Errorf("got %+v after a reset", u)
	}
	if data := get("/v1/models"); !strings.Contains(data, `"id":"demo"`) {
		t.Errorf("got %s", data)
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	c := mock.Config{Journal: 9}
	fs := flag.NewFlagSet("mock", flag.ContinueOnError)
	c.Flags(fs)
	if err := fs.Parse([]string{"-latency", "5ms", "-model", "a", "-model", "b", "-error-rate", "0.1"}); err != nil {
		t.Fatal(err)
	}
	if c.Latency != 5*time.Millisecond || len(c.Models) != 2 || c.ErrorRate != 0.1 || c.Journal != 9 {
		t.Errorf("got %+v", c)
	}
}

// sink is a response writer that costs nothing.
type sink struct{ h http.Header }

func (s *sink) Header() http.Header         { return s.h }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
func (s *sink) WriteHeader(int)             {}

func BenchmarkChat(b *testing.B) {
	for _, bb := range []struct{ name, body string }{
		{"whole", strings.Replace(ask, "true", "false", 1)},
		{"stream", ask},
	} {
		b.Run(bb.name, func(b *testing.B) {
			s := mock.New(mock.Config{})
			req := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", nil)
			req.ContentLength = int64(len(bb.body))
			b.ReportAllocs()
			for b.Loop() {
				req.Body = io.NopCloser(strings.NewReader(bb.body))
				s.ServeHTTP(&sink{make(http.Header)}, req)
			}
		})
	}
}
