package consensus

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"time"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/consensus/intake"
	"github.com/conclave-llm/conclave/node/transport"
	"github.com/conclave-llm/conclave/resource"
)

const (
	maxUnknown     = 3               // further tries after an unknown outcome
	enqueueTimeout = 2 * time.Second // until the leader's queue takes an entry
	tryTimeout     = 5 * time.Second // of one try, while nothing is applied here
	largeEntry     = 64 << 10        // bytes of an entry that is refused while the leader's disk is nearly full
	batchTimeout   = 4 * tryTimeout  // of one try of a large entry, or while one is being applied
	patience       = time.Minute     // of one try, while the same leader goes on and entries are applied
	localWait      = 5 * time.Second // until this node has applied what the leader has
)

// The methods of the consensus itself.
const (
	methodPropose  = "raft/propose"
	methodIndex    = "raft/index"
	methodApplied  = "raft/applied"
	methodStatus   = "raft/status"
	methodTransfer = "raft/transfer"
	methodJoin     = "raft/join"
	methodHash     = "raft/hash"
	methodMarks    = "raft/marks"
	methodRepair   = "raft/repair"
	methodReseat   = "raft/reseat"

	methodIntroduce = "raft/introduce"
)

// outcome is what is known of a try.
type outcome uint8

const (
	notDone outcome = iota // surely not in the log
	unknown                // perhaps
	done                   // applied, or refused by Apply
)

// Propose has the cluster apply a command and waits until this node has applied it too. A
// node that does not lead forwards it, once. Without a leader it tries for 5 s (see hold) and returns
// resource.ErrNoLeader; resource.ErrBusy says that the leader takes no more of its class now. A try whose outcome is unknown is made again under the same command
// id, which Apply knows: the command is never done twice. Refusals of Apply come back as
// the sentinels of package resource.
func (n *Node) Propose(ctx context.Context, by fsm.Actor, requestID string, cmd fsm.Command) (fsm.Result, error) {
	if err := n.known(ctx, cmd); err != nil {
		n.metrics.proposals.WithLabelValues("refused").Inc()
		return fsm.Result{}, err
	}
	env := fsm.Envelope{Actor: by, RequestID: requestID, ReadIndex: n.fsm.Applied()}
	if _, err := rand.Read(env.CommandID[:]); err != nil {
		return fsm.Result{}, fmt.Errorf("make command id: %w", err)
	}
	res, err := n.submit(ctx, env, cmd)
	switch {
	case err == nil:
		n.metrics.proposals.WithLabelValues("ok").Inc()
	case errors.Is(err, resource.ErrNoLeader):
		n.metrics.proposals.WithLabelValues("no_leader").Inc()
		return res, err
	case errors.Is(err, resource.ErrBusy):
		n.metrics.proposals.WithLabelValues("overloaded").Inc()
		return res, err
	default:
		n.metrics.proposals.WithLabelValues("refused").Inc()
		return res, err
	}
	wait, cancel := context.WithTimeout(ctx, localWait)
	defer cancel()
	if err := n.fsm.WaitApplied(wait, res.Index); err != nil {
		n.log.Warn("applied by the leader, not yet here", "index", res.Index, "applied", n.fsm.Applied())
	}
	return res, nil
}

// known refuses a command that waits for a version which the cluster does not have: in the log it
// would stop every member whose program does not know it. The version may have been raised a
// moment ago, so this node catches up with the leader before it refuses.
func (n *Node) known(ctx context.Context, cmd fsm.Command) error {
	need := fsm.Needs(cmd)
	if need <= n.fsm.FSMVersion() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, localWait)
	defer cancel()
	if _, err := n.LeaderIndex(ctx); err != nil {
		return fmt.Errorf("%w: %w", resource.ErrNoLeader, err)
	}
	return n.gateVersion(need)
}

