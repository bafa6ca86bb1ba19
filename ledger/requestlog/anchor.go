package requestlog

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/ledger/requestlog/segment"
	"github.com/conclave-llm/conclave/resource"
)

var keyAnchor = []byte("anchor")

// anchorOf reads the anchor, the zero value if nothing was removed yet.
func anchorOf(tx *bolt.Tx) (a segment.Anchor, err error) {
	v := tx.Bucket(bucketMeta).Get(keyAnchor)
	if v == nil {
		return a, nil
	}
	if err := json.Unmarshal(v, &a); err != nil {
		return a, fmt.Errorf("read anchor: %w", err)
	}
	return a, nil
}

func putAnchor(tx *bolt.Tx, a segment.Anchor) error {
	b, err := json.Marshal(a.Sealed())
	if err != nil {
		return err
	}
	return tx.Bucket(bucketMeta).Put(keyAnchor, b)
}

// dropped moves the anchor over a segment that is removed.
func (l *Log) dropped(tx *bolt.Tx, s *segment.Segment) error {
	a, err := anchorOf(tx)
	if err != nil {
		return err
	}
	return putAnchor(tx, segment.Anchor{
		Hash: s.Tail(), Last: s.Last, Removed: a.Removed + 1, At: resource.At(l.cfg.Now()), Adopted: a.Adopted,
	})
}

// note signs that a segment of the hash was takes another place in the chain.
func (l *Log) note(c *segment.Chained) (string, error) {
	if l.cfg.Sign == nil {
		return "", errors.New("request log has nothing to sign a note with")
	}
	b, err := l.cfg.Sign("request log erasure", l.cfg.NodeID, c.Previous, c.Was, c.Hash)
	return hex.EncodeToString(b), err
}

func (l *Log) noted(s *segment.Segment) bool {
	want, err := l.note(&s.Chained)
	return err == nil && want == s.Note
}

// head is the hash that the next segment begins with.
func (l *Log) head() (string, error) {
	if list := l.Segments(); len(list) > 0 {
		return list[len(list)-1].Tail(), nil
	}
	var a segment.Anchor
	err := l.db.View(func(tx *bolt.Tx) (err error) {
		a, err = anchorOf(tx)
		return err
	})
	return a.Hash, err
}

func (l *Log) chainCheck(rep *Report) (*segment.Check, error) {
	k := &segment.Check{Node: l.cfg.NodeID, Noted: l.noted, Differ: rep.differ}
	err := l.db.View(func(tx *bolt.Tx) (err error) {
		k.Anchor, err = anchorOf(tx)
		return err
	})
	if err == nil && !k.Anchor.Intact() {
		rep.differ("the anchor of the segments that are gone was changed")
	}
	return k, err
}
