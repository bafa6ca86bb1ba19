package join

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/conclave-llm/conclave/node/transport"
	"github.com/conclave-llm/conclave/resource"
)

// ErrRemoved says that the node was removed from its cluster.
var ErrRemoved = errors.New("the node was removed from the cluster")

// Standing asks the node at addr, whose CA must have the pin, whether a node was removed: then it
// returns ErrRemoved. A removed node's certificate is refused, so it asks as a stranger would, and
// tells nothing but its id.
func Standing(ctx context.Context, addr string, pin []byte, nodeID string) error {
	c, err := transport.DialJoin(ctx, addr, pin)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // the answer is read by then
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	if err := writeJSON(c, request{Standing: nodeID}); err != nil {
		return fmt.Errorf("ask for the standing: %w", err)
	}
	var a answer
	if err := readJSON(c, &a); err != nil {
		return fmt.Errorf("read the standing: %w", err)
	}
	if a.Permanent && a.Code == codeDead {
		return ErrRemoved
	}
	return nil
}

// codeDead is resource.ErrDead on the wire.
var codeDead = resource.Code(resource.ErrDead)

// standing answers Standing from this node's own state; false: it is another question.
func (a *Admitter) standing(question []byte) ([]byte, bool) {
	var req request
	if json.Unmarshal(question, &req) != nil || req.Standing == "" {
		return nil, false
	}
	var out answer
	if m, ok := a.cfg.State.Member(req.Standing); ok && m.Removed {
		out = answer{Code: codeDead, Text: "node " + req.Standing + " was removed", Permanent: true}
	}
	b, err := json.Marshal(out)
	return b, err == nil
}
