package upstream

import (
	"bytes"
	"errors"
	"io"
	"time"

	"github.com/conclave-llm/conclave/llm"
)

const (
	afterDone    = 100 * time.Millisecond // for the end of the body behind [DONE]
	maxKeepBytes = 64 << 10               // a larger buffer is not kept for the next stream
)

// Stream is an answer in events. It is not safe for concurrent use.
type Stream struct {
	client  *Client
	call    *call
	attempt *Attempt
	events  llm.EventReader // nil once closed
	meter   llm.Meter       // nil: the codec reads each event

	first  time.Duration // from the start to the first event with data
	report llm.Report    // usage is the last one's, the rest is summed
	alike  llm.Alike     // spares reading chunks that differ in their text alone
	done   bool          // [DONE] came
	torn   bool          // the bytes ended in an event that cannot be read
	end    error         // what Next goes on to return
}

// Next returns the next event, whose Raw bytes are to be relayed as they are. They are valid
// until the next call. Comments before the first event with data are left out, so that nothing has reached
// the client when that fails.
//
// It returns io.EOF after a whole stream: after [DONE], or after a finish reason for every choice.
// Any other end is an *llm.Error, as is an error that the provider sent as an event.
func (s *Stream) Next() (llm.Event, error) {
	for s.end == nil {
		if s.done {
			return llm.Event{}, s.drain()
		}
		e, err := s.events.Next()
		if err != nil {
			s.end = s.ended(err)
			break
		}
		if e.Data == nil {
			s.torn = e.Cut
			if s.first > 0 && !e.Cut {
				return e, nil
			}
			continue
		}
		show, err := s.take(e)
		if err != nil {
			s.end = err
			break
		}
		s.call.await(s.call.limits.Idle)
		switch {
		case !show:
		case e.Cut: // whole, but for the blank line after it
			e.Raw = append(bytes.TrimRight(e.Raw, "\r\n"), '\n', '\n')
			return s.shown(e), nil
		default:
			return s.shown(e), nil
		}
	}
	return llm.Event{}, s.end
}

// shown is an event as the client may see it: without our key, where it is one of the
// vendor's own that may tell of an error.
func (s *Stream) shown(e llm.Event) llm.Event {
	if len(e.Type) > 0 && s.meter == nil {
		e.Raw = s.attempt.Account.Hide(e.Raw)
	}
	return e
}

// take reads an event with data and says whether the client may see it.
func (s *Stream) take(e llm.Event) (show bool, err error) {
	if s.meter == nil && string(e.Data) == "[DONE]" {
		s.done = true
		s.mark()
		return true, nil
	}
	if !s.attempt.readable(e.Data) {
		return false, errNotUTF8()
	}
	r, err := s.read(e)
	switch {
	case err != nil && e.Cut:
		s.torn = true
		_, err = s.events.Next() // says why it was cut
		return false, s.ended(err)
	case err != nil && len(e.Type) > 0 && s.meter == nil:
		return true, nil // an event of the vendor's own
	case err != nil:
		return false, err
	case r.HasError:
		// The event's bytes go with the reader's buffer, the error's stay.
		return false, s.client.refusal(s.attempt, 200, nil, append([]byte(nil), e.Data...))
	}
	s.mark()
	if r.HasUsage {
		s.report.Usage, s.report.HasUsage = r.Usage, true
	}
	s.report.TextBytes += r.TextBytes
	s.report.Seen |= r.Seen
	s.report.Finished |= r.Finished
	s.done = s.done || r.Done
	return !r.UsageOnly || !s.attempt.HideUsage, nil
}

// read reads an event with data.
func (s *Stream) read(e llm.Event) (llm.Report, error) {
	if s.meter != nil {
		return s.meter.Event(e)
	}
	if r, known := s.alike.Report(e.Data); known {
		return r, nil
	}
	r, err := s.attempt.Provider.Codec.Read(s.attempt.Endpoint, e.Data)
	if err == nil {
		s.alike.Learn(e.Data, r)
	}
	return r, err
}

// mark notes the first event with data.
func (s *Stream) mark() {
	if s.first == 0 {
		s.first = max(time.Since(s.call.start), 1)
		s.call.phase.Store(int32(waitNext))
	}
}

// complete says that the stream may end here.
func (s *Stream) complete() bool {
	return s.done || s.attempt.Provider.NoEndMark && !s.torn || (s.report.Seen != 0 && s.report.Seen == s.report.Finished)
}

// ended turns the end of the bytes into what Next returns.
func (s *Stream) ended(err error) error {
	switch {
	case errors.Is(err, io.EOF) && s.complete():
		return io.EOF
	case !errors.Is(err, io.EOF) || s.call.ctx.Err() != nil:
		return s.call.failure(err) // a canceled body may end in io.EOF too
	}
	return &llm.Error{Kind: llm.Upstream, Code: "upstream_cut", Message: "The provider's stream ended before its answer did.", Err: io.ErrUnexpectedEOF}
}

// drain reads the end of the body, which stands right behind [DONE], so that the connection can
// be used again. The answer is whole, so nothing that happens here is an error.
func (s *Stream) drain() error {
	s.end = io.EOF
	s.call.await(afterDone)
	for {
		if _, err := s.events.Next(); err != nil {
			return s.end
		}
	}
}

// Done says that the event that Next returned last ends the stream.
func (s *Stream) Done() bool { return s.done }

// FirstToken is the time from the start of the attempt to the first event with data, 0 if none came.
func (s *Stream) FirstToken() time.Duration { return s.first }

// Usage is what the provider reported so far; ok is false if it reported nothing.
func (s *Stream) Usage() (u llm.Usage, ok bool) { return s.report.Usage, s.report.HasUsage }

// TextBytes is the size of the text that came, from which the usage of a cut stream is estimated.
func (s *Stream) TextBytes() int64 { return s.report.TextBytes }

// Close ends the stream and makes the events that it returned invalid. A stream that is not at
// its end is canceled at the provider.
func (s *Stream) Close() {
	if s.events == nil {
		return
	}
	if s.done && s.end == nil {
		_ = s.drain()
	}
	s.call.close()
	if s.end == nil {
		s.end = io.ErrClosedPipe
	}
	if sse, ok := s.events.(*llm.SSEReader); ok && sse.Cap() <= maxKeepBytes {
		sse.Reset(nil, 0)
		s.client.readers.Put(sse)
	}
	s.events = nil
}
