package fsm_test

import (
	"slices"
	"testing"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// TestTurnKey lets a node change the secret of a key with a schedule, and nothing else.
func TestTurnKey(t *testing.T) {
	t.Parallel()
	one, two := resource.HashSecret("sk-one"), resource.HashSecret("sk-two")
	plan := &resource.Rotation{Every: "1h", Deliver: resource.DeliverPickUp}
	for _, tt := range []struct {
		name    string
		by      fsm.Actor
		plan    *resource.Rotation
		edit    func(*resource.Key)
		refused error
	}{
		{"a secret is staged", node("n1"), plan, func(*resource.Key) {}, nil},
		{"and replaced", node("n1"), plan, func(k *resource.Key) { _ = k.Replace(two, "h", 3, 0) }, nil},
		{"no schedule", node("n1"), nil, func(*resource.Key) {}, resource.ErrForbidden},
		{"a role", node("n1"), plan, func(k *resource.Key) { k.Role = resource.RoleAdmin }, resource.ErrForbidden},
		{"models", node("n1"), plan, func(k *resource.Key) { k.Models = []string{"x"} }, resource.ErrForbidden},
		{"by a person", master, plan, func(*resource.Key) {}, resource.ErrForbidden},
		{"of another key", node("n1"), plan, func(k *resource.Key) { k.ID = "k9" }, resource.ErrNotFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := start(t)
			h.doAs(node("n1"), fsm.RegisterMember{Member: resource.Member{Meta: resource.Meta{ID: "n1"}, Name: "n1", Address: "n1:1", FSMVersion: 1}})
			k := resource.Key{Meta: resource.Meta{ID: "k1"}, Hash: one, Rotation: tt.plan}
			h.do(fsm.PutKey{Key: encoded(t, k)})
			stored, _ := h.f.Key("k1")
			next := *stored
			next.Stage(resource.NextSecret{Hash: two, At: 2, Sealed: &resource.Sealed{DEK: "d", Box: []byte{1}, Fingerprint: "f"}})
			tt.edit(&next)
			cmd := fsm.TurnKey{Read: stored.Version, Key: encoded(t, next)}
			if tt.refused != nil {
				h.refused(tt.by, cmd, tt.refused)
				return
			}
			h.doAs(tt.by, cmd)
			now, ok := h.f.KeyByHash(two)
			if !ok || now.ID != "k1" || !now.AcceptsAt(two, 1<<62) {
				t.Errorf("got %+v, %v", now, ok)
			}
			h.refused(tt.by, cmd, resource.ErrConflict)
		})
	}
}

// TestRotateKey: what a node does of itself to a key is in the audit log where the secret changes, and nowhere else.
func TestRotateKey(t *testing.T) {
	t.Parallel()
	h := start(t)
	one, two := resource.HashSecret("sk-one"), resource.HashSecret("sk-two")
	h.doAs(node("n1"), fsm.RegisterMember{Member: resource.Member{Meta: resource.Meta{ID: "n1"}, Name: "n1", Address: "n1:1", FSMVersion: 1}})
	h.do(fsm.PutKey{Key: encoded(t, resource.Key{
		Meta: resource.Meta{ID: "k1"}, Name: "nb", Hash: one, Rotation: &resource.Rotation{Every: "1h", Deliver: resource.DeliverPickUp},
	})})
	turn := func(by fsm.Actor, edit func(*resource.Key)) {
		t.Helper()
		stored, _ := h.f.Key("k1")
		next := *stored
		edit(&next)
		h.doAs(by, fsm.RotateKey{Read: stored.Version, Key: encoded(t, next)})
	}
	turn(node("n1"), func(k *resource.Key) {
		k.Stage(resource.NextSecret{Hash: two, At: 2, Sealed: &resource.Sealed{DEK: "d", Box: []byte{1}, Fingerprint: "f"}})
	})
	if items, _ := h.f.Audit(fsm.AuditQuery{}); len(items) != 1 {
		t.Fatalf("a staged secret: got %d entries, want 1", len(items))
	}
	owner := fsm.Actor{Kind: "node", ID: "n1", For: "key/k1", Address: "192.0.2.7"}
	turn(owner, func(k *resource.Key) { _ = k.Replace(two, "h", 3, 0) })
	h.doAs(node("n1"), fsm.DeleteAlerts{IDs: []string{"none"}})
	items, _ := h.f.Audit(fsm.AuditQuery{})
	if len(items) != 2 {
		t.Fatalf("got %d entries, want 2", len(items))
	}
	e := items[0]
	if e.Action != "rotate_key" || e.Actor != "node/n1" || e.For != "key/k1" || e.Address != "192.0.2.7" || e.Kind != "key" || e.ID != "k1" || e.Name != "nb" || !slices.Contains(e.Fields, "hash") {
		t.Errorf("got %+v", e)
	}
	h.verify()
}
