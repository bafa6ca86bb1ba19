package records

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func (rs *Records) variableNoun() *Noun[resource.Variable, *resource.Variable] {
	return &Noun[resource.Variable, *resource.Variable]{
		rs: rs, kind: "variable", path: "environment", prefix: "",
		all:     func(Query) []*resource.Variable { return rs.cfg.State.Catalog().Tables().Variables },
		find:    func(ref string) (*resource.Variable, bool) { return rs.cfg.State.Catalog().Variable(ref) },
		hidden:  []string{"overridden"},
		put:     PutVariable,
		remove:  func(id string) fsm.Command { return fsm.DeleteVariable{ID: id} },
		secrets: map[string]func(*resource.Variable) **resource.Sealed{"value": func(v *resource.Variable) **resource.Sealed { return &v.Value }},
	}
}

// PutVariable makes the command that writes a variable; read is the version that was read, 0 for none.
func PutVariable(next *resource.Variable, read uint64) (fsm.Command, error) {
	e, err := encoded(next)
	return fsm.PutVariable{Variable: e, Read: read}, err
}

// SetVariables sets variables, all of them or none.
func (rs *Records) SetVariables(ctx context.Context, by Caller, values map[string]string) (Written, error) {
	var cmds []fsm.Command
	for _, name := range slices.Sorted(maps.Keys(values)) {
		now, _ := rs.Variables.Find(name)
		doc := Document{}
		if err := errors.Join(doc.Set("id", name), doc.Set("value", values[name])); err != nil {
			return Written{}, err
		}
		if now != nil {
			if _, err := rs.Variables.Writable(by, name); err != nil {
				return Written{}, err
			}
			delete(doc, "id")
		}
		next, err := rs.Variables.draft(by, doc, now)
		if err != nil {
			return Written{}, err
		}
		cmd, err := rs.Variables.command(by, now, next)
		if err != nil {
			return Written{}, err
		}
		cmds = append(cmds, cmd)
	}
	return rs.commit(ctx, by, cmds...)
}