// gateVersion refuses what asks for more than the cluster's version.
func (n *Node) gateVersion(need uint32) error {
	if v := n.fsm.FSMVersion(); need > v {
		return fmt.Errorf("this waits until the cluster's version is raised from %d to %d, when every node runs a program that knows that one (conclave cluster upgrade finalise): %w", v, need, resource.ErrRefused)
	}
	return nil
}

// submit tries until the outcome is known or time is up. Each try has the time at which it
// is made.
func (n *Node) submit(ctx context.Context, env fsm.Envelope, cmd fsm.Command) (fsm.Result, error) {
	start := time.Now()
	unknowns := 0
	for try := 0; ; try++ {
		env.At = resource.At(n.cfg.Now())
		data, err := fsm.Draft(env, cmd)
		if err != nil {
			return fsm.Result{}, err
		}
		res, out, err := n.try(ctx, data, env.At, intake.ClassOf(cmd, len(data)))
		if out == done {
			return res, err
		}
		if out == unknown {
			unknowns++
		}
		if ctx.Err() != nil || n.ctx.Err() != nil || unknowns > maxUnknown || time.Since(start) > n.hold() {
			return fsm.Result{}, giveUp(unknowns > 0, err)
		}
		n.metrics.retries.Inc()
		pause(ctx, backoff(try))
	}
}

// hold is how long a leader is waited for: 5 s with Raft's own time-outs, and more than two rounds of an election with longer
// ones.
func (n *Node) hold() time.Duration {
	return 3*time.Second + time.Duration(n.cfg.Multiplier)*4*heartbeat
}

// giveUp says whether the command may have been done.
func giveUp(maybe bool, err error) error {
	if maybe {
		return fmt.Errorf("%w: the command may have been done: %w", resource.ErrNoLeader, err)
	}
	return fmt.Errorf("%w: %w", resource.ErrNoLeader, err)
}

// backoff is 10 to 20 ms, doubled with each try up to 160 to 320.
func backoff(try int) time.Duration {
	d := 10 * time.Millisecond << min(try, 4)
	return d + mrand.N(d) //nolint:gosec // jitter
}

// try applies here or forwards to the leader.
func (n *Node) try(ctx context.Context, data []byte, at resource.Time, class intake.Class) (fsm.Result, outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	go n.whileItGoesOn(ctx, cancel, len(data) > largeEntry) // ends with the try
	if n.IsLeader() {
		if err := n.clocks.Judge(n.id, at); err != nil {
			n.wake() // to hand over
			return fsm.Result{}, notDone, err
		}
		defer context.AfterFunc(n.ctx, cancel)()
		e, err := fsm.Read(data)
		if err != nil {
			return fsm.Result{}, done, err
		}
		return n.apply(ctx, data, e, class)
	}
	id, _, ok := n.Leader()
	if !ok || id == n.id {
		return fsm.Result{}, notDone, errors.New("no leader is known")
	}
	n.metrics.forwards.Inc()
	out, err := n.rpc.Call(ctx, id, methodPropose, data)
	switch {
	case errors.Is(err, transport.ErrUnreachable), errors.Is(err, resource.ErrNoLeader):
		return fsm.Result{}, notDone, err
	case errors.Is(err, transport.ErrUnknown):
		return fsm.Result{}, unknown, err
	case err != nil:
		return fsm.Result{}, done, err
	}
	var res fsm.Result
	if err := json.Unmarshal(out, &res); err != nil {
		return res, done, fmt.Errorf("read the leader's answer: %w", err)
	}
	return res, done, nil
}

