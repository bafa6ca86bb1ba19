package realtime

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/guardrail"
)

// maxHeld bounds the audio of a response that is held back until its transcript has passed.
const maxHeld = 16 << 20

// response is one that the provider has begun and not ended. The provider's pump alone uses it, but
// for the map that it is in.
type response struct {
	id    string
	use   Use
	ask   Ask
	began time.Time
	first time.Duration // to the first delta; 0: none came
	text  int64         // bytes of text that came
	audio int64         // characters of base64 that came

	check   *guardrail.StreamCheck // nil: nobody checks it
	held    map[string][]byte      // events that guardrails do not read, by what stands for them
	heldAt  int                    // how many there were
	size    int                    // bytes of held
	blocked *llm.Error             // nil: it may be heard
	items   map[string]bool        // of the conversation, that it has made
	settled bool
}

// open begins a response.
func (s *session) openResponse(ctx context.Context, id string) (*response, error) {
	u, ask, refused := s.begun(ctx)
	if u == nil {
		return nil, refused
	}
	u.Begin()
	r := &response{id: id, use: u, ask: ask, began: s.cfg.Now(), held: map[string][]byte{}, items: map[string]bool{}}
	s.mu.Lock()
	s.open[id] = r
	s.mu.Unlock()
	if refused != nil {
		return r, refused
	}
	var err error
	r.check, err = u.Stream(ctx)
	return r, err
}

// count takes in what an event adds to what came.
func (r *response) count(e *event, now time.Time) {
	if e.delta == 0 {
		return
	}
	if r.first == 0 {
		r.first = max(now.Sub(r.began), 1)
	}
	if isAudio(e.kind) {
		r.audio += int64(e.delta)
	} else {
		r.text += int64(e.delta)
	}
}

// isAudio says whether an event's delta is sound.
func isAudio(kind string) bool {
	return kind == "response.audio.delta" || kind == "response.output_audio.delta"
}

// feed gives an event to the guardrails and returns the events that may leave now.
func (r *response) feed(ctx context.Context, e *event) ([][]byte, error) {
	if r.check == nil {
		return [][]byte{e.raw}, nil
	}
	shown := e.raw
	if isAudio(e.kind) { // there is no text in it, but it says what the text around it says
		r.heldAt++
		r.size += len(e.raw)
		shown = []byte("#" + strconv.Itoa(r.heldAt))
		r.held[string(shown)] = e.raw
	}
	if r.size > maxHeld {
		return nil, &llm.Error{Kind: llm.Blocked, Code: "guardrail_blocked", Message: "The response is longer than can be held back for the guardrails.", NoRetry: true}
	}
	out, err := r.check.Feed(ctx, shown)
	return r.restore(out), err
}

// end says that the response is over and returns what was held back.
func (r *response) end(ctx context.Context) ([][]byte, error) {
	if r.check == nil {
		return nil, nil
	}
	out, err := r.check.End(ctx)
	return r.restore(out), err
}

// restore puts the events back for which something else stood.
func (r *response) restore(events [][]byte) [][]byte {
	for i, ev := range events {
		if raw, ok := r.held[string(ev)]; ok {
			events[i] = raw
			r.size -= len(raw)
			delete(r.held, string(ev))
		}
	}
	return events
}

// settle ends the response's use, once.
func (r *response) settle(u llm.Usage, why error) {
	if r.settled {
		return
	}
	r.settled = true
	r.use.Settle(Result{Usage: u, FirstToken: r.first, Verdicts: r.check.Results(), Err: why})
	r.check.Close()
}

// block ends what the client may hear of a response.
func (s *session) block(ctx context.Context, r *response, e *llm.Error) error {
	for _, res := range r.check.Results() {
		if res.Status != guardrail.StatusPassed {
			e.Scope = res.Guardrail
		}
	}
	r.blocked = e
	clear(r.held)
	if err := s.tell(ctx, e, ""); err != nil {
		return err
	}
	return s.cancel(ctx, r.id)
}

// cancel tells the provider to stop a response.
func (s *session) cancel(ctx context.Context, id string) error {
	err := s.cfg.Provider.Write(ctx, append(append([]byte(`{"type":"response.cancel","response_id":`), quoted(id)...), '}'))
	if err != nil {
		return &left{err: err}
	}
	return nil
}

// cutDone is the last event of a response that was blocked: it says how it ended and nothing of
// what it said.
func cutDone(e *event) []byte {
	r := put(e.response, "output", []byte("[]"))
	r = put(r, "status", quoted("incomplete"))
	r = put(r, "status_details", []byte(`{"type":"incomplete","reason":"content_filter"}`))
	return put(e.raw, "response", r)
}

// failed is why a response has ended that did not succeed, nil if it did or was cancelled by who
// asked for it.
func failed(e *event) *llm.Error {
	if text(e.response, "status") != "failed" {
		return nil
	}
	why := &llm.Error{
		Kind: llm.Upstream, Code: text(e.response, "status_details", "error", "code"),
		Message: "The provider failed to make the response.",
	}
	if strings.Contains(why.Code, "rate_limit") {
		why.Kind = llm.RateLimited
	}
	return why
}
