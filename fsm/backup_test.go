package fsm_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/graft"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/resource"
)

// receive takes a snapshot aside.
func (h *harness) receive(b []byte) *fsm.Backup {
	h.t.Helper()
	backup, err := h.f.Receive(bytes.NewReader(b))
	if err != nil {
		h.t.Fatalf("Receive: %v", err)
	}
	h.t.Cleanup(func() { _ = backup.Close() })
	return backup
}

// restore puts a backup in the place of the state, as raft does.
func (h *harness) restore(b *fsm.Backup, o fsm.RestoreOptions) {
	h.t.Helper()
	if err := b.Graft(o); err != nil {
		h.t.Fatalf("Graft: %v", err)
	}
	var out bytes.Buffer
	if err := b.Write(&out); err != nil {
		h.t.Fatalf("Write: %v", err)
	}
	framed := out.Bytes()
	head, err := fsm.DecodeHeader(framed[:fsm.HeaderSize])
	if err != nil {
		h.t.Fatal(err)
	}
	head.Index = max(head.Index, h.index) + 1
	h.index = head.Index
	again, err := head.Encode()
	if err != nil {
		h.t.Fatal(err)
	}
	copy(framed, again)
	if err := h.f.Restore(io.NopCloser(bytes.NewReader(framed))); err != nil {
		h.t.Fatalf("Restore: %v", err)
	}
	if g, err := h.f.ReadGeneration(); err != nil || g == 0 || g != h.f.Generation() {
		h.t.Errorf("the state is of generation %d, %v, want %d", g, err, h.f.Generation())
	}
	if err := h.f.Scrub(); err != nil {
		h.t.Errorf("the state that was made: %v", err)
	}
}

func key(id string) resource.Key { return resource.Key{Meta: meta(id), Name: "name of " + id} }

func TestBackup_SameCluster(t *testing.T) {
	t.Parallel()
	h, id := budgeted(t, resource.Terms{USD: 800}, resource.Window{}, "n1", "n2")
	h.do(h.putKey(key("k2"), 0))
	h.do(h.putKey(key("k3"), 0))
	h.tick(fsm.Tick{Node: "n1", To: 10, Spend: []fsm.SpendDelta{{KeyID: "k1", Cost: 30, Requests: 1}}, Settle: settle(id, 0, 30)})
	saved := h.snapshot()
	epoch1 := h.f.Epoch("n1")

	// What happens after the backup.
	h.tick(fsm.Tick{Node: "n1", From: 10, To: 20, Spend: []fsm.SpendDelta{{KeyID: "k1", Cost: 12, Requests: 1}}, Settle: settle(id, 0, 12)})
	h.doAs(node("n3"), fsm.RegisterMember{Member: resource.Member{Meta: meta("n3"), Name: "n3", Address: "n3:1", FSMVersion: 1}})
	h.doAs(node("n3"), fsm.OpenEpoch{Node: "n3"})
	h.do(fsm.RemoveMember{ID: "n2"})
	h.do(fsm.DeleteKey{ID: "k2"})
	h.do(fsm.BlockKey{ID: "k3", Blocked: true})
	h.do(h.putKey(key("k4"), 0))
	audited := h.f.AuditExtent().Last

	b := h.receive(saved)
	report, err := b.Compare(fsm.RestoreOptions{})
	if !errors.Is(err, fsm.ErrRevoked) || report.RevokedCount != 2 {
		t.Fatalf("without a word about revoked keys: got %v, %+v", err, report)
	}
	if c := report.Records["key"]; c != (graft.Count{Now: 3, Backup: 3}) {
		t.Errorf("keys: got %+v", c)
	}
	if len(report.Nodes) != 2 || report.Nodes[0] != (graft.NodeReplay{ID: "n1", After: 10}) || report.Nodes[1] != (graft.NodeReplay{ID: "n3"}) {
		t.Errorf("journals: got %+v", report.Nodes)
	}
	if err := b.Graft(fsm.RestoreOptions{}); !errors.Is(err, fsm.ErrRevoked) {
		t.Fatalf("Graft: got %v, want that revoked keys are spoken of", err)
	}
	h.restore(b, fsm.RestoreOptions{Revoked: graft.RevokedBlock})

	for id, want := range map[string]bool{"k1": false, "k2": true, "k3": true} {
		if k, ok := h.f.Key(id); !ok || k.Blocked != want {
			t.Errorf("key %s: there %v, blocked %v, want it blocked: %v", id, ok, ok && k.Blocked, want)
		}
	}
	if _, ok := h.f.Key("k4"); ok {
		t.Error("a key from after the backup is still there")
	}
	if m, ok := h.f.Member("n2"); !ok || !m.Removed {
		t.Errorf("a removed node is back: %+v", m)
	}
	if m, ok := h.f.Member("n3"); !ok || m.Removed {
		t.Errorf("a node that came after the backup: %+v", m)
	}
	if got := h.f.AuditExtent().Last; got < audited {
		t.Errorf("the audit log ends at %d, it had %d", got, audited)
	}
	h.verify()
	if h.f.Generation() != 1 || h.last.Generation != 1 {
		t.Errorf("generation %d, the watcher heard %d, want 1", h.f.Generation(), h.last.Generation)
	}
	if got := h.f.Totals("key", "k1").Cost; got != 30 {
		t.Errorf("before the replay: got %d, want 30", got)
	}
	h.replay(id, epoch1)
}

