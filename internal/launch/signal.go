package launch

import (
	"fmt"
	"syscall"
)

// Signal sends a signal to one process. A pid of 0 means that no process runs, as it does in
// a plugin's status: kill(2) would send it to the sender's own group, and a negative one to a
// group or to everybody, so both are refused.
func Signal(pid int, s syscall.Signal) error {
	if pid <= 0 {
		return fmt.Errorf("signal %d: no process has the pid %d", int(s), pid)
	}
	return syscall.Kill(pid, s)
}

// SignalGroup sends a signal to the group that Start made for the process.
func SignalGroup(pid int, s syscall.Signal) error {
	if pid <= 1 { // -1 would be everybody
		return fmt.Errorf("signal %d: no process group has the leader %d", int(s), pid)
	}
	return syscall.Kill(-pid, s)
}
