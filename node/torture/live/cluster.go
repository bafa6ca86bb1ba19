package live

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/internal/ports"
	"github.com/conclave-llm/conclave/mock"
	"github.com/conclave-llm/conclave/node/torture/rig"
)

const (
	masterKey = "sk-torture-master-0123456789abcdef" // of a cluster that lives as long as its run
	startWait = 60 * time.Second
	readyWait = 30 * time.Second // for all nodes, after a fault
	callWait  = 15 * time.Second
	look      = 20 * time.Millisecond
)

// host is one node.
type host struct {
	name, url, address, file string
	log                      *os.File
	volume                   *rig.Volume // of its data; nil: they lie in the folder of all

	mu      sync.Mutex // guards what follows
	process *rig.Process
	program string // that it runs from its next start on
	asked   bool   // it is to end, or may
}

// cluster is the processes of one run.
type cluster struct {
	cfg      Config
	hosts    []*host
	net      *rig.Network // nil: all on loopback
	upstream net.Listener
	server   *http.Server
	bill     *mock.Server
	http     *http.Client
	began    time.Time
	exits    *lines
	watch    sync.WaitGroup
}

const nodeFile = `node {
  name          = %q
  data_dir      = %q
  listen        = %q
  cluster       = %q
  master_key    = env("CONCLAVE_MASTER_KEY")
  drain_timeout = "10s"
  journal       = %q
}
`

// volumeSize is that of a node's disk; a file that has holes.
const volumeSize = 4 << 30

// newCluster founds a cluster and waits until all its nodes vote.
func newCluster(ctx context.Context, cfg Config, may map[need]bool, exits *lines) (_ *cluster, err error) {
	c := &cluster{
		cfg: cfg, exits: exits, began: time.Now(),
		http: &http.Client{Timeout: callWait, Transport: &http.Transport{DialContext: egress.Direct(nil).DialContext, MaxIdleConnsPerHost: 64}},
	}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	gateway := "127.0.0.1"
	if may[network] {
		if c.net, err = rig.NewNetwork(cfg.Nodes); err != nil {
			return nil, err
		}
		gateway = c.net.Gateway()
	}
	if err := c.startUpstream(ctx, gateway); err != nil {
		return nil, err
	}
	for i := range cfg.Nodes {
		h, err := c.newHost(i)
		if err != nil {
			return nil, err
		}
		c.hosts = append(c.hosts, h)
		if !may[volumes] {
			continue
		}
		if h.volume, err = rig.NewVolume(filepath.Join(cfg.work, h.name+".disk"), c.folder(i), volumeSize); err != nil {
			return nil, err
		}
	}
	return c, c.found(ctx)
}

func (c *cluster) startUpstream(ctx context.Context, gateway string) error {
	var lc net.ListenConfig
	var err error
	if c.upstream, err = lc.Listen(ctx, "tcp", net.JoinHostPort(gateway, "0")); err != nil {
		return fmt.Errorf("start the upstream: %w", err)
	}
	c.bill = mock.New(mock.Config{})
	c.server = &http.Server{Handler: c.bill, ReadHeaderTimeout: callWait}
	c.watch.Go(func() { _ = c.server.Serve(c.upstream) }) // ends with ErrServerClosed
	return nil
}

