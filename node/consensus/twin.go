package consensus

import (
	"context"
	"errors"
	"fmt"
)

// methodSelf asks a node which one it is.
const methodSelf = "raft/self"

// ErrTwin says that another process runs as this node: the data folder is a copy, or the machine is.
var ErrTwin = errors.New("another process runs as this node")

// alone refuses to run as a node that runs already. Its process answers where the table of members has it: two that vote under one
// name could elect two leaders. A node that was moved finds nobody there, or another node.
func (n *Node) alone() error {
	at := n.tableAddress(n.id)
	if at == "" || at == n.cfg.Transport.Addr() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), introduceWait)
	defer cancel()
	id, err := n.rpc.CallAt(ctx, at, methodSelf, nil)
	if err != nil || string(id) != n.id {
		return nil //nolint:nilerr // nobody answers there as this node
	}
	return fmt.Errorf("%w, at %s: this data folder is a copy of its folder. Remove the copy, and join it as a new node with an empty folder", ErrTwin, at)
}

// onSelf answers alone.
func (n *Node) onSelf(context.Context, string, []byte) ([]byte, error) { return []byte(n.id), nil }
