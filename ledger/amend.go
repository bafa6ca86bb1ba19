package ledger

import (
	"encoding/binary"
	"fmt"
)

// Amend replaces the holds of an open reservation, before another deployment is asked whose
// budgets are others. It returns once that survives what Reserve survives; ErrSettled if the
// reservation is not open.
func (j *Journal) Amend(reserved uint64, holds []AccountCharge) error {
	j.mu.Lock()
	if err := j.admitLocked(&Record{Reserved: reserved}); err != nil {
		j.mu.Unlock()
		return fmt.Errorf("journal amendment: %w", err)
	}
	n := j.next
	j.next++
	at := len(j.buf)
	j.buf = appendAmendment(beginFrame(j.buf, kindAmend, n), reserved, holds)
	endFrame(j.buf, at)
	if err := j.writeLocked(); err != nil {
		return fmt.Errorf("journal amendment: %w", err)
	}
	if j.cfg.Mode == ModeFsync && len(holds) > 0 {
		return j.SyncTo(n)
	}
	return nil
}

func putAmendment(b []byte, reserved uint64, holds []AccountCharge) []byte {
	return putCharges(binary.AppendUvarint(b, reserved), holds)
}

func decodeAmendment(body []byte) (reserved uint64, holds []AccountCharge, err error) {
	r := readerOf(body)
	reserved, holds = r.Uint(), r.charges()
	return reserved, holds, r.Done()
}

// amendments are the newest holds by the number of the reservation.
type amendments map[uint64][]AccountCharge

func (a amendments) take(f frame) error {
	n, holds, err := decodeAmendment(f.body)
	if err != nil {
		return fmt.Errorf("amendment %d: %w", f.number, err)
	}
	a[n] = holds
	return nil
}

// older adds amendments that were written before those known already.
func (a amendments) older(o amendments) {
	for n, holds := range o {
		if _, ok := a[n]; !ok {
			a[n] = holds
		}
	}
}