// newHost makes a node that has not been started.
func (c *cluster) newHost(i int) (*host, error) {
	h := &host{name: string(rune('a' + i)), program: c.cfg.Program}
	if err := c.configure(h, i, filepath.Join(c.cfg.work, h.name), clientPort); err != nil {
		return nil, err
	}
	var err error
	h.log, err = os.OpenFile(filepath.Join(c.cfg.Dir, "nodes", h.name+".log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	return h, err
}

// The ports of what runs in the network of a node: the next one is the cluster's.
const (
	clientPort = 4000
	copyPort   = 4010 // of a process from a copy of the node's folder
)

// configure gives a process addresses in the network of node i, by ports there from the given one on, and writes its configuration
// beside the folder of its data.
func (c *cluster) configure(h *host, i int, dir string, port int) (err error) {
	var client string
	if c.net != nil {
		client, h.address = fmt.Sprint(c.net.Host(i), ":", port), fmt.Sprint(c.net.Host(i), ":", port+1)
	} else {
		var failed error
		client, err = ports.Addr()
		h.address, failed = ports.Addr()
		if err := errors.Join(err, failed); err != nil {
			return err
		}
	}
	h.url, h.file = "http://"+client, dir+".hcl"
	return os.WriteFile(h.file, fmt.Appendf(nil, nodeFile, h.name, dir, client, h.address, c.cfg.Journal), 0o600)
}

// found starts the nodes as an operator does.
func (c *cluster) found(ctx context.Context) error {
	if err := c.start(0, "--bootstrap"); err != nil {
		return err
	}
	if err := c.awaitReady(ctx, startWait, 0); err != nil {
		return err
	}
	for i := range c.hosts[1:] {
		if err := c.join(ctx, i+1, 0); err != nil {
			return err
		}
	}
	return c.awaitVoters(ctx, 0)
}

// awaitVoters waits until all nodes vote, as one of them sees it.
func (c *cluster) awaitVoters(ctx context.Context, i int) error {
	return c.await(ctx, startWait, "every node votes", func() bool { return c.voters(ctx, i) == len(c.hosts) })
}

// all are the nodes.
func (c *cluster) all() []int {
	all := make([]int, len(c.hosts))
	for i := range all {
		all[i] = i
	}
	return all
}

// join has node i join through another one.
func (c *cluster) join(ctx context.Context, i, through int) error {
	var token struct {
		Token string `json:"token"`
	}
	err := c.await(ctx, startWait, "a join token is made", func() bool {
		return c.call(ctx, through, http.MethodPost, "/api/v1/cluster/join-tokens", masterKey, map[string]any{}, &token) == http.StatusCreated
	})
	if err != nil {
		return err
	}
	if err := c.start(i, "--join", c.hosts[through].address, "--token", token.Token); err != nil {
		return err
	}
	return c.awaitReady(ctx, startWait, i)
}

// folder is where a node's data are.
func (c *cluster) folder(i int) string { return filepath.Join(c.cfg.work, c.hosts[i].name) }

// voters is how many members vote, as node i sees it.
func (c *cluster) voters(ctx context.Context, i int) (n int) {
	var out struct {
		Members []member `json:"members"`
	}
	if c.call(ctx, i, http.MethodGet, "/api/v1/cluster", masterKey, nil, &out) != http.StatusOK {
		return 0
	}
	for _, m := range out.Members {
		if m.Voter {
			n++
		}
	}
	return n
}

// start starts a node; whatever ends it unasked is written down.
func (c *cluster) start(i int, more ...string) error {
	h := c.hosts[i]
	p, err := c.run(h, i, more...)
	if err != nil {
		return err
	}
	h.mu.Lock()
	h.process, h.asked = p, false
	h.mu.Unlock()
	c.watch.Go(func() {
		p.Wait()
		h.mu.Lock()
		asked := h.asked || h.process != p
		h.mu.Unlock()
		if !asked {
			_ = c.exits.add(exit{Node: h.name, At: time.Since(c.began), Status: p.Status()}) // Check misses the file if it cannot be written
		}
	})
	return nil
}

// run starts a process in the network of node i.
func (c *cluster) run(h *host, i int, more ...string) (*rig.Process, error) {
	h.mu.Lock()
	args := append([]string{h.program, "serve", "--config", h.file}, more...)
	h.mu.Unlock()
	if c.net != nil {
		args = c.net.Within(i, args)
	}
	return rig.Run([]string{"CONCLAVE_MASTER_KEY=" + masterKey}, args, h.log)
}

// end ends a node in a way that is asked for.
func (c *cluster) end(i int, how func(*rig.Process)) {
	h := c.hosts[i]
	h.mu.Lock()
	h.asked = true
	p := h.process
	h.mu.Unlock()
	if p != nil {
		how(p)
	}
}

// mayEnd does something while the process of a node may end without being asked to.
func (c *cluster) mayEnd(i int, meanwhile func()) {
	h := c.hosts[i]
	h.mu.Lock()
	h.asked = true
	h.mu.Unlock()
	meanwhile()
	h.mu.Lock()
	h.asked = h.process.Ended()
	h.mu.Unlock()
}

func (c *cluster) process(i int) *rig.Process {
	c.hosts[i].mu.Lock()
	defer c.hosts[i].mu.Unlock()
	return c.hosts[i].process
}

// close ends all processes and takes the network down.
func (c *cluster) close() {
	var all sync.WaitGroup
	for i := range c.hosts {
		all.Go(func() {
			c.end(i, func(p *rig.Process) {
				_ = p.Resume() // it may be suspended
				p.Stop()
			})
		})
	}
	all.Wait()
	if c.server != nil {
		_ = c.server.Close()
	}
	c.watch.Wait()
	for _, h := range c.hosts {
		_ = h.log.Close()
		if h.volume != nil {
			_ = h.volume.Close() // Run fails if something of it is left
		}
	}
	if c.net != nil {
		c.net.Close()
	}
}

// await waits until cond holds.
func (c *cluster) await(ctx context.Context, limit time.Duration, what string, cond func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %s", limit, what)
		}
	}
	return nil
}

// awaitReady waits until nodes say that they are ready.
func (c *cluster) awaitReady(ctx context.Context, limit time.Duration, nodes ...int) error {
	for _, i := range nodes {
		err := c.await(ctx, limit, "node "+c.hosts[i].name+" is ready", func() bool { return c.ready(ctx, c.hosts[i]) })
		if err != nil {
			return err
		}
	}
	return nil
}

// ready says whether a process says so.
func (c *cluster) ready(ctx context.Context, h *host) bool {
	status, _ := c.callAt(ctx, h.url, http.MethodGet, "/health/readiness", "", "", nil, nil)
	return status == http.StatusOK
}

// call asks node i and returns the status, 0 if there was no answer.
func (c *cluster) call(ctx context.Context, i int, method, path, key string, in, out any) int {
	status, _ := c.callAfter(ctx, i, method, path, key, "", in, out)
	return status
}

// callAfter is call of a node that has applied an index, "" for any, and returns the index of the
// answer too.
func (c *cluster) callAfter(ctx context.Context, i int, method, path, key, index string, in, out any) (int, string) {
	return c.callAt(ctx, c.hosts[i].url, method, path, key, index, in, out)
}

// callAt is callAfter of the process at an address.
func (c *cluster) callAt(ctx context.Context, url, method, path, key, index string, in, out any) (int, string) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return 0, ""
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, url+path, body)
	if err != nil {
		return 0, ""
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if index != "" {
		req.Header.Set(headerMinIndex, index)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return 0, ""
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil || out != nil && res.StatusCode/100 == 2 && json.Unmarshal(text, out) != nil {
		return 0, ""
	}
	return res.StatusCode, res.Header.Get(headerIndex)
}

// The headers by which a client has a node wait for what another one told it.
const (
	headerIndex    = "x-conclave-index"
	headerMinIndex = "x-conclave-min-index"
)
