package fsm_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func member(id string) resource.Member {
	return resource.Member{Meta: meta(id), Name: id, Address: id + ":1", FSMVersion: 1}
}

func TestCluster_Join(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	h.refused(node("n1"), fsm.Bootstrap{ClusterID: "c2"}, resource.ErrRefused)
	token, late := resource.HashSecret("token"), resource.HashSecret("late")
	h.do(fsm.PutJoinToken{Hash: token, Expires: h.now + 60e9})
	h.do(fsm.PutJoinToken{Hash: late, Expires: h.now + 1e9})
	if at, ok := h.f.JoinToken(token); !ok || at.Expires != h.now+60e9 {
		t.Errorf("JoinToken: got %v %v", at, ok)
	}
	h.now += 2e9
	h.refused(node("n1"), fsm.RegisterMember{Member: member("n2"), Token: late}, resource.ErrExpired)
	h.refused(node("n1"), fsm.RegisterMember{Member: member("n2")}, resource.ErrForbidden)
	h.doAs(node("n1"), fsm.RegisterMember{Member: member("n2"), Token: token})
	h.refused(node("n1"), fsm.RegisterMember{Member: member("n3"), Token: token}, resource.ErrForbidden)
	if _, ok := h.f.JoinToken(token); ok {
		t.Error("a used token is still there")
	}
	taken := member("n4")
	taken.Name = "n2"
	h.refused(node("n4"), fsm.RegisterMember{Member: taken}, resource.ErrExists)

	moved := member("n2")
	moved.Address = "elsewhere:1"
	h.doAs(node("n2"), fsm.RegisterMember{Member: moved})
	if m, ok := h.f.Member("n2"); !ok || m.Address != "elsewhere:1" {
		t.Errorf("Member: got %+v", m)
	}
	h.do(fsm.RemoveMember{ID: "n2"})
	if m, ok := h.f.Member("n2"); !ok || !m.Removed {
		t.Errorf("tombstone: got %+v %v", m, ok)
	}
	if got := len(h.f.Catalog().Tables().Members); got != 1 {
		t.Errorf("the catalog has %d members, want the living one", got)
	}
	h.refused(node("n2"), fsm.OpenEpoch{Node: "n2"}, resource.ErrForbidden)
	h.refused(node("n1"), fsm.RegisterMember{Member: moved}, resource.ErrDead)
	h.refused(master, fsm.RemoveMember{ID: "n2"}, resource.ErrDead)
	h.doAs(node("n4"), fsm.RegisterMember{Member: taken}) // the name is free again
}

func TestCluster_Version(t *testing.T) {
	t.Parallel()
	h := start(t)
	_ = h.f.Close()
	h.cfg.FSMVersion = 2
	h.open()
	one, two, three := member("n1"), member("n2"), member("n3")
	one.FSMVersion, three.FSMVersion, three.FSMOldest = 2, 3, 2
	h.doAs(node("n1"), fsm.RegisterMember{Member: one})
	h.doAs(node("n2"), fsm.RegisterMember{Member: two})
	h.refused(node("n3"), fsm.RegisterMember{Member: three}, resource.ErrRefused) // it cannot run version 1 any more
	h.refused(master, fsm.SetVersion{Version: 2}, resource.ErrRefused)            // n2 does not know it
	if got := h.f.FSMVersion(); got != 1 {
		t.Errorf("version before it was raised: got %d, want 1", got)
	}
	two.FSMVersion = 2
	h.doAs(node("n2"), fsm.RegisterMember{Member: two})
	h.do(fsm.SetVersion{Version: 2})
	if got := h.f.FSMVersion(); got != 2 {
		t.Errorf("version: got %d, want 2", got)
	}
	two.FSMVersion = 1
	h.refused(node("n2"), fsm.RegisterMember{Member: two}, resource.ErrRefused) // no way back
	h.refused(master, fsm.SetVersion{Version: 2}, resource.ErrRefused)
	h.doAs(node("n3"), fsm.RegisterMember{Member: three})
	l := h.entry(master, fsm.DeleteKey{ID: "x"})
	l.Data = encodeAs(t, 2, fsm.DeleteKey{ID: "x"})
	if a := h.apply(l); a.Err == nil || resource.Code(a.Err) != "not_found" {
		t.Errorf("an entry of a version that all know: got %v", a.Err)
	}

	g := start(t)
	_ = g.f.Close()
	g.cfg.FSMVersion = 2
	g.open()
	g.boot("n1")
	l = g.entry(master, fsm.DeleteKey{ID: "x"})
	l.Data = encodeAs(t, 2, fsm.DeleteKey{ID: "x"})
	if a := g.apply(l); resource.Code(a.Err) != "refused" {
		t.Errorf("an entry of a version that a member does not know: got %v", a.Err)
	}
}

