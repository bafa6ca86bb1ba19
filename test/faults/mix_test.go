//go:build e2e

package faults

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/test/cluster"
)

// TestMix_RandomFaults has the product torture a cluster of its own: random kills, pauses,
// restarts and partitions under load, after which every invariant that the report shows must hold.
// The report is judged again from its files, and no more once one of them says otherwise.
// It takes ten minutes, or what CONCLAVE_MIX says; CONCLAVE_SEED repeats a run.
func TestMix_RandomFaults(t *testing.T) {
	length := 10 * time.Minute
	if d, err := time.ParseDuration(os.Getenv("CONCLAVE_MIX")); err == nil {
		length = d
	}
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("CONCLAVE_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("CONCLAVE_SEED=%d", seed)
	dir := filepath.Join(t.TempDir(), "report")
	torture := func(args ...string) ([]byte, error) {
		return exec.CommandContext(t.Context(), cluster.Binary(t), append([]string{"torture"}, args...)...).CombinedOutput()
	}
	out, err := torture("--for", length.String(), "--seed", fmt.Sprint(seed), "--dir", dir)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	if out, err := torture("check", dir); err != nil {
		t.Errorf("judged again: %v\n%s", err, out)
	}
	ledger := filepath.Join(dir, "ledger.json")
	text, err := os.ReadFile(ledger)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte(`"requests": `), []byte(`"requests": 1`), 1)
	if err := os.WriteFile(ledger, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := torture("check", dir); err == nil || !bytes.Contains(out, []byte("I5")) {
		t.Errorf("with other books: %v\n%s", err, out)
	}
}
