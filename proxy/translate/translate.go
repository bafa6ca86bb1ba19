// Package translate says an exchange in another dialect: a client's request in the provider's
// words, and its answer, whole or streamed, in the client's. What a dialect is, package provider
// knows; nothing here does I/O.
package translate

import (
	"encoding/json"
	"io"
	"maps"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider"
)

// Exchange is a request of a client's, read once and written for each deployment that is tried.
type Exchange struct {
	in       provider.Inbound
	req      *chat.Request
	ours     bool // the gateway stores the answer, or does not: that is not the provider's to do
	estimate func(textBytes int64) llm.Usage
}

// Read reads the body of a client's request. model and stream are what the path, the body or a
// guardrail says. Errors are *llm.Error of kind Invalid.
func Read(in provider.Inbound, body []byte, model string, stream bool) (*Exchange, error) {
	req, err := in.DecodeRequest(body)
	if err != nil {
		return nil, err
	}
	for _, name := range llm.OwnFields() { // nobody drops them: they are said to the gateway
		delete(req.Extra, name)
	}
	req.Model, req.Stream = model, stream
	return &Exchange{in: in, req: req}, nil
}

// Estimates gives the usage of an answer whose provider does not count, for the client. Without it nothing is told.
func (x *Exchange) Estimates(usage func(textBytes int64) llm.Usage) { x.estimate = usage }

// counted is what a provider said of its usage, else what is estimated.
func (x *Exchange) counted(u llm.Usage, textBytes int64) llm.Usage {
	if x.estimate != nil && (u.Source == llm.UsageNone || u.Total() == 0 && textBytes > 0) {
		return x.estimate(textBytes)
	}
	return u
}

// Stores says under which id the gateway stores the answer, "" for not at all. The provider is not asked to.
func (x *Exchange) Stores(id string) {
	if x.req.Extra == nil {
		x.req.Extra = map[string]json.RawMessage{}
	}
	x.req.Extra["store"], x.req.AnswerID, x.ours = strconv.AppendBool(nil, id != ""), id, true
}

// kept are the parameters of OpenAI's responses that refer to what the provider keeps. Without
// them the answer would be to another question, so that they are never dropped.
var kept = [...]string{"previous_response_id", "conversation", "prompt", "background"}

// checkKept refuses a request that refers to what nobody here keeps.
func (x *Exchange) checkKept() error {
	for _, name := range kept {
		switch v := string(x.req.Extra[name]); v {
		case "", "null", "false":
		default:
			return llm.Unsayable(name, "The model's provider does not keep what "+name+" refers to.")
		}
	}
	return nil
}

// Body writes the request for a provider. most, if above 0, lowers the limit on output.
func (x *Exchange) Body(out provider.Outbound, t *llm.Target, most int64) ([]byte, error) {
	if err := x.checkKept(); err != nil {
		return nil, err
	}
	if _, infills := out.(provider.Infiller); x.req.Suffix != "" && !infills {
		return nil, llm.Unsayable("suffix", "The provider of this model completes the end of a text only: leave \"suffix\" out.")
	}
	req := *x.req
	req.Model = t.Model
	if x.ours {
		req.Extra = maps.Clone(req.Extra)
		delete(req.Extra, "store")
	}
	for _, name := range t.Refused {
		if sent := req; sent.TakeOut(name) && !t.Drop(name) {
			req = sent
		}
	}
	if most > 0 && (req.MaxTokens == 0 || req.MaxTokens > most) {
		req.MaxTokens = most
	}
	body, err := out.EncodeRequest(&req, t)
	if err != nil {
		return nil, err
	}
	return body, t.Err()
}

// Count writes the question for a provider how many tokens the request has.
func (x *Exchange) Count(out provider.CountOutbound, t *llm.Target) ([]byte, error) {
	if err := x.checkKept(); err != nil {
		return nil, err
	}
	body, err := out.EncodeRequest(x.req, t)
	if err != nil {
		return nil, err
	}
	return body, t.Err()
}

