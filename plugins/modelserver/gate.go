package modelserver

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/session"
)

// Gate asks provider plugins by the names of their processes. The zero value knows none. It may be used
// concurrently.
type Gate struct{ session.Pools[*Client] }

// RoundTrip asks the processes of the name, and waits until the answer begins. It is one over HTTP, in OpenAI's
// words, whose body must be closed: the plugin's errors are answers of their status. What it returns as an
// error is an *llm.Error, or ctx's.
func (g *Gate) RoundTrip(ctx context.Context, name string, q *Question) (*http.Response, error) {
	err := ErrNotRunning
	var a *Answer
	if p := g.Of(name); p != nil {
		var release func()
		release, err = p.Hold(func(c *Client) (err error) {
			a, err = c.Ask(ctx, q)
			return err
		})
		if err == nil {
			a.release = release
			return a.response(), nil
		}
	}
	if errors.Is(err, ErrNotRunning) {
		return nil, notRunning(err)
	}
	return nil, err
}

// Probe asks one process of the name for a sign of life.
func (g *Gate) Probe(ctx context.Context, name string) error {
	err := ErrNotRunning
	if p := g.Of(name); p != nil {
		err = p.Each(func(c *Client) error { return c.Ping(ctx) })
	}
	if errors.Is(err, ErrNotRunning) {
		return notRunning(err)
	}
	return err
}

func notRunning(err error) *llm.Error {
	return &llm.Error{
		Kind: llm.Unavailable, Code: "provider_plugin_not_running", Message: "The deployment's plugin is not running.", RetryAfter: time.Second, Err: err,
	}
}
