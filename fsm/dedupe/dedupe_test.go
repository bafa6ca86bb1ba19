package dedupe

import (
	"errors"
	"testing"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/resource"
)

func TestOutcome(t *testing.T) {
	t.Parallel()
	b := Outcome{Generation: 1, Version: 2, Err: resource.ErrDead}.encode()
	got, err := parse(frame.Value{Version: 3, Payload: b})
	if err != nil || got.Index != 3 || got.Generation != 1 || got.Version != 2 || !errors.Is(got.Err, resource.ErrDead) {
		t.Errorf("got %+v (%v)", got, err)
	}
	if _, err := parse(frame.Value{Payload: b[:15]}); !errors.Is(err, frame.ErrDamaged) {
		t.Errorf("its beginning alone: got %v, want %v", err, frame.ErrDamaged)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Outcome{Err: resource.ErrDead}.encode())
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = parse(frame.Value{Payload: b}) // only that it does not panic
	})
}
