package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/node/torture/live"
)

// liveLength is for how long real nodes are tortured unless --for says otherwise.
const liveLength = time.Minute

// liveFlags say how real nodes are tortured.
type liveFlags struct {
	dir     string
	seed    uint64
	nodes   int
	next    string // another program, that nodes change to and back
	journal string
}

// tortureProcesses tortures real nodes and judges the report.
func (a *app) tortureProcesses(ctx context.Context, f tortureFlags) error {
	if f.live.nodes < 1 || f.live.nodes > 7 {
		return errors.New("a cluster of 1 to 7 nodes is tortured")
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if f.live.next != "" {
		if f.live.next, err = runnable(f.live.next); err != nil {
			return err
		}
	}
	if f.live.seed == 0 {
		f.live.seed = uint64(time.Now().UnixNano())
	}
	if f.live.dir == "" {
		f.live.dir = fmt.Sprint("torture-", f.live.seed)
	}
	if f.length == 0 {
		f.length = liveLength
	}
	fmt.Fprintf(a.stderr, "seed %d, report in %s\n", f.live.seed, f.live.dir)
	err = live.Run(ctx, live.Config{
		Dir: f.live.dir, Program: exe, Next: f.live.next, Journal: f.live.journal, Seed: f.live.seed, Length: f.length, Nodes: f.live.nodes,
		Say: func(line string) { fmt.Fprintln(a.stderr, line) },
	})
	if err != nil {
		return err
	}
	return a.judge(f.live.dir)
}

// runnable is the full path of a program that can be run.
func runnable(path string) (string, error) {
	found, err := exec.LookPath(path)
	if err == nil {
		found, err = filepath.Abs(found)
	}
	if err != nil {
		return "", fmt.Errorf("--next: %w", err)
	}
	return found, nil
}

func (a *app) tortureCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check DIR",
		Short: "Judge the report of a run, from its files alone",
		Args:  cobra.ExactArgs(1),
		RunE:  func(_ *cobra.Command, args []string) error { return a.judge(args[0]) },
	}
}

// judge prints what a report proves, and fails if an invariant did not hold.
func (a *app) judge(dir string) error {
	v, err := live.Check(dir)
	if err != nil {
		return err
	}
	out, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, string(out))
	if len(v.Broken) > 0 {
		return fmt.Errorf("%d invariants did not hold; again: conclave torture --seed %d --for %s", len(v.Broken), v.Seed, v.Length)
	}
	return nil
}
