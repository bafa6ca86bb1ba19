// Package prices is what is done with list prices, whoever asks: showing those that count,
// importing a file, downloading one where the settings say so, and accepting or discarding what
// waits for a person.
//
// All imported prices are one replicated record, so a download is made once for the cluster and
// reaches every node in one entry of the log.
package prices

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/resource"
)

// Config says what Prices works on.
type Config struct {
	Store   records.Store
	Catalog func() *resource.Catalog
	// Books keeps the book of prices; nil: one of its own.
	Books *pricing.Books
	// HTTP downloads prices. nil: a client with a timeout of five minutes.
	HTTP       pricing.Doer
	Now        func() time.Time      // default clock.Now
	Logger     *slog.Logger          // default: discards
	Registerer prometheus.Registerer // nil: metrics go nowhere
}

// Prices does what is done with prices. It may be used concurrently.
type Prices struct {
	cfg     Config
	metrics *metrics

	syncing sync.Mutex // held by the one download at a time

	mu     sync.Mutex // guards the fields below
	last   client.PriceSyncRun
	rested resource.Time // when another node led last, as far as Run has seen
}

// metrics are what is counted.
type metrics struct {
	syncs    *prometheus.CounterVec // by result
	held     prometheus.GaugeFunc
	imported prometheus.GaugeFunc
}

// downloadTimeout bounds a download.
const downloadTimeout = 5 * time.Minute

// New returns the prices of a cluster.
func New(cfg Config) *Prices {
	if cfg.Books == nil {
		cfg.Books = new(pricing.Books)
	}
	if cfg.HTTP == nil {
		cfg.HTTP = egress.Direct(nil).Client(downloadTimeout)
	}
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Prices{cfg: cfg}
	count := func(of func(*resource.PriceTable) int64) func() float64 {
		return func() float64 {
			if t := cfg.Catalog().Prices(); t != nil {
				return float64(of(t))
			}
			return 0
		}
	}
	p.metrics = &metrics{
		syncs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conclave_price_syncs_total", Help: "Downloads of prices by this node: applied, unchanged or failed.",
		}, []string{"result"}),
		held: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "conclave_prices_held", Help: "Prices that wait for a person to accept them.",
		}, count(func(t *resource.PriceTable) int64 { return t.ProposedCount })),
		imported: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "conclave_prices_imported", Help: "Prices that were imported and go before the built-in ones.",
		}, count(func(t *resource.PriceTable) int64 { return t.Count })),
	}
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(p.metrics.syncs, p.metrics.held, p.metrics.imported)
	}
	return p
}

// Book is the prices that count now.
func (p *Prices) Book() *pricing.Book { return p.cfg.Books.Of(p.cfg.Catalog().Prices()) }

// Query selects rows.
type Query struct {
	Provider string
	Q        string // part of the model's name
	Imported bool   // only those that were imported
	Limit    int
	Cursor   string
}

// List gives a page of the rows that count, by provider and model.
func (p *Prices) List(q Query) client.Page[client.PriceRow] {
	byName := map[string]client.PriceRow{}
	part := strings.ToLower(q.Q)
	for e, imported := range p.Book().All() {
		if (q.Provider == "" || e.Provider == q.Provider) && (!q.Imported || imported) && strings.Contains(e.Model, part) {
			byName[e.Provider+"\t"+e.Model] = Row(e, imported)
		}
	}
	names := slices.Sorted(maps.Keys(byName))
	page := client.Page[client.PriceRow]{Items: []client.PriceRow{}, Total: len(names)}
	from, found := slices.BinarySearch(names, q.Cursor)
	if found {
		from++
	}
	for _, name := range names[from:] {
		if len(page.Items) == max(q.Limit, 1) {
			last := page.Items[len(page.Items)-1]
			page.NextCursor = last.Provider + "\t" + last.Model
			break
		}
		page.Items = append(page.Items, byName[name])
	}
	return page
}

