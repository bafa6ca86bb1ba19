// Package follow makes an exchange that takes several requests: what was ordered is asked for until it
// is there. All of them go to the address of the first, or to one of its owner's that the provider names; but
// for those, without the key, of what a provider keeps at a public address elsewhere.
package follow

import (
	"cmp"
	"context"
	"errors"
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
	asked, cancel := ctx, context.CancelFunc(func() {})
	if a.Timeouts.Total > 0 {
		asked, cancel = context.WithTimeout(ctx, a.Timeouts.Total)
	}
	x := exchange{up: up, first: a}
	defer x.clean(ctx)
	got, err := x.run(ctx, asked, next)
	if got.Stream == nil {
		cancel()
		return got, err
	}
	got.Stream = &held{got.Stream, cancel}
	return got, err
}

// held is a stream that ends an exchange, whose time runs on until it is closed.
type held struct {
	parts.Stream
	release context.CancelFunc
}

// Close implements parts.Stream.
func (h *held) Close() {
	h.Stream.Close()
	h.release()
}

// run makes the requests, within the time of asked.
func (x *exchange) run(ctx, asked context.Context, next Next) (parts.Answer, error) {
	one := *x.first
	for range maxSteps {
		got, err := x.up.Do(asked, &one)
		if err != nil && asked.Err() != nil {
			x.giveUp(ctx)
		}
		if err != nil && one.Foreign {
			err = elsewhere(err)
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
		one.Opaque, one.Stream = step.Bytes, step.Stream
		if x.foreign != nil {
			x.address(&one)
		}
	}
	return parts.Answer{}, &llm.Error{Kind: llm.Timeout, Code: "upstream_timeout", Message: "The provider did not finish what was ordered."}
}

// exchange is what is known of one that goes on.
type exchange struct {
	up    parts.Upstream
	first *upstream.Attempt

	root    string    // of what follows the first request
	step    *llm.Step // the last
	foreign *url.URL  // that it names; nil: none
	remove  []string  // paths of what the exchange left at the provider
}

// take notes a step, or says that it cannot be made.
func (x *exchange) take(step *llm.Step) error {
	a := x.first
	root, err := a.Provider.At(a.Base, llm.Place{Endpoint: a.Endpoint, Model: a.Model, Options: a.Account.Or().Options})
	x.foreign = nil
	if err == nil && step.URL != "" {
		x.foreign, err = named(root, step.URL)
	}
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

var errAddress = errors.New("it is neither the provider's own address nor one over TLS")

// named reads an address in full that a provider has named: at its own, or over TLS.
func named(root, text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	if u.Host == "" || u.User != nil || u.Scheme != "https" && !sameHost(root, u) {
		return nil, errAddress
	}
	return u, nil
}

// sameHost says whether u is at the address that was asked.
func sameHost(root string, u *url.URL) bool {
	own, err := url.Parse(root)
	return err == nil && own.Scheme == u.Scheme && strings.EqualFold(own.Host, u.Host)
}

// address leads a request to the address that its step names, which must be public unless it is the provider's own.
func (x *exchange) address(one *upstream.Attempt) {
	u := x.foreign
	one.Base, one.Path = u.Scheme+"://"+u.Host, u.RequestURI()
	one.Foreign, one.Public = true, !sameHost(x.root, u)
}

// elsewhere is the error of a request to an address that the provider has named.
func elsewhere(err error) error {
	e, ok := errors.AsType[*llm.Error](err)
	if !ok || e.Kind == llm.Canceled || e.Kind == llm.Timeout || e.Kind == llm.TooLarge {
		return err
	}
	code := e.Code
	if e.Kind == llm.Internal { // it cannot be dialled
		code = "address_refused"
	}
	return &llm.Error{Kind: llm.Upstream, Code: code, FromProvider: e.FromProvider, Message: "The address that the provider named for what it made could not be asked: " + e.Message, Err: err}
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
	one.Opaque, one.Foreign, one.Public = false, false, false
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
