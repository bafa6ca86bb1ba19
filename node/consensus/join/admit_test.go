package join

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/transport"
	"github.com/conclave-llm/conclave/resource"
)

// cluster is a leader alone with a real state machine.
type cluster struct {
	t       *testing.T
	state   *fsm.FSM
	index   uint64
	follows bool
	lost    bool // outcomes of registrations stay unknown
	servers map[string]string
	next    *Admitter // of the leader, if this one follows
}

func (c *cluster) IsLeader() bool { return !c.follows }

func (c *cluster) AskLeader(ctx context.Context, question []byte) ([]byte, error) {
	if c.next == nil {
		return nil, resource.ErrNoLeader
	}
	return c.next.Answer(ctx, question)
}

func (c *cluster) Register(_ context.Context, m resource.Member, token resource.Hash) error {
	err := c.apply(fsm.RegisterMember{Member: m, Token: token})
	if c.lost {
		return resource.ErrNoLeader
	}
	return err
}

func (c *cluster) AddServer(_ context.Context, id, address string) error {
	if c.lost {
		return resource.ErrNoLeader
	}
	c.servers[address] = id
	return nil
}

func (c *cluster) ServerAt(address string) (string, bool) {
	id, ok := c.servers[address]
	return id, ok
}

// apply applies a command, of an hour ago, and returns its refusal.
func (c *cluster) apply(cmd fsm.Command) error {
	c.t.Helper()
	c.index++
	b, err := fsm.Encode(fsm.Envelope{At: resource.At(time.Now().Add(-time.Hour)), Actor: fsm.Actor{Kind: "master"}, ReadIndex: c.index}, cmd)
	if err != nil {
		c.t.Fatal(err)
	}
	a, ok := c.state.Apply(&raft.Log{Index: c.index, Term: 1, Type: raft.LogCommand, Data: b}).(fsm.Applied)
	if !ok {
		c.t.Fatalf("applied %T", a)
	}
	return a.Err
}

// token makes a token that ends after d.
func (c *cluster) token(d time.Duration) Token {
	c.t.Helper()
	info, _ := c.state.Cluster()
	tok, err := NewToken(info.ClusterID, info.CACert)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.apply(fsm.PutJoinToken{Hash: tok.Hash(), Expires: resource.At(time.Now().Add(d))}); err != nil {
		c.t.Fatal(err)
	}
	return tok
}

// newCluster makes a cluster whose keys are not sealed, and its admitter.
func newCluster(t *testing.T) (*cluster, *Admitter) {
	t.Helper()
	id, err1 := transport.NewClusterID()
	ca, err2 := transport.NewCA(id)
	state, err3 := fsm.Open(fsm.Config{Dir: t.TempDir(), NodeID: "leader"})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := state.Close(); err != nil {
			t.Error(err)
		}
	})
	key, err := ca.Key()
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, state: state, servers: map[string]string{"127.0.0.1:1": "leader"}}
	if err := c.apply(fsm.Bootstrap{ClusterID: id, MasterHash: resource.HashSecret("m"), CACert: ca.Certificate(), CAKey: key, GossipKey: []byte("g"), DEKID: "d", DEK: []byte("d"), KEKID: "k"}); err != nil {
		t.Fatal(err)
	}
	return c, NewAdmitter(AdmitterConfig{
		Cluster: c, State: state, KEK: func() []byte { return []byte("kek") }, Logger: slog.New(slog.DiscardHandler),
		CAKey: func(sealed []byte) ([]byte, error) { return sealed, nil },
	})
}

