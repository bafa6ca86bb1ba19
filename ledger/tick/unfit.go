package tick

import (
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/conclave-llm/conclave/ledger"
)

// ErrUnfit says that no log takes a tick as it is, however often it is proposed: it is too large, or has a text
// that cannot be encoded. What makes ticks sees to it that there is none; if there is one all the same, it must
// not keep what the node spends from the replicated state.
var ErrUnfit = errors.New("tick can never be applied")

// complainEvery is how often it is told that ticks are not applied.
const complainEvery = time.Minute

// complain tells now and then that what this node spends is not carried away.
func (t *Ticker) complain(tick *Tick, now time.Time, err error) {
	if t.ctx.Err() != nil {
		return
	}
	t.cfg.Logger.Debug("tick not applied yet", "seq", tick.Seq, "error", err)
	if t.failing.IsZero() {
		t.failing = now
	}
	if now.Sub(t.failing) >= complainEvery {
		t.failing = now
		t.cfg.Logger.Warn("what this node spends does not reach the cluster", "records", t.lag(), "seq", tick.Seq, "error", err)
	}
}

// remake puts the records of an unfit tick into smaller ones, down to one for each, and then into one with bare
// names. The number is used again: the tick was never proposed. It says whether the next tick may follow at once.
func (t *Ticker) remake(tick *Tick, round uint64, cause error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.metrics.ticks.WithLabelValues("unfit").Inc()
	if t.round != round || t.epoch == 0 {
		return true // it is another's
	}
	log := t.cfg.Logger.With("seq", tick.Seq, "from", tick.From, "to", tick.To, "error", cause)
	switch {
	case len(tick.Spend)+len(tick.Settle) == 0 && len(tick.Want)+len(tick.Release) > 0:
		log.Error("demand of leases is not taken, and dropped", "wants", len(tick.Want), "releases", len(tick.Release))
		t.seq, t.pending = t.applied, nil
		return true
	case t.bare:
		log.Error("record does not reach the cluster, even without its names; it is tried again")
		return false
	case t.most > 1:
		t.most = max(t.most/4, 1)
		log.Error("tick is not taken; its records are told in smaller ones", "deltas", t.most)
	default:
		t.bare = true
		t.metrics.bared.Inc()
		log.Error("record is not taken as it is; its cost is told without its tags and foreign names", "record", tick.To)
	}
	t.seq = t.applied
	t.wants, t.gives = append(tick.Want, t.wants...), append(tick.Release, t.gives...)
	if err := t.rewindLocked(t.acked); err != nil {
		t.cfg.Logger.Error("journal cannot be read again", "error", err)
		return false
	}
	return true
}

// resumeLocked makes ticks of the usual size again, once what an unfit one had first is applied.
func (t *Ticker) resumeLocked() {
	if t.most == maxDeltas {
		return
	}
	t.most, t.bare = maxDeltas, false
	if err := t.rewindLocked(t.acked); err != nil {
		t.cfg.Logger.Error("journal cannot be read again", "error", err)
	}
}

// bare drops of a delta what clients may have named, and of its charges those that no account can have.
func bare(d *ledger.SpendDelta, charges []ledger.AccountCharge) (kept []ledger.AccountCharge) {
	d.Tags = nil
	for _, s := range [...]*string{
		&d.KeyID, &d.TeamID, &d.Model, &d.Organization, &d.Project, &d.User, &d.Customer, &d.Provider, &d.Deployment,
	} {
		if strings.ContainsFunc(*s, func(r rune) bool { return r < ' ' || r > '~' }) {
			*s = ""
		}
	}
	for _, c := range charges {
		if _, _, _, ok := c.Account.Split(); ok && utf8.ValidString(string(c.Account)) {
			kept = append(kept, c)
		}
	}
	return kept
}
