package transport

import (
	"net"
	"sync"
)

// listener gives out the connections of one protocol.
type listener struct {
	addr net.Addr
	ch   chan *Conn
	done chan struct{}
	once sync.Once
}

// Listener returns the listener of a protocol; the same each time, so it has one owner.
// Closing it closes that protocol only.
func (t *Transport) Listener(proto string) net.Listener {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.listeners[proto]
	if l == nil {
		l = &listener{addr: t.tcp.Addr(), ch: make(chan *Conn, backlog), done: make(chan struct{})}
		t.listeners[proto] = l
		if t.ctx.Err() != nil {
			_ = l.Close()
		}
	}
	return l
}

// listener returns the listener of a protocol if somebody has asked for it.
func (t *Transport) listener(proto string) *listener {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.listeners[proto]
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-l.ch:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener; connections that nobody accepted are closed.
func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.done)
		for {
			select {
			case c := <-l.ch:
				_ = c.Close()
			default:
				return
			}
		}
	})
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l.addr }
