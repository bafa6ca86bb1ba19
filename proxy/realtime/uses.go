package realtime

import (
	"context"
	"errors"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/proxy/realtime/peer"
	"github.com/conclave-llm/conclave/proxy/socket"
	"github.com/conclave-llm/conclave/proxy/upstream"
)

// Ask is what a use is expected to take.
type Ask struct {
	Prompt int64 // tokens
	Media  int64 // of Prompt, those of audio and pictures
	Output int64 // the most tokens of the answer; 0: nobody says
	// Transcription says that it is not a response that is asked for.
	Transcription bool
	// Owed says that it happens already and must be booked, whatever limits and budgets say.
	Owed bool
}

// Result is how a use ended.
type Result struct {
	Usage      llm.Usage // with source none: nothing was used
	FirstToken time.Duration
	Model      string // at the provider, where it is not the session's; "": it is
	Verdicts   []guardrail.Result
	Err        error // nil: it was served
}

// Use is one response or one transcription: admitted, reserved and in the journal.
type Use interface {
	// Clamp is the most tokens of the answer that a budget allows; 0: any number.
	Clamp() int64
	// Begin says that the provider has begun.
	Begin()
	// Stream begins the guardrails' check of the answer; nil: nobody checks it.
	Stream(ctx context.Context) (*guardrail.StreamCheck, error)
	// Settle ends the use, once.
	Settle(r Result)
}

// Gate is what a session asks of the data path.
type Gate interface {
	// Admit takes one use through the steps that a request takes. Its error is an *llm.Error.
	Admit(ctx context.Context, a Ask) (Use, error)
	// Check returns an error if the session may not go on: its key was revoked, say.
	Check(ctx context.Context) error
	// Judged says whether guardrails are to see what is said.
	Judged() bool
	// Before and After ask the guardrails about what the client says, and about what the model says.
	// They return what may go on; their error is an *llm.Error, which has left a record.
	Before(ctx context.Context, said []byte) ([]byte, error)
	After(ctx context.Context, said []byte) ([]byte, error)
}

// Opener opens sessions at providers.
type Opener interface {
	// Open opens the session that an attempt asks for. Its error is an *llm.Error.
	Open(ctx context.Context, a *upstream.Attempt, o socket.Options) (peer.Socket, error)
}

// sent is a response that the client has asked for and the provider has not begun.
type sent struct {
	use  Use
	ask  Ask
	id   string // of the event
	ours bool   // the gateway gave it
}

// errEnded is what becomes of uses that the session's end leaves over.
var errEnded = &llm.Error{Kind: llm.Canceled, Code: "session_ended", Message: "The session ended."}

// fatal says whether a refusal ends the session: waiting will not help, and saying no to each event
// would let it go on for nothing.
func fatal(e *llm.Error) bool {
	switch e.Kind {
	case llm.OverBudget:
		return e.RetryAfter == 0
	case llm.Unauthenticated, llm.Forbidden, llm.Canceled, llm.NotFound:
		return true // the key, the model or the deployment is no more what it was
	case llm.Unavailable:
		return e.Code != "conclave_journal_unavailable" && e.Code != "guardrail_not_run"
	}
	return false
}

// ask is what the next response is expected to take. The lock is held.
func (s *session) askLocked(most int64) Ask {
	all, media := s.meter.prompt()
	if s.automatic {
		all, media = all+turnOfSpeech, media+turnOfSpeech
	}
	if most == 0 {
		most = s.most
	}
	return Ask{Prompt: all, Media: media, Output: most}
}

// spend holds a use for a response that may begin, if none is held; take says that it is used up
// by what the caller sends.
func (s *session) spend(ctx context.Context, most int64, take bool) (Use, Ask, error) {
	s.mu.Lock()
	u, a := s.spare, s.askLocked(most)
	if u != nil {
		if take {
			s.spare = nil
		}
		s.mu.Unlock()
		return u, a, nil
	}
	s.mu.Unlock()
	u, err := s.cfg.Gate.Admit(ctx, a)
	if err != nil {
		return nil, a, err
	}
	if !take {
		s.mu.Lock()
		if s.spare == nil {
			s.spare, u = u, nil
		}
		s.mu.Unlock()
		if u != nil { // the other side was faster
			u.Settle(Result{Err: errEnded})
		}
	}
	return u, a, nil
}

