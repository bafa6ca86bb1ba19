package consensus

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/transport"
	"github.com/conclave-llm/conclave/resource"
)

const (
	joinTimeout  = 120 * time.Second // of all tries
	joinAttempt  = 15 * time.Second  // of one
	maxJoinFrame = 256 << 10
)

// Reasons why a join will never work as it was asked; the process should exit with 78.
var (
	// ErrJoinRefused says that the cluster does not want the node: the token is unknown,
	// used or expired, the name or the address is taken.
	ErrJoinRefused = errors.New("the cluster refuses the join")
	// ErrMasterKey says that the node is configured with another master key.
	ErrMasterKey = fmt.Errorf("%w: the master key is not the cluster's", ErrJoinRefused)
)

// JoinConfig says whom to ask and who asks.
type JoinConfig struct {
	Addrs      []string // cluster ports of some nodes
	Token      string
	Name       string
	Address    string // of this node's cluster port, as the others will reach it
	ClientURL  string
	Version    string
	FSMVersion uint32        // 0: fsm.Version
	MasterHash resource.Hash // of the configured master key; zero: not compared
	Timeout    time.Duration // 0: 120 s
	Logger     *slog.Logger  // nil: discard
}

// Joined is what a node needs to start as a member. Save Identity and the KEK in the data
// folder before the node is started.
type Joined struct {
	Identity *transport.Identity
	KEK      []byte
	Peers    []Server
}

// joinRequest is what a joiner sends over join/1: JSON behind a u32 length. The connection
// is to a server of the CA that the token pins, so the token's secret goes to the cluster
// and nobody else.
type joinRequest struct {
	Member     resource.Member `json:"member"`
	CSR        []byte          `json:"csr"`
	Secret     []byte          `json:"secret"`
	MasterHash resource.Hash   `json:"master_hash"`
}

// joinAnswer is what it gets.
type joinAnswer struct {
	Code      string           `json:"code,omitempty"` // of an error, see refusals
	Text      string           `json:"text,omitempty"`
	Permanent bool             `json:"permanent,omitempty"`
	ClusterID string           `json:"cluster_id,omitempty"`
	Cert      []byte           `json:"cert,omitempty"`
	CA        []byte           `json:"ca,omitempty"`
	Sealed    transport.Sealed `json:"sealed"`
	KEK       []byte           `json:"kek,omitempty"`
	Peers     []Server         `json:"peers,omitempty"`
}

// codeMasterKey names ErrMasterKey on the wire.
const codeMasterKey = "master_key"

// Join asks the nodes in turn for a place in their cluster, until one answers, with the
// same node id each time. ErrJoinRefused and ErrToken are final.
func Join(ctx context.Context, cfg JoinConfig) (*Joined, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = joinTimeout
	}
	tok, err := parseToken(cfg.Token)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJoinRefused, err)
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
			j, err := joinAt(ctx, addr, tok, key, req)
			if err == nil {
				return j, nil
			}
			if errors.Is(err, ErrJoinRefused) {
				return nil, err
			}
			cfg.Logger.Warn("join", "address", addr, "error", err)
			last = err
		}
		if pause(ctx, 500*time.Millisecond+mrand.N(time.Second)); ctx.Err() != nil { //nolint:gosec // jitter
			return nil, fmt.Errorf("join: %w: %w", ctx.Err(), last)
		}
	}
}

// request makes the node's id and key.
func (c *JoinConfig) request(tok joinToken) (*ecdsa.PrivateKey, *joinRequest, error) {
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
		ClientURL: c.ClientURL, Version: c.Version, FSMVersion: c.FSMVersion,
	}
	if m.FSMVersion == 0 {
		m.FSMVersion = fsm.Version
	}
	return key, &joinRequest{Member: m, CSR: csr, Secret: tok.secret[:], MasterHash: c.MasterHash}, nil
}

// joinAt asks one node.
func joinAt(ctx context.Context, addr string, tok joinToken, key *ecdsa.PrivateKey, req *joinRequest) (*Joined, error) {
	ctx, cancel := context.WithTimeout(ctx, joinAttempt)
	defer cancel()
	c, err := transport.DialJoin(ctx, addr, tok.pin[:])
	if errors.Is(err, transport.ErrPin) {
		return nil, fmt.Errorf("%w: %w", ErrJoinRefused, err)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if err := writeJSON(c, req); err != nil {
		return nil, fmt.Errorf("ask to join: %w", err)
	}
	var a joinAnswer
	if err := readJSON(c, &a); err != nil {
		return nil, fmt.Errorf("read answer to join: %w", err)
	}
	return a.joined(tok, key, req.Member.ID)
}

// joined checks the answer against the token.
func (a *joinAnswer) joined(tok joinToken, key *ecdsa.PrivateKey, nodeID string) (*Joined, error) {
	switch {
	case a.Code == codeMasterKey:
		return nil, ErrMasterKey
	case a.Permanent:
		return nil, fmt.Errorf("%w: %s", ErrJoinRefused, a.Text)
	case a.Code != "" || a.Text != "":
		return nil, fmt.Errorf("join: %w", resource.FromCode(a.Code, a.Text))
	case !tok.belongs(a.ClusterID) || !bytes.Equal(transport.Pin(a.CA), tok.pin[:]):
		return nil, fmt.Errorf("%w: the token is for another cluster", ErrJoinRefused)
	}
	id, err := transport.NewIdentity(nodeID, a.ClusterID, key, a.Cert, a.CA, a.Sealed)
	if err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	return &Joined{Identity: id, KEK: a.KEK, Peers: a.Peers}, nil
}

// writeJSON writes a u32 length and v.
func writeJSON(c net.Conn, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeBlock(c, b)
}

// readJSON reads what writeJSON wrote.
func readJSON(c net.Conn, v any) error {
	b, err := readBlock(c)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}
