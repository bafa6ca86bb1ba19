package consensus_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// lines keeps the messages at Info and above.
type lines struct {
	mu   sync.Mutex
	seen []string
}

func (l *lines) Enabled(_ context.Context, v slog.Level) bool { return v >= slog.LevelInfo }
func (l *lines) WithAttrs([]slog.Attr) slog.Handler           { return l }
func (l *lines) WithGroup(string) slog.Handler                { return l }
func (l *lines) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
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

// cut returns what there is and forgets it.
func (l *lines) cut() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := l.seen
	l.seen = nil
	return seen
}

func TestLog_saysOnceWhatGoesOn(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for lines that must not come")
	}
	a, f := found(t)
	log := &lines{}
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
	<-time.After(2 * time.Second) // a line for each heartbeat would have come by now
	if got := log.cut(); len(got) != 1 {
		t.Errorf("a dead peer gives %q, want one line", got)
	}
	c.restart()
	eventually(t, "the return is logged", func() bool { return log.count("a peer is reachable again") == 1 })
	log.cut()
	b.stop(false)
	c.stop(false)
	eventually(t, "the leader steps down", func() bool { return !a.node.IsLeader() })
	<-time.After(3 * time.Second)
	if got := log.cut(); len(got) > 6 {
		t.Errorf("a lost quorum gives %q", got)
	} else {
		t.Logf("a lost quorum gives %q", got)
	}
}
