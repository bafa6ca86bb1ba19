package segment

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/conclave-llm/conclave/ledger/requestlog/links"
	"github.com/conclave-llm/conclave/resource"
)

const (
	// Version is how rows are hashed: 2 is the JSON of the row with a salted commitment in
	// the place of what is personal, so that a person can be forgotten and the chain stays whole;
	// 1 is the JSON of the whole row. Segments of version 0 were sealed before there was a chain.
	Version = 2

	chainKey = "conclave.chain" // of the segment's metadata
)

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

// Sealed fills Check in.
func (a Anchor) Sealed() Anchor {
	a.Check = ""
	sum := sha256.Sum256(fmt.Appendf(nil, "conclave anchor\n%s\n%d\n%d\n%d\n%t", a.Hash, a.Last, a.Removed, a.At, a.Adopted))
	a.Check = hex.EncodeToString(sum[:])
	return a
}

// Intact says that nobody has changed the anchor; the zero one is.
func (a Anchor) Intact() bool { return a == (Anchor{}) || a.Sealed().Check == a.Check }

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

// Commit keeps the commitment to what is personal of the row, which can be changed then: the hash of the row stays
// what it is. The salt is gone, without which the commitment tells nothing.
func (r *Row) Commit() error {
	commitment, err := r.commitment()
	if err != nil {
		return err
	}
	r.Commitment, r.Salt = commitment, ""
	return nil
}

// linkOf hashes a row as the version says and returns its link.
func linkOf(version int, c *links.Chain, r *Row) (uint64, error) {
	if version < Version {
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

// Tail is the hash that the next segment begins with.
func (c *Chained) Tail() string {
	if c.Was != "" {
		return c.Was
	}
	return c.Hash
}

// Check compares the kept rows with the chain, segment by segment and in their order: Begin, Row for each of its rows
// and End, or Unread. It is for one goroutine.
type Check struct {
	Node   string                           // whose segments they are
	Anchor Anchor                           // of the segments that were removed; the zero value: none was
	Noted  func(s *Segment) bool            // says that the note of a segment is the cluster's
	Differ func(format string, args ...any) // is told what is not as it was sealed

	Chained int    // segments so far that are in the chain
	Head    string // hash of all their rows; "": there are none

	before *Segment     // the segment before; nil: none
	c      *links.Chain // of the segment that is read; nil: it has none, or its beginning is wrong
	s      *Segment
	last   uint64 // number of the row before
	broken int    // rows of the segment that were named
}

// maxBroken bounds the rows of one segment that are named.
const maxBroken = 5

// Begin looks at a segment's place, of which its file says own.
func (k *Check) Begin(s *Segment, own Chained) {
	k.s, k.c, k.last, k.broken = s, nil, 0, 0
	expected, after := k.Anchor.Hash, "the segments that were removed for their age"
	if k.before != nil {
		expected, after = k.before.Tail(), "segment "+k.before.Name
		if s.First <= k.before.Last {
			k.Differ("segment %s begins with record %d, and the one before ends with record %d: they were reordered", s.Name, s.First, k.before.Last)
		}
	}
	if s.Version == 0 && own.Version == 0 {
		if k.before != nil && k.before.Version != 0 || k.before == nil && k.Anchor.Hash != "" {
			k.Differ("segment %s has no chain, and what was sealed before it has: it was replaced", s.Name)
		}
		return
	}
	if own != s.Chained {
		k.Differ("segment %s says of its place in the chain what the list does not: it was replaced", s.Name)
	}
	if own.Previous != expected {
		k.Differ("segment %s does not follow %s: a segment between them was removed or replaced", s.Name, after)
	}
	if s.Was != "" && !k.Noted(s) {
		k.Differ("segment %s says that people were forgotten in it, and the note is not the cluster's: it was replaced", s.Name)
	}
	c, err := links.Start(k.Node, own.Previous)
	if err != nil {
		k.Differ("segment %s: %v", s.Name, err)
		return
	}
	k.c = c
}

// Row compares a row with its link.
func (k *Check) Row(r *Row) error {
	if k.s == nil {
		return nil
	}
	if r.Number <= k.last && k.broken < maxBroken {
		k.broken++
		k.Differ("segment %s: row %d (request %s) stands after row %d: the rows were reordered", k.s.Name, r.Number, r.RequestID, k.last)
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
			k.Differ("segment %s: row %d (request %s) was changed, or the row before it was removed or moved", k.s.Name, r.Number, r.RequestID)
		}
		k.c.Resume(r.Link) // the rows after it are judged by themselves
	}
	return nil
}

// End compares the hash of all rows.
func (k *Check) End() {
	if k.c != nil {
		k.Chained++
		if k.c.String() != k.s.Hash && k.broken == 0 {
			k.Differ("segment %s: its rows are not those that were sealed: rows at its end were removed or added", k.s.Name)
		}
		k.Head = k.s.Tail()
	}
	k.before, k.s, k.c = k.s, nil, nil
}

// Unread passes over a segment that cannot be read.
func (k *Check) Unread(s *Segment) { k.before, k.s, k.c = s, nil, nil }
