//go:build e2e

package faults

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/test/cluster"
)

// deed is what a route below /api/v1/cluster does. NODE stands for a follower, TOKEN for a join token, SNAPSHOT for a kept
// backup, FILE for a file in which one is, BUNDLE for a bundle that nobody trusts.
type deed struct {
	verb  string // the same on the command line
	path  string // with what stands for the parameters; "": as it is
	file  string // what is sent; "": an empty object
	code  int    // that it is answered where it is refused here, done or only tried; 0: it is done
	audit string // kind of its line in the audit log
	stay  bool   // it is only tried
}

// deeds are all of them. TestCluster_Verbs fails if a route is missing.
var deeds = map[string]deed{
	"GET /cluster":            {verb: "cluster status"},
	"GET /cluster/nodes":      {verb: "cluster nodes"},
	"GET /cluster/nodes/{id}": {verb: "cluster nodes NODE", path: "/cluster/nodes/NODE"},

	"POST /cluster/nodes/{id}/demote":  {verb: "cluster demote NODE", path: "/cluster/nodes/NODE/demote", audit: "member"},
	"POST /cluster/nodes/{id}/promote": {verb: "cluster promote NODE", path: "/cluster/nodes/NODE/promote", audit: "member"},
	"POST /cluster/nodes/{id}/drain":   {verb: "cluster drain NODE", path: "/cluster/nodes/NODE/drain", audit: "member"},
	"POST /cluster/nodes/{id}/undrain": {verb: "cluster undrain NODE", path: "/cluster/nodes/NODE/undrain", audit: "member"},
	"POST /cluster/nodes/{id}/repair":  {verb: "cluster repair NODE", path: "/cluster/nodes/NODE/repair", audit: "node"},
	"POST /cluster/nodes/{id}/replace": {verb: "cluster replace NODE", path: "/cluster/nodes/NODE/replace", audit: "join_token"},
	"DELETE /cluster/nodes/{id}":       {verb: "cluster remove NODE", path: "/cluster/nodes/NODE", audit: "member", stay: true},

	"GET /cluster/join-tokens":         {verb: "cluster join-token list"},
	"POST /cluster/join-tokens":        {verb: "cluster join-token create", audit: "join_token"},
	"DELETE /cluster/join-tokens/{id}": {verb: "cluster join-token revoke TOKEN", path: "/cluster/join-tokens/TOKEN", audit: "join_token"},

	"POST /cluster/transfer": {verb: "cluster transfer", audit: "node"},
	"GET /cluster/egress":    {verb: "egress report"},
	"GET /cluster/plugins":   {verb: "plugin status"},

	"GET /cluster/rotate":         {verb: "cluster rotate"},
	"POST /cluster/rotate/{kind}": {verb: "cluster rotate node-certs", path: "/cluster/rotate/node-certs", audit: "rotation"},

	"GET /cluster/snapshots":               {verb: "snapshot list"},
	"POST /cluster/snapshots":              {verb: "snapshot take", audit: "snapshot"},
	"GET /cluster/snapshots/{id}/download": {verb: "snapshot save --force FILE", path: "/cluster/snapshots/current/download"},
	"POST /cluster/snapshots/restore":      {verb: "snapshot restore FILE", file: "FILE", audit: "snapshot"},
	"POST /cluster/snapshots/{id}/restore": {verb: "snapshot restore --name SNAPSHOT", path: "/cluster/snapshots/SNAPSHOT/restore", audit: "snapshot"},

	"GET /cluster/upgrade":           {verb: "cluster upgrade status"},
	"POST /cluster/upgrade":          {verb: "cluster upgrade finalise", code: http.StatusConflict},
	"POST /cluster/upgrade/start":    {verb: "cluster upgrade start BUNDLE", file: "BUNDLE", code: http.StatusForbidden},
	"POST /cluster/upgrade/rollback": {verb: "cluster upgrade rollback", code: http.StatusNotFound},
}

// verbs tries what can be done with a cluster.
type verbs struct {
	t      *testing.T
	c      *cluster.Cluster
	at     int // the node that is asked
	names  *strings.Replacer
	routes []string // "METHOD /cluster/…", as the program tells them
}

