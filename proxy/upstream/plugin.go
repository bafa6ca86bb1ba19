package upstream

import (
	"context"
	"errors"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/modelserver"
)

// errNoPlugins is a client that was not told of any.
var errNoPlugins = &llm.Error{Kind: llm.Unavailable, Code: "provider_plugin_not_running", Message: "This node runs no plugins."}

// askPlugin is Do of an attempt at a plugin: the same timers run, and the same reads its answer.
func (c *Client) askPlugin(ctx context.Context, a *Attempt) (*Answer, error) {
	if c.cfg.Plugins == nil {
		return nil, errNoPlugins
	}
	cl := c.begin(ctx, a)
	res, err := c.cfg.Plugins.RoundTrip(cl.ctx, a.Plugin, &modelserver.Question{ //nolint:bodyclose // cl closes it
		Endpoint: a.Endpoint, Stream: a.Stream, Request: modelserver.Request{ID: a.ID, Model: a.Model, Body: a.Body},
	})
	if err != nil {
		defer cl.stop()
		return nil, cl.failure(err)
	}
	cl.timer.Stop()
	cl.body = res.Body
	return c.answered(cl, a, res)
}

// probePlugin is Probe of a plugin.
func (c *Client) probePlugin(ctx context.Context, a *Attempt) error {
	if c.cfg.Plugins == nil {
		return errNoPlugins
	}
	err := c.cfg.Plugins.Probe(ctx, a.Plugin)
	if _, ok := errors.AsType[*llm.Error](err); err == nil || ok {
		return err
	}
	return &llm.Error{Kind: llm.Timeout, Code: "timeout_total", Message: "The provider's plugin gives no sign of life.", Err: err}
}
