// Package erasure carries out a node's part of every order to forget a person. The order stands
// in the replicated state until all nodes have done theirs, so that a node that is down does it
// when it is back, before it serves.
//
// A part has three stages. First the ticks bring the node's journal into the state, which tells
// at which record it is cut: totals up to there are under the pseudonym, and so will be exactly
// the rows up to there. Then rows, journal, bodies, files and stored turns are erased. When all
// nodes have come so far, the copies of other nodes' sums are renamed: before, they would come
// again. Each stage may be repeated.
package erasure

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/contents"
	"github.com/conclave-llm/conclave/ledger/requestlog"
	"github.com/conclave-llm/conclave/resource"
)

const retry = time.Second

// Eraser keeps something else of people: files, or the turns of stored conversations.
type Eraser interface {
	// EraseOf deletes what it keeps of the customer or user, and says how many things that
	// were. Doing it again finds nothing.
	EraseOf(ctx context.Context, kind, id string) (int, error)
}

// State reads the orders.
type State interface {
	PendingErasures() []*resource.Erasure
}

// Rows are the node's rows; *requestlog.Log is one.
type Rows interface {
	Erase(ctx context.Context, p requestlog.Person, upTo uint64) (int64, error)
	EraseCopies(p requestlog.Person) error
}

// Journal is the node's journal; *ledger.Journal is one.
type Journal interface {
	Rewrite(upTo uint64, change func(n *ledger.Names) bool) (int, error)
}

// Contents are the bodies that the node keeps; *contents.Store is one.
type Contents interface {
	Erase(match func(o *contents.Owners) bool) (int, error)
}

// Config says what is erased. No field but Erasers and Logger may be zero.
type Config struct {
	NodeID   string
	State    State
	Propose  func(ctx context.Context, cmd fsm.Command) error
	Flush    func(ctx context.Context) error // brings the journal into the state
	CaughtUp func() bool                     // the state has all orders that were given before the start
	Member   func(id string) bool            // the node has not been removed
	Rows     Rows
	Journal  Journal
	Contents Contents
	Erasers  []Eraser
	Logger   *slog.Logger // nil: discards
}

// Runner carries out the node's parts.
type Runner struct {
	cfg    Config
	kick   chan struct{}
	behind atomic.Bool // there was an order before the start that is not carried out here
	clear  atomic.Bool // there is none

	// found is what was erased for an order by tries of which a later part failed, by its id: another try does not find
	// it again, and the receipt counts it. Only Run's goroutine has it.
	found map[string]erased
}

// erased counts rows that were renamed and things that were deleted.
type erased struct{ rows, kept int64 }

// New returns the Runner. Until Run has found that nothing is left to do of what was ordered
// before, Blocked says so.
func New(cfg Config) *Runner {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Runner{cfg: cfg, kick: make(chan struct{}, 1), found: map[string]erased{}}
	r.behind.Store(r.due() > 0)
	return r
}

// Blocked says whether the node must not serve yet: somebody is to be forgotten here who was
// ordered to be while the node was down.
func (r *Runner) Blocked() bool { return r.behind.Load() }

// Changed tells that an order was given or changed. It does not block.
func (r *Runner) Changed() {
	if !r.clear.Load() {
		r.behind.Store(true)
	}
	select {
	case r.kick <- struct{}{}:
	default: // it is awake already
	}
}

// due counts the orders whose own stage this node has not reached.
func (r *Runner) due() (n int) {
	for _, e := range r.cfg.State.PendingErasures() {
		if part := e.Node(r.cfg.NodeID); part != nil && part.Stage < resource.ErasureOwn {
			n++
		}
	}
	return n
}

// Run works until ctx ends.
func (r *Runner) Run(ctx context.Context) {
	for {
		caughtUp := r.cfg.CaughtUp()
		again := r.pass(ctx)
		if caughtUp && r.due() == 0 {
			r.clear.Store(true)
			r.behind.Store(false)
		}
		var later <-chan time.Time
		if again || !r.clear.Load() {
			t := time.NewTimer(retry)
			defer t.Stop()
			later = t.C
		}
		select {
		case <-ctx.Done():
			return
		case <-r.kick:
		case <-later:
		}
	}
}

// pass does what can be done of all orders; again says that something is left.
func (r *Runner) pass(ctx context.Context) (again bool) {
	for _, e := range r.cfg.State.PendingErasures() {
		part := e.Node(r.cfg.NodeID)
		if part == nil {
			continue
		}
		again = true
		if err := r.step(ctx, e, part); err != nil && ctx.Err() == nil {
			r.cfg.Logger.Warn("erasure has to wait", "erasure", e.ID, "stage", part.Stage, "error", err)
		}
	}
	return again
}

