//go:build unix

package http1

import (
	"errors"
	"net"
	"syscall"
)

// peeker looks whether a connection is quiet: open, and with nothing to read.
type peeker struct {
	raw  syscall.RawConn // nil: nothing can be seen
	look func(fd uintptr) bool
	was  *bool
}

func newPeeker(nc net.Conn) peeker {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return peeker{}
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return peeker{}
	}
	quiet := new(bool)
	return peeker{raw: raw, was: quiet, look: func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		*quiet = errors.Is(err, syscall.EAGAIN)
		return true
	}}
}

func (p *peeker) quiet() bool {
	if p.raw == nil {
		return true
	}
	return p.raw.Read(p.look) == nil && *p.was
}
