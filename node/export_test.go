package node

import "time"

// Age makes the node believe that its last tick is older by d.
func (n *Node) Age(d time.Duration) {
	for {
		sent := n.fresh.sent.Load()
		if n.fresh.sent.CompareAndSwap(sent, sent-int64(d)) {
			return
		}
	}
}
