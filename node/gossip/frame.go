package gossip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
)

// The form of a frame, integers in big endian:
//
//	version u8 | topic u8 | epoch u64 | sequence u64 | node id: length u8, bytes | payload
const (
	frameVersion = 1
	frameHead    = 19
	maxNodeID    = 64
	maxFrame     = frameHead + maxNodeID + MaxPayload
)

// frame is what one node says on one topic.
type frame struct {
	topic      byte
	epoch, seq uint64
	node       string
	payload    []byte // part of what was decoded
}

func (f *frame) encode() []byte {
	b := make([]byte, 0, frameHead+len(f.node)+len(f.payload))
	b = append(b, frameVersion, f.topic)
	b = binary.BigEndian.AppendUint64(b, f.epoch)
	b = binary.BigEndian.AppendUint64(b, f.seq)
	b = append(b, byte(len(f.node)))
	b = append(b, f.node...)
	return append(b, f.payload...)
}

func decode(b []byte) (frame, error) {
	if len(b) < frameHead {
		return frame{}, fmt.Errorf("frame of %d bytes is cut", len(b))
	}
	if len(b) > maxFrame {
		return frame{}, fmt.Errorf("frame of %d bytes is over %d", len(b), maxFrame)
	}
	if b[0] != frameVersion {
		return frame{}, fmt.Errorf("frame version %d is not %d", b[0], frameVersion)
	}
	n := int(b[frameHead-1])
	if n == 0 || n > maxNodeID || len(b) < frameHead+n {
		return frame{}, fmt.Errorf("frame of %d bytes cannot hold a node id of %d", len(b), n)
	}
	f := frame{
		topic:   b[1],
		epoch:   binary.BigEndian.Uint64(b[2:]),
		seq:     binary.BigEndian.Uint64(b[10:]),
		node:    string(b[frameHead : frameHead+n]),
		payload: b[frameHead+n:],
	}
	if len(f.payload) > MaxPayload {
		return frame{}, fmt.Errorf("payload of %d bytes is over %d", len(f.payload), MaxPayload)
	}
	return f, nil
}

// frames remembers the newest frame of every living node and topic.
type frames struct {
	self  string
	epoch uint64

	mu    sync.Mutex // guards what follows
	seq   uint64
	nodes map[string]*said
}

// said is what one living node has said in its epoch.
type said struct {
	epoch  uint64
	topics map[byte]remembered
}

type remembered struct {
	seq uint64
	raw []byte
}

func newFrames(self string, epoch uint64) *frames {
	fs := &frames{self: self, epoch: epoch, nodes: map[string]*said{}}
	fs.expect(self, epoch)
	return fs
}

// expect has the frames of a living node accepted, those of the epoch alone.
func (fs *frames) expect(node string, epoch uint64) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if old, ok := fs.nodes[node]; !ok || old.epoch != epoch {
		fs.nodes[node] = &said{epoch: epoch, topics: map[byte]remembered{}}
	}
}

// forget drops what a node has said, and whatever else comes from it until it is expected
// again.
func (fs *frames) forget(node string) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if node != fs.self {
		delete(fs.nodes, node)
	}
}

// next makes this node's next frame on a topic.
func (fs *frames) next(topic byte, payload []byte) []byte {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.seq++
	f := frame{topic, fs.epoch, fs.seq, fs.self, payload}
	raw := f.encode()
	fs.nodes[fs.self].topics[topic] = remembered{f.seq, raw}
	return raw
}

// accept says whether the frame is of a living node's epoch, newer than all seen of its
// node and topic, and not this node's own. It keeps raw.
func (fs *frames) accept(f frame, raw []byte) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n, ok := fs.nodes[f.node]
	if !ok || f.node == fs.self || f.epoch != n.epoch || f.seq <= n.topics[f.topic].seq {
		return false
	}
	n.topics[f.topic] = remembered{f.seq, raw}
	return true
}

// all returns the newest frames of all nodes, one after the other with their lengths before
// them, at most max bytes.
func (fs *frames) all(maxBytes int) []byte {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	var b []byte
	for _, n := range fs.nodes {
		for _, r := range n.topics {
			if len(b)+2+len(r.raw) > maxBytes {
				return b
			}
			b = binary.BigEndian.AppendUint16(b, uint16(len(r.raw)))
			b = append(b, r.raw...)
		}
	}
	return b
}

// split cuts what all made into frames.
func split(b []byte) ([][]byte, error) {
	var out [][]byte
	for len(b) > 0 {
		if len(b) < 2 {
			return nil, errors.New("state is cut")
		}
		n := int(binary.BigEndian.Uint16(b))
		if n > maxFrame || len(b) < 2+n {
			return nil, fmt.Errorf("state of %d bytes cannot hold a frame of %d", len(b), n)
		}
		out = append(out, b[2:2+n])
		b = b[2+n:]
	}
	return out, nil
}