func TestCluster_Marks(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	h.doAs(node("n2"), fsm.RegisterMember{Member: member("n2")})
	h.do(fsm.MarkMember{ID: "n2", Mark: fsm.MarkNonvoter})
	h.doAs(node("n1"), fsm.MarkMember{ID: "n2", Mark: fsm.MarkQuarantined, Reason: "its state differs"})
	boast := member("n2")
	boast.Address, boast.Drained = "elsewhere:1", true
	h.doAs(node("n2"), fsm.RegisterMember{Member: boast}) // does not touch the marks
	m, _ := h.f.Member("n2")
	if !m.Nonvoter || m.Drained || m.Quarantined != "its state differs" || m.Address != "elsewhere:1" || m.MayVote() {
		t.Errorf("member: got %+v", m)
	}
	h.do(fsm.MarkMember{ID: "n2", Mark: fsm.MarkQuarantined, Off: true})
	h.do(fsm.MarkMember{ID: "n2", Mark: fsm.MarkNonvoter, Off: true})
	if m, _ := h.f.Member("n2"); !m.MayVote() {
		t.Errorf("member: got %+v, want it to vote", m)
	}
	h.refused(master, fsm.MarkMember{ID: "n9", Mark: fsm.MarkDrained}, resource.ErrNotFound)
	if err := h.try(master, fsm.MarkMember{ID: "n2", Mark: "famous"}).Err; resource.Code(err) != "invalid" {
		t.Errorf("an unknown mark: got %v", err)
	}
}

func TestCluster_Replace(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	h.doAs(node("n2"), fsm.RegisterMember{Member: member("n2")})
	token, other := resource.HashSecret("token"), resource.HashSecret("other")
	h.refused(master, fsm.PutJoinToken{Hash: token, Expires: h.now + 60e9, Replaces: "n9"}, resource.ErrNotFound)
	h.do(fsm.PutJoinToken{Hash: token, Expires: h.now + 60e9, Listed: true, Replaces: "n2"})
	h.do(fsm.PutJoinToken{Hash: other, Expires: h.now + 60e9, Listed: true})
	if all := h.f.JoinTokens(h.now); len(all) != 2 {
		t.Errorf("tokens: got %+v, want both", all)
	}
	h.do(fsm.DropJoinToken{Hash: other})
	h.refused(master, fsm.DropJoinToken{Hash: other}, resource.ErrNotFound)
	if all := h.f.JoinTokens(h.now); len(all) != 1 || all[0].Replaces != "n2" || all[0].By != "master" || all[0].Hash != token {
		t.Errorf("tokens: got %+v", all)
	}
	heir := member("n3")
	heir.Name = "n2"
	h.doAs(node("n1"), fsm.RegisterMember{Member: heir, Token: token})
	if m, _ := h.f.Member("n2"); !m.Removed {
		t.Error("the replaced member is not removed")
	}
	if all := h.f.JoinTokens(h.now); len(all) != 0 {
		t.Errorf("tokens: got %+v, want none", all)
	}
}

