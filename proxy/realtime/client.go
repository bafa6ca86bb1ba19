package realtime

import (
	"context"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/agent"
)

// fromClient reads what the client says until it ends.
func (s *session) fromClient(ctx context.Context) error {
	if err := s.configure(ctx); err != nil {
		return err
	}
	for {
		isText, raw, err := s.cfg.Client.Read(ctx)
		if err != nil {
			return &left{client: true, err: err}
		}
		s.touch()
		if !isText {
			err = s.refuse(ctx, invalid("", "invalid_event", "An event must be a message of text."), "")
		} else {
			err = s.clientEvent(ctx, raw)
		}
		if err != nil {
			return err
		}
	}
}

// clientEvent decides about one event. Its error ends the session.
func (s *session) clientEvent(ctx context.Context, raw []byte) error {
	e, err := readEvent(raw, true)
	if err != nil {
		return s.refuse(ctx, err, e.id)
	}
	if s.isClosing() {
		return nil // it was told why
	}
	act, ok := clientEvents[e.kind]
	if !ok {
		act = (*session).other
	}
	if err := act(s, ctx, &e); err != nil {
		return s.refuse(ctx, err, e.id)
	}
	return nil
}

// clientEvents has what is special about an event, by its type. Each sends it to the provider, or
// returns why not.
var clientEvents = map[string]func(*session, context.Context, *event) error{
	"input_audio_buffer.append": (*session).appended,
	"input_audio_buffer.commit": (*session).committed,
	"input_audio_buffer.clear":  (*session).send,
	"response.create":           (*session).created,
	"response.cancel":           (*session).send,
	"session.update":            (*session).updated,
	"transcription_session.update": func(s *session, ctx context.Context, e *event) error {
		if !s.cfg.Listens {
			return invalid("type", "unsupported_event", "The model does not only transcribe: configure its session with session.update.")
		}
		return s.updated(ctx, e)
	},
	"conversation.item.create":   (*session).added,
	"conversation.item.delete":   (*session).send,
	"conversation.item.truncate": (*session).send,
	"conversation.item.retrieve": (*session).send,
	"output_audio_buffer.clear":  (*session).send,
}

// send hands an event on.
func (s *session) send(ctx context.Context, e *event) error {
	if err := s.cfg.Provider.Write(ctx, e.raw); err != nil {
		return &left{err: err}
	}
	return nil
}

// other is an event of a kind that is not known here: guardrails see it.
func (s *session) other(ctx context.Context, e *event) error {
	if err := s.judge(ctx, e); err != nil {
		return err
	}
	return s.send(ctx, e)
}

// judge refuses an event that names an MCP server, to which the provider would connect by itself,
// shows it to the guardrails, and reads again what they leave of it.
func (s *session) judge(ctx context.Context, e *event) error {
	if agent.Named(e.raw) {
		return invalid("tools", "mcp_not_served", "Sessions have no tools of MCP servers. Declare functions, and call the servers at /mcp.")
	}
	if !s.cfg.Gate.Judged() {
		return nil
	}
	raw, err := s.cfg.Gate.Before(ctx, e.raw)
	if err != nil {
		return err
	}
	next, err := readEvent(raw, true)
	if err != nil || next.kind != e.kind {
		return &llm.Error{Kind: llm.Internal, Code: "conclave_guardrail_failed", Message: "A guardrail made an event that is not valid.", Err: err}
	}
	*e = next
	return nil
}

// appended is audio. Where the provider decides by itself when the user has finished, any of it
// may be what a response follows.
func (s *session) appended(ctx context.Context, e *event) error {
	s.mu.Lock()
	s.meter.audio += int64(e.audio)
	automatic := s.automatic
	s.mu.Unlock()
	if automatic {
		if _, _, err := s.spend(ctx, 0, false); err != nil {
			return err
		}
	}
	if err := s.hear(ctx); err != nil {
		return err
	}
	return s.send(ctx, e)
}

// committed ends an input, which is then transcribed.
func (s *session) committed(ctx context.Context, e *event) error {
	if err := s.hear(ctx); err != nil {
		return err
	}
	return s.send(ctx, e)
}

// added is an item of the conversation.
func (s *session) added(ctx context.Context, e *event) error {
	if err := s.judge(ctx, e); err != nil {
		return err
	}
	s.mu.Lock()
	s.meter.item(e.item)
	s.mu.Unlock()
	return s.send(ctx, e)
}

// updated changes the session. It may not change the model, under whose name it is limited and
// paid.
func (s *session) updated(ctx context.Context, e *event) error {
	if err := s.judge(ctx, e); err != nil {
		return err
	}
	if kind := text(e.session, "type"); kind != "" && kind != s.kind() {
		return invalid("session.type", "unsupported_value", "Sessions of the type "+strconv.Quote(kind)+" are not served.")
	}
	if has(e.session, "model") {
		if m := text(e.session, "model"); m != s.cfg.Model && m != s.cfg.Upstream {
			return invalid("session.model", "model_mismatch", "A session cannot change its model. Open another one.")
		}
		e.session = put(e.session, "model", quoted(s.cfg.Upstream))
		e.raw = put(e.raw, "session", e.session)
	}
	s.mu.Lock()
	s.meter.setup = int64(len(e.session)) / textBytes
	s.configuredLocked(e.session) // the provider may act on it before it says so
	s.mu.Unlock()
	return s.send(ctx, e)
}

// kind is the type of the session.
func (s *session) kind() string {
	if s.cfg.Listens {
		return "transcription"
	}
	return "realtime"
}

// created asks for a response.
func (s *session) created(ctx context.Context, e *event) error {
	if s.cfg.Listens {
		return invalid("type", "unsupported_event", "The model only transcribes, and makes no responses.")
	}
	if err := s.judge(ctx, e); err != nil {
		return err
	}
	c := llm.NewCursor(member(e.response, "max_output_tokens"))
	most, _ := c.Int()
	if has(e.response, "input") {
		s.mu.Lock()
		s.meter.item(member(e.response, "input"))
		s.mu.Unlock()
	}
	u, ask, err := s.spend(ctx, most, true)
	if err != nil {
		return err
	}
	if limit := u.Clamp(); limit > 0 && (most == 0 || most > limit) {
		e.raw = putIn(e.raw, "response", "max_output_tokens", strconv.AppendInt(nil, limit, 10))
	}
	p := sent{use: u, ask: ask, id: e.id}
	if p.id == "" { // by which a refusal of the provider's is known
		p.id, p.ours = newID("event_"), true
		e.raw = put(e.raw, "event_id", quoted(p.id))
	}
	s.mu.Lock()
	s.sent = append(s.sent, p)
	s.mu.Unlock()
	return s.send(ctx, e)
}

// refuse tells the client why its event goes nowhere. Its own error ends the session: at once where
// the way out is broken, and else when the responses that are open have ended.
func (s *session) refuse(ctx context.Context, err error, of string) error {
	if over, ok := err.(*left); ok { //nolint:errorlint // it was made a moment ago
		return over
	}
	e := asError(err)
	if fatal(e) {
		return s.closeWith(ctx, e, of)
	}
	return s.tell(ctx, e, of)
}
