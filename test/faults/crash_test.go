//go:build e2e

package faults

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/internal/fault"
	"github.com/conclave-llm/conclave/plugins/pack"
	"github.com/conclave-llm/conclave/resource/manifest"
	"github.com/conclave-llm/conclave/test/cluster"
)

// crash is a point at which a node ends, and what brings it there beside the load.
type crash struct {
	after   int // times that the point is reached before; 0: the first time
	trigger func(*crashes)
	leader  bool // it, too, not with CONCLAVE_FULL alone
}

// crashPlan has every point.
var crashPlan = map[string]crash{
	fault.LogStore:        {after: 40},
	fault.LogStored:       {after: 40},
	fault.StateCommit:     {after: 40},
	fault.StateCommitted:  {after: 40},
	fault.JournalSync:     {after: 20},
	fault.JournalSynced:   {after: 20},
	fault.TickSend:        {after: 5},
	fault.TickSent:        {after: 5},
	fault.SnapshotWrite:   {trigger: (*crashes).restore, leader: true},
	fault.SnapshotFinish:  {trigger: (*crashes).restore},
	fault.SnapshotDone:    {trigger: (*crashes).restore},
	fault.RestoreReceived: {trigger: (*crashes).restore},
	fault.RestoreSwap:     {trigger: (*crashes).restore, leader: true},
	fault.RestoreSwapped:  {trigger: (*crashes).restore},
	fault.BlobRename:      {trigger: (*crashes).blob},
	fault.KEKRename:       {trigger: func(r *crashes) { r.rotate("kek") }},
	fault.KEKRenamed:      {trigger: func(r *crashes) { r.rotate("kek") }},
	fault.IdentityRename:  {trigger: func(r *crashes) { r.rotate("node-certs") }},
	fault.IdentityRenamed: {trigger: func(r *crashes) { r.rotate("node-certs") }},
}

// crashes is a cluster whose nodes end at points.
type crashes struct {
	t      *testing.T
	c      *cluster.Cluster
	writes *writer
	node   int // that is to end
	at     int // another one
	blobs  int
}

// restore takes a backup and restores it while nothing is written.
func (r *crashes) restore() {
	r.writes.paused.Lock()
	defer r.writes.paused.Unlock()
	file := filepath.Join(r.t.TempDir(), "backup")
	if out, status := conclave(r.t, r.c, r.at, "snapshot", "save", file); status != 0 {
		r.t.Fatalf("snapshot save: %d %s", status, out)
	}
	if out, status := conclave(r.t, r.c, r.at, "snapshot", "restore", file, "--revoked", "block", "--wait", "0"); status != 0 {
		r.t.Logf("snapshot restore: %d %s", status, out) // its leader ended
	}
}

// rotate exchanges a key of the cluster.
func (r *crashes) rotate(kind string) {
	r.c.Admin(r.at, http.MethodPost, "/api/v1/cluster/rotate/"+kind, map[string]any{}, nil) // it may be busy with the last one
}

// blob uploads a plugin that nothing uses to the node that is to end.
func (r *crashes) blob() {
	r.blobs++
	body := []byte("#!/bin/sh\n# " + strconv.Itoa(r.blobs) + "\n")
	b, err := pack.New(manifest.Manifest{Name: "unused", Version: strconv.Itoa(r.blobs), Kind: "callback"}, []pack.Binary{{OS: manifest.Any, Arch: manifest.Any, Body: body}}, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	var out bytes.Buffer
	if err := b.Write(&out); err != nil {
		r.t.Fatal(err)
	}
	file := filepath.Join(r.t.TempDir(), "unused.cpb")
	if err := os.WriteFile(file, out.Bytes(), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if out, status := conclave(r.t, r.c, r.node, "plugin", "upload", file); status != 0 {
		r.t.Logf("plugin upload: %d %s", status, out) // its node ended
	}
}

// end ends a node at a point, and starts it again without one.
func (r *crashes) end(point string, node int, bin string) {
	r.t.Helper()
	plan, n := crashPlan[point], r.c.Nodes[node]
	r.node, r.at = node, (node+1)%len(r.c.Nodes)
	n.Stop()
	n.StartProgram(bin, []string{fault.Variable + "=" + point + ":" + strconv.Itoa(plan.after+1)})
	if plan.trigger != nil {
		r.c.Await("the node is ready, or has ended", 30*time.Second, func() bool {
			status, _ := cluster.CallRaw(r.t, http.MethodGet, n.URL+"/health/readiness", "", nil)
			return n.Ended() || status == http.StatusOK
		})
	}
	for tries := 0; plan.trigger != nil && !n.Ended() && tries < 3; tries++ {
		plan.trigger(r)
		wait := time.After(4 * time.Second)
		for ended := false; !ended && !n.Ended(); {
			select {
			case <-wait:
				ended = true
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	r.c.Await("the node ends at "+point, 30*time.Second, n.Ended)
	if got := n.Status(); got != 128+int(syscall.SIGKILL) {
		r.t.Fatalf("%s: the node ended with %d:\n%s", point, got, n.Log())
	}
	n.Start()
	n.AwaitReady()
}

// TestCrash_EveryStep ends a node at every durable step that it takes, under load: at each point once a
// follower, at some and with CONCLAVE_FULL at all also the leader. It starts again by itself and serves; what was acknowledged is on
// every node, no node is quarantined, and the books of all are the bill's.
func TestCrash_EveryStep(t *testing.T) {
	t.Parallel()
	bin := nextBinary(t)
	for _, p := range fault.Points {
		if _, ok := crashPlan[p]; !ok {
			t.Fatalf("point %s is in no plan", p)
		}
	}
	c := cluster.Start(t, 3)
	id, secret := c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 1000, "per": "day"}}})
	r := &crashes{t: t, c: c, writes: startWriter(t, c)}
	tr := startTraffic(c, secret, 1)
	for i, point := range fault.Points {
		if only := os.Getenv("CONCLAVE_POINT"); only != "" && !strings.HasPrefix(point, only) {
			continue
		}
		begin := time.Now()
		r.end(point, (c.Leader()+1+i%2)%3, bin)
		t.Logf("%s at a follower: ready again %s after", point, time.Since(begin).Round(time.Millisecond))
		if crashPlan[point].leader || os.Getenv("CONCLAVE_FULL") != "" {
			r.end(point, c.Leader(), bin)
		}
		sameState(t, c)
	}
	tr.end()
	r.writes.end(t, c)
	sameState(t, c)
	checkCrashSpend(t, c, id, tr, 0)
	awaitLedger(t, c)
}

// checkCrashSpend is checkSpend where nodes ended: what a cut request held may be booked beside its bill. A
// disk that fails may refuse the settlements of so many answers; the books have those as interrupted.
func checkCrashSpend(t *testing.T, c *cluster.Cluster, id string, tr *traffic, unsettled int64) {
	t.Helper()
	nanos, requests := bill(t, c)
	var answered int64
	for i := range tr.answered {
		answered += tr.answered[i].Load()
	}
	var u [3]usage
	c.AwaitThat("every node has the same books, and the bill's requests", 30*time.Second, func() (bool, string) {
		for i := range u {
			u[i] = keyUsage(c, i, id)
		}
		same := u[0] == u[1] && u[0] == u[2]
		return same && u[0].Requests-u[0].Failures+unsettled >= answered && u[0].Requests >= max(requests, answered),
			fmt.Sprintf("%d answered, %d billed; the nodes have %+v", answered, requests, u)
	})
	t.Logf("%d answered; the bill is %d nanodollars for %d, the books have %s for %d", answered, nanos, requests, u[0].Cost, u[0].Requests)
}
