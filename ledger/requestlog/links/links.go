// Package links hashes the rows of a request log in their order.
package links

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// Chain hashes rows in their order. Each row gets a link, which tells where a chain is broken;
// what proves that it is not is the sum, with which the next segment begins.
type Chain struct {
	sum  [sha256.Size]byte // of all rows so far, over all segments
	link uint64
}

// Start continues after the sum of the segment before, in hexadecimal; "" begins the node's
// chain.
func Start(node, previous string) (*Chain, error) {
	c := &Chain{}
	if previous == "" {
		c.sum = sha256.Sum256([]byte("conclave request log\n" + node))
	} else if b, err := hex.DecodeString(previous); err != nil || copy(c.sum[:], b) != len(c.sum) || len(b) != len(c.sum) {
		return nil, fmt.Errorf("%q is not the hash of a segment", previous)
	}
	c.link = binary.BigEndian.Uint64(c.sum[:8])
	return c, nil
}

// Add hashes a row and returns its link.
func (c *Chain) Add(row []byte) uint64 {
	hash := sha256.Sum256(row)
	var linked [8 + sha256.Size]byte
	binary.BigEndian.PutUint64(linked[:8], c.link)
	copy(linked[8:], hash[:])
	link := sha256.Sum256(linked[:])
	c.link = binary.BigEndian.Uint64(link[:8])
	c.sum = sha256.Sum256(append(c.sum[:], hash[:]...))
	return c.link
}

// Resume continues the links after one that is not what it should be, so that the rows after
// it are judged by themselves. The sum stays what it is.
func (c *Chain) Resume(link uint64) { c.link = link }

// String gives the sum in hexadecimal.
func (c *Chain) String() string { return hex.EncodeToString(c.sum[:]) }
