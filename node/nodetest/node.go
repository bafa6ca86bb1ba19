package nodetest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/node"
)

// Node is one node of a Cluster, running or not. Its embedded *node.Node is nil while it does
// not run.
type Node struct {
	*node.Node
	Name    string
	URL     string // of the client port
	Address string // of the cluster port
	Dir     string // data folder

	client  string // address of the client port
	id      string
	cfg     node.Config
	cluster *Cluster
	ended   atomic.Pointer[error] // why it ended itself
	admin   *client.Client
}

// Launch starts a node that does not run and does not wait until it is ready.
func (n *Node) Launch() {
	n.cluster.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	started, err := node.Start(ctx, n.cfg)
	if err != nil {
		n.cluster.t.Errorf("start node %s: %v", n.Name, err)
		return
	}
	n.Node, n.id = started, started.ID()
}

// Start starts a node that was stopped or killed and waits until it is ready.
func (n *Node) Start() {
	n.cluster.t.Helper()
	n.Launch()
	n.AwaitReady()
}

// Stop ends the node as an operator does.
func (n *Node) Stop() {
	n.cluster.t.Helper()
	n.end(10 * time.Second)
}

// Kill ends the node without a last word to anybody, as far as that can be done to a part of
// a process: it is cut off first, then stopped without time.
func (n *Node) Kill() {
	n.cluster.t.Helper()
	n.Cut()
	n.end(-1)
	n.Heal()
}

func (n *Node) end(limit time.Duration) {
	n.cluster.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	running := n.Node
	n.Node, n.admin = nil, nil
	if err := running.Stop(ctx); err != nil && limit > 0 && !errors.Is(err, context.DeadlineExceeded) {
		n.cluster.t.Errorf("stop node %s: %v", n.Name, err)
	}
}

// Running says whether the node runs.
func (n *Node) Running() bool { return n.Node != nil }

// fatal is what the node calls instead of ending the process.
func (n *Node) fatal(err error) {
	if n.ended.CompareAndSwap(nil, &err) {
		n.cluster.t.Errorf("node %s ended itself: %v", n.Name, err)
	}
}

// Cut parts the node from all others, in both directions.
func (n *Node) Cut() { n.setCut(true) }

// Heal undoes Cut.
func (n *Node) Heal() { n.setCut(false) }

func (n *Node) setCut(cut bool) {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	n.cluster.cut[n.Address] = cut
}

// Heal lets every node reach every other.
func (c *Cluster) Heal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.cut)
}

func (n *Node) isCut() bool {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	return n.cluster.cut[n.Address]
}

// reach is the node's view of the network.
func (n *Node) reach(addr string) bool {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	return addr == n.Address || !n.cluster.cut[n.Address] && !n.cluster.cut[addr]
}

// AwaitReady waits until the node may serve.
func (n *Node) AwaitReady() {
	n.cluster.t.Helper()
	if n.Node == nil {
		n.cluster.t.Fatalf("node %s does not run", n.Name)
	}
	n.cluster.Await("node "+n.Name+" is ready", func() bool { return n.Ready() == nil })
}

// Leader is the id of the leader that the node knows, "" if it knows none or does not answer.
func (n *Node) Leader() string {
	var out client.Cluster
	if status, body := n.Do("GET", "/api/v1/cluster", MasterKey, nil); status != 200 || json.Unmarshal(body, &out) != nil {
		return ""
	}
	return out.Leader
}

// Admin is the admin API with the master key. The client remembers what it has written.
func (n *Node) Admin() *client.Client {
	if n.admin == nil {
		n.admin = n.AdminAs(MasterKey)
	}
	return n.admin
}

// AdminAs is the admin API with another key.
func (n *Node) AdminAs(key string) *client.Client {
	return client.New(client.Config{Server: n.URL, Key: key, HTTP: web})
}

// web does not follow redirects, nor keep connections to nodes that have ended.
var web = &http.Client{
	Timeout:       patience,
	Transport:     &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Second},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// Do sends one request, in as JSON unless it is nil, a string or bytes, with pairs of header
// names and values. It returns the status, 0 if there was no answer, and the body.
func (n *Node) Do(method, path, key string, in any, header ...string) (int, []byte) {
	n.cluster.t.Helper()
	res, err := n.send(context.Background(), method, path, key, in, header...)
	if err != nil {
		return 0, []byte(err.Error())
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, []byte(err.Error())
	}
	return res.StatusCode, body
}

func (n *Node) send(ctx context.Context, method, path, key string, in any, header ...string) (*http.Response, error) {
	var body io.Reader
	switch in := in.(type) {
	case nil:
	case string:
		body = strings.NewReader(in)
	case []byte:
		body = bytes.NewReader(in)
	default:
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, n.URL+path, body)
	if err != nil {
		return nil, err
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for pair := range slices.Chunk(header, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	return web.Do(req)
}

// ChatBody is a short chat request for the model demo, with more fields.
func ChatBody(more Fields) Fields {
	body := Fields{
		"model": "demo", "max_tokens": 8,
		"messages": []map[string]string{{"role": "user", "content": "hello"}},
	}
	maps.Copy(body, more)
	return body
}

// Chat sends one short chat request with the key and returns the status and the body.
func (n *Node) Chat(key string) (int, []byte) {
	n.cluster.t.Helper()
	return n.Do("POST", "/v1/chat/completions", key, ChatBody(nil))
}

// Stream is an answer that comes event by event.
type Stream struct {
	Status int
	res    *http.Response
	lines  *bufio.Reader
	cancel context.CancelFunc
}

// Stream sends one chat request with "stream": true. Its caller closes the Stream, early to
// be a client that goes away.
func (n *Node) Stream(key string, more Fields) *Stream {
	n.cluster.t.Helper()
	body := ChatBody(more)
	body["stream"] = true
	return n.Open("/v1/chat/completions", key, body)
}

// Open sends a request whose answer comes event by event, as Stream does.
func (n *Node) Open(path, key string, body Fields) *Stream {
	n.cluster.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	res, err := n.send(ctx, "POST", path, key, body) //nolint:bodyclose // by Close
	if err != nil {
		cancel()
		n.cluster.t.Fatalf("stream from node %s: %v", n.Name, err)
	}
	return &Stream{Status: res.StatusCode, res: res, lines: bufio.NewReader(res.Body), cancel: cancel}
}

// Next returns the data of the next event, "" at the end.
func (s *Stream) Next() string {
	for {
		line, err := s.lines.ReadString('\n')
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			return strings.TrimSpace(data)
		}
		if err != nil {
			return ""
		}
	}
}

// Rest reads to the end and returns all of it.
func (s *Stream) Rest() string {
	b, _ := io.ReadAll(s.lines) // a cut stream ends where it ends
	return string(b)
}

// Close hangs up.
func (s *Stream) Close() {
	s.cancel()
	_ = s.res.Body.Close()
}

// Configure changes the configuration of the node's next start.
func (n *Node) Configure(edit func(*node.Config)) { edit(&n.cfg) }
