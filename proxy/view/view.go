// Package view holds what the data path works out of one catalog, as requests need it: what a
// request for a model may cost at most, and how a deployment is reached.
package view

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chattemplate"
	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/proxy/upstream/sign"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// View is what the data path has worked out of one catalog: prices and opened secrets. It is
// filled as requests need it, and dropped with the catalog.
type View struct {
	cache       *Cache
	cat         *resource.Catalog
	book        *pricing.Book
	models      sync.Map     // *resource.Model → *Model
	alone       sync.Map     // *resource.Model → *Model, without its fallbacks
	deployments sync.Map     // *resource.Deployment → *Deployment
	headers     sync.Map     // *resource.PassThrough → http.Header
	known       sync.Map     // id of a pattern → []string
	kept        atomic.Int64 // how many are in both
}

// Model is what a request for a model may cost.
type Model struct {
	prices []priced // the different ones of all deployments that may answer

	MaxOutput int64 // the most tokens that a deployment can make; 0: unknown
	Free      bool  // all deployments that may answer cost nothing
	Unpriced  bool  // one of them has no known price
	Factor    *Factor
}

// priced is a price with what is taken off and put on.
type priced struct {
	price  *resource.Price
	adjust resource.Adjustment
}

// Deployment is what an attempt needs of a deployment.
type Deployment struct {
	Provider *provider.Provider
	List     *pricing.Entry // nil: the price is unknown
	Adjust   resource.Adjustment
	Base     string // "": the provider's own
	Name     string // of the model at the provider
	Plugin   string // names the processes that answer for it; "": the provider is asked over HTTP
	Account  *sign.Account
	Link     *egress.Link           // the way there; nil: the node's
	Timers   upstream.Timeouts      // 0: the default
	Drain    time.Duration          // how long an answer is read whose client has left; 0: not at all
	Err      error                  // why it cannot be used
	Template *chattemplate.Template // of conversations, which then go to completions; nil: they are sent as such
	Counting *Counting

	// lacks says that the address does not serve responses, though the provider does: many
	// servers speak OpenAI's chat completions alone.
	lacks atomic.Bool
}

// Way is the endpoint at which the deployment is asked, as provider.Provider.Way says.
func (d *Deployment) Way(e llm.Endpoint) (at llm.Endpoint, ok bool) {
	if d.Template != nil && d.Provider.Templates(e) {
		return llm.Completions, true
	}
	if e == llm.Responses && d.lacks.Load() {
		return d.Provider.Translation(e)
	}
	return d.Provider.Way(e)
}

// Other is another way to ask for e, after the answer of the first was err: false if there is
// none, or if err does not say that the address has no such endpoint.
func (d *Deployment) Other(e llm.Endpoint, err error) (at llm.Endpoint, ok bool) {
	var failed *llm.Error
	if e != llm.Responses || !errors.As(err, &failed) || failed.Code == "model_not_found" {
		return 0, false
	}
	switch failed.Status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return d.Provider.Translation(e)
	}
	return 0, false
}

// Learn remembers that the other way was the right one.
func (d *Deployment) Learn() { d.lacks.Store(true) }

// Opener opens sealed secrets; *secret.Keyring is one.
type Opener interface {
	Open(s *resource.Sealed, kind, id, field string) (secret.Text, error)
}

// Pricer knows list prices.
type Pricer interface {
	// Lookup returns the list price of a provider's model.
	Lookup(provider, model string) (*resource.Price, bool)
}

// Cache holds the view of the newest catalog.
type Cache struct {
	Secrets Opener         // needed
	Pricer  Pricer         // nil: the catalog's imported prices and the table of package pricing
	Books   *pricing.Books // nil: its own
	Egress  *egress.Dialer // knows the ways to providers; nil: they are all the same
	// Blobs reads the body of a blob, for prompt templates; nil: there are none.
	Blobs func(ctx context.Context, digest string) ([]byte, error)

	now      atomic.Pointer[View]
	own      pricing.Books
	factors  sync.Map // model id → *Factor; outlives the catalogs
	counting sync.Map // deployment id → *Counting; likewise

	templates sync.Map // [3]string{digest, BOS, EOS} → *chattemplate.Template; likewise
}

// Of returns the view of the catalog. A request that still has an older one than another
// request gets a view of its own.
func (v *Cache) Of(cat *resource.Catalog) *View {
	cur := v.now.Load()
	if cur != nil && cur.cat == cat {
		return cur
	}
	next := &View{cache: v, cat: cat}
	if v.Books != nil {
		next.book = v.Books.Of(cat.Prices())
	} else {
		next.book = v.own.Of(cat.Prices())
	}
	if cur == nil || cur.cat.Index() <= cat.Index() {
		v.now.CompareAndSwap(cur, next)
	}
	return next
}

