// Package translate says an exchange in another dialect: a client's request in the provider's
// words, and its answer, whole or streamed, in the client's. What a dialect is, package provider
// knows; nothing here does I/O.
package translate

import (
	"io"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider"
)

// Exchange is a request of a client's, read once and written for each deployment that is tried.
type Exchange struct {
	in  provider.Inbound
	req *chat.Request
}

// Read reads the body of a client's request. model and stream are what the path, the body or a
// guardrail says. Errors are *llm.Error of kind Invalid.
func Read(in provider.Inbound, body []byte, model string, stream bool) (*Exchange, error) {
	req, err := in.DecodeRequest(body)
	if err != nil {
		return nil, err
	}
	req.Model, req.Stream = model, stream
	return &Exchange{in: in, req: req}, nil
}

// Body writes the request for a provider. most, if above 0, lowers the limit on output.
func (x *Exchange) Body(out provider.Outbound, t *llm.Target, most int64) ([]byte, error) {
	req := *x.req
	req.Model = t.Model
	if most > 0 && (req.MaxTokens == 0 || req.MaxTokens > most) {
		req.MaxTokens = most
	}
	body, err := out.EncodeRequest(&req, t)
	if err != nil {
		return nil, err
	}
	return body, t.Err()
}

// Answer says a whole answer in the client's dialect.
func (x *Exchange) Answer(out provider.Outbound, body []byte) ([]byte, error) {
	res, err := out.DecodeResponse(body)
	if err != nil {
		return nil, err
	}
	return x.in.EncodeResponse(x.req, res)
}

// Source is a provider's stream of events.
type Source interface {
	Next() (llm.Event, error)
	Done() bool
	Usage() (u llm.Usage, ok bool)
	TextBytes() int64
	Close()
}

// Stream is a provider's stream in the client's dialect. It is not safe for concurrent use.
type Stream struct {
	Source
	dec    chat.Decoder
	enc    chat.Encoder
	chunks []chat.Chunk
	out    []byte
	done   bool  // what Next returned last ends the stream
	end    error // what Next goes on to return
}

// Stream says a stream in the client's dialect.
func (x *Exchange) Stream(out provider.Outbound, src Source) *Stream {
	return &Stream{Source: src, dec: out.NewDecoder(), enc: x.in.NewEncoder(x.req)}
}

// Next returns the next events in the client's dialect; as Source says otherwise.
func (s *Stream) Next() (llm.Event, error) {
	for s.end == nil {
		var err error
		s.chunks, err = s.step()
		if err != nil {
			s.end = err
		}
		s.write()
		if s.done && s.end == nil {
			s.end = io.EOF
		}
		if len(s.out) > 0 {
			return llm.Event{Raw: s.out}, nil
		}
	}
	return llm.Event{}, s.end
}

// step reads one event, or the end.
func (s *Stream) step() ([]chat.Chunk, error) {
	e, err := s.Source.Next()
	switch {
	case err == nil:
		return s.dec.Decode(s.chunks[:0], e)
	case err != io.EOF: //nolint:errorlint // a Source never wraps it
		return s.chunks[:0], err
	case s.done:
		return s.chunks[:0], io.EOF
	}
	chunks, err := s.dec.End(s.chunks[:0])
	if err == nil {
		err = io.EOF
	}
	return chunks, err
}

// write writes the chunks of one step.
func (s *Stream) write() {
	s.out = s.out[:0]
	for i := range s.chunks {
		s.out = s.enc.Encode(s.out, &s.chunks[i])
		s.done = s.done || s.chunks[i].Type == chat.ChunkEnd
	}
}

// Done says that what Next returned last ends the stream.
func (s *Stream) Done() bool { return s.done }

// Whole is an answer that came whole, as the stream for which the client asked.
type Whole struct {
	report llm.Report
	out    []byte
	sent   bool
}

// Whole makes a stream of a whole answer.
func (x *Exchange) Whole(out provider.Outbound, body []byte, report llm.Report) (*Whole, error) {
	res, err := out.DecodeResponse(body)
	if err != nil {
		return nil, err
	}
	if res.Usage.Source == llm.UsageNone && report.HasUsage {
		res.Usage = report.Usage
	}
	w, enc := &Whole{report: report}, x.in.NewEncoder(x.req)
	for _, c := range chat.Chunks(nil, res) {
		w.out = enc.Encode(w.out, &c)
	}
	return w, nil
}

// Next returns all events at once, then io.EOF.
func (w *Whole) Next() (llm.Event, error) {
	if w.sent {
		return llm.Event{}, io.EOF
	}
	w.sent = true
	return llm.Event{Raw: w.out}, nil
}

// Done says that Next has returned everything.
func (w *Whole) Done() bool { return w.sent }

// Usage is what the provider reported.
func (w *Whole) Usage() (llm.Usage, bool) { return w.report.Usage, w.report.HasUsage }

// TextBytes is the size of the text.
func (w *Whole) TextBytes() int64 { return w.report.TextBytes }

// Close does nothing: the provider has ended.
func (w *Whole) Close() {}
