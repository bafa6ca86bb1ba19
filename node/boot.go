package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/internal/durable"
	"github.com/conclave-llm/conclave/node/consensus"
	"github.com/conclave-llm/conclave/node/consensus/join"
	"github.com/conclave-llm/conclave/node/transport"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

const (
	fileFounding = "founding.json"
	fileDev      = "dev.json" // of conclave dev, beside its nodes' folders
)

// Seat is one node of a cluster that is founded.
type Seat struct {
	Name    string
	DataDir string
	Cluster string // address of its cluster port
}

// founding is what the first start of a founded node needs. It stays in the data folder
// until the first entry is committed, so that a crash before that loses nothing.
type founding struct {
	Bootstrap *fsm.Bootstrap     `json:"bootstrap,omitempty"` // of the first node only
	Voters    []consensus.Server `json:"voters,omitempty"`
}

// identity is who the node is, and the keys that it keeps.
type identity struct {
	*transport.Identity
	kek      *secret.Ring
	files    *secret.Files // where the KEKs are kept; nil: the operator keeps them
	founding *founding     // nil after the first start
}

// Found prepares the data folders of a new cluster's nodes: each gets an identity, and all
// the same secrets. The nodes are then started as if they had run before. A folder that
// holds a node is refused, and nothing is written.
func Found(master, kek secret.Text, seats ...Seat) error {
	return found(context.Background(), &Config{MasterKey: master, KEK: kek}, seats...)
}

// found is Found, with all that cfg says of the KEK.
func found(ctx context.Context, cfg *Config, seats ...Seat) error {
	for _, s := range seats {
		if _, err := transport.LoadIdentity(s.DataDir); !errors.Is(err, transport.ErrNoIdentity) {
			return refuse("%s holds a node already; start it without --bootstrap, or give an empty folder", s.DataDir)
		}
	}
	key, err := foundingKEK(ctx, cfg, seats[0].DataDir)
	if err != nil {
		return err
	}
	dekID, dek, err := secret.NewKeyring(key).NewDEK()
	if err != nil {
		return err
	}
	f, err := consensus.Found(key, masterHash(cfg.MasterKey), dekID, dek)
	if err != nil {
		return fmt.Errorf("found cluster: %w", err)
	}
	ids := make([]*transport.Identity, len(seats))
	var voters []consensus.Server
	for i, s := range seats {
		nodeID, err := transport.NewNodeID()
		if err != nil {
			return err
		}
		if ids[i], err = f.Identity(nodeID); err != nil {
			return fmt.Errorf("found cluster: %w", err)
		}
		voters = append(voters, consensus.Server{ID: nodeID, Address: s.Cluster})
	}
	for i, s := range seats {
		rest := founding{Voters: voters}
		if i == 0 {
			rest.Bootstrap = &f.Bootstrap
		}
		if err := keepKEK(ctx, cfg, s.DataDir, key); err != nil {
			return err
		}
		if err := seat(s.DataDir, ids[i], rest); err != nil {
			return err
		}
	}
	return nil
}

// keepKEK makes the data folder and, unless the KEK is configured, and so kept elsewhere,
// writes it there.
func keepKEK(ctx context.Context, cfg *Config, dir string, kek *secret.KEK) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	if !cfg.KEK.IsZero() {
		return nil
	}
	return secret.Files{Dir: dir, Cover: cfg.KEKCover}.Save(ctx, kek)
}

// seat writes one node's founding file and identity, which comes last and makes the folder
// valid.
func seat(dir string, id *transport.Identity, f founding) error {
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(dir, fileFounding), b); err != nil {
		return fmt.Errorf("write founding file: %w", err)
	}
	return id.Save(dir)
}

func foundingKEK(ctx context.Context, cfg *Config, dir string) (*secret.KEK, error) {
	if !cfg.KEK.IsZero() {
		return secret.KEKOf(cfg.KEK)
	}
	ring, err := secret.Files{Dir: dir, Cover: cfg.KEKCover}.Load(ctx)
	if notThere(err) {
		return secret.NewKEK()
	}
	if err != nil {
		return nil, err
	}
	key, _ := ring.Find(ring.ID())
	return key, nil
}

// masterHash is the hash of the master key, zero for none.
func masterHash(master secret.Text) resource.Hash {
	if master.Reveal() == "" {
		return resource.Hash{}
	}
	return resource.HashSecret(master.Reveal())
}

