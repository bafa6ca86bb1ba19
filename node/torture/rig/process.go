// Package rig runs real Conclave processes and does to them what machines and networks do: it
// kills, stops and suspends them, and parts them from one another where network namespaces are
// permitted. It touches only processes and networks that it made.
package rig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// stopWait is how long a process that was asked to end may take.
const stopWait = 20 * time.Second

// Process is a child.
type Process struct {
	cmd  *exec.Cmd
	out  *log
	done chan struct{}
}

// Run starts a process with variables beside this one's. What it writes is kept, and goes to
// copies too; nil: nowhere else.
func Run(env, args []string, copies io.Writer) (*Process, error) {
	p := &Process{cmd: exec.Command(args[0], args[1:]...), out: &log{to: copies}, done: make(chan struct{})} //nolint:gosec,noctx // the caller's program; it ends when its owner says
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.Env = append(os.Environ(), env...)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in Status
		close(p.done)
	}()
	return p, nil
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Log is all that the process has written.
func (p *Process) Log() string { return p.out.String() }

// Ended says whether the process has ended or was never started.
func (p *Process) Ended() bool {
	if p == nil {
		return true
	}
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Wait returns when the process has ended.
func (p *Process) Wait() { <-p.done }

// Status is how an ended process ended: its exit status, or 128 and the number of the signal.
func (p *Process) Status() int {
	ws, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return p.cmd.ProcessState.ExitCode()
}

// Kill ends the process as kill -9 does and waits for it.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.done
}

// Stop asks the process to end, waits, and kills it after 20 s.
func (p *Process) Stop() {
	if p.Ended() {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	limit := time.NewTimer(stopWait)
	defer limit.Stop()
	select {
	case <-p.done:
	case <-limit.C:
		p.Kill()
	}
}

// Suspend takes the processor from the process, as a suspended machine does; Resume gives it back.
func (p *Process) Suspend() error { return p.signal(syscall.SIGSTOP) }

// Resume ends Suspend.
func (p *Process) Resume() error { return p.signal(syscall.SIGCONT) }

// Freeze is Suspend, and returns when every thread stands still, or is within a call of the system: as a process does whose
// machine has no power any more, before that of its disk.
func (p *Process) Freeze() error {
	if err := p.Suspend(); err != nil {
		return err
	}
	for range freezeLooks {
		if p.still() {
			return nil
		}
		time.Sleep(freezeLook)
	}
	return errors.New("the process does not stand still")
}

const (
	freezeLook  = 5 * time.Millisecond
	freezeLooks = 1000
)

// still says whether no thread of the process runs.
func (p *Process) still() bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.PID()))
	for _, path := range threads {
		stat, err := os.ReadFile(path)
		at := bytes.LastIndexByte(stat, ')') + 2
		if err != nil || at < 2 || at >= len(stat) || stat[at] != 'T' && stat[at] != 'D' {
			return false
		}
	}
	return len(threads) > 0
}

func (p *Process) signal(s syscall.Signal) error {
	if p.Ended() {
		return errors.New("the process has ended")
	}
	return p.cmd.Process.Signal(s)
}

// log is what a process writes; its copier and readers share it.
type log struct {
	mu  sync.Mutex // guards buf and to
	buf bytes.Buffer
	to  io.Writer
}

// Write implements io.Writer.
func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.to != nil {
		_, _ = l.to.Write(p) // the copy is for people
	}
	return l.buf.Write(p)
}

// String is all of it.
func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
