package stored

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

const (
	// maxTurns bounds the turns of a conversation, and maxChain the bytes of all of them.
	maxTurns = 2000
	maxChain = 64 << 20
	// keepTimeout bounds the wait for a turn to be stored, before the last byte of its answer.
	keepTimeout = 10 * time.Second
)

// Store is where turns are kept, sealed, on more than one node.
type Store interface {
	// Able returns why nothing can be stored now; nil: it can.
	Able() error
	// Put stores a turn, and returns when every node can find it.
	Put(ctx context.Context, r resource.Response, body []byte) error
	// Get returns a turn; resource.ErrNotFound for one that is not there or whose time is over,
	// an *llm.Error of kind Unavailable if its body cannot be had now.
	Get(ctx context.Context, id string) (*resource.Response, []byte, error)
	// Known says whether this node knows of a turn, without asking another.
	Known(id string) bool
	// Delete forgets a turn for good.
	Delete(ctx context.Context, id string) error
}

// Keeper stores turns and finds them again. It may be used concurrently.
type Keeper struct {
	store Store
	now   func() time.Time
	log   *slog.Logger
	lost  func(Maker) bool // says that a process is no more; nil: nobody knows
}

// New makes a Keeper. Where now is nil, its time is clock.Now.
func New(store Store, now func() time.Time, log *slog.Logger) *Keeper {
	if now == nil {
		now = clock.Now
	}
	return &Keeper{store: store, now: now, log: log}
}

// turn is what the body of a stored response holds.
type turn struct {
	ID       string            `json:"id"`
	Previous string            `json:"previous,omitempty"`
	Model    string            `json:"model,omitempty"` // that was asked for
	Input    []json.RawMessage `json:"input,omitempty"` // of this turn, after the guardrails
	Response json.RawMessage   `json:"response"`        // as the client got it
	Kept     *kept             `json:"kept,omitempty"`  // nil: the provider does not keep it

	Background bool    `json:"background,omitempty"`
	Making     *making `json:"making,omitempty"` // nil: it has ended

	owners resource.Owners
}

// kept is a turn that the provider keeps too.
type kept struct {
	Account string `json:"account"` // that Native is asked about
	ID      string `json:"id"`      // at the provider
}

func (t *turn) encode() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(t); err != nil {
		return nil, fmt.Errorf("encode turn: %w", err)
	}
	return b.Bytes(), nil
}

// decodeTurn reads what encode wrote.
func decodeTurn(body []byte) (*turn, error) {
	t := new(turn)
	if err := json.Unmarshal(body, t); err != nil {
		return nil, fmt.Errorf("decode turn: %w", err)
	}
	if t.ID == "" || len(t.Response) == 0 || t.Response[0] != '{' {
		return nil, errors.New("decode turn: it is none")
	}
	return t, nil
}

// newID makes an id that tells nothing.
func newID() string {
	var b [24]byte
	_, _ = rand.Read(b[:]) // never fails
	return "resp_" + hex.EncodeToString(b[:])
}

// find returns a turn that the principal may see; resource.ErrNotFound for any other.
func (k *Keeper) find(ctx context.Context, who *resource.Principal, id string) (*turn, error) {
	if !resource.ValidResponseID(id) {
		return nil, resource.ErrNotFound
	}
	rec, body, err := k.store.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if !who.Sees(&rec.Owners) {
		return nil, resource.ErrNotFound
	}
	t, err := decodeTurn(body)
	if err != nil {
		return nil, err
	}
	t.owners = rec.Owners
	return t, nil
}

// chain returns a turn and those before it, the first one first.
func (k *Keeper) chain(ctx context.Context, memory *Memory, who *resource.Principal, id string) ([]*turn, error) {
	var all []*turn
	size := 0
	for at := id; at != ""; {
		t, err := memory.find(at), error(nil)
		if t == nil {
			t, err = k.find(ctx, who, at)
		}
		if errors.Is(err, resource.ErrNotFound) {
			return nil, noPrevious(at)
		}
		if err != nil {
			return nil, err
		}
		size += t.size()
		if len(all) >= maxTurns || size > maxChain {
			return nil, tooLong(memberPrevious)
		}
		all = append(all, t)
		at = t.Previous
	}
	slices.Reverse(all)
	return all, nil
}

// size is how many bytes the turn's items and its answer have.
func (t *turn) size() int {
	size := len(t.Response)
	for _, it := range t.Input {
		size += len(it)
	}
	return size
}

// tooLong refuses a request that goes on from more than is read for one.
func tooLong(param string) error {
	return &llm.Error{
		Kind: llm.Invalid, Code: "conversation_too_long", Param: param,
		Message: fmt.Sprintf("The conversation before this request has more than %d turns or %d MiB. Begin a new one.", maxTurns, maxChain>>20),
	}
}

// noPrevious is OpenAI's error.
func noPrevious(id string) error {
	return &llm.Error{
		Kind: llm.Invalid, Code: "previous_response_not_found", Param: "previous_response_id",
		Message: "Previous response with id '" + shown(id) + "' not found.",
	}
}

// shown is an id that a client sent, as far as it is one.
func shown(id string) string {
	if resource.ValidResponseID(id) {
		return id
	}
	return "…"
}
