package stored

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// Terms say what may be stored of a request.
type Terms struct {
	Days    int64 // that a turn is kept; 0: none is
	Default bool  // a request that does not say "store" is stored
	Private bool  // somebody in charge wants no content kept: only what the request asks for itself
}

// Exchange is one request for a response, and its answer. It is not safe for concurrent use.
type Exchange struct {
	k      *Keeper
	asked  asked
	who    *resource.Principal
	model  string
	came   []byte // from the client
	sent   []byte // with the items in the place of references to them
	whole  []byte // and with what came before
	before int    // items of what came before
	last   *kept  // the turn before, at the provider
	memory *Memory

	background bool // nobody waits for the answer
	owners     resource.Owners

	id      string        // of the answer; "": it is not stored
	expires time.Duration // from the answer on
	account string        // that was asked last
	refused bool          // the provider does not know the turn before any more
	answer  struct {
		id   string // at the provider
		kept bool
	}
}

// Open reads a request and puts what came before its input in front of it. A turn that is not
// there, or not the principal's, is OpenAI's error for it. Where nothing is ever stored, the id
// is left for the provider.
func (k *Keeper) Open(ctx context.Context, who *resource.Principal, body []byte, model string, terms Terms) (*Exchange, error) {
	return k.OpenIn(ctx, nil, who, body, model, terms)
}

// OpenIn is Open for a request of a connection that remembers its turns; nil: it does not.
func (k *Keeper) OpenIn(ctx context.Context, memory *Memory, who *resource.Principal, body []byte, model string, terms Terms) (*Exchange, error) {
	a, err := readAsked(body)
	if err != nil {
		return nil, err
	}
	x := &Exchange{k: k, asked: a, who: who, model: model, came: body, sent: body, whole: body, memory: memory}
	if terms.Days > 0 || memory != nil {
		f := finder{k: k, memory: memory, who: who, model: model}
		if x.sent, err = f.referred(ctx, body, a.input); err != nil {
			return nil, err
		}
		x.whole = x.sent
	}
	if a.previous == "" || terms.Days == 0 && memory.find(a.previous) == nil {
		return x, nil
	}
	turns, err := k.chain(ctx, memory, who, a.previous)
	if err != nil {
		return nil, err
	}
	before := history(turns, model)
	x.before, x.last = len(before), turns[len(turns)-1].Kept
	x.whole = expand(x.sent, before, inputOf(x.sent))
	return x, nil
}

// Expanded says that Body is not what the client sent.
func (x *Exchange) Expanded() bool { return len(x.whole) > 0 && &x.whole[0] != &x.came[0] }

// Body is the whole request.
func (x *Exchange) Body() []byte { return x.whole }

// Decide decides whether the answer is stored. It returns an *llm.Error of kind Unavailable if
// the request asks for that and it cannot be done now.
func (x *Exchange) Decide(t Terms) error {
	store := t.Default && !t.Private
	if x.asked.store != nil {
		store = *x.asked.store
	}
	x.id = ""
	if !store || t.Days == 0 {
		return nil
	}
	if err := x.k.store.Able(); err != nil {
		if x.asked.store == nil {
			return nil
		}
		return &llm.Error{
			Kind: llm.Unavailable, Code: "store_unavailable", Param: memberStore, RetryAfter: time.Second,
			Message: "The response cannot be stored now. Try again, or send \"store\": false.", Err: err,
		}
	}
	x.id, x.expires = newID(), time.Duration(t.Days)*24*time.Hour
	return nil
}

// Stored says whether the answer is to be stored.
func (x *Exchange) Stored() bool { return x.id != "" }

// Native is the request for a provider that has kept the turn before itself. body is what would
// be sent otherwise: if it is not what Body gave, a guardrail has changed it, and the provider must
// not be asked about what it had kept before. account names who is asked.
func (x *Exchange) Native(account string, body []byte) ([]byte, bool) {
	x.account = account
	if x.last == nil || x.refused || x.last.Account != account || len(body) == 0 || &body[0] != &x.whole[0] {
		return nil, false
	}
	return with(x.sent, []llm.Member{{Name: memberPrevious, Value: llm.AppendString(nil, x.last.ID)}}), true
}

// Stateless says that the next answer is of a provider that keeps nothing.
func (x *Exchange) Stateless() { x.account = "" }

// Forgotten says that a provider did not know what it had kept, and that it is worth asking it
// with the whole conversation.
func (x *Exchange) Forgotten(err error) bool {
	var e *llm.Error
	if x == nil || x.last == nil || x.refused || x.last.Account != x.account || !errors.As(err, &e) {
		return false
	}
	gone := e.Status == http.StatusBadRequest || e.Status == http.StatusNotFound
	x.refused = gone && (e.Code == "previous_response_not_found" || e.Param == memberPrevious)
	return x.refused
}

// Whole gives a whole answer the gateway's id.
func (x *Exchange) Whole(answer []byte) []byte {
	if !x.names() || len(answer) == 0 || answer[0] != '{' {
		return answer
	}
	return x.named(answer)
}

// named gives a response the gateway's id and that of the turn before.
func (x *Exchange) named(response []byte) []byte {
	x.answer.id, x.answer.kept = "", false
	c := llm.NewCursor(response)
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "id":
			x.answer.id = c.Text()
		case memberStore:
			x.answer.kept, _ = c.Bool()
		default:
			c.Raw()
		}
	}
	previous := []byte("null")
	if x.asked.previous != "" {
		previous = llm.AppendString(nil, x.asked.previous)
	}
	set := []llm.Member{{Name: memberPrevious, Value: previous}}
	if x.id != "" {
		set = append(set, llm.Member{Name: "id", Value: llm.AppendString(nil, x.id)}, llm.Member{Name: memberStore, Value: []byte("true")})
		if x.background {
			set = append(set, llm.Member{Name: memberBackground, Value: []byte("true")})
		}
	}
	return with(response, set)
}

