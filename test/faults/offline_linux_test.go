//go:build e2e

package faults

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/test/cluster"
)

// TestOffline_DialsNothing runs a three-node cluster inside a network namespace whose only
// way out is a cable to nowhere, does what the other tests do, and expects that not one
// packet was sent into it: neither a look-up of a name nor a connection. A trace of what is sent inside, on
// loopback, too, has the nodes and their upstream and nothing else. With CONCLAVE_FULL for an hour, with restarts.
func TestOffline_DialsNothing(t *testing.T) {
	const inside = "CONCLAVE_TEST_INSIDE"
	switch os.Getenv(inside) {
	case "probe":
		probe(t)
		return
	case "cluster":
		live(t)
		return
	}
	if os.Geteuid() != 0 {
		t.Fatal("needs root to make a network namespace")
	}
	ns := fmt.Sprintf("conclave%d", os.Getpid())
	ip := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), "ip", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	ip("netns", "add", ns)
	t.Cleanup(func() { _ = exec.CommandContext(context.Background(), "ip", "netns", "del", ns).Run() })
	// IPv6 would announce itself on the cable.
	ip("netns", "exec", ns, "sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6")
	for _, cmd := range [][]string{
		{"link", "set", "lo", "up"},
		{"link", "add", "out", "type", "veth", "peer", "name", "far"},
		{"addr", "add", "10.99.0.1/24", "dev", "out"},
		{"link", "set", "out", "up"},
		{"link", "set", "far", "up"},
		{"neigh", "add", "10.99.0.2", "lladdr", "02:00:00:00:00:fe", "dev", "out", "nud", "permanent"}, // else questions for it were all that is seen
		{"route", "add", "default", "via", "10.99.0.2"},
	} {
		ip(append([]string{"-n", ns}, cmd...)...)
	}
	before := transmitted(ip("-n", ns, "-s", "link", "show", "out"))
	within := func(what string) {
		cmd := exec.CommandContext(t.Context(), "ip", "netns", "exec", ns, os.Args[0], "-test.run", "^TestOffline_DialsNothing$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"="+what)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s inside the namespace: %v\n%s", what, err, out)
		}
		t.Logf("%s inside the namespace:\n%s", what, out)
	}
	within("cluster")
	after := transmitted(ip("-n", ns, "-s", "link", "show", "out"))
	if after != before {
		t.Errorf("bytes and packets sent to the outside: %s, want %s as before", after, before)
	}
	within("probe")
	if transmitted(ip("-n", ns, "-s", "link", "show", "out")) == after {
		t.Error("a packet that was sent outside on purpose was not counted")
	}
}

// probe sends a packet into the cable and looks a name up, to see that both would be counted.
func probe(t *testing.T) {
	tr := startTrace(t)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "udp", "10.99.0.2:9")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; { // until the trace has seen it
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		_, err = (&net.Resolver{PreferGo: true}).LookupHost(ctx, "conclave.example")
		cancel()
		seen := strings.Join(tr.lines(), "\n")
		if strings.Contains(seen, " to 10.99.0.2:9") && strings.Contains(seen, ":53") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("what was sent and looked up on purpose (%v) is not in the trace:\n%s", err, seen)
		}
	}
	tr.end(t)
}

// transmitted is the line of transmitted bytes and packets of `ip -s link`.
func transmitted(text string) string {
	_, after, _ := strings.Cut(text, "TX:")
	_, after, _ = strings.Cut(after, "\n")
	line, _, _ := strings.Cut(after, "\n")
	return strings.Join(strings.Fields(line), " ")
}

// offline is a cluster with nothing around it.
type offline struct {
	*cluster.Cluster
	t       *testing.T
	key     string
	reads   []string // paths of the admin API
	turn    int
	asked   map[string]int // by kind and status
	pace    <-chan time.Time
	started []time.Duration // until a node that started again was ready
}