func encodeAs(t *testing.T, version uint32, cmd fsm.Command) []byte {
	t.Helper()
	b, err := fsm.Encode(fsm.Envelope{At: day0, Actor: master, FSMVersion: version}, cmd)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRecords_References(t *testing.T) {
	t.Parallel()
	h := start(t)
	put := func(cmd fsm.Command) { t.Helper(); h.do(cmd) }
	invalid := func(cmd fsm.Command, field string) {
		t.Helper()
		err := h.try(master, cmd).Err
		if e, ok := err.(*resource.Invalid); !ok || e.Field != field { //nolint:errorlint // Apply does not wrap it
			t.Errorf("%T: got %v, want an *Invalid of %s", cmd, err, field)
		}
	}
	invalid(h.putKey(resource.Key{Meta: meta("k1"), TeamID: "t1"}, 0), "team_id")
	invalid(h.putKey(resource.Key{Meta: meta("k1"), Policy: resource.Policy{Allowance: resource.Allowance{BudgetID: "b1"}}}, 0), "budget_id")
	invalid(h.putKey(resource.Key{Meta: meta("a/b")}, 0), "id")
	dep := func(d resource.Deployment, read uint64) fsm.PutDeployment {
		return fsm.PutDeployment{Deployment: encoded(t, d), Read: read}
	}
	d := resource.Deployment{Meta: meta("d1"), Name: "one", ModelID: "m1", CredentialID: "c1", Provider: "openai"}
	invalid(dep(d, 0), "model_id")
	put(fsm.PutModel{Model: encoded(t, resource.Model{Meta: meta("m1"), Name: "demo"})})
	put(fsm.PutModel{Model: encoded(t, resource.Model{Meta: meta("m2"), Name: "demo2"})})
	invalid(dep(d, 0), "credential_id")
	put(fsm.PutCredential{Credential: encoded(t, resource.Credential{Meta: meta("c1"), Name: "c"})})
	r := h.do(dep(d, 0))
	h.refused(master, fsm.DeleteCredential{ID: "c1"}, resource.ErrInUse)
	other := d
	other.ID = "d2"
	h.refused(master, dep(other, 0), resource.ErrExists)
	other.ModelID = "m2"
	put(dep(other, 0))
	d.CredentialID = ""
	put(dep(d, r.Version))
	put(fsm.DeleteModel{ID: "m2"})
	put(fsm.DeleteCredential{ID: "c1"})
	h.refused(master, dep(other, 0), resource.ErrDead)

	put(fsm.PutPlugin{Plugin: encoded(t, resource.Plugin{Meta: meta("p1"), Name: "mine"})})
	g := h.do(fsm.PutGuardrail{Guardrail: encoded(t, resource.Guardrail{Meta: meta("g1"), Name: "g", Plugin: "mine"})})
	h.refused(master, fsm.DeletePlugin{ID: "p1"}, resource.ErrInUse)
	put(fsm.PutGuardrail{Guardrail: encoded(t, resource.Guardrail{Meta: meta("g1"), Name: "g", Plugin: "keywords"}), Read: g.Version})
	put(fsm.DeletePlugin{ID: "p1"})
	put(fsm.PutSetting{Setting: encoded(t, resource.Setting{Meta: meta("max_body_bytes"), Value: []byte("2048")})})
	if got := h.f.Catalog().Settings().MaxBodyBytes; got != 2048 {
		t.Errorf("setting: got %d, want 2048", got)
	}
	put(fsm.DeleteSetting{ID: "max_body_bytes"})
	put(fsm.PutSetting{Setting: encoded(t, resource.Setting{Meta: meta("max_body_bytes"), Value: []byte("4096")})})
}

func TestFSM_Owner(t *testing.T) {
	t.Parallel()
	h := start(t)
	file := fsm.Actor{Kind: "file"}
	owned := resource.Key{Meta: resource.Meta{ID: "k1", Owner: resource.OwnerFile}}
	h.refused(master, h.putKey(owned, 0), resource.ErrOwner)
	r := h.doAs(file, h.putKey(owned, 0))
	h.refused(master, h.putKey(owned, r.Version), resource.ErrOwner)
	h.refused(master, fsm.DeleteKey{ID: "k1"}, resource.ErrOwner)
	h.refused(master, h.putKey(resource.Key{Meta: meta("k1")}, r.Version), resource.ErrOwner)
	h.do(fsm.BlockKey{ID: "k1", Blocked: true}) // who sees a leak must be able to stop it
	h.doAs(file, fsm.DeleteKey{ID: "k1"})
}

func TestFSM_Keys(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.do(fsm.PutTeam{Team: encoded(t, resource.Team{Meta: meta("t1"), Name: "t"})})
	for i := range 7 {
		k := resource.Key{Meta: resource.Meta{ID: fmt.Sprintf("k%d", i), CreatedAt: day0 - resource.Time(i)}, Name: fmt.Sprintf("Name%d", 6-i)}
		if i%2 == 0 {
			k.TeamID = "t1"
		}
		h.do(h.putKey(k, 0))
	}
	for _, tt := range []struct {
		name string
		q    fsm.ListQuery
		want []string
	}{
		{"by id", fsm.ListQuery{}, []string{"k0", "k1", "k2", "k3", "k4", "k5", "k6"}},
		{"pages", fsm.ListQuery{Limit: 2}, []string{"k0", "k1", "k2", "k3", "k4", "k5", "k6"}},
		{"by name", fsm.ListQuery{Limit: 3, Sort: "name"}, []string{"k6", "k5", "k4", "k3", "k2", "k1", "k0"}},
		{"newest first", fsm.ListQuery{Limit: 3, Sort: "-created_at"}, []string{"k0", "k1", "k2", "k3", "k4", "k5", "k6"}},
		{"of a team", fsm.ListQuery{Limit: 1, TeamID: "t1"}, []string{"k0", "k2", "k4", "k6"}},
		{"by part of the name", fsm.ListQuery{Q: "NAME4"}, []string{"k2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for {
				items, next, total := h.f.Keys(tt.q)
				for _, k := range items {
					got = append(got, k.ID)
				}
				if total != len(tt.want) {
					t.Errorf("total: got %d, want %d", total, len(tt.want))
				}
				if next == "" {
					break
				}
				tt.q.Cursor = next
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("keys differ (-want +got):\n%s", d)
			}
		})
	}
	if items, _, _ := h.f.Keys(fsm.ListQuery{Cursor: "%"}); items != nil {
		t.Errorf("a made-up cursor gave %d keys", len(items))
	}
}

