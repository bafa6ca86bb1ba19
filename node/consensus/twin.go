package consensus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/node/consensus/logstore"
)

const (
	// methodSelf asks a node which one it is, and what it knows of the one that asks.
	methodSelf = "raft/self"

	twinWait  = 3 * time.Second // in which a process that runs is heard at least twice, see Config.TwinWait
	twinPause = 250 * time.Millisecond
	fenceEach = 4 // turns of introduce

	answerWait  = 300 * time.Millisecond
	answerPause = 50 * time.Millisecond
)

// ErrTwin says that another process runs as this node: the data folder is a copy, or the machine is.
var ErrTwin = errors.New("another process runs as this node")

// known is what the cluster knows of a node's processes.
type known struct {
	Node    string `json:"node"`              // that says so
	Epoch   uint64 `json:"epoch,omitempty"`   // the newest of the one that it is about; 0: none
	Life    uint64 `json:"life,omitempty"`    // of the process that has opened it; 0: not known
	Seq     uint64 `json:"seq,omitempty"`     // of the last tick in it
	Applied uint64 `json:"applied,omitempty"` // the last entry that the node has told to have applied
}

// newer says that k was known later than o.
func (k known) newer(o known) bool { return k.Epoch > o.Epoch || k.Epoch == o.Epoch && k.Seq > o.Seq }

// knownOf is what this node's state has of a node.
func (n *Node) knownOf(id string) known {
	s, _ := n.fsm.Node(id)
	return known{Node: n.id, Epoch: s.Epoch, Life: s.Life, Seq: s.Seq, Applied: s.Applied}
}

// onSelf answers alone and ask.
func (n *Node) onSelf(_ context.Context, peerID string, _ []byte) ([]byte, error) {
	return json.Marshal(n.knownOf(peerID))
}

// alone refuses to run as a node that runs already, and learns what the others know of this one. If its process answers where the
// table of members has it, two would vote under one name, and could elect two leaders. A node that was moved finds nobody there,
// or another node.
func (n *Node) alone() error {
	ctx, cancel := context.WithTimeout(n.ctx, introduceWait)
	defer cancel()
	asked := make(chan known, 1)
	go func() { asked <- n.ask(ctx) }()
	at, there := n.tableAddress(n.id), false
	if at != "" && at != n.cfg.Transport.Addr() {
		k, err := readKnown(n.rpc.CallAt(ctx, at, methodSelf, nil))
		there = err == nil && k.Node == n.id
	}
	if n.past = <-asked; there {
		return twin("it answers at " + at)
	}
	return nil
}

// twin is ErrTwin with what it is known by, and what to do.
func twin(by string) error {
	return fmt.Errorf("%w: %s. One of the two data folders is a copy: remove it, and join that machine as a new node with an empty folder", ErrTwin, by)
}

// ask returns the newest that the other nodes know of this one, all asked at once; without a Node if nobody answers.
func (n *Node) ask(ctx context.Context) (newest known) {
	var (
		mu sync.Mutex // guards newest
		wg sync.WaitGroup
	)
	hear := func(out []byte, err error) {
		k, err := readKnown(out, err)
		if err != nil || k.Node == n.id {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if newest.Node == "" || k.newer(newest) {
			newest = k
		}
	}
	for _, id := range n.others() {
		wg.Go(func() { hear(n.rpc.Call(ctx, id, methodSelf, nil)) })
	}
	for _, addr := range n.cfg.Seeds {
		wg.Go(func() { hear(n.rpc.CallAt(ctx, addr, methodSelf, nil)) })
	}
	wg.Wait()
	return newest
}

// readKnown reads an answer.
func readKnown(out []byte, err error) (k known, _ error) {
	if err == nil {
		err = json.Unmarshal(out, &k)
	}
	return k, err
}

// succeeds refuses a data folder that is not the newest of this node, though nothing in it is damaged: one that was restored from
// a backup of the disk, or a copy of one that has run since. It has forgotten votes, and entries that this node has acknowledged; end
// is the last that it has. If the other process runs, this one is not to start; else the vote must go first.
func (n *Node) succeeds(end uint64) error {
	err := n.older(n.past, end)
	if err == nil {
		return nil
	}
	if n.ticks() {
		return twin("the cluster hears it")
	}
	n.estranged = n.past.Epoch
	return err
}

// older is logstore.ErrLost, with the reason, if this data folder is older than what the cluster has heard of this node.
func (n *Node) older(k known, end uint64) error {
	switch {
	case k.Life == n.lives.Own: // what this process itself has told since it started
		return nil
	case k.Life != 0 && !n.lives.Had(k.Life):
		return fmt.Errorf("%w: this data folder is a copy, or was restored: another process has run as this node since", logstore.ErrLost)
	case k.Applied > end:
		return fmt.Errorf("%w: this data folder is a copy, or was restored: it ends at entry %d, and this node has applied entry %d", logstore.ErrLost, end, k.Applied)
	}
	return nil
}

// ticks watches whether the process that the cluster has heard last still says something.
func (n *Node) ticks() bool {
	for until := time.Now().Add(n.cfg.TwinWait); time.Now().Before(until) && n.ctx.Err() == nil; pause(n.ctx, min(twinPause, n.cfg.TwinWait/4)) {
		ctx, cancel := context.WithTimeout(n.ctx, introduceWait)
		now := n.ask(ctx)
		cancel()
		if now.newer(n.past) {
			return true
		}
	}
	return false
}

// Life is the number of this process among those of the node.
func (n *Node) Life() uint64 { return n.lives.Own }

// Had says whether a process of this node that was started from this data folder had the life.
func (n *Node) Had(life uint64) bool { return n.lives.Had(life) }

// Estranged is the last epoch of which a process of this node may have written what this data folder does not have; 0: none.
func (n *Node) Estranged() uint64 { return n.estranged }

// Opened tells that this process has opened an epoch.
func (n *Node) Opened() {
	k := n.knownOf(n.id)
	if k.Epoch == 0 {
		return
	}
	n.opened.CompareAndSwap(0, k.Epoch-1) // if it is another's by now, that one has begun later
	n.fence(k)
}

// fence ends this process once another of the same node has opened an epoch after it. Only one of the two may vote.
func (n *Node) fence(k known) {
	switch last := n.opened.Load(); {
	case k.Life == n.lives.Own:
		n.opened.Store(max(last, k.Epoch))
	case last != 0 && k.Life != 0 && k.Epoch > last && n.fenced.CompareAndSwap(false, true):
		n.cfg.Fatal(twin(fmt.Sprintf("it has begun after this one (epoch %d after %d)", k.Epoch, last)))
	}
}

// askFence asks the others whether another process has taken this one's place: what they send may reach that one alone, so that its
// own state does not tell.
func (n *Node) askFence() {
	ctx, cancel := context.WithTimeout(n.ctx, introduceWait)
	defer cancel()
	n.fence(n.ask(ctx))
}

// firstAnswer waits for the first of the others to answer, if none did before this node started, and only then lets it vote. An old
// data folder that is found now is dealt with by the next start.
func (n *Node) firstAnswer() {
	defer n.trans.HoldVotes(false)
	for n.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(n.ctx, answerWait)
		k := n.ask(ctx)
		cancel()
		if k.Node == "" {
			pause(n.ctx, answerPause)
			continue
		}
		if err := n.older(k, n.start); err != nil && n.fenced.CompareAndSwap(false, true) {
			n.cfg.Fatal(err)
			<-n.ctx.Done() // it does not vote
		}
		return
	}
}
