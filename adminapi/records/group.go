package records

import (
	"context"
	"slices"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// GroupModels makes exactly the named models those of an access group, in one entry; no names end
// the group. It says which models were written.
func (rs *Records) GroupModels(ctx context.Context, by Caller, group string, names []string) (Written, []*resource.Model, error) {
	var cmds []fsm.Command
	var changed []*resource.Model
	for _, name := range names {
		if _, ok := rs.Models.Find(name); !ok {
			return Written{}, nil, invalid("model_names", "there is no model "+name)
		}
	}
	for _, m := range rs.cfg.State.Catalog().Tables().Models {
		has, wanted := slices.Contains(m.AccessGroups, group), slices.Contains(names, m.Name) || slices.Contains(names, m.ID)
		if has == wanted {
			continue
		}
		now, err := rs.Models.Writable(by, m.ID)
		if err != nil {
			return Written{}, nil, err
		}
		next := *now
		next.AccessGroups = slices.DeleteFunc(slices.Clone(now.AccessGroups), func(g string) bool { return g == group })
		if wanted {
			next.AccessGroups = append(next.AccessGroups, group)
		}
		next.UpdatedAt, next.UpdatedBy = resource.At(rs.cfg.Now()), by.Who.Actor()
		put, err := rs.Models.command(by, now, &next)
		if err != nil {
			return Written{}, nil, err
		}
		cmds, changed = append(cmds, put), append(changed, &next)
	}
	if len(cmds) == 0 {
		return Written{}, nil, nil
	}
	w, err := rs.commit(ctx, by, cmds...)
	w.Version = 0
	return w, changed, err
}
