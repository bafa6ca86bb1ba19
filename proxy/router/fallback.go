package router

import "github.com/conclave-llm/conclave/resource"

// maxFallbacks is how many fallbacks of a model are looked at.
const maxFallbacks = 8

// fallbacks returns the models that stand in for model, in their order.
func (p *planner) fallbacks(model *resource.Model) []*resource.Model {
	return p.q.StandIns(p.scratch.models[:0], p.cat, model)
}

// StandIns appends the models that stand in for model, in their order: those that the client
// names, else those of the model that exist and that every level allows. A fallback's own
// fallbacks are not followed, so that one list is all that can answer for a model.
func (q *Query) StandIns(out []*resource.Model, cat *resource.Catalog, model *resource.Model) []*resource.Model {
	if q.NoFallbacks {
		return out
	}
	names, configured := q.Fallbacks, false
	if len(names) == 0 {
		names, configured = model.Fallbacks, true
	}
	for _, name := range names {
		if len(out) == maxFallbacks {
			break
		}
		m, ok := cat.Resolve(name)
		if !ok || m.ID == model.ID && m.Name == model.Name || configured && !cat.LevelsAllow(q.Levels, m) {
			continue
		}
		out = append(out, m)
	}
	return out
}

// InService says whether a deployment may be asked at all: nobody has taken it out, and its
// credential is known.
func InService(cat *resource.Catalog, d *resource.Deployment) bool {
	if d.Blocked || d.Weight != nil && *d.Weight == 0 {
		return false
	}
	if d.CredentialID == "" {
		return true
	}
	_, ok := cat.Credential(d.CredentialID)
	return ok
}
