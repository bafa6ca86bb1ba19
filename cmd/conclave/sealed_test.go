package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/config/load"
	"github.com/conclave-llm/conclave/secret"
)

// TestOpener seals a value as an operator would, and starts with it in the environment and in
// the file.
func TestOpener(t *testing.T) {
	dir := t.TempDir()
	kek, err := secret.NewKEK()
	if err != nil {
		t.Fatal(err)
	}
	if err := kek.Save(filepath.Join(dir, "kek")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "a.hcl")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	node := "node {\n  name = \"a\"\n  data_dir = " + `"` + dir + `"` + "\n  master_key = env(\"TEST_MASTER\")\n}\n"
	t.Setenv("TEST_MASTER", "not yet sealed")
	write(node)
	var out bytes.Buffer
	a := &app{stdout: &out, stderr: &out}
	if err := a.seal(t.Context(), path, strings.NewReader("sk-master-secret\n")); err != nil {
		t.Fatal(err)
	}
	sealed := strings.TrimSpace(out.String())
	if strings.Contains(sealed, "sk-master") {
		t.Fatalf("got %q", sealed)
	}
	t.Setenv("TEST_MASTER", sealed)
	write(node + "credential \"c\" {\n  provider = \"openai\"\n  api_key = \"" + sealed + "\"\n}\n")
	cfg, _, err := a.nodeConfig(t.Context(), serveFlags{file: path, bootstrap: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.MasterKey.Reveal(); got != "sk-master-secret" {
		t.Errorf("the master key is %q", got)
	}
	if got := cfg.Resources.Credentials[0].APIKey; got != "sk-master-secret" {
		t.Errorf("the credential's key is %q", got)
	}
	if v, _ := cfg.Environ("TEST_MASTER"); v != "sk-master-secret" {
		t.Errorf("the node's environment has %q", v)
	}
	other, _ := secret.NewKEK()
	wrong, _ := secret.SealValue(other, secret.New("x"))
	t.Setenv("TEST_OTHER", wrong)
	if _, _, err := a.nodeConfig(t.Context(), serveFlags{file: path}); err == nil || !strings.Contains(err.Error(), "TEST_OTHER") || strings.Contains(err.Error(), wrong) {
		t.Errorf("got %v, want an error that names the variable and not its value", err)
	}
	out.Reset()
	if err := a.seal(t.Context(), path, strings.NewReader("again")); err != nil || !strings.HasPrefix(out.String(), secret.SealedPrefix) {
		t.Errorf("seal again where a variable was sealed under a KEK that was exchanged: got %q, %v", out.String(), err)
	}
	t.Setenv("TEST_OTHER", "")
	write(node + "credential \"c\" {\n  provider = \"openai\"\n  api_key = \"" + wrong + "\"\n}\n")
	if _, _, err := a.nodeConfig(t.Context(), serveFlags{file: path, bootstrap: true}); err == nil || !strings.Contains(err.Error(), "a.hcl:6:") || !strings.Contains(err.Error(), "api_key") {
		t.Errorf("got %v, want an error that names the credential", err)
	}
	// Every record's secrets are opened, and those of a file that is applied on its node.
	write(node + `callback "c" {
  plugin  = "webhook"
  config  = { url = "http://127.0.0.1:1" }
  secrets = { "headers.Authorization" = "` + sealed + `" }
}
pass_through_endpoint "p" {
  path    = "/p"
  target  = "http://127.0.0.1:1"
  headers = { "X-Key" = "` + sealed + `" }
}
`)
	cfg, _, err = a.nodeConfig(t.Context(), serveFlags{file: path, bootstrap: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.Resources.Callbacks[0].Secrets["headers.Authorization"].Text; got != "sk-master-secret" {
		t.Errorf("the callback's secret is %q", got)
	}
	file, err := load.File(path, os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	if err := openResources(t.Context(), path, &file.Resources); err != nil {
		t.Fatal(err)
	}
	if got := file.Resources.Callbacks[0].Secrets["headers.Authorization"]; got != "sk-master-secret" {
		t.Errorf("applied: the callback's secret is %q", got)
	}
	// One that a key service has sealed is never taken for the secret itself.
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_REGION_NAME", "")
	write(node + "credential \"c\" {\n  provider = \"openai\"\n  api_key = \"aws_kms/AAAABBBB\"\n}\n")
	if file, err = load.File(path, os.LookupEnv); err != nil {
		t.Fatal(err)
	}
	if err := openResources(t.Context(), path, &file.Resources); err == nil || !strings.Contains(err.Error(), "a.hcl:6:") || strings.Contains(err.Error(), "AAAABBBB") {
		t.Errorf("a value that a key service has sealed, and no service to ask: got %v, want an error that names the credential", err)
	}
	write("credential \"c\" {\n  provider = \"openai\"\n  api_key = \"" + sealed + "\"\n}\n")
	if file, err = load.File(path, os.LookupEnv); err != nil {
		t.Fatal(err)
	}
	if err := openResources(t.Context(), path, &file.Resources); err == nil || strings.Contains(err.Error(), sealed) {
		t.Errorf("a file without a node: got %v, want an error", err)
	}
}