// whileItGoesOn ends a try once nothing was applied here for as long as a try may take, or
// another leads. While entries are applied, the one that is tried is in the queue behind them: to
// give up would be to fail a command that is done soon after, just because there are many. A large
// one has the time of a batch: while the leader applies it, nothing is applied here.
func (n *Node) whileItGoesOn(ctx context.Context, end func(), large bool) {
	const step = time.Second
	tick := time.NewTicker(step)
	defer tick.Stop()
	leader, _, _ := n.Leader()
	applied, still := n.fsm.Applied(), time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		still += step
		if now := n.fsm.Applied(); now != applied {
			applied, still = now, 0
		}
		limit := tryTimeout
		if large || n.machine.Working() { // ten thousand records may be one entry
			limit = batchTimeout
		}
		if now, _, _ := n.Leader(); still >= limit || now != leader {
			end()
			return
		}
	}
}

// hasRoom refuses a large entry while this leader's disk is nearly full.
func (n *Node) hasRoom(data []byte) error {
	if len(data) <= largeEntry {
		return nil
	}
	if l := n.cfg.Describe(); l.DiskLow {
		return fmt.Errorf("the leader has %d MiB left, and the change has %d KiB: %w", l.DiskFree>>20, len(data)>>10, resource.ErrDiskFull)
	}
	return nil
}

// apply appends an entry, which was read, to this leader's log, when its class has room, and waits until
// it is applied.
func (n *Node) apply(ctx context.Context, data []byte, e *fsm.Entry, class intake.Class) (fsm.Result, outcome, error) {
	if n.installing.Load() {
		return fsm.Result{}, notDone, errInstalling
	}
	if err := n.hasRoom(data); err != nil {
		return fsm.Result{}, done, err
	}
	release, out, err := n.guardQuorum(ctx, e.Command)
	if err != nil {
		return fsm.Result{}, out, err
	}
	defer release()
	leave, err := n.intake.Enter(ctx, class, len(data))
	switch {
	case errors.Is(err, resource.ErrBusy):
		return fsm.Result{}, done, err
	case err != nil:
		return fsm.Result{}, notDone, err
	}
	defer leave()
	defer n.fsm.Expect(e)()
	f := n.raft.Apply(poisoned(data), enqueueTimeout)
	err = waitFuture(ctx, f)
	switch {
	case err == nil:
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress), errors.Is(err, raft.ErrEnqueueTimeout):
		return fsm.Result{}, notDone, err
	default: // an error is not a refusal: the entry may be in the log
		return fsm.Result{}, unknown, err
	}
	a, ok := f.Response().(fsm.Applied)
	if !ok {
		return fsm.Result{}, unknown, fmt.Errorf("state machine answered %T", f.Response())
	}
	return a.Result, done, a.Err
}

// onPropose applies what another node forwarded. It never forwards again. What does not
// decode is refused here: in the log it would stop every node.
func (n *Node) onPropose(ctx context.Context, peerID string, body []byte) ([]byte, error) {
	e, err := fsm.Read(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", resource.ErrRefused, err)
	}
	if e.Actor.Kind == actorNode && e.Actor.ID != peerID {
		return nil, fmt.Errorf("node %s proposes for node %s: %w", peerID, e.Actor.ID, resource.ErrForbidden)
	}
	if !n.IsLeader() {
		return nil, resource.ErrNoLeader
	}
	if err := n.gateVersion(max(e.FSMVersion, fsm.Needs(e.Command))); err != nil {
		return nil, err
	}
	if err := n.clocks.Judge(peerID, e.At); err != nil {
		return nil, fmt.Errorf("%w: %w", resource.ErrNoLeader, err)
	}
	res, out, err := n.apply(ctx, body, e, intake.ClassOf(e.Command, len(body)))
	switch {
	case out == notDone:
		return nil, fmt.Errorf("%w: %w", resource.ErrNoLeader, err)
	case out == unknown:
		return nil, fmt.Errorf("%w: %w", transport.ErrUnknown, err)
	case err != nil:
		return nil, err
	}
	return json.Marshal(res)
}

// actorNode is the kind of actor that a node itself is.
const actorNode = "node"

// self is this node as an actor.
func (n *Node) self() fsm.Actor { return fsm.Actor{Kind: actorNode, ID: n.id} }

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
