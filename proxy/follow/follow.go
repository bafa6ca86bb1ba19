// Package follow makes an exchange that takes several requests: what was ordered is asked for until it
// is there. All of them go to the address of the first.
package follow

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/parts"
	"github.com/conclave-llm/conclave/proxy/upstream"
)

// maxSteps bounds how often one exchange asks: two hours of a question every second.
const maxSteps = 7200

// maxCancel is how long is waited until a provider has taken that nobody waits any more.
const maxCancel = 5 * time.Second

// Next is the request after the one that body answers; nil: body is the answer.
type Next func(body []byte) (*llm.Step, error)

// Do makes the attempt and what follows. Its Timeouts.Total bounds all of it; what was ordered is given
// up when ctx ends, if the provider has a path for that. Errors are *llm.Error.
func Do(ctx context.Context, up parts.Upstream, a *upstream.Attempt, next Next) (parts.Answer, error) {
	asked := ctx
	if a.Timeouts.Total > 0 {
		var cancel context.CancelFunc
		asked, cancel = context.WithTimeout(ctx, a.Timeouts.Total)
		defer cancel()
	}
	one, root, cancels := *a, "", ""
	for range maxSteps {
		got, err := up.Do(asked, &one)
		if err != nil && asked.Err() != nil {
			giveUp(ctx, up, a, root, cancels)
		}
		if err != nil || got.Stream != nil {
			return got, err
		}
		step, err := next(got.Body)
		if err != nil || step == nil {
			return got, err
		}
		root, err = a.Provider.At(a.Base, llm.Place{Endpoint: a.Endpoint, Model: a.Model, Options: a.Account.Or().Options})
		if err != nil || step.Path != "" && !strings.HasPrefix(step.Path, "/") {
			return got, &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: "The provider sent an address that cannot be asked.", Err: err}
		}
		cancels = step.Cancel
		if err := pause(asked, step.Wait); err != nil {
			giveUp(ctx, up, a, root, cancels)
			return got, err
		}
		one = *a
		one.Base, one.Path, one.Method, one.Body, one.Pieces, one.Type, one.Stream = root, step.Path, step.Method, step.Body, nil, "", false
		one.Opaque = false
	}
	return parts.Answer{}, &llm.Error{Kind: llm.Timeout, Code: "upstream_timeout", Message: "The provider did not finish what was ordered."}
}

// pause waits, or says why it cannot.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	if ctx.Err() == nil {
		return nil
	}
	if context.Cause(ctx) == context.DeadlineExceeded { //nolint:errorlint // the very value
		return &llm.Error{Kind: llm.Timeout, Code: "upstream_timeout", Message: "The provider did not finish what was ordered in time."}
	}
	return &llm.Error{Kind: llm.Canceled, Message: "The client went away.", Err: ctx.Err()}
}

// giveUp tells the provider that nobody waits any more. That it fails changes nothing.
func giveUp(ctx context.Context, up parts.Upstream, a *upstream.Attempt, root, path string) {
	if path == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), maxCancel)
	defer cancel()
	one := *a
	one.Base, one.Path, one.Method, one.Body, one.Pieces, one.Type, one.Stream, one.Waits = root, path, http.MethodPost, nil, nil, "", false, nil
	got, err := up.Do(ctx, &one)
	if err == nil && got.Stream != nil {
		got.Stream.Close()
	}
}
