package consensus

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/time/rate"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/transport"
	"github.com/conclave-llm/conclave/resource"
)

// admission is what a leader remembers of joins: enough to answer a joiner again whose
// first answer was lost, though its token is used.
type admission struct {
	limit *rate.Limiter

	mu     sync.Mutex // guards issued
	issued map[string][sha256.Size]byte
}

// newAdmission allows 5 joins a second.
func newAdmission() *admission {
	return &admission{limit: rate.NewLimiter(5, 20), issued: map[string][sha256.Size]byte{}}
}

// print identifies a request of one joiner: its key and token.
func (r *joinRequest) print() [sha256.Size]byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(r.CSR)))
	b = append(append(b, r.CSR...), r.Secret...)
	return sha256.Sum256(b)
}

// knows says whether this very request was granted before.
func (a *admission) knows(r *joinRequest) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, ok := a.issued[r.Member.ID]
	return ok && p == r.print()
}

// remember notes that the request was granted.
func (a *admission) remember(r *joinRequest) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.issued[r.Member.ID] = r.print()
}

// serveJoins answers join/1 until the node stops.
func (n *Node) serveJoins() {
	l := n.cfg.Transport.Listener(transport.Join)
	n.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n.wg.Go(func() { n.serveJoin(c) })
		}
	})
}

// serveJoin answers one joiner; the transport has set a deadline.
func (n *Node) serveJoin(c net.Conn) {
	defer func() { _ = c.Close() }()
	stop := context.AfterFunc(n.ctx, func() { _ = c.Close() })
	defer stop()
	b, err := readBlock(c)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(n.ctx, joinAttempt)
	defer cancel()
	out, err := n.routeJoin(ctx, b)
	if err != nil {
		out, _ = json.Marshal(joinAnswer{Code: resource.Code(err), Text: err.Error()})
	}
	_ = writeBlock(c, out)
}

// routeJoin admits here or asks the leader, once.
func (n *Node) routeJoin(ctx context.Context, b []byte) ([]byte, error) {
	if !n.admission.limit.Allow() {
		return nil, errors.New("too many joins at once: try again")
	}
	if n.IsLeader() {
		return n.onJoin(ctx, n.id, b)
	}
	id, _, ok := n.Leader()
	if !ok || id == n.id {
		return nil, resource.ErrNoLeader
	}
	return n.rpc.Call(ctx, id, methodJoin, b)
}

// onJoin answers a join on the leader. What the joiner did wrong is in the answer; an error
// is for it to try again.
func (n *Node) onJoin(ctx context.Context, _ string, b []byte) ([]byte, error) {
	if !n.IsLeader() {
		return nil, resource.ErrNoLeader
	}
	var req joinRequest
	if err := json.Unmarshal(b, &req); err != nil {
		return nil, fmt.Errorf("read join: %w: %w", resource.ErrRefused, err)
	}
	a, err := n.admit(ctx, &req)
	if err != nil {
		n.log.Warn("refused a join", "node", req.Member.ID, "name", req.Member.Name, "address", req.Member.Address, "error", err)
		a = refusal(err)
	} else {
		n.log.Info("admitted a node", "node", req.Member.ID, "name", req.Member.Name, "address", req.Member.Address)
	}
	return json.Marshal(a)
}

// refusal says whether it is worth trying again.
func refusal(err error) *joinAnswer {
	a := &joinAnswer{Code: resource.Code(err), Text: err.Error()}
	if errors.Is(err, ErrMasterKey) {
		a.Code = codeMasterKey
	}
	switch a.Code {
	case "", "no_leader":
	default:
		a.Permanent = true
	}
	return a
}

// admit checks the token and the master key, registers the member, signs its certificate
// and adds it to Raft's configuration as a non-voter.
func (n *Node) admit(ctx context.Context, req *joinRequest) (*joinAnswer, error) {
	info, ok := n.fsm.Cluster()
	if !ok {
		return nil, resource.ErrNoLeader
	}
	if !n.admission.knows(req) {
		if err := n.mayJoin(&info, req); err != nil {
			return nil, err
		}
		_, err := n.Propose(ctx, n.self(), "", fsm.RegisterMember{Member: req.Member, Token: hashToken(req.Secret)})
		if err != nil {
			return nil, err
		}
		n.admission.remember(req)
	}
	key, err := n.cfg.Keeper.Unwrap(info.CAKey, purposeCA)
	if err != nil {
		return nil, err
	}
	ca, err := transport.ParseCA(info.CACert, key)
	if err != nil {
		return nil, err
	}
	cert, err := ca.Sign(req.CSR, req.Member.ID, time.Now())
	if err != nil {
		return nil, err
	}
	err = waitFuture(ctx, n.raft.AddNonvoter(raft.ServerID(req.Member.ID), raft.ServerAddress(req.Member.Address), 0, changeTimeout))
	if err != nil {
		return nil, fmt.Errorf("add node %s: %w", req.Member.ID, err)
	}
	a := &joinAnswer{
		ClusterID: info.ClusterID, Cert: cert, CA: info.CACert, KEK: n.cfg.Keeper.Bytes(),
		Sealed: transport.Sealed{CAKey: info.CAKey, GossipKey: info.GossipKey},
	}
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		a.Peers = append(a.Peers, Server{ID: string(s.ID), Address: string(s.Address)})
	}
	return a, nil
}

// mayJoin checks a joiner that is new.
func (n *Node) mayJoin(info *fsm.ClusterInfo, req *joinRequest) error {
	expires, ok := n.fsm.JoinToken(hashToken(req.Secret))
	if !ok {
		return fmt.Errorf("join token is unknown or used: %w", resource.ErrForbidden)
	}
	if expires <= resource.At(time.Now()) {
		return fmt.Errorf("join token: %w", resource.ErrExpired)
	}
	if req.MasterHash != info.MasterHash && req.MasterHash != (resource.Hash{}) {
		return ErrMasterKey
	}
	if _, ok := n.fsm.Member(req.Member.ID); ok { // its id is not for a newcomer to take
		return fmt.Errorf("node id %s: %w", req.Member.ID, resource.ErrExists)
	}
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if string(s.Address) == req.Member.Address {
			return fmt.Errorf("address %s belongs to node %s; remove that first: %w", s.Address, s.ID, resource.ErrExists)
		}
	}
	return nil
}

// writeBlock writes a u32 length and b.
func writeBlock(w io.Writer, b []byte) error {
	if len(b) > maxJoinFrame {
		return fmt.Errorf("message of %d bytes is over the limit", len(b))
	}
	_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}

// readBlock reads what writeBlock wrote.
func readBlock(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxJoinFrame {
		return nil, fmt.Errorf("message of %d bytes is over the limit", n)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}
