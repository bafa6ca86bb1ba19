package translate_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/translate"
)

// large are requests with a picture, which stands where "%" is, in three dialects.
var large = map[llm.Endpoint]string{
	llm.Chat:      `{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,%"}}]}]}`,
	llm.Responses: `{"model":"m","input":[{"role":"user","content":[{"type":"input_image","image_url":"data:image/png;base64,%"}]}]}`,
	llm.Messages:  `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"%"}}]}]}`,
}

// TestBody_Large: a large body is in memory twice, as it came and as it leaves.
func TestBody_Large(t *testing.T) {
	picture := strings.Repeat("iVBORw0K", 1<<19)
	for from, text := range large {
		in, ok := provider.InboundOf(from)
		if !ok {
			t.Fatalf("%v is no dialect of clients", from)
		}
		body := []byte(strings.Replace(text, "%", picture, 1))
		for _, to := range []llm.Endpoint{llm.Chat, llm.Responses, llm.Messages, llm.GenerateContent, llm.Converse, llm.OllamaChat} {
			out, ok := provider.OutboundOf(to)
			if !ok || from == to {
				continue
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			x, err := translate.Read(in, body, "m", false)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := x.Body(out, &llm.Target{Model: "m", MaxOutput: 100}, 0)
			runtime.ReadMemStats(&after)
			if err != nil || len(raw) < len(picture) {
				t.Fatalf("%v to %v: %d bytes, %v", from, to, len(raw), err)
			}
			if made := after.TotalAlloc - before.TotalAlloc; made > uint64(len(body))*11/10 {
				t.Errorf("%v to %v: %.2f copies are made of a body", from, to, float64(made)/float64(len(body)))
			}
		}
	}
}
