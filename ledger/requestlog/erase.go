package requestlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/internal/durable"
	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/requestlog/segment"
	"github.com/conclave-llm/conclave/ledger/rollup"
	"github.com/conclave-llm/conclave/resource"
)

// Person is somebody whom the log forgets.
type Person struct {
	Order     string // of the erasure
	Kind      string // resource.HolderCustomer or HolderUser
	ID        string
	Pseudonym string
}

func (p *Person) dim() rollup.Dim {
	if p.Kind == resource.HolderUser {
		return rollup.User
	}
	return rollup.Customer
}

// is says whether the row is about the person.
func (p *Person) is(r *Row) bool {
	if p.Kind == resource.HolderUser {
		return r.UserID == p.ID
	}
	return r.Customer == p.ID
}

// Erase brings the rows up to the number, and all sums of before, under the person's
// pseudonym, and returns how many rows it has changed. Amounts stay, and the chain verifies.
// Doing it again changes nothing.
func (l *Log) Erase(ctx context.Context, p Person, upTo uint64) (rows int64, err error) {
	if err := l.WaitTaken(ctx, upTo); err != nil {
		return 0, err
	}
	l.workMu.Lock() // nothing is taken or sealed meanwhile
	defer l.workMu.Unlock()
	late := &rollup.Batch{} // of requests after the number, whose sums stay
	hot, err := l.eraseHot(&p, upTo, late)
	if err != nil {
		return 0, fmt.Errorf("erase rows: %w", err)
	}
	sealed := int64(0)
	for _, s := range l.Segments() {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n, err := l.eraseSegment(&s, &p, upTo)
		if err == nil && s.Last > upTo {
			err = l.lateRows(&s, &p, upTo, late)
		}
		if err != nil {
			return 0, fmt.Errorf("erase rows of segment %s: %w", s.Name, err)
		}
		sealed += n
	}
	if err := l.eraseCells(&p, late); err != nil {
		return 0, fmt.Errorf("erase names of sums: %w", err)
	}
	return hot + sealed, nil
}

// eraseHot changes the rows in bbolt.
func (l *Log) eraseHot(p *Person, upTo uint64, late *rollup.Batch) (n int64, err error) {
	err = l.db.Update(func(tx *bolt.Tx) error {
		changed := map[string][]byte{}
		err := tx.Bucket(bucketRows).ForEach(func(k, v []byte) error {
			r, count, err := parseHot(numberOf(k), v)
			if err != nil {
				return err
			}
			if !p.inRecord(&r) {
				return nil
			}
			if r.Number > upTo {
				late.Add(&r, max(1, count))
				return nil
			}
			p.eraseRecord(&r)
			changed[string(k)] = appendHot(nil, &r, count)
			return nil
		})
		for k, v := range changed {
			err = errors.Join(err, tx.Bucket(bucketRows).Put([]byte(k), v))
		}
		n = int64(len(changed))
		return err
	})
	return n, err
}

// lateRows adds the sums of sealed rows of the person after the number.
func (l *Log) lateRows(s *segment.Segment, p *Person, upTo uint64, late *rollup.Batch) error {
	i := slices.IndexFunc(l.Segments(), func(o segment.Segment) bool { return o.First == s.First })
	if i < 0 {
		return nil
	}
	now := l.Segments()[i]
	_, err := segment.Read(l.path(&now), func(r *Row) error {
		if r.Number > upTo && p.is(r) {
			rec := r.Record()
			late.Add(&rec, max(1, r.Count))
		}
		return nil
	})
	return err
}

func (p *Person) inRecord(r *ledger.Record) bool {
	if p.Kind == resource.HolderUser {
		return r.UserID == p.ID
	}
	return r.CustomerID == p.ID
}

