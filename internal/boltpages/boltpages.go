// Package boltpages opens bbolt files whose pages may be damaged. Where the list of free pages is not kept in a file, bbolt finds
// it by a walk through all pages in a goroutine of its own, and what it panics on there, as on a flipped bit, would end the process at
// each start. So all pages are looked at before.
package boltpages

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

// The format of a file, which is in the byte order of the machine: little endian where Conclave runs.
const (
	pageHeader    = 16
	element       = 16 // of a leaf or a branch
	bucketHeader  = 16 // root page and sequence
	idSize        = 8  // of the id of a page
	metaSize      = 64
	metaSum       = metaSize - 8
	magic         = 0xED0CDAED
	version       = 2
	noFreelist    = ^uint64(0)
	branchPage    = 0x01
	leafPage      = 0x02
	freelistPage  = 0x10
	bucketLeaf    = 0x01
	maxDepth      = 64
	maxPageSize   = 1 << 16
	firstDataPage = 2
)

// ErrDamaged says that the pages of a file do not fit together.
var ErrDamaged = errors.New("damaged pages")

// Open is bolt.Open for a file that may be damaged: then the error wraps ErrDamaged, or is one of bbolt's. Nobody writes
// the file while it is looked at, for it is locked as for a reader.
func Open(path string, mode fs.FileMode, o *bolt.Options) (db *bolt.DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = damaged("%v", r)
		}
		if err != nil {
			err = fmt.Errorf("open %s: %w", filepath.Base(path), err)
		}
	}()
	info, err := os.Stat(path)
	if err == nil && info.Size() > 0 {
		if err := checkLocked(path, o); err != nil {
			return nil, err
		}
	}
	return bolt.Open(path, mode, o)
}