// The epochs of a restored state are nobody's: a process that runs is not to think that an earlier one has begun after it.
func TestBackup_Processes(t *testing.T) {
	t.Parallel()
	h, _ := budgeted(t, resource.Terms{USD: 800}, resource.Window{}, "n1", "n2")
	h.doAs(node("n1"), fsm.OpenEpoch{Node: "n1", Life: 9})
	b := h.receive(h.snapshot())
	h.doAs(node("n1"), fsm.OpenEpoch{Node: "n1", Life: 10})
	h.doAs(node("n2"), fsm.OpenEpoch{Node: "n2", Life: 11})
	h.restore(b, fsm.RestoreOptions{})
	for _, id := range []string{"n1", "n2"} {
		if n, _ := h.f.Node(id); n.Life != 0 || n.Epoch <= 1<<32 {
			t.Errorf("%s is in epoch %d of the process %d, want a new one of nobody", id, n.Epoch, n.Life)
		}
	}
	h.verify()
}

// replay is what the nodes do after the restore of TestBackup_SameCluster.
func (h *harness) replay(id resource.AccountID, old uint64) {
	t := h.t
	stale := fsm.Tick{Node: "n1", Epoch: old, Seq: 3, Spend: []fsm.SpendDelta{{KeyID: "k1", Cost: 1000}}}
	h.doAs(node("n1"), fsm.TickGroup{Ticks: []fsm.Tick{stale}})
	if got := h.f.Totals("key", "k1").Cost; got != 30 {
		t.Errorf("a tick of an epoch before the restore counts: %d", got)
	}
	h.refused(node("n1"), fsm.CloseEpoch{Node: "n1", Epoch: old, Whole: true, By: old + 1}, resource.ErrConflict) // as of before
	h.doAs(node("n1"), fsm.OpenEpoch{Node: "n1"})
	if got := h.f.Epoch("n1"); got <= 1<<32 {
		t.Errorf("epoch %d may have been used before", got)
	}
	h.tick(fsm.Tick{Node: "n1", From: 10, To: 20, OldEpoch: old, Spend: []fsm.SpendDelta{{KeyID: "k1", Cost: 12, Requests: 1}}, Settle: settle(id, 0, 12)})
	n, _ := h.f.Node("n1")
	for _, o := range n.Old {
		h.doAs(node("n1"), fsm.CloseEpoch{Node: "n1", Epoch: o.Epoch, Whole: true, By: n.Epoch})
	}
	if n, _ := h.f.Node("n1"); n.Covered != 20 || len(n.Old) != 0 {
		t.Errorf("after its old epochs were closed the node's journal is covered up to %d, want 20: %+v", n.Covered, n)
	}
	if got := h.f.Totals("key", "k1").Cost; got != 42 {
		t.Errorf("after the replay: got %d, want 42", got)
	}
	granted := func() resource.Money {
		before := h.lease("n1", id, 0).Granted
		h.tick(fsm.Tick{Node: "n1", From: 20, To: 20, Want: want(id, resource.Window{}, 10, 10)})
		return h.lease("n1", id, 0).Granted - before
	}
	if got := granted(); got != 0 {
		t.Errorf("granted %d before n3 has told what it spent", got)
	}
	h.doAs(node("n3"), fsm.OpenEpoch{Node: "n3"})
	n, _ = h.f.Node("n3")
	for _, o := range n.Old {
		h.doAs(node("n3"), fsm.CloseEpoch{Node: "n3", Epoch: o.Epoch, Whole: true})
	}
	if got := granted(); got != 10 {
		t.Errorf("granted %d after everybody has, want 10", got)
	}
	for _, a := range h.f.Accounts("key/k1") {
		if a.Settled != 42 {
			t.Errorf("settled %d, want 42", a.Settled)
		}
	}
}

