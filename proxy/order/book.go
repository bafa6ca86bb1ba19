package order

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/proxy/files"
	"github.com/conclave-llm/conclave/proxy/parts"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/view"
	"github.com/conclave-llm/conclave/resource"
)

const (
	// forgottenAfter is how old a batch must be before a provider that does not know it is believed.
	forgottenAfter = time.Hour
	// locks is how many batches may be booked here at once.
	locks = 16
)

// Config is what Orders are made of; all fields are required but Books, Booked, MemberGone, Now and Logger.
type Config struct {
	Store    files.Store
	Upstream parts.Upstream
	Budgets  parts.Budgets
	Journal  parts.Journal
	// Books tell what Journal has; nil: nobody can.
	Books parts.Books
	// Booked says whether a record with one of the ids was written since then, by whichever node, while the state was one
	// that knows nothing of it, because it is a backup's now; nil: it is none's.
	Booked func(ctx context.Context, ids []string, since resource.Time) (bool, error)
	// Charge books a part of a batch as if the key that made it had asked what it used.
	Charge func(ctx context.Context, p *Part) error

	Member     string                   // the node's id in the cluster
	MemberGone func(member string) bool // says whether a node was removed from it; nil: none is
	Now        func() time.Time         // nil: clock.Now
	Logger     *slog.Logger             // nil: nobody is told
}

// Orders hold and book for the batches that providers run. They are safe for concurrent use.
type Orders struct {
	cfg  Config
	seed maphash.Seed
	busy [locks]sync.Mutex // held while a batch is booked
}

// New makes Orders.
func New(cfg Config) *Orders {
	if cfg.Books == nil {
		cfg.Books = noBooks{}
	}
	if cfg.MemberGone == nil {
		cfg.MemberGone = func(string) bool { return false }
	}
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Orders{cfg: cfg, seed: maphash.MakeSeed()}
}

// Batch is a batch that a provider runs, in the sight of one state of the cluster.
type Batch struct {
	ID      string
	Place   Place
	Catalog *resource.Catalog
	View    *view.View // of Catalog
}

// Look asks the provider how a batch is, and books what it has used if it is over. What the provider does not know any more,
// or nobody can ask for, has cost what was held for it.
func (o *Orders) Look(ctx context.Context, b Batch, a *resource.Artifact) error {
	return (&biller{Orders: o, Batch: b}).look(ctx, a)
}

// Book books a batch that is over at the deployment, unless that was done, or is another node's to do.
func (o *Orders) Book(ctx context.Context, b Batch, due *Due, deployment string) error {
	return (&biller{Orders: o, Batch: b}).book(ctx, due, deployment)
}

// Forget books what was held for a batch as what it has cost, because nobody will learn what it has used.
func (o *Orders) Forget(ctx context.Context, b Batch, why error) error {
	return (&biller{Orders: o, Batch: b}).forgotten(ctx, why)
}

// lock lets this process book a batch once at a time. The caller calls what it returns when it is done.
func (o *Orders) lock(id string) (unlock func()) {
	l := &o.busy[maphash.String(o.seed, id)%locks]
	l.Lock()
	return l.Unlock
}

// biller books what one batch has used.
type biller struct {
	*Orders
	Batch
}

func (b *biller) look(ctx context.Context, a *resource.Artifact) error {
	if by := a.Order.Booker; by != "" && by != b.cfg.Member && !b.cfg.MemberGone(by) {
		return nil // that node goes on
	}
	t, ok := b.target(a.DeploymentID)
	if !ok {
		return b.forgotten(ctx, errors.New("its deployment is gone"))
	}
	path, query := b.Place.Show(b.ID)
	answer, err := b.fetch(ctx, b.View, &t, path, query)
	if isGone(err) && b.cfg.Now().Sub(a.CreatedAt.Std()) > forgottenAfter {
		return b.forgotten(ctx, err)
	}
	if err != nil {
		return fmt.Errorf("ask for it: %w", err)
	}
	if answer.Stream != nil {
		answer.Stream.Close()
		return errors.New("the provider tells of it in no JSON")
	}
	for _, due := range Dues(answer.Body) {
		if due.ID == b.ID {
			return b.book(ctx, &due, a.DeploymentID)
		}
	}
	return nil
}

// isGone says that the provider knows of no such thing.
func isGone(err error) bool {
	e, ok := errors.AsType[*llm.Error](err)
	return ok && e.FromProvider && (e.Status == http.StatusNotFound || e.Status == http.StatusGone)
}

