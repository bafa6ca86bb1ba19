package rig

import (
	"fmt"
	"os/exec"
	"strconv"
)

// What Disturb does to each sync of a disk.
const (
	SlowSyncs = "delay_exit=300000" // microseconds
	FailSyncs = "error=EIO"
)

// MayDisturb says why no disk can be disturbed here; nil: one can.
func MayDisturb() error {
	if _, err := exec.LookPath("strace"); err != nil {
		return fmt.Errorf("faults of disks need strace: %w", err)
	}
	return nil
}

// Disturb has strace do something to every sync of a process until the returned function is called.
func Disturb(p *Process, what string) (end func(), err error) {
	cmd := exec.Command("strace", "-f", "-qq", "-o", "/dev/null", "-p", strconv.Itoa(p.PID()), //nolint:gosec,noctx // it ends when its owner says
		"-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:"+what)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("disturb a disk: %w", err)
	}
	return func() {
		_ = cmd.Process.Kill() // it ends by itself with its process
		_ = cmd.Wait()
	}, nil
}

// MayNarrow says why no link of a Network can be narrowed here; nil: one can.
func MayNarrow() error {
	if _, err := exec.LookPath("tc"); err != nil {
		return fmt.Errorf("narrow links need tc: %w", err)
	}
	return nil
}