// Row shows an entry.
func Row(e *pricing.Entry, imported bool) client.PriceRow {
	source := "built_in"
	if imported {
		source = "imported"
	}
	return client.PriceRow{
		Provider: e.Provider, Model: e.Model, Mode: e.Mode, MaxInput: e.MaxInput, MaxOutput: e.MaxOutput,
		Dimensions: e.Dimensions, Features: e.Features.Names(), DeprecatedOn: e.DeprecatedOn, Price: e.Price, Source: source,
	}
}

// Lookup finds the row at which a provider's model is priced.
func (p *Prices) Lookup(provider, model string) (client.PriceRow, error) {
	book := p.Book()
	e, ok := book.Lookup(provider, model)
	if !ok {
		return client.PriceRow{}, fmt.Errorf("price of %s/%s: %w", provider, model, resource.ErrNotFound)
	}
	_, imported, _ := book.Row(e.Provider, e.Model)
	return Row(e, imported), nil
}

// Source tells where the prices come from.
func (p *Prices) Source() client.PriceSource {
	book := p.Book()
	s := client.PriceSource{BuiltIn: book.Builtin(), Imported: book.Imported()}
	if t := p.cfg.Catalog().Prices(); t != nil {
		s.Source, s.ETag, s.SHA256, s.At, s.Held = t.Source, t.ETag, t.SHA256, t.At, t.ProposedCount
		s.UpdatedBy = t.UpdatedBy
	}
	sync := p.cfg.Catalog().Settings().PriceSync
	s.Sync.URL, s.Sync.Apply = sync.URL, string(sync.Apply)
	if sync.Every > 0 {
		s.Sync.Every = sync.Every.String()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last != (client.PriceSyncRun{}) {
		last := p.last
		s.Sync.Last = &last
	}
	return s
}

// Import is a file that is to be applied.
type Import struct {
	Source string // for people: the file's name or its URL
	ETag   string
	Data   []byte
	How    pricing.How
}

// Plan tells what a file would do. It changes nothing.
func (p *Prices) Plan(in Import) (client.PriceDiff, error) {
	_, out, err := p.plan(in)
	return out, err
}

func (p *Prices) plan(in Import) (*pricing.Plan, client.PriceDiff, error) {
	file, err := pricing.Read(in.Data)
	if err != nil {
		return nil, client.PriceDiff{}, &resource.Invalid{Field: "file", Reason: err.Error()}
	}
	if len(file.Entries) == 0 {
		reason := "has no row with a model and its provider"
		if len(file.Refused) > 0 {
			r := &file.Refused[0]
			reason = fmt.Sprintf("has no row that can be taken; %d are refused, first %s/%s: %s", len(file.Refused), r.Provider, r.Model, r.Reason)
		}
		return nil, client.PriceDiff{}, &resource.Invalid{Field: "file", Reason: reason}
	}
	book := p.Book()
	in.How.InUse = book.InUse(p.cfg.Catalog())
	plan, err := pricing.NewPlan(book, file, in.How)
	if err != nil {
		return nil, client.PriceDiff{}, &resource.Invalid{Field: "file", Reason: err.Error()}
	}
	out := diffOf(plan)
	out.Ignored = file.Ignored
	return plan, out, nil
}

func diffOf(plan *pricing.Plan) client.PriceDiff {
	out := client.PriceDiff{Unchanged: plan.Unchanged, Held: plan.Held(), Changes: plan.Changes}
	if out.Changes == nil {
		out.Changes = []pricing.Change{}
	}
	for _, c := range plan.Changes {
		if c.Held != "" {
			continue
		}
		switch c.Kind {
		case pricing.Added:
			out.Added++
		case pricing.Changed:
			out.Changed++
		case pricing.Removed:
			out.Removed++
		}
	}
	return out
}

// Import applies a file, but for what it holds for a person.
func (p *Prices) Import(ctx context.Context, by records.Caller, in Import) (client.PriceDiff, records.Written, error) {
	return p.apply(ctx, by.Actor(), by.RequestID, in)
}

// Receive applies a file that came with a program: the nodes import it for whoever sent that.
func (p *Prices) Receive(ctx context.Context, node string, in Import) error {
	_, _, err := p.apply(ctx, fsm.Actor{Kind: "node", ID: node}, "", in)
	return err
}

func (p *Prices) apply(ctx context.Context, by fsm.Actor, requestID string, in Import) (client.PriceDiff, records.Written, error) {
	now := p.cfg.Catalog().Prices()
	plan, out, err := p.plan(in)
	if err != nil {
		return out, records.Written{}, err
	}
	next := p.next(now, by)
	next.Source, next.ETag, next.SHA256, next.At = in.Source, in.ETag, pricing.Sum(in.Data), resource.At(p.cfg.Now())
	w, err := p.put(ctx, by, requestID, plan, next)
	return out, w, err
}

// next is the record that takes the place of the one there is.
func (p *Prices) next(now *resource.PriceTable, by fsm.Actor) *resource.PriceTable {
	at, who := resource.At(p.cfg.Now()), by.Kind
	if by.ID != "" {
		who += "/" + by.ID
	}
	next := &resource.PriceTable{Meta: resource.Meta{ID: resource.PriceTableID, CreatedAt: at, CreatedBy: who}}
	if now != nil {
		*next = *now
	}
	next.UpdatedAt, next.UpdatedBy = at, who
	return next
}

func (p *Prices) put(ctx context.Context, by fsm.Actor, requestID string, plan *pricing.Plan, next *resource.PriceTable) (records.Written, error) {
	if err := plan.Write(next); err != nil {
		return records.Written{}, err
	}
	read := next.Version
	next.Version = 0
	if err := next.Validate(); err != nil {
		return records.Written{}, err
	}
	e, err := fsm.EncodedOf(*next)
	if err != nil {
		return records.Written{}, fmt.Errorf("encode prices: %w", err)
	}
	res, err := p.cfg.Store.Propose(ctx, by, requestID, fsm.PutPrices{Prices: e, Read: read})
	if err != nil {
		return records.Written{}, err
	}
	return records.Written{
		Index:   strconv.FormatUint(res.Generation, 10) + "-" + strconv.FormatUint(res.Index, 10),
		Version: res.Version,
	}, nil
}

// Proposed lists what waits for a person.
func (p *Prices) Proposed() (client.PriceDiff, error) {
	changes, err := pricing.Proposed(p.Book())
	if err != nil {
		return client.PriceDiff{}, err
	}
	return client.PriceDiff{Held: len(changes), Changes: changes}, nil
}

// Accept makes prices of what waits; only, if not empty, picks some by "provider/model".
func (p *Prices) Accept(ctx context.Context, by records.Caller, only []string) (client.PriceDiff, records.Written, error) {
	now := p.cfg.Catalog().Prices()
	plan, err := pricing.Accept(p.Book(), only)
	if err != nil {
		return client.PriceDiff{}, records.Written{}, err
	}
	out := diffOf(plan)
	if len(only) > 0 && len(plan.Changes) == 0 {
		return out, records.Written{}, fmt.Errorf("proposed price of %s: %w", strings.Join(only, ", "), resource.ErrNotFound)
	}
	w, err := p.put(ctx, by.Actor(), by.RequestID, plan, p.next(now, by.Actor()))
	return out, w, err
}

// Discard drops what waits.
func (p *Prices) Discard(ctx context.Context, by records.Caller) (records.Written, error) {
	now := p.cfg.Catalog().Prices()
	return p.put(ctx, by.Actor(), by.RequestID, p.Book().Keep(), p.next(now, by.Actor()))
}

// Reset drops all imported prices, so that the built-in ones count.
func (p *Prices) Reset(ctx context.Context, by records.Caller) (records.Written, error) {
	now := p.cfg.Catalog().Prices()
	next := p.next(now, by.Actor())
	next.Source, next.ETag, next.SHA256, next.At = "", "", "", 0
	return p.put(ctx, by.Actor(), by.RequestID, &pricing.Plan{}, next)
}
