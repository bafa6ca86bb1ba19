package node_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/mock"
	"github.com/conclave-llm/conclave/node"
	"github.com/conclave-llm/conclave/node/nodetest"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// save downloads a backup of now from a node.
func save(t *testing.T, n *nodetest.Node) []byte {
	t.Helper()
	body, size, err := n.Admin().DownloadSnapshot(t.Context(), "current")
	if err != nil {
		t.Fatalf("download: %v", err)
	}
	defer func() { _ = body.Close() }()
	b, err := io.ReadAll(body)
	if err != nil || int64(len(b)) != size {
		t.Fatalf("download: %d bytes of %d, %v", len(b), size, err)
	}
	return b
}

// restore puts a backup in the place of the state through a node.
func restore(t *testing.T, c *nodetest.Cluster, n *nodetest.Node, b []byte, q url.Values) (client.Restore, error) {
	t.Helper()
	out, err := n.Admin().RestoreSnapshot(t.Context(), bytes.NewReader(b), int64(len(b)), q)
	if isProblem(err, http.StatusInternalServerError, "internal") {
		for line := range strings.Lines(c.Log.String()) {
			if strings.Contains(line, "admin request failed") {
				t.Log(line)
			}
		}
	}
	return out, err
}

// replayed waits until no node has to tell what it spent.
func replayed(t *testing.T, c *nodetest.Cluster, generation uint64) {
	t.Helper()
	c.Await("every node has told what it spent", func() bool {
		for _, n := range c.Nodes {
			if !n.Running() {
				continue
			}
			st, err := n.Admin().Cluster(t.Context())
			if err != nil || st.Generation != generation {
				return false
			}
			for _, m := range st.Members {
				if m.Replaying || !m.Ready {
					return false
				}
			}
		}
		return true
	})
}

// spentBy is what the books of a node say of a key, -1 if the key is not there.
func spentBy(t *testing.T, n *nodetest.Node, key string) resource.Money {
	t.Helper()
	k, err := n.Admin().Keys().One(t.Context(), key)
	if err != nil {
		return -1
	}
	return k.Spend
}

// chats has requests with a key served by all nodes in turn.
func chats(t *testing.T, c *nodetest.Cluster, key string, n int) {
	t.Helper()
	for i := range n {
		c.Await("a request is served", func() bool { // a lease may take longer than a request waits
			status, _ := c.Nodes[i%len(c.Nodes)].Chat(key)
			return status == 200
		})
	}
}

// awaitBooks waits until every node's books say that a key has spent so much.
func awaitBooks(t *testing.T, c *nodetest.Cluster, key string, want resource.Money) {
	t.Helper()
	c.Await("the books say "+want.String(), func() bool {
		for _, n := range c.Nodes {
			if n.Running() && spentBy(t, n, key) != want {
				return false
			}
		}
		return true
	})
}

func TestSnapshot_Restore(t *testing.T) {
	t.Parallel()
	c := nodetest.Config{Mock: mock.Config{}}.Start(t, 3)
	k := c.Key(0, fields{"name": "old", "budgets": []any{fields{"usd": 100, "per": "day"}}})
	gone := c.Key(0, fields{"name": "gone"})
	chats(t, c, k.Secret, 6)
	awaitBooks(t, c, k.ID, c.Bill())
	backup := save(t, c.Followers()[0])

	chats(t, c, k.Secret, 9) // spent after the backup
	bill := c.Bill()
	later := c.Key(1, fields{"name": "later"})
	if err := c.Nodes[1].Admin().Keys().Delete(t.Context(), gone.ID); err != nil {
		t.Fatal(err)
	}
	follower := c.Followers()[1]
	out, err := restore(t, c, follower, backup, url.Values{"dry_run": {"true"}})
	if err != nil || out.RevokedCount != 1 || !strings.Contains(out.Refused, "revoked") || !out.DryRun {
		t.Fatalf("dry run: got %+v, %v", out, err)
	}
	if _, err = restore(t, c, follower, backup, nil); !isProblem(err, http.StatusConflict, "refused") {
		t.Fatalf("without a word about revoked keys: got %v", err)
	}
	for i, bad := range [][]byte{backup[:len(backup)-1], flipped(backup, len(backup)/2), flipped(backup, 30), []byte("x"), nil} {
		if _, err = restore(t, c, follower, bad, nil); !isProblem(err, http.StatusBadRequest, "invalid") {
			t.Errorf("bad backup %d: got %v", i, err)
		}
	}
	if spentBy(t, c.Nodes[0], later.ID) == -1 {
		t.Fatal("something was changed by restores that were refused")
	}
	out, err = restore(t, c, follower, backup, url.Values{"revoked": {"block"}})
	if err != nil || out.Generation != 1 {
		t.Fatalf("restore: got %+v, %v", out, err)
	}
	replayed(t, c, 1)
	awaitBooks(t, c, k.ID, bill)
	for _, n := range c.Nodes {
		if spentBy(t, n, later.ID) != -1 {
			t.Errorf("%s has a key from after the backup", n.Name)
		}
		if status, _ := n.Chat(gone.Secret); status != http.StatusUnauthorized && status != http.StatusForbidden {
			t.Errorf("%s: a key that was deleted since answers %d", n.Name, status)
		}
	}
	chats(t, c, k.Secret, 6)
	awaitBooks(t, c, k.ID, c.Bill())
	if st, err := c.Nodes[0].Admin().Keys().One(t.Context(), k.ID); err != nil || len(st.Accounts) == 0 || dollars(t, st.Accounts[0].Settled) != c.Bill() {
		t.Errorf("the budget of the day has %+v, %v, want %s settled", st.Accounts, err, c.Bill())
	}
	if status, body := c.Nodes[0].Do("GET", "/api/v1/audit?kind=snapshot", nodetest.MasterKey, nil); status != 200 || !bytes.Contains(body, []byte(`"restored"`)) || !bytes.Contains(body, []byte(`"download"`)) {
		t.Errorf("the audit log: %d %s", status, body)
	}
	restart(t, c)
	awaitBooks(t, c, k.ID, c.Bill())
}

