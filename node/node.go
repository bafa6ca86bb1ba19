package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/conclave-llm/conclave/adminapi/capture"
	"github.com/conclave-llm/conclave/adminapi/declare"
	"github.com/conclave-llm/conclave/adminapi/prices"
	"github.com/conclave-llm/conclave/adminapi/rotation"
	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/node/artifacts"
	"github.com/conclave-llm/conclave/node/auditlog"
	"github.com/conclave-llm/conclave/node/backup"
	"github.com/conclave-llm/conclave/node/blob"
	"github.com/conclave-llm/conclave/node/consensus"
	"github.com/conclave-llm/conclave/node/courier/post"
	"github.com/conclave-llm/conclave/node/disk"
	"github.com/conclave-llm/conclave/node/erasure"
	"github.com/conclave-llm/conclave/node/gossip"
	"github.com/conclave-llm/conclave/node/probe"
	"github.com/conclave-llm/conclave/node/renewal"
	"github.com/conclave-llm/conclave/node/rollout"
	"github.com/conclave-llm/conclave/node/signin"
	"github.com/conclave-llm/conclave/node/transport"
	"github.com/conclave-llm/conclave/node/turns"
	"github.com/conclave-llm/conclave/plugins"
	authplugin "github.com/conclave-llm/conclave/plugins/auth"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/modelserver"
	"github.com/conclave-llm/conclave/plugins/routerfilter"
	"github.com/conclave-llm/conclave/plugins/secretsource"
	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/auth"
	"github.com/conclave-llm/conclave/proxy/batch"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/mcp"
	"github.com/conclave-llm/conclave/proxy/ratelimit"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/proxy/upstream/sign"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// leaderGrace is how long a starting node waits for a leader, and with it for its leases,
// before it says that it is ready without one.
const leaderGrace = 10 * time.Second

// Node is one running node.
type Node struct {
	cfg      Config
	log      *slog.Logger
	registry *prometheus.Registry
	identity *identity
	keys     *secret.Keyring
	cluster
	path
	listener

	events     *auditlog.Events
	keeper     *auditlog.Keeper // of the audit log
	fresh      *freshness
	marks      *lastTick
	changed    chan struct{}   // the plugins have changed in the catalog
	servers    chan struct{}   // the MCP servers have
	repriced   chan struct{}   // prices were imported
	identified chan struct{}   // the cluster's keys have changed
	rolled     chan struct{}   // the rollout has, perhaps
	swaps      chan Swap       // of the program, for the process
	rollouts   *rollout.Runner // nil: the process cannot change its program
	restored   chan struct{}   // a backup has taken the place of the state
	generation atomic.Uint64   // of the state, as followRestores knows it
	alerted    chan struct{}   // there are alerts to deliver
	erasures   atomic.Pointer[erasure.Runner]
	started    time.Duration // by the boot clock
	built      atomic.Bool   // everything is started
	draining   atomic.Bool
	inFlight   atomic.Int64 // requests of clients
	disk       *disk.Guard
	ctx        context.Context //nolint:containedctx // the node's own life, ended by Stop
	cancel     context.CancelFunc
	wg         sync.WaitGroup
}

// cluster is the node's part in the cluster.
type cluster struct {
	state     *fsm.FSM
	port      *transport.Transport
	consensus *consensus.Node
	gossip    *gossip.Gossip
	quota     *quotaStreams
	renewal   *renewal.Renewal
}

// path is what requests pass through.
type path struct {
	auth    *auth.Authenticator
	limits  *ratelimit.Limiter
	tape    *ratelimit.FileTape // of the limits
	budgets *budget.Budgets
	alerts  *alerts
	router  *router.Router
	plugins *plugins.Host
	guards  guardrail.Current   // whether they are asked as the catalog has them
	secrets *secretsource.Cache // of secret sources
	files   secretFiles         // to which references lead
	desk    *signin.Desk        // of sign-ins at providers
	auths   *authplugin.Gate    // asks auth plugins
	filters *routerfilter.Gate  // asks router filters

	providers modelserver.Gate       // asks provider plugins
	drop      atomic.Pointer[func()] // has the data path forget the secrets that it opened; nil until the handlers are made
	journal   *ledger.Journal
	money     *money
	requests
	books  pricing.Books // prices that count
	prices *prices.Prices

	capture *capture.Checker // of bills

	rotation   *rotation.Rotation
	probes     *probe.Prober
	paidProbes *probe.Prober
	egress     *egress.Dialer
	post       *post.Post // of alerts
	blobs      *blob.Store
	upstream   *upstream.Client
	turns      *turns.Store
	artifacts  *artifacts.Store
	batches    *batch.Runner
	mcp        *mcp.Gateway  // nil until the handlers are made
	data       *proxy.Server // likewise
	dataConfig proxy.Config  // what data is made of, for trials
	backups    *backup.Backups
	signer     *sign.Signer // of requests to a store of backups
}

