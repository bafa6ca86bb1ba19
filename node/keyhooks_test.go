package node_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/conclave-llm/conclave/cmd/conclave/cli"
	"github.com/conclave-llm/conclave/internal/launch"
	"github.com/conclave-llm/conclave/node/nodetest"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// demoKeys writes into keys that it saw them, and refuses those whose names say so.
type demoKeys struct{ demoAuth }

func (demoKeys) Configure(context.Context, sdk.AuthSettings) (sdk.AuthDescription, error) {
	return sdk.AuthDescription{Version: "1", Hooks: []sdk.AuthHook{sdk.AuthGenerateKey, sdk.AuthUpdateKey}}, nil
}

func (demoKeys) Key(ctx context.Context, d *sdk.KeyDraft) (sdk.KeyVerdict, error) {
	var key struct{ Name string }
	if err := json.Unmarshal(d.Key, &key); err != nil {
		return sdk.KeyVerdict{}, err
	}
	switch {
	case strings.HasPrefix(key.Name, "bad"):
		return sdk.KeyVerdict{Refused: "the name " + key.Name + " is not one of ours"}, nil
	case strings.HasPrefix(key.Name, "late"):
		<-ctx.Done()
		return sdk.KeyVerdict{}, ctx.Err()
	case strings.HasPrefix(key.Name, "panic"):
		panic("a plugin's mistake")
	}
	return sdk.KeyVerdict{Fill: fmt.Appendf(nil, `{"metadata":{"seen":%q},"models":["demo"]}`, d.Hook)}, nil
}

// command runs a command of the CLI against the node and returns its exit status and what it wrote.
func command(n *nodetest.Node, args ...string) (int, string) {
	var out bytes.Buffer
	status := cli.Run(append(args, "--server", n.URL, "--key", nodetest.MasterKey), cli.Config{Version: "test", Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out})
	return status, out.String()
}

