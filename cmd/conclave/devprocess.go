package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const childStop = 30 * time.Second

// devNode is the configuration of one node that runs in a process of its own.
const devNode = `node {
  name       = %q
  data_dir   = %q
  listen     = %q
  cluster    = %q
  master_key = env("CONCLAVE_MASTER_KEY")
}
`

// runProcesses runs every node in a child and prints its pid, so that one can be killed and
// started again by hand: CONCLAVE_MASTER_KEY=… conclave serve --config DIR/node2.hcl.
func (d *devCluster) runProcesses(ctx context.Context) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	var children []*exec.Cmd
	defer func() { stopChildren(children) }()
	for i, s := range d.seats {
		file := filepath.Join(d.flags.dir, s.Name+".hcl")
		text := fmt.Sprintf(devNode, s.Name, s.DataDir, d.addr(10*i), s.Cluster)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return err
		}
		cmd := exec.Command(exe, "serve", "--config", file) //nolint:gosec,noctx // this very binary; it is stopped below, gently
		cmd.Env = append(os.Environ(), "CONCLAVE_MASTER_KEY="+d.keys.MasterKey)
		cmd.Stderr = d.app.stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C reaches this process alone
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("start %s: %w", s.Name, err)
		}
		children = append(children, cmd)
		fmt.Fprintf(d.app.stdout, "%s: pid %d, %s\n", s.Name, cmd.Process.Pid, file)
	}
	if err := d.present(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	fmt.Fprintln(d.app.stdout, "\nstopping")
	return nil
}

// stopChildren asks all children to stop and waits; one that does not is killed.
func stopChildren(children []*exec.Cmd) {
	for _, c := range children {
		_ = c.Process.Signal(syscall.SIGTERM) // it may have ended
	}
	for _, c := range children {
		timer := time.AfterFunc(childStop, func() { _ = c.Process.Kill() })
		if err := c.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
			fmt.Fprintln(os.Stderr, "conclave:", err)
		}
		timer.Stop()
	}
}
