package fsm_test

import (
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// TestRefusals_SameEverywhere has a person ask for more than one thing that is not his to give: every node says the same,
// and has the same state after it. What is in a map has no order in Go.
func TestRefusals_SameEverywhere(t *testing.T) {
	t.Parallel()
	said, hash := "", [16]byte{}
	for range 16 {
		h := start(t)
		h.do(h.user(resource.User{Meta: meta("u1"), Role: resource.UserInternal}))
		own := h.do(h.putKey(resource.Key{Meta: meta("own"), UserID: "u1"}, 0))
		wanted := resource.Key{Meta: meta("more"), UserID: "u1"}
		wanted.Permissions = map[string]bool{"get_spend_routes": true, "allow_pii_controls": true, "allow_model": true, "x": true, "y": true}
		a := h.try(fsm.Actor{Kind: "key", ID: "own", Version: own.Version}, h.putKey(wanted, 0))
		if a.Err == nil || !strings.Contains(a.Err.Error(), "permissions.") {
			t.Fatalf("got %v, want a refusal of a permission", a.Err)
		}
		_, now := h.f.Hash()
		if said == "" {
			said, hash = a.Err.Error(), now
		} else if a.Err.Error() != said || now != hash {
			t.Fatalf("one node said %q, another %q; the states are the same: %v", said, a.Err, now == hash)
		}
	}
}

// TestRefusals_Again proposes a refused command again, as whoever hears no answer does: it is refused with the same
// words, and after a restart with the same code.
func TestRefusals_Again(t *testing.T) {
	t.Parallel()
	h := start(t)
	l := h.entry(master, fsm.BlockKey{ID: "gone"})
	first := h.apply(l)
	again := func() fsm.Applied {
		h.index++
		second := *l
		second.Index = h.index
		return h.apply(&second)
	}
	if a := again(); a.Err == nil || a.Err.Error() != first.Err.Error() || resource.Code(a.Err) != "not_found" {
		t.Errorf("again: got %v, want %v", a.Err, first.Err)
	}
	if err := h.f.Close(); err != nil {
		t.Fatal(err)
	}
	h.open()
	if a := again(); a.Err == nil || resource.Code(a.Err) != "not_found" || !strings.Contains(a.Err.Error(), "refused at its first try") {
		t.Errorf("after a restart: got %v, want the code of %v", a.Err, first.Err)
	}
}
