package config

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/signing"
)

// The defaults of a node.
const (
	DefaultListen                = "127.0.0.1:4000"
	DefaultCluster               = "127.0.0.1:4001"
	DefaultMaxConnections        = 16384
	DefaultMaxClusterConnections = 512
	DefaultJournalKeep           = 7 * 24 * time.Hour
	DefaultJournalMaxMB          = 1024
)

// JournalMode says when a request's record is safe.
type JournalMode string

// The modes of the journal.
const (
	JournalWrite JournalMode = "write" // survives a killed process; the default
	JournalFsync JournalMode = "fsync" // survives a power loss
	JournalAsync JournalMode = "async" // survives nothing
)

// Node is how this machine runs. Every field is filled in, with defaults where the file says
// nothing; paths are relative to the working folder.
type Node struct {
	Name                  string
	DataDir               string // default: data/NAME
	Listen                string // of clients; default: DefaultListen
	Cluster               string // of other nodes, TCP and UDP; default: DefaultCluster
	Advertise             string // where the others reach Cluster; default: Cluster
	ClientURL             string // where clients reach Listen; default: made from Listen
	MasterKey             Secret
	KEK                   Secret         // the key, or where the one is that seals DATA/kek; "": DATA/kek holds it
	KEKNext               Secret         // the KEK to come, where KEK is a key
	MaxConnections        int            // of clients; default: DefaultMaxConnections
	MaxClusterConnections int            // default: DefaultMaxClusterConnections
	ServeStale            *time.Duration // instead of the setting: 0 fail closed, < 0 for ever; nil: the setting's
	Journal               JournalMode
	JournalDir            string        // default: DATA/journal
	JournalKeep           time.Duration // default: DefaultJournalKeep
	JournalMaxMB          int           // MiB; default: DefaultJournalMaxMB
	PluginDir             string        // default: DATA/plugins
	Role                  string        // "read": it serves and never votes; "": it may vote
	Seeds                 []string      // cluster addresses where other nodes may be found
	UpgradePublishers     []string      // public keys of those whose bundles the node takes programs from
	DrainTimeout          time.Duration // of requests in flight at a stop; 0: two minutes
	DiskReserveMB         int           // MiB to be free; 0: a twentieth of the disk, at most 2048
	RaftMultiplier        int           // of Raft's time-outs, 1 to 10; default: 1
	LogLevel              slog.Level
	LogFormat             string // "text" (default) or "json"
	TLSCert               string // PEM file for Listen; "": plain HTTP
	TLSKey                string
	Proxy                 *resource.Proxy // for all that the node dials over HTTP; nil: none
	ProxyPassword         Secret          // of the user in its URL
	ProxyFromEnvironment  bool            // HTTP_PROXY and its like count where Proxy is nil
	Sealed                bool            // dial nothing that the configuration does not name
}

// Fill puts defaults into empty fields.
func (n *Node) Fill() {
	for _, f := range []struct {
		to   *string
		with string
	}{
		{&n.DataDir, filepath.Join("data", n.Name)},
		{&n.Listen, DefaultListen},
		{&n.Cluster, DefaultCluster},
		{&n.LogFormat, "text"},
	} {
		if *f.to == "" {
			*f.to = f.with
		}
	}
	if n.Advertise == "" {
		n.Advertise = n.Cluster
	}
	if n.JournalDir == "" {
		n.JournalDir = filepath.Join(n.DataDir, "journal")
	}
	if n.PluginDir == "" {
		n.PluginDir = filepath.Join(n.DataDir, "plugins")
	}
	if n.Journal == "" {
		n.Journal = JournalWrite
	}
	if n.ClientURL == "" {
		n.ClientURL = "http://" + n.Listen
		if n.TLSCert != "" {
			n.ClientURL = "https://" + n.Listen
		}
	}
}

// Validate checks what is said of the node's addresses, numbers, way out and publishers. Each error is a *resource.Invalid.
func (n *Node) Validate() []error {
	return slices.Concat(n.addresses(), n.ranges(), n.egress(), n.publishers())
}

// egress checks the way out.
func (n *Node) egress() []error {
	if n.Proxy == nil {
		return nil
	}
	if err := n.Proxy.Validate("proxy"); err != nil {
		return []error{err}
	}
	if resource.ValidDigest(n.Proxy.CA) {
		return []error{&resource.Invalid{Field: "proxy.ca", Reason: `is a blob, which no node has before it has started; write file("PATH")`}}
	}
	return nil
}

// publishers checks the keys of those who sign programs.
func (n *Node) publishers() []error {
	if _, err := signing.ParseTrust(n.UpgradePublishers); err != nil {
		return []error{&resource.Invalid{Field: "upgrade_publishers", Reason: err.Error()}}
	}
	return nil
}

// ranges checks the numbers of n.
func (n *Node) ranges() []error {
	var errs []error
	for _, f := range []struct {
		field    string
		v        int
		min, max int
		what     string
	}{
		{"name", len(n.Name), 1, 64, "bytes"},
		{"master_key", len(n.MasterKey), 8, 1024, "bytes"},
		{"max_connections", n.MaxConnections, 1, 1 << 20, "connections"},
		{"max_cluster_connections", n.MaxClusterConnections, 8, 1 << 20, "connections"},
		{"journal_max_mb", n.JournalMaxMB, 32, 1 << 24, "MiB"},
		{"disk_reserve_mb", n.DiskReserveMB, 0, 1 << 24, "MiB"},
		{"raft_multiplier", n.RaftMultiplier, 1, 10, "times"},
	} {
		if f.v < f.min || f.v > f.max {
			errs = append(errs, &resource.Invalid{
				Field: f.field, Reason: fmt.Sprintf("%d %s are not between %d and %d", f.v, f.what, f.min, f.max),
			})
		}
	}
	return errs
}

// addresses checks the addresses that n listens on and is reached at.
func (n *Node) addresses() []error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, &resource.Invalid{Field: field, Reason: fmt.Sprintf(format, args...)})
	}
	for _, f := range []struct{ name, v string }{{"listen", n.Listen}, {"cluster", n.Cluster}, {"advertise", n.Advertise}} {
		if _, port, err := net.SplitHostPort(f.v); err != nil || port == "" {
			bad(f.name, "%q is not host:port", f.v)
		}
	}
	if len(errs) > 0 {
		return errs
	}
	host, port, _ := net.SplitHostPort(n.Advertise)
	if ip, err := netip.ParseAddr(host); host == "" || (err == nil && ip.IsUnspecified()) || port == "0" {
		bad("advertise", "the other nodes cannot reach %q; set advertise to an address that they reach", n.Advertise)
	}
	if u, err := url.Parse(n.ClientURL); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		bad("client_url", "%q is not a URL such as https://host:4000", n.ClientURL)
	}
	return errs
}