// TestKeyHooks has a plugin's process fill in and refuse keys, through every path and both nodes; without it no key is made,
// unless the record says so.
func TestKeyHooks(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("runs a script")
	}
	c := nodetest.Start(t, 2)
	n := c.Nodes[0]
	call := func(n *nodetest.Node, method, path string, body nodetest.Fields) (int, string) {
		status, answer := n.Do(method, path, nodetest.MasterKey, body)
		return status, string(answer)
	}
	register(t, n, "auth", "demokeys")
	if status, body := call(n, "POST", "/api/v1/auths", nodetest.Fields{"name": "policy", "plugin": "demokeys", "deadline_ms": 10_000}); status != 201 {
		t.Fatalf("create auth: %d %s", status, body)
	}
	for i, each := range c.Nodes {
		c.Await("the plugin runs on "+each.Name, func() bool {
			status, _ := call(each, "POST", "/api/v1/keys", nodetest.Fields{"name": fmt.Sprintf("first-%d", i)})
			return status == 201
		})
	}
	// seen is what the plugin wrote into the key, "" if there is no key of the name on any node.
	seen := func(name string) (said string) {
		t.Helper()
		for _, each := range c.Nodes {
			status, body := call(each, "GET", "/api/v1/keys/"+name, nil)
			var k struct{ Metadata struct{ Seen string } }
			if err := json.Unmarshal([]byte(body), &k); status == 200 && err == nil {
				said += k.Metadata.Seen + " "
			}
		}
		return strings.TrimSpace(said)
	}
	made, changed := "generate_key generate_key", "update_key update_key"
	says := func(what string, ok bool, answer, key, want string) {
		t.Helper()
		if !ok {
			t.Fatalf("%s: got %s", what, answer)
		}
		c.Await(what+": the plugin's mark in "+key, func() bool { return seen(key) == want })
	}
	paths := []struct {
		name, path string
		body       func(key string) nodetest.Fields
	}{
		{"the API", "/api/v1/keys", func(key string) nodetest.Fields { return nodetest.Fields{"name": key} }},
		{"LiteLLM's", "/key/generate", func(key string) nodetest.Fields { return nodetest.Fields{"key_alias": key} }},
		{"many", "/api/v1/keys/bulk", nil},
		{"of a user", "/user/new", func(key string) nodetest.Fields { return nodetest.Fields{"user_id": "u-" + key, "key_alias": key} }},
	}
	create := func(i int, key string) (int, string) {
		p := paths[i]
		if p.body == nil {
			status, body := c.Nodes[i%2].Do("POST", p.path, nodetest.MasterKey, fmt.Sprintf(`[{"name":"before-%[1]s"},{"name":%[1]q}]`, key))
			return status, string(body)
		}
		return call(c.Nodes[i%2], "POST", p.path, p.body(key))
	}
	for i, p := range paths {
		key := fmt.Sprintf("good-%d", i)
		status, body := create(i, key)
		says(p.name, status < 300, body, key, made)
	}
	status, out := command(c.Nodes[1], "key", "create", "good-cli", "-o", "json")
	says("the CLI", status == 0, out, "good-cli", made)
	for i, change := range []func() (int, string){
		func() (int, string) {
			return call(c.Nodes[1], "PATCH", "/api/v1/keys/good-0", nodetest.Fields{"limits": nodetest.Fields{"rpm": 7}})
		},
		func() (int, string) {
			return call(n, "POST", "/key/update", nodetest.Fields{"key": "good-1", "rpm_limit": 7})
		},
		func() (int, string) { return call(n, "POST", "/api/v1/keys/good-3/rotate", nodetest.Fields{}) },
		func() (int, string) {
			status, out := command(c.Nodes[1], "key", "update", "good-cli", "--rpm", "7")
			return 200 + 300*status, out
		},
	} {
		key := []string{"good-0", "good-1", "good-3", "good-cli"}[i]
		status, body := change()
		says("a change of "+key, status < 300, body, key, changed)
	}

	refused := func(what, kind string, status int, says string) {
		t.Helper()
		for i, p := range paths {
			key := fmt.Sprintf("%s-%d", kind, i)
			got, body := create(i, key)
			if got != status || !strings.Contains(body, says) || seen(key)+seen("before-"+key) != "" {
				t.Errorf("%s, %s: got %d %s, want %d %s and no key", what, p.name, got, body, status, says)
			}
			if got, _ := call(n, "GET", "/api/v1/users/u-"+key, nil); got != 404 {
				t.Errorf("%s, %s: the user of the key is there: %d", what, p.name, got)
			}
		}
		if got, out := command(n, "key", "create", kind+"-cli"); got != 1 || !strings.Contains(out, says) || seen(kind+"-cli") != "" {
			t.Errorf("%s, the CLI: got %d %s", what, got, out)
		}
		_, was := call(n, "GET", "/api/v1/keys/good-0", nil)
		for path, body := range map[string]nodetest.Fields{
			"PATCH /api/v1/keys/good-0": {"name": kind + "-renamed"}, "POST /key/update": {"key": "good-0", "key_alias": kind + "-renamed"},
			"POST /key/regenerate": {"key": "good-0", "key_alias": kind + "-renamed"},
		} {
			method, path, _ := strings.Cut(path, " ")
			if got, body := call(n, method, path, body); got != status || !strings.Contains(body, says) {
				t.Errorf("%s, %s: got %d %s, want %d %s", what, path, got, body, status, says)
			}
		}
		if _, is := call(n, "GET", "/api/v1/keys/good-0", nil); is != was {
			t.Errorf("%s: the key became %s, it was %s", what, is, was)
		}
	}
	refused("refused", "bad", 403, "is not one of ours")
	refused("a panic", "panic", 503, "cannot be asked now")
	if status, body := call(n, "PATCH", "/api/v1/auths/policy", nodetest.Fields{"deadline_ms": 200}); status != 200 {
		t.Fatalf("patch auth: %d %s", status, body)
	}
	if status, body := create(0, "late-0"); status != 503 || !strings.Contains(body, "auth_plugin_unavailable") || seen("late-0") != "" {
		t.Errorf("too late: got %d %s", status, body)
	}
	if status, body := call(n, "PATCH", "/api/v1/plugins/demokeys", nodetest.Fields{"sha256": strings.Repeat("0", 64)}); status != 200 { // it cannot be started any more
		t.Fatalf("patch plugin: %d %s", status, body)
	}
	for _, each := range c.Nodes {
		c.Await("no plugin runs on "+each.Name, func() bool {
			for _, p := range running(t, n, "policy")[each.Name] {
				if p.PID != 0 {
					_ = launch.Signal(p.PID, syscall.SIGKILL)
				}
			}
			status, _ := call(each, "POST", "/api/v1/keys", nodetest.Fields{"name": "bad-probe"})
			return status == 503
		})
	}
	refused("the plugin is down", "none", 503, "cannot be asked now")
	if status, body := call(n, "PATCH", "/api/v1/auths/policy", nodetest.Fields{"on_error": "pass"}); status != 200 {
		t.Fatalf("patch auth: %d %s", status, body)
	}
	if status, body := create(0, "passes"); status != 201 || strings.Contains(body, "seen") {
		t.Errorf("without the plugin, on_error = pass: got %d %s", status, body)
	}
}
