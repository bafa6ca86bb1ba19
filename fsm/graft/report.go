package graft

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/fsm/relation"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// maxNamed is how many records of a kind a report names; the rest is counted.
const maxNamed = 20

// Report tells what a restore would change.
type Report struct {
	ClusterID string `json:"cluster_id"` // of the cluster
	BackupID  string `json:"backup_id"`  // of the backup's
	Foreign   bool   `json:"foreign,omitempty"`

	Index   uint64        `json:"index"` // of the backup
	Applied uint64        `json:"applied"`
	At      resource.Time `json:"at"` // of the newest command in the backup

	Records map[string]Count `json:"records"` // by kind: "key"

	// Revoked are keys, and what holds them, that do not work now and would again.
	Revoked      []string `json:"revoked,omitempty"`
	RevokedCount int      `json:"revoked_count,omitempty"`

	// Nodes are where the nodes' journals must reach back to: their records after the number are sent
	// again.
	Nodes []NodeReplay `json:"nodes"`

	// Bodies are digests of configuration whose bodies a backup does not hold and this cluster may not
	// have any more.
	Bodies []string `json:"bodies,omitempty"`
	// Erasures are orders to forget a person that came after the backup, which has the person still.
	Erasures []string `json:"erasures,omitempty"`
}

// Count is how many records of a kind there are.
type Count struct {
	Now    int `json:"now"`
	Backup int `json:"backup"`
}

// NodeReplay says from where on a node's journal is sent again.
type NodeReplay struct {
	ID    string `json:"id"`
	After uint64 `json:"after"`          // number of the last record that the backup has
	Gone  bool   `json:"gone,omitempty"` // it is no member any more: what it spent since the backup is lost
}

// kinds are the kinds of records that a report counts.
var kinds = []store.Bucket{
	store.Organizations, store.Teams, store.Projects, store.Users, store.Customers, store.Tags, store.TeamMembers, store.Keys, store.Models,
	store.Deployments, store.Credentials, store.Budgets, store.Guardrails, store.Callbacks, store.Plugins, store.MCPServers, store.SecretSources, store.RouterFilters, store.Auths, store.AccessGroups, store.Settings,
}

