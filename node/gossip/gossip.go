package gossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/internal/clock"
)

// The settings of the membership protocol: memberlist's for a LAN, a little quicker.
const (
	probeInterval  = 500 * time.Millisecond
	probeTimeout   = 300 * time.Millisecond
	gossipInterval = 200 * time.Millisecond
	suspicionMult  = 4
	retransmitMult = 3
	streamTimeout  = 3 * time.Second
	reclaimAfter   = 10 * time.Second // a node that comes back with another address

	defaultInterval     = 300 * time.Millisecond
	defaultJoinInterval = 15 * time.Second
)

// MaxPayload is the most bytes that a Sharer may share. With everything around it, a
// message must fit into one packet of 1,400 bytes: memberlist would never send a larger one.
const MaxPayload = 900

// Sharer is soft state that nodes exchange. Its methods are called from one goroutine, and
// beside that must be safe for concurrent use with the Sharer's own work.
type Sharer interface {
	// Topic numbers the state, the same on every node.
	Topic() byte
	// Share returns what to tell the others, at most MaxPayload bytes, or nil for nothing.
	Share() []byte
	// Merge takes in what another node shares. It must not keep payload.
	Merge(nodeID string, payload []byte)
}

// Forgetter is a Sharer that wants to know when a node has died or left.
type Forgetter interface {
	Forget(nodeID string)
}

// Peer is another node of the cluster, as Raft knows it.
type Peer struct {
	ID   string
	Addr string // "host:port" of its cluster port
}

// Config sets a Gossip up.
type Config struct {
	NodeID    string // at most 64 bytes
	Name      string // for people
	ClusterID string // what others must have too; at most 255 bytes
	Advertise string // "host:port" at which others reach the cluster port
	Key       []byte // of the cluster's gossip: 16, 24 or 32 bytes; SetKeys exchanges it
	Epoch     uint64 // differs from one start of the node to the next; 0: the clock's
	Transport Transport
	Sharers   []Sharer
	Members   func() []Peer // those that should be alive; nil: only Join adds any

	// Allowed says whether a node may take part: a removed one still has the gossip's key.
	// It must not block. nil: every one.
	Allowed func(nodeID string) bool

	Interval     time.Duration // between exchanges, varied by a third; 0: 300 ms
	JoinInterval time.Duration // between tries to reach members that are not alive; 0: 15 s

	Logger     *slog.Logger          // nil: discards
	Registerer prometheus.Registerer // nil: not registered
}

// Gossip is this node's part in the gossip. It is safe for concurrent use.
type Gossip struct {
	cfg     Config
	list    *memberlist.Memberlist
	ring    *memberlist.Keyring
	net     *netTransport
	inbox   *inbox
	frames  *frames
	metrics *metrics
	sharers map[byte]Sharer

	cancel context.CancelFunc
	done   sync.WaitGroup
}

// New starts gossiping. Members are joined in the background, at once and then again
// whenever they are not alive.
func New(cfg Config) (*Gossip, error) {
	fill(&cfg)
	if err := check(&cfg); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ip, port, err := resolve(ctx, cfg.Advertise)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("resolve gossip address: %w", err)
	}
	g := &Gossip{
		cfg:     cfg,
		frames:  newFrames(cfg.NodeID, cfg.Epoch),
		metrics: newMetrics(cfg.Registerer),
		sharers: map[byte]Sharer{},
		cancel:  cancel,
	}
	for _, s := range cfg.Sharers {
		g.sharers[s.Topic()] = s
	}
	if g.ring, err = memberlist.NewKeyring(nil, cfg.Key); err != nil {
		cancel()
		return nil, fmt.Errorf("take gossip key: %w", err)
	}
	g.inbox = newInbox(g.metrics)
	g.net = newNetTransport(ctx, cfg.Transport, ip, port, cfg.Logger)
	g.list, err = memberlist.Create(g.settings())
	if err != nil {
		cancel()
		_ = g.net.Shutdown()
		return nil, fmt.Errorf("start gossip: %w", err)
	}
	g.done.Go(func() { g.receive(ctx) })
	g.done.Go(func() { g.exchange(ctx) })
	g.done.Go(func() { g.rejoin(ctx) })
	return g, nil
}

