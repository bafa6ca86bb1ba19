package realtime

import (
	"context"
	"strings"

	"github.com/conclave-llm/conclave/llm"
)

// maxForgotten bounds the items that are remembered for having been blocked.
const maxForgotten = 4096

// fromProvider reads what the provider says until it ends.
func (s *session) fromProvider(ctx context.Context) error {
	for {
		isText, raw, err := s.cfg.Provider.Read(ctx)
		if err != nil {
			return &left{err: err}
		}
		s.touch()
		if !isText {
			return &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: "The provider sent a message that is no event."}
		}
		e, err := readEvent(raw, false)
		if err != nil {
			return &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: "The provider sent an event that cannot be read.", Err: err}
		}
		if err := s.providerEvent(ctx, &e); err != nil {
			return err
		}
	}
}

// providerEvent decides about one event. Its error ends the session.
func (s *session) providerEvent(ctx context.Context, e *event) error {
	switch {
	case e.kind == "error":
		return s.relayError(ctx, e)
	case e.kind == "session.created" || e.kind == "session.updated":
		s.mu.Lock()
		s.configuredLocked(e.session)
		s.mu.Unlock()
		return s.give(ctx, e.raw)
	case e.kind == "response.created":
		return s.responseCreated(ctx, e)
	case e.kind == "response.done":
		return s.responseDone(ctx, e)
	case strings.HasPrefix(e.kind, transcription):
		return s.transcribed(ctx, e)
	}
	if r := s.responseOf(e); r != nil {
		return s.ofResponse(ctx, r, e)
	}
	return s.otherEvent(ctx, e)
}

// give hands an event to the client.
func (s *session) give(ctx context.Context, raw []byte) error {
	if err := s.cfg.Client.Write(ctx, raw); err != nil {
		return &left{client: true, err: err}
	}
	return nil
}

// giveAll hands on what guardrails have released, also what came before a block.
func (s *session) giveAll(ctx context.Context, events [][]byte) error {
	for _, raw := range events {
		if err := s.give(ctx, raw); err != nil {
			return err
		}
	}
	return nil
}

// relayError hands an error on, and takes back what was held for the event that it is about.
func (s *session) relayError(ctx context.Context, e *event) error {
	of := text(e.failure, "event_id")
	if of != "" {
		why := &llm.Error{Kind: llm.Invalid, Code: text(e.failure, "code"), Message: "The provider refused to make the response."}
		if _, ours := s.unsent(of, why); ours {
			e.raw = put(e.raw, "error", put(e.failure, "event_id", []byte("null")))
		}
	}
	if err := s.give(ctx, e.raw); err != nil {
		return err
	}
	return s.endIfIdle()
}

// responseCreated binds a response to what is held for it.
func (s *session) responseCreated(ctx context.Context, e *event) error {
	r, err := s.openResponse(ctx, e.responseID)
	if r == nil {
		return err
	}
	if err != nil { // nobody pays for it, or nobody can check it
		r.blocked = asError(err)
		if err := s.cancel(ctx, r.id); err != nil {
			return err
		}
		return s.refuse(ctx, err, "")
	}
	return s.ofResponse(ctx, r, e)
}

// responseOf is the open response that an event is a part of, nil if it is none's.
func (s *session) responseOf(e *event) *response {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.open[e.responseID]; r != nil {
		return r
	}
	item := e.itemID
	if item == "" {
		item = text(e.item, "id")
	}
	for _, r := range s.open {
		if item != "" && r.items[item] {
			return r
		}
	}
	return nil
}

// ofResponse sends an event of a response on, or what guardrails release of it.
func (s *session) ofResponse(ctx context.Context, r *response, e *event) error {
	r.count(e, s.cfg.Now())
	if id := text(e.item, "id"); id != "" {
		r.items[id] = true
		if r.blocked != nil {
			s.forget(id)
		}
	}
	if r.blocked != nil {
		return nil
	}
	out, blocked := r.feed(ctx, e)
	if err := s.giveAll(ctx, out); err != nil {
		return err
	}
	return s.blockIf(ctx, r, blocked)
}

// blockIf ends what is heard of a response that guardrails do not let pass.
func (s *session) blockIf(ctx context.Context, r *response, blocked error) error {
	if blocked == nil {
		return nil
	}
	if ctx.Err() != nil {
		return blocked
	}
	for id := range r.items {
		s.forget(id)
	}
	return s.block(ctx, r, asError(blocked))
}

// forget remembers that an item must not be heard of.
func (s *session) forget(item string) {
	if len(s.forgotten) >= maxForgotten {
		clear(s.forgotten)
	}
	s.forgotten[item] = true
}

// responseDone settles a response before the client hears of its end.
func (s *session) responseDone(ctx context.Context, e *event) error {
	s.mu.Lock()
	r := s.open[e.responseID]
	s.mu.Unlock()
	if r == nil { // the provider has not said that it began
		var err error
		if r, err = s.openResponse(ctx, e.responseID); r == nil {
			return err
		}
	}
	var out [][]byte
	if r.blocked == nil {
		var blocked error
		if out, blocked = r.feed(ctx, e); blocked == nil {
			var rest [][]byte
			rest, blocked = r.end(ctx)
			out = append(out, rest...)
		}
		if err := s.giveAllBut(ctx, &out, e.raw); err != nil {
			return err
		}
		if err := s.blockIf(ctx, r, blocked); err != nil {
			return err
		}
	}
	s.settleDone(r, e)
	last := e.raw
	if r.blocked != nil {
		last = cutDone(e)
	}
	if err := s.give(ctx, last); err != nil {
		return err
	}
	return s.endIfIdle()
}