// Compare tells what would change if the backup took the place of the present state.
func Compare(backup, now *bolt.Tx) (*Report, error) {
	info, _, err := cluster(now)
	if err != nil {
		return nil, err
	}
	old, _, err := cluster(backup)
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	at, err := store.ReadPosition(backup)
	if err != nil {
		return nil, err
	}
	present, err := store.ReadPosition(now)
	if err != nil {
		return nil, err
	}
	r := &Report{
		ClusterID: info.ClusterID, BackupID: old.ClusterID, Foreign: info.ClusterID != old.ClusterID,
		Index: at.Index, Applied: present.Index, At: at.At, Records: map[string]Count{},
	}
	for _, b := range kinds {
		c := Count{Now: b.In(now).Stats().KeyN, Backup: b.In(backup).Stats().KeyN}
		if c != (Count{}) {
			r.Records[b.Kind()] = c
		}
	}
	for _, step := range []func(backup, now *bolt.Tx) error{r.revoked, r.replay, r.bodies, r.erasures} {
		if err := step(backup, now); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// revoked finds what works in the backup and was revoked since. Records of another cluster were not
// revoked here.
func (r *Report) revoked(backup, now *bolt.Tx) error {
	if r.Foreign {
		return nil
	}
	return eachRevoked(backup, now, func(b store.Bucket, key []byte, v frame.Value, why string) error {
		if r.RevokedCount++; len(r.Revoked) < maxNamed {
			r.Revoked = append(r.Revoked, fmt.Sprintf("%s %s (%s)", b.Kind(), label(key, v), why))
		}
		return nil
	})
}

// label is the name of a record, or its id.
func label(key []byte, v frame.Value) string {
	if name := audit.NameOf(v.Payload); name != "" {
		return name
	}
	return string(key)
}

// guards are the kinds whose block revokes keys.
var guards = []store.Bucket{store.Keys, store.Teams, store.Organizations, store.Projects, store.Users, store.Customers}

// eachRevoked calls fn for records of the backup that are not blocked in it and are blocked now, and
// for keys that were deleted, or given another secret, since.
func eachRevoked(backup, now *bolt.Tx, fn func(b store.Bucket, key []byte, v frame.Value, why string) error) error {
	for _, b := range guards {
		err := each(backup, b, func(k []byte, v frame.Value) error {
			if v.Flags&frame.FlagBlocked != 0 {
				return nil
			}
			why, err := revokedSince(b, k, v, now)
			if err != nil || why == "" {
				return err
			}
			return fn(b, k, v, why)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// revokedSince says how a record was revoked, "" if it was not.
func revokedSince(b store.Bucket, key []byte, v frame.Value, now *bolt.Tx) (string, error) {
	present, ok, err := b.Read(now, key)
	switch {
	case err != nil:
		return "", err
	case ok && present.Flags&frame.FlagBlocked != 0:
		return "blocked now", nil
	case b != store.Keys:
		return "", nil // without a record nothing of it works; with one it works
	case !ok:
		if store.Tombstones.In(now).Get(relation.Tombstone(b, string(key))) != nil {
			return "deleted now", nil
		}
		return "", nil
	}
	k, err := codec.Record[resource.Key](v)
	if err != nil {
		return "", err
	}
	if store.KeyHashes.In(now).Get(k.Hash[:]) == nil {
		return "its secret was replaced", nil
	}
	return "", nil
}

// block blocks what was revoked since.
func (g *graft) block() error {
	type row struct {
		b   store.Bucket
		key string
		v   frame.Value
	}
	var all []row
	err := eachRevoked(g.edit.tx, g.now, func(b store.Bucket, key []byte, v frame.Value, _ string) error {
		all = append(all, row{b, string(key), frame.Value{Flags: v.Flags | frame.FlagBlocked, Payload: slices.Clone(v.Payload)}})
		return nil
	})
	if err != nil || g.foreign {
		return err
	}
	for _, r := range all {
		r.v.Version = g.edit.index
		if err := g.edit.set(r.b, []byte(r.key), r.v.Encode([]byte(r.key))); err != nil {
			return err
		}
	}
	return nil
}

// replay says which records of the journals the backup lacks.
func (r *Report) replay(backup, now *bolt.Tx) error {
	old, err := memory.ReadNodes(backup)
	if err != nil {
		return err
	}
	present, err := memory.ReadNodes(now)
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(present)) {
		n := NodeReplay{ID: id, Gone: present[id].Removed}
		o, known := old[id]
		switch {
		case known:
			n.After = o.Covered()
		case r.Foreign:
			n.After = present[id].Covered()
		}
		if n.Gone && (!known || o.Removed || present[id].Covered() <= n.After) {
			continue // it was gone before, or has spent nothing since
		}
		r.Nodes = append(r.Nodes, n)
	}
	return nil
}

// bodies finds configuration whose bodies this cluster does not keep.
func (r *Report) bodies(backup, now *bolt.Tx) error {
	return each(backup, store.Blobs, func(k []byte, v frame.Value) error {
		if !resource.ValidDigest(string(k)) || store.Blobs.In(now).Get(k) != nil {
			return nil
		}
		var b resource.Blob
		err := codec.Unmarshal(v.Payload, &b)
		if err == nil && b.Class == resource.BlobConfiguration && b.Kind != resource.BlobBundle && len(r.Bodies) < maxNamed {
			r.Bodies = append(r.Bodies, b.ID)
		}
		return err
	})
}

// erasures finds persons whom the backup remembers and this cluster has forgotten.
func (r *Report) erasures(backup, now *bolt.Tx) error {
	if r.Foreign {
		return nil
	}
	return each(now, store.Erasures, func(k []byte, v frame.Value) error {
		_, id, _ := strings.Cut(string(k), "/") // its stage stands before its id
		for _, prefix := range []string{"p/", "r/"} {
			if store.Erasures.In(backup).Get([]byte(prefix+id)) != nil {
				return nil
			}
		}
		if len(r.Erasures) < maxNamed {
			r.Erasures = append(r.Erasures, id)
		}
		return nil
	})
}
