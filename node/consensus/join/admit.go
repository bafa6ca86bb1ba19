package join

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/node/transport"
	"github.com/conclave-llm/conclave/resource"
)

// Cluster is the consensus of the node that newcomers ask.
type Cluster interface {
	// IsLeader says whether this node leads.
	IsLeader() bool
	// AskLeader brings a question to the leader's Answer; resource.ErrNoLeader if there is none.
	AskLeader(ctx context.Context, question []byte) ([]byte, error)
	// Register has the cluster know the member from now on, and uses the token up.
	Register(ctx context.Context, m resource.Member, token resource.Hash) error
	// AddServer adds a node to Raft's configuration, without a vote, once whoever had its
	// address is out of it.
	AddServer(ctx context.Context, id, address string) error
	// ServerAt finds the node of Raft's configuration that has an address.
	ServerAt(address string) (id string, ok bool)
}

// AdmitterConfig is what NewAdmitter needs; all of it.
type AdmitterConfig struct {
	Cluster Cluster
	State   *fsm.FSM
	KEK     func() []byte                       // for those who join
	CAKey   func(sealed []byte) ([]byte, error) // opens the sealed key of the CA
	Logger  *slog.Logger
}

// Admitter answers newcomers: on the leader it admits them, elsewhere it asks the leader. A
// leader remembers enough of who had a good token to answer a joiner again whose first answer
// was lost, though its token is used; one that leads no more vouches for it.
type Admitter struct {
	cfg   AdmitterConfig
	asked *sources

	mu     sync.Mutex                   // guards issued
	issued map[string][sha256.Size]byte // by node id: what asked with a good token
}

// NewAdmitter makes an admitter that answers each address 5 times a second.
func NewAdmitter(cfg AdmitterConfig) *Admitter {
	return &Admitter{cfg: cfg, asked: newSources(), issued: map[string][sha256.Size]byte{}}
}

// Serve answers newcomers until l is closed, and waits for the answers under way, which ctx
// ends.
func (a *Admitter) Serve(ctx context.Context, l net.Listener) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		wg.Go(func() { a.serve(ctx, c) })
	}
}

// serve answers one newcomer; the transport has set a deadline. One that went away meanwhile
// asks again.
func (a *Admitter) serve(ctx context.Context, c net.Conn) {
	defer func() { _ = c.Close() }()                         // all was written, or nobody reads it
	defer context.AfterFunc(ctx, func() { _ = c.Close() })() // to end the reads and writes below
	question, err := readBlock(c)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	out, err := a.route(ctx, c.RemoteAddr(), question)
	if err != nil {
		out, err = json.Marshal(answer{Code: resource.Code(err), Text: err.Error()})
	}
	if err == nil {
		err = writeBlock(c, out)
	}
	if err != nil {
		a.cfg.Logger.Debug("answer a join", "error", err)
	}
}

// route admits here or asks the leader, once.
func (a *Admitter) route(ctx context.Context, from net.Addr, question []byte) ([]byte, error) {
	if !a.asked.allow(from) {
		return nil, errors.New("too many joins at once: try again")
	}
	if out, ok := a.standing(question); ok {
		return out, nil
	}
	req, err := readRequest(question)
	if err != nil {
		return nil, err
	}
	req.Vouched = a.knows(req)
	if a.cfg.Cluster.IsLeader() {
		return a.answer(ctx, req)
	}
	if question, err = json.Marshal(req); err != nil { //nolint:gosec // to the leader, over the cluster's own connection
		return nil, err
	}
	return a.cfg.Cluster.AskLeader(ctx, question)
}

func readRequest(question []byte) (*request, error) {
	var req request
	if err := json.Unmarshal(question, &req); err != nil {
		return nil, fmt.Errorf("read join: %w: %w", resource.ErrRefused, err)
	}
	return &req, nil
}

// Answer answers a question that a member brings to the leader; elsewhere it returns resource.ErrNoLeader. What
// the newcomer did wrong is in the answer; an error is for it to try again.
func (a *Admitter) Answer(ctx context.Context, question []byte) ([]byte, error) {
	if !a.cfg.Cluster.IsLeader() {
		return nil, resource.ErrNoLeader
	}
	req, err := readRequest(question)
	if err != nil {
		return nil, err
	}
	return a.answer(ctx, req)
}