// ask brings a question to a.
func ask(t *testing.T, a *Admitter, req *request) answer {
	t.Helper()
	q, err := json.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	b, err := a.Answer(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	var out answer
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAdmitter(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		before func(c *cluster, req *request) // what happens before the question
		again  func(c *cluster, req *request) // and before it is asked once more; nil: it is not
		code   string                         // "": admitted
		final  bool
	}{
		{name: "a newcomer"},
		{
			name: "the answer was lost", again: func(*cluster, *request) {},
		},
		{
			name:   "the outcome of the registration was lost",
			before: func(c *cluster, _ *request) { c.lost = true },
			again:  func(c *cluster, _ *request) { c.lost = false },
		},
		{
			name: "it was removed before it asked again", code: "dead", final: true,
			again: func(c *cluster, req *request) {
				if err := c.apply(fsm.RemoveMember{ID: req.Member.ID}); err != nil {
					c.t.Error(err)
				}
			},
		},
		{
			name: "another key under the id of a member", code: "forbidden", final: true,
			again: func(_ *cluster, req *request) { req.CSR = append([]byte{0}, req.CSR...) },
		},
		{
			name: "a good token under the id of a member", code: "exists", final: true,
			again: func(c *cluster, req *request) { tok := c.token(time.Hour); req.Secret = tok.secret[:] },
		},
		{
			name: "no token", code: "forbidden", final: true,
			before: func(_ *cluster, req *request) { req.Secret = nil },
		},
		{
			name: "a token that has ended", code: "expired", final: true,
			before: func(c *cluster, req *request) { tok := c.token(-time.Second); req.Secret = tok.secret[:] },
		},
		{
			name: "another master key", code: codeMasterKey, final: true,
			before: func(_ *cluster, req *request) { req.MasterHash = resource.HashSecret("other") },
		},
		{
			name: "an address that is taken", code: "exists", final: true,
			before: func(_ *cluster, req *request) { req.Member.Address = "127.0.0.1:1" },
		},
		{
			name: "no name", code: "invalid", final: true,
			before: func(_ *cluster, req *request) { req.Member.Name = "" },
		},
		{
			name: "no leader", code: "no_leader",
			before: func(c *cluster, _ *request) { c.lost = true },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, a := newCluster(t)
			cfg := Config{Name: "x", Address: "127.0.0.1:2", MasterHash: resource.HashSecret("m")}
			key, req, err := cfg.request(c.token(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			if tt.before != nil {
				tt.before(c, req)
			}
			got := ask(t, a, req)
			if tt.again != nil {
				tt.again(c, req)
				got = ask(t, a, req)
			}
			if got.Code != tt.code || got.Permanent != tt.final {
				t.Fatalf("got code %q, final %v, %q, want %q, %v", got.Code, got.Permanent, got.Text, tt.code, tt.final)
			}
			if tt.code != "" {
				if len(got.Cert) > 0 || len(got.KEK) > 0 {
					t.Error("the refused get a certificate or the KEK")
				}
				return
			}
			id, err := transport.NewIdentity(req.Member.ID, got.ClusterID, key, got.Cert, got.CA, got.Sealed)
			if err != nil || id.NodeID != req.Member.ID || string(got.KEK) != "kek" || c.servers[req.Member.Address] != req.Member.ID {
				t.Errorf("identity %v, %v, KEK %q, servers %v", id, err, got.KEK, c.servers)
			}
		})
	}
}

func TestAdmitter_follower(t *testing.T) {
	t.Parallel()
	c, a := newCluster(t)
	c.follows = true
	if _, err := a.Answer(t.Context(), []byte("{}")); !errors.Is(err, resource.ErrNoLeader) {
		t.Errorf("got %v, want ErrNoLeader", err)
	}
	c.follows = false
	if _, err := a.Answer(t.Context(), []byte("{")); !errors.Is(err, resource.ErrRefused) {
		t.Errorf("what is no question: got %v, want ErrRefused", err)
	}
}

// TestAdmitter_leaderReplaced: a leader is replaced after it has registered a newcomer. It vouches for it to the next one, as nobody else can.
func TestAdmitter_leaderReplaced(t *testing.T) {
	t.Parallel()
	c, a := newCluster(t)
	cfg := Config{Name: "x", Address: "127.0.0.1:2", MasterHash: resource.HashSecret("m")}
	_, req, err := cfg.request(c.token(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	c.lost = true
	if got := ask(t, a, req); got.Code != "no_leader" || got.Permanent {
		t.Fatalf("leadership lost on the way: got %+v", got)
	}
	next := *c
	next.lost = false
	b := NewAdmitter(AdmitterConfig{Cluster: &next, State: c.state, KEK: a.cfg.KEK, CAKey: a.cfg.CAKey, Logger: a.cfg.Logger})
	through := func(at *Admitter, req *request) (out answer) {
		t.Helper()
		q, err := json.Marshal(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := at.route(t.Context(), nil, q)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	c.follows, c.next = true, b
	stranger := *req
	stranger.CSR, stranger.Vouched = append([]byte{0}, req.CSR...), true
	for name, at := range map[string]*Admitter{"the leader": b, "the one that led": a} {
		if got := through(at, &stranger); got.Code != "forbidden" || len(got.Cert) > 0 {
			t.Errorf("one who vouches for himself, at %s: got %+v", name, got)
		}
	}
	if got := through(a, req); got.Code != "" || len(got.Cert) == 0 || next.servers[req.Member.Address] != req.Member.ID {
		t.Errorf("asked again through the one that led: got %+v", got)
	}
}