// Drop forgets the newest view, and with it the secrets that it opened. Requests that have it go on
// with it.
func (v *Cache) Drop() { v.now.Store(nil) }

// Model returns the view of a model of the catalog.
func (v *View) Model(model *resource.Model) *Model {
	if m, ok := v.models.Load(model); ok {
		return m.(*Model)
	}
	return v.work(&v.models, model, map[string]bool{})
}

// Alone is Model for requests that no other model may answer.
func (v *View) Alone(model *resource.Model) *Model {
	if m, ok := v.alone.Load(model); ok {
		return m.(*Model)
	}
	seen := make(map[string]bool, len(model.Fallbacks))
	for _, name := range model.Fallbacks {
		if next, ok := v.cat.Resolve(name); ok && next.Name != model.Name {
			seen[next.Name] = true
		}
	}
	return v.work(&v.alone, model, seen)
}

// Costless says that the model has deployments that answer for nothing, and no others.
func (m *Model) Costless() bool { return m.Free && len(m.prices) > 0 }

// work works a model out, without those that were seen.
func (v *View) work(in *sync.Map, model *resource.Model, seen map[string]bool) *Model {
	m := &Model{Free: true}
	v.addPrices(m, model, seen)
	f, _ := v.cache.factors.LoadOrStore(model.ID, newFactor())
	m.Factor = f.(*Factor)
	v.keep(in, model, m)
	return m
}

// maxKept bounds what a view remembers: of a pattern's names there may be any number.
const maxKept = 1 << 16

// keep remembers what was worked out of a record.
func (v *View) keep(in *sync.Map, record, worked any) {
	if v.kept.Add(1) <= maxKept {
		in.Store(record, worked)
	}
}

// addPrices takes in all deployments that may answer for the model, fallbacks included.
func (v *View) addPrices(m *Model, model *resource.Model, seen map[string]bool) {
	if seen[model.Name] {
		return
	}
	seen[model.Name] = true
	for _, d := range v.cat.ModelDeployments(model) {
		m.add(v.priceOf(model, d), v.cat.Settings().PriceAdjustments.Of(d.Provider))
	}
	for _, name := range model.Fallbacks {
		if next, ok := v.cat.Resolve(name); ok {
			v.addPrices(m, next, seen)
		}
	}
}

// add takes in one deployment, nil if its price is unknown.
func (m *Model) add(e *pricing.Entry, adjust resource.Adjustment) {
	if e == nil || e.Price == nil {
		m.Free, m.Unpriced = false, true
		return
	}
	m.Free = m.Free && (e.Price.IsFree() || adjust.All()) && adjust.Fixed == 0
	m.MaxOutput = max(m.MaxOutput, e.MaxOutput)
	p := priced{e.Price, adjust}
	if !slices.Contains(m.prices, p) {
		m.prices = append(m.prices, p)
	}
}

// Hold is what to hold for a request: the most that a deployment of a known price may cost.
func (m *Model) Hold(h pricing.Held) resource.Money {
	var most resource.Money
	for i := range m.prices {
		most = max(most, pricing.Hold(m.prices[i].price, m.prices[i].adjust, h))
	}
	return most
}

// GPUs is what to hold of GPU time for a request: the most that a deployment may take.
func (m *Model) GPUs(h pricing.Held) resource.Money {
	var most resource.Money
	for i := range m.prices {
		most = max(most, pricing.GPUHold(m.prices[i].price, h))
	}
	return most
}

// priceOf is the deployment's own price, else the list's, else nil.
func (v *View) priceOf(model *resource.Model, d *resource.Deployment) *pricing.Entry {
	if d.Price == nil && v.cache.Pricer != nil {
		if p, ok := v.cache.Pricer.Lookup(d.Provider, upstreamName(model, d)); ok {
			return &pricing.Entry{Price: p}
		}
		return nil
	}
	e, _ := v.book.Of(d, model.Name)
	return e
}

// Entry is what is known of a deployment of the model; nil: nothing is.
func (v *View) Entry(m *resource.Model, d *resource.Deployment) *pricing.Entry {
	return v.priceOf(m, d)
}

// Price is what the target charges, with what is taken off and put on: for another model of its provider's, which it has used
// in the place of its own, what the list has, if it has that. other is "" for none; nil: the price is unknown.
func (v *View) Price(t *router.Target, other string) (*resource.Price, resource.Adjustment) {
	d := v.Deployment(t)
	list := d.List
	if other != "" {
		if e := v.listPrice(t, other); e != nil && e.Price != nil {
			list = e
		}
	}
	if list == nil || list.Price == nil {
		return nil, resource.Adjustment{}
	}
	return list.Price, d.Adjust
}

