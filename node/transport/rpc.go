package transport

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/resource"
)

const (
	maxCalls       = 512              // handlers at once on this node
	defaultTimeout = 10 * time.Second // of a call without a deadline
	answerTimeout  = 10 * time.Second // to write an answer
	tooBig         = "answer is over the limit"
)

// How a call can fail without an answer.
var (
	// ErrUnreachable says that the call was never sent.
	ErrUnreachable = errors.New("node cannot be reached")
	// ErrUnknown says that the call was sent and may or may not have been done.
	ErrUnknown = errors.New("no answer: the outcome is unknown")
)

// Handler does a call of the node peer. Its error reaches the caller with its code (see
// resource.Code); ctx ends with the caller's deadline or the connection.
type Handler func(ctx context.Context, peer string, body []byte) ([]byte, error)

// RPC makes and answers calls between nodes, many at a time on one connection for each peer
// and direction. Every method must bear to be done twice: a call whose connection turns out
// to be broken is sent again once.
type RPC struct {
	t       *Transport
	resolve func(nodeID string) (addr string, ok bool)
	log     *slog.Logger
	slots   chan struct{}

	ctx    context.Context // the life of the server, not of a request
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.RWMutex // guards handlers, peers
	handlers map[string]Handler
	peers    map[string]*peer
}

// NewRPC makes an RPC over t; resolve gives the address of a node. Handlers may be added
// until and after Start.
func NewRPC(t *Transport, resolve func(nodeID string) (string, bool), log *slog.Logger) *RPC {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	r := &RPC{
		t: t, resolve: resolve, log: log, slots: make(chan struct{}, maxCalls),
		handlers: map[string]Handler{}, peers: map[string]*peer{},
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Start accepts calls until Close.
func (r *RPC) Start() {
	l := r.t.Listener(Calls)
	r.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.wg.Go(func() { r.serve(c) })
		}
	})
}

// Handle sets the handler of a method.
func (r *RPC) Handle(method string, h Handler) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.handlers[method] = h
}

// serve answers the calls of one connection.
func (r *RPC) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	var calls sync.WaitGroup
	defer calls.Wait()
	defer cancel() // handlers end before the wait
	w := &frameWriter{c: c}
	br := bufio.NewReaderSize(c, 64<<10)
	peerID := r.t.PeerID(c)
	for {
		f, err := readFrame(br)
		if err != nil {
			if errors.Is(err, errFrame) {
				r.log.Warn("malformed call", "node", peerID, "error", err)
			}
			return
		}
		if f.kind != frameCall {
			r.log.Warn("malformed call", "node", peerID, "error", errFrame)
			return
		}
		select {
		case r.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		calls.Go(func() {
			defer func() { <-r.slots }()
			r.answer(ctx, w, peerID, f)
		})
	}
}

// answer does one call.
func (r *RPC) answer(ctx context.Context, w *frameWriter, peerID string, f *frame) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	r.mu.RLock()
	h := r.handlers[f.name]
	r.mu.RUnlock()
	out := &frame{kind: frameAnswer, id: f.id}
	var err error
	if h == nil {
		err = fmt.Errorf("this node has no method %q", f.name)
	} else {
		out.body, err = h(ctx, peerID, f.body)
	}
	if err == nil && len(out.body) > MaxBody {
		err = errors.New(tooBig)
	}
	if err != nil {
		text := err.Error()
		out = &frame{kind: frameError, id: f.id, name: code(err), body: []byte(text[:min(len(text), 4096)])}
	}
	if err := w.write(out, time.Now().Add(answerTimeout)); err != nil {
		_ = w.c.Close()
	}
}

// codeUnknown names ErrUnknown on the wire.
const codeUnknown = "unknown"

// code names what the caller is to make of a handler's error.
func code(err error) string {
	if errors.Is(err, ErrUnknown) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return codeUnknown
	}
	return resource.Code(err)
}

// decode rebuilds the error of a frame.
func decode(f *frame) error {
	if f.name == codeUnknown {
		return fmt.Errorf("%w: %s", ErrUnknown, f.body)
	}
	return resource.FromCode(f.name, string(f.body))
}

// Call asks a node to do a method and waits for the answer until ctx ends, 10 s if it has
// no deadline. Errors of the handler come back with their resource sentinel; ErrUnreachable
// and ErrUnknown tell whether a call without an answer may have been done.
func (r *RPC) Call(ctx context.Context, nodeID, method string, body []byte) ([]byte, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultTimeout)
		defer cancel()
	}
	p := r.peer(nodeID)
	for try := 0; ; try++ {
		c, fresh, err := p.connect(ctx)
		if err != nil {
			return nil, fmt.Errorf("call %s of node %s: %w: %w", method, nodeID, ErrUnreachable, err)
		}
		out, err := c.call(ctx, method, body)
		if err == nil || !errors.Is(err, errBroken) {
			return out, err
		}
		if fresh || try > 0 || ctx.Err() != nil {
			return nil, fmt.Errorf("call %s of node %s: %w: %w", method, nodeID, ErrUnknown, err)
		}
	}
}

// CallAt is Call of whichever node of the cluster is at addr, over a connection of its own.
func (r *RPC) CallAt(ctx context.Context, addr, method string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	nc, err := r.t.Dial(ctx, addr, Calls)
	if err != nil {
		return nil, fmt.Errorf("call %s at %s: %w: %w", method, addr, ErrUnreachable, err)
	}
	c := newCallConn(nc)
	r.wg.Go(c.read)
	defer c.fail()
	return c.call(ctx, method, body)
}

// peer returns the entry of a node.
func (r *RPC) peer(nodeID string) *peer {
	r.mu.RLock()
	p := r.peers[nodeID]
	r.mu.RUnlock()
	if p != nil {
		return p
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if p = r.peers[nodeID]; p == nil {
		p = &peer{rpc: r, id: nodeID, turn: make(chan struct{}, 1)}
		r.peers[nodeID] = p
	}
	return p
}

// Close ends all calls, in both directions, and waits for the handlers.
func (r *RPC) Close() {
	r.cancel()
	_ = r.t.Listener(Calls).Close()
	r.mu.Lock()
	peers := make([]*peer, 0, len(r.peers))
	for _, p := range r.peers {
		peers = append(peers, p)
	}
	r.mu.Unlock()
	for _, p := range peers {
		p.hangUp()
	}
	r.wg.Wait()
}
