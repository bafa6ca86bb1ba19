package consensus

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm"
)

// markSize is a mark as it is sent: the index, then the hash.
const markSize = 8 + 16

// onMarks answers with the state hash after each of the last entries, oldest first.
func (n *Node) onMarks(context.Context, string, []byte) ([]byte, error) {
	marks := n.fsm.Marks()
	out := make([]byte, 0, len(marks)*markSize)
	for _, m := range marks {
		hash := m.Hash.Bytes()
		out = append(binary.BigEndian.AppendUint64(out, m.Index), hash[:]...)
	}
	return out, nil
}

// parting is where two states went apart, as far as both nodes remember it.
type parting struct {
	same   uint64 // the newest entry after which they were the same; 0: none that both remember
	differ uint64 // the first after which they were not; 0: none
}

// partingOf compares what a node sent with the marks of this one.
func partingOf(sent []byte, mine func(index uint64) ([16]byte, bool)) (p parting) {
	for ; len(sent) >= markSize; sent = sent[markSize:] {
		index := binary.BigEndian.Uint64(sent)
		hash, ok := mine(index)
		switch {
		case !ok:
		case hash == [16]byte(sent[8:markSize]):
			p = parting{same: index}
		case p.differ == 0:
			p.differ = index
		}
	}
	return p
}

// partedAt finds out since which entry a node's state differs from this one's, in words for a person;
// "" if it cannot be told.
func (n *Node) partedAt(ctx context.Context, id string) string {
	sent, err := n.rpc.Call(ctx, id, methodMarks, nil)
	if err != nil {
		n.log.Warn("ask a node since when its state differs", "node", id, "error", err)
		return ""
	}
	p := partingOf(sent, n.fsm.HashAt)
	switch {
	case p.differ == 0:
		return ""
	case p.same == 0:
		return fmt.Sprintf(" since before entry %d, the first after its start", p.differ)
	}
	return fmt.Sprintf(" since entry %d (%s)", p.differ, n.commandAt(p.differ))
}

// commandAt names the command of an entry of the log.
func (n *Node) commandAt(index uint64) string {
	var l raft.Log
	if err := n.store.GetLog(index, &l); err != nil {
		return "no longer in the log"
	}
	if l.Type != raft.LogCommand {
		return "no command"
	}
	_, kind, _, err := fsm.Decode(l.Data)
	if err != nil {
		return err.Error()
	}
	return kind.String()
}