// hear holds a use for the next transcription, if transcriptions are on and none is held.
func (s *session) hear(ctx context.Context) error {
	s.mu.Lock()
	need := s.transcribes && s.hearing == nil
	s.mu.Unlock()
	if !need {
		return nil
	}
	u, err := s.cfg.Gate.Admit(ctx, Ask{Prompt: turnOfSpeech, Media: turnOfSpeech, Output: turnOfSpeech, Transcription: true})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hearing = u // the client's pump alone sets it
	return nil
}

// begun finds the use of a response that the provider has begun: the one that was sent for it, the
// one that is held, or one that is made now. refused is why the response must not go on.
func (s *session) begun(ctx context.Context) (u Use, a Ask, refused error) {
	s.mu.Lock()
	a = s.askLocked(0)
	switch {
	case len(s.sent) > 0:
		u, a = s.sent[0].use, s.sent[0].ask
		s.sent = s.sent[1:]
	case s.spare != nil:
		u, s.spare = s.spare, nil
	}
	s.mu.Unlock()
	if u != nil {
		return u, a, nil
	}
	return s.late(ctx, a)
}

// late is a use that is asked for when it happens already.
func (s *session) late(ctx context.Context, a Ask) (Use, Ask, error) {
	u, refused := s.cfg.Gate.Admit(ctx, a)
	if refused == nil {
		return u, a, nil
	}
	a.Owed = true
	u, err := s.cfg.Gate.Admit(ctx, a)
	if err != nil {
		return nil, a, err
	}
	return u, a, refused
}

// unsent takes back a use whose event the provider has refused; true: it was one of those.
func (s *session) unsent(eventID string, why *llm.Error) (found, ours bool) {
	s.mu.Lock()
	var u Use
	for i := range s.sent {
		if s.sent[i].id == eventID {
			u, ours = s.sent[i].use, s.sent[i].ours
			s.sent = append(s.sent[:i:i], s.sent[i+1:]...)
			break
		}
	}
	s.mu.Unlock()
	if u == nil {
		return false, false
	}
	u.Settle(Result{Err: why})
	return true, ours
}

// listener is a provider that counts also where nothing is said.
type listener interface {
	// Unbooked is what was heard after the last transcript, or used after the last response.
	Unbooked() llm.Usage
}

// leftover settles everything that the session's end leaves over.
func (s *session) leftover(why *llm.Error) {
	s.unbooked(why)
	s.mu.Lock()
	spares, asked, open := []Use{s.spare, s.hearing}, s.sent, s.open
	s.spare, s.hearing, s.sent, s.open = nil, nil, nil, nil
	s.mu.Unlock()
	for _, u := range spares {
		if u != nil {
			u.Settle(Result{Err: errEnded})
		}
	}
	for i := range asked { // the provider may have begun
		u := llm.Usage{Input: asked[i].ask.Prompt - asked[i].ask.Media, AudioInput: asked[i].ask.Media, Source: llm.UsageEstimated}
		asked[i].use.Settle(Result{Usage: u, Err: why})
	}
	for _, r := range open {
		r.settle(s.estimate(r), why)
	}
}

// unbooked settles what a provider has counted after the last transcript or response; one that only listens also with
// why it ended.
func (s *session) unbooked(why *llm.Error) {
	p, ok := s.cfg.Provider.(listener)
	if !ok {
		return
	}
	usage := p.Unbooked()
	s.mu.Lock()
	u := &s.hearing
	if *u == nil {
		u = &s.spare
	}
	last, served := *u, why == errEnded
	if last == nil || usage.Source == llm.UsageNone && (served || !s.cfg.Listens) {
		s.mu.Unlock()
		return
	}
	*u = nil
	s.mu.Unlock()
	r := Result{Usage: usage}
	if !served {
		r.Err = why
	}
	last.Settle(r)
}

// estimate is what a response has used that has not been told of.
func (s *session) estimate(r *response) llm.Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := llm.Usage{
		Input: r.ask.Prompt - r.ask.Media, AudioInput: r.ask.Media, AudioOutput: s.meter.spoken(r.audio), Source: llm.UsageEstimated,
	}
	if r.text > 0 {
		u.Output = r.text/textBytes + 1
	}
	return u
}

// asError is any error as one that can be told.
func asError(err error) *llm.Error {
	if e, ok := errors.AsType[*llm.Error](err); ok {
		return e
	}
	return &llm.Error{Kind: llm.Internal, Message: "The gateway failed.", Err: err}
}
