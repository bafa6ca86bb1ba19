package memory

import (
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/money"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// The keys of the bucket of the cluster.
var (
	InfoKey    = []byte("info")        // ClusterInfo
	VersionKey = []byte("fsm_version") // what all members know
	SweepKey   = []byte("sweep")       // money.Sweep
	NamesKey   = []byte("names")       // money.Names
)

// ClusterInfo is the identity of the cluster and its secrets, as sealed.
type ClusterInfo struct {
	ClusterID  string        `json:"cluster_id"`
	MasterHash resource.Hash `json:"master_hash"` // of the master key; zero: none
	CACert     []byte        `json:"ca_cert"`     // DER
	CAKey      []byte        `json:"ca_key"`      // sealed under the KEK
	GossipKey  []byte        `json:"gossip_key"`  // sealed under the KEK
	KEKID      string        `json:"kek_id"`
	DEKs       []WrappedDEK  `json:"deks,omitempty"` // oldest first

	Rotations []Rotation `json:"rotations,omitempty"`  // of the keys above: the newest of each kind
	FormerCAs [][]byte   `json:"former_cas,omitempty"` // certificates that vouch for no node any more, for signatures of their time

	Rollout *Rollout `json:"rollout,omitempty"` // of a program: the newest
}

// WrappedDEK is a data key, wrapped by the KEK that KEKID names.
type WrappedDEK struct {
	ID    string `json:"id"`
	KEKID string `json:"kek_id"`
	Blob  []byte `json:"blob"`
}

// ReadNodes reads the rows of all nodes from the file.
func ReadNodes(tx *bolt.Tx) (money.Nodes, error) {
	nodes := money.Nodes{}
	err := store.Nodes.In(tx).ForEach(func(k, v []byte) error {
		f, err := frame.Parse(k, v)
		if err != nil {
			return err
		}
		nodes[string(k)], err = money.ParseNode(f.Payload)
		return err
	})
	return nodes, err
}

// ReadCluster reads the identity of the cluster, nil before the bootstrap, and the version
// that all its members know.
func ReadCluster(tx *bolt.Tx) (*ClusterInfo, uint32, error) {
	version := uint32(1)
	f, ok, err := store.Cluster.Read(tx, VersionKey)
	if err != nil {
		return nil, 0, err
	}
	if ok && len(f.Payload) == 4 {
		version = binary.BigEndian.Uint32(f.Payload)
	}
	f, ok, err = store.Cluster.Read(tx, InfoKey)
	if err != nil || !ok {
		return nil, version, err
	}
	info := new(ClusterInfo)
	if err := codec.Unmarshal(f.Payload, info); err != nil {
		return nil, 0, fmt.Errorf("decode cluster: %w: %w", err, frame.ErrDamaged)
	}
	return info, version, nil
}
