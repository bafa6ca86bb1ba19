package transport

import (
	"net"
	"time"
)

// Idle is c, on which each read and write has to get on within d. It closes c.
func Idle(c net.Conn, d time.Duration) net.Conn { return idle{c, d} }

type idle struct {
	net.Conn
	limit time.Duration
}

// Read implements io.Reader.
func (i idle) Read(p []byte) (int, error) {
	if err := i.SetReadDeadline(time.Now().Add(i.limit)); err != nil {
		return 0, err
	}
	return i.Conn.Read(p)
}

// Write implements io.Writer.
func (i idle) Write(p []byte) (int, error) {
	if err := i.SetWriteDeadline(time.Now().Add(i.limit)); err != nil {
		return 0, err
	}
	return i.Conn.Write(p)
}