// eraseRecord puts the pseudonym where the record names the person, and drops what else may.
func (p *Person) eraseRecord(r *ledger.Record) {
	for _, v := range []*string{&r.UserID, &r.CustomerID, &r.User, &r.Receipt.Entity} {
		if *v == p.ID {
			*v = p.Pseudonym
		}
	}
	r.User = ""
	r.SessionID = ""
	r.Receipt.Facts.Clear()
	if strings.Contains(r.Receipt.Rule, p.ID) {
		r.Receipt.Rule = ""
	}
	for i := range r.Charges {
		r.Charges[i].Account = p.account(r.Charges[i].Account)
	}
}

// account renames an account of the person: customer/ID/…, user/ID/…, member/TEAM/ID/….
func (p *Person) account(id resource.AccountID) resource.AccountID {
	kind, holder, name, ok := id.Split()
	if !ok {
		return id
	}
	if team, user, found := strings.Cut(holder, "/"); kind == resource.HolderMember && found && p.Kind == resource.HolderUser && user == p.ID {
		return resource.Account(kind, team+"/"+p.Pseudonym, name)
	}
	if kind == p.Kind && holder == p.ID {
		return resource.Account(kind, p.Pseudonym, name)
	}
	return id
}

// eraseRow does the same with a sealed row, which keeps the commitment to what it said.
func (p *Person) eraseRow(r *Row) error {
	if err := r.Commit(); err != nil {
		return err
	}
	for _, v := range []*string{&r.UserID, &r.Customer} {
		if *v == p.ID {
			*v = p.Pseudonym
		}
	}
	r.Session = ""
	receipt, err := r.Explain()
	if err != nil {
		r.Receipt = "{}" // nobody can tell what it says
		return nil
	}
	if receipt.Entity == p.ID {
		receipt.Entity = p.Pseudonym
	}
	if strings.Contains(receipt.Rule, p.ID) {
		receipt.Rule = ""
	}
	for i := range receipt.Charges {
		receipt.Charges[i].Account = string(p.account(resource.AccountID(receipt.Charges[i].Account)))
	}
	receipt.Facts.Clear()
	b, err := json.Marshal(receipt)
	r.Receipt = string(b)
	return err
}

// eraseSegment writes a segment anew that tells of the person, beside the old one, and puts it
// in its place in the list.
func (l *Log) eraseSegment(s *segment.Segment, p *Person, upTo uint64) (rows int64, err error) {
	if s.First > upTo {
		return 0, nil
	}
	if has, err := l.tellsOf(s, p, upTo); err != nil || !has {
		return 0, err
	}
	tmp, err := os.CreateTemp(l.cfg.segmentDir(), "erase-*.tmp")
	if err != nil {
		return 0, err
	}
	next := *s
	rows, err = l.rewrite(tmp, s, &next, p, upTo)
	if err != nil {
		return 0, errors.Join(err, durable.Discard(tmp))
	}
	base, _, _ := strings.Cut(strings.TrimSuffix(s.Name, segment.Suffix), "+")
	next.Name = base + "+" + p.Order + segment.Suffix
	if err := l.place(tmp, &next); err != nil {
		return 0, err
	}
	return rows, l.replaceSegment(s, &next)
}

// errFound ends a search.
var errFound = errors.New("found")

