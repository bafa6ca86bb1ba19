package requestlog

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/parquet-go/parquet-go"
	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/ledger/requestlog/links"
	"github.com/conclave-llm/conclave/resource"
)

const (
	// chainVersion is how rows are hashed: 2 is the JSON of the row with a salted commitment in
	// the place of what is personal, so that a person can be forgotten and the chain stays whole;
	// 1 is the JSON of the whole row. Segments of version 0 were sealed before there was a chain.
	chainVersion = 2
	chainKey     = "conclave.chain" // of the segment's metadata
)

var keyAnchor = []byte("anchor")

// Chained is a segment's place in the node's chain. It stands in the segment's own metadata,
// too.
type Chained struct {
	Version  int    `json:"chain,omitempty"`    // 0: sealed before there was a chain
	Previous string `json:"previous,omitempty"` // hash of the segment before; "": it is the first
	Hash     string `json:"hash,omitempty"`     // of all rows up to its last

	// Was is the hash before people were forgotten in a segment of version 1, whose rows were
	// hashed anew: the next segment follows it. Note is the cluster's signature of both.
	Was  string `json:"was,omitempty"`
	Note string `json:"note,omitempty"`
}

// Anchor is what is left of the segments that were removed for their age: the hash that the
// first kept one begins with.
type Anchor struct {
	Hash    string        `json:"hash"`
	Last    uint64        `json:"last"`              // number of the last row that is gone
	Removed int64         `json:"removed"`           // segments, in all
	At      resource.Time `json:"at"`                // when the last of them was
	Check   string        `json:"check"`             // hash of the rest
	Adopted bool          `json:"adopted,omitempty"` // the list was lost, and the chain begins with what was found
}

// sealed fills Check in.
func (a Anchor) sealed() Anchor {
	a.Check = ""
	sum := sha256.Sum256(fmt.Appendf(nil, "conclave anchor\n%s\n%d\n%d\n%d\n%t", a.Hash, a.Last, a.Removed, a.At, a.Adopted))
	a.Check = hex.EncodeToString(sum[:])
	return a
}

// anchorOf reads the anchor, the zero value if nothing was removed yet.
func anchorOf(tx *bolt.Tx) (a Anchor, err error) {
	v := tx.Bucket(bucketMeta).Get(keyAnchor)
	if v == nil {
		return a, nil
	}
	if err := json.Unmarshal(v, &a); err != nil {
		return a, fmt.Errorf("read anchor: %w", err)
	}
	return a, nil
}

// personal is what of a row tells of a person.
type personal struct {
	UserID   string `json:"user_id,omitempty"`
	Customer string `json:"customer_id,omitempty"`
	Session  string `json:"session_id,omitempty"`
	Receipt  string `json:"receipt,omitempty"`
}

// impersonal is what is hashed of a row in version 2.
type impersonal struct {
	Row
	Commitment string `json:"commitment"`
}

// commitment stands for what is personal of the row. Who does not know the salt cannot tell
// whether it stands for a name that he thinks of.
func (r *Row) commitment() (string, error) {
	if r.Commitment != "" {
		return r.Commitment, nil
	}
	b, err := json.Marshal(personal{r.UserID, r.Customer, r.Session, r.Receipt})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append([]byte(r.Salt), b...))
	return hex.EncodeToString(sum[:]), nil
}

// linkOf hashes a row as the version says and returns its link.
func linkOf(version int, c *links.Chain, r *Row) (uint64, error) {
	if version < chainVersion {
		b, err := json.Marshal(r)
		if err != nil {
			return 0, err
		}
		return c.Add(b), nil
	}
	commitment, err := r.commitment()
	if err != nil {
		return 0, err
	}
	rest := impersonal{*r, commitment}
	rest.UserID, rest.Customer, rest.Session, rest.Receipt = "", "", "", ""
	b, err := json.Marshal(&rest)
	if err != nil {
		return 0, err
	}
	return c.Add(b), nil
}

func putAnchor(tx *bolt.Tx, a Anchor) error {
	b, err := json.Marshal(a.sealed())
	if err != nil {
		return err
	}
	return tx.Bucket(bucketMeta).Put(keyAnchor, b)
}

// dropped moves the anchor over a segment that is removed.
func (l *Log) dropped(tx *bolt.Tx, s *Segment) error {
	a, err := anchorOf(tx)
	if err != nil {
		return err
	}
	return putAnchor(tx, Anchor{
		Hash: s.tail(), Last: s.Last, Removed: a.Removed + 1, At: resource.At(l.cfg.Now()), Adopted: a.Adopted,
	})
}

// tail is the hash that the next segment begins with.
func (c *Chained) tail() string {
	if c.Was != "" {
		return c.Was
	}
	return c.Hash
}

