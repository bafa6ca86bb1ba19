package ports

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
)

// TestMain is also the other process of TestAddr_TwoProcesses.
func TestMain(m *testing.M) {
	if n, err := strconv.Atoi(os.Getenv("CONCLAVE_TEST_PORTS")); err == nil {
		for range n {
			addr, err := Addr()
			if err != nil {
				addr = err.Error()
			}
			_, _ = os.Stdout.WriteString(addr + "\n")
		}
		_, _ = bufio.NewReader(os.Stdin).ReadByte() // it lives until its stdin ends
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestAddr(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range Size + Size/2 {
		addr, err := Addr()
		if err != nil {
			t.Fatal(err)
		}
		if seen[addr] {
			t.Fatalf("%s was given twice", addr)
		}
		seen[addr] = true
		_, port, err := net.SplitHostPort(addr)
		if p, _ := strconv.Atoi(port); err != nil || p < first || p >= limit() {
			t.Errorf("got %s, want a port below %d", addr, limit())
		}
	}
}

// TestAddr_TwoProcesses has another process take ports, of whose block this one then gets none, though nobody
// listens on them.
func TestAddr_TwoProcesses(t *testing.T) {
	t.Parallel()
	const n = Size + 1
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other := exec.CommandContext(t.Context(), self)
	other.Env = append(os.Environ(), "CONCLAVE_TEST_PORTS="+strconv.Itoa(n))
	in, err1 := other.StdinPipe()
	out, err2 := other.StdoutPipe()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	theirs := map[string]bool{}
	for lines := bufio.NewScanner(out); len(theirs) < n && lines.Scan(); {
		theirs[lines.Text()] = true
	}
	if len(theirs) != n {
		t.Fatalf("the other process got %d addresses, want %d", len(theirs), n)
	}
	for addr := range theirs {
		_, port, err := net.SplitHostPort(addr)
		p, _ := strconv.Atoi(port)
		if err != nil || p < first {
			t.Fatalf("the other process got %q", addr)
		}
		block := (p - first) / Size
		given.mu.Lock()
		base, err := take(block)
		given.mu.Unlock()
		if err != nil || base == first+block*Size {
			t.Fatalf("got the block of %s, which is another's: %d, %v", addr, base, err)
		}
		break // one of it is enough, there are not so many
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	if err := other.Wait(); err != nil {
		t.Error(err)
	}
}

func TestBelow(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"32768\t60999\n": 32768, "20000 65000": 20000, "49152 65535": 32768, "1024 65535": 32768, "": 32768,
	} {
		if got := below(text); got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
}