// listener is the client port.
type listener struct {
	server *http.Server
	addr   net.Addr
	front  atomic.Pointer[http.Handler]

	requestsCtx context.Context //nolint:containedctx // of all requests of clients
	giveUp      context.CancelFunc
}

// Start starts a node and returns once its parts run; Ready tells when it may serve. A
// *Refusal says that the start must not be repeated as it is.
func Start(ctx context.Context, cfg Config) (*Node, error) {
	if err := cfg.fill(); err != nil {
		return nil, &Refusal{Status: 78, Err: err}
	}
	if masterHash(cfg.MasterKey) == (resource.Hash{}) && !loopback(cfg.Listen) {
		return nil, refuse("the node would listen on %s without an admin credential; set master_key, or listen on loopback", cfg.Listen)
	}
	n := &Node{
		cfg: cfg, log: cfg.Logger.With("node", cfg.Name), registry: prometheus.NewRegistry(), started: clock.Boot(),
		changed: make(chan struct{}, 1), servers: make(chan struct{}, 1), repriced: make(chan struct{}, 1), identified: make(chan struct{}, 1), rolled: make(chan struct{}, 1), swaps: make(chan Swap, 1), restored: make(chan struct{}, 1), alerted: make(chan struct{}, 1),
	}
	n.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.requestsCtx, n.giveUp = context.WithCancel(context.Background())
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"find out who this node is", n.startIdentity},
		{"open client port", n.startListener},
		{"open the way out", n.startEgress},
		{"start cluster", n.startCluster},
		{"start request path", n.startPath},
		{"start audit log", n.startAudit},
		{"start alerts", n.startAlerts},
		{"start backups", n.startBackups},
		{"start to forget people", n.startErasures},
		{"start rollouts", n.startRollouts},
		{"start request handlers", n.startHandlers},
		{"apply resources", n.applyResources},
	} {
		if err := step.do(ctx); err != nil {
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			return nil, errors.Join(fmt.Errorf("%s: %w", step.what, err), n.Stop(stop))
		}
	}
	n.built.Store(true)
	return n, nil
}

func (n *Node) startIdentity(ctx context.Context) (err error) {
	if n.identity, err = boot(ctx, &n.cfg); err != nil {
		return err
	}
	n.log = n.log.With("node_id", n.identity.NodeID)
	n.disk = disk.New(disk.Config{Dirs: []string{n.cfg.DataDir, n.journalDir()}, Reserve: uint64(n.cfg.DiskReserveMB) << 20, Usage: n.cfg.DiskUsage})
	n.keys = secret.NewKeyring(n.identity.kek)
	return nil
}

func (n *Node) startCluster(context.Context) (err error) {
	id := n.identity
	n.budgets = budget.New(budget.Config{
		Ask: n.askTick, HasLeader: n.hasLeader, Nodes: n.nodes, Lookup: n.lookupLease,
		Logger: n.log, Registerer: n.registry,
	})
	n.alerts = newAlerts(n.registry)
	n.state, err = fsm.Open(fsm.Config{
		Dir: filepath.Join(n.cfg.DataDir, "state"), NodeID: id.NodeID, Logger: n.log, Watch: n.watch, Fatal: n.cfg.Fatal,
		Registerer: n.registry,
	})
	if err != nil {
		return err
	}
	if v := n.state.FSMVersion(); v > fsm.Version {
		return refuse("the cluster has version %d of the state machine, and this program knows up to %d: start one that knows it", v, fsm.Version)
	}
	n.generation.Store(n.state.Generation())
	if err := n.startFreshness(); err != nil {
		return err
	}
	n.port, err = transport.New(transport.Config{
		Listen: n.cfg.Cluster, Advertise: n.cfg.Advertise,
		Identity: id.Certificate, Former: id.Former, Roots: id.Roots, ClusterID: id.Cluster,
		MaxConnections: n.cfg.MaxClusterConnections, Reach: n.cfg.Reach, Dial: n.egress.DialPeer, Logger: n.log, Registerer: n.registry,
	})
	if err != nil {
		return err
	}
	if err := n.startConsensus(); err != nil {
		return err
	}
	n.startRenewal()
	key, err := consensus.GossipKey(id.Identity, id.kek)
	if errors.Is(err, secret.ErrWrongKey) {
		return refuse("the KEK %s is not the one that this node's keys are sealed under: %w", id.kek.ID(), err)
	}
	if err != nil {
		return fmt.Errorf("open gossip key: %w", err)
	}
	n.router = router.New(router.Config{NodeID: id.NodeID, Registerer: n.registry})
	n.startProbes()
	n.gossip, err = gossip.New(gossip.Config{
		NodeID: id.NodeID, Name: n.cfg.Name, ClusterID: id.ClusterID, Advertise: n.cfg.Advertise, Key: key,
		Transport: n.port, Sharers: []gossip.Sharer{n.router.Stats(), n.probes, n.paidProbes}, Members: n.peers, Allowed: n.isMember,
		Logger: n.log, Registerer: n.registry,
	})
	if err == nil {
		n.renewal.Gossip(n.gossip)
	}
	return err
}

