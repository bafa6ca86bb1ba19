package node_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/internal/launch"
	"github.com/conclave-llm/conclave/node/nodetest"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// demoAuth lets "token-USER" in as the user; "token-team-TEAM" as the team.
type demoAuth struct{}

func (demoAuth) Configure(context.Context, sdk.AuthSettings) (sdk.AuthDescription, error) {
	return sdk.AuthDescription{Version: "1", Hooks: []sdk.AuthHook{sdk.AuthCredential}}, nil
}

func (demoAuth) Authenticate(_ context.Context, c *sdk.Credential) (sdk.AuthAnswer, error) {
	who, ok := strings.CutPrefix(c.Secret.Reveal(), "token-")
	switch {
	case !ok:
		return sdk.AuthAnswer{Refusal: &sdk.AuthRefusal{Status: http.StatusUnauthorized, Code: "no_token"}}, nil
	case who == "broken":
		return sdk.AuthAnswer{}, errors.New("the directory is down")
	}
	i := &sdk.Identity{UserID: who, Models: []string{"demo"}}
	if team, ok := strings.CutPrefix(who, "team-"); ok {
		i = &sdk.Identity{TeamID: team}
	}
	return sdk.AuthAnswer{Identity: i, CacheFor: time.Minute}, nil
}

// demoFilter leaves nothing to those who wear the tag "nowhere".
type demoFilter struct{}

func (demoFilter) Configure(context.Context, sdk.RouterFilterSettings) (sdk.RouterFilterDescription, error) {
	return sdk.RouterFilterDescription{Version: "1"}, nil
}

func (demoFilter) Filter(_ context.Context, r *sdk.Route) ([]int, error) {
	var all []int
	for i := range r.Candidates {
		all = append(all, i)
	}
	if slices.Contains(r.Tags, "nowhere") {
		return nil, nil
	}
	return all, nil
}

// register registers a plugin of this test's binary.
func register(t *testing.T, n *nodetest.Node, kind, name string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Appendf(nil, "#!/bin/sh\nexec %q plugin serve %s\n", exe, name)
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, script, 0o700); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(script)
	if status, body := n.Do("POST", "/api/v1/plugins", nodetest.MasterKey, nodetest.Fields{"name": name, "kind": kind, "path": path, "sha256": hex.EncodeToString(sum[:])}); status >= 300 {
		t.Fatalf("register %s: %d %s", name, status, body)
	}
}

// TestAuths lets requests in by what a plugin's process says, until a record says otherwise.
func TestAuths(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("runs a script")
	}
	c := nodetest.Start(t, 2)
	n := c.Nodes[0]
	ask := func(n *nodetest.Node, key string, fields nodetest.Fields) (int, string) {
		body := nodetest.Fields{"model": "demo", "messages": []nodetest.Fields{{"role": "user", "content": "hello"}}}
		maps.Copy(body, fields)
		status, answer := n.Do("POST", "/v1/chat/completions", key, body)
		return status, string(answer)
	}
	want := func(what string, n *nodetest.Node, key string, status int, code string) {
		t.Helper()
		if got, body := ask(n, key, nil); got != status || !strings.Contains(body, code) {
			t.Errorf("%s: got %d %s, want %d %s", what, got, body, status, code)
		}
	}
	must := func(method, path string, body nodetest.Fields) {
		t.Helper()
		if status, answer := n.Do(method, path, nodetest.MasterKey, body); status >= 300 {
			t.Fatalf("%s %s: %d %s", method, path, status, answer)
		}
	}
	must("POST", "/api/v1/users", nodetest.Fields{"id": "alice"})
	must("POST", "/api/v1/teams", nodetest.Fields{"id": "red", "name": "red"})
	want("no plugin", n, "token-alice", 401, "invalid_api_key")
	register(t, n, "auth", "demoauth")
	must("POST", "/api/v1/auths", nodetest.Fields{"name": "idp", "plugin": "demoauth", "deadline_ms": 10_000})
	for _, each := range c.Nodes {
		c.Await("the plugin runs", func() bool {
			status, _ := ask(each, "token-alice", nil)
			return status == 200
		})
	}
	want("a team", n, "token-team-red", 200, "")
	want("a user who is not there", n, "token-bob", 403, "identity_unknown")
	want("refused", n, "something", 401, "no_token")
	want("cannot be told", n, "token-broken", 503, "auth_plugin_unavailable")
	want("the master key", n, nodetest.MasterKey, 200, "")
	if status, _ := n.Do("GET", "/api/v1/keys", "token-alice", nil); status != 401 {
		t.Errorf("the admin API asks a plugin: %d", status)
	}
	if status, body := n.Do("POST", "/v1/batches", "token-alice", nodetest.Fields{"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"}); status != 403 || !strings.Contains(string(body), "key_required") {
		t.Errorf("a batch of nobody's key: %d %s", status, body)
	}
	if status, body := n.Do("POST", "/v1/realtime/client_secrets", "token-alice", nodetest.Fields{"session": nodetest.Fields{"type": "realtime", "model": "demo"}}); status != 403 || !strings.Contains(string(body), "key_required") {
		t.Errorf("a client secret of nobody's key: %d %s", status, body)
	}
	must("POST", "/api/v1/users/alice/block", nil)
	want("a blocked user, whose answer is kept", n, "token-alice", 401, "user_blocked")
	must("POST", "/api/v1/users/alice/unblock", nil)
	for _, p := range running(t, n, "idp") { // a process that dies is replaced
		if err := launch.Signal(p[0].PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	c.Await("the plugin runs again", func() bool {
		status, _ := ask(n, "token-alice", nil)
		return status == 200
	})

	register(t, n, "router_filter", "demofilter")
	must("POST", "/api/v1/router_filters", nodetest.Fields{"name": "near", "plugin": "demofilter", "deadline_ms": 10_000})
	c.Await("the filter runs", func() bool {
		status, _ := ask(n, nodetest.MasterKey, nil)
		return status == 200
	})
	if status, body := ask(n, nodetest.MasterKey, nodetest.Fields{"metadata": nodetest.Fields{"tags": []string{"nowhere"}}}); status != 503 || !strings.Contains(body, "no_deployment_allowed") {
		t.Errorf("filtered: %d %s", status, body)
	}
	must("PATCH", "/api/v1/plugins/demofilter", nodetest.Fields{"sha256": strings.Repeat("0", 64)}) // it cannot be started any more
	c.Await("no filter, no answer", func() bool {
		for _, p := range running(t, n, "near") {
			_ = launch.Signal(p[0].PID, syscall.SIGKILL)
		}
		status, body := ask(n, nodetest.MasterKey, nil)
		return status == 503 && strings.Contains(body, "router_filter_unavailable")
	})
	must("PATCH", "/api/v1/router_filters/near", nodetest.Fields{"on_error": "pass"})
	want("passed", n, nodetest.MasterKey, 200, "")
}
