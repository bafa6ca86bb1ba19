//go:build !linux

package plugins

import (
	"os/exec"
	"syscall"
)

// launcher starts processes. Without Linux's parent death signal, a plugin notices by itself
// that its host is gone (package sdk).
type launcher struct{}

func newLauncher() *launcher { return &launcher{} }

func (*launcher) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd.Start()
}

func (*launcher) close() {}