// listPrice is the entry of the price list for another model than the target's at its provider; nil:
// the list has none.
func (v *View) listPrice(t *router.Target, model string) *pricing.Entry {
	d := *t.Deployment
	d.Upstream, d.Price, d.Metadata = model, nil, nil
	return v.priceOf(t.Model, &d)
}

func upstreamName(model *resource.Model, d *resource.Deployment) string {
	if d.Upstream != "" {
		return d.Upstream
	}
	return model.Name
}

// Deployment returns the view of a target's deployment.
func (v *View) Deployment(t *router.Target) *Deployment {
	if d, ok := v.deployments.Load(t.Deployment); ok {
		return d.(*Deployment)
	}
	d := &Deployment{
		List: v.priceOf(t.Model, t.Deployment), Adjust: v.cat.Settings().PriceAdjustments.Of(t.Deployment.Provider), Base: t.Deployment.APIBase, Name: upstreamName(t.Model, t.Deployment),
		Timers: timers(t, v.cat.Settings()),
	}
	k, _ := v.cache.counting.LoadOrStore(t.Deployment.ID, new(Counting))
	d.Counting = k.(*Counting)
	if t.Model.OnDisconnect == resource.DisconnectDrain {
		d.Drain = time.Duration(v.cat.Settings().DrainMS) * time.Millisecond
	}
	if d.Base == "" && t.Credential != nil {
		d.Base = t.Credential.APIBase
	}
	if p, ok := provider.Lookup(t.Deployment.Provider); !ok {
		d.Err = fmt.Errorf("deployment %s: provider %q is not known", t.Deployment.ID, t.Deployment.Provider)
	} else {
		d.Provider = p.For(d.Name)
		d.Account, d.Err = v.cache.account(t)
	}
	if d.Err == nil {
		d.Template, d.Err = v.cache.template(t.Deployment)
	}
	if t.Deployment.PluginName() != "" {
		d.Plugin, d.Base = t.Deployment.PluginProcess(), "" // its address is told to the plugin
	} else if d.Err == nil {
		d.Link, d.Err = v.link(t, d.Account)
	}
	if d.Err == nil { // a key that cannot be opened now may be later
		v.keep(&v.deployments, t.Deployment, d)
	}
	return d
}

// link is the way to the deployment: its own proxy before its credential's, the provider's and the
// node's, and its own TLS before its credential's.
func (v *View) link(t *router.Target, a *sign.Account) (*egress.Link, error) {
	if v.cache.Egress == nil {
		return nil, nil
	}
	way := t.Deployment.Egress
	if c := t.Credential; c != nil {
		way.Proxy, way.TLS = cmp.Or(way.Proxy, c.Proxy), cmp.Or(way.TLS, c.TLS)
	}
	way.Proxy = cmp.Or(way.Proxy, v.cat.Settings().ProviderProxies[t.Deployment.Provider])
	if way.TLS != nil && way.TLS.InsecureSkipVerify && !v.cat.Settings().AllowInsecureTLS {
		return nil, fmt.Errorf("deployment %s: tls.insecure_skip_verify needs the setting allow_insecure_tls", t.Deployment.ID)
	}
	l, err := v.cache.Egress.Link(egress.Options{
		Proxy: way.Proxy, Password: a.Secrets[resource.SecretProxyPassword], TLS: way.TLS, Key: a.Secrets[resource.SecretTLSKey],
	})
	if err != nil {
		return nil, fmt.Errorf("deployment %s: %w", t.Deployment.ID, err)
	}
	return l, nil
}

// timers are the deployment's, else the model's, else the settings'.
func timers(t *router.Target, s *resource.Settings) upstream.Timeouts {
	pick := func(ms ...int64) time.Duration { return time.Duration(cmp.Or(ms...)) * time.Millisecond }
	dep, model, all := &t.Deployment.Timeouts, &t.Model.Timeouts, &s.Timeouts
	return upstream.Timeouts{
		Connect:    pick(dep.ConnectMS, model.ConnectMS, all.ConnectMS),
		FirstToken: pick(dep.FirstTokenMS, model.FirstTokenMS, all.FirstTokenMS),
		Idle:       pick(dep.BetweenChunksMS, model.BetweenChunksMS, all.BetweenChunksMS),
		Total:      pick(t.Deployment.TimeoutMS, t.Model.TimeoutMS, s.TimeoutMS),
	}
}

// account opens the secrets of the deployment and its credential. What the deployment says
// itself counts before its credential.
func (v *Cache) account(t *router.Target) (*sign.Account, error) {
	a := &sign.Account{Options: map[string]string{}}
	if c := t.Credential; c != nil {
		maps.Copy(a.Options, c.Options)
		if err := v.openSecrets(a, c.Secrets, "credential", c.ID); err != nil {
			return nil, err
		}
	}
	maps.Copy(a.Options, t.Deployment.Options)
	if err := v.openSecrets(a, t.Deployment.Secrets, "deployment", t.Deployment.ID); err != nil {
		return nil, err
	}
	var err error
	a.Key, err = v.openKey(t)
	return a, err
}

