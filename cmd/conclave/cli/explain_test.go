package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/cmd/conclave/cli"
	"github.com/conclave-llm/conclave/ledger/evidence"
	"github.com/conclave-llm/conclave/ledger/facts"
	"github.com/conclave-llm/conclave/ledger/requestlog"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// TestExplain_file decides a request again without any node.
func TestExplain_file(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name string, rpm int64) string {
		key := &resource.Key{Meta: resource.Meta{ID: "key_1", Version: 9}}
		key.Limits.RPM = &rpm
		b, err := json.Marshal(evidence.Case{
			Requests: []evidence.Request{{
				Row: requestlog.Row{RequestID: "r1", Count: 1, KeyID: "key_1", Model: "demo", Endpoint: "chat", Status: 429, ErrorKind: "rate_limited", ErrorCode: "rate_limit_exceeded"},
				Receipt: requestlog.Receipt{Decision: "refused", Step: "limits", Scope: "key", Entity: "key_1", Facts: facts.Facts{
					Index: 7, Path: "/v1/chat/completions", Count: &llm.Count{Of: "rpm", Limit: 60, Asked: 1},
				}},
			}},
			State: evidence.State{Index: 10, Keys: []*resource.Key{key}, Models: []*resource.Model{{Meta: resource.Meta{ID: "m"}, Name: "demo"}}, Deployments: []*resource.Deployment{
				{Meta: resource.Meta{ID: "d"}, ModelID: "m", Provider: "openai"},
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	same, raised := write("same.json", 60), write("raised.json", 61)
	broken := filepath.Join(dir, "broken.json")
	if err := os.WriteFile(broken, []byte(`{"requests":[{"novelty":1}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		args []string
		rc   int
		want []string
	}{
		{"receipt alone", []string{"--file", same}, 0, []string{"Refused with status 429"}},
		{"as it was", []string{"--replay", "--file", same}, 0, []string{"Decided again: refused limits rate_limit_exceeded key key_1", "as it was", "written since: key/key_1"}},
		{"another state", []string{"--replay", "--file", same, "--state", raised}, 0, []string{"Decided again: served", "it was: refused rate_limit_exceeded"}},
		{"what is not known", []string{"--replay", "--file", broken}, 1, []string{"novelty"}},
		{"no such file", []string{"--file", filepath.Join(dir, "none")}, 1, []string{"none"}},
		{"both", []string{"r1", "--file", same}, 1, []string{"leave REQUEST_ID or --file out"}},
		{"neither", nil, 1, []string{"which request?"}},
	} {
		var out bytes.Buffer
		args := append([]string{"--server", "http://127.0.0.1:1", "--key", "sk-none", "-o", "table", "explain"}, tt.args...)
		if got := cli.Run(args, cli.Config{Version: "test", Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out}); got != tt.rc {
			t.Errorf("%s: got status %d, want %d: %s", tt.name, got, tt.rc, out.String())
		}
		for _, want := range tt.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: %q is not in %s", tt.name, want, out.String())
			}
		}
	}
}
