package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/node/consensus/logstore/segment"
)

const (
	witnessSlot = 512 // one disk sector, so that a torn write hits one slot
	witnessSize = 32
	witnessSync = 200 * time.Millisecond
)

// witness remembers the highest index that the log acknowledged, in a file of its own, so
// that a log which lost its end is noticed. Two slots are written in turn; the valid one
// with the higher sequence counts. A slot: "CNCLHWM1", u64 sequence, index (u64) and the
// low 32 bits of the term, u32 CRC32C, big-endian.
type witness struct {
	f      *os.File
	broken func(error) // told of the first failure
	stop   chan struct{}
	done   chan struct{}

	mu    sync.Mutex // guards the rest
	seq   uint64
	top   uint64
	dirty bool  // written since the last sync
	err   error // the first failure, which all later writes return: a sync is never tried again
}

const witnessMagic = "CNCLHWM1"

// openWitness reads the file, or creates it with index 0. Once it is open, broken is told
// of the first failure, after which the node must not go on: the log may have acknowledged
// what the witness does not know.
func openWitness(path string, broken func(error)) (*witness, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open witness: %w", err)
	}
	b := make([]byte, 2*witnessSlot)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read witness: %w", errors.Join(err, f.Close()))
	}
	w := &witness{f: f, broken: func(error) {}, stop: make(chan struct{}), done: make(chan struct{})}
	valid := false
	for i := range 2 {
		if seq, index, ok := parseWitness(b[i*witnessSlot:]); ok && (!valid || seq > w.seq) {
			w.seq, w.top, valid = seq, index, true
		}
	}
	if n > 0 && !valid {
		return nil, fmt.Errorf("read witness: %w", errors.Join(ErrCorrupt, f.Close()))
	}
	if n == 0 { // new: both slots, so that a torn write always leaves one
		if err := errors.Join(w.writeLocked(0, 0), w.writeLocked(0, 0), f.Sync()); err != nil {
			return nil, fmt.Errorf("make witness: %w", errors.Join(err, f.Close()))
		}
	}
	w.broken = broken
	go w.run()
	return w, nil
}

// parseWitness reads a slot.
func parseWitness(b []byte) (seq, index uint64, ok bool) {
	if len(b) < witnessSize || string(b[:8]) != witnessMagic {
		return 0, 0, false
	}
	if crc32.Checksum(b[:28], castagnoli) != binary.BigEndian.Uint32(b[28:]) {
		return 0, 0, false
	}
	return binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:]), true
}

// index is the highest acknowledged.
func (w *witness) index() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.top
}

// failed is the first failure, nil if there was none.
func (w *witness) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// raise notes that the log reaches index; it is synced in the background.
func (w *witness) raise(index, term uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.writeLocked(index, term)
}

// lower notes, and syncs, that the log is about to end at index.
func (w *witness) lower(index uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.writeLocked(index, 0); err != nil {
		return err
	}
	w.dirty = false
	if err := segment.Datasync(w.f); err != nil {
		return w.failLocked(fmt.Errorf("sync witness: %w", err))
	}
	return nil
}

// failLocked keeps the first failure, tells of it, and returns it.
func (w *witness) failLocked(err error) error {
	if w.err == nil {
		w.err = err
		w.broken(err)
	}
	return w.err
}

// writeLocked writes the slot whose turn it is.
func (w *witness) writeLocked(index, term uint64) error {
	if w.err != nil {
		return w.err
	}
	w.seq++
	b := make([]byte, 0, witnessSize)
	b = append(b, witnessMagic...)
	b = binary.BigEndian.AppendUint64(b, w.seq)
	b = binary.BigEndian.AppendUint64(b, index)
	b = binary.BigEndian.AppendUint32(b, uint32(term))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if _, err := w.f.WriteAt(b, int64(w.seq%2)*witnessSlot); err != nil {
		return w.failLocked(fmt.Errorf("write witness: %w", err))
	}
	w.top, w.dirty = index, true
	return nil
}

// run syncs what was written, every 200 ms.
func (w *witness) run() {
	defer close(w.done)
	tick := time.NewTicker(witnessSync)
	defer tick.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-tick.C:
			w.sync()
		}
	}
}

// sync syncs outside the lock: a slow disk must not hold up raise.
func (w *witness) sync() {
	w.mu.Lock()
	dirty := w.dirty
	w.dirty = false
	w.mu.Unlock()
	if !dirty {
		return
	}
	if err := segment.Datasync(w.f); err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		_ = w.failLocked(fmt.Errorf("sync witness: %w", err)) // kept for the next writer
	}
}

// close syncs and closes the file.
func (w *witness) close() error {
	close(w.stop)
	<-w.done
	return errors.Join(w.f.Sync(), w.f.Close())
}
