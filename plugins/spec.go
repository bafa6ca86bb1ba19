package plugins

import (
	"bytes"
	"slices"
	"strconv"
	"time"

	"github.com/conclave-llm/conclave/plugins/callback"
	"github.com/conclave-llm/conclave/resource"
)

// Kind is what a plugin does.
type Kind string

// The kinds of plugins.
const (
	KindGuardrail Kind = "guardrail"
	KindCallback  Kind = "callback"
)

// Spec is one plugin that should run. Each runs in a process of its own.
type Spec struct {
	Kind   Kind
	ID     string // of the guardrail or callback; names its high-water mark
	Name   string // of the guardrail or callback; unique in its kind
	Plugin string // name of the plugin
	Config []byte // JSON, the plugin's own

	Path    string // of the binary; empty: the plugin is shipped and this binary is run
	SHA256  string // of the binary at Path, hexadecimal
	NoMTLS  bool   // a Unix socket whose peer is checked, without TLS on it
	Missing bool   // no plugin of that name is registered: it cannot run

	Subscription callback.Subscription // of a callback
	Redelivery   *callback.Redelivery  // of a callback; nil: none is ordered

	Hooks    []resource.Hook // of a guardrail; empty: all that the plugin declares
	OnError  resource.OnError
	Deadline time.Duration
	Models   []string
	Optional bool
	Observe  bool
}

// Specs lists what should run for the catalog. shipped says which plugins this binary holds.
func Specs(cat *resource.Catalog, shipped func(kind Kind, name string) bool) []Spec {
	t := cat.Tables()
	var specs []Spec
	for _, g := range t.Guardrails {
		s := Spec{
			Kind: KindGuardrail, ID: g.ID, Name: g.Name, Plugin: g.Plugin, Config: g.Config,
			Hooks: g.Hooks, OnError: g.OnError, Deadline: time.Duration(g.DeadlineMS) * time.Millisecond,
			Models: g.Models, Optional: g.Optional, Observe: g.Mode == resource.ModeObserve,
		}
		s.find(t.Plugins, shipped)
		specs = append(specs, s)
	}
	for _, c := range t.Callbacks {
		s := Spec{Kind: KindCallback, ID: c.ID, Name: c.Name, Plugin: c.Plugin, Config: c.Config, Subscription: callback.SubscriptionOf(c)}
		if c.Redelivery != nil {
			s.Redelivery = &callback.Redelivery{ID: strconv.FormatInt(int64(c.Redelivery.Asked), 10), From: c.Redelivery.From.Std()}
		}
		s.find(t.Plugins, shipped)
		specs = append(specs, s)
	}
	return specs
}

// find fills in how the plugin is run.
func (s *Spec) find(registered []*resource.Plugin, shipped func(Kind, string) bool) {
	for _, p := range registered {
		if p.Name == s.Plugin && Kind(p.Kind) == s.Kind {
			s.Path, s.SHA256, s.NoMTLS = p.Path, p.SHA256, p.MTLS != nil && !*p.MTLS
			return
		}
	}
	s.Missing = !shipped(s.Kind, s.Plugin)
}

type key struct {
	kind Kind
	name string
}

func (s *Spec) key() key { return key{s.Kind, s.Name} }

// sameProcess says that a process of s also serves o.
func (s *Spec) sameProcess(o *Spec) bool {
	return s.Plugin == o.Plugin && s.Path == o.Path && s.SHA256 == o.SHA256 && s.NoMTLS == o.NoMTLS &&
		s.Missing == o.Missing && s.ID == o.ID && bytes.Equal(s.Config, o.Config)
}

// sameMember says that s and o are asked at the same moments and treated alike.
func (s *Spec) sameMember(o *Spec) bool {
	return slices.Equal(s.Hooks, o.Hooks) && s.OnError == o.OnError && s.Deadline == o.Deadline &&
		slices.Equal(s.Models, o.Models) && s.Optional == o.Optional && s.Observe == o.Observe
}
