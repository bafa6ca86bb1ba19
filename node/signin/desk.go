package signin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/providers"
	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/copilot"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

const (
	maxPending = 32        // sign-ins of a node at a time
	keepEnded  = time.Hour // what became of one is told for so long
	maxEnded   = 128
	storeWait  = 2 * time.Minute // for the cluster to take the secret
	storeEvery = time.Second
)

// DeskConfig is what NewDesk needs. All fields are required.
type DeskConfig struct {
	NodeID, Node string // id and name
	Client       *http.Client
	Way          Way
	// Go runs f until it returns; f's context is over when the node stops.
	Go     func(f func(ctx context.Context))
	Logger *slog.Logger
}

// Desk is where sign-ins begin. It keeps them in memory: with its node they are lost. It may be used concurrently.
type Desk struct {
	cfg DeskConfig
	mu  sync.Mutex          // guards all and what is in it
	all map[string]*attempt // by id
}

// attempt is one sign-in.
type attempt struct {
	shown   client.SignIn
	cancel  context.CancelFunc // nil: nobody asks yet
	storing bool               // it cannot be cancelled any more
	ended   time.Time          // zero: it is pending
}

// NewDesk makes a Desk.
func NewDesk(cfg DeskConfig) *Desk { return &Desk{cfg: cfg, all: map[string]*attempt{}} }

// Begin asks a provider for a code. The sign-in goes on after ctx; another one for the same credential that this node has
// begun is cancelled.
func (d *Desk) Begin(ctx context.Context, o providers.SignInOrder) (client.SignIn, error) {
	if !d.room() {
		return client.SignIn{}, &llm.Error{Kind: llm.Unavailable, Code: "overloaded", Message: fmt.Sprintf("%d sign-ins are pending on this node, and no more are taken", maxPending)}
	}
	dev, err := deviceOf(&o)
	if err != nil {
		return client.SignIn{}, err
	}
	asking, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if asking, err = d.cfg.Way(asking, o.Provider, o.Credential, nil); err != nil {
		return client.SignIn{}, &resource.Invalid{Field: "credential", Reason: "cannot be used: " + err.Error()}
	}
	code, err := dev.begin(asking, d.cfg.Client)
	if err != nil {
		return client.SignIn{}, told(o.Provider, err)
	}
	ends := time.Now().Add(code.life)
	a := &attempt{shown: client.SignIn{
		ID: resource.NewID("signin") + "." + d.cfg.NodeID, Provider: o.Provider, Credential: o.Credential.Name, Node: d.cfg.Node, State: client.SignInPending,
		VerificationURL: code.url, UserCode: code.user, ExpiresAt: ends.UTC().Truncate(time.Second),
	}}
	shown := a.shown
	d.add(a)
	d.cfg.Go(func(node context.Context) { d.await(node, a, dev, code, ends, &o) })
	return shown, nil
}

// deviceOf is how the provider of an order gives tokens.
func deviceOf(o *providers.SignInOrder) (device, error) {
	p, ok := provider.Lookup(o.Provider)
	if ok && p.Auth == provider.CopilotToken {
		return github{copilot.Login(o.Credential.Options)}, nil
	}
	if ok && p.Auth == provider.ChatGPTToken {
		return &openai{options: o.Credential.Options}, nil
	}
	return nil, &resource.Invalid{Field: "provider", Reason: "knows no sign-in"}
}

// told is a failure to begin as the admin API tells it.
func told(name string, err error) error {
	if egress.IsRefused(err) {
		return fmt.Errorf("%w: %w", err, resource.ErrRefused)
	}
	return &llm.Error{Kind: llm.Upstream, Code: "sign_in_failed", Message: fmt.Sprintf("%s gives no code to sign in with: %v", name, err)}
}

// SignIn tells of a sign-in of this node; false: it knows none, or no more.
func (d *Desk) SignIn(id string) (client.SignIn, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a, ok := d.all[id]
	if !ok {
		return client.SignIn{}, false
	}
	return a.shown, true
}

// CancelSignIn ends a sign-in of this node, unless it is being stored or has ended; false: it knows none.
func (d *Desk) CancelSignIn(id string) (client.SignIn, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a, ok := d.all[id]
	if !ok {
		return client.SignIn{}, false
	}
	d.cancelLocked(a, "")
	return a.shown, true
}

func (d *Desk) cancelLocked(a *attempt, why string) {
	if a.storing || !a.ended.IsZero() {
		return
	}
	endLocked(a, client.SignInCancelled, why)
	if a.cancel != nil {
		a.cancel()
	}
}

func endLocked(a *attempt, state, why string) {
	a.ended = time.Now()
	a.shown.State, a.shown.Error, a.shown.UserCode, a.shown.VerificationURL = state, why, "", ""
}

// room says whether one more sign-in may begin.
func (d *Desk) room() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	pending := 0
	for _, a := range d.all {
		if a.ended.IsZero() {
			pending++
		}
	}
	return pending < maxPending
}