// names says whether the answer has ids of the gateway's.
func (x *Exchange) names() bool { return x.id != "" || x.Expanded() }

// event is a server-sent event that may hold a response.
type event struct {
	start, end int    // of the data
	response   []byte // nil: it holds none
}

// readEvent reads a server-sent event of one line of data.
func readEvent(raw []byte) (e event) {
	if !bytes.HasPrefix(raw, []byte("data:")) {
		i := bytes.Index(raw, []byte("\ndata:"))
		if i < 0 {
			return e
		}
		e.start = i + 1
	}
	e.start += len("data:")
	e.end = len(raw)
	if i := bytes.IndexAny(raw[e.start:], "\r\n"); i >= 0 {
		e.end = e.start + i
	}
	data := raw[e.start:e.end]
	if !bytes.Contains(data, []byte(`"response"`)) {
		return e
	}
	c := llm.NewCursor(data)
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "response":
			e.response = c.Raw()
		default:
			c.Raw()
		}
	}
	if c.Err() != nil || len(e.response) == 0 || e.response[0] != '{' {
		e.response = nil
	}
	return e
}

// put is the event with another response.
func (e *event) put(raw, response []byte) []byte {
	data := with(raw[e.start:e.end], []llm.Member{{Name: "response", Value: response}})
	out := append(make([]byte, 0, len(raw)+len(data)), raw[:e.start]...)
	out = append(append(out, ' '), data...)
	return append(out, raw[e.end:]...)
}

// Source is a stream of the client's events.
type Source interface {
	Next() (llm.Event, error)
	Done() bool
	Usage() (u llm.Usage, ok bool)
	TextBytes() int64
	Close()
}

// Stream gives the responses in a stream the gateway's id.
func (x *Exchange) Stream(src Source) Source {
	if !x.names() {
		return src
	}
	return &stream{Source: src, x: x}
}

type stream struct {
	Source
	x *Exchange
}

// Next implements Source.
func (s *stream) Next() (llm.Event, error) {
	ev, err := s.Source.Next()
	if err != nil {
		return ev, err
	}
	if e := readEvent(ev.Raw); e.response != nil {
		ev.Raw = e.put(ev.Raw, s.x.named(e.response))
	}
	return ev, nil
}

// Keep stores the turn, of which answer is what the client is about to get and request what was
// decided upon, and returns the answer. If that fails, the answer says that it is not stored.
func (x *Exchange) Keep(ctx context.Context, request, answer []byte, owners resource.Owners) []byte {
	x.remember(request, answer)
	if x.id == "" || len(answer) == 0 || answer[0] != '{' {
		return answer
	}
	if err := x.keep(ctx, request, answer, owners); err != nil {
		x.k.log.Warn("response is not stored", "response", x.id, "error", err)
		return with(answer, []llm.Member{{Name: memberStore, Value: []byte("false")}})
	}
	return answer
}

// KeepEvent is Keep for the event that ends a stream.
func (x *Exchange) KeepEvent(ctx context.Context, request, raw []byte, owners resource.Owners) []byte {
	if x.id == "" && x.memory == nil {
		return raw
	}
	e := readEvent(raw)
	if e.response == nil {
		return raw
	}
	kept := x.Keep(ctx, request, e.response, owners)
	if bytes.Equal(kept, e.response) {
		return raw
	}
	return e.put(raw, kept)
}

func (x *Exchange) keep(ctx context.Context, request, answer []byte, owners resource.Owners) error {
	t := turn{ID: x.id, Previous: x.asked.previous, Model: x.model, Response: answer, Background: x.background}
	t.Input = items(inputOf(request))
	if len(t.Input) >= x.before {
		t.Input = t.Input[x.before:]
	} else {
		t.Previous = "" // a guardrail has left less than there was: it stands for itself
	}
	if x.answer.kept && x.account != "" && x.answer.id != "" {
		t.Kept = &kept{Account: x.account, ID: x.answer.id}
	}
	body, err := t.encode()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	now := x.k.now()
	return x.k.store.Put(ctx, resource.Response{
		ID: x.id, Owners: owners, CreatedAt: resource.At(now), ExpiresAt: resource.At(now.Add(x.expires)),
	}, body)
}

// Response is a stored response, as OpenAI shows it.
func (k *Keeper) Response(ctx context.Context, who *resource.Principal, id string) (json.RawMessage, error) {
	t, err := k.findAny(ctx, who, id)
	if err != nil {
		return nil, notFound(err, id)
	}
	return t.Response, nil
}

// Delete forgets a stored response for good. One that is being made is cancelled first.
func (k *Keeper) Delete(ctx context.Context, who *resource.Principal, id string) error {
	if !k.store.Known(id) && k.store.Known(id+pendingSuffix) {
		if _, err := k.Cancel(ctx, who, id); err != nil {
			return err
		}
	}
	if _, err := k.find(ctx, who, id); err != nil {
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Unavailable || e.Code != llm.CodeNoBlob {
			return notFound(err, id)
		}
		return err
	}
	return notFound(k.store.Delete(ctx, id), id)
}

// notFound says in OpenAI's words that there is no such response.
func notFound(err error, id string) error {
	if !errors.Is(err, resource.ErrNotFound) {
		return err
	}
	return &llm.Error{Kind: llm.NotFound, Code: "response_not_found", Type: "invalid_request_error", Message: "Response with id '" + shown(id) + "' not found."}
}
