package blob

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// The methods that nodes ask each other for.
const (
	// MethodRead asks for a part of a body: digest, then the offset in eight bytes. The answer
	// is the size in eight bytes and the part.
	MethodRead = "blob/read"
	// MethodPull asks a node to fetch the body of a digest from who asks, and to store it.
	MethodPull = "blob/pull"
	// MethodDrop tells a node that the cluster has forgotten the blob of a digest.
	MethodDrop = "blob/drop"
)

const (
	partSize    = 4 << 20
	copies      = 2 // that a write waits for, where there are so many nodes
	callTimeout = 30 * time.Second
	digestSize  = 64
)

// Cluster is what the store needs of the other nodes and of Raft.
type Cluster interface {
	// Call asks another node to do a method.
	Call(ctx context.Context, nodeID, method string, body []byte) ([]byte, error)
	// Propose commits a command.
	Propose(ctx context.Context, by fsm.Actor, requestID string, cmd fsm.Command) (fsm.Result, error)
}

// State is what is known of blobs; *fsm.FSM is one.
type State interface {
	Blob(id string) (*resource.Blob, bool)
	Blobs(after string, limit int) []*resource.Blob
	Applied() uint64
	WaitApplied(ctx context.Context, index uint64) error
}

// Config is what a Store is made of; all fields are required but Now and Logger.
type Config struct {
	NodeID  string
	Folder  *Folder
	Cluster Cluster
	State   State
	// Peers lists the ids of the other members.
	Peers func() []string
	// Quota is the bytes that all blobs may have together; 0: any number.
	Quota func() int64
	// Leads says that this node sweeps for all.
	Leads func() bool
	// Now is the clock; nil: clock.Now.
	Now func() time.Time
	// Logger is told of corrupt and missing bodies; nil: nobody.
	Logger *slog.Logger
}

// Store is the blobs of the cluster, as one node sees them. Several goroutines may use it.
type Store struct {
	cfg    Config
	folder *Folder
	log    *slog.Logger
}

// New makes a Store. Its owner lets other nodes reach OnRead and OnPull, and calls Tend.
func New(cfg Config) *Store {
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Store{cfg: cfg, folder: cfg.Folder, log: cfg.Logger}
}

// Put stores a body for b, whose ID, Size, CreatedAt, CreatedBy and Holders it fills in, and
// returns when two nodes have it on disk (one in a cluster of one) and Raft knows of it. It
// returns an *llm.Error of kind Unavailable, code blob_unavailable, if no second node can take
// it, and resource.ErrFull over the quota.
func (s *Store) Put(ctx context.Context, by fsm.Actor, requestID string, b resource.Blob, body []byte) (*resource.Blob, error) {
	b, err := s.Place(ctx, by, b, body)
	if err != nil {
		return nil, err
	}
	enc, err := fsm.EncodedOf(b)
	if err != nil {
		return nil, fmt.Errorf("encode blob %s: %w", b.ID, err)
	}
	// What is refused is left to Tend: another may have put the same body at the same time.
	if _, err := s.cfg.Cluster.Propose(ctx, by, requestID, fsm.PutBlob{Blob: enc, Quota: s.cfg.Quota()}); err != nil {
		return nil, err
	}
	if stored, ok := s.cfg.State.Blob(b.ID); ok {
		return stored, nil
	}
	return &b, nil
}

// Place is Put but for the telling: it returns what is to be known of the body, for a command
// that tells of it together with something else. What is never told of is swept.
func (s *Store) Place(ctx context.Context, by fsm.Actor, b resource.Blob, body []byte) (resource.Blob, error) {
	b.ID, b.Size, b.CreatedAt, b.CreatedBy = Digest(body), int64(len(body)), resource.At(s.cfg.Now()), actorName(by)
	if err := b.Validate(); err != nil {
		return b, err
	}
	if _, err := s.folder.Write(body); err != nil {
		return b, err
	}
	holders, err := s.spread(ctx, b.ID)
	if err != nil {
		return b, err
	}
	b.Holders = holders
	b.Canonicalize()
	return b, nil
}

// Quota is the bytes that all blobs may have together; 0: any number.
func (s *Store) Quota() int64 { return s.cfg.Quota() }

func actorName(a fsm.Actor) string {
	if a.ID == "" {
		return a.Kind
	}
	return a.Kind + "/" + a.ID
}

// spread lets other nodes fetch the body, one after the other until there are enough copies.
func (s *Store) spread(ctx context.Context, digest string) ([]string, error) {
	holders := []string{s.cfg.NodeID}
	peers := s.cfg.Peers()
	want := min(copies, len(peers)+1)
	var errs []error
	for _, p := range s.from(digest, peers) {
		if len(holders) >= want {
			break
		}
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		_, err := s.cfg.Cluster.Call(ctx, p, MethodPull, []byte(digest))
		cancel()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		holders = append(holders, p)
	}
	if len(holders) < want {
		return nil, unavailable("No second node could store the blob "+digest+".", errors.Join(errs...))
	}
	return holders, nil
}

// from orders the peers so that different bodies lie on different nodes.
func (s *Store) from(digest string, peers []string) []string {
	if len(peers) == 0 {
		return nil
	}
	all := slices.Sorted(slices.Values(peers))
	at := int(digest[len(digest)-1]) % len(all)
	return append(slices.Clone(all[at:]), all[:at]...)
}

func unavailable(text string, err error) error {
	return &llm.Error{Kind: llm.Unavailable, Code: llm.CodeNoBlob, Message: text, RetryAfter: time.Second, Err: err}
}

