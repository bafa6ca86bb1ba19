package consensus_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// lines keeps the messages at Info and above, and counts those below.
type lines struct {
	mu   sync.Mutex
	seen []string
	low  map[string]int
}

func (l *lines) Enabled(context.Context, slog.Level) bool { return true }
func (l *lines) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *lines) WithGroup(string) slog.Handler            { return l }
func (l *lines) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Level < slog.LevelInfo {
		l.low[r.Message]++
		return nil
	}
	l.seen = append(l.seen, r.Level.String()+" "+r.Message)
	return nil
}

// count counts messages since the last call of cut.
func (l *lines) count(msg string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, s := range l.seen {
		if strings.HasSuffix(s, msg) {
			n++
		}
	}
	return n
}

// lowered counts messages below Info since the last call of cut.
func (l *lines) lowered(msg string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.low[msg]
}

// cut returns what there is and forgets it.
func (l *lines) cut() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := l.seen
	l.seen = nil
	clear(l.low)
	return seen
}

func TestLog_saysOnceWhatGoesOn(t *testing.T) {
	t.Parallel()
	a, f := found(t)
	log := &lines{low: map[string]int{}}
	a.log = slog.New(log)
	a.start(&f.Bootstrap)
	ready(t, a)
	b := joinThrough(t, "b", a, token(t, a))
	ready(t, b)
	c := joinThrough(t, "c", b, token(t, b))
	eventually(t, "three voters", func() bool { return voters(a) == 3 })
	if !leader(t, []*machine{a, b, c}).node.IsLeader() || !a.node.IsLeader() {
		if err := a.node.Transfer(t.Context(), a.id.NodeID); err != nil {
			t.Fatal(err)
		}
	}
	log.cut()
	c.stop(false)
	eventually(t, "the loss is logged", func() bool { return log.count("a peer is unreachable") == 1 })
	eventually(t, "more heartbeats fail", func() bool { return log.lowered("failed to heartbeat to") >= 5 })
	if got := log.cut(); len(got) != 1 {
		t.Errorf("a dead peer gives %q, want one line", got)
	}
	c.restart()
	eventually(t, "the return is logged", func() bool { return log.count("a peer is reachable again") == 1 })
	log.cut()
	b.stop(false)
	c.stop(false)
	eventually(t, "the leader steps down", func() bool { return !a.node.IsLeader() })
	eventually(t, "elections fail", func() bool { return log.lowered("pre-vote campaign failed, waiting for election timeout") >= 3 })
	if got := log.cut(); len(got) > 6 {
		t.Errorf("a lost quorum gives %q", got)
	} else {
		t.Logf("a lost quorum gives %q", got)
	}
}
