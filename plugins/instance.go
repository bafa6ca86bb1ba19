package plugins

import (
	"context"
	"fmt"

	"github.com/conclave-llm/conclave/plugins/auth"
	"github.com/conclave-llm/conclave/plugins/callback"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/modelserver"
	"github.com/conclave-llm/conclave/plugins/routerfilter"
	"github.com/conclave-llm/conclave/plugins/secretsource"
)

// instance is a configured process.
type instance struct {
	spec     Spec // that it was made for
	p        *process
	live     *guardrail.Live
	callback callback.Description
	auth     auth.Description
	serves   modelserver.Description // of a provider
	version  string
	sdk      uint32
}

// launch starts and configures a process for the spec; what it writes goes to output.
func (h *Host) launch(ctx context.Context, spec Spec, output *lines) (*instance, error) {
	if err := spec.unable(); err != nil {
		return nil, err
	}
	p, err := h.startProcess(ctx, &spec, output)
	if err != nil {
		return nil, err
	}
	turn, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	i := &instance{spec: spec, p: p}
	switch c := p.conn.(type) {
	case *guardrail.Client:
		i.live = &guardrail.Live{Backend: c}
		i.live.Description, err = c.Configure(turn, guardrail.Settings{
			Name: spec.Name, Config: spec.Config, HostVersion: h.cfg.Version,
		})
		i.version, i.sdk = i.live.Description.Version, i.live.Description.SDKMinor
	case *callback.Client:
		i.callback, err = c.Configure(turn, callback.Settings{
			Name: spec.Name, Config: spec.Config, HostVersion: h.cfg.Version,
		})
		i.version, i.sdk = i.callback.Version, i.callback.SDKMinor
	case *secretsource.Client:
		var d secretsource.Description
		d, err = c.Configure(turn, secretsource.Settings{Name: spec.Name, Config: spec.Config, HostVersion: h.cfg.Version})
		i.version, i.sdk = d.Version, d.SDKMinor
	case *auth.Client:
		i.auth, err = c.Configure(turn, auth.Settings{Name: spec.Name, Config: spec.Config, HostVersion: h.cfg.Version})
		i.version, i.sdk = i.auth.Version, i.auth.SDKMinor
	case *routerfilter.Client:
		var d routerfilter.Description
		d, err = c.Configure(turn, routerfilter.Settings{Name: spec.Name, Config: spec.Config, HostVersion: h.cfg.Version})
		i.version, i.sdk = d.Version, d.SDKMinor
	case *modelserver.Client:
		i.serves, err = c.Configure(turn, modelserver.Settings{Name: spec.Name, Config: spec.Config, HostVersion: h.cfg.Version})
		i.version, i.sdk = i.serves.Version, i.serves.SDKMinor
	}
	if s, ok := p.conn.(session); ok && err == nil {
		err = shadow(turn, s)
	}
	if err != nil {
		p.kill()
		return nil, err
	}
	return i, nil
}

// shadow sees that a new process answers, before requests depend on it: while it does not, the
// old one stays.
func shadow(ctx context.Context, s session) error {
	if err := s.Ping(ctx); err != nil {
		return fmt.Errorf("the new process was configured, and does not answer: %w", err)
	}
	return nil
}

// Describe starts a process for the spec of a provider, has it say what it serves, and ends it. What runs for other specs
// is left alone. It may be called concurrently.
func (h *Host) Describe(ctx context.Context, s Spec) (modelserver.Description, error) {
	if err := h.begin(&s); err != nil {
		return modelserver.Description{}, err
	}
	defer h.retiring.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-h.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	i, err := h.launch(ctx, s, &lines{log: h.cfg.Logger.With("kind", string(s.Kind), "name", s.Name, "plugin", s.Plugin)})
	if err != nil {
		return modelserver.Description{}, err
	}
	i.p.kill()
	return i.serves, nil
}

// begin counts a process that is no supervisor's among those that Close waits for.
func (h *Host) begin(s *Spec) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	if err := h.prepareLocked(map[key]*Spec{s.key(): s}); err != nil {
		return err
	}
	h.retiring.Add(1)
	return nil
}
