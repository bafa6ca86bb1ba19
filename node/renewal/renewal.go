// Package renewal exchanges the cluster's own keys while it runs: the KEK, the data keys, the CA,
// the gossip key and the nodes' certificates. Every exchange is a rotation in the replicated
// state, which goes through the same steps on every node (fsm/memory/rotation.go): have the new
// key, use it, forget the old one. Each node follows what the state says (follow.go) and notes
// that it has; the leader goes on to the next step when all members have noted the last one, or
// when those that have not are out of reach (lead.go). So a new leader goes on where the old
// one stopped, and a node that was away follows when it is back.
//
// A KEK never enters the replicated state: nodes hand it to each other over the cluster port
// (kek.go).
package renewal

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/node/transport"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

const (
	// DefaultOverlap is how long the old CA and the old gossip key are accepted for the sake
	// of nodes that are away.
	DefaultOverlap = 24 * time.Hour

	defaultGrace = 15 * time.Second
	busyEvery    = 100 * time.Millisecond // between looks while something is rotated
	idleEvery    = 5 * time.Second        // and else
	gossipBytes  = 32
)

// What the KEK wraps, as the founding of the cluster has it.
const (
	purposeCA     = "ca"
	purposeGossip = "gossip"
)

// State reads the replicated state. *fsm.FSM implements it.
type State interface {
	Cluster() (fsm.ClusterInfo, bool)
	Member(id string) (*resource.Member, bool)
	Catalog() *resource.Catalog
	EachSealed(visit func(fsm.SealedRecord) bool)
}

// Cluster is the consensus, as far as it is needed here.
type Cluster interface {
	Propose(ctx context.Context, by fsm.Actor, requestID string, cmd fsm.Command) (fsm.Result, error)
	IsLeader() bool
	Handle(method string, h func(ctx context.Context, peerID string, body []byte) ([]byte, error))
	Call(ctx context.Context, nodeID, method string, body []byte) ([]byte, error)
}

// Gossip takes the keys that it encrypts with and accepts.
type Gossip interface{ SetKeys(keys [][]byte) error }

// Port is the cluster port.
type Port interface{ Reverify() }

// Config is what New needs.
type Config struct {
	NodeID   string
	State    State
	Cluster  Cluster
	Identity *transport.Identity
	Ring     *secret.Ring    // the KEKs of this node
	Files    *secret.Files   // where they are kept; nil: the operator keeps them
	Keys     *secret.Keyring // the data keys
	Values   secret.Kept     // where the keys of sealed values are kept when the KEK is exchanged
	Port     Port
	Changed  chan struct{}    // has room for one: the replicated identity of the cluster has changed
	Grace    time.Duration    // a member that is out of reach is waited for so long; 0: 15 s
	Now      func() time.Time // nil: clock.Now
	Logger   *slog.Logger     // nil: discard
}

// Renewal follows and leads rotations on one node. It may be used concurrently.
type Renewal struct {
	cfg Config
	log *slog.Logger

	mu      sync.Mutex // guards what follows
	gossip  Gossip
	keys    string               // the gossip keys as the gossip has them
	offered map[string]time.Time // KEKs whose rotation has perhaps not begun
	kept    string               // the KEK in use and those whose keys of sealed values are kept
	asked   bool                 // the others, for the keys of sealed values that they have kept
	told    string               // the last complaint, which is logged once
}

// New makes a Renewal, which answers other nodes at once and does nothing by itself before Run.
func New(cfg Config) *Renewal {
	if cfg.Grace == 0 {
		cfg.Grace = defaultGrace
	}
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Renewal{cfg: cfg, log: cfg.Logger, offered: map[string]time.Time{}}
	cfg.Cluster.Handle(methodKEK, r.onKEK)
	cfg.Cluster.Handle(methodOffer, r.onOffer)
	cfg.Cluster.Handle(methodValues, r.onValues)
	cfg.Cluster.Handle(methodHere, func(context.Context, string, []byte) ([]byte, error) { return nil, nil })
	return r
}

