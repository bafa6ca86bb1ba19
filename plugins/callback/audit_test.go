package callback_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/plugins/callback"
	"github.com/conclave-llm/conclave/resource"
)

// auditor is a sink that takes audit entries, too.
type auditor struct {
	sink
	take    func(n int) (int, error)
	entries []resource.AuditEntry
}

func (a *auditor) DeliverAudit(_ context.Context, entries []resource.AuditEntry) (int, error) {
	a.entries = append(a.entries, entries...)
	return a.take(len(entries))
}

func TestClient_DeliverAudit(t *testing.T) {
	t.Parallel()
	entries := []resource.AuditEntry{
		{
			Number: 3, Index: 9, At: 5, Actor: "master", Address: "10.0.0.1", Action: "put_team", Kind: "team", ID: "t1", Version: 2,
			Fields: []string{"name"}, Before: json.RawMessage(`{"name":"a"}`), After: json.RawMessage(`{"name":"b"}`), Hash: resource.HashSecret("x"),
		},
		{Number: 4, At: 6, Action: "sign_in", Outcome: resource.AuditFailed, Count: 7},
	}
	for _, tt := range []struct {
		name string
		take func(n int) (int, error)
		want int
		fail bool
	}{
		{"all", func(n int) (int, error) { return n, nil }, 2, false},
		{"one", func(int) (int, error) { return 1, errors.New("full") }, 1, false},
		{"none", func(int) (int, error) { return 0, errors.New("down") }, 0, true},
		{"too many", func(int) (int, error) { return 3, nil }, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := &auditor{take: tt.take}
			n, err := dial(t, a).DeliverAudit(t.Context(), entries)
			if n != tt.want || (err != nil) != tt.fail {
				t.Errorf("got %d (%v), want %d", n, err, tt.want)
			}
			if d := cmp.Diff(entries, a.entries); d != "" {
				t.Errorf("entries differ (-want +got):\n%s", d)
			}
		})
	}
	if _, err := dial(t, &sink{}).DeliverAudit(t.Context(), entries); !errors.Is(err, callback.ErrNoAudit) {
		t.Errorf("a plugin that takes none: got %v, want %v", err, callback.ErrNoAudit)
	}
}