func (l *Log) tellsOf(s *segment.Segment, p *Person, upTo uint64) (bool, error) {
	_, err := segment.Read(l.path(s), func(r *Row) error {
		if r.Number <= upTo && p.is(r) {
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return true, nil
	}
	return false, err
}

// rewriteBatch are the rows that are written at once while a segment is written anew.
const rewriteBatch = 512

// rewrite copies the rows of a segment without the person. Rows with commitments keep their
// hashes; those of an older version are hashed anew, which the segment's note admits.
func (l *Log) rewrite(tmp *os.File, s, next *segment.Segment, p *Person, upTo uint64) (rows int64, err error) {
	anew := s.Version == 1
	if anew {
		next.Version = segment.Version
	}
	out, err := segment.NewWriter(tmp, l.cfg.NodeID, &next.Chained)
	if err != nil {
		return 0, err
	}
	batch := make([]Row, 0, rewriteBatch)
	flush := func() error {
		err := out.Write(batch)
		batch = batch[:0]
		return err
	}
	_, err = segment.Read(l.path(s), func(r *Row) error {
		if anew {
			r.AddSalt()
		}
		if r.Number <= upTo && p.is(r) {
			rows++
			if err := p.eraseRow(r); err != nil {
				return err
			}
		}
		if batch = append(batch, *r); len(batch) == cap(batch) {
			return flush()
		}
		return nil
	})
	if err = errors.Join(err, flush()); err != nil {
		return 0, err
	}
	if err := l.rehash(s, next, out.Sum()); err != nil {
		return 0, err
	}
	return rows, out.Close()
}

// rehash gives next the hash of its rows, which is that of s unless s is of an older version.
func (l *Log) rehash(s, next *segment.Segment, sum string) (err error) {
	switch {
	case s.Version == 1:
		next.Was, next.Hash = s.Hash, sum
		next.Note, err = l.note(&next.Chained)
	case s.Version != 0 && sum != s.Hash:
		err = errors.New("its rows are not those that were sealed; see what verify says")
	}
	return err
}

// replaceSegment lists next in the place of s.
func (l *Log) replaceSegment(s, next *segment.Segment) error {
	l.segMu.Lock()
	defer l.segMu.Unlock()
	i := slices.IndexFunc(l.segments, func(o segment.Segment) bool { return o.Name == s.Name })
	if i < 0 {
		return os.Remove(l.path(next)) // it has become too old meanwhile
	}
	err := l.db.Update(func(tx *bolt.Tx) error {
		if err := tx.Bucket(bucketSegments).Delete([]byte(s.Name)); err != nil {
			return err
		}
		return putSegment(tx, next)
	})
	if err != nil {
		return err
	}
	l.segments = slices.Clone(l.segments)
	l.segments[i] = *next
	if next.Name == s.Name {
		return nil
	}
	return os.Remove(l.path(s))
}

// eraseCells renames the node's own cells, and gives those of late requests back.
func (l *Log) eraseCells(p *Person, late *rollup.Batch) error {
	return l.db.Update(func(tx *bolt.Tx) error {
		for _, level := range rollup.Levels {
			cells := tx.Bucket(bucketCells[level])
			if err := renameCells(cells, p); err != nil {
				return err
			}
			err := late.Each(level, func(key []byte, s *rollup.Sums) error {
				renamed, ok := rollup.Rename(key, p.dim(), p.ID, p.Pseudonym)
				if !ok {
					return nil
				}
				minus := rollup.Sums{}
				minus.Sub(s)
				return errors.Join(addCell(cells, renamed, &minus), addCell(cells, key, s))
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// EraseCopies renames the cells that were copied of other nodes, after those have done so.
func (l *Log) EraseCopies(p Person) error {
	return l.db.Update(func(tx *bolt.Tx) error {
		copies := tx.Bucket(bucketCopies)
		return copies.ForEachBucket(func(node []byte) error {
			for _, level := range rollup.Levels {
				if b := copies.Bucket(node).Bucket(bucketCells[level]); b != nil {
					if err := renameCells(b, &p); err != nil {
						return err
					}
				}
			}
			return nil
		})
	})
}

// renameCells adds the person's cells to those of the pseudonym.
func renameCells(b *bolt.Bucket, p *Person) error {
	type cell struct{ from, to, sums []byte }
	var found []cell
	err := b.ForEach(func(k, v []byte) error {
		if to, ok := rollup.Rename(k, p.dim(), p.ID, p.Pseudonym); ok {
			found = append(found, cell{slices.Clone(k), to, slices.Clone(v)})
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, c := range found {
		s, err := rollup.ParseSums(c.sums)
		if err != nil {
			return err
		}
		if err := errors.Join(b.Delete(c.from), addCell(b, c.to, &s)); err != nil {
			return err
		}
	}
	return nil
}

func addCell(b *bolt.Bucket, key []byte, s *rollup.Sums) error {
	sum := *s
	if old := b.Get(key); old != nil {
		have, err := rollup.ParseSums(old)
		if err != nil {
			return err
		}
		sum.Add(&have)
	}
	return b.Put(key, sum.Append(nil))
}
