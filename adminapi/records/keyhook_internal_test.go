package records

import (
	"testing"

	"github.com/conclave-llm/conclave/plugins/auth"
	"github.com/conclave-llm/conclave/resource"
)

// FuzzFillKey fills a key in with whatever a plugin gives: it is as it was, or valid, and the server's own
// fields are as they were.
func FuzzFillKey(f *testing.F) {
	for _, fill := range []string{`{}`, `{"models":["a"],"team_id":"t"}`, `{"hash":"00"}`, `{"limits":{"rpm":-1}}`, `{"name":null}`, `[`, `{"expires_at":"2027-01-01T00:00:00Z"}`, `{"created_by":"x"}`} {
		f.Add([]byte(fill))
	}
	f.Fuzz(func(t *testing.T, fill []byte) {
		k := &resource.Key{Meta: resource.Meta{ID: "key_1", CreatedBy: "master", Version: 3}, Name: "n", Hash: resource.HashSecret("sk-x"), Hint: "sk-...", Blocked: true}
		before := *k
		doc, err := shownKey(k)
		if err != nil {
			t.Fatal(err)
		}
		err = fillKey(k, doc, auth.HookUpdateKey, fill)
		if k.Meta != before.Meta || k.Hash != before.Hash || k.Hint != before.Hint || !k.Blocked {
			t.Errorf("%s gives the server's own: %+v", fill, k)
		}
		if k.TeamID != before.TeamID || k.UserID != before.UserID || k.ProjectID != before.ProjectID {
			t.Errorf("%s gives the key to another: %+v", fill, k)
		}
		if err != nil && k.Name != before.Name {
			t.Errorf("%s is refused and counts", fill)
		}
		if err == nil {
			if err := k.Validate(); err != nil {
				t.Errorf("%s makes a key that is not valid: %v", fill, err)
			}
		}
	})
}
