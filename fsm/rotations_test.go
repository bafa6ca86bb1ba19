package fsm_test

import (
	"bytes"
	"testing"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/resource"
)

// bootKeys is boot of a cluster with keys.
func bootKeys(h *harness, nodes ...string) {
	h.t.Helper()
	h.do(fsm.Bootstrap{
		ClusterID: "c1", CACert: []byte("old cert"), CAKey: []byte("old key"), GossipKey: []byte("gossip"), KEKID: "k", DEKID: "d", DEK: []byte{1},
	})
	for _, n := range nodes {
		h.doAs(node(n), fsm.RegisterMember{Member: member(n)})
	}
}

// TestRotation takes a CA through its steps: one at a time, never without most members, and
// with an overlap as long as one is away.
func TestRotation(t *testing.T) {
	t.Parallel()
	h := start(t)
	bootKeys(h, "n1", "n2", "n3")
	info := func() fsm.ClusterInfo { i, _ := h.f.Cluster(); return i }
	oldCert, kek := info().CACert, info().KEKID
	begin := fsm.BeginRotation{Kind: memory.RotateCA, ID: "new", Cert: []byte("new cert"), Key: []byte("new key"), KEKID: kek, Overlap: 10}
	for _, bad := range []struct {
		cmd  fsm.BeginRotation
		want error
	}{
		{fsm.BeginRotation{Kind: memory.RotateCA, ID: "x", Cert: []byte("c"), Key: []byte("k"), KEKID: "another"}, resource.ErrConflict},
		{fsm.BeginRotation{Kind: memory.RotateKEK, ID: kek}, resource.ErrRefused},
	} {
		h.refused(master, bad.cmd, bad.want)
	}
	h.do(begin)
	h.refused(master, fsm.BeginRotation{Kind: memory.RotateCerts, ID: "c"}, resource.ErrRefused)
	begun := info()
	if got := begun.Trusted(); len(got) != 2 || !bytes.Equal(got[0], oldCert) {
		t.Errorf("trusted at the start: got %q", got)
	}
	note := func(id, step string) fsm.NoteRotation {
		return fsm.NoteRotation{Kind: memory.RotateCA, ID: "new", Step: step, Node: id}
	}
	advance := func(from string) fsm.AdvanceRotation {
		return fsm.AdvanceRotation{Kind: memory.RotateCA, ID: "new", From: from}
	}
	h.refused(node("n2"), note("n1", memory.StepInstall), resource.ErrForbidden)
	h.doAs(node("n1"), note("n1", memory.StepInstall))
	h.refused(node("n1"), advance(memory.StepInstall), resource.ErrRefused) // one of three
	h.doAs(node("n2"), note("n2", memory.StepInstall))
	h.refused(node("n1"), advance(memory.StepUse), resource.ErrConflict)
	h.doAs(node("n1"), advance(memory.StepInstall))
	if i := info(); string(i.CACert) != "new cert" || len(i.Trusted()) != 2 || !bytes.Equal(i.Trusted()[1], oldCert) {
		t.Errorf("in use: got %q, trusted %q", i.CACert, i.Trusted())
	}
	h.doAs(node("n1"), note("n1", memory.StepUse))
	h.doAs(node("n2"), note("n2", memory.StepUse))
	h.doAs(node("n1"), advance(memory.StepUse))
	i := info()
	if r := i.Rotation(memory.RotateCA); r.Step != memory.StepOverlap || len(r.Late) != 1 || r.Late[0] != "n3" || r.Took("n3") {
		t.Errorf("one is away: got %+v", r)
	}
	h.refused(master, begin, resource.ErrRefused)
	h.do(fsm.BeginRotation{Kind: memory.RotateCerts, ID: "c"}) // another kind may begin
	h.doAs(node("n3"), note("n3", memory.StepUse))
	h.doAs(node("n1"), advance(memory.StepOverlap))
	if i := info(); len(i.Trusted()) != 1 || len(i.FormerCAs) != 1 || !bytes.Equal(i.FormerCAs[0], oldCert) {
		t.Errorf("at the end: trusted %q, former %q", i.Trusted(), i.FormerCAs)
	}
	h.refused(node("n1"), advance(memory.StepDone), resource.ErrRefused)
}

// TestRotation_rewrap: a new KEK takes over everything or nothing.
func TestRotation_rewrap(t *testing.T) {
	t.Parallel()
	h := start(t)
	bootKeys(h, "n1")
	i, _ := h.f.Cluster()
	h.do(fsm.BeginRotation{Kind: memory.RotateKEK, ID: "kek_2"})
	h.doAs(node("n1"), fsm.NoteRotation{Kind: memory.RotateKEK, ID: "kek_2", Step: memory.StepInstall, Node: "n1"})
	cmd := fsm.AdvanceRotation{Kind: memory.RotateKEK, ID: "kek_2", From: memory.StepInstall}
	for _, box := range [][]byte{i.CAKey, i.GossipKey} {
		cmd.Wraps = append(cmd.Wraps, fsm.Wrap{Old: box, New: append([]byte("new "), box...)})
	}
	h.refused(node("n1"), cmd, resource.ErrConflict)
	cmd.Wraps = append(cmd.Wraps, fsm.Wrap{Old: i.DEKs[0].Blob, New: []byte("new dek")})
	h.doAs(node("n1"), cmd)
	now, _ := h.f.Cluster()
	if now.KEKID != "kek_2" || now.DEKs[0].KEKID != "kek_2" || string(now.DEKs[0].Blob) != "new dek" || bytes.Equal(now.CAKey, i.CAKey) {
		t.Errorf("got %+v", now)
	}
}

// TestReseal changes the box of a secret and nothing else, and leaves alone what has changed.
func TestReseal(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	sealed := func(box string) *resource.Sealed {
		return &resource.Sealed{DEK: "d", Box: []byte(box), Fingerprint: "f"}
	}
	h.do(fsm.PutCredential{Credential: encoded(t, resource.Credential{
		Meta: meta("c1"), Name: "c", Provider: "openai", APIKey: sealed("old"), Secrets: map[string]*resource.Sealed{"x": sealed("old x")},
	})})
	find := func() *resource.Credential { return h.f.Catalog().Tables().Credentials[0] }
	version := find().Version
	h.doAs(node("n1"), fsm.Reseal{Items: []fsm.Resealed{
		{Kind: "credential", ID: "c1", Field: "api_key", Old: []byte("old"), Sealed: sealed("new")},
		{Kind: "credential", ID: "c1", Field: "x", Old: []byte("something else"), Sealed: sealed("wrong")},
		{Kind: "credential", ID: "gone", Field: "api_key", Old: []byte("old"), Sealed: sealed("wrong")},
	}})
	c := find()
	if string(c.APIKey.Box) != "new" || string(c.Secrets["x"].Box) != "old x" || c.Version != version || c.Name != "c" {
		t.Errorf("got %q, %q, version %d, want new, old x, %d", c.APIKey.Box, c.Secrets["x"].Box, c.Version, version)
	}
	other := sealed("other")
	other.Fingerprint = "g"
	h.doAs(node("n1"), fsm.Reseal{Items: []fsm.Resealed{{Kind: "credential", ID: "c1", Field: "api_key", Old: []byte("new"), Sealed: other}}})
	if now := find(); string(now.APIKey.Box) != "other" || now.Version <= version {
		t.Errorf("another secret: got %q, version %d, which was %d", now.APIKey.Box, now.Version, version)
	}
	h.refused(master, fsm.PutCredential{Credential: encoded(t, *c), Read: version}, resource.ErrConflict)
	h.refused(master, fsm.Reseal{}, resource.ErrForbidden)
}
