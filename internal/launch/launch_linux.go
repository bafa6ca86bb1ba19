// Package launch starts processes that die with this one.
package launch

import (
	"errors"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Launcher starts processes from one thread that lives as long as it does. The kernel kills
// them when that thread ends, which is what PR_SET_PDEATHSIG watches: a goroutine's usual
// thread may end long before the host does (golang/go#27505).
type Launcher struct {
	jobs chan launch
	wg   sync.WaitGroup
}

type launch struct {
	cmd *exec.Cmd
	err chan<- error
}

// New makes a Launcher.
func New() *Launcher {
	l := &Launcher{jobs: make(chan launch)}
	l.wg.Go(func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for j := range l.jobs {
			j.err <- j.cmd.Start()
		}
	})
	return l
}

// Start starts the command in a process group of its own that dies with the host.
func (l *Launcher) Start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	err := make(chan error, 1)
	l.jobs <- launch{cmd, err}
	return <-err
}

// Close ends the thread, and with it every process that still runs.
func (l *Launcher) Close() {
	close(l.jobs)
	l.wg.Wait()
}

// AwaitExit returns when the process has exited but is not yet reaped, so that its group can
// still be signalled without meeting a stranger.
func AwaitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
