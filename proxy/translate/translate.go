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
	"github.com/conclave-llm/conclave/llm/tokenize"
	"github.com/conclave-llm/conclave/provider"
)

// Exchange is a request of a client's, read once and written for each deployment that is tried.
type Exchange struct {
	in       provider.Inbound
	req      *chat.Request
	ours     bool // the gateway stores the answer, or does not: that is not the provider's to do
	estimate func(textBytes int64) llm.Usage
	said     *tokenize.Answer // nil: nobody counts it
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

// Estimates gives the usage of an answer whose provider does not count, for the client, when all of its text has been
// returned. What the answer says is kept in said before; nil: it is not. Without Estimates nothing is told.
func (x *Exchange) Estimates(usage func(textBytes int64) llm.Usage, said *tokenize.Answer) {
	x.estimate, x.said = usage, said
}

// untold says that the client is told an estimate in the place of what a provider said of its usage.
func (x *Exchange) untold(u llm.Usage, textBytes int64) bool {
	return x.estimate != nil && (u.Source == llm.UsageNone || u.Total() == 0 && textBytes > 0)
}

// counted is what a provider said of its usage, else what is estimated.
func (x *Exchange) counted(u llm.Usage, textBytes int64) llm.Usage {
	if x.untold(u, textBytes) {
		return x.estimate(textBytes)
	}
	return u
}

// countedWhole is counted for an answer that came whole.
func (x *Exchange) countedWhole(res *chat.Response, textBytes int64) llm.Usage {
	if x.said != nil && x.untold(res.Usage, textBytes) {
		x.said.AddWhole(res)
	}
	return x.counted(res.Usage, textBytes)
}

// hear keeps what a chunk says.
func (x *Exchange) hear(c *chat.Chunk) {
	if x.said != nil {
		x.said.Add(c)
	}
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
	res.Usage = x.countedWhole(res, report.TextBytes)
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
	left   []chat.Chunk // of chunks, those that are not written yet
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
		if len(s.left) == 0 {
			if s.end != nil {
				return llm.Event{}, s.end
			}
			s.chunks, s.end = s.step()
			s.left = s.chunks
		}
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

// write writes the chunks of one step, up to an end before which the usage has to be counted: what was said leaves first.
func (s *Stream) write() {
	s.out = s.out[:0]
	for len(s.left) > 0 {
		c := &s.left[0]
		if c.Type == chat.ChunkEnd {
			said, _ := s.Usage()
			untold := s.x.untold(said, s.TextBytes())
			if untold && len(s.out) > 0 {
				break
			}
			if untold {
				s.out = s.enc.Encode(s.out, &chat.Chunk{Type: chat.ChunkUsage, Usage: s.x.estimate(s.TextBytes())})
			}
		}
		s.x.hear(c)
		s.out = s.enc.Encode(s.out, c)
		s.whole = s.whole || c.Type == chat.ChunkEnd
		s.left = s.left[1:]
	}
	s.rest = s.out
}

// Done says that what Next returned last ends the stream.
func (s *Stream) Done() bool { return s.whole && len(s.rest) == 0 }

// Whole is an answer that came whole, as the stream for which the client asked.
type Whole struct {
	pieces
	x      *Exchange
	enc    chat.Encoder
	end    []chat.Chunk // the usage and the end, which are not written yet
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
	w, chunks := &Whole{x: x, enc: x.in.NewEncoder(x.req), report: report}, chat.Chunks(nil, res)
	for len(chunks) > 0 && chunks[0].Type != chat.ChunkUsage {
		x.hear(&chunks[0])
		w.rest = w.enc.Encode(w.rest, &chunks[0])
		chunks = chunks[1:]
	}
	w.end = chunks
	return w, nil
}

// Next returns the next event, io.EOF after the last. The usage is counted when all before it was returned.
func (w *Whole) Next() (llm.Event, error) {
	if len(w.rest) == 0 {
		for i := range w.end {
			if c := &w.end[i]; c.Type == chat.ChunkUsage {
				c.Usage = w.x.counted(c.Usage, w.report.TextBytes)
			}
			w.rest = w.enc.Encode(w.rest, &w.end[i])
		}
		w.end = nil
	}
	if e, ok := w.next(); ok {
		return e, nil
	}
	return llm.Event{}, io.EOF
}

// Done says that Next has returned everything.
func (w *Whole) Done() bool { return len(w.rest) == 0 && len(w.end) == 0 }

// Usage is what the provider reported.
func (w *Whole) Usage() (llm.Usage, bool) { return w.report.Usage, w.report.HasUsage }

// TextBytes is the size of the text.
func (w *Whole) TextBytes() int64 { return w.report.TextBytes }

// Close does nothing: the provider has ended.
func (w *Whole) Close() {}

// Overheard is a stream that is relayed as it comes, of whose events what they say is kept. It is not safe for concurrent use.
type Overheard struct {
	Source
	dec    chat.Decoder // nil: one of the events could not be read
	said   *tokenize.Answer
	chunks []chat.Chunk
}

// Overhear keeps what a stream says, whose events out reads.
func Overhear(out provider.Outbound, src Source, said *tokenize.Answer) *Overheard {
	return &Overheard{Source: src, dec: out.NewDecoder(), said: said}
}

// Next returns the next event, as Source says.
func (o *Overheard) Next() (llm.Event, error) {
	e, err := o.Source.Next()
	if o.dec == nil || err != nil && err != io.EOF { //nolint:errorlint // a Source never wraps it
		return e, err
	}
	var unread error
	if err == nil {
		o.chunks, unread = o.dec.Decode(o.chunks[:0], e)
	} else {
		o.chunks, unread = o.dec.End(o.chunks[:0])
	}
	for i := range o.chunks {
		o.said.Add(&o.chunks[i])
	}
	if unread != nil {
		o.dec = nil
		o.said.Lose()
	}
	return e, err
}
