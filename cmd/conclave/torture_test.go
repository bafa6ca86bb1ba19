package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestTorture(t *testing.T) {
	t.Parallel()
	run := func(args ...string) (out string, err error) {
		var stdout, stderr bytes.Buffer
		cmd := (&app{stdout: &stdout, stderr: &stderr}).tortureCommand()
		cmd.SetArgs(args)
		cmd.SetOut(&stdout)
		cmd.SetErr(&stderr)
		err = cmd.ExecuteContext(t.Context())
		return stdout.String(), err
	}
	if out, err := run("--simulate", "--schedules", "20"); err != nil || !strings.HasPrefix(out, "20 schedules in ") {
		t.Errorf("got %q, %v", out, err)
	}
	if out, err := run("--simulate", "--first", "7", "--schedules", "1", "--steps"); err != nil || !strings.Contains(out, "ticks") || !strings.Contains(out, "\n1 schedules in ") {
		t.Errorf("one with its steps: got %q, %v", out, err)
	}
	if out, err := run("--simulate", "--for", "200ms"); err != nil || strings.HasPrefix(out, "0 schedules") {
		t.Errorf("for a time: got %q, %v", out, err)
	}
	for _, args := range []string{
		"--simulate --schedules 0",  // neither schedules nor a time
		"--schedules 20", "--steps", // of schedules, but real nodes are asked for
		"--simulate --nodes 3",   // of real nodes
		"--simulate --processes", // both
		"--nodes 0", "--nodes 8", // real nodes are the default
	} {
		if _, err := run(strings.Fields(args)...); err == nil {
			t.Errorf("%s: it was taken", args)
		}
	}
}
