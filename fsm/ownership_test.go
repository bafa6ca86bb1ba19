package fsm_test

import (
	"testing"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// batch makes one command of several.
func (h *harness) batch(cmds ...fsm.Command) fsm.Batch {
	h.t.Helper()
	var b fsm.Batch
	for _, cmd := range cmds {
		it, err := fsm.ItemOf(cmd)
		if err != nil {
			h.t.Fatal(err)
		}
		b.Items = append(b.Items, it)
	}
	return b
}

func TestFSM_Ownership(t *testing.T) {
	t.Parallel()
	h := start(t)
	file := resource.Meta{ID: "k1", Owner: resource.OwnerFile}
	// An admin acts as the file for one entry, and for no other.
	r := h.do(h.batch(fsm.ActAsFile{}, h.putKey(resource.Key{Meta: file}, 0)))
	h.refused(master, h.putKey(resource.Key{Meta: file}, r.Version), resource.ErrOwner)
	h.refused(master, h.batch(fsm.ActAsFile{}, h.putKey(resource.Key{Meta: meta("k2")}, 0)), resource.ErrOwner)

	// Ownership moves by a put that the entry says it of, both ways, and only that record's.
	api := resource.Key{Meta: meta("k1")}
	k, _ := h.f.Key("k1")
	h.refused(master, h.batch(fsm.TakeOver{Kind: "key", ID: "k2"}, h.putKey(api, k.Version)), resource.ErrOwner)
	h.refused(master, h.batch(fsm.TakeOver{Kind: "team", ID: "k1"}, h.putKey(api, k.Version)), resource.ErrOwner)
	h.do(h.batch(fsm.TakeOver{Kind: "key", ID: "k1"}, h.putKey(api, k.Version)))
	k, _ = h.f.Key("k1")
	if k.Owner != resource.OwnerAPI {
		t.Errorf("got owner %q, want the API", k.Owner)
	}
	h.do(h.putKey(api, k.Version))
	k, _ = h.f.Key("k1")
	h.refused(master, h.batch(fsm.ActAsFile{}, h.putKey(resource.Key{Meta: file}, k.Version)), resource.ErrOwner)
	h.do(h.batch(fsm.ActAsFile{}, fsm.TakeOver{Kind: "key", ID: "k1"}, h.putKey(resource.Key{Meta: file}, k.Version)))
	if k, _ = h.f.Key("k1"); k.Owner != resource.OwnerFile {
		t.Errorf("got owner %q, want the file", k.Owner)
	}
	h.invalid(h.batch(fsm.TakeOver{Kind: "key"}, fsm.BlockKey{ID: "k1"}), "id")
}
