package dedupe

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/resource"
)

func TestOutcome(t *testing.T) {
	t.Parallel()
	b := Outcome{Generation: 1, Version: 2, Err: resource.ErrDead}.encode()
	got, err := parse(frame.Value{Version: 3, Payload: b})
	if same := (Outcome{Generation: 1, Version: 2, Err: fmt.Errorf("in other words: %w", resource.ErrDead)}).encode(); !bytes.Equal(b, same) {
		t.Errorf("the words of a refusal are in the state: %q, %q", b, same)
	}
	if err != nil || got.Index != 3 || got.Generation != 1 || got.Version != 2 || !errors.Is(got.Err, resource.ErrDead) {
		t.Errorf("got %+v (%v)", got, err)
	}
	if _, err := parse(frame.Value{Payload: b[:15]}); !errors.Is(err, frame.ErrDamaged) {
		t.Errorf("its beginning alone: got %v, want %v", err, frame.ErrDamaged)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	var r Refusals
	id := func(i int) [16]byte { return [16]byte{byte(i), byte(i >> 8), 1} }
	if got := r.Said(id(0), resource.ErrDead); !errors.Is(got, resource.ErrDead) {
		t.Errorf("nothing was added: got %v", got)
	}
	for i := range maxRefusals + 2 {
		r.Add(id(i), fmt.Errorf("refusal %d", i))
	}
	for i, want := range map[int]string{0: "", 1: "", 2: "refusal 2", maxRefusals + 1: fmt.Sprintf("refusal %d", maxRefusals+1)} {
		if got := r.Said(id(i), nil); want == "" && got != nil || want != "" && (got == nil || got.Error() != want) {
			t.Errorf("refusal %d: got %v, want %q", i, got, want)
		}
	}
	if len(r.said) != maxRefusals {
		t.Errorf("%d are kept, want %d", len(r.said), maxRefusals)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Outcome{Err: resource.ErrDead}.encode())
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = parse(frame.Value{Payload: b}) // only that it does not panic
	})
}
