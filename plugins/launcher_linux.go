package plugins

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// launcher starts processes from one thread that lives as long as it does. The kernel kills
// them when that thread ends, which is what PR_SET_PDEATHSIG watches: a goroutine's usual
// thread may end long before the host does (golang/go#27505).
type launcher struct {
	jobs chan launch
	wg   sync.WaitGroup
}

type launch struct {
	cmd *exec.Cmd
	err chan<- error
}

func newLauncher() *launcher {
	l := &launcher{jobs: make(chan launch)}
	l.wg.Go(func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for j := range l.jobs {
			j.err <- j.cmd.Start()
		}
	})
	return l
}

// start starts the command in a process group of its own that dies with the host.
func (l *launcher) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	err := make(chan error, 1)
	l.jobs <- launch{cmd, err}
	return <-err
}

// close ends the thread, and with it every process that still runs.
func (l *launcher) close() {
	close(l.jobs)
	l.wg.Wait()
}