// Gossip has the keys of g exchanged too.
func (r *Renewal) Gossip(g Gossip) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gossip = g
}

// Run follows and leads until ctx is over.
func (r *Renewal) Run(ctx context.Context) {
	for {
		busy := r.look(ctx)
		wait := idleEvery
		if busy {
			wait = busyEvery
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-r.cfg.Changed:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// look does what there is to do and says whether there is more.
func (r *Renewal) look(ctx context.Context) (busy bool) {
	info, ok := r.cfg.State.Cluster()
	if !ok {
		return true
	}
	err := r.follow(ctx, &info)
	if err == nil {
		err = r.note(ctx, &info)
	}
	if r.cfg.Cluster.IsLeader() && err == nil {
		err = r.lead(ctx, &info)
	}
	r.complain(ctx, err)
	for i := range info.Rotations {
		busy = busy || info.Rotations[i].Busy()
	}
	return busy || err != nil
}

// complain logs an error, once as long as it stays the same.
func (r *Renewal) complain(ctx context.Context, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != r.told && err != nil && ctx.Err() == nil {
		r.log.Warn("rotation is not going on", "error", err)
	}
	r.told = text
}

// Request is a wish to rotate one kind of key.
type Request struct {
	By        fsm.Actor
	RequestID string
	Kind      string
	Overlap   time.Duration
	DryRun    bool // check only
}

// Begin begins a rotation and returns as soon as it is replicated. Errors wrap
// resource.ErrRefused and ErrNoLeader, or are a *resource.Invalid.
func (r *Renewal) Begin(ctx context.Context, q Request) error {
	info, ok := r.cfg.State.Cluster()
	if !ok {
		return fmt.Errorf("rotate %s: %w", q.Kind, resource.ErrNoLeader)
	}
	if err := info.MayRotate(q.Kind); err != nil {
		return err
	}
	if q.Kind != memory.RotateCA && q.Kind != memory.RotateGossip {
		q.Overlap = 0
	}
	cmd, err := r.make(ctx, &info, q)
	if err != nil || q.DryRun {
		return err
	}
	if _, err := r.cfg.Cluster.Propose(ctx, q.By, q.RequestID, cmd); err != nil {
		return fmt.Errorf("rotate %s: %w", q.Kind, err)
	}
	select {
	case r.cfg.Changed <- struct{}{}:
	default:
	}
	return nil
}

// make makes the new key.
func (r *Renewal) make(ctx context.Context, info *fsm.ClusterInfo, q Request) (c fsm.BeginRotation, err error) {
	c = fsm.BeginRotation{Kind: q.Kind, Overlap: int64(q.Overlap), KEKID: r.cfg.Ring.ID()}
	switch q.Kind {
	case memory.RotateDEK:
		c.ID, c.Key, err = r.cfg.Keys.NewDEK()
	case memory.RotateCA:
		err = r.makeCA(info, &c)
	case memory.RotateGossip:
		c.ID, c.Key, err = r.makeGossip()
	case memory.RotateKEK:
		c.KEKID = ""
		c.ID, err = r.offer(ctx, info, q.DryRun)
	case memory.RotateCerts:
		c.ID, c.KEKID = resource.NewID("certs"), ""
	}
	return c, err
}

func (r *Renewal) makeCA(info *fsm.ClusterInfo, c *fsm.BeginRotation) error {
	ca, err := transport.NewCA(info.ClusterID)
	if err != nil {
		return err
	}
	key, err := ca.Key()
	if err != nil {
		return err
	}
	c.ID, c.Cert = hex.EncodeToString(transport.Pin(ca.Certificate())), ca.Certificate()
	c.Key, err = r.cfg.Ring.Wrap(key, purposeCA)
	return err
}

func (r *Renewal) makeGossip() (id string, sealed []byte, err error) {
	key := make([]byte, gossipBytes)
	if _, err := rand.Read(key); err != nil {
		return "", nil, fmt.Errorf("make gossip key: %w", err)
	}
	sealed, err = r.cfg.Ring.Wrap(key, purposeGossip)
	return resource.NewID("gossip"), sealed, err
}
