package fsm_test

import (
	"fmt"
	"testing"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// TestExpect applies the same entries where they were read before and where they are decoded: the answers and the
// states are the same.
func TestExpect(t *testing.T) {
	t.Parallel()
	decodes, expects := start(t), start(t)
	apply := func(cmd fsm.Command) {
		t.Helper()
		want := decodes.try(master, cmd)
		l := expects.entry(master, cmd)
		e, err := fsm.Read(l.Data)
		if err != nil {
			t.Fatal(err)
		}
		forget := expects.f.Expect(e)
		got := expects.apply(l)
		forget()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%T: got %+v, want %+v", cmd, got, want)
		}
		_, was := decodes.f.Hash()
		if _, is := expects.f.Hash(); is != was {
			t.Fatalf("%T leaves another state", cmd)
		}
	}
	apply(fsm.PutModel{Model: encoded(t, resource.Model{Meta: meta("m1"), Name: "gpt"})})
	apply(fsm.PutDeployment{Deployment: encoded(t, resource.Deployment{Meta: meta("d1"), ModelID: "m1", Provider: "openai"})})
	for i := range 50 {
		apply(decodes.putKey(resource.Key{Meta: meta(fmt.Sprintf("k%d", i)), Name: fmt.Sprintf("name %d", i)}, 0))
	}
	for _, cmd := range samples(t) {
		apply(cmd)
	}
	if n := expects.f.Expecting(); n != 0 {
		t.Errorf("%d entries are still expected", n)
	}
}

// TestExpect_Forgotten leaves nothing of an entry that never came, and decodes bytes that are the same and lie elsewhere.
func TestExpect_Forgotten(t *testing.T) {
	t.Parallel()
	h := start(t)
	l := h.entry(master, h.putKey(resource.Key{Meta: meta("k1")}, 0))
	e, err := fsm.Read(l.Data)
	if err != nil {
		t.Fatal(err)
	}
	forget := h.f.Expect(e)
	other := *l
	other.Data = append([]byte(nil), l.Data...)
	if a := h.apply(&other); a.Err != nil || h.f.Expecting() != 1 {
		t.Errorf("other bytes: %v, %d are expected", a.Err, h.f.Expecting())
	}
	forget()
	if n := h.f.Expecting(); n != 0 {
		t.Errorf("%d entries are expected after all", n)
	}
	if _, err := fsm.Read(l.Data[:len(l.Data)-1]); err == nil {
		t.Error("a cut entry was read")
	}
}
