package node_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	auditchain "github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/node"
	"github.com/conclave-llm/conclave/node/nodetest"
	"github.com/conclave-llm/conclave/resource"
)

// TestNode_audit takes the audit log through its sinks over a change of the leader: a file
// on the leader's disk, and a callback that gets the entries, too. Then the leader prunes it.
func TestNode_audit(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64 // of the time by which the log is pruned
	c := nodetest.Config{Edit: func(_ int, cfg *node.Config) {
		cfg.AuditNow = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	}}.Start(t, 3)
	shared := filepath.Join(t.TempDir(), "callback.jsonl")
	api := c.Nodes[0].Admin()
	config, err := json.Marshal(map[string]string{"path": shared})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := api.Callbacks().Create(t.Context(), nodetest.Fields{"name": "siem", "plugin": "file", "config": json.RawMessage(config)}); err != nil {
		t.Fatal(err)
	}
	keep := func(retention string) {
		t.Helper()
		_, err := api.Settings().Replace(t.Context(), "audit", nodetest.Fields{"value": nodetest.Fields{"retention": retention, "sinks": []nodetest.Fields{
			{"kind": "file", "path": "audit.jsonl"}, {"kind": "callback", "callback": "siem"},
		}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	keep("forever")
	team := func(name string) {
		t.Helper()
		if _, err := api.Teams().Create(t.Context(), nodetest.Fields{"name": name}); err != nil {
			t.Fatal(err)
		}
	}
	// told are the names of teams that are in the files' lines.
	told := func(paths ...string) string {
		var all []byte
		for _, p := range paths {
			b, err := os.ReadFile(p)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			all = append(all, b...)
		}
		return string(all)
	}
	has := func(name string, paths ...string) func() bool {
		return func() bool { return strings.Contains(told(paths...), `"name":"`+name+`"`) }
	}
	var files []string
	for _, n := range c.Nodes {
		files = append(files, filepath.Join(n.Dir, "audit.jsonl"))
	}
	team("one")
	c.Await("the first team in the files", func() bool { return has("one", files...)() && has("one", shared)() })

	old := c.Leader()
	old.Stop()
	if old == c.Nodes[0] {
		api = c.Nodes[1].Admin()
	}
	team("two")
	c.Await("the second team in the files", func() bool { return has("two", files...)() && has("two", shared)() })
	for name, log := range map[string]string{"file": told(files...), "callback": told(shared)} {
		for n := uint64(1); ; n++ {
			e, err := api.AuditEntry(t.Context(), n)
			if err != nil {
				break
			}
			if e.Name != "two" && e.Action != "sign_in" && !strings.Contains(log, e.Hash.String()) {
				t.Errorf("%s: entry %d (%s %s) was not delivered", name, n, e.Action, e.Name)
			}
			if e.Name == "two" {
				break
			}
		}
	}
	export := func(n *nodetest.Node) []byte {
		t.Helper()
		var b bytes.Buffer
		if err := n.Admin().ExportAudit(t.Context(), nil, &b); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	if v, err := api.VerifyAudit(t.Context()); err != nil || !v.Verified {
		t.Errorf("verified: got %+v (%v)", v, err)
	}
	old.Start()
	whole := export(old)
	v, err := (&auditchain.Verifier{}).Verify(bytes.NewReader(whole))
	if err != nil || v.First != 1 || v.Anchor != nil {
		t.Errorf("export: got %+v (%v)", v, err)
	}

	// What is older than the retention, and with the sinks, goes on all nodes; what is left is still a part of the same chain.
	keep("1h")
	ahead.Store(int64(90 * time.Minute))
	for pruned := false; !pruned; { // the leader looks at once, and then once a minute
		if err := api.Transfer(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		c.Await("the leader to prune, or to be another", func() bool {
			page, err := api.Audit(t.Context(), url.Values{"action": {"prune_audit"}})
			pruned = err == nil && len(page.Items) > 0
			return pruned || time.Since(begin) > 5*time.Second
		})
	}
	team("three")
	c.Await("the third team in the files", func() bool { return has("three", files...)() && has("three", shared)() })
	c.Join()
	c.Nodes[1].Stop()
	c.Nodes[1].Start()
	var header auditchain.Header
	if err := json.NewDecoder(bytes.NewReader(whole)).Decode(&header); err != nil {
		t.Fatal(err)
	}
	first := uint64(0)
	for _, n := range c.Nodes {
		c.Await(n.Name+" to know of the third team", func() bool {
			page, err := n.Admin().Audit(t.Context(), url.Values{"q": {"three"}})
			return err == nil && len(page.Items) == 1
		})
		v, err := n.Admin().VerifyAudit(t.Context())
		if err != nil || !v.Verified || v.Anchor == nil || v.First != v.Anchor.Number+1 || v.First <= 1 || first > 0 && v.First != first {
			t.Errorf("%s: pruned to %d: got %+v (%v)", n.Name, first, v, err)
			continue
		}
		first = v.First
		if _, err := n.Admin().AuditEntry(t.Context(), first-1); err == nil {
			t.Errorf("%s: entry %d, which was pruned, is there", n.Name, first-1)
		}
		got := export(n)
		kept := &auditchain.Verifier{CA: header.CA} // the certificate that was kept
		if v, err := kept.Verify(bytes.NewReader(got)); err != nil || v.First != first {
			t.Errorf("%s: export: got %+v (%v)", n.Name, v, err)
		}
		if !bytes.Contains(whole, []byte(`"hash":"`+v.Anchor.Hash.String()+`"`)) {
			t.Errorf("%s: the export from before does not have the anchor's entry %d", n.Name, v.Anchor.Number)
		}
	}
	lines := strings.SplitAfter(strings.TrimSpace(told(files...)), "\n") // of those who led, each in its file
	slices.SortStableFunc(lines, func(a, b string) int { return cmp.Compare(entryNumber(t, a), entryNumber(t, b)) })
	if v, err := (&auditchain.Verifier{}).Verify(strings.NewReader(strings.Join(lines, "\n"))); err != nil || v.First != 1 || v.Last <= first {
		t.Errorf("the files of the sink: got %+v (%v)", v, err)
	}
}

// entryNumber is the number of the entry in a line.
func entryNumber(t *testing.T, line string) uint64 {
	t.Helper()
	var l auditchain.Line
	if err := json.Unmarshal([]byte(line), &l); err != nil {
		t.Fatal(err)
	}
	return l.Number
}

// TestNode_auditEvents guesses keys: the log tells of it once, with the address, and of who
// signs in.
func TestNode_auditEvents(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 1)
	n := c.Nodes[0]
	for i := range 200 {
		n.Do("GET", "/api/v1/teams", fmt.Sprintf("sk-guess-%010d", i), nil)
	}
	api := n.Admin()
	var failed []resource.AuditEntry
	c.Await("entries of the sign-ins", func() bool {
		page, err := api.Audit(t.Context(), url.Values{"action": {"sign_in"}})
		failed = nil
		admin := false
		for _, e := range page.Items {
			if e.Outcome == resource.AuditFailed {
				failed = append(failed, e)
			}
			admin = admin || e.Actor == "master"
		}
		return err == nil && len(failed) > 0 && admin
	})
	if len(failed) > 2 || failed[0].Address != "127.0.0.1" {
		t.Errorf("got %+v, want one or two entries from 127.0.0.1", failed)
	}
}

func TestNode_signAnchor(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 1)
	a, ca, err := c.Nodes[0].SignedAnchor()
	if err != nil {
		t.Fatal(err)
	}
	if err := auditchain.CheckSignature(a, ca); err != nil {
		t.Error(err)
	}
	a.Number++
	if auditchain.CheckSignature(a, ca) == nil {
		t.Error("another anchor has the same signature")
	}
}
