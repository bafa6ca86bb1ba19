package adminapi_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi"
	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/resource"
)

// TestCluster_DryRun has every route that changes the cluster take dry_run, which nobody who leads must do.
func TestCluster_DryRun(t *testing.T) {
	t.Parallel()
	var leaderless error
	h := adminapitest.New(t, func(c *adminapi.Config) { c.Led = func(context.Context) error { return leaderless } })
	var doc struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name string }
		}
	}
	if err := json.Unmarshal(h.Call(adminapitest.MasterKey, http.MethodGet, "/api/v1/openapi.json", "").Body, &doc); err != nil {
		t.Fatal(err)
	}
	leaderless = resource.ErrNoLeader
	tried := 0
	for path, methods := range doc.Paths {
		if !strings.HasPrefix(path, "/api/v1/cluster/") {
			continue
		}
		for method, op := range methods {
			if method == "get" {
				continue
			}
			tried++
			if !slices.ContainsFunc(op.Parameters, func(p struct{ Name string }) bool { return p.Name == "dry_run" }) {
				t.Errorf("%s %s has no dry_run", method, path)
				continue
			}
			at := strings.NewReplacer("{id}", "n2", "{kind}", "node-certs").Replace(path)
			a := h.Call(adminapitest.MasterKey, strings.ToUpper(method), at+"?dry_run=true", "{}")
			if a.Status != http.StatusServiceUnavailable || a.Object(t)["code"] != "no_leader" {
				t.Errorf("%s %s without a leader: got %d %s", method, path, a.Status, a.Body)
			}
		}
	}
	if tried < 16 {
		t.Errorf("only %d routes change the cluster", tried)
	}
	before := h.State.Applied()
	leaderless = nil
	for _, tt := range []struct{ method, path, want string }{
		{http.MethodPost, "/cluster/join-tokens", `"expires"`},
		{http.MethodPost, "/cluster/nodes/n2/replace", `"replaces":"n2"`},
		{http.MethodPost, "/cluster/rotate/node-certs", `"step":"use"`},
		{http.MethodPost, "/cluster/nodes/n2/drain", `"votes"`},
	} {
		a := h.Call(adminapitest.MasterKey, tt.method, "/api/v1"+tt.path+"?dry_run=1", "{}")
		if a.Status/100 != 2 || !strings.Contains(string(a.Body), `"dry_run":true`) || !strings.Contains(string(a.Body), tt.want) {
			t.Errorf("%s: got %d %s, want what would be: %s", tt.path, a.Status, a.Body, tt.want)
		}
	}
	if now := h.State.Applied(); now != before {
		t.Errorf("what was only tried wrote %d entries", now-before)
	}
}