// restart stops all nodes and starts them again.
func restart(t *testing.T, c *nodetest.Cluster) {
	t.Helper()
	for _, n := range c.Nodes {
		n.Stop()
	}
	for _, n := range c.Nodes {
		n.Launch()
	}
	c.AwaitReady()
}

func isProblem(err error, status int, code string) bool {
	p, ok := errors.AsType[*client.Problem](err)
	return ok && p.Status == status && p.Code == code
}

func flipped(b []byte, at int) []byte {
	out := bytes.Clone(b)
	out[at] ^= 0x08
	return out
}

func TestSnapshot_RestoreWithoutAMember(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 3)
	k := c.Key(0, fields{"name": "k", "budgets": []any{fields{"usd": 100}}})
	backup := save(t, c.Nodes[0])
	chats(t, c, k.Secret, 9)
	bill := c.Bill()
	down := c.Followers()[0]
	down.Kill()
	var up *nodetest.Node
	for _, n := range c.Nodes {
		if n.Running() {
			up = n
		}
	}
	out, err := restore(t, c, up, backup, nil)
	if err != nil || !strings.Contains(strings.Join(out.Warnings, "\n"), "does not answer") {
		t.Fatalf("restore: got %+v, %v", out, err)
	}
	down.Start()
	replayed(t, c, 1)
	awaitBooks(t, c, k.ID, bill)
	chats(t, c, k.Secret, 3)
	awaitBooks(t, c, k.ID, c.Bill())
}

func TestSnapshot_AsOfBackup(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 1)
	k := c.Key(0, fields{"name": "k", "budgets": []any{fields{"usd": 100}}})
	chats(t, c, k.Secret, 2)
	awaitBooks(t, c, k.ID, c.Bill())
	then := c.Bill()
	backup := save(t, c.Nodes[0])
	chats(t, c, k.Secret, 2)
	awaitBooks(t, c, k.ID, c.Bill())
	if _, err := restore(t, c, c.Nodes[0], backup, url.Values{"spend": {"as-of-backup"}}); err != nil {
		t.Fatal(err)
	}
	replayed(t, c, 1)
	before := c.Bill()
	chats(t, c, k.Secret, 1)
	awaitBooks(t, c, k.ID, then+c.Bill()-before)
}