// TestCluster_Verbs asks for everything that can be done with the cluster and its nodes, by the API and on the command line: tried
// without being done, by somebody who may not, of what there is not, done, where it would cost the quorum, and
// without a leader. What was done is in the audit log, and what was tried has changed nothing.
func TestCluster_Verbs(t *testing.T) {
	c := cluster.Start(t, 3)
	leader := c.Leader()
	v := &verbs{t: t, c: c, at: (leader + 1) % 3}
	other := (leader + 2) % 3
	v.prepare(c.Nodes[other].Name)
	v.known()
	keys := map[string]string{}
	for _, role := range []string{"", "proxy_admin_viewer"} {
		_, keys[role] = c.NewKey(v.at, map[string]any{"role": role})
	}
	before := v.audited()
	for _, route := range v.routes {
		v.try(route)
	}
	for _, e := range v.lines("") {
		if e.Number > before && e.Action != "download" && e.Action != "sign_in" { // reads, and the caller, are told
			t.Errorf("what was only tried is in the audit log: %+v", e)
		}
	}
	for _, route := range v.routes {
		v.refused(route, keys)
	}
	if status, text := v.ask(cluster.MasterKey, http.MethodPost, "/cluster/recover", "", ""); status != http.StatusNotFound && status != http.StatusMethodNotAllowed {
		t.Errorf("a recovery over the network: %d %s", status, text)
	}
	// On a starved machine another may lead because the leader was not heard.
	if now := c.Leader(); now != leader && !strings.Contains(c.Nodes[now].Log(), "heartbeat timeout reached") {
		t.Errorf("node %s leads after what was only tried, want %s", c.Nodes[now].Name, c.Nodes[leader].Name)
	}
	for _, route := range order(v.routes) {
		v.do(route)
	}
	c.AwaitVoters(3)
	v.nowhere()
	v.withoutQuorum()
}

// prepare makes what the routes are asked with.
func (v *verbs) prepare(node string) {
	dir := v.t.TempDir()
	file, bundle := filepath.Join(dir, "cluster.snap"), filepath.Join(dir, "next.bundle")
	must(v.t, v.c, v.at, "snapshot", "save", file)
	if err := os.WriteFile(bundle, []byte("no bundle"), 0o600); err != nil {
		v.t.Fatal(err)
	}
	must(v.t, v.c, v.at, "snapshot", "take")
	must(v.t, v.c, v.at, "cluster", "join-token")
	var kept struct{ Items []struct{ Name string } }
	var tokens struct{ Items []struct{ ID string } }
	v.c.Admin(v.at, http.MethodGet, "/api/v1/cluster/snapshots", nil, &kept)
	v.c.Admin(v.at, http.MethodGet, "/api/v1/cluster/join-tokens", nil, &tokens)
	if len(kept.Items) == 0 || len(tokens.Items) == 0 {
		v.t.Fatalf("%d snapshots and %d tokens are kept", len(kept.Items), len(tokens.Items))
	}
	v.names = strings.NewReplacer("NODE", node, "TOKEN", tokens.Items[0].ID, "SNAPSHOT", kept.Items[0].Name, "FILE", file, "BUNDLE", bundle)
}

// known reads which routes there are, each of which the table has, and that each that changes something can be tried.
func (v *verbs) known() {
	var doc struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name string }
		}
	}
	if status := v.c.Admin(v.at, http.MethodGet, "/api/v1/openapi.json", nil, &doc); status != http.StatusOK {
		v.t.Fatalf("the routes: %d", status)
	}
	for path, methods := range doc.Paths {
		path = strings.TrimPrefix(path, "/api/v1")
		if path != "/cluster" && !strings.HasPrefix(path, "/cluster/") {
			continue
		}
		for method, op := range methods {
			route := strings.ToUpper(method) + " " + path
			v.routes = append(v.routes, route)
			if _, ok := deeds[route]; !ok {
				v.t.Errorf("%s is not in the table", route)
			}
			if method != "get" && !slices.ContainsFunc(op.Parameters, func(p struct{ Name string }) bool { return p.Name == "dry_run" }) {
				v.t.Errorf("%s cannot be tried: it has no dry_run", route)
			}
		}
	}
	slices.Sort(v.routes)
	if len(v.routes) < len(deeds) {
		v.t.Fatalf("the program has %d routes, and the table %d", len(v.routes), len(deeds))
	}
}

