package node_test

import (
	"bytes"
	"encoding/hex"
	"encoding/pem"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/node"
	"github.com/conclave-llm/conclave/node/nodetest"
	"github.com/conclave-llm/conclave/secret"
)

// quick rotates without waiting long for nodes that are away.
func quick(_ int, cfg *node.Config) { cfg.RenewalGrace = 300 * time.Millisecond }

// rotated finds the newest rotation of a kind, as a node knows it.
func rotated(t *testing.T, n *nodetest.Node, kind string) client.ClusterRotation {
	t.Helper()
	page, err := n.Admin().Rotations(t.Context())
	if err != nil {
		return client.ClusterRotation{}
	}
	for _, r := range page.Items {
		if r.Kind == kind {
			return r
		}
	}
	return client.ClusterRotation{}
}

// rotate exchanges a key and waits until the step is one of those, as a node knows it.
func rotate(t *testing.T, c *nodetest.Cluster, n *nodetest.Node, kind string, until ...string) client.ClusterRotation {
	t.Helper()
	if _, err := n.Admin().RotateClusterKey(t.Context(), kind, "", client.Do); err != nil {
		t.Fatalf("rotate %s: %v", kind, err)
	}
	c.Await("the rotation of "+kind, func() bool { return slices.Contains(until, rotated(t, n, kind).Step) })
	return rotated(t, n, kind)
}

// traffic asks the running nodes until the returned function is called, which tells how many
// requests were answered, and fails the test for each that was not.
func traffic(t *testing.T, key string, nodes ...*nodetest.Node) (stop func() int64) {
	done := make(chan struct{})
	var served atomic.Int64
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if status, body := n.Chat(key); status != 200 {
					t.Errorf("a request at %s during a rotation: %d %s", n.Name, status, body)
					return
				}
				served.Add(1)
			}
		})
	}
	return func() int64 { close(done); wg.Wait(); return served.Load() }
}

// TestRotate_nodeAway exchanges every key of a cluster under traffic while a node is stopped. The
// node follows when it is back, within the overlap.
func TestRotate_nodeAway(t *testing.T) {
	t.Parallel()
	c := nodetest.Config{Edit: quick}.Start(t, 3)
	if _, err := c.Nodes[0].Admin().Credentials().Create(t.Context(), nodetest.Fields{"name": "c", "provider": "openai", "api_key": "sk-planted-provider-key"}); err != nil {
		t.Fatal(err)
	}
	key := c.Key(0, nodetest.Fields{"name": "k"}).Secret
	away := c.Followers()[0]
	away.Stop()
	var here []*nodetest.Node
	for _, n := range c.Nodes {
		if n != away {
			here = append(here, n)
		}
	}
	before := fileOf(t, here[0], "kek")
	stop := traffic(t, key, here...)
	for _, tt := range []struct{ kind, step string }{
		{"gossip", "overlap"}, {"ca", "overlap"}, {"dek", "done"}, {"kek", "done"}, {"node-certs", "done"},
	} {
		r := rotate(t, c, here[0], tt.kind, "overlap", "done")
		if r.Step != tt.step || !slices.Contains(r.Late, away.Name) { // beside it, who is too slow on a busy machine
			t.Errorf("rotation of %s: got step %s, late %v, want %s and %s", tt.kind, r.Step, r.Late, tt.step, away.Name)
		}
	}
	if n := stop(); n == 0 {
		t.Error("no request was made during the rotations")
	}
	away.Start()
	away.AwaitReady()
	for _, kind := range []string{"gossip", "ca"} {
		c.Await("the end of the overlap of "+kind, func() bool { return rotated(t, here[0], kind).Step == "done" })
	}
	for _, n := range c.Nodes {
		c.Await("the new KEK on "+n.Name, func() bool { return !bytes.Equal(fileOf(t, n, "kek"), before) })
	}
	if got, want := fileOf(t, away, "kek"), fileOf(t, here[0], "kek"); !bytes.Equal(got, want) {
		t.Error("the node that was away has another KEK than the others")
	}
	for _, n := range c.Nodes {
		if status, body := n.Chat(key); status != 200 {
			t.Errorf("%s after the rotations: %d %s", n.Name, status, body)
		}
		n.Stop() // and all of it is on the disk
		n.Start()
		n.AwaitReady()
	}
}

