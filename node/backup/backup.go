// Package backup makes backups of the cluster's state, keeps them, and restores them: on any node
// by hand, on the leader by schedule.
package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/node/backup/archive"
	"github.com/conclave-llm/conclave/node/backup/shelf"
	"github.com/conclave-llm/conclave/node/consensus"
	"github.com/conclave-llm/conclave/resource"
)

const (
	spoolDir   = "backups.tmp" // files that are under way
	defaultDir = "backups"
	catchUp    = 10 * time.Second // until this node has what the leader has
	listWait   = 3 * time.Second  // for other nodes to list theirs
	rpcTimeout = 15 * time.Minute // of a restore that the leader does for another node
	piece      = 4 << 20          // of a file that is sent from node to node
)

// The methods that nodes call.
const (
	methodList    = "backup/list"
	methodRead    = "backup/read"
	methodReach   = "backup/reach"
	methodRestore = "backup/restore"
)

// Cluster is the consensus as backups need it. *consensus.Node implements it.
type Cluster interface {
	Leader() (id, addr string, ok bool)
	IsLeader() bool
	// LeaderIndex catches up with the leader.
	LeaderIndex(ctx context.Context) (uint64, error)
	// Install puts a state in the place of the cluster's, on the leader.
	Install(ctx context.Context, build func() (consensus.State, error)) error
	Call(ctx context.Context, nodeID, method string, body []byte) ([]byte, error)
}

// Shelf keeps finished backups.
type Shelf interface {
	Put(ctx context.Context, name string, from *os.File, size int64) error
	// Try says why a file of so many bytes could not be kept, as far as that can be known.
	Try(ctx context.Context, size int64) error
	List(ctx context.Context) ([]shelf.Item, error)
	Open(ctx context.Context, name string) (io.ReadCloser, error)
	Delete(ctx context.Context, name string) error
}

// Blobs are the bodies of blobs. *blob.Store implements it.
type Blobs interface {
	// Sealed is the body of a digest as a node's disk has it; one that is not here is fetched.
	Sealed(ctx context.Context, digest string) ([]byte, error)
	// Keep stores such a body on this node's disk.
	Keep(digest string, sealed []byte) error
}

// Config is what New needs; all of it where nothing else is said.
type Config struct {
	NodeID, Name string
	Version      string // of the program
	Dir          string // data folder
	State        *fsm.FSM
	Cluster      Cluster
	Keeper       archive.Keeper
	Blobs        Blobs
	// OpenKey opens a data key.
	OpenKey func(memory.WrappedDEK) error
	// Peers are the ids of the other members.
	Peers    func() []string
	Settings func() resource.SnapshotSettings
	// S3 makes a shelf in a store. Nil: there are none.
	S3 func(resource.S3Store) (Shelf, error)
	// Reach is the number of the oldest record that the node's journal has, 0 for an empty one.
	Reach func() uint64
	// Room is how many bytes are free for data; 0: not known. Nil: not known.
	Room func() uint64

	Look       <-chan time.Time      // when to see whether a backup is due; nil: every 15 seconds
	Now        func() time.Time      // nil: clock.Now
	Logger     *slog.Logger          // nil: discards
	Registerer prometheus.Registerer // nil: metrics go nowhere
}

// Backups makes, keeps and restores backups.
type Backups struct {
	cfg     Config
	metrics metrics

	restoring sync.Mutex // held by a restore on the leader

	mu      sync.Mutex        // guards what follows
	spooled map[string]string // files that the leader may fetch: path by token
	done    outcome           // of the last restore for another node, which may be asked for again
	failing *failure          // of scheduled backups; nil: none
}

// New returns Backups, which do nothing by themselves before Run.
func New(cfg Config) (*Backups, error) {
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	b := &Backups{cfg: cfg, metrics: newMetrics(cfg.Registerer), spooled: map[string]string{}}
	spool := filepath.Join(cfg.Dir, spoolDir)
	if err := errors.Join(os.RemoveAll(spool), os.MkdirAll(spool, 0o700)); err != nil {
		return nil, fmt.Errorf("make folder of backups: %w", err)
	}
	return b, nil
}

// Handlers are what other nodes may ask, by method.
func (b *Backups) Handlers() map[string]func(ctx context.Context, peer string, body []byte) ([]byte, error) {
	return map[string]func(context.Context, string, []byte) ([]byte, error){
		methodList: b.onList, methodRead: b.onRead, methodReach: b.onReach, methodRestore: b.onRestore,
	}
}

// temp makes a file for what is under way; whoever made it removes it.
func (b *Backups) temp() (*os.File, error) {
	f, err := os.CreateTemp(filepath.Join(b.cfg.Dir, spoolDir), "*.snap")
	if err != nil {
		return nil, fmt.Errorf("make file of a backup: %w", err)
	}
	return f, nil
}

