package launch_test

import (
	"os/exec"
	"syscall"
	"testing"

	"github.com/conclave-llm/conclave/internal/launch"
)

// TestSignal_NoProcess sends nothing to this process's group or to everybody: a plugin's
// status has the pid 0 between two runs, and kill(0) once ended a whole run of the tests.
func TestSignal_NoProcess(t *testing.T) {
	for _, pid := range []int{0, -1, -4711} {
		if err := launch.Signal(pid, 0); err == nil {
			t.Errorf("signal to %d: sent", pid)
		}
	}
	for _, pid := range []int{1, 0, -1, -4711} {
		if err := launch.SignalGroup(pid, 0); err == nil {
			t.Errorf("signal to the group of %d: sent", pid)
		}
	}
}

func TestSignal(t *testing.T) {
	for name, send := range map[string]func(int, syscall.Signal) error{"process": launch.Signal, "group": launch.SignalGroup} {
		t.Run(name, func(t *testing.T) {
			l := launch.New()
			defer l.Close()
			cmd := exec.CommandContext(t.Context(), "sleep", "60")
			if err := l.Start(cmd); err != nil {
				t.Fatal(err)
			}
			if err := send(cmd.Process.Pid, syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // how it ended is below
			if got := cmd.ProcessState.Sys().(syscall.WaitStatus).Signal(); got != syscall.SIGTERM {
				t.Errorf("ended by %v", got)
			}
		})
	}
}