func checkLocked(path string, o *bolt.Options) (err error) {
	lock, err := bolt.Open(path, 0, &bolt.Options{Timeout: o.Timeout, ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // nothing was written
	return Check(f)
}

// Check reads all pages of a file that can be reached and returns an error that wraps ErrDamaged unless each is what the
// one before says, in the file, of a known kind, referred to once and in the order of its keys. What the values are is not looked at.
func Check(r io.ReaderAt) error {
	c := &checker{r: r}
	if err := c.meta(); err != nil {
		return err
	}
	if err := c.freelist(); err != nil {
		return err
	}
	return c.tree(c.root, bounds{}, 0)
}

// checker walks through a file.
type checker struct {
	r        io.ReaderAt
	pageSize int
	root     uint64
	free     uint64 // the page of the list of free pages, or noFreelist
	pages    uint64 // how many there are
	seen     []uint64
	buffers  [maxDepth][]byte
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// meta finds the newest whole head of the file. The two are one page apart.
func (c *checker) meta() error {
	var txid uint64
	found := false
	take := func(at int64) {
		var b [pageHeader + metaSize]byte
		if _, err := c.r.ReadAt(b[:], at); err != nil {
			return
		}
		m := b[pageHeader:]
		size := binary.LittleEndian.Uint32(m[8:])
		sum := fnv.New64a()
		_, _ = sum.Write(m[:metaSum])
		if binary.LittleEndian.Uint32(m) != magic || binary.LittleEndian.Uint32(m[4:]) != version || sum.Sum64() != binary.LittleEndian.Uint64(m[metaSum:]) ||
			size < 512 || size > maxPageSize || at != 0 && at != int64(size) {
			return
		}
		if id := binary.LittleEndian.Uint64(m[48:]); !found || id > txid {
			found, txid, c.pageSize = true, id, int(size)
			c.root, c.free, c.pages = binary.LittleEndian.Uint64(m[16:]), binary.LittleEndian.Uint64(m[32:]), binary.LittleEndian.Uint64(m[40:])
		}
	}
	take(0)
	for size := int64(512); size <= maxPageSize; size *= 2 { // the first head may be the damaged one
		take(size)
	}
	if !found {
		return damaged("no whole head")
	}
	const most = 1 << 36 // pages; the head has a checksum, and is not meant to exhaust the memory
	if c.pages > most {
		return damaged("%d pages", c.pages)
	}
	c.seen = make([]uint64, c.pages/64+1)
	return nil
}

// freelist checks the page of the list of free pages, if the file has one.
func (c *checker) freelist() error {
	if c.free == noFreelist {
		return nil
	}
	p, err := c.page(c.free, 0)
	if err != nil {
		return err
	}
	n, first := uint64(p.count), pageHeader
	if n == 0xFFFF { // then the first id is the number
		b, err := p.cut(pageHeader, idSize)
		if err != nil {
			return err
		}
		n, first = binary.LittleEndian.Uint64(b), pageHeader+idSize
	}
	if p.flags != freelistPage || n > uint64(p.size-first)/idSize {
		return damaged("page %d is no list of free pages", c.free)
	}
	return nil
}

// page is one with those that it goes on in. Only the first is in memory: long values are not read.
type page struct {
	c            *checker
	id           uint64
	flags, count uint16
	size         int
	first        []byte
}

// page reads the page with the id into the buffer of the depth, and notes that it was referred to.
func (c *checker) page(id uint64, depth int) (p page, err error) {
	if depth >= maxDepth {
		return p, damaged("page %d is %d pages deep", id, depth)
	}
	if id < firstDataPage || id >= c.pages {
		return p, damaged("page %d is not one of %d", id, c.pages)
	}
	if c.buffers[depth] == nil {
		c.buffers[depth] = make([]byte, c.pageSize)
	}
	b := c.buffers[depth]
	if err := c.read(b, id, 0); err != nil {
		return p, err
	}
	if got := binary.LittleEndian.Uint64(b); got != id {
		return p, damaged("page %d calls itself %d", id, got)
	}
	more := uint64(binary.LittleEndian.Uint32(b[12:]))
	if id+more >= c.pages {
		return p, damaged("page %d has %d more, and there are %d", id, more, c.pages)
	}
	for i := id; i <= id+more; i++ {
		if c.seen[i/64]&(1<<(i%64)) != 0 {
			return p, damaged("page %d is referred to twice", i)
		}
		c.seen[i/64] |= 1 << (i % 64)
	}
	if more > 0 { // the file must have the last of them
		if err := c.read(make([]byte, 1), id+more, c.pageSize-1); err != nil {
			return p, err
		}
	}
	return page{c: c, id: id, flags: binary.LittleEndian.Uint16(b[8:]), count: binary.LittleEndian.Uint16(b[10:]), size: (int(more) + 1) * c.pageSize, first: b}, nil
}

// read fills b with what is so many bytes behind the begin of a page.
func (c *checker) read(b []byte, id uint64, from int) error {
	_, err := c.r.ReadAt(b, int64(id)*int64(c.pageSize)+int64(from))
	switch {
	case errors.Is(err, io.EOF):
		return damaged("page %d is behind the end of the file", id)
	case err != nil:
		return fmt.Errorf("read page %d: %w", id, err)
	}
	return nil
}

// cut is a part of the page.
func (p *page) cut(from, size int) ([]byte, error) {
	switch {
	case from < 0 || size < 0 || from > p.size-size:
		return nil, damaged("page %d of %d bytes has no %d at %d", p.id, p.size, size, from)
	case from+size <= len(p.first):
		return p.first[from : from+size], nil
	}
	b := make([]byte, size)
	return b, p.c.read(b, p.id, from)
}

// bounds are those of the keys below a page: from low to less than high; nil: there is none.
type bounds struct{ low, high []byte }

// tree checks the page and all below it.
func (c *checker) tree(id uint64, in bounds, depth int) error {
	p, err := c.page(id, depth)
	if err != nil {
		return err
	}
	switch p.flags {
	case branchPage:
		return c.branch(id, p, in, depth)
	case leafPage:
		return c.leaf(id, p, in, depth)
	}
	return damaged("page %d has the flags %x", id, p.flags)
}

func (c *checker) branch(id uint64, p page, in bounds, depth int) error {
	if p.count == 0 {
		return damaged("page %d leads nowhere", id)
	}
	e, err := p.branchAt(0)
	for i := range int(p.count) {
		if err != nil {
			return err
		}
		if !in.holds(e.key) {
			return damaged("key %d of page %d is out of order", i, id)
		}
		below := bounds{low: e.key, high: in.high}
		var next branchElement
		if i+1 < int(p.count) {
			if next, err = p.branchAt(i + 1); err == nil && bytes.Compare(e.key, next.key) >= 0 {
				err = damaged("key %d of page %d is out of order", i+1, id)
			}
			if err != nil {
				return err
			}
			below.high = next.key
		}
		if err := c.tree(e.child, below, depth+1); err != nil {
			return err
		}
		e = next
	}
	return nil
}

func (b bounds) holds(k []byte) bool {
	return (b.low == nil || bytes.Compare(k, b.low) >= 0) && (b.high == nil || bytes.Compare(k, b.high) < 0)
}

func (c *checker) leaf(id uint64, p page, in bounds, depth int) error {
	var last []byte
	for i := range int(p.count) {
		e, err := p.leafAt(i)
		if err != nil {
			return err
		}
		if !in.holds(e.key) || i > 0 && bytes.Compare(last, e.key) >= 0 {
			return damaged("key %d of page %d is out of order", i, id)
		}
		last = e.key
		if e.flags&bucketLeaf != 0 {
			if err := c.bucket(&p, e, depth); err != nil {
				return err
			}
		}
	}
	return nil
}

// bucket checks one that is inside another: its own pages, or the page that stands in its value.
func (c *checker) bucket(p *page, e leafElement, depth int) error {
	v, err := p.cut(e.value, e.size)
	if err != nil {
		return err
	}
	if len(v) < bucketHeader {
		return damaged("page %d has a bucket of %d bytes", p.id, len(v))
	}
	if root := binary.LittleEndian.Uint64(v); root != 0 {
		return c.tree(root, bounds{}, depth+1)
	}
	v = v[bucketHeader:]
	if len(v) < pageHeader || binary.LittleEndian.Uint16(v[8:]) != leafPage {
		return damaged("page %d has a bucket without a page", p.id)
	}
	inner := page{id: p.id, count: binary.LittleEndian.Uint16(v[10:]), size: len(v), first: v}
	var last []byte
	for i := range int(inner.count) {
		e, err := inner.leafAt(i)
		if err != nil {
			return err
		}
		if e.flags&bucketLeaf != 0 || i > 0 && bytes.Compare(last, e.key) >= 0 {
			return damaged("page %d has a bucket whose key %d is out of order", p.id, i)
		}
		last = e.key
	}
	return nil
}

type branchElement struct {
	key   []byte
	child uint64
}

func (p *page) branchAt(i int) (e branchElement, err error) {
	from := pageHeader + i*element
	b, err := p.cut(from, element)
	if err != nil {
		return e, err
	}
	e.child = binary.LittleEndian.Uint64(b[8:])
	e.key, err = p.cut(from+int(binary.LittleEndian.Uint32(b)), int(binary.LittleEndian.Uint32(b[4:])))
	return e, err
}

// leafElement is a key, and where its value is.
type leafElement struct {
	flags       uint32
	key         []byte
	value, size int
}

func (p *page) leafAt(i int) (e leafElement, err error) {
	from := pageHeader + i*element
	b, err := p.cut(from, element)
	if err != nil {
		return e, err
	}
	key, keySize := from+int(binary.LittleEndian.Uint32(b[4:])), int(binary.LittleEndian.Uint32(b[8:]))
	e = leafElement{flags: binary.LittleEndian.Uint32(b), value: key + keySize, size: int(binary.LittleEndian.Uint32(b[12:]))}
	if e.value > p.size-e.size {
		return e, damaged("page %d ends in its value %d", p.id, i)
	}
	e.key, err = p.cut(key, keySize)
	return e, err
}