// openSecrets opens the named secrets of a record.
func (v *Cache) openSecrets(a *sign.Account, sealed map[string]*resource.Sealed, kind, id string) error {
	for name, s := range sealed {
		text, err := v.Secrets.Open(s, kind, id, name)
		if err != nil {
			return fmt.Errorf("open %s of %s %s: %w", name, kind, id, err)
		}
		if a.Secrets == nil {
			a.Secrets = map[string]secret.Text{}
		}
		a.Secrets[name] = text
	}
	return nil
}

// openKey opens the deployment's own key, else its credential's.
func (v *Cache) openKey(t *router.Target) (secret.Text, error) {
	sealed, kind, id := t.Deployment.APIKey, "deployment", t.Deployment.ID
	if sealed == nil && t.Credential != nil {
		sealed, kind, id = t.Credential.APIKey, "credential", t.Credential.ID
	}
	if sealed == nil {
		if t.Deployment.CredentialID != "" && t.Credential == nil {
			return secret.Text{}, fmt.Errorf("open key of deployment %s: credential %s is not in the catalog", t.Deployment.ID, t.Deployment.CredentialID)
		}
		return secret.Text{}, nil
	}
	key, err := v.Secrets.Open(sealed, kind, id, "api_key")
	if err != nil {
		return secret.Text{}, fmt.Errorf("open key of %s %s: %w", kind, id, err)
	}
	return key, nil
}

// Headers are those that a pass-through endpoint adds to every request, with its secrets opened.
func (v *View) Headers(e *resource.PassThrough) (http.Header, error) {
	if h, ok := v.headers.Load(e); ok {
		return h.(http.Header), nil
	}
	h := http.Header{}
	for name, value := range e.Headers {
		h.Set(name, value)
	}
	for name, sealed := range e.Secrets {
		text, err := v.cache.Secrets.Open(sealed, "pass_through_endpoint", e.ID, name)
		if err != nil {
			return nil, fmt.Errorf("open %s of pass-through endpoint %s: %w", name, e.ID, err)
		}
		h.Set(strings.TrimPrefix(name, resource.PassThroughSecretHeader), text.Reveal())
	}
	v.keep(&v.headers, e, h)
	return h, nil
}

// Factor is what a model's tokens are to the estimate from bytes, learned from what
// providers report, or tokenizers count where they do not. It rises fast and falls slowly, so that holds are rarely too small.
type Factor struct{ bits atomic.Uint64 }

func newFactor() *Factor {
	f := &Factor{}
	f.bits.Store(math.Float64bits(1))
	return f
}

// Value is the factor now, 1 at first.
func (f *Factor) Value() float64 { return math.Float64frombits(f.bits.Load()) }

// Learn takes in one request's estimate and what was counted.
func (f *Factor) Learn(estimated, counted int64) {
	if estimated < 32 || counted <= 0 {
		return // too small to tell
	}
	seen := float64(counted) / float64(estimated)
	old := f.Value()
	rate := 1.0 / 64
	if seen > old {
		rate = 1.0 / 4
	}
	f.bits.Store(math.Float64bits(min(4, max(0.25, old+(seen-old)*rate))))
}

// Counting is what was learned of how the answers of a deployment are counted. The zero value knows nothing. It is safe for
// concurrent use.
type Counting struct {
	told, silent atomic.Bool  // streams have ended with their usage, or without
	rests        atomic.Int64 // until when its tokenizer, which could not be had, is not asked for: nanoseconds since 1970; 0: it could
}

// tokenizerRest is for how long a tokenizer is not asked for that could not be had.
const tokenizerRest = time.Minute

// Tells says that the deployment's streams are known to tell their usage.
func (k *Counting) Tells() bool { return k.told.Load() && !k.silent.Load() }

// Ended takes in whether a stream that is whole has told its usage.
func (k *Counting) Ended(told bool) {
	seen := &k.silent
	if told {
		seen = &k.told
	}
	if !seen.Load() {
		seen.Store(true)
	}
}

// Countable says whether the deployment's tokenizer may be asked for now.
func (k *Counting) Countable(now time.Time) bool { return now.UnixNano() >= k.rests.Load() }

// Had takes in whether its tokenizer could be had. first says that it could not, and could before.
func (k *Counting) Had(now time.Time, had bool) (first bool) {
	until := int64(0)
	if !had {
		until = now.Add(tokenizerRest).UnixNano()
	}
	if had && k.rests.Load() == 0 {
		return false
	}
	return k.rests.Swap(until) == 0 && !had
}
