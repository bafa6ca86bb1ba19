package requestlog

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/ledger/rollup"
	"github.com/conclave-llm/conclave/resource"
)

const (
	copyEvery = 30 * time.Second
	copyBack  = 2 * time.Hour // what is asked for again: late records change older cells
	copyCells = 20_000        // of one answer
)

// bucketCopies holds a bucket for each other node: its cells of hours and days, and how far
// they go. Spend on a node that does not answer, or is gone for ever, is read from them.
var (
	bucketCopies = []byte("copies")
	keyCopied    = []byte("copied")
)

// copied says how far the copy of a node's cells goes.
type copied struct {
	Taken uint64        `json:"taken"` // number of the node's journal that the cells cover
	At    resource.Time `json:"at"`    // when they were copied
}

// copyQuery asks a node for its cells of a level from a key on.
type copyQuery struct {
	Level rollup.Level `json:"level"`
	From  []byte       `json:"from"`
	Since int64        `json:"since"` // seconds: cells that start earlier are left out
}

// copyPart is an answer to it.
type copyPart struct {
	Taken uint64   `json:"taken"`
	Keys  [][]byte `json:"keys,omitempty"`
	Sums  [][]byte `json:"sums,omitempty"`
	Next  []byte   `json:"next,omitempty"` // nil: that was all
}

// cellsSince answers a copyQuery.
func (l *Log) cellsSince(q *copyQuery) (*copyPart, error) {
	if q.Level != rollup.Hour && q.Level != rollup.Day {
		return nil, errors.New("only hours and days are copied")
	}
	part := &copyPart{}
	err := l.db.View(func(tx *bolt.Tx) error {
		part.Taken = takenOf(tx)
		cur := tx.Bucket(bucketCells[q.Level]).Cursor()
		k, v := cur.Seek(q.From)
		for k != nil {
			if from := rollup.SkipTo(k, q.Since); from != nil {
				k, v = cur.Seek(from)
				continue
			}
			if len(part.Keys) == copyCells {
				part.Next = slices.Clone(k)
				return nil
			}
			part.Keys, part.Sums = append(part.Keys, slices.Clone(k)), append(part.Sums, slices.Clone(v))
			k, v = cur.Next()
		}
		return nil
	})
	return part, err
}

func takenOf(tx *bolt.Tx) uint64 {
	if b := tx.Bucket(bucketMeta).Get(keyTaken); len(b) == 8 {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// Run copies the other nodes' cells again and again until ctx ends.
func (c *Cluster) Run(ctx context.Context) {
	for sleep(ctx, copyEvery) {
		c.CopyAll(ctx)
	}
}

// CopyAll copies what is new in the other nodes' cells. A node that does not answer is asked
// again the next time.
func (c *Cluster) CopyAll(ctx context.Context) {
	for _, n := range c.cfg.Nodes() {
		if n.ID == c.cfg.Log.cfg.NodeID {
			continue
		}
		if err := c.copyNode(ctx, n.ID); err != nil {
			c.cfg.Logger.Debug("spend of another node is not copied", "peer", n.Name, "error", err)
		}
	}
}

func (c *Cluster) copyNode(ctx context.Context, id string) error {
	have, err := c.cfg.Log.copyOf(id)
	if err != nil {
		return err
	}
	now := c.cfg.Log.cfg.Now()
	for _, level := range []rollup.Level{rollup.Hour, rollup.Day} {
		q := copyQuery{Level: level}
		if have.At != 0 {
			q.Since = level.Floor(have.At.Std().Add(-copyBack).Unix())
		}
		taken := uint64(0)
		for first := true; first || q.From != nil; first = false {
			part, err := c.askCells(ctx, id, &q)
			if err != nil {
				return err
			}
			if taken == 0 {
				taken = part.Taken // what the first part covers, all do
			}
			done := copied{Taken: taken, At: resource.At(now)}
			if level != rollup.Day || part.Next != nil {
				done = have // not whole yet
			}
			if err := c.cfg.Log.putCopy(id, level, part, done); err != nil {
				return err
			}
			q.From = part.Next
		}
	}
	return nil
}

func (c *Cluster) askCells(ctx context.Context, id string, q *copyQuery) (*copyPart, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	r, err := c.askOne(ctx, id, &question{Cells: q})
	if err != nil {
		return nil, err
	}
	if r.Cells == nil || len(r.Cells.Keys) != len(r.Cells.Sums) {
		return nil, errors.New("the answer holds no cells")
	}
	return r.Cells, nil
}

func (l *Log) copyOf(node string) (have copied, err error) {
	err = l.db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketCopies).Bucket([]byte(node))
		if b == nil {
			return nil
		}
		return json.Unmarshal(b.Get(keyCopied), &have)
	})
	return have, err
}

func (l *Log) putCopy(node string, level rollup.Level, part *copyPart, done copied) error {
	return l.db.Update(func(tx *bolt.Tx) error {
		b, err := tx.Bucket(bucketCopies).CreateBucketIfNotExists([]byte(node))
		if err != nil {
			return err
		}
		cells, err := b.CreateBucketIfNotExists(bucketCells[level])
		if err != nil {
			return err
		}
		for i, k := range part.Keys {
			if _, err := rollup.ParseSums(part.Sums[i]); err != nil {
				return fmt.Errorf("copy cells: %w", err)
			}
			if err := cells.Put(k, part.Sums[i]); err != nil {
				return err
			}
		}
		state, err := json.Marshal(done)
		if err != nil {
			return err
		}
		return b.Put(keyCopied, state)
	})
}

// copyCellsOf reads the copied cells of a node. There are no minutes: an hour is the finest.
type copyCellsOf struct{ b *bolt.Bucket }

// Scan implements rollup.Source.
func (c copyCellsOf) Scan(l rollup.Level, first, end []byte, visit func(key, value []byte) error) error {
	b := c.b.Bucket(bucketCells[l])
	if b == nil {
		return nil
	}
	return scan(b, first, end, visit)
}

// copyUsage answers a question with the copy of a node's cells; ok is false if there is none,
// or the question needs minutes.
func (l *Log) copyUsage(node string, q rollup.Query) (lines []rollup.Line, have copied, ok bool, err error) {
	if q.NeedsMinutes() {
		return nil, copied{}, false, nil
	}
	if have, err = l.copyOf(node); err != nil || have.At == 0 {
		return nil, have, false, err
	}
	err = l.db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketCopies).Bucket([]byte(node))
		if b == nil {
			return nil
		}
		lines, err = q.Run(copyCellsOf{b})
		return err
	})
	return lines, have, err == nil, err
}

// copiedNodes lists the nodes whose cells this node has copied.
func (l *Log) copiedNodes() (ids []string, err error) {
	err = l.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketCopies).ForEachBucket(func(k []byte) error {
			ids = append(ids, string(k))
			return nil
		})
	})
	return ids, err
}

// trimCopies removes copied hours that are too old. Days are few and stay as long as the
// node's own.
func (l *Log) trimCopies(before [len(bucketCells)]int64) error {
	ids, err := l.copiedNodes()
	if err != nil || len(ids) == 0 {
		return err
	}
	for _, level := range []rollup.Level{rollup.Hour, rollup.Day} {
		for _, id := range ids {
			bucket := func(tx *bolt.Tx) *bolt.Bucket {
				b := tx.Bucket(bucketCopies).Bucket([]byte(id))
				if b == nil {
					return nil
				}
				return b.Bucket(bucketCells[level])
			}
			if err := l.trimBucket(bucket, before[level]); err != nil {
				return err
			}
		}
	}
	return nil
}