// giveAllBut hands on what was held back, but for the last event, which waits for the record.
func (s *session) giveAllBut(ctx context.Context, out *[][]byte, last []byte) error {
	if n := len(*out); n > 0 && len((*out)[n-1]) == len(last) && &(*out)[n-1][0] == &last[0] {
		*out = (*out)[:n-1]
	}
	return s.giveAll(ctx, *out)
}

// settleDone settles a response with what the provider says that it has used.
func (s *session) settleDone(r *response, e *event) {
	usage, ok := usageOf(member(e.response, "usage"))
	if !ok {
		usage = s.estimate(r)
		if text(e.response, "status") == "failed" && r.text == 0 && r.audio == 0 {
			usage = llm.Usage{} // it has not begun
		}
	}
	var why error
	if r.blocked != nil {
		why = r.blocked
	} else if f := failed(e); f != nil {
		why = f
	}
	r.settle(usage, why)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.meter.counted(&usage)
	delete(s.open, r.id)
}

// usageOf reads a usage object; false: it says nothing.
func usageOf(raw []byte) (llm.Usage, bool) {
	if object(raw) == nil {
		return llm.Usage{}, false
	}
	rep, err := llm.Read(append(append([]byte(`{"usage":`), raw...), '}'))
	return rep.Usage, err == nil && rep.HasUsage
}

// transcription begins the types of events about what the user says.
const transcription = "conversation.item.input_audio_transcription."

// transcribed settles a transcription, and shows guardrails what the user has said. They see it
// whole: the pieces of it before are withheld.
func (s *session) transcribed(ctx context.Context, e *event) error {
	judged := s.cfg.Gate.Judged()
	switch strings.TrimPrefix(e.kind, transcription) {
	case "completed":
		if err := s.settleTranscription(ctx, e); err != nil {
			return err
		}
	case "failed":
		s.mu.Lock()
		u := s.hearing
		s.hearing = nil
		s.mu.Unlock()
		if u != nil {
			u.Settle(Result{Err: &llm.Error{Kind: llm.Upstream, Code: "transcription_failed", Message: "The provider could not transcribe the audio."}})
		}
	default:
		if judged {
			return nil
		}
	}
	if !judged || e.transcript == 0 {
		return s.give(ctx, e.raw)
	}
	raw, err := s.cfg.Gate.Before(ctx, e.raw)
	if err != nil {
		return s.unheard(ctx, e, err)
	}
	return s.give(ctx, raw)
}

// unheard is what becomes of a transcript that guardrails do not let pass: it is not told, and
// what the provider is answering it with ends.
func (s *session) unheard(ctx context.Context, e *event, err error) error {
	s.forget(e.itemID)
	if err := s.refuse(ctx, err, ""); err != nil {
		return err
	}
	s.mu.Lock()
	var open []*response
	for _, r := range s.open {
		open = append(open, r)
	}
	s.mu.Unlock()
	for _, r := range open {
		if r.blocked == nil {
			r.blocked = asError(err)
			if err := s.cancel(ctx, r.id); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *session) settleTranscription(ctx context.Context, e *event) error {
	s.mu.Lock()
	u, model := s.hearing, s.hears
	s.hearing = nil
	s.mu.Unlock()
	var refused error
	if u == nil {
		if u, _, refused = s.late(ctx, Ask{Prompt: turnOfSpeech, Media: turnOfSpeech, Transcription: true}); u == nil {
			return refused
		}
	}
	u.Begin()
	usage, ok := usageOf(e.usage)
	if !ok {
		usage = llm.Usage{AudioInput: turnOfSpeech / 10, Output: int64(e.transcript)/textBytes + 1, Source: llm.UsageEstimated}
	}
	u.Settle(Result{Usage: usage, Model: model})
	if refused != nil {
		return s.refuse(ctx, refused, "")
	}
	return nil
}

// otherEvent is one that is no response's.
func (s *session) otherEvent(ctx context.Context, e *event) error {
	item := e.itemID
	if id := text(e.item, "id"); id != "" {
		item = id
	}
	switch {
	case s.forgotten[item]:
		return nil
	case !s.cfg.Gate.Judged() || silent(e):
		return s.give(ctx, e.raw)
	}
	ask := s.cfg.Gate.After
	if role := text(e.item, "role"); role == "user" || role == "system" {
		ask = s.cfg.Gate.Before
	}
	raw, err := ask(ctx, e.raw)
	if err != nil {
		return s.refuse(ctx, err, "")
	}
	return s.give(ctx, raw)
}

// silent says whether an event has nothing that anybody said, or only what its sender has heard
// the guardrails' answer about.
func silent(e *event) bool {
	for _, prefix := range [...]string{"input_audio_buffer.", "output_audio_buffer.", "rate_limits.", "session.", "conversation.created", "conversation.item.deleted", "conversation.item.truncated"} {
		if strings.HasPrefix(e.kind, prefix) {
			return true
		}
	}
	if kind := text(e.item, "type"); kind == "function_call_output" {
		return true
	}
	if role := text(e.item, "role"); role == "user" || role == "system" {
		heard := false
		weigh(e.item, func(name string, _ int) { heard = heard || name == "transcript" })
		return !heard
	}
	return false
}
