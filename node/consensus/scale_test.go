package consensus_test

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

const (
	underWay   = 512       // batches that are proposed and not applied yet
	adminEvery = 10        // of so many batches one is an administrator's, the others are ticks of the ledger
	waveKeys   = 250_000   // that an administrator makes before he deletes them all again, at most
	spentKeys  = 1000      // whose spend the ticks tell
	spentEach  = 2         // in one tick
	logAtMost  = 256 << 20 // bytes on one node
	compacted  = 64 << 20  // bytes from which a state's file is compacted, as by default
)

// TestScale_Batches writes as many batches as CONCLAVE_SCALE names through a cluster of three: ticks of the ledger, and keys that are made in
// waves and deleted again, so that much of the state's files is free at times and they are compacted while all goes on. It prints how
// large logs and states became, and what a batch took at first and in the end.
func TestScale_Batches(t *testing.T) {
	total, err := strconv.Atoi(os.Getenv("CONCLAVE_SCALE"))
	if err != nil {
		t.Skip("set CONCLAVE_SCALE=1000000 to measure")
	}
	w := &batches{t: t, ms: founded(t), total: total, wave: uint64(max(min(waveKeys, total/adminEvery/4), 1))}
	for _, m := range w.ms { // with the compaction of the product
		m.stop(true)
		m.compact = compacted
		m.restart()
	}
	for _, m := range w.ms {
		ready(t, m)
	}
	began := time.Now()
	stop := w.watch()
	for len(w.took) < total {
		w.lead()
	}
	elapsed := time.Since(began)
	eventually(t, "all nodes have one state", func() bool {
		index, hash := w.ms[0].fsm.Hash()
		return !slices.ContainsFunc(w.ms[1:], func(m *machine) bool { i, h := m.fsm.Hash(); return i != index || h != hash })
	})
	stop()
	t.Logf("%d batches in %s, %.0f a second, %d leaders", total, elapsed.Round(time.Second), float64(total)/elapsed.Seconds(), w.leaders)
	w.booked()
	for i, m := range w.ms {
		live := w.live(m)
		state := sizeBelow(filepath.Join(m.dir, "fsm.db"))
		t.Logf("%s: log at most %d MiB; state %d MiB, of which %d MiB are live (%.2f times), at most %d MiB; compacted %d times",
			m.name, w.logs[i]>>20, state>>20, live>>20, float64(state)/float64(live), w.states[i]>>20, w.shrunk[i])
		if w.logs[i] > logAtMost {
			t.Errorf("%s: a log of %d bytes, want at most %d", m.name, w.logs[i], logAtMost)
		}
		if state >= compacted && 2*state > 3*live {
			t.Errorf("%s: a state of %d bytes, of which %d are live", m.name, state, live)
		}
	}
}

// booked expects what the ticks told in every state, and no more than was sent.
func (w *batches) booked() {
	w.t.Helper()
	if most := underWay * (w.leaders - 1); w.refused > most {
		w.t.Errorf("%d batches were refused, want at most the %d that followed what a leader lost: %v", w.refused, most, w.first)
	}
	for _, m := range w.ms {
		var sum int64
		for i := range uint64(spentKeys) {
			sum += m.fsm.Totals(resource.HolderKey, spender(i)).Requests
		}
		if sum < w.ticks*spentEach || sum > int64(w.sent-w.admin)*spentEach {
			w.t.Errorf("%s has %d requests in its totals, want those of %d to %d ticks", m.name, sum, w.ticks, w.sent-w.admin)
		}
	}
}

// batches writes them, and measures.
type batches struct {
	t       *testing.T
	ms      []*machine
	total   int
	wave    uint64 // keys of one
	leaders int
	sent    uint64
	admin   uint64          // those of an administrator
	ticks   int64           // that were applied
	refused int             // of those that followed what a leader has lost
	first   error           // of the refusals
	took    []time.Duration // of each batch that was applied

	logs, states []int64 // the most, by machine
	shrunk       []int
}

// waits is a batch under way.
type waits struct {
	applied raft.ApplyFuture
	at      time.Time
	tick    bool
}

// lead writes through the leader until all is written, or another one leads: what was under way then counts only if it is known
// to be applied.
func (w *batches) lead() {
	l := leader(w.t, w.ms)
	before, _ := l.fsm.Node(l.id.NodeID)
	if l.speak(fsm.OpenEpoch{Node: l.id.NodeID, Life: l.node.Life(), After: before.Epoch}) != nil {
		return // it does not lead any more
	}
	w.leaders++
	state, _ := l.fsm.Node(l.id.NodeID)
	missing := w.total - len(w.took)
	queue, lost := make(chan waits, underWay), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { w.collect(queue, lost) })
	var seq uint64
	for range missing {
		p := waits{tick: w.sent%adminEvery != 0, at: time.Now()}
		if p.tick {
			seq++
			p.applied = l.node.Enqueue(w.entry(l, fsm.Actor{Kind: "node", ID: l.id.NodeID}, w.spend(l, state.Epoch, seq)))
		} else {
			p.applied = l.node.Enqueue(w.entry(l, fsm.Actor{Kind: "master"}, w.change()))
		}
		select {
		case queue <- p:
			continue
		case <-lost:
		}
		break
	}
	close(queue)
	wg.Wait()
}

