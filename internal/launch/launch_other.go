//go:build !linux

// Package launch starts processes in groups of their own.
package launch

import (
	"os/exec"
	"syscall"
	"time"
)

// Launcher starts processes. Without Linux's parent death signal, a plugin notices by itself
// that its host is gone (package plugins/sdk).
type Launcher struct{}

// New makes a Launcher.
func New() *Launcher { return &Launcher{} }

// Start starts the command in a process group of its own.
func (*Launcher) Start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd.Start()
}

// Close ends the launcher; what it started goes on.
func (*Launcher) Close() {}

// AwaitExit returns when the process has exited.
func AwaitExit(pid int) {
	for syscall.Kill(pid, 0) == nil {
		time.Sleep(50 * time.Millisecond)
	}
}
