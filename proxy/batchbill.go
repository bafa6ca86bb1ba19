package proxy

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/proxy/batch"
	"github.com/conclave-llm/conclave/proxy/pass"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/view"
	"github.com/conclave-llm/conclave/resource"
)

// forgottenAfter is how old a batch must be before a provider that does not know it is believed.
const forgottenAfter = time.Hour

// billBatches books what a provider's batches have used for those who made them, once each, when an answer first tells that
// they are over: before the client learns where their output is. The watch does so, too, where nobody asks.
func (s *Server) billBatches(ctx context.Context, c *Call, status int, body []byte) {
	if !s.passesBatches(c) || status != http.StatusOK {
		return
	}
	for _, due := range batch.Dues(body) {
		s.billDue(ctx, c, &due)
	}
}

// billResults does the same before the results of a batch of Anthropic's pass, which a client may ask for without
// asking whether they are there.
func (s *Server) billResults(ctx context.Context, c *Call) {
	if !s.passesBatches(c) || c.method != http.MethodGet {
		return
	}
	if id := pass.Results(c.rest); id != "" {
		s.billDue(ctx, c, &batch.Due{ID: id})
	}
}

// passesBatches says whether the call is about batches that a provider keeps, and somebody records whose they are.
func (s *Server) passesBatches(c *Call) bool {
	return c.route.prefix != nil && c.configured == nil && s.cfg.Artifacts != nil && c.place() != ""
}

// billDeleted books a batch before the provider is told to delete it, with what it has made.
func (s *Server) billDeleted(ctx context.Context, c *Call) {
	if !s.passesBatches(c) || c.method != http.MethodDelete {
		return
	}
	id, err := url.PathUnescape(c.rest[strings.LastIndexByte(c.rest, '/')+1:])
	if err != nil {
		return
	}
	a, _, err := s.cfg.Artifacts.Get(ctx, id)
	if err != nil || a.Order == nil || a.ChargedAt != 0 {
		return
	}
	b := &biller{s: s, id: id, view: c.view, cat: c.cat, place: batch.Place(a.Order.At)}
	if err := b.look(ctx, a); err != nil {
		s.log.Warn("a provider's batch is not charged yet", "request_id", c.id, "batch", id, "error", err)
	}
}

// billDue books one batch, and says so where that is not possible now.
func (s *Server) billDue(ctx context.Context, c *Call, due *batch.Due) {
	b := &biller{s: s, id: due.ID, view: c.view, cat: c.cat, place: c.place()}
	if err := b.book(ctx, due, c.result.target.Deployment.ID); err != nil {
		s.log.Warn("a provider's batch is not charged yet", "request_id", c.id, "batch", due.ID, "error", err)
	}
}

// Watch watches the batches that providers run, while leads says that this node is the one; nil if nobody records them. every
// is when each is first asked for; 0: as package batch has it.
func (s *Server) Watch(leads func() bool, every time.Duration) *batch.Watch {
	if s.cfg.Artifacts == nil {
		return nil
	}
	return batch.NewWatch(batch.WatchConfig{
		Store: s.cfg.Artifacts, Leads: leads, Every: every, Now: s.now, Logger: s.log,
		Look: func(ctx context.Context, a *resource.Artifact) error {
			cat := s.cfg.Catalog()
			b := &biller{s: s, id: a.ID, view: s.view.Of(cat), cat: cat, place: batch.Place(a.Order.At)}
			return b.look(ctx, a)
		},
	})
}

// biller books what one batch has used.
type biller struct {
	s     *Server
	id    string
	view  *view.View
	cat   *resource.Catalog
	place batch.Place
}