func TestBackup_AsOfBackup(t *testing.T) {
	t.Parallel()
	h, id := budgeted(t, resource.Terms{USD: 800}, resource.Window{}, "n1")
	h.tick(fsm.Tick{Node: "n1", To: 10, Spend: []fsm.SpendDelta{{KeyID: "k1", Cost: 30}}, Settle: settle(id, 0, 30)})
	saved := h.snapshot()
	h.tick(fsm.Tick{Node: "n1", From: 10, To: 20, Spend: []fsm.SpendDelta{{KeyID: "k1", Cost: 12}}, Settle: settle(id, 0, 12)})
	h.restore(h.receive(saved), fsm.RestoreOptions{Spend: graft.SpendAsOfBackup})
	n, _ := h.f.Node("n1")
	if n.To != 20 || len(n.Old) != 0 {
		t.Errorf("got %+v, want that nothing up to record 20 is sent again", n)
	}
	if all := h.f.Accounts("key/k1"); len(all) != 1 || all[0].Presumed != 0 || all[0].Settled != 30 {
		t.Errorf("got %+v, want 30 settled and nothing presumed", all)
	}
}

func TestBackup_AnotherCluster(t *testing.T) {
	t.Parallel()
	from, id := budgeted(t, resource.Terms{USD: 800}, resource.Window{}, "a1", "a2")
	from.tick(fsm.Tick{Node: "a1", To: 10, Spend: []fsm.SpendDelta{{KeyID: "k1", Cost: 30}}, Settle: settle(id, 0, 30)})
	saved := from.snapshot()

	to := start(t)
	to.do(fsm.Bootstrap{ClusterID: "c2", MasterHash: resource.HashSecret("other"), KEKID: "k", DEKID: "d2", DEK: []byte{2}})
	for _, n := range []string{"b1", "b2", "b3"} {
		to.doAs(node(n), fsm.RegisterMember{Member: resource.Member{Meta: meta(n), Name: n, Address: n + ":1", FSMVersion: 1}})
		to.doAs(node(n), fsm.OpenEpoch{Node: n})
	}
	to.tick(fsm.Tick{Node: "b1", To: 5, Spend: []fsm.SpendDelta{{KeyID: "k1", Cost: 7}}})
	b := to.receive(saved)
	if _, err := b.Compare(fsm.RestoreOptions{}); !errors.Is(err, fsm.ErrForeign) {
		t.Fatalf("another cluster's backup: got %v", err)
	}
	closed := errors.New("does not open")
	_, err := b.Compare(fsm.RestoreOptions{Foreign: true, Open: func(d memory.WrappedDEK) error {
		if d.ID == "d" {
			return closed
		}
		return nil
	}})
	if !errors.Is(err, fsm.ErrKey) || !errors.Is(err, closed) {
		t.Fatalf("a data key that does not open: got %v", err)
	}
	to.restore(b, fsm.RestoreOptions{Foreign: true})
	info, _ := to.f.Cluster()
	if info.ClusterID != "c2" || info.MasterHash != resource.HashSecret("other") || len(info.DEKs) != 2 || info.DEKs[0].ID != "d2" {
		t.Errorf("the identity: got %+v", info)
	}
	if got := to.f.Totals("key", "k1").Cost; got != 30 {
		t.Errorf("totals: got %d, want the backup's 30", got)
	}
	if m, ok := to.f.Member("a1"); !ok || !m.Removed {
		t.Errorf("a node of the other cluster: %+v", m)
	}
	for _, n := range []string{"b1", "b2", "b3"} {
		to.doAs(node(n), fsm.OpenEpoch{Node: n})
		st, _ := to.f.Node(n)
		for _, o := range st.Old {
			to.doAs(node(n), fsm.CloseEpoch{Node: n, Epoch: o.Epoch, Whole: true})
		}
	}
	if st, _ := to.f.Node("b1"); st.Generation != 1 {
		t.Errorf("b1 is in generation %d", st.Generation)
	}
	before := to.lease("b1", id, 0).Granted
	b1, _ := to.f.Node("b1")
	to.tick(fsm.Tick{Node: "b1", From: b1.Covered, To: b1.Covered, Want: want(id, resource.Window{}, 10, 10)})
	if got := to.lease("b1", id, 0).Granted - before; got != 10 {
		t.Errorf("granted %d, want 10", got)
	}
}

