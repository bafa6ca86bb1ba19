package fsm_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// TestBackup_Differences tells what was created, changed, blocked and deleted, and no secret.
func TestBackup_Differences(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	sealed := &resource.Sealed{DEK: "d", Box: []byte("planted box"), Fingerprint: "aabbccdd"}
	h.do(fsm.PutCredential{Credential: encoded(t, resource.Credential{Meta: meta("c1"), Name: "c", Provider: "openai", APIKey: sealed})})
	secretOf := func(id string) resource.Key {
		k := key(id)
		k.Hash = resource.HashSecret(id)
		return k
	}
	for _, id := range []string{"gone", "blocked", "same"} {
		h.do(fsm.PutKey{Key: encoded(t, secretOf(id))})
	}
	h.do(fsm.PutTeam{Team: encoded(t, resource.Team{Meta: meta("t1"), Name: "before"})})
	first, err := fsm.ReceiveIn(t.TempDir(), fsm.Version, bytes.NewReader(h.snapshot()))
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close() //nolint:errcheck // the folder is removed
	h.do(fsm.DeleteKey{ID: "gone"})
	h.do(fsm.BlockKey{ID: "blocked", Blocked: true})
	h.do(fsm.PutTeam{Team: encoded(t, resource.Team{Meta: meta("t1"), Name: "after"}), Read: h.f.Catalog().Tables().Teams[0].Version})
	c := *h.f.Catalog().Tables().Credentials[0]
	version := c.Version
	c.APIKey = &resource.Sealed{DEK: "d", Box: []byte("another planted box"), Fingerprint: "11223344"}
	h.do(fsm.PutCredential{Credential: encoded(t, c), Read: version})
	h.do(fsm.PutKey{Key: encoded(t, secretOf("made"))})
	second, err := fsm.ReceiveIn(t.TempDir(), fsm.Version, bytes.NewReader(h.snapshot()))
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close() //nolint:errcheck // the folder is removed

	type row struct {
		Change, Kind, ID string
		Fields           []string
	}
	var got []row
	var all bytes.Buffer
	see := func(d fsm.Difference) error {
		got = append(got, row{d.Change, d.Kind, d.ID, d.Fields})
		return json.NewEncoder(&all).Encode(d)
	}
	if err := first.Differences(second, see); err != nil {
		t.Fatal(err)
	}
	want := []row{
		{"changed", "key", "blocked", []string{"blocked"}},
		{"deleted", "key", "gone", nil},
		{"created", "key", "made", nil},
		{"changed", "team", "t1", []string{"name"}},
		{"changed", "credential", "c1", []string{"api_key"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, hidden := range []string{"planted", "cGxhbnRlZ"} {
		if bytes.Contains(all.Bytes(), []byte(hidden)) {
			t.Errorf("a secret is told: %s", all.Bytes())
		}
	}
	for _, shown := range []string{"11223344", `"before"`, `"after"`} {
		if !bytes.Contains(all.Bytes(), []byte(shown)) {
			t.Errorf("%s is not told: %s", shown, all.Bytes())
		}
	}
	got = nil
	if err := second.Differences(second, see); err != nil || len(got) != 0 {
		t.Errorf("with itself: got %v, %v", got, err)
	}
	counts, err := second.Counts()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, c := range counts {
		found = found || c.Kind == "keys" && c.Records == 3 && c.Bytes > 0
	}
	if !found {
		t.Errorf("counts: got %+v", counts)
	}
}