// note signs that a segment of the hash was takes another place in the chain.
func (l *Log) note(c *Chained) (string, error) {
	if l.cfg.Sign == nil {
		return "", errors.New("request log has nothing to sign a note with")
	}
	b, err := l.cfg.Sign("request log erasure", l.cfg.NodeID, c.Previous, c.Was, c.Hash)
	return hex.EncodeToString(b), err
}

func (l *Log) noted(s *Segment) bool {
	want, err := l.note(&s.Chained)
	return err == nil && want == s.Note
}

// head is the hash that the next segment begins with.
func (l *Log) head() (string, error) {
	if list := l.Segments(); len(list) > 0 {
		return list[len(list)-1].tail(), nil
	}
	var a Anchor
	err := l.db.View(func(tx *bolt.Tx) (err error) {
		a, err = anchorOf(tx)
		return err
	})
	return a.Hash, err
}

// chainedOf reads a segment's own word about its place in the chain.
func chainedOf(p *parquet.File) (c Chained, err error) {
	text, ok := p.Lookup(chainKey)
	if !ok {
		return c, nil
	}
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return c, fmt.Errorf("read chain: %w", err)
	}
	return c, nil
}

// chainCheck compares the kept rows with the chain, segment by segment.
type chainCheck struct {
	rep     *Report
	node    string
	noted   func(s *Segment) bool // the note of a segment is the cluster's
	before  *Segment              // the segment before; nil: none
	anchor  Anchor
	c       *links.Chain // of the segment that is read; nil: it has none, or its beginning is wrong
	s       *Segment
	last    uint64 // number of the row before
	broken  int    // rows of the segment that were named
	chained int
}

// maxBroken bounds the rows of one segment that are named.
const maxBroken = 5

func (l *Log) newChainCheck(rep *Report) (*chainCheck, error) {
	k := &chainCheck{rep: rep, node: l.cfg.NodeID, noted: l.noted}
	err := l.db.View(func(tx *bolt.Tx) (err error) {
		k.anchor, err = anchorOf(tx)
		return err
	})
	if err == nil && k.anchor != (Anchor{}) && k.anchor.sealed().Check != k.anchor.Check {
		rep.differ("the anchor of the segments that are gone was changed")
	}
	return k, err
}

// begin looks at a segment's place.
func (k *chainCheck) begin(s *Segment, own Chained) {
	k.s, k.c, k.last, k.broken = s, nil, 0, 0
	expected, after := k.anchor.Hash, "the segments that were removed for their age"
	if k.before != nil {
		expected, after = k.before.tail(), "segment "+k.before.Name
		if s.First <= k.before.Last {
			k.rep.differ("segment %s begins with record %d, and the one before ends with record %d: they were reordered", s.Name, s.First, k.before.Last)
		}
	}
	if s.Version == 0 && own.Version == 0 {
		if k.before != nil && k.before.Version != 0 || k.before == nil && k.anchor.Hash != "" {
			k.rep.differ("segment %s has no chain, and what was sealed before it has: it was replaced", s.Name)
		}
		return
	}
	if own != s.Chained {
		k.rep.differ("segment %s says of its place in the chain what the list does not: it was replaced", s.Name)
	}
	if own.Previous != expected {
		k.rep.differ("segment %s does not follow %s: a segment between them was removed or replaced", s.Name, after)
	}
	if s.Was != "" && !k.noted(s) {
		k.rep.differ("segment %s says that people were forgotten in it, and the note is not the cluster's: it was replaced", s.Name)
	}
	c, err := links.Start(k.node, own.Previous)
	if err != nil {
		k.rep.differ("segment %s: %v", s.Name, err)
		return
	}
	k.c = c
}

// row compares a row with its link.
func (k *chainCheck) row(r *Row) error {
	if k.s == nil {
		return nil
	}
	if r.Number <= k.last && k.broken < maxBroken {
		k.broken++
		k.rep.differ("segment %s: row %d (request %s) stands after row %d: the rows were reordered", k.s.Name, r.Number, r.RequestID, k.last)
	}
	k.last = r.Number
	if k.c == nil {
		return nil
	}
	link, err := linkOf(k.s.Version, k.c, r)
	if err != nil {
		return err
	}
	if link != r.Link {
		if k.broken < maxBroken {
			k.broken++
			k.rep.differ("segment %s: row %d (request %s) was changed, or the row before it was removed or moved", k.s.Name, r.Number, r.RequestID)
		}
		k.c.Resume(r.Link) // the rows after it are judged by themselves
	}
	return nil
}

// end compares the hash of all rows.
func (k *chainCheck) end() {
	if k.c != nil {
		k.chained++
		if k.c.String() != k.s.Hash && k.broken == 0 {
			k.rep.differ("segment %s: its rows are not those that were sealed: rows at its end were removed or added", k.s.Name)
		}
		k.rep.Head = k.s.tail()
	}
	k.before, k.s, k.c = k.s, nil, nil
}
