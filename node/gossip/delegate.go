package gossip

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/hashicorp/memberlist"
)

const (
	maxState  = 64 << 10 // of a full exchange
	maxQueued = 1024     // frames that wait to be merged
	maxName   = 256      // memberlist panics over 512 bytes of meta data
	metaForm  = 1
)

// delegate is what memberlist calls. It calls with its locks held, so nothing here blocks
// or calls back.
type delegate struct {
	g    *Gossip
	meta []byte
}

// NodeMeta implements memberlist.Delegate.
func (d *delegate) NodeMeta(limit int) []byte { return d.meta[:min(len(d.meta), limit)] }

// NotifyMsg implements memberlist.Delegate.
func (d *delegate) NotifyMsg(b []byte) { d.g.inbox.put(bytes.Clone(b)) }

// GetBroadcasts implements memberlist.Delegate. Frames are sent directly.
func (d *delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate.
func (d *delegate) LocalState(bool) []byte { return d.g.frames.all(maxState) }

// MergeRemoteState implements memberlist.Delegate.
func (d *delegate) MergeRemoteState(b []byte, _ bool) {
	if len(b) > maxState {
		d.g.metrics.unreadable.Inc()
		return
	}
	all, err := split(bytes.Clone(b))
	if err != nil {
		d.g.metrics.unreadable.Inc()
		return
	}
	for _, f := range all {
		d.g.inbox.put(f)
	}
}

// NotifyAlive implements memberlist.AliveDelegate: an error has the news that a node is alive
// ignored.
func (d *delegate) NotifyAlive(n *memberlist.Node) error {
	if n.Name != d.g.cfg.NodeID && !d.g.cfg.Allowed(n.Name) {
		return fmt.Errorf("node %s is not a member", n.Name)
	}
	return nil
}

// NotifyJoin implements memberlist.EventDelegate.
func (d *delegate) NotifyJoin(n *memberlist.Node) {
	epoch, _ := decodeMeta(n.Meta)
	d.g.frames.expect(n.Name, epoch)
	if n.Name != d.g.cfg.NodeID {
		d.g.cfg.Logger.Info("gossip peer is alive", "peer", n.Name, "address", n.Address())
	}
}

// NotifyLeave implements memberlist.EventDelegate.
func (d *delegate) NotifyLeave(n *memberlist.Node) {
	d.g.frames.forget(n.Name)
	d.g.cfg.Logger.Info("gossip peer is gone", "peer", n.Name, "address", n.Address())
	d.g.inbox.leave(n.Name)
}

// NotifyUpdate implements memberlist.EventDelegate: a node has restarted before anybody
// found it dead.
func (d *delegate) NotifyUpdate(n *memberlist.Node) {
	epoch, _ := decodeMeta(n.Meta)
	d.g.frames.expect(n.Name, epoch)
}

// inbox holds what has arrived until the receiver takes it.
type inbox struct {
	metrics *metrics
	wake    chan struct{} // holds one signal

	mu     sync.Mutex // guards what follows
	frames [][]byte
	gone   []string
}

func newInbox(m *metrics) *inbox { return &inbox{metrics: m, wake: make(chan struct{}, 1)} }

// put queues a frame; if the receiver is far behind, the oldest one is dropped.
func (in *inbox) put(b []byte) {
	in.mu.Lock()
	if len(in.frames) >= maxQueued {
		in.frames = slices.Delete(in.frames, 0, 1)
		in.metrics.dropped.Inc()
	}
	in.frames = append(in.frames, b)
	in.mu.Unlock()
	in.signal()
}

// leave queues the news that a node is gone, once.
func (in *inbox) leave(id string) {
	in.mu.Lock()
	if !slices.Contains(in.gone, id) {
		in.gone = append(in.gone, id)
	}
	in.mu.Unlock()
	in.signal()
}

func (in *inbox) signal() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

// take returns what has arrived since the last call.
func (in *inbox) take() (frames [][]byte, gone []string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	frames, gone = in.frames, in.gone
	in.frames, in.gone = nil, nil
	return frames, gone
}

// encodeMeta makes the meta data of this node: form u8 | epoch u64 | name.
func encodeMeta(epoch uint64, name string) []byte {
	b := binary.BigEndian.AppendUint64([]byte{metaForm}, epoch)
	return append(b, name[:min(len(name), maxName)]...)
}

// decodeMeta returns what is in a node's meta data, nothing if it cannot be read.
func decodeMeta(b []byte) (epoch uint64, name string) {
	if len(b) < 9 || b[0] != metaForm {
		return 0, ""
	}
	return binary.BigEndian.Uint64(b[1:]), string(b[9:])
}
