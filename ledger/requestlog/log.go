package requestlog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/conclave-llm/conclave/internal/boltpages"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/pace"
	"github.com/conclave-llm/conclave/ledger/requestlog/segment"
	"github.com/conclave-llm/conclave/ledger/rollup"
)

const (
	readLimit   = 4096                   // records of one transaction
	gather      = 200 * time.Millisecond // between two transactions, so that one takes more than one record
	retryPause  = time.Second
	sealEvery   = 30 * time.Second
	sealGrace   = 2 * time.Minute // after an hour's end, for records that are late
	segmentRows = 100_000         // of one file
	hotShare    = 20              // what is not sealed is this part of what the rows may have in all
	floorName   = "request log"
)

// The buckets of the file.
var (
	bucketMeta     = []byte("meta")
	bucketRows     = []byte("rows")     // number → count and record
	bucketSegments = []byte("segments") // name → segment.Segment in JSON
	bucketCells    = [...][]byte{[]byte("minute"), []byte("hour"), []byte("day")}
	keyTaken       = []byte("taken")
	keySealed      = []byte("sealed")
)

type (
	// Row is one request, or several refusals that are alike.
	Row = segment.Row
	// Receipt is why a request was served or refused.
	Receipt = segment.Receipt
)

// Source is what a Log follows; *ledger.Journal is one.
type Source interface {
	ReadFrom(after uint64, limit int) (records []ledger.Record, next uint64, err error)
	Wait(ctx context.Context, after uint64) error
	Last() uint64
	SetSoftFloor(name string, floor uint64)
}

// held is how many rows there are, and about how long they are in all.
type held struct{ rows, bytes int64 }

func (h *held) add(o held) {
	h.rows += o.rows
	h.bytes += o.bytes
}

// Retention is for how long things are kept.
type Retention struct {
	Rows    time.Duration // 0: 30 days
	Bytes   int64         // of all segments, beside which a twentieth as much is not sealed yet; 0: 4 GiB
	Minutes time.Duration // cells of a minute; 0: rollup.MinutesKept
	Hours   time.Duration // 0: rollup.HoursKept
	Days    time.Duration // 0: 5 years
}

func (r Retention) filled() Retention {
	const day = 24 * time.Hour
	for _, f := range []struct {
		v    *time.Duration
		zero time.Duration
	}{{&r.Rows, 30 * day}, {&r.Minutes, rollup.MinutesKept}, {&r.Hours, rollup.HoursKept}, {&r.Days, 5 * 366 * day}} {
		if *f.v == 0 {
			*f.v = f.zero
		}
	}
	if r.Bytes == 0 {
		r.Bytes = 4 << 30
	}
	return r
}

// Config says what a Log keeps, and where.
type Config struct {
	Dir        string           // made if it is not there; needed
	NodeID     string           // whose rows they are; needed
	Source     Source           // needed
	Retention  func() Retention // asked again and again; nil: the defaults
	Now        func() time.Time // nil: clock.Now
	Logger     *slog.Logger     // nil: discards
	Registerer prometheus.Registerer

	// Sign makes bytes of the parts that nobody without the cluster's keys can make; nil: people
	// cannot be forgotten in segments that an earlier version sealed.
	Sign func(parts ...string) ([]byte, error)
}

