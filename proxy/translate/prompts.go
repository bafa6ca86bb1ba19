package translate

import (
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"sync"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider"
)

// Prompts says how many texts a request has that are completed each by itself, 0 for one that is asked as a whole.
func (x *Exchange) Prompts() int {
	if !x.req.Apart {
		return 0
	}
	return len(x.req.Messages)
}

// choices is how many each of them is completed with.
func (x *Exchange) choices() int { return int(max(1, x.req.N)) }

// Bodies writes a request for each of the texts.
func (x *Exchange) Bodies(out provider.Outbound, t *llm.Target, most int64) (all [][]byte, err error) {
	for i := range x.req.Messages {
		one, req := *x, *x.req
		req.Messages, req.Apart = x.req.Messages[i:i+1], false
		one.req = &req
		body, err := one.Body(out, t, most)
		if err != nil {
			return nil, err
		}
		all = append(all, body)
	}
	return all, nil
}

// AskParts asks for all parts, a few at once. The first failure ends the others, and is returned. Nothing of it runs on when
// AskParts has returned.
func AskParts(ctx context.Context, bodies [][]byte, ask func(ctx context.Context, i int, body []byte) (Part, error)) ([]Part, error) {
	return askAll(ctx, bodies, func(ctx context.Context, i int, body []byte) (Part, error) {
		part, err := ask(ctx, i, body)
		return part, placedPrompt(err, i)
	})
}

// placedPrompt says of which text a provider complains.
func placedPrompt(err error, i int) error {
	e, ok := errors.AsType[*llm.Error](err)
	if !ok || e.Kind != llm.Invalid {
		return err
	}
	mine := *e
	mine.Body = nil // which knows nothing of the other texts
	mine.Param, mine.Message = "prompt["+strconv.Itoa(i)+"]", "Of the text "+strconv.Itoa(i)+" of \"prompt\": "+e.Message
	return &mine
}

// Report adds up what the answers to the parts said of themselves. One that does not say what it used makes that of all
// unknown.
func Report(parts []Part) (r llm.Report) {
	r.HasUsage = true
	for i := range parts {
		p := &parts[i].Report
		r.TextBytes += p.TextBytes
		r.HasUsage = r.HasUsage && p.HasUsage
		r.Usage = addUsage(r.Usage, p.Usage)
	}
	if !r.HasUsage {
		r.Usage = llm.Usage{}
	}
	return r
}

// addUsage is what two answers have used.
func addUsage(a, b llm.Usage) llm.Usage {
	a.Input += b.Input
	a.CacheRead += b.CacheRead
	a.CacheWrite += b.CacheWrite
	a.CacheWrite1h += b.CacheWrite1h
	a.Output += b.Output
	a.Reasoning += b.Reasoning
	a.Units.Queries += b.Units.Queries
	a.Source, a.Service = b.Source, b.Service
	return a
}

// Joined says the answers to all parts as one in the client's dialect, its choices in the order of the texts.
func (x *Exchange) Joined(out provider.Outbound, parts []Part, report llm.Report) ([]byte, error) {
	var all *chat.Response
	for i := range parts {
		res, err := out.DecodeResponse(parts[i].Body)
		if err != nil {
			return nil, err
		}
		for k := range res.Choices {
			res.Choices[k].Index += i * x.choices()
		}
		if all == nil {
			all = res
			continue
		}
		all.Choices = append(all.Choices, res.Choices...)
		all.Usage = addUsage(all.Usage, res.Usage)
	}
	if !report.HasUsage {
		all.Usage = llm.Usage{}
	}
	all.Usage = x.countedWhole(all, report.TextBytes)
	return x.in.EncodeResponse(x.req, all)
}

// Merged is the streams of all parts as one in the client's dialect, whose events come as they come. It is not safe for
// concurrent use.
type Merged struct {
	pieces
	x     *Exchange
	enc   chat.Encoder
	waits func() // is called before an event is waited for; nil: nobody wants to know

	ctx    context.Context // of all parts
	cancel context.CancelFunc
	events chan merged
	wg     sync.WaitGroup
	report llm.Report
	open   int // parts that go on
	begun  bool
	whole  bool
	end    error
}

// merged is what a part has to say.
type merged struct {
	part   int
	chunks []chat.Chunk
	report *llm.Report // at its end; nil: it goes on
	err    error
}

