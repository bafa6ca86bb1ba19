package audit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sort"
	"strconv"
	"strings"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

const (
	defaultLimit = 50
	defaultReach = 20_000  // entries that one question looks at
	maxPageBytes = 4 << 20 // of encoded entries; a page over it is the last of its answer
)

// Query selects audit entries, the newest first. Zero fields select all.
type Query struct {
	Limit   int    // of the page; 0: 50
	Cursor  string // next of the page before
	Kind    string // of the record
	ID      string // of the record
	Actor   string // "master", "key/ID", "file", "node/ID"
	Action  string // "put_key", …
	Address string
	From    resource.Time // entries since then
	To      resource.Time // entries before then; 0: all
	Text    string        // in the actor, id, name, address or action, in any case
	Oldest  bool          // the oldest first
	Skip    int           // matches before the page
	Bytes   bool          // give the entries' bytes, too
	Reach   int           // entries that are looked at, at most; a page may be short for it, and its cursor goes on; 0: 20,000
	// Filter decides by the whole entry; nil: every one.
	Filter func(*resource.AuditEntry) bool
}

// plain says that every entry is wanted.
func (q *Query) plain() bool {
	return q.Kind == "" && q.ID == "" && q.Actor == "" && q.Action == "" && q.Address == "" && q.Text == "" && q.Filter == nil
}

// Page is an answer to a Query.
type Page struct {
	Items   []resource.AuditEntry
	Entries [][]byte // of each item, if they were asked for
	Next    string   // cursor of the next page, "" after the last
	Matches int      // entries that matched as far as was looked, with those that were skipped
}

// Find answers a query.
func Find(tx *bolt.Tx, q Query) (Page, error) {
	if q.Limit <= 0 {
		q.Limit = defaultLimit
	}
	if q.Reach <= 0 {
		q.Reach = defaultReach
	}
	s := &search{tx: tx, q: q, c: store.Audit.In(tx).Cursor()}
	first, last, err := bounds(tx)
	if err != nil || first == 0 {
		return s.page, err
	}
	lo, hi, err := s.clip(first, last)
	if err != nil || lo > hi {
		return s.page, err
	}
	if s.q.plain() { // every entry matches: none has to be looked at to be skipped
		skip := min(uint64(max(s.q.Skip, 0)), hi-lo+1)
		s.page.Matches = int(skip)
		if s.q.Oldest {
			lo += skip
		} else {
			hi -= skip
		}
	}
	return s.page, s.run(lo, hi)
}

// bounds are the numbers of the oldest and the newest entry, 0 if there is none.
func bounds(tx *bolt.Tx) (first, last uint64, err error) {
	c := store.Audit.In(tx).Cursor()
	k, _ := c.First()
	if k == nil {
		return 0, 0, nil
	}
	l, _ := c.Last()
	if len(k) != 8 || len(l) != 8 {
		return 0, 0, fmt.Errorf("keys of the audit log: %w", frame.ErrDamaged)
	}
	return binary.BigEndian.Uint64(k), binary.BigEndian.Uint64(l), nil
}

// search is the answering of one query.
type search struct {
	tx     *bolt.Tx
	q      Query
	c      *bolt.Cursor
	page   Page
	bytes  int
	looked int
}

// clip narrows the numbers by the cursor and the times: entries are in the order of both.
func (s *search) clip(first, last uint64) (lo, hi uint64, err error) {
	lo, hi = first, last
	if s.q.Cursor != "" {
		at, err := strconv.ParseUint(s.q.Cursor, 10, 64)
		switch {
		case err != nil || at == 0:
			return 1, 0, nil //nolint:nilerr // nothing follows what is no cursor
		case s.q.Oldest:
			lo = max(lo, at+1)
		default:
			hi = min(hi, at-1)
		}
	}
	since := func(t resource.Time) uint64 {
		n := sort.Search(int(last-first+1), func(i int) bool {
			at, e := s.at(first + uint64(i))
			if e != nil {
				err = e
			}
			return at >= t
		})
		return first + uint64(n)
	}
	if s.q.From > 0 {
		lo = max(lo, since(s.q.From))
	}
	if s.q.To > 0 {
		hi = min(hi, since(s.q.To)-1)
	}
	return lo, hi, err
}

func (s *search) at(number uint64) (resource.Time, error) {
	e, err := read(s.tx, number)
	if err != nil {
		return 0, err
	}
	g, err := skim(e.body)
	return g.at, err
}

// read reads one entry that is there.
func read(tx *bolt.Tx, number uint64) (stored, error) {
	k := Key(number)
	v, ok, err := store.Audit.Read(tx, k)
	if err == nil && !ok {
		err = fmt.Errorf("audit entry %d is missing: %w", number, frame.ErrDamaged)
	}
	if err != nil {
		return stored{}, err
	}
	return split(k, v)
}

// run looks at the entries from lo to hi, block by block.
func (s *search) run(lo, hi uint64) error {
	for lo <= hi {
		from, to := lo, hi // of one block
		if s.q.Oldest {
			to = min(hi, (block(lo)+1)*blockSize)
			lo = to + 1
		} else {
			from = max(lo, block(hi)*blockSize+1)
			hi = from - 1
		}
		may, err := s.may(block(from))
		if err != nil {
			return err
		}
		if !may {
			s.looked++
			if s.looked >= s.q.Reach && lo <= hi {
				s.page.Next = strconv.FormatUint(s.edge(from, to), 10)
				return nil
			}
			continue
		}
		if done, err := s.scan(from, to, lo <= hi); done || err != nil {
			return err
		}
	}
	return nil
}

