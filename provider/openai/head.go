package openai

import (
	"crypto/rand"
	"strconv"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// noTime is for errors whose time does not count: they come without headers.
var noTime time.Time

// head is what all pieces of one answer say.
type head struct {
	id, model string
	created   int64
}

// headOf fills in what the provider did not say. Ids keep what follows the provider's own prefix.
func headOf(q *chat.Request, prefix, id, model string, created int64) head {
	h := head{id: id, model: model, created: created}
	if h.id == "" {
		h.id = prefix + rand.Text()
	}
	if h.model == "" {
		h.model = q.Model
	}
	if h.created == 0 {
		h.created = time.Now().Unix()
	}
	return h
}

// appendUsage appends a usage object of a completion. The prompt contains what was read from a
// cache and what was written to it, and the completion its reasoning.
func appendUsage(b []byte, u llm.Usage) []byte {
	read := u.CacheRead + u.CacheReadAudio + u.CacheReadImage
	write := u.CacheWrite + u.CacheWrite1h
	b = appendInt(b, `{"prompt_tokens":`, u.Prompt())
	b = appendInt(b, `,"completion_tokens":`, u.Completion())
	b = appendInt(b, `,"total_tokens":`, u.Total())
	b = appendInt(b, `,"prompt_tokens_details":{"cached_tokens":`, read)
	b = appendInt(b, `,"audio_tokens":`, u.AudioInput+u.CacheReadAudio)
	if write > 0 {
		b = appendInt(b, `,"cache_write_tokens":`, write)
	}
	if n := u.ImageInput + u.CacheReadImage; n > 0 {
		b = appendInt(b, `,"image_tokens":`, n)
	}
	b = appendInt(b, `},"completion_tokens_details":{"reasoning_tokens":`, u.Reasoning)
	b = appendInt(b, `,"audio_tokens":`, u.AudioOutput)
	b = append(b, `,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0`...)
	if u.ImageOutput > 0 {
		b = appendInt(b, `,"image_tokens":`, u.ImageOutput)
	}
	return append(b, '}', '}')
}

// appendInt appends a number behind what names it.
func appendInt(b []byte, name string, n int64) []byte {
	return strconv.AppendInt(append(b, name...), n, 10)
}
