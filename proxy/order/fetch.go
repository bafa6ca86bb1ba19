package order

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/parts"
	"github.com/conclave-llm/conclave/proxy/pass"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/proxy/view"
)

// maxFetched bounds the file of a batch that is read at once, because its type says that it is one document.
const maxFetched = 256 << 20

// fetch asks a deployment for what is at a path in the provider's own words, in the gateway's name.
func (o *Orders) fetch(ctx context.Context, v *view.View, t *router.Target, path, query string) (parts.Answer, error) {
	d := v.Deployment(t)
	if d.Err != nil {
		return parts.Answer{}, d.Err
	}
	root, err := d.Provider.Root(d.Base, d.Account.Or().Options)
	if err != nil {
		return parts.Answer{}, err
	}
	path, ok := pass.Path(root, path, query)
	if !ok {
		return parts.Answer{}, errors.New("the path does not lead to the provider")
	}
	at, _ := pass.Endpoint(d.Provider, "files")
	return o.cfg.Upstream.Do(ctx, &upstream.Attempt{
		Provider: d.Provider, Endpoint: at, Base: root, Path: path, Method: http.MethodGet, Model: d.Name, Account: d.Account, Opaque: true, Link: d.Link,
		Timeouts: d.Timers, MaxBody: maxFetched,
	})
}

// fetchLines is fetch of lines, which are there one after the other.
func (o *Orders) fetchLines(ctx context.Context, v *view.View, t *router.Target, path, query string, line func([]byte)) error {
	answer, err := o.fetch(ctx, v, t, path, query)
	if err != nil {
		return err
	}
	var lines Lines
	long := false
	rest := func([]byte) { long = true }
	if answer.Stream == nil {
		lines.Feed(answer.Body, line, rest)
	} else {
		defer answer.Stream.Close()
		for err == nil && !long {
			var ev llm.Event
			if ev, err = answer.Stream.Next(); err == nil {
				lines.Feed(ev.Raw, line, rest)
			}
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	if long {
		return fmt.Errorf("a line of %s is too long to be read", path)
	}
	lines.End(line)
	return nil
}
