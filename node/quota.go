package node

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	quotaProto    = "quota/1"
	maxQuotaFrame = 64 << 10
	quotaQueue    = 16                     // frames that wait for a slow peer
	quotaWrite    = 80 * time.Millisecond  // a frame that takes longer has missed its round
	quotaRedial   = 200 * time.Millisecond // between tries to reach a peer
)

// port is what the quota streams need of the cluster port.
type port interface {
	Listener(proto string) net.Listener
	Dial(ctx context.Context, addr, proto string) (net.Conn, error)
	PeerID(conn net.Conn) string
}

// quotaStreams carries the limits' round frames: one stream to every peer and one from it.
// A frame is delivered once or not at all: one that cannot be sent is dropped.
type quotaStreams struct {
	port    port
	address func(nodeID string) (string, bool)
	deliver func(from string, frame []byte)
	log     *slog.Logger
	ctx     context.Context //nolint:containedctx // the owner's lifetime, ended by stop
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu    sync.Mutex // guards peers, conns
	peers map[string]chan []byte
	conns map[net.Conn]struct{}
}

func startQuota(p port, address func(string) (string, bool), deliver func(string, []byte), log *slog.Logger) *quotaStreams {
	ctx, cancel := context.WithCancel(context.Background())
	q := &quotaStreams{
		port: p, address: address, deliver: deliver, log: log, ctx: ctx, cancel: cancel,
		peers: map[string]chan []byte{}, conns: map[net.Conn]struct{}{},
	}
	q.wg.Go(q.accept)
	return q
}

// Send queues a frame for the node and never blocks. It keeps the frame.
func (q *quotaStreams) Send(nodeID string, frame []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ctx.Err() != nil {
		return
	}
	queue, ok := q.peers[nodeID]
	if !ok {
		queue = make(chan []byte, quotaQueue)
		q.peers[nodeID] = queue
		q.wg.Go(func() { q.feed(nodeID, queue) })
	}
	select {
	case queue <- frame:
	default: // the peer is slow or away; it will see the next round
	}
}

// feed writes the frames for one peer, dialing again when the stream breaks. It ends when
// the peer is no member any more.
func (q *quotaStreams) feed(nodeID string, queue chan []byte) {
	var conn net.Conn
	defer func() { q.drop(conn) }()
	for {
		select {
		case <-q.ctx.Done():
			return
		case frame := <-queue:
			addr, ok := q.address(nodeID)
			if !ok {
				q.forget(nodeID)
				return
			}
			if conn == nil {
				conn = q.dial(addr)
			}
			if conn != nil && writeFrame(conn, frame) != nil {
				q.drop(conn)
				conn = nil
			}
		}
	}
}

func (q *quotaStreams) dial(addr string) net.Conn {
	ctx, cancel := context.WithTimeout(q.ctx, quotaRedial)
	defer cancel()
	conn, err := q.port.Dial(ctx, addr, quotaProto)
	if err != nil {
		<-ctx.Done() // paces the tries
		return nil
	}
	if !q.keep(conn) {
		return nil
	}
	return conn
}

// keep registers a stream, so that stop can close it; false after stop.
func (q *quotaStreams) keep(conn net.Conn) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ctx.Err() != nil {
		_ = conn.Close()
		return false
	}
	q.conns[conn] = struct{}{}
	return true
}

func (q *quotaStreams) drop(conn net.Conn) {
	if conn == nil {
		return
	}
	_ = conn.Close() // broken already, or about to be
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.conns, conn)
}

func (q *quotaStreams) forget(nodeID string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.peers, nodeID)
}

func (q *quotaStreams) accept() {
	l := q.port.Listener(quotaProto)
	for {
		conn, err := l.Accept()
		if err != nil {
			return // the listener is closed
		}
		if q.keep(conn) {
			q.wg.Go(func() { q.read(conn) })
		}
	}
}

func (q *quotaStreams) read(conn net.Conn) {
	defer q.drop(conn)
	from := q.port.PeerID(conn)
	for {
		frame, err := readFrame(conn)
		if err != nil {
			if !errors.Is(err, io.EOF) && q.ctx.Err() == nil {
				q.log.Debug("quota stream ended", "peer", from, "error", err)
			}
			return
		}
		q.deliver(from, frame)
	}
}

// stop ends all streams and waits. The cluster port must be closed before or soon after.
func (q *quotaStreams) stop() {
	q.cancel()
	_ = q.port.Listener(quotaProto).Close() // ends accept
	q.mu.Lock()
	for conn := range q.conns {
		_ = conn.Close()
	}
	q.mu.Unlock()
	q.wg.Wait()
}

// A frame is its length as u32, big endian, and its bytes.
func writeFrame(conn net.Conn, frame []byte) error {
	if err := conn.SetWriteDeadline(time.Now().Add(quotaWrite)); err != nil {
		return err
	}
	head := make([]byte, 4, 4+len(frame))
	binary.BigEndian.PutUint32(head, uint32(len(frame)))
	_, err := conn.Write(append(head, frame...))
	return err
}

func readFrame(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxQuotaFrame {
		return nil, errors.New("frame is too long")
	}
	frame := make([]byte, n)
	_, err := io.ReadFull(r, frame)
	return frame, err
}
