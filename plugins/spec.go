package plugins

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/plugins/callback"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/resource"
)

// Kind is what a plugin does.
type Kind string

// The kinds of plugins.
const (
	KindGuardrail Kind = "guardrail"
	KindCallback  Kind = "callback"
	KindSource    Kind = "secret_source"
	KindAuth      Kind = "auth"
	KindFilter    Kind = "router_filter"
	KindProvider  Kind = "provider"
)

// Spec is one plugin that should run. Each runs in a process of its own.
type Spec struct {
	Kind   Kind
	ID     string // of the record; of a callback it names its high-water mark
	Name   string // of the record; unique in its kind
	Plugin string // name of the plugin
	Config []byte // JSON, the plugin's own

	Path    string // of the binary; empty: it was uploaded, or the plugin is shipped and this binary is run
	SHA256  string // of the binary, hexadecimal; empty: the plugin is shipped
	NoMTLS  bool   // a Unix socket whose peer is checked, without TLS on it
	Missing bool   // no plugin of that name is registered: it cannot run
	Bundle  string // version of an uploaded plugin
	NoMatch string // the platforms of an uploaded plugin that has no binary for this one: it cannot run
	Fault   string // why it cannot run whatever is registered

	Instances   int   // processes that share the questions, of a kind that may have several; 0: one
	MemoryLimit int64 // bytes of one process, above which it is killed; 0: the host's
	instance    int   // which of them
	Needed      bool  // of an auth plugin or a router filter: requests fail while none of them runs

	Deployment string // of a provider: one that it serves, out of whose record its configuration is made

	Subscription callback.Subscription // of a callback
	Redelivery   *callback.Redelivery  // of a callback; nil: none is ordered

	Hooks    []resource.Hook // of a guardrail; empty: all that the plugin declares
	OnError  resource.OnError
	Deadline time.Duration
	Models   []string
	Optional bool
	Observe  bool
	LogOnly  bool
	Forced   bool // no holder switches it off
	May      guardrail.Powers
	Headers  []string // of requests, in lower case, that it may see
}

// Specs lists what should run for the catalog. shipped says which plugins this binary holds.
func Specs(cat *resource.Catalog, shipped func(kind Kind, name string) bool) []Spec {
	t := cat.Tables()
	var specs []Spec
	for _, g := range t.Guardrails {
		s := Spec{
			Kind: KindGuardrail, ID: g.ID, Name: g.Name, Plugin: g.Plugin, Config: g.Config,
			Hooks: g.Hooks, OnError: g.OnError, Deadline: time.Duration(g.DeadlineMS) * time.Millisecond,
			Models: g.Models, Optional: g.Optional, Observe: g.Mode == resource.ModeObserve, LogOnly: g.Mode == resource.ModeLogOnly,
			Forced: g.Mandatory, May: guardrail.PowersOf(g.May),
			Instances: int(g.Instances), MemoryLimit: g.MemoryMB << 20,
		}
		for _, name := range g.Headers {
			s.Headers = append(s.Headers, strings.ToLower(name))
		}
		s.find(t.Plugins, shipped)
		specs = append(specs, s)
	}
	for _, c := range t.Callbacks {
		s := Spec{
			Kind: KindCallback, ID: c.ID, Name: c.Name, Plugin: c.Plugin, Config: c.Config, MemoryLimit: c.MemoryMB << 20,
			Subscription: callback.SubscriptionOf(c),
		}
		if c.Redelivery != nil {
			s.Redelivery = &callback.Redelivery{ID: strconv.FormatInt(int64(c.Redelivery.Asked), 10), From: c.Redelivery.From.Std()}
		}
		s.find(t.Plugins, shipped)
		specs = append(specs, s)
	}
	for _, r := range t.SecretSources {
		s := Spec{Kind: KindSource, ID: r.ID, Name: r.Name, Plugin: r.Plugin, Config: r.Config, MemoryLimit: r.MemoryMB << 20}
		s.find(t.Plugins, shipped)
		specs = append(specs, s)
	}
	for _, r := range t.Auths {
		s := using(KindAuth, r.ID, r.Name, &r.PluginUse, t.Plugins, shipped)
		s.Needed = r.OnError != resource.OnErrorPass && r.Mode != resource.AuthUnknown
		specs = append(specs, s)
	}
	for _, r := range t.RouterFilters {
		s := using(KindFilter, r.ID, r.Name, &r.PluginUse, t.Plugins, shipped)
		s.Needed = r.OnError != resource.OnErrorPass
		specs = append(specs, s)
	}
	return append(specs, providers(cat, shipped)...)
}

// providers lists the processes that answer for deployments: those with the same settings share one.
func providers(cat *resource.Catalog, shipped func(Kind, string) bool) (specs []Spec) {
	seen := map[string]bool{}
	for _, d := range cat.Tables().Deployments {
		if d.PluginName() == "" {
			continue
		}
		if name := d.PluginProcess(); !seen[name] {
			seen[name] = true
			specs = append(specs, ProviderSpec(cat, d, shipped))
		}
	}
	return specs
}

