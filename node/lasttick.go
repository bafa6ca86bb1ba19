package node

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	lastTickName  = "last-tick"
	lastTickEvery = time.Second // or less often it is written
)

// tickMark is an own tick that was applied here.
type tickMark struct {
	epoch, seq uint64
	sent       time.Duration // boot time
}

// zero says that there is none.
func (m tickMark) zero() bool { return m == tickMark{} }

// in says whether a state whose last own tick has the epoch and number holds the mark's tick.
func (m tickMark) in(epoch, seq uint64) bool {
	return epoch > m.epoch || epoch == m.epoch && seq >= m.seq
}

// lastTick is a file that keeps over restarts of the process when the newest applied tick was sent, by
// the boot clock. It is never synced: after a restart of the machine its times mean nothing.
type lastTick struct {
	bootID string
	log    *slog.Logger

	mu      sync.Mutex // guards what follows
	file    *os.File
	written time.Duration
	failing bool
}

// openLastTick opens the file in a folder and reads the mark of an earlier process; the zero mark if there is none of
// this boot.
func openLastTick(dir, bootID string, log *slog.Logger) (*lastTick, tickMark, error) {
	f, err := os.OpenFile(filepath.Join(dir, lastTickName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, tickMark{}, fmt.Errorf("open the last tick: %w", err)
	}
	var (
		m    tickMark
		boot string
		sent int64
	)
	if _, err := fmt.Fscanf(f, markLayout, &boot, &m.epoch, &m.seq, &sent); err != nil || boot == "" || boot != bootID {
		return &lastTick{file: f, bootID: bootID, log: log}, tickMark{}, nil // an empty file, or another boot's
	}
	m.sent = time.Duration(sent)
	return &lastTick{file: f, bootID: bootID, log: log}, m, nil
}

// markLayout has one length, so that one write replaces a mark by the next.
const markLayout = "%s %020d %020d %020d\n"

// note keeps a mark, once a second.
func (t *lastTick) note(m tickMark) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bootID == "" || t.file == nil || m.sent < t.written+lastTickEvery {
		return
	}
	t.written = m.sent
	_, err := t.file.WriteAt(fmt.Appendf(nil, markLayout, t.bootID, m.epoch, m.seq, int64(m.sent)), 0)
	if err != nil && !t.failing {
		t.log.Warn("keep the last tick: after a restart this node will not know how fresh its state is", "error", err)
	}
	t.failing = err != nil
}

// close closes the file.
func (t *lastTick) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.file.Close()
	t.file = nil
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