// discard closes and removes a file of temp.
func discard(f *os.File) {
	_ = f.Close()
	_ = os.Remove(f.Name()) // the next start removes it
}

// sink is a backup's writer as a state machine writes to it.
type sink struct{ *archive.Writer }

// ID implements raft.SnapshotSink.
func (sink) ID() string { return "" }

// Cancel implements raft.SnapshotSink: what is written is dropped by whoever holds the file.
func (sink) Cancel() error { return nil }

// Save writes a backup of the newest state to w, and tells what it is of and how long it is once
// that is known, before the first byte.
func (b *Backups) Save(ctx context.Context, w io.Writer) (archive.Manifest, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	if _, err := b.cfg.Cluster.LeaderIndex(ctx); errors.Is(err, resource.ErrNoLeader) {
		b.cfg.Logger.Warn("a backup is made without a leader: it has what this node has applied")
	} else if err != nil {
		return archive.Manifest{}, 0, err
	}
	s, err := b.cfg.State.Snapshot()
	if err != nil {
		return archive.Manifest{}, 0, err
	}
	defer s.Release()
	about := archive.Manifest{TakenAt: resource.At(b.cfg.Now()), Node: b.cfg.Name, Version: b.cfg.Version}
	if info, ok := b.cfg.State.Cluster(); ok {
		for _, d := range info.DEKs {
			about.DataKeys = append(about.DataKeys, archive.DataKey{ID: d.ID, KEKID: d.KEKID})
		}
	}
	about.Blobs = b.configuration(ctx)
	out := archive.NewWriter(w, about, b.cfg.Keeper)
	if err := s.Persist(sink{out}); err != nil {
		return archive.Manifest{}, 0, err
	}
	for _, body := range about.Blobs {
		sealed, err := b.cfg.Blobs.Sealed(ctx, body.Digest)
		if err == nil {
			err = out.WriteBody(sealed)
		}
		if err != nil {
			return archive.Manifest{}, 0, fmt.Errorf("body of the blob %s: %w", body.Digest, err)
		}
	}
	m, size := out.Manifest()
	return m, size, out.Seal()
}

// configuration lists the bodies of what every node keeps: plugins, tokenizers, templates. A body that
// no node gives is left out, and told of; so are those of clients' data.
func (b *Backups) configuration(ctx context.Context) []archive.Body {
	var out []archive.Body
	for after := ""; ; {
		blobs := b.cfg.State.Blobs(after, fsm.MaxSweep)
		if len(blobs) == 0 {
			return out
		}
		after = blobs[len(blobs)-1].ID
		for _, blob := range blobs {
			if blob.Class != resource.BlobConfiguration || blob.Kind == resource.BlobBundle {
				continue
			}
			sealed, err := b.cfg.Blobs.Sealed(ctx, blob.ID)
			if err != nil {
				b.cfg.Logger.Warn("a backup is made without a blob", "blob", blob.ID, "error", err)
				continue
			}
			out = append(out, archive.Body{Digest: blob.ID, Size: int64(len(sealed))})
		}
	}
}

// Fresh makes a backup in a file that is gone when it is closed, and returns it with its length.
func (b *Backups) Fresh(ctx context.Context) (io.ReadCloser, int64, error) {
	f, _, size, err := b.file(ctx)
	if err != nil {
		return nil, 0, err
	}
	return &passing{f}, size, nil
}

// passing is a file that goes when it is closed.
type passing struct{ *os.File }

// Close implements io.Closer.
func (p *passing) Close() error { discard(p.File); return nil }

// file makes a backup in a file of temp, and reads it again: a disk may keep other bytes than those
// that it was given.
func (b *Backups) file(ctx context.Context) (_ *os.File, m archive.Manifest, size int64, err error) {
	f, err := b.temp()
	if err != nil {
		return nil, m, 0, err
	}
	defer func() {
		if err != nil {
			discard(f)
		}
	}()
	if m, size, err = b.Save(ctx, f); err != nil {
		return nil, m, 0, err
	}
	if err := f.Sync(); err != nil {
		return nil, m, 0, fmt.Errorf("write backup: %w", err)
	}
	if err := b.check(f); err != nil {
		return nil, m, 0, fmt.Errorf("read back the backup: %w", err)
	}
	_, err = f.Seek(0, io.SeekStart)
	return f, m, size, err
}

// check reads a whole backup and its seal.
func (b *Backups) check(f *os.File) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r, err := archive.NewReader(f)
	if err != nil {
		return err
	}
	if err := r.Open(b.cfg.Keeper); err != nil {
		return err
	}
	if _, err := r.Snapshot(); err != nil {
		return err
	}
	return r.Verify()
}

// shelf is where backups are kept.
func (b *Backups) shelf() (Shelf, error) {
	s := b.cfg.Settings()
	if s.S3 != nil {
		if b.cfg.S3 == nil {
			return nil, fmt.Errorf("this node knows no S3 store: %w", resource.ErrRefused)
		}
		return b.cfg.S3(*s.S3)
	}
	return b.folder(), nil
}