// Answer says a whole answer in the client's dialect.
func (x *Exchange) Answer(out provider.Outbound, body []byte, report llm.Report) ([]byte, error) {
	res, err := out.DecodeResponse(body)
	if err != nil {
		return nil, err
	}
	res.Usage = x.counted(res.Usage, report.TextBytes)
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

// pieces are events in the client's dialect, which leave one by one: who looks at a stream, as
// guardrails do, looks at each event.
type pieces struct{ rest []byte }

// next takes the first event; false: there is none.
func (p *pieces) next() (llm.Event, bool) {
	if len(p.rest) == 0 {
		return llm.Event{}, false
	}
	n := llm.EventSize(p.rest)
	e := llm.Event{Raw: p.rest[:n:n]}
	p.rest = p.rest[n:]
	return e, true
}

// Stream is a provider's stream in the client's dialect. It is not safe for concurrent use.
type Stream struct {
	Source
	pieces
	x      *Exchange
	dec    chat.Decoder
	enc    chat.Encoder
	chunks []chat.Chunk
	out    []byte
	whole  bool  // the last event is written
	end    error // what Next returns when all is out
}

// Stream says a stream in the client's dialect.
func (x *Exchange) Stream(out provider.Outbound, src Source) *Stream {
	return &Stream{Source: src, x: x, dec: out.NewDecoder(), enc: x.in.NewEncoder(x.req)}
}

// Next returns the next event in the client's dialect; as Source says otherwise.
func (s *Stream) Next() (llm.Event, error) {
	for {
		if e, ok := s.next(); ok {
			return e, nil
		}
		if s.end != nil {
			return llm.Event{}, s.end
		}
		s.chunks, s.end = s.step()
		s.write()
		if s.whole && s.end == nil {
			s.end = io.EOF
		}
	}
}

// step reads one event, or the end.
func (s *Stream) step() ([]chat.Chunk, error) {
	e, err := s.Source.Next()
	if err == nil {
		return s.dec.Decode(s.chunks[:0], e)
	}
	if err != io.EOF { //nolint:errorlint // a Source never wraps it
		return s.chunks[:0], err
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
		if s.chunks[i].Type == chat.ChunkEnd {
			s.count()
		}
		s.out = s.enc.Encode(s.out, &s.chunks[i])
		s.whole = s.whole || s.chunks[i].Type == chat.ChunkEnd
	}
	s.rest = s.out
}

// count tells the client what is estimated, where the provider counted nothing.
func (s *Stream) count() {
	said, _ := s.Usage()
	if u := s.x.counted(said, s.TextBytes()); u != said {
		s.out = s.enc.Encode(s.out, &chat.Chunk{Type: chat.ChunkUsage, Usage: u})
	}
}

// Done says that what Next returned last ends the stream.
func (s *Stream) Done() bool { return s.whole && len(s.rest) == 0 }

// Whole is an answer that came whole, as the stream for which the client asked.
type Whole struct {
	pieces
	report llm.Report
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
	res.Usage = x.counted(res.Usage, report.TextBytes)
	w, enc := &Whole{report: report}, x.in.NewEncoder(x.req)
	for _, c := range chat.Chunks(nil, res) {
		w.rest = enc.Encode(w.rest, &c)
	}
	return w, nil
}

// Next returns the next event, io.EOF after the last.
func (w *Whole) Next() (llm.Event, error) {
	if e, ok := w.next(); ok {
		return e, nil
	}
	return llm.Event{}, io.EOF
}

// Done says that Next has returned everything.
func (w *Whole) Done() bool { return len(w.rest) == 0 }

// Usage is what the provider reported.
func (w *Whole) Usage() (llm.Usage, bool) { return w.report.Usage, w.report.HasUsage }

// TextBytes is the size of the text.
func (w *Whole) TextBytes() int64 { return w.report.TextBytes }

// Close does nothing: the provider has ended.
func (w *Whole) Close() {}