// step takes an order one stage further, if it can.
func (r *Runner) step(ctx context.Context, e *resource.Erasure, part *resource.ErasureNode) error {
	note := fsm.NoteErasure{ID: e.ID, Node: r.cfg.NodeID, Stage: part.Stage + 1}
	person := requestlog.Person{Order: e.ID, Kind: e.Kind, ID: e.Subject, Pseudonym: e.Pseudonym}
	switch part.Stage {
	case 0:
		if err := r.cfg.Flush(ctx); err != nil {
			return fmt.Errorf("bring the journal into the state: %w", err)
		}
	case resource.ErasureCut:
		now, err := r.own(ctx, person, part.To)
		sum := r.found[e.ID]
		sum.rows, sum.kept = sum.rows+now.rows, sum.kept+now.kept
		r.found[e.ID] = sum
		if err != nil {
			return err
		}
		note.Rows, note.Contents = sum.rows, sum.kept
	case resource.ErasureOwn:
		if !r.reached(e, resource.ErasureOwn) {
			return nil
		}
		if err := r.cfg.Rows.EraseCopies(person); err != nil {
			return fmt.Errorf("rename copied sums: %w", err)
		}
	default:
		if !r.reached(e, resource.ErasureDone) {
			return nil
		}
		note.Stage = part.Stage // the last of the others was removed: somebody must tell
	}
	err := r.cfg.Propose(ctx, note)
	if err == nil {
		delete(r.found, e.ID)
	}
	return err
}

// reached says whether all nodes have reached the stage that are still members.
func (r *Runner) reached(e *resource.Erasure, stage int) bool {
	for i := range e.Nodes {
		if n := &e.Nodes[i]; n.Stage < stage && r.cfg.Member(n.ID) {
			return false
		}
	}
	return true
}

// own erases what this node has. What it has done is told beside an error, too.
func (r *Runner) own(ctx context.Context, p requestlog.Person, upTo uint64) (done erased, err error) {
	if done.rows, err = r.cfg.Rows.Erase(ctx, p, upTo); err != nil {
		return done, err
	}
	if _, err := r.cfg.Journal.Rewrite(upTo, func(n *ledger.Names) bool { return mask(n, &p) }); err != nil {
		return done, err
	}
	n, err := r.cfg.Contents.Erase(func(o *contents.Owners) bool {
		return p.Kind == resource.HolderCustomer && o.CustomerID == p.ID || p.Kind == resource.HolderUser && o.UserID == p.ID
	})
	for _, e := range r.cfg.Erasers {
		more, failure := e.EraseOf(ctx, p.Kind, p.ID)
		n += more
		err = errors.Join(err, failure)
	}
	done.kept = int64(n)
	return done, err
}

// mask changes the names in a record of the journal by ones of their lengths.
func mask(n *ledger.Names, p *requestlog.Person) bool {
	changed := false
	of := n.CustomerID
	if p.Kind == resource.HolderUser {
		of = n.UserID
	}
	if of != nil && *of == p.ID {
		changed = true
		*of = padded(p.Pseudonym, len(p.ID))
		for _, v := range []*string{n.User, n.SessionID} {
			if v != nil {
				*v = strings.Repeat("-", len(*v))
			}
		}
		if n.Receipt != nil {
			maskReceipt(n.Receipt, p)
		}
	}
	for _, c := range n.Accounts {
		kind, holder, _, ok := c.Account.Split()
		if !ok {
			continue
		}
		_, user, _ := strings.Cut(holder, "/")
		member := p.Kind == resource.HolderUser && kind == resource.HolderMember && user == p.ID
		if kind == p.Kind && holder == p.ID || member {
			changed = true
			c.Account = resource.AccountID(strings.Replace(string(c.Account), "/"+p.ID+"/", "/"+padded(p.Pseudonym, len(p.ID))+"/", 1))
		}
	}
	return changed
}

func maskReceipt(r *ledger.Receipt, p *requestlog.Person) {
	if r.Entity == p.ID {
		r.Entity = padded(p.Pseudonym, len(p.ID))
	}
	if strings.Contains(r.Rule, p.ID) {
		r.Rule = strings.Repeat("-", len(r.Rule))
	}
}

// padded cuts or repeats a pseudonym to a length.
func padded(pseudonym string, length int) string {
	return strings.Repeat(pseudonym, length/len(pseudonym)+1)[:length]
}