func fileOf(t *testing.T, n *nodetest.Node, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(n.Dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRotate_ca: a rotation that no node misses ends at once, old tokens are useless then and
// new ones are good, and the leader may change meanwhile.
func TestRotate_ca(t *testing.T) {
	t.Parallel()
	c := nodetest.Config{Edit: quick}.Start(t, 3)
	old := fileOf(t, c.Nodes[0], "ca.crt")
	if _, err := c.Nodes[1].Admin().RotateClusterKey(t.Context(), "ca", "", client.Do); err != nil {
		t.Fatal(err)
	}
	leader := c.Leader()
	_ = leader.Admin().Transfer(t.Context(), "") // a rotation does not depend on who leads
	c.Await("the end", func() bool { return rotated(t, c.Nodes[1], "ca").Step == "done" })
	for _, n := range c.Nodes {
		c.Await("the new CA on "+n.Name, func() bool {
			now := fileOf(t, n, "ca.crt")
			return !bytes.Contains(now, bytes.TrimSpace(old))
		})
	}
	n := c.Join()
	key := c.Key(0, nodetest.Fields{"name": "k"}).Secret
	if status, body := n.Chat(key); status != 200 {
		t.Errorf("a node that joined after the rotation: %d %s", status, body)
	}
	if _, err := c.Nodes[0].Admin().RotateClusterKey(t.Context(), "salt", "", client.Do); err == nil {
		t.Error("a key that is not there was rotated")
	}
}

// TestRotate_kek: the old KEK opens nothing that any node has, nor what is sealed afterwards.
func TestRotate_kek(t *testing.T) {
	t.Parallel()
	c := nodetest.Config{Edit: quick}.Start(t, 3)
	old, err := secret.KEKOf(secret.New(string(fileOf(t, c.Nodes[0], "kek"))))
	if err != nil {
		t.Fatal(err)
	}
	rotate(t, c, c.Nodes[2], "kek", "done")
	for _, n := range c.Nodes {
		c.Await("the new KEK alone on "+n.Name, func() bool {
			files, _ := filepath.Glob(filepath.Join(n.Dir, "kek*")) // and what opens sealed values, under the new one
			files = slices.DeleteFunc(files, func(f string) bool { return filepath.Base(f) == "kek.values" })
			return len(files) == 1 && !bytes.Contains(fileOf(t, n, "kek"), []byte(hexOf(old.Bytes())))
		})
		sealed := fileOf(t, n, "ca.key")
		if opens(old, sealed) {
			t.Errorf("the old KEK opens the CA's key of %s", n.Name)
		}
	}
}

// TestRotate_configuredKEK: where the operator keeps the KEK, the next one must be configured on
// every node.
func TestRotate_configuredKEK(t *testing.T) {
	t.Parallel()
	c := nodetest.Config{Edit: quick}.Start(t, 1)
	n := c.Nodes[0]
	now := secret.New(string(fileOf(t, n, "kek")))
	if err := os.Remove(filepath.Join(n.Dir, "kek")); err != nil {
		t.Fatal(err)
	}
	next, err := secret.NewKEK()
	if err != nil {
		t.Fatal(err)
	}
	n.Configure(func(cfg *node.Config) { cfg.KEK = now })
	n.Stop()
	n.Start()
	n.AwaitReady()
	if _, err := n.Admin().RotateClusterKey(t.Context(), "kek", "", client.Do); err == nil {
		t.Fatal("a KEK was exchanged without a next one")
	}
	n.Configure(func(cfg *node.Config) { cfg.KEKNext = secret.New(hexOf(next.Bytes())) })
	n.Stop()
	n.Start()
	n.AwaitReady()
	if r := rotate(t, c, n, "kek", "done"); r.ID != next.ID() {
		t.Errorf("got the KEK %s, want %s", r.ID, next.ID())
	}
	n.Configure(func(cfg *node.Config) { cfg.KEK, cfg.KEKNext = cfg.KEKNext, secret.Text{} })
	n.Stop()
	n.Start()
	n.AwaitReady()
	if _, err := os.Stat(filepath.Join(n.Dir, "kek")); !os.IsNotExist(err) {
		t.Errorf("a configured KEK is in the data folder: %v", err)
	}
}

// TestRotate_dek: every stored secret is sealed under the new data key, still opens, keeps its
// fingerprint, and no version changes.
func TestRotate_dek(t *testing.T) {
	t.Parallel()
	c := nodetest.Config{Edit: quick}.Start(t, 3)
	api := c.Nodes[0].Admin()
	made, err := api.Credentials().Create(t.Context(), nodetest.Fields{"name": "c", "provider": "openai", "api_key": "sk-planted-provider-key"})
	if err != nil {
		t.Fatal(err)
	}
	rotate(t, c, c.Nodes[1], "dek", "done")
	now, err := api.Credentials().One(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	if now.Version != made.Version || now.APIKey.Fingerprint != made.APIKey.Fingerprint {
		t.Errorf("got version %d and fingerprint %v, want %d and %v", now.Version, now.APIKey, made.Version, made.APIKey)
	}
	c.Nodes[0].Stop()
	_ = filepath.WalkDir(c.Nodes[0].Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, []byte("sk-planted-provider-key")) {
			t.Errorf("%s holds a secret in the clear", path)
		}
		return nil
	})
	c.Nodes[0].Start()
	c.Nodes[0].AwaitReady()
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }

// opens says whether a KEK opens the sealed key of the CA in a PEM file.
func opens(k *secret.KEK, file []byte) bool {
	block, _ := pem.Decode(file)
	if block == nil {
		return true
	}
	_, err := k.Unwrap(block.Bytes, "ca")
	return err == nil
}

// TestSnapshot_BeforeExchangeOfKEK: a backup from before an exchange of the KEK is refused with the
// names of both KEKs, and nothing is changed. A fresh cluster that is founded with the KEK of then takes it,
// and may exchange that KEK afterwards. An exchange of the data key needs nothing: the old data key is still there.
func TestSnapshot_BeforeExchangeOfKEK(t *testing.T) {
	t.Parallel()
	c := nodetest.Config{Edit: quick}.Start(t, 1)
	n := c.Nodes[0]
	text := strings.TrimSpace(string(fileOf(t, n, "kek")))
	old, err := secret.KEKOf(secret.New(text))
	if err != nil {
		t.Fatal(err)
	}
	k := c.Key(0, nodetest.Fields{"name": "k"})
	backup := save(t, n)
	rotate(t, c, n, "dek", "done")
	if _, err := restore(t, c, n, backup, nil); err != nil {
		t.Errorf("after an exchange of the data key: %v", err)
	}
	replayed(t, c, 1)
	rotate(t, c, n, "kek", "done")
	c.Await("the old KEK is gone", func() bool { return !strings.Contains(string(fileOf(t, n, "kek")), text) })
	now, err := secret.KEKOf(secret.New(strings.TrimSpace(string(fileOf(t, n, "kek")))))
	if err != nil {
		t.Fatal(err)
	}
	_, err = restore(t, c, n, backup, nil)
	if !isProblem(err, http.StatusConflict, "refused") || !strings.Contains(err.Error(), old.ID()) || !strings.Contains(err.Error(), now.ID()) {
		t.Errorf("after an exchange of the KEK: got %v, want a refusal that names %s and %s", err, old.ID(), now.ID())
	}
	if status, body := n.Chat(k.Secret); status != http.StatusOK {
		t.Errorf("after the refusal: %d %s", status, body)
	}

	fresh := nodetest.Config{KEK: secret.New(text), Edit: quick}.Start(t, 1)
	if _, err := restore(t, fresh, fresh.Nodes[0], backup, url.Values{"force_cluster_id": {"true"}}); err != nil {
		t.Fatalf("into a cluster with the KEK of then: %v", err)
	}
	replayed(t, fresh, 1)
	chats(t, fresh, k.Secret, 1)
	next, err := secret.NewKEK()
	if err != nil {
		t.Fatal(err)
	}
	fresh.Nodes[0].Configure(func(cfg *node.Config) { cfg.KEKNext = secret.New(hexOf(next.Bytes())) })
	fresh.Nodes[0].Stop()
	fresh.Nodes[0].Start()
	fresh.Nodes[0].AwaitReady()
	rotate(t, fresh, fresh.Nodes[0], "kek", "done")
	chats(t, fresh, k.Secret, 1)
}

// TestRotate_joinFromOlderSnapshot has a node join whose first state is a snapshot from before an exchange of the CA: it goes on trusting
// those who vouched for it until the log has told it of the exchange.
func TestRotate_joinFromOlderSnapshot(t *testing.T) {
	t.Parallel()
	c := nodetest.Config{Edit: quick}.Start(t, 3)
	if _, err := restore(t, c, c.Nodes[0], save(t, c.Nodes[0]), nil); err != nil { // which leaves a snapshot, and no log before it
		t.Fatal(err)
	}
	replayed(t, c, 1)
	if r := rotate(t, c, c.Nodes[0], "ca", "done"); r.Step != "done" {
		t.Fatalf("the exchange of the CA: got step %s", r.Step)
	}
	c.Join()
}
