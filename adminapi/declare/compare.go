package declare

import (
	"bytes"
	"encoding/json"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/resource"
)

// unshown are the fields that no file says: they are no part of a comparison.
var unshown = []string{
	"id", "owner", "created_at", "created_by", "updated_at", "updated_by", "version",
	"hint", "old_hashes", "next", "turns", "rotate_at", "rotated_at",
}

// references are the fields that hold ids, with what a file calls them.
var references = map[string]string{
	"team_id": "team", "organization_id": "organization", "project_id": "project", "budget_id": "shared_budget",
	"credential_id": "credential",
}

// printDigits is how many digits of a secret's hash are its fingerprint.
const printDigits = 8

// nameReferences puts names in the place of the ids of other records.
func (p *planner) nameReferences(doc map[string]any) {
	for field, name := range references {
		if id, ok := doc[field].(string); ok {
			delete(doc, field)
			doc[name] = p.nameOf(field, id)
		}
	}
	if ids, ok := doc["access_group_ids"].([]any); ok {
		for i := range ids {
			id, _ := ids[i].(string)
			ids[i] = p.nameOf("access_group_ids", id)
		}
	}
}

// shown is a record as a file and a plan say it: without what the server writes, with names
// for ids and fingerprints for secrets.
func (p *planner) shown(r resource.Record) (map[string]any, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var doc map[string]any
	if err := dec.Decode(&doc); err != nil {
		return nil, err
	}
	for _, name := range unshown {
		delete(doc, name)
	}
	switch r := r.(type) { // what its name says
	case *resource.Deployment:
		delete(doc, "model_id")
		delete(doc, "name")
	case *resource.TeamMember:
		delete(doc, "team_id")
		delete(doc, "user_id")
	default:
		if r.Label() != "" {
			delete(doc, "name")
		}
	}
	p.nameReferences(doc)
	if hash, ok := doc["hash"].(string); ok {
		delete(doc, "hash")
		doc["secret"] = "sha256:" + hash[:min(printDigits, len(hash))]
	}
	for _, name := range []string{"api_key", "rotation_key", "value"} {
		if m, ok := doc[name].(map[string]any); ok {
			print, _ := m["fingerprint"].(string)
			doc[name] = "sealed:" + print
		}
	}
	if named, ok := doc["secrets"].(map[string]any); ok {
		for name, v := range named {
			if m, ok := v.(map[string]any); ok {
				print, _ := m["fingerprint"].(string)
				named[name] = "sealed:" + print
			}
		}
	}
	return doc, nil
}

// nameOf is the name of what a field refers to.
func (p *planner) nameOf(field, id string) string {
	if name, ok := p.names[id]; ok {
		return name
	}
	t := p.cat.Tables()
	switch field {
	case "team_id":
		return nameIn(t.Teams, id)
	case "organization_id":
		return nameIn(t.Organizations, id)
	case "project_id":
		return nameIn(t.Projects, id)
	case "budget_id":
		return nameIn(t.Budgets, id)
	case "access_group_ids":
		return nameIn(t.AccessGroups, id)
	default:
		return nameIn(t.Credentials, id)
	}
}

func nameIn[P resource.Record](all []P, id string) string {
	for _, r := range all {
		if r.Head().ID == id {
			return nameOf(r)
		}
	}
	return id
}

// differences are the fields that differ, by name; fields within objects and lists of the
// same length are compared one by one.
func differences(before, after map[string]any) []client.FieldChange {
	d := &differ{}
	d.objects("", before, after)
	return d.out
}

type differ struct{ out []client.FieldChange }

func (d *differ) objects(path string, before, after map[string]any) {
	all := maps.Clone(before)
	if all == nil {
		all = map[string]any{}
	}
	maps.Copy(all, after)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		d.values(strings.TrimPrefix(path+"."+name, "."), before[name], after[name])
	}
}

func (d *differ) values(path string, before, after any) {
	if equal(before, after) {
		return
	}
	switch a := after.(type) {
	case map[string]any:
		if b, ok := before.(map[string]any); ok {
			d.objects(path, b, a)
			return
		}
	case []any:
		if b, ok := before.([]any); ok && len(a) == len(b) {
			for i := range a {
				d.values(path+"["+strconv.Itoa(i)+"]", b[i], a[i])
			}
			return
		}
	}
	d.out = append(d.out, client.FieldChange{Field: path, Before: raw(before), After: raw(after)})
}

func raw(v any) json.RawMessage {
	if v == nil {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return b
}

// equal compares values as JSON means them: numbers by their value, objects in any order. Nil
// is what is absent, and the same as an empty list or object.
func equal(a, b any) bool {
	switch a := a.(type) {
	case nil:
		return empty(b)
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && maps.EqualFunc(a, b, equal) || !ok && len(a) == 0 && b == nil
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equal) || !ok && len(a) == 0 && b == nil
	case json.Number:
		b, ok := b.(json.Number)
		return ok && sameNumber(a.String(), b.String())
	default:
		return a == b
	}
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	default:
		return false
	}
}

// sameNumber compares as many digits as a file keeps.
func sameNumber(a, b string) bool {
	if a == b {
		return true
	}
	const bits = 512
	x, _, errX := big.ParseFloat(a, 10, bits, big.ToNearestEven)
	y, _, errY := big.ParseFloat(b, 10, bits, big.ToNearestEven)
	return errX == nil && errY == nil && x.Cmp(y) == 0
}

// fieldNames lists the fields of changes.
func fieldNames(changes []client.FieldChange) string {
	var names []string
	for i := range changes {
		names = append(names, changes[i].Field)
	}
	return strings.Join(names, ", ")
}