func TestSnapshot_FreshCluster(t *testing.T) {
	t.Parallel()
	kek := secret.New(strings.Repeat("5a", 32))
	from := nodetest.Config{KEK: kek}.Start(t, 1)
	k := from.Key(0, fields{"name": "k", "budgets": []any{fields{"usd": 100}}})
	chats(t, from, k.Secret, 3)
	bill := from.Bill()
	awaitBooks(t, from, k.ID, bill)
	tokenizer := strings.Repeat("a tokenizer ", 1000)
	blob, err := from.Nodes[0].Admin().PutBlob(t.Context(), []byte(tokenizer), url.Values{"kind": {"tokenizer"}})
	if err != nil {
		t.Fatal(err)
	}
	backup := save(t, from.Nodes[0])
	if bytes.Contains(backup, []byte(tokenizer)) {
		t.Error("the body of a blob is in the backup, and not sealed")
	}

	other := nodetest.Start(t, 1)
	if _, err := restore(t, other, other.Nodes[0], backup, url.Values{"force_cluster_id": {"true"}}); !isProblem(err, http.StatusConflict, "refused") || !strings.Contains(err.Error(), "KEK") {
		t.Errorf("under another KEK: got %v", err)
	}
	to := nodetest.Config{KEK: kek}.Start(t, 3)
	if _, err := restore(t, to, to.Nodes[0], backup, nil); !isProblem(err, http.StatusConflict, "refused") || !strings.Contains(err.Error(), "another cluster") {
		t.Errorf("another cluster's: got %v", err)
	}
	out, err := restore(t, to, to.Nodes[1], backup, url.Values{"force_cluster_id": {"true"}})
	if err != nil || !out.Foreign || strings.Contains(strings.Join(out.Warnings, " "), blob.ID) {
		t.Fatalf("restore: got %+v, %v", out, err)
	}
	replayed(t, to, 1)
	for _, n := range to.Nodes {
		if b, err := n.Admin().BlobBody(t.Context(), blob.ID); err != nil || string(b) != tokenizer {
			t.Errorf("the body of a blob on node %s: %d bytes, %v", n.Name, len(b), err)
		}
	}
	awaitBooks(t, to, k.ID, bill)
	to.Mock.Reset()
	from.Mock.Reset()
	chats(t, to, k.Secret, 3) // the sealed credential opens, and the deployment is the first cluster's
	awaitBooks(t, to, k.ID, bill+from.Bill())
	restart(t, to)
	chats(t, to, k.Secret, 3)
	joined := to.Join()
	to.Await("a node that joined later serves", func() bool { // its first lease may take longer than a request waits
		status, _ := joined.Chat(k.Secret)
		return status == 200
	})
}

func TestSnapshot_Kept(t *testing.T) {
	t.Parallel()
	looks := []chan time.Time{}
	c := nodetest.Config{Edit: func(_ int, cfg *node.Config) {
		look := make(chan time.Time)
		looks = append(looks, look)
		cfg.SnapshotLook = look
	}}.Start(t, 3)
	k := c.Key(0, fields{"name": "k"})
	api := c.Followers()[0].Admin()
	kept, err := api.TakeSnapshot(t.Context(), client.Do)
	if err != nil || kept.Node != c.Followers()[0].Name {
		t.Fatalf("take: got %+v, %v", kept, err)
	}
	if _, err := c.Nodes[0].Admin().Settings().Replace(t.Context(), "snapshots", fields{"value": fields{"every": "1h", "keep": 2, "dir": "kept"}}); err != nil {
		t.Fatal(err)
	}
	c.Sync(c.Nodes[0].Admin())
	lead := c.Leader()
	c.Await("the leader has kept one", func() bool {
		for _, look := range looks {
			look <- time.Time{}
		}
		lead = c.Leader()
		found, err := filepath.Glob(filepath.Join(lead.Dir, "kept", "conclave-*.snap"))
		return err == nil && len(found) == 1
	})
	all, err := c.Followers()[1].Admin().Snapshots(t.Context())
	if err != nil || len(all.Items) == 0 || len(all.Silent) != 0 {
		t.Fatalf("list: got %+v, %v", all, err)
	}
	if err := c.Nodes[0].Admin().Keys().Delete(t.Context(), k.ID); err != nil {
		t.Fatal(err)
	}
	out, err := c.Followers()[1].Admin().RestoreKept(t.Context(), all.Items[0].Name, url.Values{"revoked": {"revive"}})
	if err != nil || out.RevokedCount != 1 {
		t.Fatalf("restore: got %+v, %v", out, err)
	}
	replayed(t, c, 1)
	chats(t, c, k.Secret, 3)
	if _, _, err := api.DownloadSnapshot(t.Context(), "../node.key"); !isProblem(err, http.StatusNotFound, "not_found") {
		t.Errorf("a file that is no backup: got %v", err)
	}
}

