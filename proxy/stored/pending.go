package stored

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// A response in the background has two records. The one that says that it is being made has an id of
// its own; the one that says how it ended has the response's, and is written once: whoever is first,
// the node that makes it, a client that cancels it, or a node that sees that it is lost.

const (
	// pendingSuffix ends the id of the first record. An id that a client is given has no such end.
	pendingSuffix = "p"
	// longestRun is how long a response may be in the making.
	longestRun = 2 * time.Hour
	// endTimeout bounds the writing of how a response ended.
	endTimeout = 10 * time.Second
)

// Maker is the process that makes a response.
type Maker struct {
	Node  string `json:"node"`
	Epoch uint64 `json:"epoch"` // of the process
}

// making is what is known of a response that is being made.
type making struct {
	Maker
	Until resource.Time `json:"until"`
}

// Background says whether the request asks for a response that nobody waits for.
func (x *Exchange) Background() bool { return x.asked.background }

// ID is the gateway's id of the answer, "" if it is not stored.
func (x *Exchange) ID() string { return x.id }

// Detached is the request as it is made in the background: without the field that says so.
func Detached(body []byte) []byte { return without(body, memberBackground) }

// Begin tells the cluster that the exchange's response is being made, and returns the response as
// it is now. It returns an *llm.Error if it cannot be told.
func (x *Exchange) Begin(ctx context.Context, request []byte, owners resource.Owners, by Maker) ([]byte, error) {
	now := x.k.now()
	x.background, x.owners = true, owners
	t := turn{ID: x.id, Previous: x.asked.previous, Model: x.model, Background: true, Making: &making{by, resource.At(now.Add(longestRun))}}
	if t.Input = items(inputOf(request)); len(t.Input) >= x.before {
		t.Input = t.Input[x.before:]
	}
	t.Response = x.blank(request, now)
	body, err := t.encode()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	err = x.k.store.Put(ctx, resource.Response{
		ID: x.id + pendingSuffix, Owners: owners, CreatedAt: resource.At(now), ExpiresAt: resource.At(now.Add(x.expires)),
	}, body)
	if err != nil {
		return nil, &llm.Error{
			Kind: llm.Unavailable, Code: "store_unavailable", Param: memberBackground, RetryAfter: time.Second,
			Message: "The response cannot be stored now, without which it cannot be made in the background.", Err: err,
		}
	}
	return with(t.Response, []llm.Member{{Name: "status", Value: []byte(`"queued"`)}}), nil
}

// echoed are the members of a request that a response has too, and what stands there for those that
// are left out.
var echoed = []llm.Member{
	{Name: "instructions", Value: []byte("null")},
	{Name: "max_output_tokens", Value: []byte("null")},
	{Name: "metadata", Value: []byte("{}")},
	{Name: "parallel_tool_calls", Value: []byte("true")},
	{Name: "reasoning", Value: []byte(`{"effort":null,"summary":null}`)},
	{Name: "temperature", Value: []byte("null")},
	{Name: "text", Value: []byte(`{"format":{"type":"text"}}`)},
	{Name: "tool_choice", Value: []byte(`"auto"`)},
	{Name: "tools", Value: []byte("[]")},
	{Name: "top_p", Value: []byte("null")},
}

// blank is a response of which nothing is known but its request.
func (x *Exchange) blank(request []byte, now time.Time) []byte {
	b := llm.AppendString([]byte(`{"id":`), x.id)
	b = strconv.AppendInt(append(b, `,"object":"response","created_at":`...), now.Unix(), 10)
	b = append(b, `,"status":"in_progress","background":true,"error":null,"incomplete_details":null,"model":`...)
	b = append(llm.AppendString(b, x.model), `,"output":[],"previous_response_id":`...)
	if x.asked.previous == "" {
		b = append(b, "null"...)
	} else {
		b = llm.AppendString(b, x.asked.previous)
	}
	b = append(b, `,"store":true,"usage":null}`...)
	set := make([]llm.Member, len(echoed))
	copy(set, echoed)
	c := llm.NewCursor(request)
	for n := 0; c.Member(n); n++ {
		name, v := string(c.Name()), c.Raw()
		for i := range set {
			if set[i].Name == name {
				set[i].Value = v
			}
		}
	}
	return with(b, set)
}

