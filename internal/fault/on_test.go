//go:build conclave_fault

package fault

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestPoint ends a process the third time that it reaches the point, and not at others.
func TestPoint(t *testing.T) {
	if chosen != "" {
		for i := range 5 {
			os.Stdout.WriteString("x")
			Point(TickSend)
			if i == 0 {
				Point(TickSent)
			}
		}
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=TestPoint$")
	cmd.Env = append(os.Environ(), Variable+"="+TickSend+":3")
	out, err := cmd.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("got %v, want the end by SIGKILL", err)
	}
	if n := strings.Count(string(out), "x"); n != 3 {
		t.Errorf("it ended after %d times, want 3", n)
	}
}