func TestBackup_Alone(t *testing.T) {
	t.Parallel()
	h, id := budgeted(t, resource.Terms{USD: 1200}, resource.Window{}, "n1", "n2", "n3")
	b := h.receive(h.snapshot())
	lost, err := b.Alone("n2")
	if err != nil || len(lost) != 2 {
		t.Fatalf("Alone: got %v, %v", lost, err)
	}
	var out bytes.Buffer
	if err := b.Write(&out); err != nil {
		t.Fatal(err)
	}
	if err := h.f.Restore(io.NopCloser(&out)); err != nil {
		t.Fatal(err)
	}
	if m, _ := h.f.Member("n1"); !m.Removed || h.f.Generation() != 1 {
		t.Errorf("n1: %+v, generation %d", m, h.f.Generation())
	}
	h.doAs(node("n2"), fsm.OpenEpoch{Node: "n2"})
	n, _ := h.f.Node("n2")
	for _, o := range n.Old {
		h.doAs(node("n2"), fsm.CloseEpoch{Node: "n2", Epoch: o.Epoch, Whole: true})
	}
	if all := h.f.Accounts("key/k1"); len(all) != 1 || all[0].Presumed != 200 {
		t.Errorf("got %+v, want 2 × 100 of the lost nodes presumed spent", all)
	}
	h.tick(fsm.Tick{Node: "n2", Want: want(id, resource.Window{}, 50, 50)})
	if got := h.lease("n2", id, 0).Granted; got < 50 {
		t.Errorf("granted %d to the survivor", got)
	}
	h.doAs(node("n4"), fsm.RegisterMember{Member: resource.Member{Meta: meta("n4"), Name: "n1", Address: "n1:1", FSMVersion: 1}})
}

func TestBackup_Refused(t *testing.T) {
	t.Parallel()
	h, _ := budgeted(t, resource.Terms{USD: 800}, resource.Window{}, "n1")
	saved := h.snapshot()
	index, hash := h.f.Hash()
	damage := func(at int) []byte {
		b := bytes.Clone(saved)
		b[at] ^= 0x10
		return b
	}
	for name, b := range map[string][]byte{
		"empty": nil, "no header": saved[:100], "header alone": saved[:fsm.HeaderSize], "torn": saved[:len(saved)-1],
		"flipped in the header": damage(20), "flipped in the body": damage(fsm.HeaderSize + 5000), "last byte": damage(len(saved) - 1),
	} {
		if _, err := h.f.Receive(bytes.NewReader(b)); !errors.Is(err, fsm.ErrDamaged) {
			t.Errorf("%s: got %v, want ErrDamaged", name, err)
		}
	}
	if i, now := h.f.Hash(); i != index || now != hash {
		t.Error("the state is another")
	}
	if left, err := filepath.Glob(filepath.Join(h.cfg.Dir, "fsm-*.tmp")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(h.cfg.Dir, "fsm.boot")); err != nil {
		t.Errorf("the state's file is not trusted any more: %v", err)
	}
}

func TestFSM_Unopened(t *testing.T) {
	t.Parallel()
	h, id := budgeted(t, resource.Terms{USD: 800, Per: resource.PerDay}, resource.Window{Start: 0, End: 1}, "n1")
	w, err := (&resource.Terms{USD: 800, Per: resource.PerDay}).Window(day0.Std())
	if err != nil {
		t.Fatal(err)
	}
	got := h.f.Unopened([]fsm.AccountDelta{{Account: id, Start: w.Start}, {Account: id, Start: w.Start + 1}, {Account: "key/none/x", Start: w.Start}})
	if len(got) != 1 || got[0].Window != w {
		t.Errorf("got %+v, want the day's window %+v", got, w)
	}
}