// TestSnapshot_FailureIsTold keeps snapshots where nothing can be kept.
func TestSnapshot_FailureIsTold(t *testing.T) {
	t.Parallel()
	look := make(chan time.Time)
	c := nodetest.Config{Edit: func(_ int, cfg *node.Config) { cfg.SnapshotLook = look }}.Start(t, 1)
	n := c.Nodes[0]
	if err := os.WriteFile(filepath.Join(n.Dir, "kept"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Admin().Settings().Replace(t.Context(), "snapshots", fields{"value": fields{"every": "1h", "dir": "kept"}}); err != nil {
		t.Fatal(err)
	}
	look <- time.Time{}
	c.Await("readiness tells", func() bool {
		_, body := n.Do("GET", "/health/readiness", "", nil)
		return bytes.Contains(body, []byte("scheduled snapshots fail since"))
	})
	if st, err := n.Admin().Cluster(t.Context()); err != nil || len(st.Members[0].Warnings) != 1 {
		t.Errorf("got %+v, %v", st.Members, err)
	}
	if _, body := n.Do("GET", "/metrics", nodetest.MasterKey, nil); !bytes.Contains(body, []byte(`conclave_backups_total{result="failed"} 1`)) {
		t.Error("the metric does not tell")
	}
}

// bucket is an S3-like store of one bucket in memory, which refuses while it is shut.
type bucket struct {
	mu      sync.Mutex // guards what follows
	objects map[string][]byte
	shut    bool
	signed  string // the Authorization of the last request
}

func (b *bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.signed = r.Header.Get("Authorization")
	key, object := strings.CutPrefix(r.URL.Path, "/kept/")
	switch {
	case b.shut:
		http.Error(w, "<Error><Code>SlowDown</Code><Message>later</Message></Error>", http.StatusServiceUnavailable)
	case r.Method == http.MethodPut:
		w.Header().Set("ETag", `"1"`)
		b.objects[key] = body
	case r.Method == http.MethodDelete:
		delete(b.objects, key)
	case object:
		_, _ = w.Write(b.objects[key])
	default:
		_, _ = io.WriteString(w, "<ListBucketResult>")
		for k, v := range b.objects {
			_, _ = fmt.Fprintf(w, "<Contents><Key>%s</Key><Size>%d</Size></Contents>", k, len(v))
		}
		_, _ = io.WriteString(w, "</ListBucketResult>")
	}
}

func (b *bucket) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.objects)
}

func (b *bucket) setShut(shut bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shut = shut
}

// TestSnapshot_S3 keeps snapshots in a store by schedule, in sealed mode, with a credential of the
// cluster: the newest two stay, a failure is told until the next one goes well, and one is restored.
func TestSnapshot_S3(t *testing.T) {
	t.Parallel()
	look := make(chan time.Time)
	var ahead atomic.Int64
	c := nodetest.Config{Edit: func(_ int, cfg *node.Config) {
		cfg.SnapshotLook, cfg.SnapshotNow = look, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	}}.Start(t, 1)
	n := c.Nodes[0]
	kept := &bucket{objects: map[string][]byte{}}
	srv := httptest.NewServer(kept)
	t.Cleanup(srv.Close)
	api := n.Admin()
	if _, err := api.Credentials().Create(t.Context(), fields{
		"name": "store", "options": fields{"aws_access_key_id": "AKIDEXAMPLE"}, "secrets": fields{"aws_secret_access_key": "wJalrXUtnFEMI-canary"},
	}); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]any{
		"snapshots": fields{"every": "1h", "keep": 2, "s3": fields{"endpoint": srv.URL, "bucket": "kept", "prefix": "c/", "credential": "store"}},
		"sealed":    true,
	} {
		if _, err := api.Settings().Replace(t.Context(), name, fields{"value": value}); err != nil {
			t.Fatal(err)
		}
	}
	k := c.Key(0, fields{"name": "k"})
	for i := range 4 {
		kept.setShut(i == 2)
		ahead.Add(int64(time.Hour + time.Second))
		look <- time.Time{}
		look <- time.Time{} // the first is over then, old snapshots are deleted, and nothing is due
		want := []int{1, 2, 2, 2}[i]
		c.Await("the store has what is to stay", func() bool {
			_, body := n.Do("GET", "/health/readiness", "", nil)
			failing := bytes.Contains(body, []byte("scheduled snapshots fail"))
			_, text := n.Do("GET", "/metrics", nodetest.MasterKey, nil)
			return kept.count() == want && failing == (i == 2) && bytes.Contains(text, fmt.Appendf(nil, "conclave_backups_total{result=\"kept\"} %d\n", []int{1, 2, 2, 3}[i]))
		})
	}
	if !strings.HasPrefix(kept.signed, "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/") || !strings.Contains(kept.signed, "/us-east-1/s3/") {
		t.Errorf("signed with %q", kept.signed)
	}
	all, err := api.Snapshots(t.Context())
	if err != nil || len(all.Items) != 2 || all.Items[0].Node != "" {
		t.Fatalf("list: got %+v, %v", all, err)
	}
	if err := api.Keys().Delete(t.Context(), k.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := api.RestoreKept(t.Context(), all.Items[0].Name, url.Values{"revoked": {"revive"}}); err != nil {
		t.Fatalf("restore: %v", err)
	}
	replayed(t, c, 1)
	chats(t, c, k.Secret, 1)
}
