package records

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"

	"github.com/conclave-llm/conclave/plugins/schema"
)

// takeMarked takes out of the member "config" of a document what the schema of its plugin marks as secret,
// and adds it to what is given by name, to be sealed. What is given by name anew takes the place of what the
// stored configuration, nil for none, has there; with another text beside it, it is refused.
func (rs *Records) takeMarked(kind string, doc Document, named map[string]json.RawMessage, stored json.RawMessage) (map[string]json.RawMessage, error) {
	var plugin string
	if json.Unmarshal(doc["plugin"], &plugin) != nil {
		return named, nil // Decode says what is wrong with it
	}
	for name, given := range named {
		if !isText(given) {
			continue
		}
		if rest, had := withoutMember(doc["config"], name, stored); had {
			doc["config"] = rest
		}
	}
	rest, texts, err := schema.TakeSecrets(rs.cfg.State.Catalog().Tables().Plugins, kind, plugin, doc["config"])
	if err != nil || len(texts) == 0 {
		return named, err
	}
	doc["config"] = rest
	if named == nil {
		named = make(map[string]json.RawMessage, len(texts))
	}
	for name, text := range texts {
		if isText(named[name]) {
			return nil, invalid("secrets."+name, "is given in config too")
		}
		if named[name], err = json.Marshal(text); err != nil {
			return nil, err
		}
	}
	return named, nil
}

// isText says whether a secret is given, and not what is shown of a stored one.
func isText(raw json.RawMessage) bool {
	raw = bytes.TrimSpace(raw)
	return len(raw) > 0 && raw[0] == '"'
}

// withoutMember is a configuration without the member, "a" or "a.b" of an object in it, that it has as the
// stored one does; false: it has none or another.
func withoutMember(config json.RawMessage, name string, stored json.RawMessage) (json.RawMessage, bool) {
	outer, inner, nested := strings.Cut(name, ".")
	if !nested {
		return withoutSame(config, name, stored)
	}
	var now, before map[string]json.RawMessage
	if json.Unmarshal(config, &now) != nil || json.Unmarshal(stored, &before) != nil {
		return nil, false
	}
	left, had := withoutSame(now[outer], inner, before[outer])
	if !had {
		return nil, false
	}
	now[outer] = left
	rest, err := json.Marshal(now)
	return rest, err == nil
}

func withoutSame(object json.RawMessage, name string, stored json.RawMessage) (json.RawMessage, bool) {
	var now, before map[string]json.RawMessage
	if json.Unmarshal(object, &now) != nil || json.Unmarshal(stored, &before) != nil || now[name] == nil || !sameValue(now[name], before[name]) {
		return nil, false
	}
	delete(now, name)
	rest, err := json.Marshal(now)
	return rest, err == nil
}

// sameValue says whether two documents of JSON say the same, however it is written: a file writes 1.5 for 1.50.
func sameValue(a, b json.RawMessage) bool {
	var x, y any
	return bytes.Equal(a, b) || json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}
