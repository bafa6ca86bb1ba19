// Package quiet says once in the log what raft says again and again.
package quiet

import (
	"context"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"
)

// transient are raft's messages that come again and again while a peer or the leader is
// away. One line when that begins and one when it ends say the same; see Peers, and
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

// handler is one that lowers raft's transient messages to Debug.
type handler struct{ slog.Handler }

// New makes the logger for raft.
func New(log *slog.Logger) *slog.Logger { return slog.New(handler{log.Handler()}) }

// Handle implements slog.Handler.
func (q handler) Handle(ctx context.Context, r slog.Record) error {
	if transient[r.Message] {
		if !q.Enabled(ctx, slog.LevelDebug) {
			return nil
		}
		r.Level = slog.LevelDebug
	}
	return q.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (q handler) WithAttrs(as []slog.Attr) slog.Handler { return handler{q.Handler.WithAttrs(as)} }

// WithGroup implements slog.Handler.
func (q handler) WithGroup(name string) slog.Handler { return handler{q.Handler.WithGroup(name)} }

// Peers logs when this leader does not reach a peer any more, and when it does again.
// It belongs to one goroutine.
type Peers struct {
	Logger *slog.Logger
	After  time.Duration          // of silence
	Name   func(id string) string // as configured, for the line

	away map[raft.ServerID]time.Time
}

// Observe takes what raft tells of at a time.
func (w *Peers) Observe(data any, now time.Time) {
	switch o := data.(type) {
	case raft.FailedHeartbeatObservation:
		if _, away := w.away[o.PeerID]; away || now.Sub(o.LastContact) < w.After {
			return
		}
		if w.away == nil {
			w.away = map[raft.ServerID]time.Time{}
		}
		w.away[o.PeerID] = o.LastContact
		w.Logger.Warn("a peer is unreachable", "peer", o.PeerID, "name", w.Name(string(o.PeerID)), "last_contact", o.LastContact)
	case raft.ResumedHeartbeatObservation:
		if since, away := w.away[o.PeerID]; away {
			delete(w.away, o.PeerID)
			w.Logger.Info("a peer is reachable again", "peer", o.PeerID, "name", w.Name(string(o.PeerID)), "away", now.Sub(since).Round(time.Millisecond))
		}
	case raft.PeerObservation:
		if o.Removed {
			delete(w.away, o.Peer.ID)
		}
	case raft.RaftState: // whoever leads next looks anew
		clear(w.away)
	}
}