// boot finds out who the node is: from its folder, by founding a cluster, or by joining one.
func boot(ctx context.Context, cfg *Config) (*identity, error) {
	if _, err := os.Stat(filepath.Join(cfg.DataDir, fileDev)); err == nil {
		return nil, refuse("%s belongs to conclave dev; its nodes have folders inside it", cfg.DataDir)
	}
	id, err := transport.LoadIdentity(cfg.DataDir)
	switch {
	case err == nil && (cfg.Bootstrap || cfg.Join != ""):
		return nil, refuse("%s holds node %s already; start it without --bootstrap and --join", cfg.DataDir, id.NodeID)
	case err == nil:
	case !errors.Is(err, transport.ErrNoIdentity):
		return nil, err
	case cfg.Bootstrap:
		if err := found(ctx, cfg, Seat{Name: cfg.Name, DataDir: cfg.DataDir, Cluster: cfg.Advertise}); err != nil {
			return nil, err
		}
	case cfg.Join != "":
		if err := joinCluster(ctx, cfg); err != nil {
			return nil, err
		}
	default:
		return nil, refuse("%s holds no node; start with --bootstrap to found a cluster, or with --join HOST:4001 --token TOKEN to join one", cfg.DataDir)
	}
	return load(ctx, cfg)
}

// load reads what is in the data folder.
func load(ctx context.Context, cfg *Config) (*identity, error) {
	id, err := transport.LoadIdentity(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	out := &identity{Identity: id}
	if out.kek, err = configuredKEKs(cfg); out.kek == nil && err == nil {
		out.files = &secret.Files{Dir: cfg.DataDir, Cover: cfg.KEKCover}
		out.kek, err = out.files.Load(ctx)
	}
	if err != nil {
		return nil, &Refusal{Status: 78, Err: err}
	}
	b, err := os.ReadFile(filepath.Join(cfg.DataDir, fileFounding))
	if notThere(err) {
		return out, nil
	}
	if err == nil {
		out.founding = new(founding)
		err = json.Unmarshal(b, out.founding)
	}
	if err != nil {
		return nil, fmt.Errorf("read founding file: %w", err)
	}
	return out, nil
}

// configuredKEKs are those that the operator keeps; nil: the node keeps them.
func configuredKEKs(cfg *Config) (*secret.Ring, error) {
	if cfg.KEK.IsZero() {
		if !cfg.KEKNext.IsZero() {
			return nil, errors.New("kek_next is for a node whose kek is configured; this one exchanges its KEK by itself")
		}
		return nil, nil
	}
	kek, err := secret.KEKOf(cfg.KEK)
	if err != nil {
		return nil, fmt.Errorf("kek: %w", err)
	}
	ring := secret.NewRing(kek)
	if cfg.KEKNext.IsZero() {
		return ring, nil
	}
	next, err := secret.KEKOf(cfg.KEKNext)
	if err != nil {
		return nil, fmt.Errorf("kek_next: %w", err)
	}
	ring.Add(next)
	return ring, nil
}

// joinCluster asks a member for a place and keeps what it gets.
func joinCluster(ctx context.Context, cfg *Config) error {
	j, err := join.Ask(ctx, join.Config{
		Addrs: []string{cfg.Join}, Token: cfg.Token, Name: cfg.Name, Address: cfg.Advertise,
		ClientURL: cfg.ClientURL, Version: cfg.Version, Role: cfg.Role, MasterHash: masterHash(cfg.MasterKey),
		Logger: cfg.Logger,
	})
	if errors.Is(err, join.ErrRefused) {
		return &Refusal{Status: 78, Err: err}
	}
	if err != nil {
		return err
	}
	kek, err := secret.ParseKEK(j.KEK)
	if err != nil {
		return err
	}
	own, err := configuredKEKs(cfg)
	if err != nil {
		return &Refusal{Status: 78, Err: err}
	}
	if own != nil && !own.Use(kek.ID()) {
		return refuse("the configured KEK is not the cluster's")
	}
	if err := keepKEK(ctx, cfg, cfg.DataDir, kek); err != nil {
		return err
	}
	return j.Identity.Save(cfg.DataDir)
}

// founded removes the founding file once the cluster's first entry is committed.
func (n *Node) founded() {
	if n.identity.founding == nil {
		return
	}
	if err := os.Remove(filepath.Join(n.cfg.DataDir, fileFounding)); err != nil && !notThere(err) {
		n.log.Warn("founding file stays", "error", err)
	}
}

// exit ends the process as a supervisor expects of one that must be started again, or, if another runs as this node, must not be.
func exit(log *slog.Logger) func(error) {
	return func(err error) {
		log.Error("this node cannot go on", "error", err)
		if errors.Is(err, consensus.ErrTwin) {
			os.Exit(78)
		}
		os.Exit(75)
	}
}
