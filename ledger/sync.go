package ledger

import (
	"fmt"
	"time"

	"github.com/conclave-llm/conclave/internal/durable"
	"github.com/conclave-llm/conclave/internal/fault"
)

// syncLoop syncs what is written, soon after it is, until the journal is closed or fails.
func (j *Journal) syncLoop() {
	defer close(j.done)
	every := writeSyncEvery
	if j.cfg.Mode == ModeAsync {
		every = asyncSyncEvery
	}
	for {
		select {
		case <-j.stop:
			return
		case <-j.kick:
		}
		for j.dirtySince.Load() != 0 {
			t := time.NewTimer(every)
			select {
			case <-j.stop:
				t.Stop()
				return
			case <-t.C:
			}
			if j.syncAll() != nil {
				return
			}
		}
	}
}

// SyncTo waits until the record with the number is on disk. Those who wait together share
// one sync.
func (j *Journal) SyncTo(n uint64) error {
	j.syncMu.Lock()
	defer j.syncMu.Unlock()
	if j.synced.Load() >= n {
		return nil
	}
	return j.syncLocked()
}

func (j *Journal) syncAll() error {
	j.syncMu.Lock()
	defer j.syncMu.Unlock()
	return j.syncLocked()
}

// syncLocked syncs all that is written when it is called.
func (j *Journal) syncLocked() error {
	if err := j.Err(); err != nil {
		return err
	}
	n := j.written.Load()
	if n <= j.synced.Load() {
		return nil
	}
	begin := j.cfg.Now()
	segments := j.segmentList()
	for i, s := range segments {
		if s.file == nil {
			continue
		}
		if err := j.syncSegmentLocked(s, i < len(segments)-1); err != nil {
			return j.fail(err)
		}
	}
	j.synced.Store(n)
	j.dirtySince.Store(0) // in this order: a writer stores written, then tries to set dirtySince
	if j.written.Load() > n {
		j.dirtySince.CompareAndSwap(0, begin.UnixNano())
	}
	j.metrics.sync.Observe(j.cfg.Now().Sub(begin).Seconds())
	return nil
}

func (j *Journal) syncSegmentLocked(s *segment, sealed bool) error {
	fault.Point(fault.JournalSync)
	if err := s.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", s.path, err)
	}
	fault.Point(fault.JournalSynced)
	if !s.linked {
		if err := durable.SyncDir(j.cfg.Dir); err != nil {
			return err
		}
		s.linked = true
	}
	if sealed {
		err := s.file.Close()
		s.file = nil
		return err
	}
	return nil
}