func TestFSM_AuditPages(t *testing.T) {
	t.Parallel()
	h := start(t)
	for i := range 5 {
		h.do(h.putKey(resource.Key{Meta: meta(fmt.Sprintf("k%d", i))}, 0))
	}
	var got []string
	q := fsm.AuditQuery{Limit: 2, Actor: "master"}
	for {
		items, next := h.f.Audit(q)
		for _, e := range items {
			got = append(got, e.ID)
		}
		if next == "" {
			break
		}
		q.Cursor = next
	}
	if d := cmp.Diff([]string{"k4", "k3", "k2", "k1", "k0"}, got); d != "" {
		t.Errorf("audit differs (-want +got):\n%s", d)
	}
}

// TestApply_Deterministic applies one log to state machines in batches of different sizes,
// with restarts: they must not differ. The log has gaps, as for entries without a command, and is so long that outcomes of commands
// are forgotten.
func TestApply_Deterministic(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1", "n2")
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 1200 {
		h.index += uint64(r.IntN(300))
		id := fmt.Sprintf("k%d", r.IntN(40))
		account := resource.Account("key", id, "total")
		var read uint64
		if k, ok := h.f.Key(id); ok {
			read = k.Version
		}
		h.now += resource.Time(r.IntN(3e9)) - 1e9
		switch r.IntN(5) {
		case 0, 1:
			k := resource.Key{Meta: meta(id), Name: fmt.Sprint("name", r.IntN(60)), Policy: resource.Policy{Allowance: resource.Allowance{Budgets: []resource.Terms{{USD: resource.Money(r.IntN(1000))}}}}}
			put := h.putKey(k, read)
			put.Windows = []fsm.OpenWindow{{Account: account}}
			h.try(master, put)
		case 2:
			h.try(master, fsm.BlockKey{ID: id, Blocked: i%2 == 0})
		case 3:
			h.try(master, fsm.DeleteKey{ID: id})
		default:
			h.tick(fsm.Tick{
				Node: "n1", Want: want(account, resource.Window{}, 50, 10), Settle: settle(account, 0, 3),
				Spend: []fsm.SpendDelta{{KeyID: id, Day: int32(i), Cost: 3}},
			})
		}
	}
	index, hash := h.f.Hash()
	if err := h.f.Scrub(); err != nil {
		t.Errorf("Scrub: %v", err)
	}
	last := h.log[len(h.log)-2].Index
	for _, size := range []int{1, 3, 70, 1000} {
		g := start(t)
		for at := 0; at < len(h.log); at += size {
			g.f.ApplyBatch(append([]*raft.Log{}, h.log[max(0, at-1):min(at+size, len(h.log))]...))
			if at/size%50 == 49 {
				if err := g.stop(at%2 == 0); err != nil {
					t.Fatal(err)
				}
				g.open()
			}
		}
		if gotIndex, got := g.f.Hash(); gotIndex != index || got != hash {
			t.Errorf("in batches of %d: got %d %x, want %d %x", size, gotIndex, got, index, hash)
		}
		if got, ok := g.f.HashAt(last); size == 1000 && (!ok || got != mustHashAt(t, h.f, last)) {
			t.Errorf("hash within a batch: got %x %v", got, ok)
		}
	}
}

func mustHashAt(t *testing.T, f *fsm.FSM, index uint64) [16]byte {
	t.Helper()
	h, ok := f.HashAt(index)
	if !ok {
		t.Fatalf("HashAt(%d) does not know", index)
	}
	return h
}

func TestFSM_StoreConfiguration(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.f.StoreConfiguration(4, raft.Configuration{})
	h.f.ApplyBatch([]*raft.Log{{Index: 6, Term: 2, Type: raft.LogConfiguration}})
	if got := h.f.Applied(); got != 6 {
		t.Errorf("applied: got %d, want 6", got)
	}
	var _ raft.BatchingFSM = h.f
	var _ raft.ConfigurationStore = h.f
}