func fill(cfg *Config) {
	if cfg.Interval == 0 {
		cfg.Interval = defaultInterval
	}
	if cfg.JoinInterval == 0 {
		cfg.JoinInterval = defaultJoinInterval
	}
	if cfg.Epoch == 0 {
		cfg.Epoch = uint64(clock.Now().UnixNano())
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Members == nil {
		cfg.Members = func() []Peer { return nil }
	}
	if cfg.Allowed == nil {
		cfg.Allowed = func(string) bool { return true }
	}
}

func check(cfg *Config) error {
	switch n := len(cfg.Key); {
	case n != 16 && n != 24 && n != 32:
		return fmt.Errorf("gossip key of %d bytes is not one of 16, 24, 32", n)
	case cfg.NodeID == "" || len(cfg.NodeID) > maxNodeID:
		return fmt.Errorf("node id of %d bytes is not between 1 and %d", len(cfg.NodeID), maxNodeID)
	case cfg.ClusterID == "" || len(cfg.ClusterID) > memberlist.LabelMaxSize:
		return fmt.Errorf("cluster id of %d bytes is not between 1 and %d", len(cfg.ClusterID), memberlist.LabelMaxSize)
	case cfg.Transport == nil:
		return errors.New("gossip needs a transport")
	}
	seen := map[byte]bool{}
	for _, s := range cfg.Sharers {
		if seen[s.Topic()] {
			return fmt.Errorf("two sharers have the topic %d", s.Topic())
		}
		seen[s.Topic()] = true
	}
	return nil
}

// settings are memberlist's, with what differs from its profile for a LAN.
func (g *Gossip) settings() *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.Name = g.cfg.NodeID
	c.Label = g.cfg.ClusterID
	c.Keyring = g.ring
	c.Transport = g.net
	c.AdvertiseAddr = g.net.ip.String()
	c.AdvertisePort = g.net.port
	c.ProbeInterval = probeInterval
	c.ProbeTimeout = probeTimeout
	c.GossipInterval = gossipInterval
	c.SuspicionMult = suspicionMult
	c.RetransmitMult = retransmitMult
	c.TCPTimeout = streamTimeout
	c.DeadNodeReclaimTime = reclaimAfter
	c.RequireNodeNames = true
	c.EnableCompression = false // frames are small and binary
	c.LogOutput = newLogWriter(g.cfg.Logger)
	d := &delegate{g: g, meta: encodeMeta(g.cfg.Epoch, g.cfg.Name)}
	c.Delegate = d
	c.Events = d
	c.Alive = d
	return c
}

// Join makes contact with the peers, and returns how many answered.
func (g *Gossip) Join(peers []Peer) int {
	names := make([]string, 0, len(peers))
	for _, p := range peers {
		if p.ID != g.cfg.NodeID {
			names = append(names, p.ID+"/"+p.Addr)
		}
	}
	n, err := g.list.Join(names)
	if err != nil {
		g.cfg.Logger.Debug("gossip join", "peers", len(names), "answered", n, "err", err)
	}
	return n
}

// Alive returns the ids of the nodes that are alive as far as this one knows, itself among
// them, sorted.
func (g *Gossip) Alive() []string {
	var ids []string
	for _, m := range g.list.Members() {
		ids = append(ids, m.Name)
	}
	slices.Sort(ids)
	return ids
}

// Names returns the names for people of the nodes that are alive, by id.
func (g *Gossip) Names() map[string]string {
	names := map[string]string{}
	for _, m := range g.list.Members() {
		_, names[m.Name] = decodeMeta(m.Meta)
	}
	return names
}

// SetKeys encrypts with the first key from now on, and takes what is encrypted with any.
func (g *Gossip) SetKeys(keys [][]byte) error {
	for _, k := range keys {
		if err := g.ring.AddKey(k); err != nil {
			return fmt.Errorf("add gossip key: %w", err)
		}
	}
	if err := g.ring.UseKey(keys[0]); err != nil {
		return fmt.Errorf("use gossip key: %w", err)
	}
	for _, old := range slices.Backward(slices.Clone(g.ring.GetKeys())) { // the last first: memberlist moves none that is being read
		if slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, old) }) {
			continue
		}
		if err := g.ring.RemoveKey(old); err != nil {
			return fmt.Errorf("remove gossip key: %w", err)
		}
	}
	return nil
}

