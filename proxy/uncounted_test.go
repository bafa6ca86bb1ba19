package proxy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/llm/tokenize"
	"github.com/conclave-llm/conclave/proxy/quote"
	"github.com/conclave-llm/conclave/resource"
)

// letters is a tokenizer that makes a token of each small letter and space.
func letters(_ context.Context, digest string) (tokenize.Tokenizer, error) {
	if digest != "d1" {
		return nil, errBoom
	}
	vocab := map[string]int{" ": 0}
	for c := 'a'; c <= 'z'; c++ {
		vocab[string(c)] = len(vocab)
	}
	file, err := json.Marshal(map[string]any{"model": map[string]any{"type": "BPE", "vocab": vocab, "merges": []string{}}})
	if err != nil {
		return nil, err
	}
	return tokenize.Load(file)
}

// lettered gives the deployments of a rig that tokenizer.
func (r *rig) lettered() {
	r.mux, r.cfg.Tokenizers = nil, letters
	for _, d := range r.tables.Deployments {
		d.Metadata = json.RawMessage(`{"custom_tokenizer":{"blob":"d1"}}`)
	}
}

// tokens asks the route that counts.
func tokens(t *testing.T, body string) int64 {
	t.Helper()
	r := newRig(t)
	r.lettered()
	var got struct {
		Total int64 `json:"total_tokens"`
	}
	w := r.do("POST", "/utils/token_counter", body)
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Total == 0 {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	return got.Total
}

// TestDialects_Uncounted: what a provider of any dialect does not count is counted by the deployment's tokenizer, of the
// prompt and of the answer, whatever the client's dialect, whole and streamed, and the record says so.
func TestDialects_Uncounted(t *testing.T) {
	t.Parallel()
	text := tokens(t, `{"model":"demo","prompt":"say hello"}`)
	prompt := tokens(t, `{"model":"demo","messages":[{"role":"user","content":"say hello"}]}`)
	answered := tokens(t, `{"model":"demo","prompt":"hello there"}`)
	pairs(t, func(t *testing.T, name string, cl client, way llm.Endpoint, path, mime, mode string) {
		answer := said()
		answer.Usage = llm.Usage{}
		var chunks []chat.Chunk
		for _, c := range pieces() {
			if c.Type != chat.ChunkUsage {
				chunks = append(chunks, c)
			}
		}
		srv := vendorSaying(t, way, path, mime, mode == "unstreamed", answer, chunks)
		r := (&embedder{provider: name, model: "m1"}).rigFor(t, srv.URL, nil)
		r.lettered()
		at, body := cl.path, cl.body
		if mode != "whole" {
			body = strings.Replace(body, "%s", `,"stream":true`+includeUsage(cl.endpoint), 1)
			if cl.streamPath != "" {
				at = cl.streamPath
			}
		}
		w := r.do("POST", at, strings.Replace(body, "%s", "", 1))
		if w.Code != 200 {
			t.Fatalf("got %d %s", w.Code, w.Body)
		}
		r.checkBalance()
		answered := answered
		if way == llm.Invoke {
			answered = quote.Tokens(int64(len("hello there"))) // in words that only its model's maker knows
		}
		asked := prompt
		if cl.endpoint == llm.Completions {
			asked = text
		}
		if u := r.journal.settled[0].Usage; u.Source != llm.UsageEstimated || u.Prompt() != asked || u.Completion() != answered {
			t.Errorf("usage %+v of %s, want %d and %d", u, w.Body, asked, answered)
		} else if told := cl.endpoint != way || cl.endpoint.UsageChunk() && mode != "whole"; told {
			for _, part := range []string{"prompt_tokens|input_tokens|promptTokenCount|inputTokens", "completion_tokens|output_tokens|candidatesTokenCount|outputTokens"} {
				n := u.Prompt()
				if strings.HasPrefix(part, "completion") {
					n = u.Completion()
				}
				if !regexp.MustCompile(`"(` + part + `)": ?` + strconv.FormatInt(n, 10) + `\b`).MatchString(unframed(w.Body.String())) {
					t.Errorf("no %s of %d in %s", part, n, w.Body)
				}
			}
		}
	})
}

// includeUsage asks for the usage of a stream, in dialects in which a client must ask.
func includeUsage(e llm.Endpoint) string {
	if e.UsageChunk() {
		return `,"stream_options":{"include_usage":true}`
	}
	return ""
}

// silent answers chats without usage.
func silent(texts ...string) http.HandlerFunc {
	return func(rw http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		if !strings.Contains(string(body), `"stream":true`) {
			rw.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(rw, `{"choices":[{"index":0,"message":{"role":"assistant","content":"`+strings.Join(texts, "")+`"},"finish_reason":"stop"}]}`)
			return
		}
		for _, text := range texts {
			send(rw, `data: {"choices":[{"index":0,"delta":{"content":"`+text+`"}}]}`+"\n\n")
		}
		send(rw, `data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`+"\n\n"+chunkDone)
	}
}

// TestUncounted_Learns: what tokenizers count teaches the estimate, so that the next request holds more where a model makes
// more tokens of a text. One over the bound is estimated by what was learned.
func TestUncounted_Learns(t *testing.T) {
	t.Parallel()
	for _, streamed := range []string{"", `"stream":true,`} {
		w := newWire(t, silent("hello ", "there"))
		w.lettered()
		words := strings.Repeat("word ", 100)
		ask := func(text string) (held resource.Money, u llm.Usage) {
			t.Helper()
			after := w.journal.Last()
			got := w.do("POST", "/v1/chat/completions", `{"model":"demo",`+streamed+`"max_tokens":9,"messages":[{"role":"user","content":"`+text+`"}]}`)
			if got.Code != 200 {
				t.Fatalf("got %d %s", got.Code, got.Body)
			}
			rec := w.recordAfter(after)
			return rec.Hold, rec.Usage
		}
		first, u := ask(words)
		if want := tokens(t, `{"model":"demo","messages":[{"role":"user","content":"`+words+`"}]}`); u.Input != want || u.Output != int64(len("hello there")) || u.Source != llm.UsageEstimated {
			t.Errorf("used %+v, want %d of the prompt", u, want)
		}
		second, _ := ask(words)
		if second <= first {
			t.Errorf("held %s, then %s: nothing was learned", first, second)
		}
		if _, u := ask(strings.Repeat("word ", 60_000)); u.Input < 110_000 || u.Input == 300_010 || u.Output != int64(len("hello there")) {
			t.Errorf("used %+v by a prompt over the bound, want what was learned, and more than a third of its bytes", u)
		}
	}
}

// TestUncounted_NoTokenizer: where the tokenizer cannot be had the usage is estimated, which is told of once.
func TestUncounted_NoTokenizer(t *testing.T) {
	t.Parallel()
	w := newWire(t, silent("hello there"))
	w.lettered()
	var log bytes.Buffer
	w.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	w.tables.Deployments[0].Metadata = json.RawMessage(`{"custom_tokenizer":{"blob":"gone"}}`)
	for range 2 {
		if got := w.do("POST", "/v1/chat/completions", chatBody); got.Code != 200 {
			t.Fatalf("got %d %s", got.Code, got.Body)
		}
	}
	if rec := w.record(); rec.Usage.Output != quote.Tokens(int64(len("hello there"))) || rec.Usage.Source != llm.UsageEstimated {
		t.Errorf("used %+v", rec.Usage)
	}
	if n := strings.Count(log.String(), "tokenizer cannot be had"); n != 1 {
		t.Errorf("it is told of %d times: %s", n, &log)
	}
}

// TestUncounted_AfterTheText: the client has all of the text before its tokens are counted, in the provider's dialect and in
// another, also of one that says it together with its end.
func TestUncounted_AfterTheText(t *testing.T) {
	t.Parallel()
	chats := silent("hello ", "there")
	google := func(rw http.ResponseWriter, _ *http.Request) {
		send(rw, `data: {"candidates":[{"content":{"role":"model","parts":[{"text":"hello there"}]},"finishReason":"STOP"}]}`+"\n\n")
	}
	atOnce := func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/x-ndjson")
		_, _ = io.WriteString(rw, `{"model":"m","message":{"role":"assistant","content":"hello there"},"done":true,"done_reason":"stop"}`+"\n")
	}
	for _, tt := range []struct {
		provider string
		answers  http.HandlerFunc
		path     string
	}{
		{"openai", chats, "/v1/chat/completions"},
		{"openai", chats, "/v1/messages"},
		{"gemini", google, "/v1/chat/completions"},
		{"ollama", atOnce, "/v1/chat/completions"},
	} {
		w := newWire(t, tt.answers)
		w.lettered()
		w.tables.Deployments[0].Provider = tt.provider
		seen := make(chan struct{})
		w.cfg.Tokenizers = func(ctx context.Context, digest string) (tokenize.Tokenizer, error) {
			select {
			case <-seen:
				return letters(ctx, digest)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		front := httptest.NewServer(w.handler())
		t.Cleanup(front.Close)
		w.url = front.URL
		res := w.postTo(t.Context(), tt.path, `{"model":"demo","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`)
		var got []byte
		for !bytes.Contains(got, []byte("there")) {
			piece := make([]byte, 1<<10)
			n, err := res.Body.Read(piece)
			got = append(got, piece[:n]...)
			if err != nil {
				t.Fatalf("%s of %s: got %s, %v", tt.path, tt.provider, got, err)
			}
		}
		close(seen)
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Error(err)
		}
		_ = res.Body.Close()
		if rec := w.record(); rec.Usage.Output != int64(len("hello there")) {
			t.Errorf("%s of %s: used %+v", tt.path, tt.provider, rec.Usage)
		}
	}
}

// TestUncounted_Told: of a deployment whose streams tell their usage nothing is kept, until one does not.
func TestUncounted_Told(t *testing.T) {
	t.Parallel()
	told := true
	w := newWire(t, func(rw http.ResponseWriter, _ *http.Request) {
		send(rw, chunkHe+chunkLlo)
		if told {
			send(rw, chunkUse)
		}
		send(rw, chunkDone)
	})
	w.lettered()
	for i, want := range []int64{20, quote.Tokens(int64(len("hello"))), int64(len("hello"))} {
		told = i == 0
		after := w.journal.Last()
		if got := w.do("POST", "/v1/chat/completions", strings.Replace(chatBody, "{", `{"stream":true,`, 1)); got.Code != 200 {
			t.Fatalf("got %d %s", got.Code, got.Body)
		}
		if rec := w.recordAfter(after); rec.Usage.Output != want {
			t.Errorf("answer %d: recorded %+v, want %d tokens", i, rec.Usage, want)
		}
	}
}

// TestUncounted_Embeddings: texts are counted where the provider of vectors does not, and tokens are as many as they are.
func TestUncounted_Embeddings(t *testing.T) {
	t.Parallel()
	for input, want := range map[string]int64{`"say hello"`: 9, `["say","hello"]`: 8, `[[1,2,3],[4]]`: 4} {
		w := newWire(t, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(rw, `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5]},{"object":"embedding","index":1,"embedding":[0.5]}],"model":"m"}`)
		})
		w.lettered()
		if got := w.do("POST", "/v1/embeddings", `{"model":"demo","input":`+input+`}`); got.Code != 200 {
			t.Fatalf("got %d %s", got.Code, got.Body)
		}
		if rec := w.record(); rec.Usage.Input != want || rec.Usage.Completion() != 0 || rec.Usage.Source != llm.UsageEstimated {
			t.Errorf("%s: used %+v, want %d", input, rec.Usage, want)
		}
	}
}

// TestUncounted_Prompts: likewise the prompts of completions, also where the model's tokenizer cannot be had.
func TestUncounted_Prompts(t *testing.T) {
	t.Parallel()
	for prompt, want := range map[string]int64{`"say hello"`: 9, `["say","hello"]`: 8, `[10,20,30]`: 3, `[[100,200,300],[400]]`: 4} {
		for _, lettered := range [...]bool{true, false} {
			if !lettered && strings.Contains(prompt, "say") {
				continue // is estimated
			}
			c := newCompleter(t, false)
			r := templated(t, c, "text-completion-openai", nil)
			if lettered {
				r.lettered()
			}
			if got := r.do("POST", "/v1/completions", `{"model":"demo","prompt":`+prompt+`}`); got.Code != 200 {
				t.Fatalf("got %d %s", got.Code, got.Body)
			}
			if u := r.journal.settled[0].Usage; u.Input != want || u.Source != llm.UsageEstimated {
				t.Errorf("%s: used %+v, want %d", prompt, u, want)
			}
		}
	}
}
