package sagemaker

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/bedrock"
	"github.com/conclave-llm/conclave/provider/plain"
)

// TextCodec is the form of endpoints behind which Hugging Face's text generation inference runs, or a
// server of JumpStart's that follows it, inside SageMaker's paths, frames and errors. It follows
// the API document of text-generation-inference; the frames are from memory, and no endpoint of Amazon's was asked.
type TextCodec struct{ Codec }

var texts = plain.Codec{Reader: readText, Marked: true}

// Read reads a whole answer.
func (TextCodec) Read(e llm.Endpoint, body []byte) (llm.Report, error) { return texts.Read(e, body) }

// Meter reads a stream.
func (TextCodec) Meter(e llm.Endpoint) llm.Meter { return texts.Meter(e) }

// Frames reads the events out of SageMaker's frames: server-sent ones, or JSON objects a line, as the
// containers for large models have them.
func (c TextCodec) Frames(e llm.Endpoint, src io.Reader, most int) llm.EventReader {
	return &events{src: bufio.NewReader(&payloads{frames: bedrock.NewReader(src, most)}), most: most}
}

// events decides by the first byte of a stream how its events are divided.
type events struct {
	src   *bufio.Reader
	most  int
	inner llm.EventReader
}

// Next implements llm.EventReader.
func (e *events) Next() (llm.Event, error) {
	if e.inner == nil {
		first, err := e.src.Peek(1)
		if err != nil {
			return llm.Event{}, err
		}
		if first[0] == '{' {
			e.inner = &lines{src: bufio.NewScanner(e.src), most: e.most}
		} else {
			e.inner = llm.NewSSEReader(e.src, e.most)
		}
	}
	return e.inner.Next()
}

// lines are events that each are a line.
type lines struct {
	src  *bufio.Scanner
	most int
	set  bool
}

// Next implements llm.EventReader.
func (l *lines) Next() (llm.Event, error) {
	if !l.set {
		if l.most <= 0 {
			l.most = llm.DefaultMaxEvent
		}
		l.src.Buffer(nil, l.most)
		l.set = true
	}
	for l.src.Scan() {
		if line := bytes.TrimSpace(l.src.Bytes()); len(line) > 0 {
			return llm.Event{Raw: l.src.Bytes(), Data: line}, nil
		}
	}
	switch err := l.src.Err(); {
	case err == nil:
		return llm.Event{}, io.EOF
	case errors.Is(err, bufio.ErrTooLong):
		return llm.Event{}, llm.ErrEventTooLarge
	default:
		return llm.Event{}, err
	}
}

// Text is the dialect.
type Text struct{}

// defaultTokens is what is asked for where nobody says, because the servers' own default is 20.
const defaultTokens = 1024

// EncodeRequest writes a request for the provider.
func (Text) EncodeRequest(q *chat.Request, t *llm.Target) ([]byte, error) {
	p, err := plain.Ask(q, t, "seed", "top_k", "frequency_penalty", "repetition_penalty", "typical_p", "watermark")
	if err != nil {
		return nil, err
	}
	most := q.MaxTokens
	if most == 0 {
		most = plain.Most(t, defaultTokens)
	}
	dst := llm.AppendString([]byte(`{"inputs":`), p.Text)
	dst = append(llm.AppendKey(dst, "parameters"), `{"return_full_text":false,"details":true`...)
	dst = plain.AppendInt(dst, "max_new_tokens", &most)
	if q.Temperature != nil && *q.Temperature <= 0 { // must be above 0 there
		dst = append(llm.AppendKey(dst, "do_sample"), "false"...)
	} else {
		dst = plain.AppendFloat(dst, "temperature", q.Temperature)
		if q.Temperature != nil || q.TopP != nil {
			dst = append(llm.AppendKey(dst, "do_sample"), "true"...)
		}
		dst = plain.AppendFloat(dst, "top_p", q.TopP)
	}
	dst = plain.AppendInt(dst, "top_k", q.TopK)
	dst = plain.AppendInt(dst, "seed", q.Seed)
	dst = plain.AppendFloat(dst, "frequency_penalty", q.FrequencyPenalty)
	dst = plain.AppendTexts(dst, "stop", p.Stop)
	dst = plain.AppendExtra(dst, q, "repetition_penalty", "typical_p", "watermark")
	dst = append(dst, '}')
	if q.Stream {
		dst = append(llm.AppendKey(dst, "stream"), "true"...)
	}
	return append(dst, '}'), t.Err()
}

// DecodeResponse reads a whole answer.
func (Text) DecodeResponse(body []byte) (*chat.Response, error) { return texts.DecodeResponse(body) }

// NewDecoder reads one stream.
func (Text) NewDecoder() chat.Decoder { return texts.NewDecoder() }

// generated is an answer, or an event: that has a token, and the last of them what an answer has, too.
type generated struct {
	Text       *string         `json:"generated_text"`
	Generation json.RawMessage `json:"generation"` // JumpStart's: a text, or a message
	Details    *struct {
		Reason string `json:"finish_reason"`
		Output *int64 `json:"generated_tokens"`
		Input  *int64 `json:"input_length"`
	} `json:"details"`
	Token *struct {
		Text    string `json:"text"`
		Special bool   `json:"special"`
	} `json:"token"`
	Error any `json:"error"`
}

// readText reads an answer, which may stand in an array, or an event.
func readText(body []byte) (*plain.Piece, error) {
	body = bytes.TrimSpace(body)
	var got generated
	if bytes.HasPrefix(body, []byte("[")) {
		var list []generated
		if err := json.Unmarshal(body, &list); err != nil {
			return nil, plain.Malformed(err)
		}
		if len(list) > 0 {
			got = list[0]
		}
	} else if err := json.Unmarshal(body, &got); err != nil {
		return nil, plain.Malformed(err)
	}
	return got.piece(), nil
}

func (g *generated) piece() *plain.Piece {
	p := new(plain.Piece)
	var message struct {
		Content string `json:"content"`
	}
	switch {
	case g.Error != nil:
		p.Fault = "The model failed."
		if text, ok := g.Error.(string); ok && text != "" {
			p.Fault = text
		}
	case g.Token != nil: // the whole text, if it is here too, was said before
		p.Some = true
		if !g.Token.Special {
			p.Text = g.Token.Text
		}
		if g.Text != nil {
			p.Finish = chat.FinishStop
		}
	case g.Text != nil:
		p.Some, p.Text, p.Finish = true, *g.Text, chat.FinishStop
	case json.Unmarshal(g.Generation, &p.Text) == nil:
		p.Some, p.Finish = true, chat.FinishStop
	case json.Unmarshal(g.Generation, &message) == nil:
		p.Some, p.Text, p.Finish = true, message.Content, chat.FinishStop
	}
	if d := g.Details; d != nil && p.Some {
		p.Finish = chat.FinishStop
		if d.Reason == "length" {
			p.Finish = chat.FinishLength
		}
		if d.Input != nil { // the output alone is no usage
			p.Usage = plain.Used(d.Input, d.Output)
		}
	}
	return p
}