// look asks the provider how the batch is, and books what it has used if it is over. What the provider does not know any more,
// or nobody can ask for, has cost what was held for it.
func (b *biller) look(ctx context.Context, a *resource.Artifact) error {
	if by := a.Order.Booker; by != "" && by != b.s.cfg.Member && !b.s.cfg.MemberGone(by) {
		return nil // that node goes on
	}
	t, ok := b.target(a.DeploymentID)
	if !ok {
		return b.forgotten(ctx, errors.New("its deployment is gone"))
	}
	path, query := b.place.Show(b.id)
	answer, err := b.s.fetch(ctx, b.view, &t, path, query)
	if isGone(err) && b.s.now().Sub(a.CreatedAt.Std()) > forgottenAfter {
		return b.forgotten(ctx, err)
	}
	if err != nil {
		return fmt.Errorf("ask for it: %w", err)
	}
	if answer.Stream != nil {
		answer.Stream.Close()
		return errors.New("the provider tells of it in no JSON")
	}
	for _, due := range batch.Dues(answer.Body) {
		if due.ID == b.id {
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
	if t.Deployment, ok = b.cat.Deployment(id); !ok {
		return t, false
	}
	if t.Model, ok = b.cat.ModelByID(t.Deployment.ModelID); !ok {
		return t, false
	}
	if c, ok := b.cat.Credential(t.Deployment.CredentialID); ok {
		t.Credential = c
	}
	return t, true
}

// holdTarget is the deployment that answers what was charged ahead; else the one that runs the batch.
func (b *biller) holdTarget(h *resource.BatchHold, own *router.Target) router.Target {
	if m, ok := b.cat.Resolve(h.Model); ok {
		for _, d := range b.cat.ModelDeployments(m) {
			if d.ID == h.DeploymentID {
				t := router.Target{Model: m, Deployment: d}
				if c, ok := b.cat.Credential(d.CredentialID); ok {
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
			if p.list, p.adjust = b.view.Price(&t, b.other(&t, model)); p.list == nil && at >= 0 {
				p.list = unknownPrice(b.cat, &order.Holds[at])
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
	if strings.HasPrefix(model, b.view.Deployment(t).Name) {
		return ""
	}
	return model
}

// book books the batch, unless that was done, or is another node's to do.
func (b *biller) book(ctx context.Context, due *batch.Due, deployment string) error {
	defer b.s.lockBatch(b.id)()
	a, version, err := b.s.cfg.Artifacts.Get(ctx, b.id)
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
	bills := batch.Bills{Price: b.prices(a.Order, &t)}
	if !due.None {
		path, query := b.place.Results(due)
		if err := b.s.fetchLines(ctx, b.view, &t, path, query, bills.Add); err != nil {
			return fmt.Errorf("read the batch's output: %w", err)
		}
		if err := b.nameOutput(ctx, a, due); err != nil {
			return err
		}
	}
	return b.once(ctx, a, version, func(have map[string]bool) error { return b.write(ctx, a, &t, bills.All, have) })
}

// nameOutput records whose the output is, and the names of the models in it, before its owner learns its id.
func (b *biller) nameOutput(ctx context.Context, a *resource.Artifact, due *batch.Due) error {
	if due.File == "" || !resource.ValidArtifactID(due.File) {
		return nil
	}
	_, err := b.s.cfg.Artifacts.Put(ctx, &resource.Artifact{
		ID: due.File, Kind: resource.ArtifactProvider, DeploymentID: a.DeploymentID, Owners: a.Owners,
		CreatedAt: resource.At(b.s.now()), ExpiresAt: a.ExpiresAt, Names: a.Names,
	}, 0)
	if errors.Is(err, resource.ErrExists) {
		return nil
	}
	return err
}

// forgotten books what was held for a batch as what it has cost.
func (b *biller) forgotten(ctx context.Context, why error) error {
	defer b.s.lockBatch(b.id)()
	a, version, err := b.s.cfg.Artifacts.Get(ctx, b.id)
	if err != nil || a.ChargedAt != 0 || a.Order == nil {
		return err
	}
	b.s.log.Warn("nobody learns what a provider's batch has used: what was held for it is charged", "batch", b.id, "reason", why)
	return b.once(ctx, a, version, func(have map[string]bool) error {
		for i := range a.Order.Holds {
			h := &a.Order.Holds[i]
			if err := b.note(a, h, b.record(i), ledger.Estimated, h.Cost, nil, have); err != nil {
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
	s := b.s
	next, order := *a, resource.BatchOrder{At: string(b.place)}
	if a.Order != nil {
		order = *a.Order
	}
	next.Order = &order
	self := s.cfg.Member
	have := map[string]bool{}
	switch {
	case order.Booker == "":
		if booked, err := b.before(ctx, a); err != nil {
			return err
		} else if booked {
			s.log.Warn("a provider's batch was booked before a backup was restored: nothing is booked again", "batch", b.id)
			return b.close(ctx, &next, version)
		}
		order.Booker, order.After = self, s.cfg.Books.Last()
		var err error
		if version, err = s.cfg.Artifacts.Put(ctx, &next, version); err != nil {
			return otherwise(err)
		}
	case order.Booker != self && s.cfg.MemberGone(order.Booker):
		s.log.Warn("the node that began to book a provider's batch was removed: what it has booked counts", "batch", b.id, "node", order.Booker)
		return b.close(ctx, &next, version)
	case order.Booker != self:
		return nil
	default:
		var whole bool
		var err error
		if have, whole, err = s.cfg.Books.Settled(order.After, b.record(0)); err != nil {
			return fmt.Errorf("read what is booked: %w", err)
		}
		if !whole {
			s.log.Warn("it is not known any more what was booked of a provider's batch: nothing is booked again", "batch", b.id)
			return b.close(ctx, &next, version)
		}
	}
	if err := write(have); err != nil {
		return err
	}
	if err := s.cfg.Books.SyncTo(s.cfg.Books.Last()); err != nil {
		return err
	}
	return b.close(ctx, &next, version)
}

// before says whether the batch was booked though its record does not say so, which was restored: the nodes have told again
// what they wrote.
func (b *biller) before(ctx context.Context, a *resource.Artifact) (bool, error) {
	if b.s.cfg.Booked == nil {
		return false, nil
	}
	booked, err := b.s.cfg.Booked(ctx, []string{b.record(0), b.unused(0)}, a.CreatedAt)
	if err != nil {
		return false, fmt.Errorf("ask whether it was booked before a backup was restored: %w", err)
	}
	return booked, nil
}

// close notes that the batch is booked.
func (b *biller) close(ctx context.Context, a *resource.Artifact, version uint64) error {
	done := *a
	done.ChargedAt = resource.At(b.s.now())
	_, err := b.s.cfg.Artifacts.Put(ctx, &done, version)
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
		return b.id + ".usage"
	}
	return b.id + ".usage-" + strconv.Itoa(number+1)
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

// batchLocks is how many batches may be booked here at once.
const batchLocks = 16

// lockBatch lets this process book a batch once at a time. The caller calls what it returns when it is done.
func (s *Server) lockBatch(id string) (unlock func()) {
	l := &s.booking[maphash.String(s.seed, id)%batchLocks]
	l.Lock()
	return l.Unlock
}
