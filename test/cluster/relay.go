package cluster

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Relay stands between a node's cluster port and the others: what they send it, on connections and in
// datagrams, passes here and suffers. It needs no privileges.
type Relay struct {
	target string
	stream net.Listener
	packet net.PacketConn
	wg     sync.WaitGroup
	done   chan struct{}
	cuts   atomic.Int64

	mu    sync.Mutex // guards what follows
	w     Weather
	conns map[net.Conn]struct{}
	back  map[string]net.Conn // by the address of a sender of datagrams: from here to the node
}

// Weather is what a Relay does to what passes it; the zero value is nothing.
type Weather struct {
	Delay, Jitter time.Duration // of each direction
	Loss          float64       // of datagrams; a connection waits 200 ms for the retransmission instead
	Twice         float64       // of datagrams, that come again
	Reorder       float64       // of datagrams, that come up to 50 ms late
	Cut           float64       // of the connections' pieces, after which the connection ends
	Mute          bool          // no datagram passes
}

const resend = 200 * time.Millisecond // the least time after which TCP sends again

// NewRelay relays to a cluster port. Its owner closes it.
func NewRelay(target string) (*Relay, error) {
	r := &Relay{target: target, done: make(chan struct{}), conns: map[net.Conn]struct{}{}, back: map[string]net.Conn{}}
	for range 20 { // until a number is free for both
		var err error
		if r.stream, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, err
		}
		if r.packet, err = net.ListenPacket("udp", r.stream.Addr().String()); err == nil {
			break
		}
		_ = r.stream.Close()
	}
	if r.packet == nil {
		return nil, errors.New("no port is free for connections and datagrams")
	}
	r.wg.Go(r.accept)
	r.wg.Go(r.receive)
	return r, nil
}

// Address is where the others reach the node.
func (r *Relay) Address() string { return r.stream.Addr().String() }

// Cuts is how many connections the weather has ended.
func (r *Relay) Cuts() int64 { return r.cuts.Load() }

// Set changes the weather from now on.
func (r *Relay) Set(w Weather) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.w = w
}

func (r *Relay) weather() Weather {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.w
}

// Close ends the relay and all that passes it.
func (r *Relay) Close() {
	close(r.done)
	_ = errors.Join(r.stream.Close(), r.packet.Close())
	r.mu.Lock()
	for c := range r.conns {
		_ = c.Close()
	}
	for _, c := range r.back {
		_ = c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

// keep notes a connection, for Close to end it.
func (r *Relay) keep(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[c] = struct{}{}
}

func (r *Relay) forget(c net.Conn) {
	_ = c.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}

func (r *Relay) accept() {
	for {
		from, err := r.stream.Accept()
		if err != nil {
			return
		}
		r.wg.Go(func() { r.connect(from) })
	}
}

// connect joins a connection with one to the node.
func (r *Relay) connect(from net.Conn) {
	r.keep(from)
	defer r.forget(from)
	to, err := net.DialTimeout("tcp", r.target, 2*time.Second)
	if err != nil {
		return
	}
	r.keep(to)
	defer r.forget(to)
	var wg sync.WaitGroup
	wg.Go(func() { r.pass(from, to) })
	wg.Go(func() { r.pass(to, from) })
	wg.Wait()
}

// piece is what was read at once, and when it is due.
type piece struct {
	body []byte
	due  time.Time
}

// pass carries one direction of a connection, in its order.
func (r *Relay) pass(from, to net.Conn) {
	pieces := make(chan piece, 4096)
	var wg sync.WaitGroup
	wg.Go(func() { r.write(pieces, from, to) })
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			w := r.weather()
			late := w.Delay + random(w.Jitter)
			if rand.Float64() < w.Loss {
				late += resend
			}
			select {
			case pieces <- piece{append([]byte(nil), buf[:n]...), time.Now().Add(late)}:
			case <-r.done:
			}
			if rand.Float64() < w.Cut {
				err = io.ErrUnexpectedEOF
				r.cuts.Add(1)
			}
		}
		if err != nil {
			close(pieces)
			wg.Wait()
			_ = errors.Join(from.Close(), to.Close())
			return
		}
	}
}

func (r *Relay) write(pieces <-chan piece, from, to net.Conn) {
	for p := range pieces {
		if !r.wait(time.Until(p.due)) {
			continue
		}
		if _, err := to.Write(p.body); err != nil {
			_ = from.Close()
		}
	}
}

// wait returns false if the relay ends before.
func (r *Relay) wait(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.done:
		return false
	}
}

func random(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d)
}

// receive carries datagrams.
func (r *Relay) receive() {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := r.packet.ReadFrom(buf)
		if err != nil {
			return
		}
		to, err := r.sender(from)
		if err != nil {
			continue
		}
		r.deliver(append([]byte(nil), buf[:n]...), func(b []byte) { _, _ = to.Write(b) })
	}
}

// deliver has a datagram come as the weather is: not at all, late, or twice.
func (r *Relay) deliver(body []byte, send func([]byte)) {
	w := r.weather()
	if w.Mute || rand.Float64() < w.Loss {
		return
	}
	times := 1
	if rand.Float64() < w.Twice {
		times = 2
	}
	for range times {
		late := w.Delay + random(w.Jitter)
		if rand.Float64() < w.Reorder {
			late += random(50 * time.Millisecond)
		}
		if late == 0 {
			send(body)
			continue
		}
		r.wg.Go(func() {
			if r.wait(late) {
				send(body)
			}
		})
	}
}

// sender is the socket from which the node sees the datagrams of one sender; what it answers there goes back.
func (r *Relay) sender(from net.Addr) (net.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.back[from.String()]; ok {
		return c, nil
	}
	c, err := net.Dial("udp", r.target)
	if err != nil {
		return nil, fmt.Errorf("relay datagrams: %w", err)
	}
	r.back[from.String()] = c
	r.wg.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := c.Read(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				if !r.wait(10 * time.Millisecond) { // the node is not there now
					return
				}
				continue
			}
			r.deliver(append([]byte(nil), buf[:n]...), func(b []byte) { _, _ = r.packet.WriteTo(b, from) })
		}
	})
	return c, nil
}
