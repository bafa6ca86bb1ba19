package recovery_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/conclave-llm/conclave/node/consensus/logstore"
	"github.com/conclave-llm/conclave/node/consensus/recovery"
	"github.com/conclave-llm/conclave/node/nodetest"
)

// TestOpen_Damaged looks at folders that must not be the one that goes on.
func TestOpen_Damaged(t *testing.T) {
	t.Parallel()
	if _, err := recovery.Open(recovery.Config{Dir: t.TempDir()}); err == nil {
		t.Error("an empty folder was taken")
	}
	c := nodetest.Start(t, 2)
	for _, n := range c.Nodes {
		n.Stop()
	}
	logs, err := filepath.Glob(filepath.Join(c.Nodes[0].Dir, "raft", "log", "*.log"))
	if err != nil || len(logs) == 0 {
		entries, _ := os.ReadDir(filepath.Join(c.Nodes[0].Dir, "raft", "log"))
		t.Fatalf("no files of the log: %v, %v", entries, err)
	}
	b, err := os.ReadFile(logs[0])
	if err != nil {
		t.Fatal(err)
	}
	flip := func(at int) error {
		damaged := append([]byte(nil), b...)
		damaged[at] ^= 0x40
		return os.WriteFile(logs[0], damaged, 0o600)
	}
	if err := flip(2000); err != nil {
		t.Fatal(err)
	}
	if _, err := recovery.Open(recovery.Config{Dir: c.Nodes[0].Dir}); !errors.Is(err, logstore.ErrCorrupt) && !errors.Is(err, logstore.ErrLost) {
		t.Errorf("a flipped bit in the log: got %v", err)
	}
	if err := os.WriteFile(logs[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := recovery.Open(recovery.Config{Dir: c.Nodes[0].Dir})
	if err != nil {
		t.Fatalf("the log as it was: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for _, f := range logs {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := recovery.Open(recovery.Config{Dir: c.Nodes[0].Dir}); !errors.Is(err, logstore.ErrLost) && !errors.Is(err, logstore.ErrCorrupt) {
		t.Errorf("the log is gone, the witness is not: got %v", err)
	}
}