// collect waits for what is under way, and says when a leader has lost something.
func (w *batches) collect(queue <-chan waits, lost chan<- struct{}) {
	failed := false
	for p := range queue {
		if err := p.applied.Error(); err != nil {
			if !failed {
				close(lost)
			}
			failed = true
			continue
		}
		if a, ok := p.applied.Response().(fsm.Applied); !ok || a.Err != nil {
			w.refused++
			w.first = cmp.Or(w.first, a.Err)
		}
		if p.tick {
			w.ticks++
		}
		w.took = append(w.took, time.Since(p.at))
		if tenth := max(w.total/10, 1); len(w.took)%tenth == 0 {
			part := w.took[len(w.took)-tenth:]
			w.t.Logf("%d batches: of the last tenth half were applied within %s, 99 of 100 within %s", len(w.took), quantile(part, 50), quantile(part, 99))
		}
	}
}

// entry is the next one of the log.
func (w *batches) entry(l *machine, by fsm.Actor, cmd fsm.Command) []byte {
	w.sent++
	env := fsm.Envelope{At: resource.At(time.Now()), Actor: by, ReadIndex: l.fsm.Applied()}
	binary.BigEndian.PutUint64(env.CommandID[:], w.sent)
	data, err := fsm.Encode(env, cmd)
	if err != nil {
		w.t.Fatal(err)
	}
	return data
}

// change is the next one of an administrator.
func (w *batches) change() fsm.Command {
	n, round := w.admin%w.wave, w.admin/w.wave
	w.admin++
	id := fmt.Sprintf("wave-%d-%d", round/2, n)
	if round%2 == 1 {
		return fsm.DeleteKey{ID: id}
	}
	enc, err := fsm.EncodedOf(resource.Key{Meta: resource.Meta{ID: id}, Hash: resource.HashSecret(id)})
	if err != nil {
		w.t.Fatal(err)
	}
	return fsm.PutKey{Key: enc}
}

// spend is a tick of the leader's ledger.
func (w *batches) spend(l *machine, epoch, seq uint64) fsm.Command {
	tick := fsm.Tick{Node: l.id.NodeID, Epoch: epoch, Seq: seq}
	for i := range uint64(spentEach) {
		tick.Spend = append(tick.Spend, fsm.SpendDelta{
			KeyID: spender((w.sent*spentEach + i) % spentKeys), Model: "demo", Day: 20000, Cost: 1000, Requests: 1, Prompt: 100, Completion: 10,
		})
	}
	return fsm.TickGroup{Ticks: []fsm.Tick{tick}}
}

func spender(n uint64) string { return fmt.Sprintf("spends-%d", n) }

// watch looks how large logs and states are, until it is stopped.
func (w *batches) watch() (stop func()) {
	w.logs, w.states, w.shrunk = make([]int64, len(w.ms)), make([]int64, len(w.ms)), make([]int, len(w.ms))
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		last := make([]int64, len(w.ms))
		for {
			for i, m := range w.ms {
				w.logs[i] = max(w.logs[i], sizeBelow(filepath.Join(m.dir, "raft", "log")))
				state := sizeBelow(filepath.Join(m.dir, "fsm.db"))
				if w.states[i] = max(w.states[i], state); state < last[i] {
					w.shrunk[i]++ // nothing else makes it smaller
				}
				last[i] = state
			}
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// sizeBelow is how many bytes a file has, or all below a folder. Files come and go.
func sizeBelow(path string) (sum int64) {
	_ = filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil //nolint:nilerr // it is gone
		}
		if info, err := e.Info(); err == nil {
			sum += info.Size()
		}
		return nil
	})
	return sum
}

// live is how large the state's file is that has the same and nothing besides.
func (w *batches) live(m *machine) int64 {
	w.t.Helper()
	s, err := m.fsm.Snapshot()
	if err != nil {
		w.t.Fatal(err)
	}
	defer s.Release()
	dir := w.t.TempDir()
	f, err := fsm.Open(fsm.Config{Dir: dir, NodeID: "copy"})
	if err != nil {
		w.t.Fatal(err)
	}
	r, out := io.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() { out.CloseWithError(s.Persist(pipe{out})) })
	err = errors.Join(f.Restore(r), f.Close())
	wg.Wait()
	if err != nil {
		w.t.Fatal(err)
	}
	return sizeBelow(filepath.Join(dir, "fsm.db"))
}

// pipe takes a snapshot.
type pipe struct{ *io.PipeWriter }

// ID implements raft.SnapshotSink.
func (pipe) ID() string { return "" }

// Cancel implements raft.SnapshotSink.
func (p pipe) Cancel() error { return p.CloseWithError(errors.New("the snapshot is not whole")) }

// quantile is what so many of a hundred did not exceed.
func quantile(took []time.Duration, of int) time.Duration {
	sorted := slices.Sorted(slices.Values(took))
	return sorted[len(sorted)*of/100].Round(10 * time.Microsecond)
}
