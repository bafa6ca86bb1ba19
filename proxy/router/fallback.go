package router

import "github.com/conclave-llm/conclave/resource"

// maxFallbacks is how many fallbacks of a model are looked at.
const maxFallbacks = 8

// fallbacks returns the models that stand in for model, in their order: those that the
// client names, else those of the model that exist and that every level allows. A fallback's
// own fallbacks are not followed, so that one list is all that can answer for a model.
func (p *planner) fallbacks(model *resource.Model) []*resource.Model {
	out := p.scratch.models[:0]
	if p.q.NoFallbacks {
		return out
	}
	names, configured := p.q.Fallbacks, false
	if len(names) == 0 {
		names, configured = model.Fallbacks, true
	}
	for _, name := range names {
		if len(out) == maxFallbacks {
			break
		}
		m, ok := p.cat.Resolve(name)
		if !ok || m.ID == model.ID && m.Name == model.Name || configured && !resource.LevelsAllow(p.q.Levels, m) {
			continue
		}
		out = append(out, m)
	}
	return out
}
