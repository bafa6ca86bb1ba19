package proxy_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// TestDialects_Uncounted: what a provider of any dialect does not count is estimated, of the prompt and
// of the answer, whatever the client's dialect, whole and streamed, and the record says so.
func TestDialects_Uncounted(t *testing.T) {
	t.Parallel()
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
		if u := r.journal.settled[0].Usage; u.Source != llm.UsageEstimated || u.Prompt() == 0 || u.Completion() == 0 {
			t.Errorf("usage %+v of %s", u, w.Body)
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
