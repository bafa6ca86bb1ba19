package router

import "github.com/conclave-llm/conclave/resource"

// maxFallbacks is how many fallbacks of a model are looked at.
const maxFallbacks = 8

// fallbacks returns the models that stand in for model, in its order: those that exist and
// that the principal may use. A fallback's own fallbacks are not followed, so that the list
// in the model's record is all that can answer for it.
func (p *planner) fallbacks(model *resource.Model) []*resource.Model {
	out := p.scratch.models[:0]
	for _, name := range model.Fallbacks {
		if len(out) == maxFallbacks {
			break
		}
		m, ok := p.cat.Model(name)
		if !ok || m.ID == model.ID {
			continue
		}
		if p.q.Principal != nil && !p.q.Principal.AllowsModel(name) {
			continue
		}
		out = append(out, m)
	}
	return out
}