// folder is the shelf on this node's disk.
func (b *Backups) folder() shelf.Folder {
	dir := b.cfg.Settings().Dir
	if dir == "" {
		dir = defaultDir
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(b.cfg.Dir, dir)
	}
	return shelf.Folder(dir)
}

// Entry is a kept backup, and where it is.
type Entry struct {
	shelf.Item
	Node string // id of the node whose disk has it; "": the store
}

// Take makes a backup and keeps it: in the store, or on this node's disk.
func (b *Backups) Take(ctx context.Context) (Entry, error) {
	e, err := b.made(ctx, func(to Shelf, name string, f *os.File, size int64) error { return to.Put(ctx, name, f, size) })
	if err == nil {
		b.cfg.Logger.Info("made a backup", "name", e.Name, "bytes", e.Size)
	}
	return e, err
}

// Try is Take of a backup that is not kept: it is made and read back, and where it would be kept is asked whether it could be.
func (b *Backups) Try(ctx context.Context) (Entry, error) {
	return b.made(ctx, func(to Shelf, _ string, _ *os.File, size int64) error { return to.Try(ctx, size) })
}

func (b *Backups) made(ctx context.Context, keep func(to Shelf, name string, f *os.File, size int64) error) (Entry, error) {
	to, err := b.shelf()
	if err != nil {
		return Entry{}, err
	}
	f, m, size, err := b.file(ctx)
	if err != nil {
		return Entry{}, err
	}
	defer discard(f)
	name := shelf.Name(m.ClusterID, m.TakenAt.Std(), m.Generation, m.Index)
	if err := keep(to, name, f, size); err != nil {
		return Entry{}, err
	}
	i, _ := shelf.Parse(name)
	i.Size = size
	e := Entry{Item: i}
	if b.cfg.Settings().S3 == nil {
		e.Node = b.cfg.NodeID
	}
	return e, nil
}

// List lists the kept backups, the newest first, and the nodes that did not answer.
func (b *Backups) List(ctx context.Context) (all []Entry, silent []string, err error) {
	if b.cfg.Settings().S3 != nil {
		s, err := b.shelf()
		if err != nil {
			return nil, nil, err
		}
		items, err := s.List(ctx)
		return entries(items, ""), nil, err
	}
	items, err := b.folder().List(ctx)
	if err != nil {
		return nil, nil, err
	}
	all = entries(items, b.cfg.NodeID)
	for id, answer := range b.ask(ctx, methodList, nil) {
		var theirs []shelf.Item
		if answer.err != nil || json.Unmarshal(answer.body, &theirs) != nil {
			silent = append(silent, id)
			continue
		}
		all = append(all, entries(theirs, id)...)
	}
	slices.Sort(silent)
	slices.SortStableFunc(all, func(x, y Entry) int { return y.TakenAt.Compare(x.TakenAt) })
	return all, silent, nil
}

func entries(items []shelf.Item, node string) []Entry {
	shelf.Sort(items)
	out := make([]Entry, len(items))
	for i := range items {
		out[i] = Entry{items[i], node}
	}
	return out
}

// answer is what a node says.
type answer struct {
	body []byte
	err  error
}

// ask asks all other nodes at once.
func (b *Backups) ask(ctx context.Context, method string, body []byte) map[string]answer {
	ctx, cancel := context.WithTimeout(ctx, listWait)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	out := map[string]answer{}
	for _, id := range b.cfg.Peers() {
		wg.Go(func() {
			got, err := b.cfg.Cluster.Call(ctx, id, method, body)
			mu.Lock()
			defer mu.Unlock()
			out[id] = answer{got, err}
		})
	}
	wg.Wait()
	return out
}

func (b *Backups) onList(ctx context.Context, _ string, _ []byte) ([]byte, error) {
	items, err := b.folder().List(ctx)
	if err != nil {
		return nil, err
	}
	return json.Marshal(items)
}

// Open opens a kept backup, on whichever node it is.
func (b *Backups) Open(ctx context.Context, name string) (io.ReadCloser, int64, error) {
	all, _, err := b.List(ctx)
	if err != nil {
		return nil, 0, err
	}
	for _, e := range all {
		switch {
		case e.Name != name:
		case e.Node == "" || e.Node == b.cfg.NodeID:
			s, err := b.shelf()
			if err != nil {
				return nil, 0, err
			}
			r, err := s.Open(ctx, name)
			return r, e.Size, notFound(err)
		default:
			return b.remote(ctx, e.Node, reading{Name: name}), e.Size, nil
		}
	}
	return nil, 0, notFound(fmt.Errorf("snapshot %q: %w", name, shelf.ErrNotFound))
}

func notFound(err error) error {
	if errors.Is(err, shelf.ErrNotFound) {
		return fmt.Errorf("%w: %w", err, resource.ErrNotFound)
	}
	return err
}