// ProviderSpec is the process that answers for a deployment, without its configuration; the deployment need not be stored.
func ProviderSpec(cat *resource.Catalog, d *resource.Deployment, shipped func(kind Kind, name string) bool) Spec {
	name := d.PluginProcess()
	s := Spec{Kind: KindProvider, ID: name, Name: name, Plugin: d.PluginName(), Deployment: d.ID}
	c, _ := cat.Credential(d.CredentialID)
	instances, memory, err := d.PluginRun(c)
	if err != nil {
		s.Fault = err.Error() // the credential was changed
	}
	s.Instances, s.MemoryLimit = int(instances), memory<<20
	s.find(cat.Tables().Plugins, shipped)
	return s
}

// using is the spec of a record that uses a plugin of the kind.
func using(kind Kind, id, name string, u *resource.PluginUse, registered []*resource.Plugin, shipped func(Kind, string) bool) Spec {
	s := Spec{
		Kind: kind, ID: id, Name: name, Plugin: u.Plugin, Config: u.Config, Instances: int(u.Instances), MemoryLimit: u.MemoryMB << 20,
	}
	s.find(registered, shipped)
	return s
}

// find fills in how the plugin is run.
func (s *Spec) find(registered []*resource.Plugin, shipped func(Kind, string) bool) {
	for _, p := range registered {
		if p.Name == s.Plugin && Kind(p.Kind) == s.Kind {
			s.register(p)
			return
		}
	}
	s.Missing = !shipped(s.Kind, s.Plugin)
}

// register fills in what the record says.
func (s *Spec) register(p *resource.Plugin) {
	if p.Manifest == "" {
		s.Path, s.SHA256, s.NoMTLS = p.Path, p.SHA256, p.MTLS != nil && !*p.MTLS
		return
	}
	m := p.Bundle()
	if m == nil {
		s.Fault = "the plugin's manifest is newer than this node"
		return
	}
	s.Bundle, s.NoMTLS = m.Version, m.MTLS != nil && !*m.MTLS
	if b, ok := m.For(runtime.GOOS, runtime.GOARCH); ok {
		s.SHA256 = b.SHA256
		return
	}
	platforms := make([]string, len(m.Binaries))
	for i, b := range m.Binaries {
		platforms[i] = b.Platform()
	}
	s.NoMatch = strings.Join(platforms, ", ")
}

// ErrNoBinary is why an uploaded plugin does not run on a platform that its bundle lacks.
var ErrNoBinary = errors.New("no_binary_for_platform")

// unable returns why the plugin cannot run before its spec changes, nil if it can.
func (s *Spec) unable() error {
	switch {
	case s.Fault != "":
		return &unable{StateFaulty, errors.New(s.Fault)}
	case s.NoMatch != "":
		return &unable{StateNoBinary, fmt.Errorf("%w: the bundle of %s %s is for %s, this node is %s/%s", ErrNoBinary, s.Plugin, s.Bundle, s.NoMatch, runtime.GOOS, runtime.GOARCH)}
	case s.Missing:
		return &unable{StateMissing, fmt.Errorf("no %s plugin is registered as %q", s.Kind, s.Plugin)}
	}
	return nil
}

// unable is an error that a new start would not change.
type unable struct {
	state State
	error
}

// Unwrap returns the error within.
func (u *unable) Unwrap() error { return u.error }

// key names one process.
type key struct {
	kind     Kind
	name     string
	instance int
}

func (s *Spec) key() key { return key{s.Kind, s.Name, s.instance} }

// processes lists the processes of the specs: what may have several instances has as many.
func processes(specs []Spec) map[key]*Spec {
	out := make(map[key]*Spec, len(specs))
	for _, s := range specs {
		n := 1
		if s.Kind != KindCallback && s.Kind != KindSource {
			n = max(1, s.Instances)
		}
		for i := range n {
			one := s
			one.instance = i
			out[one.key()] = &one
		}
	}
	return out
}

// sameProcess says that a process of s also serves o.
func (s *Spec) sameProcess(o *Spec) bool {
	return s.sameBinary(o) && s.Missing == o.Missing && s.NoMatch == o.NoMatch && s.Fault == o.Fault &&
		s.ID == o.ID && bytes.Equal(s.Config, o.Config)
}

// sameBinary says that s and o run the same program.
func (s *Spec) sameBinary(o *Spec) bool {
	return s.Plugin == o.Plugin && s.Path == o.Path && s.SHA256 == o.SHA256 && s.Bundle == o.Bundle && s.NoMTLS == o.NoMTLS
}

// sameMember says that s and o are asked at the same moments and treated alike.
func (s *Spec) sameMember(o *Spec) bool {
	return slices.Equal(s.Hooks, o.Hooks) && s.OnError == o.OnError && s.Deadline == o.Deadline &&
		slices.Equal(s.Models, o.Models) && s.Optional == o.Optional && s.Observe == o.Observe &&
		s.LogOnly == o.LogOnly && s.Forced == o.Forced && s.May == o.May && slices.Equal(s.Headers, o.Headers)
}