// target is the deployment with the id.
func (b *biller) target(id string) (t router.Target, ok bool) {
	if t.Deployment, ok = b.Catalog.Deployment(id); !ok {
		return t, false
	}
	if t.Model, ok = b.Catalog.ModelByID(t.Deployment.ModelID); !ok {
		return t, false
	}
	if c, ok := b.Catalog.Credential(t.Deployment.CredentialID); ok {
		t.Credential = c
	}
	return t, true
}

// holdTarget is the deployment that answers what was charged ahead; else the one that runs the batch.
func (b *biller) holdTarget(h *resource.BatchHold, own *router.Target) router.Target {
	if m, ok := b.Catalog.Resolve(h.Model); ok {
		for _, d := range b.Catalog.ModelDeployments(m) {
			if d.ID == h.DeploymentID {
				t := router.Target{Model: m, Deployment: d}
				if c, ok := b.Catalog.Credential(d.CredentialID); ok {
					t.Credential = c
				}
				return t
			}
		}
	}
	if t, ok := b.target(h.DeploymentID); ok {
		return t
	}
	return *own
}

// prices gives what a request of the batch costs that a model has answered which the provider calls so.
func (b *biller) prices(order *resource.BatchOrder, own *router.Target) func(model string, u llm.Usage) resource.Money {
	type price struct {
		list   *resource.Price
		adjust resource.Adjustment
	}
	known := map[string]price{}
	return func(model string, u llm.Usage) resource.Money {
		p, ok := known[model]
		if !ok {
			at, t := b.answered(order, own, model)
			if p.list, p.adjust = b.View.Price(&t, b.other(&t, model)); p.list == nil && at >= 0 {
				p.list = unknownPrice(b.Catalog, &order.Holds[at])
			}
			known[model] = p
		}
		return pricing.Bill(p.list, p.adjust, u)
	}
}

// answered is the place of the hold for a model that has answered, and the target; -1: nothing was charged ahead.
func (b *biller) answered(order *resource.BatchOrder, own *router.Target, model string) (at int, t router.Target) {
	if order == nil {
		return -1, *own
	}
	if at = order.HoldOf(model); at < 0 {
		return -1, *own
	}
	return at, b.holdTarget(&order.Holds[at], own)
}

// other is the name of a model that has answered, "" if it is the target's own.
func (b *biller) other(t *router.Target, model string) string {
	if strings.HasPrefix(model, b.View.Deployment(t).Name) {
		return ""
	}
	return model
}

func (b *biller) book(ctx context.Context, due *Due, deployment string) error {
	defer b.lock(b.ID)()
	a, version, err := b.cfg.Store.Get(ctx, b.ID)
	if errors.Is(err, resource.ErrNotFound) || err == nil && (a.ChargedAt != 0 || a.DeploymentID != deployment) {
		return nil
	}
	if err != nil {
		return err
	}
	t, ok := b.target(deployment)
	if !ok {
		return nil
	}
	bills := Bills{Price: b.prices(a.Order, &t)}
	for _, line := range due.Lines {
		bills.Add(line)
	}
	if !due.None && due.Lines == nil {
		path, query := b.Place.Results(due)
		if err := b.fetchLines(ctx, b.View, &t, path, query, bills.Add); err != nil {
			return fmt.Errorf("read the batch's output: %w", err)
		}
		if err := b.nameOutput(ctx, a, due); err != nil {
			return err
		}
	}
	return b.once(ctx, a, version, func(have map[string]bool) error { return b.write(ctx, a, &t, bills.All, have) })
}

// nameOutput records whose the output is, and the names of the models in it, before its owner learns its id.
func (b *biller) nameOutput(ctx context.Context, a *resource.Artifact, due *Due) error {
	if due.File == "" || !resource.ValidArtifactID(due.File) {
		return nil
	}
	_, err := b.cfg.Store.Put(ctx, &resource.Artifact{
		ID: due.File, Kind: resource.ArtifactProvider, DeploymentID: a.DeploymentID, Owners: a.Owners,
		CreatedAt: resource.At(b.cfg.Now()), ExpiresAt: a.ExpiresAt, Names: a.Names,
	}, 0)
	if errors.Is(err, resource.ErrExists) {
		return nil
	}
	return err
}