// startFreshness begins to know how old the state is.
func (n *Node) startFreshness() error {
	file, before, err := openLastTick(n.cfg.DataDir, clock.BootID(), n.log)
	if err != nil {
		return err
	}
	n.marks = file
	n.fresh = &freshness{
		boot: clock.Boot, now: clock.Now, limit: n.serveStale, before: before, keep: file.note,
		lastTick: func() (epoch, seq uint64, at resource.Time) {
			epoch, seq, at, _ = n.state.LastTick(n.identity.NodeID)
			return epoch, seq, at
		},
	}
	return nil
}

func (n *Node) startConsensus() (err error) {
	cc := consensus.Config{
		Name: n.cfg.Name, ClientURL: n.cfg.ClientURL, Version: n.cfg.Version, Role: n.cfg.Role, Seeds: n.cfg.Seeds, Describe: n.describe,
		Dir: n.cfg.DataDir, FSM: n.state, Transport: n.port, Identity: n.identity.Identity, Keeper: n.identity.kek,
		Multiplier: n.cfg.Multiplier, Fatal: n.cfg.Fatal, Logger: n.log, Registerer: n.registry,
	}
	if n.cfg.ServeStale != nil {
		cc.ServeStale = resource.ServeStaleText(*n.cfg.ServeStale)
	}
	if f := n.identity.founding; f != nil {
		cc.Bootstrap, cc.Voters = f.Bootstrap, f.Voters
	}
	n.consensus, err = consensus.New(cc)
	if errors.Is(err, consensus.ErrTwin) {
		return refuse("%w", err)
	}
	if err == nil {
		leads := n.consensus.IsLeader
		n.alerts.leads.Store(&leads)
	}
	return err
}

// journalDir is where the journal is, perhaps on a disk of its own.
func (n *Node) journalDir() string {
	if n.cfg.JournalDir != "" {
		return n.cfg.JournalDir
	}
	return filepath.Join(n.cfg.DataDir, "journal")
}

// startPath opens what requests pass through. It waits for the cluster's secrets, without
// which nothing could be served.
func (n *Node) startPath(ctx context.Context) (err error) {
	if err := n.openSecrets(ctx); err != nil {
		return err
	}
	n.journal, err = ledger.OpenJournal(ledger.Config{
		Dir: n.journalDir(), NodeID: n.identity.NodeID, Mode: n.cfg.Journal, Logger: n.log, Registerer: n.registry,
		MaxAge: n.cfg.JournalKeep, MaxBytes: int64(n.cfg.JournalMaxMB) << 20,
	})
	if err != nil {
		return err
	}
	if err := n.startLimits(); err != nil {
		return err
	}
	if err := n.startBlobs(); err != nil {
		return err
	}
	if err := n.startRequests(); err != nil { // callbacks may be told what they keep
		return err
	}
	n.startSecrets()
	n.auths = authplugin.NewGate(authplugin.GateConfig{Registerer: n.registry})
	n.filters = routerfilter.NewGate(n.registry)
	n.plugins = plugins.NewHost(plugins.Config{
		Dir: n.pluginDir(), WorkDir: n.workDir(), Exe: n.cfg.Exe, Version: n.cfg.Version,
		Source: n.callbackSource(), Fetch: n.blobs.Read, Sources: n.secrets, Auths: n.auths, Filters: n.filters, Providers: &n.providers, Guards: &n.guards,
		Start:  func() uint64 { return n.journal.Last() + 1 },
		Logger: n.log, Registerer: n.registry,
	})
	if err := n.syncPlugins(); err != nil {
		return err
	}
	n.wg.Go(n.follow)
	n.startPrices()
	n.startCapture()
	n.startPost()
	n.startRotation()
	n.startSignins()
	n.wg.Go(n.holdFloor)
	n.money = &money{
		nodeID: n.identity.NodeID, state: n.state, propose: n.consensus, journal: n.journal,
		budgets: n.budgets, fresh: n.fresh, boot: clock.Boot, now: clock.Now, log: n.log, registry: n.registry,
		life: n.consensus.Life(), estranged: n.consensus.Estranged(), took: n.consensus.Opened, had: n.consensus.Had, written: n.journal.Last(),
	}
	n.money.start()
	return nil
}

