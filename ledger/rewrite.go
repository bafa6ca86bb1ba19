package ledger

import (
	"errors"
	"fmt"
	"os"

	"github.com/conclave-llm/conclave/internal/durable"
)

// errLength says that what was changed in a record does not have its length.
var errLength = errors.New("the changed record has another length")

// Names are the names in one record that may be changed: each by one of the same length, so
// that no record moves. Those that the record has not are nil.
type Names struct {
	User, UserID, CustomerID, SessionID *string

	Accounts []*AccountCharge // of holds and charges
	Receipt  *Receipt
}

// Rewrite lets change edit the names in all records of the journal up to the number, and says
// how many records it has changed. A file is written beside the old one and put in its place
// whole, so that a reader sees the one or the other, with every record where it was. Records in
// forms that are no longer written are left; they are removed for their age.
func (j *Journal) Rewrite(upTo uint64, change func(n *Names) bool) (changed int, err error) {
	j.mu.Lock()
	for j.writing { // takes the lead, so that nobody writes meanwhile
		j.mu.Unlock()
		if err := j.SyncTo(j.Last()); err != nil {
			return 0, err
		}
		j.mu.Lock()
	}
	if j.closed {
		j.mu.Unlock()
		return 0, ErrClosed
	}
	j.writing = true
	j.mu.Unlock()
	defer j.handOver()
	if err := j.SyncTo(j.Last()); err != nil {
		return 0, err
	}
	for _, s := range j.segmentList() {
		if s.first > upTo {
			break
		}
		n, err := j.rewriteSegment(s, upTo, change)
		if err != nil {
			return changed, fmt.Errorf("rewrite journal %s: %w", s.path, err)
		}
		changed += n
	}
	return changed, nil
}

// handOver ends a lead that wrote nothing: those who came meanwhile write.
func (j *Journal) handOver() {
	j.mu.Lock()
	if j.queued != nil {
		close(j.queued.lead)
		j.mu.Unlock()
		return
	}
	j.writing = false
	j.mu.Unlock()
}

func (j *Journal) rewriteSegment(s *segment, upTo uint64, change func(n *Names) bool) (changed int, err error) {
	data, err := os.ReadFile(s.path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil // removed for its age meanwhile
	}
	if err != nil {
		return 0, err
	}
	_, _, err = scan(data[:min(int64(len(data)), s.size.Load())], func(f frame, at int64) error {
		if f.number > upTo {
			return nil
		}
		ok, err := rewriteFrame(data[at:at+int64(f.size)], f, change)
		if ok {
			changed++
		}
		return err
	})
	if err != nil || changed == 0 {
		return 0, err
	}
	return changed, j.replaceFile(s, data)
}

// rewriteFrame changes one frame in its place.
func rewriteFrame(b []byte, f frame, change func(n *Names) bool) (bool, error) {
	var body []byte
	switch f.kind {
	case kindSettle:
		r, err := decodeRecord(f)
		if err != nil {
			return false, err
		}
		n := Names{User: &r.User, UserID: &r.UserID, CustomerID: &r.CustomerID, SessionID: &r.SessionID, Receipt: &r.Receipt}
		n.accounts(r.Charges)
		if !change(&n) {
			return false, nil
		}
		body = putRecord(nil, &r)
	case kindReserve:
		r, err := decodeReservation(f)
		if err != nil {
			return false, err
		}
		n := Names{User: &r.User, UserID: &r.UserID, CustomerID: &r.CustomerID}
		n.accounts(r.Holds)
		if !change(&n) {
			return false, nil
		}
		body = putReservation(nil, &r)
	case kindAmend:
		reserved, holds, err := decodeAmendment(f.body)
		if err != nil {
			return false, err
		}
		n := Names{}
		n.accounts(holds)
		if !change(&n) {
			return false, nil
		}
		body = putAmendment(nil, reserved, holds)
	default:
		return false, nil
	}
	if len(body) != len(f.body) {
		return false, fmt.Errorf("record %d: %w", f.number, errLength)
	}
	copy(b[frameLen:], body)
	endFrame(b, 0)
	return true, nil
}

func (n *Names) accounts(cs []AccountCharge) {
	for i := range cs {
		n.Accounts = append(n.Accounts, &cs[i])
	}
}

// replaceFile puts data in the place of a segment's file.
func (j *Journal) replaceFile(s *segment, data []byte) error {
	f, err := durable.Create(s.path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync()); err != nil { // before others wait
		return errors.Join(err, durable.Discard(f))
	}
	j.syncMu.Lock()
	defer j.syncMu.Unlock()
	if err := durable.Commit(f, s.path); err != nil || s.file == nil {
		return err
	}
	next, err := j.cfg.open(s.path)
	if err != nil {
		return j.fail(err) // what is written from now on would be lost
	}
	old := s.file
	s.file = next
	return old.Close()
}
