// Package follow makes an exchange that takes several requests: what was ordered is asked for until it
// is there. All of them go to the address of the first, or to one of its owner's that the provider names.
package follow

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/parts"
	"github.com/conclave-llm/conclave/proxy/upstream"
)

// maxSteps bounds how often one exchange asks: two hours of a question every second.
const maxSteps = 7200

// maxCancel is how long is waited until a provider has taken that nobody waits any more, and as long
// for what is removed there.
const maxCancel = 5 * time.Second

// Next is the request after the one that body answers; nil: body is the answer.
type Next func(body []byte) (*llm.Step, error)

// Do makes the attempt and what follows. Its Timeouts.Total bounds all of it; what was ordered is given
// up when ctx ends, if the provider has a path for that, and what the exchange left there is removed
// at its end. Errors are *llm.Error.
func Do(ctx context.Context, up parts.Upstream, a *upstream.Attempt, next Next) (parts.Answer, error) {
	asked := ctx
	if a.Timeouts.Total > 0 {
		var cancel context.CancelFunc
		asked, cancel = context.WithTimeout(ctx, a.Timeouts.Total)
		defer cancel()
	}
	x := exchange{up: up, first: a}
	defer x.clean(ctx)
	one := *a
	for range maxSteps {
		got, err := up.Do(asked, &one)
		if err != nil && asked.Err() != nil {
			x.giveUp(ctx)
		}
		if err != nil || got.Stream != nil {
			return got, err
		}
		step, err := next(got.Body)
		if err != nil || step == nil {
			return got, err
		}
		if err := x.take(step); err != nil {
			return got, err
		}
		if err := pause(asked, step.Wait); err != nil {
			x.giveUp(ctx)
			return got, err
		}
		one = x.request(step.Method, step.Path, step.Body)
	}
	return parts.Answer{}, &llm.Error{Kind: llm.Timeout, Code: "upstream_timeout", Message: "The provider did not finish what was ordered."}
}

// exchange is what is known of one that goes on.
type exchange struct {
	up    parts.Upstream
	first *upstream.Attempt

	root   string    // of what follows the first request
	step   *llm.Step // the last
	remove []string  // paths of what the exchange left at the provider
}

// take notes a step, or says that it cannot be made.
func (x *exchange) take(step *llm.Step) error {
	a := x.first
	root, err := a.Provider.At(a.Base, llm.Place{Endpoint: a.Endpoint, Model: a.Model, Options: a.Account.Or().Options})
	if err != nil || step.Path != "" && !strings.HasPrefix(step.Path, "/") {
		return &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: "The provider sent an address that cannot be asked.", Err: err}
	}
	x.root, x.step = root, step
	if step.Root != "" && sameOwner(root, step.Root) {
		x.root = step.Root
	}
	for _, path := range step.Remove {
		if strings.HasPrefix(path, "/") && !slices.Contains(x.remove, path) {
			x.remove = append(x.remove, path)
		}
	}
	return nil
}

// sameOwner says whether an address that a provider names is one of the owner's of the host that was asked:
// both are below the same name that somebody has registered.
func sameOwner(asked, named string) bool {
	a, errA := url.Parse(asked)
	b, errB := url.Parse(named)
	if errA != nil || errB != nil || a.Scheme != "https" || b.Scheme != "https" || b.User != nil || b.Port() != a.Port() {
		return false
	}
	return owner(a.Hostname()) != "" && owner(a.Hostname()) == owner(b.Hostname())
}

// owner is the registered name that a host is below, "" for one that is below none, such as an address in numbers.
func owner(host string) string {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if net.ParseIP(host) != nil {
		return ""
	}
	name, err := publicsuffix.EffectiveTLDPlusOne(host)
	if err != nil {
		return ""
	}
	return name
}

// request is a further one, to the same place.
func (x *exchange) request(method, path string, body []byte) upstream.Attempt {
	one := *x.first
	one.Base, one.Path, one.Method, one.Body, one.Pieces, one.Type, one.Stream = x.root, path, method, body, nil, "", false
	one.Opaque = false
	return one
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

// giveUp tells the provider that nobody waits any more.
func (x *exchange) giveUp(ctx context.Context) {
	if x.step != nil && x.step.Cancel != "" {
		x.tell(ctx, cmp.Or(x.step.CancelMethod, http.MethodPost), x.step.Cancel)
	}
}

// clean removes what the exchange left at the provider.
func (x *exchange) clean(ctx context.Context) {
	for _, path := range x.remove {
		x.tell(ctx, http.MethodDelete, path)
	}
}

// tell makes a request whose answer nobody reads: that it fails changes nothing.
func (x *exchange) tell(ctx context.Context, method, path string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), maxCancel)
	defer cancel()
	one := x.request(method, path, nil)
	one.Waits = nil
	got, err := x.up.Do(ctx, &one)
	if err == nil && got.Stream != nil {
		got.Stream.Close()
	}
}
