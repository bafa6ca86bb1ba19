package proxy

import (
	"cmp"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// view is what the data path has worked out of one catalog: prices and opened secrets. It is
// filled as requests need it, and dropped with the catalog.
type view struct {
	cat         *resource.Catalog
	models      sync.Map // *resource.Model → *modelView
	deployments sync.Map // *resource.Deployment → *deploymentView
}

// modelView is what a request for a model may cost.
type modelView struct {
	worst     resource.Price // the highest of every class, of all deployments that may answer
	long      resource.Price // the same for prompts of more than above tokens
	above     int64          // 0: there is no other price for long prompts
	maxOutput int64          // the most that a deployment can make; 0: unknown
	free      bool           // all of them cost nothing
	unpriced  bool           // one of them has no known price
	factor    *factor
}

// deploymentView is what an attempt needs of a deployment.
type deploymentView struct {
	provider *provider.Provider
	list     *pricing.Entry // nil: the price is unknown
	base     string
	name     string // of the model at the provider
	key      secret.Text
	timeout  time.Duration // 0: the default
	err      error         // why it cannot be used
}

// viewCache holds the view of the newest catalog.
type viewCache struct {
	now     atomic.Pointer[view]
	factors sync.Map // model id → *factor; outlives the catalogs
}

// of returns the view of the catalog. A request that still has an older one than another
// request gets a view of its own.
func (v *viewCache) of(cat *resource.Catalog) *view {
	cur := v.now.Load()
	if cur != nil && cur.cat == cat {
		return cur
	}
	next := &view{cat: cat}
	if cur == nil || cur.cat.Index() <= cat.Index() {
		v.now.CompareAndSwap(cur, next)
	}
	return next
}

// model returns the view of a model.
func (s *Server) modelView(c *Call) *modelView {
	if m, ok := c.view.models.Load(c.model); ok {
		return m.(*modelView)
	}
	m := &modelView{free: true}
	s.addPrices(c.view, m, c.model, map[string]bool{})
	f, _ := s.view.factors.LoadOrStore(c.model.ID, newFactor())
	m.factor = f.(*factor)
	c.view.models.Store(c.model, m)
	return m
}

// addPrices takes in all deployments that may answer for the model, fallbacks included.
func (s *Server) addPrices(v *view, m *modelView, model *resource.Model, seen map[string]bool) {
	if seen[model.ID] {
		return
	}
	seen[model.ID] = true
	for _, d := range v.cat.Deployments(model.ID) {
		m.add(s.priceOf(model, d))
	}
	for _, name := range model.Fallbacks {
		if next, ok := v.cat.Model(name); ok {
			s.addPrices(v, m, next, seen)
		}
	}
}

// add takes in one deployment, nil if its price is unknown.
func (m *modelView) add(e *pricing.Entry) {
	if e == nil || e.Price == nil {
		m.free, m.unpriced = false, true
		return
	}
	m.free = m.free && e.Price.IsFree()
	m.maxOutput = max(m.maxOutput, e.MaxOutput)
	raise(&m.worst, e.Price)
	raise(&m.long, e.Price)
	if e.Tier != nil {
		raise(&m.long, e.Tier)
		if m.above == 0 || e.Above < m.above {
			m.above = e.Above
		}
	}
}

// at is the price at which a prompt of so many tokens is held.
func (m *modelView) at(prompt int64) *resource.Price {
	if m.above > 0 && prompt > m.above {
		return &m.long
	}
	return &m.worst
}

// raise lifts each class of to up to p's.
func raise(to, p *resource.Price) {
	to.Input = max(to.Input, p.Input, value(p.CacheRead), value(p.CacheWrite))
	to.Output = max(to.Output, p.Output, value(p.Reasoning))
	to.Request = max(to.Request, p.Request)
}

func value(m *resource.Money) resource.Money {
	if m == nil {
		return 0
	}
	return *m
}

// priceOf is the deployment's own price, else the list's, else nil.
func (s *Server) priceOf(model *resource.Model, d *resource.Deployment) *pricing.Entry {
	if d.Price != nil {
		return &pricing.Entry{Price: d.Price}
	}
	name := upstreamName(model, d)
	if s.cfg.Pricer == nil {
		e, _ := pricing.Lookup(d.Provider, name)
		return e
	}
	if p, ok := s.cfg.Pricer.Lookup(d.Provider, name); ok {
		return &pricing.Entry{Price: p}
	}
	return nil
}

func upstreamName(model *resource.Model, d *resource.Deployment) string {
	if d.Upstream != "" {
		return d.Upstream
	}
	return model.Name
}

// deploymentView returns the view of a target's deployment.
func (s *Server) deploymentView(v *view, t *router.Target) *deploymentView {
	if d, ok := v.deployments.Load(t.Deployment); ok {
		return d.(*deploymentView)
	}
	d := &deploymentView{
		list: s.priceOf(t.Model, t.Deployment), base: t.Deployment.APIBase, name: upstreamName(t.Model, t.Deployment),
		timeout: time.Duration(cmp.Or(t.Deployment.TimeoutMS, t.Model.TimeoutMS)) * time.Millisecond,
	}
	if d.base == "" && t.Credential != nil {
		d.base = t.Credential.APIBase
	}
	var ok bool
	if d.provider, ok = provider.Lookup(t.Deployment.Provider); !ok {
		d.err = fmt.Errorf("deployment %s: provider %q is not known", t.Deployment.ID, t.Deployment.Provider)
	} else {
		d.key, d.err = s.openKey(t)
	}
	if d.err == nil { // a key that cannot be opened now may be later
		v.deployments.Store(t.Deployment, d)
	}
	return d
}

// openKey opens the deployment's own key, else its credential's.
func (s *Server) openKey(t *router.Target) (secret.Text, error) {
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
	key, err := s.cfg.Secrets.Open(sealed, kind, id, "api_key")
	if err != nil {
		return secret.Text{}, fmt.Errorf("open key of %s %s: %w", kind, id, err)
	}
	return key, nil
}

// factor is what a model's tokens are to the estimate from bytes, learned from what
// providers report. It rises fast and falls slowly, so that holds are rarely too small.
type factor struct{ bits atomic.Uint64 }

func newFactor() *factor {
	f := &factor{}
	f.bits.Store(math.Float64bits(1))
	return f
}

func (f *factor) value() float64 { return math.Float64frombits(f.bits.Load()) }

// learn takes in one request's estimate and what the provider counted.
func (f *factor) learn(estimated, counted int64) {
	if estimated < 32 || counted <= 0 {
		return // too small to tell
	}
	seen := float64(counted) / float64(estimated)
	old := f.value()
	rate := 1.0 / 64
	if seen > old {
		rate = 1.0 / 4
	}
	f.bits.Store(math.Float64bits(min(4, max(0.25, old+(seen-old)*rate))))
}
