// Package contents keeps what requests and their answers said, for a cluster that wants it:
// sealed, each day in a file of its own, which is removed as a whole when it is old. What a
// holder does not want kept any more is removed too (ledger/requestlog/FORMAT.md).
package contents

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/internal/boltpages"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/resource"
)

const (
	contentSuffix = ".db"
	contentQueue  = 256      // requests that wait to be written
	contentBytes  = 64 << 20 // of them
	// MaxBytes bounds what is kept of a request's body, and of its answer.
	MaxBytes = 1 << 20
)

var bucketContent = []byte("content")

// Content is what a request and its answer said.
type Content struct {
	RequestID string        `json:"request_id"`
	Time      resource.Time `json:"time"`
	Owners
	Request   []byte `json:"request,omitempty"` // the body, after the guardrails
	Response  []byte `json:"response,omitempty"`
	Truncated bool   `json:"truncated,omitempty"` // one of them was longer than MaxBytes
	UserAgent string `json:"user_agent,omitempty"`
}

// Owners are the holders who may say that a content is not kept. They are stored beside it
// in the clear.
type Owners struct {
	KeyID          string `json:"key_id,omitempty"`
	TeamID         string `json:"team_id,omitempty"`
	OrganizationID string `json:"organization_id,omitempty"`
	ProjectID      string `json:"project_id,omitempty"`
	UserID         string `json:"user_id,omitempty"`
	CustomerID     string `json:"customer_id,omitempty"`

	Tags []string `json:"tags,omitempty"`
}

// storedAs is the key of a content in its file: clients choose ids, and may choose one twice.
func (c *Content) storedAs() []byte {
	return binary.BigEndian.AppendUint64(append([]byte(c.RequestID), 0), uint64(c.Time))
}

// Sealer encrypts contents; what it gives is bound to the request's id.
type Sealer interface {
	Seal(plain []byte, requestID string) ([]byte, error)
	Open(sealed []byte, requestID string) ([]byte, error)
}

// Config says where contents are kept.
type Config struct {
	Dir    string // made with the first content; needed
	Sealer Sealer // needed
	// Keep is for how long contents of these holders are kept, to the day; 0: one of them, or the cluster, does not
	// want them kept any more. nil: 7 days.
	Keep   func(o *Owners) time.Duration
	Full   func() bool      // nothing is written meanwhile, so that what is needed has room; nil: never
	Now    func() time.Time // nil: clock.Now
	Logger *slog.Logger     // nil: discards
}

// Store keeps contents. Writing is behind the requests: what comes faster
// than the disk takes it is left out, and so may be what came in the second before a crash.
type Store struct {
	cfg Config

	mu    sync.Mutex // guards queue, bytes, left
	queue []Content
	bytes int
	left  int64 // contents that were left out

	flushMu sync.Mutex // held while what was queued is written
	full    bool       // when it was last; guarded by flushMu
	fileMu  sync.Mutex // held while a file is open, for bbolt lets a process open it once

	kick chan struct{}
	stop chan struct{}
	wg   sync.WaitGroup
}

// Open begins to keep contents.
func Open(cfg Config) (*Store, error) {
	if cfg.Dir == "" || cfg.Sealer == nil {
		return nil, errors.New("open contents: Dir and Sealer must be set")
	}
	if cfg.Keep == nil {
		cfg.Keep = func(*Owners) time.Duration { return 7 * 24 * time.Hour }
	}
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Store{cfg: cfg, kick: make(chan struct{}, 1), stop: make(chan struct{})}
	c.wg.Go(c.run)
	return c, nil
}

// Put keeps the content, whose bytes the caller no longer touches.
func (c *Store) Put(v Content) {
	v.Request, v.Truncated = bounded(v.Request, v.Truncated)
	v.Response, v.Truncated = bounded(v.Response, v.Truncated)
	c.mu.Lock()
	defer c.mu.Unlock()
	size := len(v.Request) + len(v.Response)
	if len(c.queue) >= contentQueue || c.bytes+size > contentBytes {
		c.left++
		return
	}
	c.queue = append(c.queue, v)
	c.bytes += size
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

func bounded(b []byte, cut bool) ([]byte, bool) {
	if len(b) > MaxBytes {
		return b[:MaxBytes], true
	}
	return b, cut
}

// LeftOut is how many contents came too fast to be kept, or had no room.
func (c *Store) LeftOut() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.left
}

func (c *Store) run() {
	trim := time.NewTicker(time.Minute)
	defer trim.Stop()
	c.tidy()
	for {
		select {
		case <-c.stop:
			c.flush()
			return
		case <-c.kick:
			c.flush()
		case <-trim.C:
			c.tidy()
		}
	}
}

