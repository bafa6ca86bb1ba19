// Package ollama reads and writes Ollama's own format: conversations as lines of JSON, and
// embeddings.
package ollama

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/provider/openai"
)

// Codec is Ollama's format.
type Codec struct{ compatible openai.Codec }

// Path is the endpoint's path.
func (Codec) Path(p llm.Place) string {
	if p.Endpoint == llm.OllamaEmbed {
		return "/api/embed"
	}
	return "/api/chat"
}

// Read reads a whole answer.
func (Codec) Read(e llm.Endpoint, data []byte) (llm.Report, error) {
	if e == llm.OllamaEmbed {
		return embed.Report(data, "prompt_eval_count")
	}
	v, err := readLine(data)
	if err != nil {
		return llm.Report{}, err
	}
	return v.report(), nil
}

// Meter reads the lines of a conversation.
func (Codec) Meter(e llm.Endpoint) llm.Meter {
	if e == llm.OllamaChat {
		return meter{}
	}
	return nil
}

// meter reads lines, each of which says all that it has to say.
type meter struct{}

// Event implements llm.Meter.
func (meter) Event(e llm.Event) (llm.Report, error) {
	v, err := readLine(e.Data)
	if err != nil {
		return llm.Report{}, err
	}
	r := v.report()
	r.Done = v.done
	return r, nil
}

// report is what the gateway must know of a line.
func (v *line) report() llm.Report {
	r := llm.Report{HasError: v.failed, TextBytes: int64(len(v.text) + len(v.thinking)), Seen: 1}
	for i := range v.calls {
		r.TextBytes += int64(len(v.calls[i].Name) + len(v.calls[i].Arguments))
	}
	if v.done {
		r.Finished, r.Usage, r.HasUsage = 1, v.usage, v.usage.Source != llm.UsageNone
	}
	return r
}

// Frames splits a conversation into its lines.
func (Codec) Frames(e llm.Endpoint, src io.Reader, most int) llm.EventReader {
	if e != llm.OllamaChat {
		return nil
	}
	if most <= 0 {
		most = llm.DefaultMaxEvent
	}
	return &lines{src: bufio.NewReader(src), max: most}
}

// Classify makes the error of an answer: {"error": "text"}.
func (c Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	return c.compatible.Classify(now, status, h, body)
}

// lines splits bytes into lines that are not empty.
type lines struct {
	src *bufio.Reader
	max int
	buf []byte
	end error
}

// Next implements llm.EventReader.
func (l *lines) Next() (llm.Event, error) {
	for l.end == nil {
		l.buf = l.buf[:0]
		err := l.read()
		if errors.Is(err, llm.ErrEventTooLarge) {
			l.end = err
			break
		}
		l.end = err
		if data := bytes.TrimSpace(l.buf); len(data) > 0 {
			return llm.Event{Raw: l.buf, Data: data, Cut: err != nil}, nil
		}
	}
	return llm.Event{}, l.end
}

// read takes one line into the buffer.
func (l *lines) read() error {
	for {
		piece, err := l.src.ReadSlice('\n')
		l.buf = append(l.buf, piece...)
		switch {
		case len(l.buf) > l.max:
			return llm.ErrEventTooLarge
		case !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}