// openSecrets waits until the first entry of the cluster is applied here and opens its data
// keys. A node whose folder has them does not wait for anybody.
func (n *Node) openSecrets(ctx context.Context) error {
	for {
		info, ok := n.state.Cluster()
		if !ok {
			if err := n.state.WaitApplied(ctx, n.state.Applied()+1); err != nil {
				return fmt.Errorf("wait for the cluster's first entry: %w", err)
			}
			continue
		}
		if want := masterHash(n.cfg.MasterKey); want != info.MasterHash {
			return refuse("the configured master key is not the cluster's")
		}
		if err := n.openDEKs(ctx, info); err != nil {
			return err
		}
		n.founded()
		n.wg.Go(func() { n.renewal.Run(n.ctx) })
		return nil
	}
}

func (n *Node) pluginDir() string {
	if n.cfg.PluginDir != "" {
		return n.cfg.PluginDir
	}
	return filepath.Join(n.cfg.DataDir, "plugins")
}

// workDir is where relative paths in plugins' configurations begin: the data folder.
func (n *Node) workDir() string {
	dir, err := filepath.Abs(n.cfg.DataDir)
	if err != nil {
		return n.cfg.DataDir
	}
	return dir
}

// watch is told of every committed batch, in the apply goroutine.
func (n *Node) watch(c fsm.Change) {
	n.noteGeneration(c.Generation)
	n.budgets.Leases(c.Index, leases(c.Leases))
	if c.Tables["cluster"] {
		signal(n.identified)
		signal(n.rolled)
	}
	n.alerts.passed(c.Soft)
	if c.Tables["alert"] {
		signal(n.alerted)
	}
	if r := n.erasures.Load(); c.Tables["erasure"] && r != nil {
		r.Changed()
	}
	if c.Tables["price"] {
		signal(n.repriced)
	}
	if c.Tables["mcp_server"] || c.Tables["credential"] || c.Tables["variable"] {
		signal(n.servers)
	}
	if c.Tables["guardrail"] {
		n.guards.Expect(c.Index)
	}
	for _, table := range []string{"guardrail", "callback", "secret_source", "router_filter", "auth", "plugin", "variable", "setting"} {
		if c.Tables[table] {
			signal(n.changed)
			return
		}
	}
	if (c.Tables["deployment"] || c.Tables["credential"]) && n.providesByPlugin() {
		signal(n.changed)
	}
}

// providesByPlugin says whether a plugin could answer for deployments.
func (n *Node) providesByPlugin() bool {
	return slices.ContainsFunc(n.state.Catalog().Tables().Plugins, func(p *resource.Plugin) bool { return p.Kind == string(plugins.KindProvider) })
}

// follow keeps the plugins as the catalog has them.
func (n *Node) follow() {
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.changed:
		}
		if err := n.syncPlugins(); err != nil {
			n.log.Error("plugins are not as configured", "error", err)
		}
	}
}

func (n *Node) syncPlugins() error {
	defer n.guards.Reached(n.guards.Expected()) // of before the specs are read
	return n.plugins.Sync(n.specs())
}

// applyResources brings the file's resources into a cluster that this node leads.
func (n *Node) applyResources(ctx context.Context) error {
	if n.cfg.Resources == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for _, body := range n.cfg.Blobs {
		rec := resource.Blob{Class: resource.BlobConfiguration, Kind: "file"}
		if _, err := n.blobs.Put(ctx, fsm.Actor{Kind: "node", ID: n.identity.NodeID}, "", rec, body); err != nil {
			return err
		}
	}
	_, err := declare.Apply(ctx, n.consensus, declare.Config{State: n.state, Seal: n.seal, Leaving: n.leaving}, *n.cfg.Resources)
	return err
}