// flush writes what is queued.
func (c *Store) flush() {
	c.flushMu.Lock()
	defer c.flushMu.Unlock()
	c.mu.Lock()
	queue := c.queue
	c.queue, c.bytes = nil, 0
	c.mu.Unlock()
	if len(queue) == 0 || c.isFull(len(queue)) {
		return
	}
	days := map[string][]Content{}
	for _, v := range queue {
		day := v.Time.Std().Format(time.DateOnly)
		days[day] = append(days[day], v)
	}
	for day, list := range days {
		if err := c.write(day, list); err != nil {
			c.cfg.Logger.Error("contents cannot be kept", "error", err, "count", len(list))
		}
	}
}

// isFull says whether there is no room for contents, and leaves count of them out if so.
func (c *Store) isFull(count int) bool {
	full := c.cfg.Full != nil && c.cfg.Full()
	if full {
		c.mu.Lock()
		c.left += int64(count)
		c.mu.Unlock()
	}
	if full != c.full {
		c.full = full
		if full {
			c.cfg.Logger.Warn("the disk is nearly full: what requests say is not kept")
		} else {
			c.cfg.Logger.Info("there is room again: what requests say is kept")
		}
	}
	return full
}

func (c *Store) write(day string, list []Content) error {
	if err := os.MkdirAll(c.cfg.Dir, 0o700); err != nil {
		return err
	}
	c.fileMu.Lock()
	defer c.fileMu.Unlock()
	return openLocked(filepath.Join(c.cfg.Dir, day+contentSuffix), func(db *bolt.DB) error {
		return db.Update(func(tx *bolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(bucketContent)
			if err != nil {
				return err
			}
			for i := range list {
				sealed, err := c.seal(&list[i])
				if err != nil {
					return err
				}
				if err := b.Put(list[i].storedAs(), sealed); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// read opens a day's file for as long as do takes; one that tidy has removed since it was
// listed has nothing to show, and is not made anew.
func (c *Store) read(path string, do func(db *bolt.DB) error) error {
	c.fileMu.Lock()
	defer c.fileMu.Unlock()
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return openLocked(path, do)
}

// openLocked opens a day's file for as long as do takes, and makes it if there is none.
func openLocked(path string, do func(db *bolt.DB) error) (err error) {
	db, err := boltpages.Open(path, 0o600, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType, NoFreelistSync: true})
	if err != nil {
		return fmt.Errorf("contents: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return do(db)
}

func (c *Store) seal(v *Content) ([]byte, error) {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(json.NewEncoder(w).Encode(v), w.Close()); err != nil {
		return nil, err
	}
	owners, err := json.Marshal(&v.Owners)
	if err != nil {
		return nil, err
	}
	sealed, err := c.cfg.Sealer.Seal(b.Bytes(), v.RequestID)
	if err != nil {
		return nil, err
	}
	head := append(binary.AppendUvarint(nil, uint64(len(owners))), owners...)
	return append(head, sealed...), nil
}

var errContent = errors.New("content is damaged")

// splitContent takes apart who owns a content and what is sealed.
func splitContent(b []byte) (o Owners, sealed []byte, err error) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return o, nil, errContent
	}
	if err := json.Unmarshal(b[size:size+int(n)], &o); err != nil {
		return o, nil, errContent
	}
	return o, b[size+int(n):], nil
}

func (c *Store) open(stored []byte, requestID string) (*Content, error) {
	_, sealed, err := splitContent(stored)
	if err != nil {
		return nil, err
	}
	plain, err := c.cfg.Sealer.Open(sealed, requestID)
	if err != nil {
		return nil, err
	}
	in := flate.NewReader(bytes.NewReader(plain))
	defer in.Close() //nolint:errcheck // of a buffer
	var v Content
	if err := json.NewDecoder(io.LimitReader(in, 8*MaxBytes)).Decode(&v); err != nil {
		return nil, fmt.Errorf("read content of %s: %w", requestID, err)
	}
	return &v, nil
}

// paths lists the files, the newest first.
func (c *Store) paths() ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(c.cfg.Dir, "*"+contentSuffix))
	slices.Sort(paths)
	slices.Reverse(paths)
	return paths, err
}

// Flush writes what was put before the call.
func (c *Store) Flush() { c.flush() }

// Find returns the newest content of a request, of the key if one is named; nil: there is
// none, or it may not be kept any more.
func (c *Store) Find(requestID, keyID string) (found *Content, err error) {
	paths, err := c.paths()
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		gone := c.goneFrom(path)
		err := c.read(path, func(db *bolt.DB) error {
			return db.View(func(tx *bolt.Tx) (err error) {
				found, err = c.findIn(tx, requestID, keyID, gone)
				return err
			})
		})
		if err != nil || found != nil {
			return found, err
		}
	}
	return nil, nil
}

// goneFrom says which of the contents of a day's file are not kept any more.
func (c *Store) goneFrom(path string) func(o *Owners) bool {
	day, now := strings.TrimSuffix(filepath.Base(path), contentSuffix), c.cfg.Now()
	return func(o *Owners) bool {
		age := c.cfg.Keep(o)
		return age <= 0 || day < now.Add(-age).UTC().Format(time.DateOnly)
	}
}

func (c *Store) findIn(tx *bolt.Tx, requestID, keyID string, gone func(o *Owners) bool) (found *Content, err error) {
	b := tx.Bucket(bucketContent)
	if b == nil {
		return nil, nil
	}
	prefix := append([]byte(requestID), 0)
	cur := b.Cursor()
	for k, v := cur.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = cur.Next() {
		o, _, err := splitContent(v)
		if err != nil {
			return nil, err
		}
		if keyID != "" && o.KeyID != keyID || gone(&o) {
			continue
		}
		if found, err = c.open(v, requestID); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// tidy removes contents that are too old, or whose holder has said no since.
func (c *Store) tidy() {
	paths, err := c.paths()
	if err != nil {
		c.cfg.Logger.Error("contents cannot be listed", "error", err)
		return
	}
	for _, path := range paths {
		if _, err := c.purge(path, c.goneFrom(path)); err != nil {
			c.cfg.Logger.Error("contents cannot be removed", "path", path, "error", err)
		}
	}
}

// purge removes from a day's file what may not be kept any more. The file is written anew
// without it, so that nothing is left in free pages; one of which nothing is left goes.
func (c *Store) purge(path string, drop func(o *Owners) bool) (denied int, err error) {
	tmp := path + ".tmp"
	err = c.read(path, func(from *bolt.DB) error {
		keep := map[string][]byte{}
		err := from.View(func(tx *bolt.Tx) (err error) {
			denied, err = c.split(tx, drop, nil)
			if err == nil && denied > 0 {
				_, err = c.split(tx, drop, keep)
			}
			return err
		})
		if err != nil || denied == 0 {
			return err
		}
		if len(keep) == 0 {
			return os.Remove(path)
		}
		if err := rewrite(tmp, keep); err != nil {
			return err
		}
		return os.Rename(tmp, path)
	})
	if err != nil || denied == 0 {
		return 0, err
	}
	c.cfg.Logger.Info("contents were removed that may not be kept any more", "count", denied)
	return denied, nil
}

// Erase removes all contents whose owners match, also those that wait to be written, and says
// how many there were.
func (c *Store) Erase(match func(o *Owners) bool) (n int, err error) {
	c.flush()
	paths, err := c.paths()
	for _, path := range paths {
		removed, failure := c.purge(path, match)
		n += removed
		err = errors.Join(err, failure)
	}
	if err != nil {
		return n, fmt.Errorf("erase contents: %w", err)
	}
	return n, nil
}

// Each calls visit for every content whose owners match, the newest files first.
func (c *Store) Each(match func(o *Owners) bool, visit func(v *Content) error) error {
	c.flush()
	paths, err := c.paths()
	if err != nil {
		return err
	}
	for _, path := range paths {
		err := c.read(path, func(db *bolt.DB) error {
			return db.View(func(tx *bolt.Tx) error { return c.eachIn(tx, match, visit) })
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Store) eachIn(tx *bolt.Tx, match func(o *Owners) bool, visit func(v *Content) error) error {
	b := tx.Bucket(bucketContent)
	if b == nil {
		return nil
	}
	return b.ForEach(func(k, v []byte) error {
		o, _, err := splitContent(v)
		if err != nil || !match(&o) {
			return err
		}
		id, _, _ := bytes.Cut(k, []byte{0})
		found, err := c.open(v, string(id))
		if err != nil {
			return err
		}
		return visit(found)
	})
}

// split counts the contents that are to go, and copies the others into keep, if it is
// not nil.
func (c *Store) split(tx *bolt.Tx, drop func(o *Owners) bool, keep map[string][]byte) (denied int, err error) {
	b := tx.Bucket(bucketContent)
	if b == nil {
		return 0, nil
	}
	err = b.ForEach(func(k, v []byte) error {
		o, _, err := splitContent(v)
		if err != nil || drop(&o) {
			denied++
		} else if keep != nil {
			keep[string(k)] = slices.Clone(v)
		}
		return nil
	})
	return denied, err
}

func rewrite(path string, keep map[string][]byte) (err error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	to, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	return to.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucketContent)
		if err != nil {
			return err
		}
		for id, v := range keep {
			if err := b.Put([]byte(id), v); err != nil {
				return err
			}
		}
		return nil
	})
}

// Close writes what is queued and stops.
func (c *Store) Close() {
	close(c.stop)
	c.wg.Wait()
}
