// Package inflight bounds how many requests of the admin API one node works on at a time, so
// that a flood of them takes neither the node's memory nor the time of inference.
package inflight

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/conclave-llm/conclave/llm"
)

// Max is how many reads, and beside them how many writes, a node works on at a time. Writes
// have a bound of their own: without a leader they wait, and people must see why meanwhile.
const Max = 256

// Gate counts requests in flight. Its zero value lets Max of each sort in; its methods may be
// called concurrently.
type Gate struct {
	Most int64 // of each sort; 0: Max. Set before the first use.

	reads, writes atomic.Int64
}

// Enter lets a request of the method in; leave is called when it is answered. The error is an
// *llm.Error of kind RateLimited with the code node_busy: another node may help.
func (g *Gate) Enter(method string) (leave func(), err error) {
	n := &g.writes
	if method == http.MethodGet || method == http.MethodHead {
		n = &g.reads
	}
	most := g.Most
	if most == 0 {
		most = Max
	}
	if n.Add(1) > most {
		n.Add(-1)
		return nil, &llm.Error{
			Kind: llm.RateLimited, Code: "node_busy", RetryAfter: time.Second,
			Message: "this node works on as many requests of the admin API as it may; another node may have room",
		}
	}
	return func() { n.Add(-1) }, nil
}