// add takes a sign-in in, in the place of another one for its credential, and forgets those that ended long ago.
func (d *Desk) add(a *attempt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var ended []*attempt
	for id, other := range d.all {
		if other.shown.Credential == a.shown.Credential {
			d.cancelLocked(other, "another sign-in for the credential was begun")
		}
		switch {
		case other.ended.IsZero():
		case time.Since(other.ended) > keepEnded:
			delete(d.all, id)
		default:
			ended = append(ended, other)
		}
	}
	slices.SortFunc(ended, func(a, b *attempt) int { return b.ended.Compare(a.ended) })
	for _, old := range ended[min(len(ended), maxEnded):] {
		delete(d.all, old.shown.ID)
	}
	d.all[a.shown.ID] = a
}

// await asks the provider until it gives the secret or says that it will not, and has the secret stored. It ends early
// when the node stops or somebody cancels the sign-in.
func (d *Desk) await(node context.Context, a *attempt, dev device, c *code, ends time.Time, o *providers.SignInOrder) {
	ctx, cancel := context.WithDeadline(node, ends)
	defer cancel()
	if !d.began(a, cancel) {
		return
	}
	text, state, why := d.ask(ctx, a.shown.ID, dev, c, o)
	if state == client.SignInDone && d.mayStore(a) {
		if err := store(node, text, o.Store); err != nil {
			state, why = client.SignInFailed, "what the provider gave is not stored: "+err.Error()
		}
	}
	if d.end(a, state, why) {
		d.cfg.Logger.Info("a sign-in at a provider has ended", "id", a.shown.ID, "provider", o.Provider, "credential", o.Credential.Name, "state", state, "reason", why)
	}
}

// began says that somebody asks; false: it was cancelled already.
func (d *Desk) began(a *attempt, cancel context.CancelFunc) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	a.cancel = cancel
	return a.ended.IsZero()
}

// mayStore says that a sign-in was not cancelled, and that it cannot be any more.
func (d *Desk) mayStore(a *attempt) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	a.storing = a.ended.IsZero()
	return a.storing
}

// end notes how a sign-in ended, "" for not at all; false: it has not, or had before.
func (d *Desk) end(a *attempt, state, why string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if state == "" || !a.ended.IsZero() {
		return false
	}
	endLocked(a, state, why)
	return true
}

// ask returns what the provider gives in the end, or how the sign-in ends otherwise, "" for not at all.
func (d *Desk) ask(ctx context.Context, id string, dev device, c *code, o *providers.SignInOrder) (text secret.Text, state, why string) {
	for every := c.every; ; {
		if !sleep(ctx, every) {
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return text, client.SignInExpired, errExpired.Error()
			}
			return text, "", ""
		}
		text, err := d.poll(ctx, dev, c, o)
		if err == nil {
			return text, client.SignInDone, ""
		}
		if ctx.Err() == nil {
			if state := stateOf(err); state != "" {
				return text, state, err.Error()
			}
			d.cfg.Logger.Debug("a sign-in at a provider is pending", "id", id, "reason", err)
			every = min(pause(err, every), mostEvery)
		}
	}
}

// poll asks the provider once.
func (d *Desk) poll(ctx context.Context, dev device, c *code, o *providers.SignInOrder) (secret.Text, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ctx, err := d.cfg.Way(ctx, o.Provider, o.Credential, nil)
	if err != nil {
		return secret.Text{}, err
	}
	return dev.poll(ctx, d.cfg.Client, c)
}

// stateOf is how a sign-in ends with an error, "" if it goes on.
func stateOf(err error) string {
	_, said := errors.AsType[*refusal](err)
	_, bad := errors.AsType[malformed](err)
	switch {
	case errors.Is(err, errDenied):
		return client.SignInDenied
	case errors.Is(err, errExpired):
		return client.SignInExpired
	case said, bad, egress.IsRefused(err):
		return client.SignInFailed
	}
	return ""
}

// pause is how long to wait after an error with which a sign-in goes on.
func pause(err error, every time.Duration) time.Duration {
	fast, ok := errors.AsType[*tooFast](err)
	switch {
	case errors.Is(err, errPending):
		return every
	case ok:
		return cmp.Or(fast.every, every+slower)
	}
	return 2 * every // nobody answers, or with a failure
}

// store stores the secret. What the cluster refuses only now is tried again: the person would have to sign in anew.
func store(ctx context.Context, text secret.Text, put func(context.Context, secret.Text) error) error {
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	for {
		err := put(ctx, text)
		switch resource.Code(err) {
		case "no_leader", "conflict", "expired", "overloaded":
		default:
			if err == nil || !errors.Is(err, context.DeadlineExceeded) {
				return err
			}
		}
		if !sleep(ctx, storeEvery) {
			return err
		}
	}
}

// sleep waits; false: ctx is over.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