func (a *Admitter) answer(ctx context.Context, req *request) ([]byte, error) {
	log := a.cfg.Logger.With("node", req.Member.ID, "name", req.Member.Name, "address", req.Member.Address)
	out, err := a.admit(ctx, req)
	if err != nil {
		log.Warn("refused a join", "error", err)
		out = refusal(err)
	} else {
		log.Info("admitted a node")
	}
	return json.Marshal(out)
}

// refusal says whether it is worth trying again.
func refusal(err error) *answer {
	out := &answer{Code: resource.Code(err), Text: err.Error()}
	if errors.Is(err, ErrMasterKey) {
		out.Code = codeMasterKey
	}
	switch out.Code {
	case "", "no_leader", "overloaded", "quorum": // a node that is down may come back
	default:
		out.Permanent = true
	}
	return out
}

// admit checks the token and the master key, registers the member, signs its certificate
// and adds it to Raft's configuration as a non-voter.
func (a *Admitter) admit(ctx context.Context, req *request) (*answer, error) {
	info, ok := a.cfg.State.Cluster()
	if !ok {
		return nil, resource.ErrNoLeader
	}
	if err := a.register(ctx, &info, req); err != nil {
		return nil, err
	}
	key, err := a.cfg.CAKey(info.CAKey)
	if err != nil {
		return nil, err
	}
	ca, err := transport.ParseCA(info.CACert, key)
	if err != nil {
		return nil, err
	}
	cert, err := ca.Sign(req.CSR, req.Member.ID, clock.Now())
	if err != nil {
		return nil, err
	}
	if err := a.cfg.Cluster.AddServer(ctx, req.Member.ID, req.Member.Address); err != nil {
		return nil, fmt.Errorf("add node %s: %w", req.Member.ID, err)
	}
	return &answer{
		ClusterID: info.ClusterID, Cert: cert, CA: info.CACert, KEK: a.cfg.KEK(), Trusted: info.Trusted()[1:],
		Sealed: transport.Sealed{CAKey: info.CAKey, GossipKey: info.GossipKey},
	}, nil
}

// register makes a newcomer a member. One that may have asked before, with the outcome lost
// on its way to this leader or back, is a member already, unless it has been removed since.
func (a *Admitter) register(ctx context.Context, info *fsm.ClusterInfo, req *request) error {
	if m, ok := a.cfg.State.Member(req.Member.ID); ok && (req.Vouched || a.knows(req)) {
		if m.Removed {
			return fmt.Errorf("node %s was removed: %w", req.Member.ID, resource.ErrDead)
		}
		return nil
	}
	if err := a.mayJoin(info, req); err != nil {
		return err
	}
	a.remember(req) // before the outcome, which may stay unknown
	return a.cfg.Cluster.Register(ctx, req.Member, hashSecret(req.Secret))
}

// mayJoin checks a newcomer.
func (a *Admitter) mayJoin(info *fsm.ClusterInfo, req *request) error {
	tok, ok := a.cfg.State.JoinToken(hashSecret(req.Secret))
	if !ok {
		return fmt.Errorf("join token is unknown, used or revoked: %w", resource.ErrForbidden)
	}
	if tok.Expires <= resource.At(clock.Now()) {
		return fmt.Errorf("join token: %w", resource.ErrExpired)
	}
	if req.MasterHash != info.MasterHash && req.MasterHash != (resource.Hash{}) {
		return ErrMasterKey
	}
	if _, ok := a.cfg.State.Member(req.Member.ID); ok { // its id is not for a newcomer to take
		return fmt.Errorf("node id %s: %w", req.Member.ID, resource.ErrExists)
	}
	if v := a.cfg.State.FSMVersion(); !req.Member.Runs(v) {
		return fmt.Errorf("this program runs the versions %s of the state machine, and the cluster has version %d: %w", req.Member.Range(), v, resource.ErrRefused)
	}
	if id, ok := a.cfg.Cluster.ServerAt(req.Member.Address); ok && id != tok.Replaces {
		return fmt.Errorf("address %s belongs to node %s; remove that first: %w", req.Member.Address, id, resource.ErrExists)
	}
	return nil
}

// knows says whether this very request had a good token before.
func (a *Admitter) knows(r *request) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, ok := a.issued[r.Member.ID]
	return ok && p == r.print()
}

// remember notes that the request has a good token.
func (a *Admitter) remember(r *request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.issued[r.Member.ID] = r.print()
}
