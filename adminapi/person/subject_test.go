package person

import (
	"encoding/json"
	"testing"

	"github.com/conclave-llm/conclave/resource"
)

// An entry is about a person by where his id stands, not because something else has the same.
func TestSubject(t *testing.T) {
	t.Parallel()
	user := &subject{kind: resource.HolderUser, id: "demo", email: "demo@example.org", keys: map[string]bool{"key_1": true}}
	customer := &subject{kind: resource.HolderCustomer, id: "demo"}
	for _, tt := range []struct {
		name           string
		entry          resource.AuditEntry
		user, customer bool
	}{
		{"his record", resource.AuditEntry{Kind: "user", ID: "demo"}, true, false},
		{"by his address", resource.AuditEntry{Kind: "user", ID: "demo@example.org"}, true, false},
		{"the end user's", resource.AuditEntry{Kind: "customer", ID: "demo"}, false, true},
		{"a model of the name", resource.AuditEntry{Kind: "model", ID: "demo", After: json.RawMessage(`{"name":"demo"}`)}, false, false},
		{"a team of the name", resource.AuditEntry{Kind: "team", ID: "demo", After: json.RawMessage(`{"name":"demo","models":["demo"]}`)}, false, false},
		{"another's key for a model of the name", resource.AuditEntry{Kind: "key", ID: "key_2", After: json.RawMessage(`{"models":["demo"],"user_id":"ada"}`)}, false, false},
		{"his key", resource.AuditEntry{Kind: "key", ID: "key_1", After: json.RawMessage(`{"limits":{"rpm":1}}`)}, true, false},
		{"a key that was his", resource.AuditEntry{Kind: "key", ID: "key_3", Before: json.RawMessage(`{"user_id":"demo"}`)}, true, false},
		{"his place in a team", resource.AuditEntry{Kind: "team_member", ID: "t1/demo"}, true, false},
		{"another's in a team of the name", resource.AuditEntry{Kind: "team_member", ID: "demo/ada"}, false, false},
		{"a blob below the name", resource.AuditEntry{Kind: "blob", ID: "x/demo"}, false, false},
		{"what he did", resource.AuditEntry{Kind: "model", ID: "m", Actor: "key/key_1"}, true, false},
		{"what was done for him", resource.AuditEntry{Kind: "model", ID: "m", For: "demo"}, true, false},
		{"what is told to him", resource.AuditEntry{Kind: "budget", ID: "b", After: json.RawMessage(`{"alerts":{"emails":["demo@example.org"]}}`)}, true, false},
		{"the list of the blocked", resource.AuditEntry{Kind: "setting", ID: "blocked_user_list", After: json.RawMessage(`{"value":["ada","demo"]}`)}, false, true},
		{"another setting", resource.AuditEntry{Kind: "setting", ID: "default_model", After: json.RawMessage(`{"value":"demo"}`)}, false, false},
		{"a document that names owners", resource.AuditEntry{Kind: "tag", ID: "t", After: json.RawMessage(`{"metadata":{"owners":{"demo":1}}}`)}, true, false},
		{"what is no document", resource.AuditEntry{Kind: "tag", ID: "t", After: json.RawMessage(`"demo" user`)}, false, false},
	} {
		if got := user.in(&tt.entry); got != tt.user {
			t.Errorf("%s: of the user: got %t", tt.name, got)
		}
		if got := customer.in(&tt.entry); got != tt.customer {
			t.Errorf("%s: of the end user: got %t", tt.name, got)
		}
	}
}
