//go:build e2e

package faults

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/test/cluster"
)

// TestMix_RandomFaults has the product torture a cluster of its own with faults of every kind that this machine permits, nodes that
// change to the program to come and back among them, under load, after which every invariant that the report shows must hold.
// The report is judged again from its files, and no more once one of them says otherwise.
// It takes ten minutes, or what CONCLAVE_MIX says; CONCLAVE_SEED repeats a run. Parallel tests begin with the last, so this one, in a file
// whose name is one of the last, has most of the others beside it.
func TestMix_RandomFaults(t *testing.T) {
	t.Parallel()
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
	out, err := torture("--for", length.String(), "--seed", fmt.Sprint(seed), "--next", nextBinary(t), "--dir", dir)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	if length >= 10*time.Minute { // a deal of all kinds takes two or three
		everyKind(t, out)
	}
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

// everyKind expects the faults of a verdict to be of all kinds: those that need no more than three nodes and another program, and, where
// nothing was left out, the others.
func everyKind(t *testing.T, out []byte) {
	t.Helper()
	var v struct {
		Faults  map[string]int `json:"faults"`
		LeftOut string         `json:"left_out"`
	}
	if err := json.Unmarshal(out[bytes.Index(out, []byte("\n{"))+1:], &v); err != nil {
		t.Fatal(err)
	}
	want := []string{"kill", "kill two", "kill all", "stop", "suspend", "replace", "damage", "damage while running", "old folder", "rotate", "change program", "restore", "lose quorum"}
	if v.LeftOut == "" {
		want = append(want, "cut off", "mute", "deafen", "part all", "narrow", "slow disk", "failing disk", "power failure", "power failure of all", "nearly full disk", "full disk")
	}
	for _, kind := range want {
		if v.Faults[kind] == 0 {
			t.Errorf("%s did not come: %v", kind, v.Faults)
		}
	}
}