// Merge asks for all parts, a few at once, and returns their streams as one. open asks for one, and returns its stream, or
// the answer that came whole. Close ends them all.
func (x *Exchange) Merge(ctx context.Context, out provider.Outbound, bodies [][]byte, open func(ctx context.Context, i int, body []byte) (Source, *Part, error), waits func()) *Merged {
	ctx, cancel := context.WithCancel(ctx)
	m := &Merged{x: x, enc: x.in.NewEncoder(x.req), waits: waits, ctx: ctx, cancel: cancel, events: make(chan merged), open: len(bodies)}
	m.report.HasUsage = true
	room := make(chan struct{}, maxAtOnce)
	for i, body := range bodies {
		m.wg.Go(func() {
			select {
			case room <- struct{}{}:
			case <-ctx.Done():
				return
			}
			defer func() { <-room }()
			m.run(ctx, out, i, func() (Source, *Part, error) { return open(ctx, i, body) })
		})
	}
	return m
}

// run hands on what a part says.
func (m *Merged) run(ctx context.Context, out provider.Outbound, i int, open func() (Source, *Part, error)) {
	tell := func(e merged) bool {
		e.part = i
		select {
		case m.events <- e:
			return true
		case <-ctx.Done():
			return false
		}
	}
	src, part, err := open()
	if err != nil {
		tell(merged{err: placedPrompt(err, i)})
		return
	}
	if part != nil {
		res, err := out.DecodeResponse(part.Body)
		if err != nil {
			tell(merged{err: err})
			return
		}
		tell(merged{chunks: chat.Chunks(nil, res), report: &part.Report})
		return
	}
	defer src.Close()
	one := &Stream{Source: src, x: m.x, dec: out.NewDecoder()}
	for {
		var chunks []chat.Chunk
		one.chunks = nil // what was told before is not ours any more
		chunks, err = one.step()
		ended := errors.Is(err, io.EOF) || slices.ContainsFunc(chunks, func(c chat.Chunk) bool { return c.Type == chat.ChunkEnd })
		if err != nil && !ended {
			tell(merged{chunks: chunks, err: err})
			return
		}
		e := merged{chunks: chunks}
		if ended {
			usage, ok := src.Usage()
			e.report = &llm.Report{Usage: usage, HasUsage: ok, TextBytes: src.TextBytes()}
		}
		if !tell(e) || ended {
			return
		}
	}
}

// Next returns the next event in the client's dialect; io.EOF after the last.
func (m *Merged) Next() (llm.Event, error) {
	for {
		if e, ok := m.next(); ok {
			return e, nil
		}
		if m.end != nil {
			return llm.Event{}, m.end
		}
		if m.open == 0 {
			m.finish()
			continue
		}
		e := m.await()
		m.take(&e)
	}
}

// await is what one of the parts says next.
func (m *Merged) await() merged {
	select {
	case e := <-m.events:
		return e
	default:
	}
	if m.waits != nil {
		m.waits()
	}
	select {
	case e := <-m.events:
		return e
	case <-m.ctx.Done(): // the parts say nothing any more
		return merged{err: context.Cause(m.ctx)}
	}
}

// take writes what a part says, with the numbers that its choices have among all.
func (m *Merged) take(e *merged) {
	var b []byte
	for i := range e.chunks {
		c := &e.chunks[i]
		switch c.Type {
		case chat.ChunkStart:
			if m.begun {
				continue
			}
			m.begun = true
		case chat.ChunkUsage, chat.ChunkEnd: // of all, at their end
			continue
		}
		c.Choice += e.part * m.x.choices()
		m.x.hear(c)
		if c.Type == chat.ChunkText {
			m.report.TextBytes += int64(len(c.Text))
		}
		b = m.enc.Encode(b, c)
	}
	switch {
	case e.err != nil:
		m.end = e.err
	case e.report != nil:
		m.report.HasUsage = m.report.HasUsage && e.report.HasUsage
		m.report.Usage = addUsage(m.report.Usage, e.report.Usage)
		m.open--
	}
	m.rest = b
}

// finish writes the end of all, when what was said has been returned.
func (m *Merged) finish() {
	if !m.report.HasUsage {
		m.report.Usage = llm.Usage{}
	}
	for _, c := range []chat.Chunk{
		{Type: chat.ChunkUsage, Usage: m.x.counted(m.report.Usage, m.report.TextBytes)}, {Type: chat.ChunkEnd},
	} {
		m.rest = m.enc.Encode(m.rest, &c)
	}
	m.whole, m.end = true, io.EOF
}

// Done says that what Next returned last ends the stream.
func (m *Merged) Done() bool { return m.whole && len(m.rest) == 0 }

// Usage is what the parts have used that have ended; ok is false if one of them did not say.
func (m *Merged) Usage() (llm.Usage, bool) {
	return m.report.Usage, m.report.HasUsage && m.report.Usage.Source != llm.UsageNone
}

// TextBytes is the size of the text that came.
func (m *Merged) TextBytes() int64 { return m.report.TextBytes }

// Close ends all parts, and waits for them.
func (m *Merged) Close() {
	m.cancel()
	m.wg.Wait()
}
