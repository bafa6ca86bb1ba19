package cli_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/cmd/conclave/cli"
	"github.com/conclave-llm/conclave/node/nodetest"
)

func TestBlob(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 1)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	run := func(want int, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		args = append([]string{"--server", c.Nodes[0].URL, "--key", nodetest.MasterKey, "-o", "json"}, args...)
		if got := cli.Run(args, cli.Config{Version: "test", Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs}); got != want {
			t.Fatalf("%v: got status %d, want %d: %s", args, got, want, errs.String())
		}
		return out.String() + errs.String()
	}
	digest := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return hex.EncodeToString(sum[:])
	}
	one := digest("tokens")
	if got := run(0, "blob", "put", write("t.json", "tokens"), "--kind", "tokenizer"); !strings.Contains(got, one) {
		t.Errorf("put: %s", got)
	}
	if got := run(0, "blob", "list"); !strings.Contains(got, one) || !strings.Contains(got, "t.json") || !strings.Contains(got, `"total": 1`) {
		t.Errorf("list: %s", got)
	}
	if got := run(0, "blob", "get", one); got != "tokens" {
		t.Errorf("get: %s", got)
	}
	if got := run(0, "blob", "verify", one); !strings.Contains(got, `"holds": true`) {
		t.Errorf("verify: %s", got)
	}
	run(0, "blob", "delete", one)
	if got := run(1, "blob", "get", one); !strings.Contains(got, "not_found") {
		t.Errorf("get of a deleted one: %s", got)
	}
	run(1, "blob", "put", filepath.Join(dir, "none"))

	// blob(PATH) in a configuration is the digest, and apply uploads the file.
	write("check.bin", "a plugin")
	file := write("c.hcl", "plugin \"mine\" {\n  kind   = \"guardrail\"\n  path   = \"/opt/check\"\n  sha256 = blob(\"check.bin\")\n}\n")
	run(2, "plan", "-f", file)
	if got := run(0, "blob", "list"); strings.Contains(got, digest("a plugin")) {
		t.Errorf("a plan uploads: %s", got)
	}
	run(0, "apply", "-f", file, "--yes")
	if got := run(0, "blob", "get", digest("a plugin")); got != "a plugin" {
		t.Errorf("get of what apply uploaded: %s", got)
	}

	// Authorities may be a blob, too, which is kept while a record names it.
	srv := httptest.NewUnstartedServer(nil)
	srv.StartTLS()
	srv.Close()
	bundle := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	write("ca.pem", bundle)
	model := "model \"m\" {\n  deployment \"d\" {\n    provider = \"openai\"\n    tls { ca = blob(%q) }\n  }\n}\n"
	run(0, "apply", "-f", write("e.hcl", fmt.Sprintf(model, "ca.pem")), "--yes")
	if got := run(0, "blob", "list"); !strings.Contains(got, digest(bundle)) || !strings.Contains(got, "deployment/") || !strings.Contains(got, `"total": 2`) {
		t.Errorf("list with authorities: %s", got)
	}
	if got := run(1, "blob", "delete", digest(bundle)); !strings.Contains(got, "in_use") {
		t.Errorf("delete of authorities that a deployment names: %s", got)
	}
	if got := run(1, "plan", "-f", write("f.hcl", fmt.Sprintf(model, "check.bin"))); !strings.Contains(got, "tls.ca") {
		t.Errorf("authorities that are none: %s", got)
	}
	lost := write("d.hcl", "plugin \"mine\" {\n  kind   = \"guardrail\"\n  path   = \"/opt/check\"\n  sha256 = blob(\"lost.bin\")\n}\n")
	if got := run(1, "apply", "-f", lost, "--yes"); !strings.Contains(got, "lost.bin") || !strings.Contains(got, "d.hcl line 4") {
		t.Errorf("a file that is not there: %s", got)
	}
}