func (b *biller) forgotten(ctx context.Context, why error) error {
	defer b.lock(b.ID)()
	a, version, err := b.cfg.Store.Get(ctx, b.ID)
	if err != nil || a.ChargedAt != 0 || a.Order == nil {
		return err
	}
	b.cfg.Logger.Warn("nobody learns what a provider's batch has used: what was held for it is charged", "batch", b.ID, "reason", why)
	return b.once(ctx, a, version, func(have map[string]bool) error {
		for i := range a.Order.Holds {
			h := &a.Order.Holds[i]
			if err := b.note(a, h, b.record(i), ledger.HoldCharged, h.Cost, nil, have); err != nil {
				return err
			}
		}
		return nil
	})
}

// once lets write write the records of the batch. First the batch's record says that this node does, and from which place of
// its journal on; write is told which are there already, of an attempt before. Only when they survive a power cut the batch is
// booked. So whatever ends in between, each is written once: by this node alone, which goes on when it is back.
func (b *biller) once(ctx context.Context, a *resource.Artifact, version uint64, write func(have map[string]bool) error) error {
	next, order := *a, resource.BatchOrder{At: string(b.Place)}
	if a.Order != nil {
		order = *a.Order
	}
	next.Order = &order
	self := b.cfg.Member
	have := map[string]bool{}
	switch {
	case order.Booker == "":
		if booked, err := b.before(ctx, a); err != nil {
			return err
		} else if booked {
			b.cfg.Logger.Warn("a provider's batch was booked before a backup was restored: nothing is booked again", "batch", b.ID)
			return b.close(ctx, &next, version)
		}
		order.Booker, order.After = self, b.cfg.Books.Last()
		var err error
		if version, err = b.cfg.Store.Put(ctx, &next, version); err != nil {
			return otherwise(err)
		}
	case order.Booker != self && b.cfg.MemberGone(order.Booker):
		b.cfg.Logger.Warn("the node that began to book a provider's batch was removed: what it has booked counts", "batch", b.ID, "node", order.Booker)
		return b.close(ctx, &next, version)
	case order.Booker != self:
		return nil
	default:
		var whole bool
		var err error
		if have, whole, err = b.cfg.Books.Settled(order.After, b.record(0)); err != nil {
			return fmt.Errorf("read what is booked: %w", err)
		}
		if !whole {
			b.cfg.Logger.Warn("it is not known any more what was booked of a provider's batch: nothing is booked again", "batch", b.ID)
			return b.close(ctx, &next, version)
		}
	}
	if err := write(have); err != nil {
		return err
	}
	if err := b.cfg.Books.SyncTo(b.cfg.Books.Last()); err != nil {
		return err
	}
	return b.close(ctx, &next, version)
}

// before says whether the batch was booked though its record does not say so, which was restored: the nodes have told again
// what they wrote.
func (b *biller) before(ctx context.Context, a *resource.Artifact) (bool, error) {
	if b.cfg.Booked == nil {
		return false, nil
	}
	booked, err := b.cfg.Booked(ctx, []string{b.record(0), b.unused(0)}, a.CreatedAt)
	if err != nil {
		return false, fmt.Errorf("ask whether it was booked before a backup was restored: %w", err)
	}
	return booked, nil
}

// close notes that the batch is booked.
func (b *biller) close(ctx context.Context, a *resource.Artifact, version uint64) error {
	done := *a
	done.ChargedAt = resource.At(b.cfg.Now())
	_, err := b.cfg.Store.Put(ctx, &done, version)
	return otherwise(err)
}

// otherwise is the error of a write, nil if another node was faster.
func otherwise(err error) error {
	if errors.Is(err, resource.ErrConflict) || errors.Is(err, resource.ErrNotFound) {
		return nil
	}
	return err
}

// record is the id of one of the records of what the batch has used.
func (b *biller) record(number int) string {
	if number == 0 {
		return b.ID + ".usage"
	}
	return b.ID + ".usage-" + strconv.Itoa(number+1)
}

// unused is the id of the record about a hold that no request has used.
func (b *biller) unused(hold int) string { return b.record(0) + "-none-" + strconv.Itoa(hold+1) }

// noBooks are those of a node of which nobody can tell what it has booked.
type noBooks struct{}

// Last implements Books.
func (noBooks) Last() uint64 { return 0 }

// SyncTo implements Books.
func (noBooks) SyncTo(uint64) error { return nil }

// Settled implements Books.
func (noBooks) Settled(uint64, string) (map[string]bool, bool, error) { return nil, false, nil }
