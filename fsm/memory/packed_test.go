package memory_test

import (
	"fmt"
	"testing"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/resource"
)

type members = memory.Packed[resource.TeamMember, *resource.TeamMember]

func setMember(t testing.TB, m *members, team, user string, flags byte) {
	t.Helper()
	id := resource.TeamMemberID(team, user)
	e, err := codec.Encode(resource.TeamMember{Meta: resource.Meta{ID: id}, TeamID: team, UserID: user})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Set(id, frame.Value{Version: 7, Flags: flags, Payload: e.Raw()}); err != nil {
		t.Fatal(err)
	}
}

func TestPacked(t *testing.T) {
	t.Parallel()
	m := memory.NewPacked[resource.TeamMember, *resource.TeamMember]()
	const n = 30_000 // more than are kept decoded
	for i := range n {
		setMember(t, m, "t1", fmt.Sprint("u", i), 0)
	}
	for i := range n {
		r, ok := m.ByParts("t1", fmt.Sprint("u", i))
		if !ok || r.UserID != fmt.Sprint("u", i) || r.Version != 7 {
			t.Fatalf("%d: got %+v, %v", i, r, ok)
		}
	}
	setMember(t, m, "t1", "u5", 0)
	for i := 0; i < n; i += 2 {
		m.Drop(fmt.Sprint("t1/u", i))
	}
	if got, want := m.Len(), n/2; got != want {
		t.Errorf("got %d records, want %d", got, want)
	}
	if _, ok := m.ByID("t1/u2"); ok {
		t.Error("a dropped record is still there")
	}
	if _, ok := m.ByParts("t1/u5", ""); ok {
		t.Error("parts that make another id found a record")
	}
	items, next, total := m.List(memory.Query{Limit: 2, Where: map[string]string{"user_id": "u7"}})
	if len(items) != 1 || next != "" || total != 1 {
		t.Errorf("list: got %v, %q, %d", items, next, total)
	}
	if err := m.Set("t1/u1", frame.Value{Payload: []byte{0xff}}); err == nil {
		t.Error("damaged bytes were taken for a record")
	}
}

func BenchmarkPacked_ByParts(b *testing.B) {
	m := memory.NewPacked[resource.TeamMember, *resource.TeamMember]()
	setMember(b, m, "team_abcdefghijklmnop", "user_abcdefghijklmnop", 0)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := m.ByParts("team_abcdefghijklmnop", "user_abcdefghijklmnop"); !ok {
			b.Fatal("not found")
		}
	}
}