// Failed is closed when the journal's disk has failed: the node serves no inference any more, and must be stopped and started
// again.
func (n *Node) Failed() <-chan struct{} { return n.journal.Failed() }

// Ready returns an error that says why the node may not serve inference yet, or any more.
func (n *Node) Ready() error {
	switch {
	case n.draining.Load():
		return errors.New("the node is shutting down")
	case !n.built.Load():
		return errors.New("the node is starting")
	}
	if m, ok := n.self(); ok && m.Drained {
		return errors.New("the node is drained by an operator")
	}
	if err := n.journal.Err(); err != nil {
		return err
	}
	if err := n.plugins.Ready(); err != nil {
		return err
	}
	if !n.state.Kept() && !n.consensus.Ready() {
		return errors.New("the state is being rebuilt from the cluster")
	}
	if !n.money.opened.Load() && clock.Boot()-n.started < leaderGrace {
		return errors.New("no leader has been heard yet")
	}
	return n.serving()
}

// serving returns an error if inference must be refused here: the state is too old, or the
// node is no member any more.
func (n *Node) serving() error {
	if n.consensus.Removed() {
		return &llm.Error{Kind: llm.Unavailable, Code: "removed", Message: "This node was removed from its cluster. Ask another node."}
	}
	if m, ok := n.self(); ok && m.Quarantined != "" {
		return &llm.Error{Kind: llm.Unavailable, Code: "quarantined", Message: "This node is quarantined: " + m.Quarantined + ". Ask another node."}
	}
	if err := n.erasing(); err != nil {
		return err
	}
	return n.fresh.Serving()
}

// self is this node's own row in the table of members.
func (n *Node) self() (*resource.Member, bool) { return n.state.Member(n.identity.NodeID) }

// describe tells the other nodes how this one is.
func (n *Node) describe() consensus.Local {
	room := n.disk.Room()
	out := consensus.Local{
		InFlight: int(n.inFlight.Load()), Draining: n.draining.Load(), Version: n.cfg.Version,
		DiskFree: room.Free, DiskSize: room.Size, DiskLow: room.Low,
	}
	if w := n.warning(); w != "" {
		out.Warnings = []string{w}
	}
	if w := n.oldSeals(); w != "" {
		out.Warnings = append(out.Warnings, w)
	}
	if err := n.Ready(); err != nil {
		out.NotReady = err.Error()
	}
	return out
}

// Addr is where clients reach the node.
func (n *Node) Addr() string { return n.addr.String() }

// ID is the node's id.
func (n *Node) ID() string { return n.identity.NodeID }

// Stop ends the node: leadership is handed over, requests in flight finish, the journal is carried
// into the cluster and leases are given back, all as far as ctx allows.
func (n *Node) Stop(ctx context.Context) error {
	n.draining.Store(true)
	n.stepDown(ctx)
	errs := []error{n.stopListener(ctx)}
	if n.mcp != nil {
		n.mcp.Close()
	}
	if n.plugins != nil {
		n.plugins.Close()
	}
	if n.money != nil {
		flush, cancel := context.WithTimeout(ctx, 3*time.Second)
		n.money.stop(flush)
		cancel()
	}
	n.cancel()
	n.wg.Wait()
	errs = append(errs, n.closeRequests())
	if n.limits != nil {
		n.limits.Stop()
	}
	if n.quota != nil {
		n.quota.stop()
	}
	if n.gossip != nil {
		if err := n.gossip.Leave(time.Second); err != nil {
			n.log.Debug("gossip is left without a word", "error", err) // the others find out
		}
		errs = append(errs, n.gossip.Shutdown())
	}
	if n.consensus != nil {
		errs = append(errs, n.consensus.Shutdown(ctx))
	}
	if n.port != nil {
		errs = append(errs, n.port.Close())
	}
	if n.tape != nil {
		errs = append(errs, n.tape.Close())
	}
	if n.journal != nil {
		errs = append(errs, n.journal.Close())
	}
	if n.marks != nil {
		errs = append(errs, n.marks.close())
	}
	if n.state != nil {
		errs = append(errs, n.state.Close())
	}
	return errors.Join(errs...)
}

// stepDown hands the leadership over before the requests in flight are waited for, so that
// writes go on elsewhere meanwhile.
func (n *Node) stepDown(ctx context.Context) {
	if n.consensus == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if err := n.consensus.StepDown(ctx); err != nil {
		n.log.Warn("the leadership is still here", "error", err)
	}
}