// Fail says that the exchange's response failed, unless it has ended otherwise, and forgets that it
// is being made.
func (x *Exchange) Fail(ctx context.Context, e *llm.Error) {
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	err := error(nil)
	if !x.k.store.Known(x.id) {
		err = x.k.end(ctx, x.id, "failed", e)
	}
	if err == nil {
		err = x.k.store.Delete(ctx, x.id+pendingSuffix)
	}
	if err != nil && !errors.Is(err, resource.ErrNotFound) {
		x.k.log.Warn("how a background response ended is not stored", "response", x.id, "error", err)
	}
}

// Ended says whether this node knows how a response ended.
func (k *Keeper) Ended(id string) bool { return k.store.Known(id) }

// end writes how a response ended that is being made, unless it has ended.
func (k *Keeper) end(ctx context.Context, id, status string, why *llm.Error) error {
	rec, body, err := k.store.Get(ctx, id+pendingSuffix)
	if err != nil {
		return err
	}
	t, err := decodeTurn(body)
	if err != nil {
		return err
	}
	set := []llm.Member{{Name: "status", Value: llm.AppendString(nil, status)}}
	if why != nil {
		b := llm.AppendString([]byte(`{"code":`), why.Code)
		b = append(llm.AppendString(append(b, `,"message":`...), why.Message), '}')
		set = append(set, llm.Member{Name: "error", Value: b})
	}
	t.Response, t.Making = with(t.Response, set), nil
	if body, err = t.encode(); err != nil {
		return err
	}
	err = k.store.Put(ctx, resource.Response{ID: id, Owners: rec.Owners, CreatedAt: rec.CreatedAt, ExpiresAt: rec.ExpiresAt}, body)
	if errors.Is(err, resource.ErrExists) {
		return nil
	}
	return err
}

// findAny returns a turn, or what is known of one that is being made. One that is being made by
// nobody any more has failed from here on.
func (k *Keeper) findAny(ctx context.Context, who *resource.Principal, id string) (*turn, error) {
	t, err := k.find(ctx, who, id)
	if !errors.Is(err, resource.ErrNotFound) || !resource.ValidResponseID(id) || len(id) >= resource.MaxResponseID {
		return t, err
	}
	t, err = k.find(ctx, who, id+pendingSuffix)
	if err != nil || t.Making == nil {
		return t, err
	}
	if k.lost == nil || !k.lost(t.Making.Maker) && resource.At(k.now()) < t.Making.Until {
		return t, nil
	}
	why := &llm.Error{
		Code: "response_lost", Message: "The node that made the response has stopped before it had ended. What it had used is charged; ask again.",
	}
	if err := k.end(ctx, id, "failed", why); err != nil {
		return nil, fmt.Errorf("end lost response %s: %w", id, err)
	}
	return k.find(ctx, who, id)
}

// Watch tells the keeper how to find out that the process that makes a response is no more.
func (k *Keeper) Watch(lost func(Maker) bool) { k.lost = lost }

// Cancel ends a response that is being made, and returns it. A response that has ended is returned
// as it is, unless it never was in the background.
func (k *Keeper) Cancel(ctx context.Context, who *resource.Principal, id string) ([]byte, error) {
	t, err := k.findAny(ctx, who, id)
	if err != nil {
		return nil, notFound(err, id)
	}
	if !t.Background {
		return nil, &llm.Error{Kind: llm.Invalid, Code: "not_cancellable", Message: "Cannot cancel a synchronous response."}
	}
	if t.Making == nil {
		return t.Response, nil
	}
	if err := k.end(ctx, id, "cancelled", nil); err != nil {
		return nil, &llm.Error{
			Kind: llm.Unavailable, Code: "store_unavailable", RetryAfter: time.Second, Message: "The response cannot be cancelled now.", Err: err,
		}
	}
	if t, err = k.find(ctx, who, id); err != nil {
		return nil, notFound(err, id)
	}
	return bytes.Clone(t.Response), nil
}