// Leave tells the others that this node goes away on purpose, and waits at most timeout for
// the news to be out. Shutdown still has to be called.
func (g *Gossip) Leave(timeout time.Duration) error {
	if err := g.list.Leave(timeout); err != nil {
		return fmt.Errorf("leave gossip: %w", err)
	}
	return nil
}

// Shutdown stops gossiping and waits for its goroutines. The transport stays open.
func (g *Gossip) Shutdown() error {
	g.cancel()
	g.done.Wait()
	if err := g.list.Shutdown(); err != nil {
		return fmt.Errorf("stop gossip: %w", err)
	}
	return nil
}

// exchange tells every living node what the sharers have to say.
func (g *Gossip) exchange(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(vary(g.cfg.Interval)):
		}
		g.metrics.alive.Set(float64(g.list.NumMembers()))
		members := g.list.Members()
		for _, s := range g.cfg.Sharers {
			if b := g.collect(s); b != nil {
				g.send(members, b)
			}
		}
	}
}

// collect makes a frame of what the sharer has to say. What is too large is refused here:
// memberlist would keep it for ever.
func (g *Gossip) collect(s Sharer) []byte {
	payload := s.Share()
	if payload == nil {
		return nil
	}
	if len(payload) > MaxPayload {
		g.metrics.refused.Inc()
		g.cfg.Logger.Error("gossip payload is too large", "topic", s.Topic(), "bytes", len(payload), "max_bytes", MaxPayload)
		return nil
	}
	return g.frames.next(s.Topic(), payload)
}

func (g *Gossip) send(members []*memberlist.Node, b []byte) {
	for _, m := range members {
		if m.Name == g.cfg.NodeID {
			continue
		}
		if err := g.list.SendBestEffort(m, b); err != nil {
			g.cfg.Logger.Debug("gossip send", "peer", m.Name, "err", err)
			continue
		}
		g.metrics.sent.Inc()
	}
}

// receive hands what has arrived to the sharers.
func (g *Gossip) receive(ctx context.Context) {
	for {
		frames, gone := g.inbox.take()
		for _, b := range frames {
			g.merge(b)
		}
		for _, id := range gone {
			g.forget(id)
		}
		select {
		case <-ctx.Done():
			return
		case <-g.inbox.wake:
		}
	}
}

func (g *Gossip) merge(b []byte) {
	f, err := decode(b)
	if err != nil {
		g.metrics.unreadable.Inc()
		g.cfg.Logger.Debug("gossip frame", "err", err)
		return
	}
	s, ok := g.sharers[f.topic]
	if !ok || !g.frames.accept(f, b) {
		return
	}
	g.metrics.received.Inc()
	s.Merge(f.node, f.payload)
}

func (g *Gossip) forget(id string) {
	for _, s := range g.cfg.Sharers {
		if f, ok := s.(Forgetter); ok {
			f.Forget(id)
		}
	}
}

// rejoin joins the members that are not alive, now and every JoinInterval.
func (g *Gossip) rejoin(ctx context.Context) {
	for {
		alive := g.Alive()
		var lost []Peer
		for _, p := range g.cfg.Members() {
			if _, ok := slices.BinarySearch(alive, p.ID); !ok {
				lost = append(lost, p)
			}
		}
		if len(lost) > 0 {
			g.Join(lost)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(vary(g.cfg.JoinInterval)):
		}
	}
}

// vary returns d give or take a third, so that nodes do not fall into step.
func vary(d time.Duration) time.Duration {
	return d - d/3 + rand.N(2*d/3+1) //nolint:gosec // nobody gains by guessing it
}

// resolve finds the address that this node advertises.
func resolve(ctx context.Context, hostport string) (net.IP, int, error) {
	ctx, cancel := context.WithTimeout(ctx, streamTimeout)
	defer cancel()
	host, service, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, 0, fmt.Errorf("address %q is not host:port: %w", hostport, err)
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "udp", service)
	if err != nil {
		return nil, 0, fmt.Errorf("look up port: %w", err)
	}
	ips, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return nil, 0, fmt.Errorf("look up host: %w", err)
	}
	if ips[0].IP.IsUnspecified() || port == 0 {
		return nil, 0, fmt.Errorf("nobody can reach %q; set advertise to an address that the other nodes reach", hostport)
	}
	return ips[0].IP, port, nil
}
