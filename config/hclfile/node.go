package hclfile

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/resource"
)

// node reads the node block.
func (d *decoder) node(b *hcl.Block) {
	var in nodeBlock
	if !d.body(b.Body, &in) {
		return
	}
	n, err := in.node()
	for _, s := range []config.Secret{config.Secret(in.MasterKey), n.KEK, n.KEKNext} {
		if _, _, ok := s.Sealed(); ok {
			d.report(b.DefRange, "Invalid node", "sealed stands for a secret of a record that is stored; master_key and kek are given by env or file.")
		}
	}
	if err != nil {
		d.invalid("node", b.Body, b.DefRange, err)
		return
	}
	d.out.Node = n
}

func (b *nodeBlock) node() (*config.Node, error) {
	n := &config.Node{
		Name: b.Name, DataDir: b.DataDir, Listen: b.Listen, Cluster: b.Cluster, Advertise: b.Advertise,
		ClientURL: b.ClientURL, MasterKey: config.Secret(b.MasterKey), Journal: config.JournalMode(b.Journal),
		MaxConnections: config.DefaultMaxConnections, MaxClusterConnections: config.DefaultMaxClusterConnections,
		JournalDir: b.JournalDir, PluginDir: b.PluginDir, RaftMultiplier: 1, LogFormat: b.LogFormat,
		Role: b.Role, Seeds: b.Seeds, UpgradePublishers: b.UpgradePublishers,
		TLSCert: b.TLSCert, TLSKey: b.TLSKey, JournalKeep: config.DefaultJournalKeep, JournalMaxMB: config.DefaultJournalMaxMB,
	}
	if b.KEK != nil {
		n.KEK = config.Secret(*b.KEK)
	}
	n.KEKNext = config.Secret(b.KEKNext)
	setInt(&n.MaxConnections, b.MaxConnections)
	setInt(&n.MaxClusterConnections, b.MaxClusterConnections)
	setInt(&n.RaftMultiplier, b.RaftMultiplier)
	setInt(&n.JournalMaxMB, b.JournalMaxMB)
	setInt(&n.DiskReserveMB, b.DiskReserveMB)
	n.ProxyFromEnvironment, n.Sealed = b.ProxyFromEnvironment, b.Sealed
	if p := b.Proxy; p != nil {
		n.Proxy, n.ProxyPassword = &resource.Proxy{URL: p.URL, NoProxy: p.NoProxy, CA: p.CA}, config.Secret(p.Password)
	}
	n.Fill()
	return n, errors.Join(b.problems(n)...)
}

func setInt(to *int, from *int) {
	if from != nil {
		*to = *from
	}
}

// problems checks n, and fills in what has to be parsed.
func (b *nodeBlock) problems(n *config.Node) []error {
	errs := append(n.Validate(), b.life(n)...)
	bad := func(field, format string, args ...any) {
		errs = append(errs, &resource.Invalid{Field: field, Reason: fmt.Sprintf(format, args...)})
	}
	if b.KEK != nil && *b.KEK == "" {
		bad("kek", "is empty; leave it out to use DATA/kek")
	}
	if !slices.Contains([]config.JournalMode{config.JournalWrite, config.JournalFsync, config.JournalAsync}, n.Journal) {
		bad("journal", "%q is not one of write, fsync, async", n.Journal)
	}
	if n.LogFormat != "text" && n.LogFormat != "json" {
		bad("log_format", "%q is not one of text, json", n.LogFormat)
	}
	if b.LogLevel != "" {
		if err := n.LogLevel.UnmarshalText([]byte(b.LogLevel)); err != nil {
			bad("log_level", "%q is not one of debug, info, warn, error", b.LogLevel)
		}
	}
	if (n.TLSCert == "") != (n.TLSKey == "") {
		bad("tls_cert", "tls_cert and tls_key go together")
	}
	if b.ServeStale != nil {
		d, err := resource.ParseServeStale(*b.ServeStale)
		if err != nil {
			bad("serve_stale", "%s", reasonOf(err))
		}
		n.ServeStale = &d
	}
	return errs
}

// life checks what n says of its place in the cluster, its end, and what it keeps.
func (b *nodeBlock) life(n *config.Node) (errs []error) {
	bad := func(field, format string, args ...any) {
		errs = append(errs, &resource.Invalid{Field: field, Reason: fmt.Sprintf(format, args...)})
	}
	if b.JournalKeep != nil {
		d, err := time.ParseDuration(*b.JournalKeep)
		if err != nil || d < time.Hour {
			bad("journal_keep", "%q is not a duration of an hour or more, such as 168h", *b.JournalKeep)
		}
		n.JournalKeep = d
	}
	if n.Role != resource.MemberFull && n.Role != resource.MemberRead {
		bad("role", "%q is not a role: leave it out for a node that may vote, or say %q", n.Role, resource.MemberRead)
	}
	if b.DrainTimeout != nil {
		d, err := time.ParseDuration(*b.DrainTimeout)
		if err != nil || d < time.Second || d > 24*time.Hour {
			bad("drain_timeout", "%q is not a duration between 1s and 24h, such as 2m", *b.DrainTimeout)
		}
		n.DrainTimeout = d
	}
	for _, s := range n.Seeds {
		if _, port, err := net.SplitHostPort(s); err != nil || port == "" {
			bad("seeds", "%q is not host:port", s)
		}
	}
	return errs
}

func reasonOf(err error) string {
	if e, ok := errors.AsType[*resource.Invalid](err); ok {
		return e.Reason
	}
	return err.Error()
}
