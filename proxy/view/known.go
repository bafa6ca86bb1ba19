package view

import (
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/resource"
)

// served are the modes of models that requests may be for.
var served = []string{"chat", "completion", "responses", "embedding"}

// Known lists the names that a model whose name is a pattern is known to cover, of models in the
// price table, sorted. A name that a more specific record covers is that one's.
func (v *View) Known(pattern *resource.Model) []string {
	if names, ok := v.known.Load(pattern.ID); ok {
		return names.([]string)
	}
	var names []string
	for _, d := range v.cat.Deployments(pattern.ID) {
		for _, model := range v.book.Models(d.Provider, served...) {
			name, ok := resource.NameUnder(pattern.Name, d, model)
			if !ok {
				continue
			}
			if m, ok := v.cat.Resolve(name); ok && m.ID == pattern.ID {
				names = append(names, strings.Clone(name))
			}
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	v.known.Store(pattern.ID, names)
	return names
}
