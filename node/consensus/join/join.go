package join

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/transport"
	"github.com/conclave-llm/conclave/resource"
)

const (
	timeout = 120 * time.Second // of all tries
	attempt = 15 * time.Second  // of one
)

// Reasons why a join will never work as it was asked; the process should exit with 78.
var (
	// ErrRefused says that the cluster does not want the node: the token is unknown,
	// used or expired, the name or the address is taken.
	ErrRefused = errors.New("the cluster refuses the join")
	// ErrMasterKey says that the node is configured with another master key.
	ErrMasterKey = fmt.Errorf("%w: the master key is not the cluster's", ErrRefused)
)

// Config says whom to ask and who asks.
type Config struct {
	Addrs      []string // cluster ports of some nodes
	Token      string
	Name       string
	Address    string // of this node's cluster port, as the others will reach it
	ClientURL  string
	Version    string
	FSMVersion uint32        // 0: fsm.Version
	FSMOldest  uint32        // 0: 1
	Role       string        // resource.MemberFull or MemberRead
	MasterHash resource.Hash // of the configured master key; zero: not compared
	Timeout    time.Duration // 0: 120 s
	Logger     *slog.Logger  // nil: discard
}

// Place is what a node needs to start as a member. Save Identity and the KEK in the data
// folder before the node is started.
type Place struct {
	Identity *transport.Identity
	KEK      []byte
}

// Ask asks the nodes in turn for a place in their cluster, until one answers, with the
// same node id each time. ErrRefused and ErrToken are final.
func Ask(ctx context.Context, cfg Config) (*Place, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = timeout
	}
	tok, err := ParseToken(cfg.Token)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	key, req, err := cfg.request(tok)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	last := errors.New("no address to join is given")
	for {
		for _, addr := range cfg.Addrs {
			j, err := askAt(ctx, addr, tok, key, req)
			if err == nil {
				return j, nil
			}
			if errors.Is(err, ErrRefused) {
				return nil, err
			}
			cfg.Logger.Warn("join", "address", addr, "error", err)
			last = err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("join: %w: %w", ctx.Err(), last)
		case <-time.After(500*time.Millisecond + rand.N(time.Second)): //nolint:gosec // jitter
		}
	}
}

// request makes the node's id and key.
func (c *Config) request(tok Token) (*ecdsa.PrivateKey, *request, error) {
	nodeID, err := transport.NewNodeID()
	if err != nil {
		return nil, nil, err
	}
	key, err := transport.NewKey()
	if err != nil {
		return nil, nil, err
	}
	csr, err := transport.NewRequest(key, nodeID)
	if err != nil {
		return nil, nil, err
	}
	m := resource.Member{
		Meta: resource.Meta{ID: nodeID}, Name: c.Name, Address: c.Address,
		ClientURL: c.ClientURL, Version: c.Version, FSMVersion: c.FSMVersion, FSMOldest: c.FSMOldest, Role: c.Role,
	}
	if m.FSMVersion == 0 {
		m.FSMVersion = fsm.Version
	}
	return key, &request{Member: m, CSR: csr, Secret: tok.secret[:], MasterHash: c.MasterHash}, nil
}

// askAt asks one node.
func askAt(ctx context.Context, addr string, tok Token, key *ecdsa.PrivateKey, req *request) (*Place, error) {
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	c, err := transport.DialJoin(ctx, addr, tok.pin[:])
	if errors.Is(err, transport.ErrPin) {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }() // the answer is read by then
	deadline, _ := ctx.Deadline()    // there is one: attempt
	if err := c.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if err := writeJSON(c, req); err != nil {
		return nil, fmt.Errorf("ask to join: %w", err)
	}
	var a answer
	if err := readJSON(c, &a); err != nil {
		return nil, fmt.Errorf("read answer to join: %w", err)
	}
	return a.place(tok, key, req.Member.ID)
}

// place checks the answer against the token.
func (a *answer) place(tok Token, key *ecdsa.PrivateKey, nodeID string) (*Place, error) {
	switch {
	case a.Code == codeMasterKey:
		return nil, ErrMasterKey
	case a.Permanent:
		return nil, fmt.Errorf("%w: %s", ErrRefused, a.Text)
	case a.Code != "" || a.Text != "":
		return nil, fmt.Errorf("join: %w", resource.FromCode(a.Code, a.Text))
	case !tok.belongs(a.ClusterID) || !a.pinned(tok):
		return nil, fmt.Errorf("%w: the token is for another cluster", ErrRefused)
	}
	id, err := transport.NewIdentity(nodeID, a.ClusterID, key, a.Cert, a.CA, a.Sealed)
	if err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	if err := id.Trust(a.Trusted); err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	return &Place{Identity: id, KEK: a.KEK}, nil
}

// pinned says whether the token pins the CA, or the one that is being exchanged for it.
func (a *answer) pinned(tok Token) bool {
	return slices.ContainsFunc(append([][]byte{a.CA}, a.Trusted...), func(ca []byte) bool { return bytes.Equal(transport.Pin(ca), tok.pin[:]) })
}