// Log is a node's rows and sums. Its methods may be called concurrently.
type Log struct {
	cfg     Config
	db      *bolt.DB
	metrics metrics

	segMu    sync.RWMutex      // guards segments
	segments []segment.Segment // ascending by First

	takenMu sync.Mutex // guards taken, changed
	taken   uint64     // number up to which the journal has been taken
	changed chan struct{}

	workMu  sync.Mutex            // held while taking and while sealing; guards repeats and hot
	repeats map[repeatKey]*repeat // what was refused lately
	hot     held                  // in bbolt

	sealAs int // version of the chain of new segments; tests seal as earlier versions did

	lane   *pace.Lane   // where questions work
	served atomic.Int64 // when records were taken last, in nanoseconds of clock.Steady

	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// servedLately is how long after a request questions still give way to others.
const servedLately = time.Second

// busy says whether requests are served.
func (l *Log) busy() bool { return clock.Steady().UnixNano()-l.served.Load() < int64(servedLately) }

// Open opens or makes the log in cfg.Dir and begins to follow the journal. A file that is
// damaged is set aside, and its sums are made again of the segments.
func Open(cfg Config) (*Log, error) {
	if cfg.Dir == "" || cfg.NodeID == "" || cfg.Source == nil {
		return nil, errors.New("open request log: Dir, NodeID and Source must be set")
	}
	if cfg.Retention == nil {
		cfg.Retention = func() Retention { return Retention{} }
	}
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(cfg.segmentDir(), 0o700); err != nil {
		return nil, fmt.Errorf("open request log: %w", err)
	}
	l := &Log{cfg: cfg, changed: make(chan struct{}), repeats: map[repeatKey]*repeat{}, sealAs: segment.Version}
	l.lane = pace.New(runtime.GOMAXPROCS(0)/4, l.busy)
	l.metrics = newMetrics(cfg.Registerer, l)
	if err := l.openFile(); err != nil {
		return nil, fmt.Errorf("open request log: %w", err)
	}
	if err := l.openSegments(); err != nil {
		return nil, errors.Join(fmt.Errorf("open request log: %w", err), l.db.Close())
	}
	if last := cfg.Source.Last(); last < l.taken {
		cfg.Logger.Warn("journal is newer than the request log and begins again", "last", last, "taken", l.taken)
		if err := l.beginAgain(); err != nil {
			return nil, errors.Join(fmt.Errorf("open request log: %w", err), l.db.Close())
		}
	}
	cfg.Source.SetSoftFloor(floorName, l.taken)
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	l.wg.Go(func() { l.follow(ctx) })
	l.wg.Go(func() { l.housekeep(ctx) })
	return l, nil
}

func (c *Config) segmentDir() string { return filepath.Join(c.Dir, "segments") }

// openFile opens the bbolt file, or makes a new one where the old one is damaged.
func (l *Log) openFile() (err error) {
	path := filepath.Join(l.cfg.Dir, "recent.db")
	options := &bolt.Options{Timeout: 5 * time.Second, FreelistType: bolt.FreelistMapType, NoFreelistSync: true}
	if l.db, err = boltpages.Open(path, 0o600, options); err != nil && !errors.Is(err, bolterrors.ErrTimeout) && !errors.Is(err, fs.ErrPermission) {
		aside := fmt.Sprintf("%s.damaged-%d", path, l.cfg.Now().Unix())
		l.cfg.Logger.Error("request log is damaged; set aside and made again", "path", path, "to", aside, "error", err)
		if err := os.Rename(path, aside); err != nil {
			return err
		}
		l.db, err = boltpages.Open(path, 0o600, options)
	}
	if err != nil {
		return err
	}
	err = l.db.Update(func(tx *bolt.Tx) error {
		for _, name := range append(bucketCells[:], bucketMeta, bucketRows, bucketSegments, bucketCopies) {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := l.dropSealed(); err != nil { // what the last process did not come to
		return err
	}
	return l.db.View(func(tx *bolt.Tx) error {
		defer forgetPages(tx)
		l.taken = takenOf(tx)
		rows := tx.Bucket(bucketRows).Stats()
		l.hot = held{rows: int64(rows.KeyN), bytes: int64(rows.LeafInuse)}
		return nil
	})
}

// beginAgain follows a journal whose numbers are lower than those that were taken: they come again, so all rows that have some
// are sealed first.
func (l *Log) beginAgain() error {
	if err := l.Seal(l.cfg.Now().AddDate(100, 0, 0)); err != nil {
		return err
	}
	l.taken = 0
	return l.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Delete(keySealed) })
}

// follow takes what is new in the journal until ctx ends.
func (l *Log) follow(ctx context.Context) {
	for {
		more, err := l.take()
		pause := gather
		switch {
		case err != nil:
			l.cfg.Logger.Error("request log cannot take from the journal", "error", err)
			l.metrics.failures.Inc()
			pause = retryPause
		case more:
			continue
		default:
			if err := l.cfg.Source.Wait(ctx, l.Taken()); err != nil && ctx.Err() == nil {
				pause = retryPause // the journal has failed, or is closed
			}
		}
		if !sleep(ctx, pause) {
			return
		}
	}
}

// sleep waits; false: ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// Taken is the number up to which the journal's records are in the log.
func (l *Log) Taken() uint64 {
	l.takenMu.Lock()
	defer l.takenMu.Unlock()
	return l.taken
}

// WaitTaken waits until the record with the number is in the log.
func (l *Log) WaitTaken(ctx context.Context, number uint64) error {
	for {
		l.takenMu.Lock()
		taken, changed := l.taken, l.changed
		l.takenMu.Unlock()
		if taken >= number {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for record %d of the request log, which is at %d: %w", number, taken, ctx.Err())
		}
	}
}

func (l *Log) advance(to uint64) {
	l.takenMu.Lock()
	defer l.takenMu.Unlock()
	l.taken = to
	close(l.changed)
	l.changed = make(chan struct{})
}

// housekeep seals what is old enough and removes what is too old.
func (l *Log) housekeep(ctx context.Context) {
	for {
		if err := l.Seal(l.cfg.Now()); err != nil {
			l.cfg.Logger.Error("request log cannot seal", "error", err)
			l.metrics.failures.Inc()
		}
		if err := l.Trim(); err != nil {
			l.cfg.Logger.Error("request log cannot remove what is old", "error", err)
			l.metrics.failures.Inc()
		}
		if !sleep(ctx, sealEvery) {
			return
		}
	}
}

// Close takes what the journal has, and ends the following.
func (l *Log) Close() error {
	l.cancel()
	l.wg.Wait()
	for {
		more, err := l.take()
		if err != nil {
			l.cfg.Logger.Info("request log is not caught up; the next start does it", "error", err)
		}
		if !more || err != nil {
			break
		}
	}
	if err := l.db.Close(); err != nil {
		return fmt.Errorf("close request log: %w", err)
	}
	return nil
}

// Usage answers a question about spend with the node's own cells.
func (l *Log) Usage(ctx context.Context, q rollup.Query) (lines []rollup.Line, err error) {
	turn, err := l.lane.Enter(ctx)
	if err != nil {
		return nil, fmt.Errorf("read spend: %w", err)
	}
	defer turn.Leave()
	err = l.db.View(func(tx *bolt.Tx) error {
		lines, err = q.Run(cells{tx, func() error { return turn.Step(ctx) }})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read spend: %w", err)
	}
	return lines, nil
}

// cells reads the cells of a transaction.
type cells struct {
	tx   *bolt.Tx
	step func() error // is called for each cell
}

// Scan implements rollup.Source.
func (c cells) Scan(l rollup.Level, first, end []byte, visit func(key, value []byte) error) error {
	return scan(c.tx.Bucket(bucketCells[l]), first, end, func(key, value []byte) error {
		if err := c.step(); err != nil {
			return err
		}
		return visit(key, value)
	})
}

func scan(b *bolt.Bucket, first, end []byte, visit func(key, value []byte) error) error {
	cur := b.Cursor()
	for k, v := cur.Seek(first); k != nil && string(k) < string(end); k, v = cur.Next() {
		if err := visit(k, v); err != nil {
			return err
		}
	}
	return nil
}