// live does what nodes do all day, and expects to see nobody spoken to but them and their upstream.
func live(t *testing.T) {
	tr := startTrace(t)
	c := cluster.Start(t, 3)
	_, secret := c.NewKey(0, map[string]any{})
	tick := time.NewTicker(lasting(time.Millisecond, 200*time.Millisecond))
	defer tick.Stop()
	o := &offline{Cluster: c, t: t, key: secret, asked: map[string]int{}, pace: tick.C}
	o.configure()
	o.known()
	period := lasting(0, time.Hour)
	begun, pauses := time.Now(), []func(){o.stopped, o.killed, o.allStopped}
	for past := time.Duration(0); ; past = time.Since(begun) {
		o.round()
		if past >= period {
			break
		}
		if i := len(o.started); len(pauses) > 0 && past > period*time.Duration(4-len(pauses))/4 {
			pauses[0]()
			pauses = pauses[1:]
			t.Logf("after %s: ready %v after the start", past.Round(time.Second), o.started[i:])
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(o.asked)) {
		t.Logf("%6d %s", o.asked[kind], kind)
	}
	o.reported()
	tr.end(t)
	t.Logf("%s were traced; sent:\n%s", time.Since(begun).Round(time.Second), strings.Join(tr.lines(), "\n"))
	for _, s := range tr.strange(o.addresses()) {
		t.Errorf("sent to somebody else: %s", s)
	}
}

// configure has all that a node does by itself happen often.
func (o *offline) configure() {
	o.t.Helper()
	for _, r := range []struct {
		path string
		body map[string]any
	}{
		{"models", map[string]any{"name": "unpriced", "deployments": []map[string]any{{"provider": "openai", "api_base": o.MockURL() + "/v1", "model": "a-model-that-no-table-has"}}}},
		{"guardrails", map[string]any{"name": "words", "plugin": "keywords", "hooks": []string{"before"}, "config": map[string]any{"words": []string{"secret project"}}}},
		{"callbacks", map[string]any{"name": "log", "plugin": "file", "config": map[string]any{"path": filepath.Join(o.t.TempDir(), "log.jsonl")}}},
	} {
		if status, body := cluster.CallRaw(o.t, http.MethodPost, o.Nodes[0].URL+"/api/v1/"+r.path, cluster.MasterKey, r.body); status != http.StatusCreated {
			o.t.Fatalf("make %s: %d %s", r.path, status, body)
		}
	}
	for name, value := range map[string]any{
		"background_health_checks": true, "health_check_interval": 10,
		"snapshots":   map[string]any{"every": "1m", "keep": 3},
		"log_content": true,
		"audit":       map[string]any{"retention": "1h"},
	} {
		if status, body := cluster.CallRaw(o.t, http.MethodPut, o.Nodes[0].URL+"/api/v1/settings/"+name, cluster.MasterKey, map[string]any{"value": value}); status/100 != 2 {
			o.t.Fatalf("setting %s: %d %s", name, status, body)
		}
	}
	ask := cluster.ChatBody()
	ask["model"] = "unpriced"
	for _, n := range o.Nodes {
		o.Await("the node runs the plugins", 20*time.Second, func() bool {
			return cluster.Call(o.t, http.MethodPost, n.URL+"/v1/chat/completions", o.key, ask, nil) == http.StatusOK
		})
	}
}

// known reads which reads there are.
func (o *offline) known() {
	o.t.Helper()
	var doc struct {
		Paths map[string]map[string]any
	}
	if status := o.Admin(0, http.MethodGet, "/api/v1/openapi.json", nil, &doc); status != http.StatusOK {
		o.t.Fatalf("the routes: %d", status)
	}
	for path, methods := range doc.Paths {
		if methods["get"] != nil && !strings.Contains(path, "{") {
			o.reads = append(o.reads, path)
		}
	}
	slices.Sort(o.reads)
	o.reads = append(o.reads, "/v1/models", "/health", "/health/latest", "/metrics", "/key/list", "/team/list", "/user/list", "/model/info",
		"/get/config/callbacks", "/public/litellm_model_cost_map", "/model/cost_map/source", "/model/deprecations", "/public/providers", "/openapi.json", "/ui", "/docs")
	if len(o.reads) < 40 {
		o.t.Fatalf("there are %d reads: %v", len(o.reads), o.reads)
	}
}

// call sends one request to the node whose turn it is. An answer that is not among those wanted is an error; none are wanted: anything but
// that it could not be done.
func (o *offline) call(kind, method, path, key string, in any, want ...int) []byte {
	<-o.pace
	n := o.Nodes[o.turn%len(o.Nodes)]
	status, body := cluster.CallRaw(o.t, method, n.URL+path, key, in)
	o.asked[fmt.Sprint(kind, ": ", status)]++
	if ok := slices.Contains(want, status); !ok && (len(want) > 0 || status == 0 || status >= 500) {
		o.t.Errorf("%s %s at node %s: %d %.300s", method, path, n.Name, status, body)
	}
	return body
}

// round has each node serve requests of each kind, and all be administrated.
func (o *offline) round() {
	for range o.Nodes {
		o.turn++
		ask := func(kind, path string, want int, body map[string]any) {
			o.call(kind, http.MethodPost, path, o.key, body, want)
		}
		chat := cluster.ChatBody()
		ask("chat", "/v1/chat/completions", http.StatusOK, chat)
		ask("messages", "/v1/messages", http.StatusOK, chat)
		ask("responses", "/v1/responses", http.StatusOK, map[string]any{"model": "demo", "input": "hello"})
		ask("embeddings", "/v1/embeddings", http.StatusOK, map[string]any{"model": "demo", "input": "hello"})
		chat["stream"] = true
		ask("stream", "/v1/chat/completions", http.StatusOK, chat)
		chat["model"] = "unpriced"
		ask("without a price", "/v1/chat/completions", http.StatusOK, chat)
		chat["model"] = "nobody-has-it"
		ask("unknown model", "/v1/chat/completions", http.StatusNotFound, chat)
		o.call("write", http.MethodPost, "/api/v1/keys", cluster.MasterKey, map[string]any{"expires_at": time.Now().Add(time.Minute).UTC().Format(time.RFC3339)}, http.StatusCreated)
	}
	for _, path := range o.reads {
		o.turn++
		o.call("read", http.MethodGet, path, cluster.MasterKey, nil)
	}
}

// start starts nodes and waits until they are ready.
func (o *offline) start(nodes ...*cluster.Node) {
	begun := time.Now()
	for _, n := range nodes {
		n.Start()
	}
	for _, n := range nodes {
		n.AwaitReady()
		o.started = append(o.started, time.Since(begun).Round(10*time.Millisecond))
	}
	o.Leader()
}

func (o *offline) stopped() {
	n := o.Nodes[(o.Leader()+1)%3]
	n.Stop()
	o.start(n)
}

func (o *offline) killed() {
	n := o.Nodes[o.Leader()]
	n.Kill()
	o.start(n)
}

func (o *offline) allStopped() {
	for _, n := range o.Nodes {
		n.Stop()
	}
	o.start(o.Nodes...)
}

// addresses are all that may be spoken to.
func (o *offline) addresses() map[string]bool {
	known := map[string]bool{strings.TrimPrefix(o.MockURL(), "http://"): true}
	for _, n := range o.Nodes {
		known[n.Address], known[strings.TrimPrefix(n.URL, "http://")] = true, true
	}
	return known
}

// reported expects the nodes' own reports of what they dialled to say the same.
func (o *offline) reported() {
	var all struct {
		Nodes []struct {
			Report struct {
				Seen []struct {
					Address string `json:"address"`
					Opened  int64  `json:"opened"`
				} `json:"seen"`
			} `json:"report"`
		} `json:"nodes"`
	}
	known, upstream := o.addresses(), int64(0)
	o.Admin(0, http.MethodGet, "/api/v1/cluster/egress", nil, &all)
	for _, n := range all.Nodes {
		for _, s := range n.Report.Seen {
			if !known[s.Address] {
				o.t.Errorf("a node says that it dialled %s", s.Address)
			}
			if s.Address == strings.TrimPrefix(o.MockURL(), "http://") {
				upstream += s.Opened
			}
		}
	}
	if len(all.Nodes) != len(o.Nodes) || upstream == 0 {
		o.t.Errorf("%d nodes report, and %d connections to the upstream", len(all.Nodes), upstream)
	}
}
