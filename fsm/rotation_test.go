package fsm_test

import (
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
