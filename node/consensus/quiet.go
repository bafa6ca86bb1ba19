package consensus

import (
	"context"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"
)

// unreachableAfter is for how long a peer may be silent before a line is logged, times the
// multiplier: raft tries again at once, so a single failure is no news.
const unreachableAfter = time.Second

// transient are raft's messages that come again and again while a peer or the leader is
// away. One line when that begins and one when it ends say the same; see peerWatch, and
// raft's own lines when it looks for a leader and finds one.
var transient = map[string]bool{
	"failed to heartbeat to":                                        true,
	"failed to appendEntries to":                                    true,
	"failed to pipeline appendEntries":                              true,
	"failed to start pipeline replication to":                       true,
	"pipelining replication":                                        true,
	"aborting pipeline replication":                                 true,
	"appendEntries rejected, sending older logs":                    true,
	"failed to contact":                                             true,
	"failed to get previous log":                                    true,
	"previous log term mis-match":                                   true,
	"failed to decode incoming command":                             true,
	"failed to flush response":                                      true,
	"unable to get address for server, using fallback address":      true,
	"failed to make requestVote RPC":                                true,
	"entering candidate state":                                      true,
	"Election timeout reached, restarting election":                 true,
	"pre-vote campaign failed, waiting for election timeout":        true,
	"rejecting vote request since we have a leader":                 true,
	"rejecting pre-vote request since we have a leader":             true,
	"rejecting vote request since node is not in configuration":     true,
	"rejecting pre-vote request since node is not in configuration": true,
	"rejecting vote request since our last index is greater":        true,
	"rejecting pre-vote request since our last index is greater":    true,
	"rejecting vote request since our last term is greater":         true,
	"rejecting pre-vote request since our last term is greater":     true,
	"heartbeat timeout reached, not part of a stable configuration or a non-voter, not triggering a leader election": true,
}

// quiet is a handler that lowers raft's transient messages to Debug.
type quiet struct{ slog.Handler }

// quieten makes the logger for raft.
func quieten(log *slog.Logger) *slog.Logger { return slog.New(quiet{log.Handler()}) }

// Handle implements slog.Handler.
func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	if transient[r.Message] {
		if !q.Enabled(ctx, slog.LevelDebug) {
			return nil
		}
		r.Level = slog.LevelDebug
	}
	return q.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (q quiet) WithAttrs(as []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(as)} }

// WithGroup implements slog.Handler.
func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name)} }

// peerWatch logs when this leader does not reach a peer any more, and when it does again.
// It belongs to one goroutine.
type peerWatch struct {
	log   *slog.Logger
	after time.Duration
	name  func(id string) string // as configured, for the line
	away  map[raft.ServerID]time.Time
}

// observe takes what raft tells of at a time.
func (w *peerWatch) observe(data any, now time.Time) {
	switch o := data.(type) {
	case raft.FailedHeartbeatObservation:
		if _, away := w.away[o.PeerID]; away || now.Sub(o.LastContact) < w.after {
			return
		}
		w.away[o.PeerID] = o.LastContact
		w.log.Warn("a peer is unreachable", "peer", o.PeerID, "name", w.name(string(o.PeerID)), "last_contact", o.LastContact)
	case raft.ResumedHeartbeatObservation:
		if since, away := w.away[o.PeerID]; away {
			delete(w.away, o.PeerID)
			w.log.Info("a peer is reachable again", "peer", o.PeerID, "name", w.name(string(o.PeerID)), "away", now.Sub(since).Round(time.Millisecond))
		}
	case raft.PeerObservation:
		if o.Removed {
			delete(w.away, o.Peer.ID)
		}
	case raft.RaftState: // whoever leads next looks anew
		clear(w.away)
	}
}

// watchPeers observes raft until the node stops.
func (n *Node) watchPeers() {
	seen := make(chan raft.Observation, 64)
	o := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.FailedHeartbeatObservation, raft.ResumedHeartbeatObservation, raft.PeerObservation, raft.RaftState:
			return true
		}
		return false
	})
	n.raft.RegisterObserver(o)
	defer n.raft.DeregisterObserver(o)
	w := &peerWatch{
		log: n.log, after: time.Duration(n.cfg.Multiplier) * unreachableAfter,
		name: n.nameOf, away: map[raft.ServerID]time.Time{},
	}
	for {
		select {
		case <-n.ctx.Done():
			return
		case o := <-seen:
			w.observe(o.Data, time.Now())
		}
	}
}

// nameOf is the configured name of a node, "" if it is not registered.
func (n *Node) nameOf(id string) string {
	if m, ok := n.fsm.Member(id); ok {
		return m.Name
	}
	return ""
}