func (d *deed) at(route string) (method, path string) {
	method, path, _ = strings.Cut(route, " ")
	if d.path != "" {
		path = d.path
	}
	return method, path
}

// ask sends one request.
func (v *verbs) ask(key, method, path, query, file string) (int, string) {
	url := v.c.Nodes[v.at].URL + "/api/v1" + v.names.Replace(path) + query
	if file != "" {
		body, err := os.ReadFile(v.names.Replace(file))
		if err != nil {
			v.t.Fatal(err)
		}
		return cluster.Send(v.t, method, url, key, body)
	}
	var in any
	if method == http.MethodPost {
		in = map[string]any{}
	}
	status, text := cluster.CallRaw(v.t, method, url, key, in)
	return status, string(text)
}

// wants says whether a status is what is to come: a success, or what the deed is refused with here.
func (d *deed) wants(status int) bool {
	return status == d.code || d.code == 0 && status/100 == 2
}

// try tries a route without doing it, by the API and on the command line.
func (v *verbs) try(route string) {
	d := deeds[route]
	method, path := d.at(route)
	query := "?dry_run=true"
	words := strings.Fields(v.names.Replace(d.verb))
	if method == http.MethodGet {
		query = ""
	} else {
		words = append(words, "--dry-run")
	}
	status, text := v.ask(cluster.MasterKey, method, path, query, d.file)
	if !d.wants(status) {
		v.t.Errorf("%s, tried: %d %s", route, status, text)
	}
	if query != "" && status == http.StatusOK && !strings.Contains(text, `"dry_run":true`) {
		v.t.Errorf("%s, tried: it is not said that nothing was done: %s", route, text)
	}
	out, status := conclave(v.t, v.c, v.at, words...)
	if (status == 0) != (d.code == 0) {
		v.t.Errorf("conclave %s: exit status %d\n%s", strings.Join(words, " "), status, out)
	}
	if query != "" && status == 0 && !strings.Contains(out, "nothing was changed") {
		v.t.Errorf("conclave %s: it is not said that nothing was changed: %s", strings.Join(words, " "), out)
	}
}

// refused asks for a route with keys that may not, and of what there is not.
func (v *verbs) refused(route string, keys map[string]string) {
	d := deeds[route]
	method, path := d.at(route)
	for role, key := range keys {
		if method == http.MethodGet && (role != "" || strings.HasSuffix(path, "/download")) {
			continue
		}
		if status, text := v.ask(key, method, path, "", d.file); status != http.StatusForbidden && status != http.StatusUnauthorized {
			v.t.Errorf("%s with a key of the role %q: %d %s", route, role, status, text)
		}
	}
	_, tail, named := strings.Cut(route, "{id}")
	if !named {
		return
	}
	head, _, _ := strings.Cut(strings.TrimPrefix(route, method+" "), "{id}")
	for _, query := range []string{"", "?dry_run=true"} {
		if method == http.MethodGet && query != "" {
			continue
		}
		if status, text := v.ask(cluster.MasterKey, method, head+"nobody"+tail, query, d.file); status != http.StatusNotFound {
			v.t.Errorf("%s%s of what there is not: %d %s", route, query, status, text)
		}
	}
}

// line is one of the audit log.
type line struct {
	Number              float64
	Actor, Action, Kind string
}

// lines are the newest ones of a kind, or of all with "".
func (v *verbs) lines(kind string) []line {
	var out struct{ Items []line }
	v.c.Admin(v.at, http.MethodGet, "/api/v1/audit?limit=50&kind="+kind, nil, &out)
	return out.Items
}

