package fsm_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm"
)

// childLog names the log that a child of TestKilled applies, childDir its state's folder.
const (
	childLog = "CONCLAVE_FSM_CHILD_LOG"
	childDir = "CONCLAVE_FSM_CHILD_DIR"
)

// TestKilled kills a process that applies a log again and again, at any moment. The file that it leaves is kept, every
// value in it is whole, and it is the state after the entry that it says.
func TestKilled(t *testing.T) {
	if os.Getenv(childLog) != "" {
		t.Skip("this is the child")
	}
	kills := 12
	if n, err := strconv.Atoi(os.Getenv("CONCLAVE_KILLS")); err == nil {
		kills = n
	}
	h := start(t)
	h.boot("n1", "n2")
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	hashes := grow(h, r, 3000)
	file := filepath.Join(t.TempDir(), "log")
	writeLog(t, file, h.log)
	dir, unclean := t.TempDir(), 0
	for range kills {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled_child$")
		child.Env = append(os.Environ(), childLog+"="+file, childDir+"="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "open\n" {
			t.Fatalf("the child said %q: %v", line, err)
		}
		<-time.After(time.Duration(r.Int64N(int64(60 * time.Millisecond)))) // the moment is what is tested
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait() // killed, or done
		at := t.TempDir()
		if err := os.CopyFS(at, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		f, err := fsm.Open(fsm.Config{Dir: at, NodeID: "n1", BootID: "boot"})
		if err != nil {
			t.Fatal(err)
		}
		index, hash := f.Hash()
		if !f.Unclean() {
			t.Error("the state does not know that its last run was killed")
		}
		if !f.Kept() || index != 0 && hash != hashes[index] && hashes[index] != [16]byte{} {
			t.Errorf("kept %v; after entry %d the state is another one (seed %d)", f.Kept(), index, seed)
		}
		if err := f.Scrub(); err != nil {
			t.Errorf("after entry %d: %v (seed %d)", index, err, seed)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if index < h.index {
			unclean++
			continue
		}
		dir = t.TempDir() // all was applied: from the beginning
	}
	if unclean == 0 {
		t.Error("no process was killed while it applied")
	}
}

// TestKilled_child is the process that TestKilled kills.
func TestKilled_child(t *testing.T) {
	file, dir := os.Getenv(childLog), os.Getenv(childDir)
	if file == "" {
		t.Skip("is run by TestKilled")
	}
	f, err := fsm.Open(fsm.Config{Dir: dir, NodeID: "n1", BootID: "boot"})
	if err != nil {
		t.Fatal(err)
	}
	all := readLog(t, file)
	fmt.Println("open")
	for len(all) > 0 {
		n := min(1+rand.IntN(40), len(all))
		f.ApplyBatch(all[:n])
		all = all[n:]
	}
	select {} // killed by the test
}

func writeLog(t *testing.T, file string, logs []*raft.Log) {
	t.Helper()
	var b []byte
	for _, l := range logs {
		b = binary.BigEndian.AppendUint64(b, l.Index)
		b = binary.BigEndian.AppendUint64(b, uint64(len(l.Data)))
		b = append(b, l.Data...)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func readLog(t *testing.T, file string) (logs []*raft.Log) {
	t.Helper()
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	for r := bufio.NewReader(in); ; {
		var head [16]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return logs
		}
		l := &raft.Log{Index: binary.BigEndian.Uint64(head[:]), Term: 1, Type: raft.LogCommand, Data: make([]byte, binary.BigEndian.Uint64(head[8:]))}
		if _, err := io.ReadFull(r, l.Data); err != nil {
			t.Fatal(err)
		}
		logs = append(logs, l)
	}
}