// Read returns the body of a digest that the cluster knows, from this node's disk or from
// another's. It returns resource.ErrNotFound for one that the cluster does not know, and an
// *llm.Error of kind Unavailable, code blob_unavailable, if no node gives it.
func (s *Store) Read(ctx context.Context, digest string) ([]byte, error) {
	b, ok := s.cfg.State.Blob(digest)
	if !ok {
		return nil, fmt.Errorf("blob %q: %w", digest, resource.ErrNotFound)
	}
	body, err := s.folder.Read(digest)
	if err == nil {
		return body, nil
	}
	if !errors.Is(err, ErrAbsent) {
		s.log.Warn("blob cannot be read here", "blob", digest, "error", err)
	}
	body, fetched := s.fetchAny(ctx, b)
	if fetched != nil {
		return nil, unavailable("No node that can be reached has the blob "+digest+".", errors.Join(err, fetched))
	}
	if _, err := s.folder.Write(body); err != nil {
		s.log.Warn("fetched blob is not kept here", "blob", digest, "error", err)
	}
	return body, nil
}

// Sealed returns the body of a digest that the cluster knows as a disk has it: encrypted under a data
// key of the cluster. Its errors are those of Read.
func (s *Store) Sealed(ctx context.Context, digest string) ([]byte, error) {
	sealed, err := s.folder.Sealed(digest)
	if err == nil {
		return sealed, nil
	}
	if _, err := s.Read(ctx, digest); err != nil {
		return nil, err
	}
	return s.folder.Sealed(digest)
}

// Keep stores what Sealed has returned. What the cluster does not know within an hour is removed.
func (s *Store) Keep(digest string, sealed []byte) error { return s.folder.Keep(digest, sealed) }

// fetchAny asks the holders, then all others.
func (s *Store) fetchAny(ctx context.Context, b *resource.Blob) ([]byte, error) {
	peers := s.cfg.Peers()
	slices.SortStableFunc(peers, func(x, y string) int {
		return holds(b, y) - holds(b, x)
	})
	var errs []error
	for _, p := range peers {
		body, err := s.fetch(ctx, p, b.ID)
		if err == nil {
			return body, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func holds(b *resource.Blob, node string) int {
	if slices.Contains(b.Holders, node) {
		return 1
	}
	return 0
}

// fetch takes a body from a node, part by part, and checks its digest.
func (s *Store) fetch(ctx context.Context, node, digest string) ([]byte, error) {
	var body []byte
	for {
		part, size, err := s.part(ctx, node, digest, len(body))
		if err != nil {
			return nil, fmt.Errorf("fetch blob %s of node %s: %w", digest, node, err)
		}
		body = append(body, part...)
		if uint64(len(body)) >= size {
			break
		}
		if len(part) == 0 {
			return nil, fmt.Errorf("fetch blob %s of node %s: it ends after %d of %d bytes: %w", digest, node, len(body), size, ErrCorrupt)
		}
	}
	if Digest(body) != digest {
		return nil, fmt.Errorf("fetch blob %s of node %s: %w", digest, node, ErrCorrupt)
	}
	return body, nil
}

func (s *Store) part(ctx context.Context, node, digest string, offset int) ([]byte, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := s.cfg.Cluster.Call(ctx, node, MethodRead, binary.BigEndian.AppendUint64([]byte(digest), uint64(offset)))
	if err != nil {
		return nil, 0, err
	}
	return parsePart(answer)
}

// parsePart reads an answer of MethodRead.
func parsePart(answer []byte) (part []byte, size uint64, err error) {
	if len(answer) < 8 {
		return nil, 0, fmt.Errorf("an answer of %d bytes: %w", len(answer), ErrCorrupt)
	}
	size = binary.BigEndian.Uint64(answer)
	if size > resource.MaxBlobBytes || uint64(len(answer)-8) > size {
		return nil, 0, fmt.Errorf("a part of %d bytes of %d: %w", len(answer)-8, size, ErrCorrupt)
	}
	return answer[8:], size, nil
}

// OnRead answers MethodRead.
func (s *Store) OnRead(_ context.Context, _ string, question []byte) ([]byte, error) {
	if len(question) != digestSize+8 {
		return nil, &resource.Invalid{Field: "question", Reason: fmt.Sprintf("has %d bytes", len(question))}
	}
	body, err := s.folder.Read(string(question[:digestSize]))
	if err != nil {
		if errors.Is(err, ErrAbsent) || errors.Is(err, ErrCorrupt) {
			err = fmt.Errorf("%w: %w", resource.ErrNotFound, err)
		}
		return nil, err
	}
	size := uint64(len(body))
	offset := binary.BigEndian.Uint64(question[digestSize:])
	if offset > size {
		return nil, &resource.Invalid{Field: "offset", Reason: "is behind the end"}
	}
	end := min(offset+partSize, size)
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, 8+end-offset), size), body[offset:end]...), nil
}

// OnPull answers MethodPull.
func (s *Store) OnPull(ctx context.Context, peer string, digest []byte) ([]byte, error) {
	if _, err := s.folder.Read(string(digest)); err == nil {
		return nil, nil
	}
	if !resource.ValidDigest(string(digest)) {
		return nil, &resource.Invalid{Field: "digest", Reason: "is none"}
	}
	body, err := s.fetch(ctx, peer, string(digest))
	if err != nil {
		return nil, err
	}
	_, err = s.folder.Write(body)
	return nil, err
}