// edge is the last of the entries from, to in the order of the search.
func (s *search) edge(from, to uint64) uint64 {
	if s.q.Oldest {
		return to
	}
	return from
}

// may says whether the block may have what is wanted.
func (s *search) may(number uint64) (bool, error) {
	if s.q.plain() {
		return true, nil
	}
	v, ok, err := store.AuditBlocks.Read(s.tx, binary.BigEndian.AppendUint64(nil, number))
	if err != nil || !ok {
		return true, err
	}
	if len(v.Payload) != summarySize {
		return false, fmt.Errorf("summary of audit block %d: %w", number, frame.ErrDamaged)
	}
	sum := summary(v.Payload)
	return sum.has(fieldActor, s.q.Actor) && sum.has(fieldAddress, s.q.Address) && sum.has(fieldAction, s.q.Action) &&
		sum.has(fieldKind, s.q.Kind) && sum.has(fieldID, s.q.ID), nil
}

// scan looks at the entries of one block. It is done once the page is full or the search has
// looked far enough; more says that there are entries behind the block.
func (s *search) scan(from, to uint64, more bool) (done bool, err error) {
	step, n := s.c.Prev, to
	if s.q.Oldest {
		step, n = s.c.Next, from
	}
	k, v := s.c.Seek(Key(n))
	for left := to - from + 1; left > 0; left-- {
		if !bytes.Equal(k, Key(n)) {
			return false, fmt.Errorf("audit entry %d is missing: %w", n, frame.ErrDamaged)
		}
		if err := s.look(k, v); err != nil {
			return false, err
		}
		full := len(s.page.Items) >= s.q.Limit || s.looked >= s.q.Reach || s.bytes >= maxPageBytes
		if full {
			if more || left > 1 {
				s.page.Next = strconv.FormatUint(n, 10)
			}
			return true, nil
		}
		k, v = step()
		if s.q.Oldest {
			n++
		} else {
			n--
		}
	}
	return false, nil
}

// look takes one entry into the page if it matches.
func (s *search) look(k, v []byte) error {
	s.looked++
	f, err := frame.Parse(k, v)
	if err != nil {
		return err
	}
	e, err := split(k, f)
	if err != nil {
		return err
	}
	if !s.q.plain() {
		g, err := skim(e.body)
		if err != nil {
			return err
		}
		if !s.q.matches(&g) {
			return nil
		}
	}
	skips := s.page.Matches < s.q.Skip
	if skips && s.q.Text == "" && s.q.Filter == nil {
		s.page.Matches++
		return nil
	}
	previous, err := previousOf(s.tx, e.number)
	if err != nil {
		return err
	}
	shown, err := e.show(previous)
	if err != nil {
		return err
	}
	if !s.q.selects(&shown) {
		return nil
	}
	s.page.Matches++
	if !skips {
		s.page.Items = append(s.page.Items, shown)
		if s.q.Bytes {
			s.page.Entries = append(s.page.Entries, bytes.Clone(e.body))
		}
		s.bytes += len(e.body)
	}
	return nil
}

// matches decides by what is read at a glance.
func (q *Query) matches(g *glance) bool {
	is := func(want string, got []byte) bool { return want == "" || want == string(got) }
	return is(q.Kind, g.kind) && is(q.ID, g.id) && is(q.Actor, g.actor) && is(q.Action, g.action) && is(q.Address, g.address)
}

// selects decides by the rest.
func (q *Query) selects(e *resource.AuditEntry) bool {
	if q.Text != "" {
		all := strings.ToLower(strings.Join([]string{e.Actor, e.For, e.ID, e.Name, e.Address, e.Action}, "\x00"))
		if !strings.Contains(all, strings.ToLower(q.Text)) {
			return false
		}
	}
	return q.Filter == nil || q.Filter(e)
}

// previousOf is the hash before an entry: of the entry before it, or of the anchor.
func previousOf(tx *bolt.Tx, number uint64) (resource.Hash, error) {
	if number == 1 {
		return resource.Hash{}, nil
	}
	if store.Audit.In(tx).Get(Key(number-1)) != nil {
		e, err := read(tx, number-1)
		return e.hash, err
	}
	a, ok, err := AnchorOf(tx)
	if err == nil && (!ok || a.Number != number-1) {
		err = fmt.Errorf("audit entry %d is missing: %w", number-1, frame.ErrDamaged)
	}
	return a.Hash, err
}

// One returns the entry with the number; false if it was pruned, or is not there yet.
func One(tx *bolt.Tx, number uint64) (resource.AuditEntry, bool, error) {
	if number == 0 || store.Audit.In(tx).Get(Key(number)) == nil {
		return resource.AuditEntry{}, false, nil
	}
	e, err := read(tx, number)
	if err != nil {
		return resource.AuditEntry{}, false, err
	}
	previous, err := previousOf(tx, number)
	if err != nil {
		return resource.AuditEntry{}, false, err
	}
	shown, err := e.show(previous)
	return shown, err == nil, err
}
