package person

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/resource"
)

// kindMember is the kind of entries about users' places in teams, whose ids are TEAM/USER.
const kindMember = "team_member"

// subject is a person as audit entries name him. Other records may have his id, too, and any text may be it: what counts is
// where it stands.
type subject struct {
	kind, id string
	email    string          // of a user; ""
	keys     map[string]bool // ids of a user's keys
}

// in says whether the person has caused an entry, or it is about him.
func (s *subject) in(e *resource.AuditEntry) bool {
	key, isKey := strings.CutPrefix(e.Actor, "key/")
	switch {
	case e.Kind == s.kind && s.is(e.ID):
		return true
	case s.kind != resource.HolderUser:
	case isKey && s.keys[key], e.Kind == resource.HolderKey && s.keys[e.ID], s.is(e.For):
		return true
	case e.Kind == kindMember && strings.HasSuffix(e.ID, "/"+s.id):
		return true
	}
	return s.named(e)
}

func (s *subject) is(text string) bool { return text == s.id || text != "" && text == s.email }

// named says whether what an entry has of its record names the person.
func (s *subject) named(e *resource.AuditEntry) bool {
	field := ""
	if e.Kind == "setting" {
		field = e.ID // what its value is of
	}
	return s.namedIn(field, e.Before) || s.namedIn(field, e.After)
}

func (s *subject) namedIn(field string, doc json.RawMessage) bool {
	if s.email != "" && bytes.Contains(doc, quoted(s.email)) {
		return true // nobody else has it
	}
	if !bytes.Contains(doc, quoted(s.id)) {
		return false
	}
	var v any
	return json.Unmarshal(doc, &v) == nil && s.mentioned(field, v)
}

func quoted(text string) []byte {
	b, _ := json.Marshal(text)
	return b
}

// mentioned says whether a value names the person, which stands in the field.
func (s *subject) mentioned(field string, v any) bool {
	switch v := v.(type) {
	case string:
		return v == s.id && s.holds(field)
	case []any:
		return slices.ContainsFunc(v, func(v any) bool { return s.mentioned(field, v) })
	case map[string]any:
		for name, v := range v {
			at := name
			if name == "value" && field != "" {
				at = field // of a setting
			}
			if name == s.id && s.holds(field) || s.mentioned(at, v) {
				return true
			}
		}
	}
	return false
}

// holds says whether a field is one in which such people are named by their ids.
func (s *subject) holds(field string) bool {
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(field, w) })
	}
	if ends := has("customer", "end_user", "blocked_user"); ends || s.kind == resource.HolderCustomer {
		return s.kind == resource.HolderCustomer && (ends || field == "user") // as requests have it
	}
	return has("user", "owner", "member")
}
