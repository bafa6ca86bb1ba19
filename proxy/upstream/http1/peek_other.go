//go:build !unix

package http1

import "net"

// peeker cannot look into a connection here.
type peeker struct{}

func newPeeker(net.Conn) peeker { return peeker{} }

func (p *peeker) quiet() bool { return true }
