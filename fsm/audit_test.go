package fsm_test

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/resource"
)

// verify follows the whole chain of h.
func (h *harness) verify() audit.Verdict {
	h.t.Helper()
	v := &audit.Verifier{}
	x := h.f.AuditExtent()
	x.Anchor = nil // its signature is not of a CA here
	if err := v.Start(audit.NewHeader(x, "c1", nil, 0)); err != nil {
		h.t.Fatal(err)
	}
	v.Gaps = true
	for _, l := range h.f.AuditLinks(1, 1<<20) {
		if err := v.Add(l); err != nil {
			h.t.Fatal(err)
		}
	}
	got, err := v.Finish()
	if err != nil {
		h.t.Fatal(err)
	}
	return got
}

func TestFSM_AuditChain(t *testing.T) {
	t.Parallel()
	h := start(t)
	by := fsm.Actor{Kind: "master", Address: "192.0.2.7", For: "jo\xff"}
	r := h.doAs(by, fsm.PutTeam{Team: encoded(t, resource.Team{Meta: meta("t1"), Name: "a"})})
	h.refused(by, fsm.PutTeam{Team: encoded(t, resource.Team{Meta: meta("t1"), Name: "b"})}, resource.ErrConflict)
	h.doAs(by, fsm.PutTeam{Read: r.Version, Team: encoded(t, resource.Team{Meta: meta("t1"), Name: "b"})})
	h.doAs(by, fsm.BlockTeam{ID: "t1", Blocked: true})
	h.doAs(by, fsm.DeleteTeam{ID: "t1"})
	h.doAs(node("n1"), fsm.NoteEvents{Events: []resource.AuditEvent{{Action: "export", Actor: "key/k1"}, {Action: "sign_in", Outcome: "failed", Count: 7}}})
	h.refused(by, fsm.NoteEvents{Events: []resource.AuditEvent{{Action: "export"}}}, resource.ErrForbidden)
	if a := h.try(node("n1"), fsm.NoteEvents{Events: []resource.AuditEvent{{Action: "x"}, {}}}); a.Err == nil {
		t.Error("an event without an action was taken")
	}
	var got []string
	items, _ := h.f.Audit(fsm.AuditQuery{Oldest: true})
	for _, e := range items {
		got = append(got, strings.Join([]string{e.Action, e.Actor, e.For, e.Address, e.Name, string(e.Before), string(e.After)}, " "))
	}
	want := []string{
		`put_team master jo` + "\uFFFD" + ` 192.0.2.7 a  {"created_at":"2023-11-14T22:13:20Z","id":"t1","name":"a"}`,
		`put_team master jo` + "\uFFFD" + ` 192.0.2.7 b {"name":"a"} {"name":"b"}`,
		`block_team master jo` + "\uFFFD" + ` 192.0.2.7 b {"blocked":false} {"blocked":true}`,
		`delete_team master jo` + "\uFFFD" + ` 192.0.2.7 b {"created_at":"2023-11-14T22:13:20Z","id":"t1","name":"b"} `,
		`export key/k1     `, `sign_in      `,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("entries differ (-want +got):\n%s", d)
	}
	if v := h.verify(); v.Entries != 6 {
		t.Errorf("verified %d entries, want 6", v.Entries)
	}
}

// TestFSM_AuditPrune prunes under load, over the ends of blocks, and takes the chain through
// a snapshot.
func TestFSM_AuditPrune(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.fill(1500)
	prune := func(number uint64) error {
		e, ok := h.f.AuditEntry(number)
		if !ok {
			t.Fatalf("there is no entry %d", number)
		}
		return h.try(node("n1"), fsm.PruneAudit{Anchor: resource.AuditAnchor{Cluster: "c1", Number: number, Hash: e.Hash, Signature: []byte{1}}}).Err
	}
	if err := prune(1001); !errors.Is(err, resource.ErrRefused) {
		t.Errorf("too many: got %v, want %v", err, resource.ErrRefused)
	}
	if err := prune(900); err != nil {
		t.Fatal(err)
	}
	if x := h.f.AuditExtent(); x.First != 901 || x.Last != 1501 {
		t.Errorf("got %d to %d, want 901 to 1501", x.First, x.Last)
	}
	h.do(h.putKey(resource.Key{Meta: meta("k1"), Name: "k"}, 0))
	if v := h.verify(); v.Entries != 602 {
		t.Errorf("verified %d entries, want 602", v.Entries)
	}
	items, _ := h.f.Audit(fsm.AuditQuery{Action: "prune_audit"})
	if len(items) != 1 || items[0].ID != "900" || items[0].Actor != "node/n1" {
		t.Errorf("got %+v, want the entry of the pruning", items)
	}
	_, before := h.f.Hash()
	if err := h.f.Close(); err != nil {
		t.Fatal(err)
	}
	h.open()
	if _, after := h.f.Hash(); after != before || h.verify().Entries != 602 {
		t.Error("the log is another after a restart")
	}
}

// TestEnvelope_Address keeps the first format of entries readable beside the second.
func TestEnvelope_Address(t *testing.T) {
	t.Parallel()
	cmd := fsm.DeleteKey{ID: "k1"}
	env := sampleEnvelope
	plain, err := fsm.Encode(env, cmd)
	if err != nil || plain[1] != 1 {
		t.Fatalf("without an address: got format %d (%v), want 1", plain[1], err)
	}
	env.Actor.Address, env.Actor.For = "2001:db8::1", "jo"
	far, err := fsm.Encode(env, cmd)
	if err != nil || far[1] != 2 {
		t.Fatalf("with an address: got format %d (%v), want 2", far[1], err)
	}
	got, kind, _, err := fsm.Decode(far)
	if d := cmp.Diff(env, got); d != "" || err != nil || kind != fsm.KindDeleteKey {
		t.Errorf("envelope differs (-want +got, %v):\n%s", err, d)
	}
	far[1] = 1
	if _, _, _, err := fsm.Decode(fsm.Forge(far, kind)); err == nil {
		t.Error("an entry with the names of another format was read")
	}
	plain[1] = 2
	if _, _, _, err := fsm.Decode(fsm.Forge(plain, kind)); err == nil {
		t.Error("an entry without the names of its format was read")
	}
}

// BenchmarkFSM_NoteEvents applies entries without records: the cost of the chain itself.
func BenchmarkFSM_NoteEvents(b *testing.B) {
	h := start(b)
	cmd := fsm.NoteEvents{Events: []resource.AuditEvent{{Action: "sign_in", Actor: "master", Address: "192.0.2.7"}}}
	var logs []*raft.Log
	for range 64 {
		l := h.entry(node("n1"), cmd)
		logs = append(logs, l)
	}
	b.ReportAllocs()
	n := uint64(0)
	for b.Loop() {
		for _, l := range logs {
			n++
			l.Index = n
			binary.BigEndian.PutUint64(l.Data[20:], n-1) // the read index; Forge sums again
			binary.BigEndian.PutUint64(l.Data[28:], n)
			fsm.Forge(l.Data, fsm.KindNoteEvents)
		}
		h.f.ApplyBatch(logs)
	}
}
