package resource

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// maxExpansions bounds the names that a catalog remembers to have been asked of its patterns.
// Further ones are worked out again each time.
const maxExpansions = 2048

// wildcards are the models whose names are patterns, and what was asked of them.
type wildcards struct {
	patterns []*Model // the most specific first
	seen     atomic.Pointer[map[string]expansion]
	mu       sync.Mutex // guards the replacing of seen
}

// expansion is a model that stands for one name that a pattern covers.
type expansion struct {
	model       *Model
	deployments []*Deployment
}

// IsPattern says whether a model's name covers others: "openai/*", or "*" for all.
func IsPattern(name string) bool { return strings.Contains(name, "*") }

// newWildcards finds the patterns among the models: the longest first, and of those the one
// with fewer stars.
func newWildcards(models []*Model) *wildcards {
	w := &wildcards{}
	for _, m := range models {
		if IsPattern(m.Name) {
			w.patterns = append(w.patterns, m)
		}
	}
	slices.SortStableFunc(w.patterns, func(a, b *Model) int {
		return cmp.Or(
			cmp.Compare(literals(b.Name), literals(a.Name)),
			cmp.Compare(strings.Count(a.Name, "*"), strings.Count(b.Name, "*")),
			strings.Compare(a.Name, b.Name),
		)
	})
	w.seen.Store(&map[string]expansion{})
	return w
}

// literals counts what a pattern says letter for letter.
func literals(pattern string) int { return len(pattern) - strings.Count(pattern, "*") }

// Resolve returns the model that a request for the name asks: the one of that name, else the
// most specific pattern that covers it. Of a pattern it is a copy with the name in the pattern's
// place, whose limits and budgets are the pattern's, and ModelDeployments has its deployments.
func (c *Catalog) Resolve(name string) (*Model, bool) {
	if m, ok := c.models[name]; ok {
		return m, true
	}
	e, ok := c.expand(name)
	return e.model, ok
}

// ModelDeployments returns the deployments of a model that Resolve, Model or ModelByID gave, by
// order, name and id.
func (c *Catalog) ModelDeployments(m *Model) []*Deployment {
	if stored, ok := c.modelIDs[m.ID]; !ok || stored.Name == m.Name {
		return c.deployments[m.ID]
	}
	e, _ := c.expand(m.Name)
	return e.deployments
}

// Patterns are the models whose names cover others, the most specific first.
func (c *Catalog) Patterns() []*Model { return c.wild.patterns }

// expand finds what a pattern makes of a name. A name that is a pattern itself asks nothing.
func (c *Catalog) expand(name string) (expansion, bool) {
	if len(c.wild.patterns) == 0 || IsPattern(name) {
		return expansion{}, false
	}
	if e, ok := (*c.wild.seen.Load())[name]; ok {
		return e, true
	}
	for _, m := range c.wild.patterns {
		if parts, ok := capture(m.Name, name); ok {
			return c.wild.keep(name, expandTo(m, c.deployments[m.ID], name, parts)), true
		}
	}
	return expansion{}, false
}

// keep remembers an expansion, so that who asks for the name twice gets the same records.
func (w *wildcards) keep(name string, e expansion) expansion {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := *w.seen.Load()
	if have, ok := old[name]; ok {
		return have
	}
	if len(old) >= maxExpansions {
		return e
	}
	next := make(map[string]expansion, len(old)+1)
	maps.Copy(next, old)
	next[strings.Clone(name)] = e
	w.seen.Store(&next)
	return e
}

// expandTo makes the model and the deployments that a pattern has for one name.
func expandTo(m *Model, ds []*Deployment, name string, parts []string) expansion {
	name = strings.Clone(name) // it may be part of a request's body
	concrete := *m
	concrete.Name = name
	e := expansion{model: &concrete, deployments: make([]*Deployment, len(ds))}
	for i, d := range ds {
		next := *d
		next.Upstream = upstreamOf(m.Name, d, name, parts)
		e.deployments[i] = &next
	}
	return e
}

// upstreamOf is the model's name at a deployment's provider: what the pattern's stars stand for,
// in the place of those of the deployment's own name. One without a name there gets the whole
// name, but for the provider in front.
func upstreamOf(pattern string, d *Deployment, name string, parts []string) string {
	upstream := d.Upstream
	if upstream == "" {
		return strings.TrimPrefix(name, d.Provider+"/")
	}
	if pattern == "*" { // whoever asks may name the provider or not
		parts = []string{strings.TrimPrefix(name, d.Provider+"/")}
	}
	return filled(upstream, parts)
}

// filled puts the parts in the place of the stars. Stars without a part stay.
func filled(pattern string, parts []string) string {
	var out strings.Builder
	for _, part := range parts {
		before, after, ok := strings.Cut(pattern, "*")
		if !ok {
			break
		}
		out.WriteString(before)
		out.WriteString(part)
		pattern = after
	}
	out.WriteString(pattern)
	return out.String()
}

// NameUnder is the name that clients ask a pattern for to get a model of a deployment's provider;
// false if the deployment does not serve the model.
func NameUnder(pattern string, d *Deployment, model string) (string, bool) {
	if d.Upstream == "" || pattern == "*" {
		name := d.Provider + "/" + model
		if _, ok := capture(pattern, name); !ok || d.Upstream != "" && d.Upstream != "*" {
			return "", false
		}
		return name, true
	}
	parts, ok := capture(d.Upstream, model)
	if !ok || len(parts) != strings.Count(pattern, "*") {
		return "", false
	}
	return filled(pattern, parts), true
}

// capture matches a name with a pattern and returns what each star stands for: as little as
// possible, but for the last. A star stands for at least one letter.
func capture(pattern, name string) (parts []string, ok bool) {
	before, rest, _ := strings.Cut(pattern, "*")
	name, ok = strings.CutPrefix(name, before)
	for ok {
		literal, after, more := strings.Cut(rest, "*")
		if !more {
			part, ended := strings.CutSuffix(name, literal)
			return append(parts, part), ended && part != ""
		}
		at := -1
		if len(name) > 0 {
			at = strings.Index(name[1:], literal) + 1
		}
		if at < 1 {
			return nil, false
		}
		parts, name, rest = append(parts, name[:at]), name[at+len(literal):], after
	}
	return nil, false
}
