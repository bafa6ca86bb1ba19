package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
	"github.com/conclave-llm/conclave/internal/launch"
	"github.com/conclave-llm/conclave/node"
	"github.com/conclave-llm/conclave/node/versions"
)

// What a process is told by the one that started it.
const (
	envProgram   = "CONCLAVE_PROGRAM"   // what it is: "launcher", or the SHA-256 of what it runs
	envInstalled = "CONCLAVE_INSTALLED" // path of the program that the operator installed
	envSum       = "CONCLAVE_INSTALLED_SHA256"
	envLaunched  = "CONCLAVE_LAUNCHED" // "1": a launcher waits for it

	launcherRole = "launcher"
	exitSwap     = 79 // of a launched program: start what the store of versions says
)

// program is what this process knows of the programs of its node.
type program struct {
	node.Program
	installed string   // path
	args      []string // of a start
	launched  bool
	log       *slog.Logger
}

// chooseProgram says what runs: this program, or it becomes the one that the cluster's last rollout
// brought and does not return. A launcher returns when what it launched has ended for good.
func chooseProgram(ctx context.Context, cfg *node.Config, f serveFlags, log *slog.Logger) (*program, error) {
	p := &program{
		Program: node.Program{Versions: versions.New(cfg.DataDir)}, log: log, args: []string{"serve", "--config", f.file},
		installed: os.Getenv(envInstalled), launched: os.Getenv(envLaunched) != "",
	}
	p.Installed = os.Getenv(envSum)
	role := os.Getenv(envProgram)
	for _, name := range []string{envProgram, envLaunched, envInstalled, envSum} {
		_ = os.Unsetenv(name) // what this process starts is told anew
	}
	switch role {
	case "":
		return p, p.boot(cfg)
	case launcherRole:
		return nil, p.launch(ctx)
	}
	p.Running, p.Chosen = role, true
	return p, nil
}

// boot is the start by an operator or a supervisor.
func (p *program) boot(cfg *node.Config) error {
	st, err := p.Versions.State()
	if err != nil {
		p.log.Error("the installed program runs, whatever was rolled out", "error", err)
	}
	if len(cfg.UpgradePublishers) == 0 && st == (versions.State{}) {
		return nil // nothing was ever rolled out here, and nothing will be
	}
	if p.installed, err = os.Executable(); err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if p.Installed, err = versions.Sum(p.installed); err != nil {
		return err
	}
	p.Running = p.Installed
	if st.Trial != nil {
		if err := p.Versions.Fail("the node ended while the new program was on trial"); err != nil {
			return err
		}
		p.log.Warn("the program on trial is given up: the node ended meanwhile", "program", st.Trial.Program)
	}
	switch {
	case st.Current == "":
		return nil
	case st.Installed != p.Installed:
		p.log.Warn("another program was installed since the last rollout: it runs", "installed", p.Installed, "rolled_out", st.Current)
		return p.Versions.Forget()
	}
	if err := p.Versions.Check(st.Current); err != nil {
		p.log.Error("the program that was rolled out cannot run; the installed one does", "error", err)
		return nil
	}
	err = p.become(p.Versions.Path(st.Current), st.Current)
	p.log.Error("the program that was rolled out cannot run; the installed one does", "error", err)
	return nil
}

// become is exec: on success it does not return. An empty role is a start anew.
func (p *program) become(path, role string) error {
	env := os.Environ()
	if role != "" {
		env = append(env, envProgram+"="+role, envInstalled+"="+p.installed, envSum+"="+p.Installed)
	}
	if err := syscall.Exec(path, append([]string{"conclave"}, p.args...), env); err != nil { //nolint:gosec // a program of this node, checked
		return fmt.Errorf("start %s: %w", path, err)
	}
	return nil
}

// swap starts another program in the place of this one, whose node has stopped.
func (p *program) swap(s node.Swap) error {
	if s.Trial != nil {
		if err := p.Versions.Begin(*s.Trial); err != nil {
			p.log.Error("the new program is not tried", "error", err)
			return p.anew()
		}
	}
	switch {
	case p.launched:
		return &console.ExitError{Code: exitSwap}
	case s.Trial == nil:
		return p.anew()
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	return p.become(exe, launcherRole)
}

// anew starts as an operator does.
func (p *program) anew() error { return p.become(p.installed, "") }

// launch runs the program that is on trial, and gives it up if it ends or is not called good in
// time: then what ran before starts again. A program that was called good is waited for.
func (p *program) launch(ctx context.Context) error {
	for {
		st, err := p.Versions.State()
		if err != nil || st.Trial == nil {
			return errors.Join(err, p.anew())
		}
		code, good, err := p.try(ctx, *st.Trial)
		switch {
		case ctx.Err() != nil:
			return &console.ExitError{Code: code}
		case !good:
			return p.giveUp(fmt.Sprintf("the new program ended with status %d", code), err)
		case code != exitSwap:
			return &console.ExitError{Code: code}
		}
	}
}

// giveUp ends the trial and starts what ran before.
func (p *program) giveUp(reason string, err error) error {
	if err != nil {
		reason = err.Error()
	}
	p.log.Error("the new program is given up", "reason", reason)
	if err := p.Versions.Fail(reason); err != nil {
		p.log.Error("that is not written down", "error", err)
	}
	return p.anew()
}

// try runs a program to its end and says how it ended, and whether it had been called good. The
// program dies with this process.
func (p *program) try(ctx context.Context, t versions.Trial) (code int, good bool, err error) {
	if err := p.Versions.Check(t.Program); err != nil {
		return 0, false, err
	}
	cmd := exec.Command(p.Versions.Path(t.Program), p.args...) //nolint:gosec,noctx // a program of this node, checked; it is stopped gently
	cmd.Env = append(os.Environ(), envProgram+"="+t.Program, envInstalled+"="+p.installed, envSum+"="+p.Installed, envLaunched+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	l := launch.New()
	defer l.Close()
	if err := l.Start(cmd); err != nil {
		return 0, false, fmt.Errorf("start the new program: %w", err)
	}
	p.log.Info("a new program is on trial", "program", t.Program, "pid", cmd.Process.Pid, "limit", t.Limit)
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is in ProcessState
		close(ended)
	}()
	late := p.watch(ctx, cmd.Process, t, ended)
	st, err := p.Versions.State()
	good = err == nil && (st.Trial == nil || st.Trial.Program != t.Program)
	if late && !good {
		return 0, false, fmt.Errorf("the new program was not well within %s", t.Limit)
	}
	code = cmd.ProcessState.ExitCode()
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		code = 128 + int(ws.Signal())
	}
	return code, good, nil
}

// watch waits for the program's end, hands a stop on to it, and kills it when its trial has
// lasted too long; it says whether it did.
func (p *program) watch(ctx context.Context, child *os.Process, t versions.Trial, ended <-chan struct{}) (late bool) {
	limit := time.NewTimer(t.Limit)
	defer limit.Stop()
	stop := ctx.Done()
	for {
		select {
		case <-ended:
			return late
		case <-stop:
			stop = nil
			_ = child.Signal(syscall.SIGTERM) // it may have ended
		case <-limit.C:
			if st, err := p.Versions.State(); err == nil && st.Trial != nil && st.Trial.Program == t.Program {
				late = true
				_ = child.Kill() // likewise
			}
		}
	}
}