// audited is the number of the last line of the audit log.
func (v *verbs) audited() float64 {
	if all := v.lines(""); len(all) > 0 {
		return all[0].Number
	}
	return 0
}

// order has what undoes something after it, and what puts back the whole state at the end.
func order(routes []string) []string {
	rank := func(route string) int {
		return slices.IndexFunc([]string{"/demote", "/promote", "/drain", "/undrain", "/restore"}, func(end string) bool { return strings.HasSuffix(route, end) })
	}
	out := slices.Clone(routes)
	slices.SortStableFunc(out, func(a, b string) int { return rank(a) - rank(b) })
	return out
}

// do does what a route does, on the command line, and finds it in the audit log.
func (v *verbs) do(route string) {
	d := deeds[route]
	if d.stay || strings.HasPrefix(route, "GET ") {
		return
	}
	before := v.audited()
	words := strings.Fields(v.names.Replace(d.verb))
	out, status := conclave(v.t, v.c, v.at, words...)
	if (status == 0) != (d.code == 0) {
		v.t.Errorf("conclave %s: exit status %d\n%s", strings.Join(words, " "), status, out)
		return
	}
	if d.audit == "" {
		return
	}
	v.c.Await("the audit log has "+route, 10*time.Second, func() bool {
		return slices.ContainsFunc(v.lines(d.audit), func(e line) bool { return e.Number > before && e.Actor == "master" })
	})
}

// nowhere has snapshots be kept where none can: that is said, tried and done.
func (v *verbs) nowhere() {
	must(v.t, v.c, v.at, "setting", "update", "snapshots", "--value", `{"dir": "/proc/nowhere"}`)
	for _, words := range [][]string{{"snapshot", "take", "--dry-run"}, {"snapshot", "take"}} {
		if out, status := conclave(v.t, v.c, v.at, words...); status == 0 || !strings.Contains(out, "/proc/") {
			v.t.Errorf("%s where none can be kept: exit status %d\n%s", strings.Join(words, " "), status, out)
		}
	}
	must(v.t, v.c, v.at, "setting", "delete", "snapshots")
}

// withoutQuorum ends one node, and then another: what would cost the quorum is refused with the count, and nothing can be
// tried or done while nobody leads.
func (v *verbs) withoutQuorum() {
	leader := v.c.Leader()
	third := 3 - leader - v.at
	if leader == v.at {
		leader = (v.at + 1) % 3
		third = 3 - leader - v.at
	}
	v.prepare(v.c.Nodes[third].Name)
	v.c.Nodes[third].Kill()
	for _, path := range []string{"/cluster/nodes/" + v.c.Nodes[leader].Name, "/cluster/nodes/" + v.c.Nodes[leader].Name + "?dry_run=true"} {
		v.c.AwaitThat("a change that would cost the quorum is refused, with the count", 20*time.Second, func() (bool, string) {
			status, text := v.ask(cluster.MasterKey, http.MethodDelete, path, "", "")
			return status == http.StatusConflict && strings.Contains(text, `"quorum"`) && strings.Contains(text, "1 of 2 voters"), fmt.Sprint(status, text)
		})
	}
	v.c.Nodes[leader].Kill()
	v.c.AwaitThat("without a leader the answer is 503", 30*time.Second, func() (bool, string) {
		status, text := v.ask(cluster.MasterKey, http.MethodPost, "/cluster/nodes/NODE/demote", "", "")
		return status == http.StatusServiceUnavailable && strings.Contains(text, `"no_leader"`), fmt.Sprint(status, text)
	})
	var wg sync.WaitGroup
	for _, route := range v.routes {
		d := deeds[route]
		method, path := d.at(route)
		if method == http.MethodGet {
			continue
		}
		for _, query := range []string{"", "?dry_run=true"} {
			wg.Go(func() {
				status, text := v.ask(cluster.MasterKey, method, path, query, d.file)
				if (status != http.StatusServiceUnavailable || !strings.Contains(text, `"no_leader"`)) && (query != "" || status != d.code) {
					v.t.Errorf("%s%s without a leader: %d %s", route, query, status, text)
				}
			})
		}
	}
	wg.Wait()
}
