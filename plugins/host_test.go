package plugins_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/conclave-llm/conclave/internal/launch"
	"github.com/conclave-llm/conclave/plugins"
	"github.com/conclave-llm/conclave/plugins/auth"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/modelserver"
	"github.com/conclave-llm/conclave/plugins/routerfilter"
	"github.com/conclave-llm/conclave/plugins/secretsource"
	"github.com/conclave-llm/conclave/resource"
)

func TestHost_Keywords(t *testing.T) {
	t.Parallel()
	h := newHost(t, plugins.Config{})
	syncReady(t, h, guard("words", "keywords", `{"words":["secret project"]}`))
	if d := before(t, h, "tell me about the SECRET Project please"); d.Action != guardrail.Block || d.Guardrail != "words" {
		t.Errorf("got %+v, want a block", d)
	} else if !guardrail.IsBlocked(d.Err()) {
		t.Errorf("got error %v, want kind Blocked", d.Err())
	}
	d := before(t, h, "hello")
	if d.Action != guardrail.Pass || len(d.Results) != 1 || d.Results[0].Status != guardrail.StatusPassed {
		t.Errorf("got %+v, want one pass", d)
	}
	for _, s := range h.Status() {
		t.Logf("rss %d KiB, hold-back %d", s.RSS>>10, s.HoldBack)
	}
}

func TestHost_NothingRuns(t *testing.T) {
	t.Parallel()
	h := newHost(t, plugins.Config{Dir: filepath.Join(t.TempDir(), "never")})
	if err := h.Sync(nil); err != nil {
		t.Fatal(err)
	}
	if set := h.Guardrails().For("demo", guardrail.Choice{}); set != nil {
		t.Errorf("got a set, want nil")
	}
	if err := h.Ready(); err != nil {
		t.Error(err)
	}
}

func TestHost_Kill9(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		onError resource.OnError
		want    guardrail.Action
	}{
		{resource.OnErrorBlock, guardrail.Block},
		{resource.OnErrorPass, guardrail.Pass},
	} {
		t.Run(string(tt.onError), func(t *testing.T) {
			t.Parallel()
			h := newHost(t, plugins.Config{})
			spec := guard("p", "probe", "")
			spec.OnError = tt.onError
			spec.Deadline = 30 * time.Second
			if err := h.Sync([]plugins.Spec{spec}); err != nil {
				t.Fatal(err)
			}
			pid := waitRunning(t, h, 0)
			done := make(chan *guardrail.Decision, 1)
			go func() { done <- before(t, h, "wait") }()
			eventually(t, 20*time.Second, "the plugin has the check", func() bool { return slices.Contains(h.Status()[0].Output, "waiting") })
			if err := launch.Signal(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			d := <-done
			if d.Action != tt.want || d.Results[0].Status != guardrail.StatusNotRun || errors.Is(d.Results[0].Err, context.DeadlineExceeded) {
				t.Errorf("got %v with %v, want %v with not_run, and not for the deadline", d.Action, d.Results, tt.want)
			}
			waitRunning(t, h, pid)
			if d := before(t, h, "hello"); d.Results[0].Status != guardrail.StatusPassed {
				t.Errorf("got %+v after the restart, want a pass", d)
			}
		})
	}
}

// waitRunning waits for a process other than old and returns its pid.
func waitRunning(t testing.TB, h *plugins.Host, old int) int {
	t.Helper()
	pid := 0
	eventually(t, 10*time.Second, "plugin is running", func() bool {
		s := h.Status()[0]
		pid = s.PID
		return s.State == plugins.StateRunning && pid != 0 && pid != old
	})
	return pid
}

func TestHost_Deadline(t *testing.T) {
	t.Parallel()
	h := newHost(t, plugins.Config{})
	spec := guard("p", "probe", "")
	spec.Deadline = 100 * time.Millisecond
	syncReady(t, h, spec)
	start := time.Now()
	d := before(t, h, "hang")
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("hung plugin cut after %v, want about 100 ms", took)
	}
	if d.Action != guardrail.Block || !errors.Is(d.Results[0].Err, context.DeadlineExceeded) {
		t.Errorf("got %+v, want a block for the deadline", d)
	}
	if d := before(t, h, "hello"); d.Action != guardrail.Pass {
		t.Errorf("got %+v beside a hung check, want a pass", d)
	}
}

// stopped says whether every thread of a process stands still: a signal reaches each of them
// when it next enters the kernel. Where there is no /proc nothing is known to run.
func stopped(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid)) // the pattern is good
	return !slices.ContainsFunc(threads, func(file string) bool {
		stat, err := os.ReadFile(file)
		return err == nil && !bytes.Contains(stat, []byte(") T "))
	})
}

func TestHost_Stopped(t *testing.T) {
	t.Parallel()
	h := newHost(t, plugins.Config{HungAfter: time.Hour, StoppedAfter: time.Hour, SilentAfter: time.Hour})
	spec := guard("p", "probe", "")
	spec.Deadline = 100 * time.Millisecond
	syncReady(t, h, spec)
	pid := waitRunning(t, h, 0)
	if err := launch.Signal(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "plugin stands still", func() bool { return stopped(pid) })
	var wg sync.WaitGroup
	for range 400 { // more than wait to be written
		wg.Go(func() {
			if d := before(t, h, strings.Repeat("hello ", 2000)); d.Results[0].Status != guardrail.StatusNotRun {
				t.Errorf("got %+v from a stopped plugin, want not_run", d.Results)
			}
		})
	}
	wg.Wait()
}

// A process that stands still is replaced, of whichever kind: at once where the system says that a signal has stopped
// it, else when nothing was heard of it for long.
func TestHost_HungIsReplaced(t *testing.T) {
	t.Parallel()
	for _, how := range []struct {
		name string
		cfg  plugins.Config
	}{
		{"stopped", plugins.Config{HungAfter: time.Hour}},
		{"silent", plugins.Config{HungAfter: 2 * time.Second, StoppedAfter: time.Hour}},
	} {
		for _, spec := range []plugins.Spec{
			guard("p", "probe", ""),
			{Kind: plugins.KindCallback, ID: "cb_1", Name: "p", Plugin: "file", Config: []byte(`{"path":"out.jsonl"}`)},
			{Kind: plugins.KindSource, ID: "src_1", Name: "p", Plugin: "vault", Config: []byte(`{"address":"http://127.0.0.1:1","token":"x","kv":2}`)},
			{Kind: plugins.KindAuth, ID: "auth_1", Name: "p", Plugin: "authprobe"},
			{Kind: plugins.KindFilter, ID: "rf_1", Name: "p", Plugin: "filterprobe"},
			{Kind: plugins.KindProvider, ID: "pr_1", Name: "p", Plugin: "providerprobe", Config: []byte(`{"n":"1"}`)},
		} {
			t.Run(how.name+" "+string(spec.Kind), func(t *testing.T) {
				t.Parallel()
				if how.name == "stopped" && runtime.GOOS != "linux" {
					t.Skip("this system does not tell")
				}
				cfg := how.cfg
				cfg.Source, cfg.Sources, cfg.Auths = &journal{}, secretsource.NewCache(secretsource.CacheConfig{}), auth.NewGate(auth.GateConfig{})
				cfg.Filters, cfg.Providers = routerfilter.NewGate(nil), &modelserver.Gate{}
				h := newHost(t, cfg)
				if err := h.Sync([]plugins.Spec{spec}); err != nil {
					t.Fatal(err)
				}
				pid := runs(t, h, 0)
				if err := launch.Signal(pid, syscall.SIGSTOP); err != nil {
					t.Fatal(err)
				}
				runs(t, h, pid)
				if spec.Kind != plugins.KindGuardrail {
					return
				}
				if d := before(t, h, "hello"); d.Action != guardrail.Pass {
					t.Errorf("got %+v from the new process, want a pass", d)
				}
			})
		}
	}
}

// A process that is silent while questions pass their deadlines is replaced long before one of which nobody wants anything.
func TestHost_SilentIsReplaced(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("this system does not tell")
	}
	h := newHost(t, plugins.Config{HungAfter: time.Hour, StoppedAfter: time.Hour, SilentAfter: time.Millisecond})
	spec := guard("p", "probe", "")
	spec.Deadline = 100 * time.Millisecond
	syncReady(t, h, spec)
	pid := waitRunning(t, h, 0)
	if err := launch.Signal(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the guardrail judges again", func() bool {
		return before(t, h, "hello").Action == guardrail.Pass && h.Status()[0].PID != pid
	})
}

// A process that falls silent while several questions wait gets a successor long before their deadline, and what it has under way goes on.
func TestHost_DoubtedIsReplaced(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("this system does not tell")
	}
	h := newHost(t, plugins.Config{HungAfter: time.Hour})
	spec := guard("p", "probe", "")
	spec.Deadline = time.Hour
	syncReady(t, h, spec)
	pid := waitRunning(t, h, 0)
	before(t, h, "hello") // it has answered before
	ctx, leave := context.WithCancel(t.Context())
	ended := make(chan error, 3)
	for range cap(ended) {
		go func() {
			_, err := h.Guardrails().For("demo", guardrail.Choice{}).Before(ctx, chat("wait"))
			ended <- err
		}()
	}
	waitRunning(t, h, pid)
	if d := before(t, h, "hello"); d.Action != guardrail.Pass {
		t.Errorf("got %+v from the successor, want a pass", d)
	}
	select {
	case err := <-ended:
		t.Errorf("a check that was under way ended: %v", err)
	default:
	}
	leave()
	for range cap(ended) {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the client's leaving", err)
		}
	}
	if s := h.Status()[0]; s.Restarts != 1 {
		t.Errorf("%d restarts are counted, want 1", s.Restarts)
	}
}

// Who runs a plugin that ends before it is ready is told how it ended, and what it wrote.
func TestHost_EndsEarly(t *testing.T) {
	t.Parallel()
	h := newHost(t, plugins.Config{RestartMin: time.Millisecond})
	if err := h.Sync([]plugins.Spec{guard("p", "unlicensed", "")}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the status says why", func() bool {
		s := h.Status()[0]
		return strings.Contains(s.Error, "ended before it was ready (exit status 3)") && slices.Contains(s.Output, "there is no license")
	})
}

// Nothing is shown any more of a guardrail that is no more.
func TestHost_MetricsOfTheGone(t *testing.T) {
	t.Parallel()
	r := prometheus.NewPedanticRegistry()
	h := newHost(t, plugins.Config{Registerer: r, Source: &journal{n: 3}})
	syncReady(t, h, guard("words", "keywords", `{"words":["x"]}`), plugins.Spec{
		Kind: plugins.KindCallback, ID: "cb_1", Name: "log", Plugin: "file", Config: []byte(`{"path":"out.jsonl"}`),
	})
	before(t, h, "hello")
	names := []string{"conclave_guardrail_checks_total", "conclave_callback_delivered_total", "conclave_callback_lag_seconds", "conclave_plugin_resident_bytes"}
	eventually(t, 20*time.Second, "all is counted", func() bool {
		n, err := testutil.GatherAndCount(r, names...)
		return n == 5 && err == nil // the memory of two processes
	})
	if err := h.Sync(nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "nothing is left", func() bool {
		n, err := testutil.GatherAndCount(r)
		return n == 0 && err == nil
	})
}

func TestHost_Misbehaviour(t *testing.T) {
	t.Parallel()
	h := newHost(t, plugins.Config{MemoryLimit: 200 << 20})
	syncReady(t, h, guard("p", "probe", ""))
	pid := waitRunning(t, h, 0)
	for _, tt := range []struct {
		text    string
		restart bool
	}{
		{"panic", false},
		{"flood", true}, // the answer is too large, which ends the session
		{"exit", true},
		{"grow", true},
	} {
		d := before(t, h, tt.text)
		if tt.text != "grow" && (d.Action != guardrail.Block || d.Results[0].Status != guardrail.StatusNotRun) {
			t.Errorf("%s: got %v, want not_run", tt.text, d.Results)
		}
		if tt.restart {
			pid = waitRunning(t, h, pid)
		}
		if d := before(t, h, "hello"); d.Results[0].Status != guardrail.StatusPassed {
			t.Errorf("after %s: got %v, want a pass", tt.text, d.Results)
		}
	}
}

func TestHost_EnvironmentIsNotInherited(t *testing.T) {
	t.Setenv("CONCLAVE_MASTER_KEY", "sk-canary")
	h := newHost(t, plugins.Config{})
	syncReady(t, h, guard("p", "probe", ""))
	d := before(t, h, "env")
	if strings.Contains(d.Message, "canary") || strings.Contains(d.Message, "CONCLAVE_MASTER_KEY") {
		t.Errorf("the plugin sees the host's environment:\n%s", d.Message)
	}
	if !strings.Contains(d.Message, "CONCLAVE_PLUGIN=") {
		t.Errorf("got environment %q, want the handshake in it", d.Message)
	}
}

// TestHost_Crashes is the short form of test/plugins' TestCrashes.
func TestHost_Crashes(t *testing.T) {
	if testing.Short() {
		t.Skip("starts 50 processes")
	}
	h := newHost(t, plugins.Config{Crashes: 1000, RestartMin: time.Millisecond, RestartMax: time.Millisecond})
	spec := guard("p", "probe", "")
	spec.OnError = resource.OnErrorPass
	if err := h.Sync([]plugins.Spec{spec}); err != nil {
		t.Fatal(err)
	}
	pid := waitRunning(t, h, 0)
	crash := func() {
		if err := launch.Signal(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		pid = waitRunning(t, h, pid)
		if d := before(t, h, "hello"); d.Results[0].Status != guardrail.StatusPassed {
			t.Fatalf("got %v, want a pass", d.Results)
		}
	}
	for range 5 {
		crash()
	}
	fds, routines := openFiles(t), runtime.NumGoroutine()
	for range 45 {
		crash()
	}
	eventually(t, 30*time.Second, "files and goroutines are as many as before", func() bool {
		return openFiles(t) <= fds+2 && runtime.NumGoroutine() <= routines+3
	})
	t.Logf("files %d → %d, goroutines %d → %d", fds, openFiles(t), routines, runtime.NumGoroutine())
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("needs /proc")
	}
	return len(list)
}

// hostToKill runs a host until it is killed and prints its plugins' pids.
func hostToKill(dir string) {
	h := plugins.NewHost(plugins.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	err := h.Sync([]plugins.Spec{
		{Kind: plugins.KindGuardrail, Name: "a", Plugin: "probe"},
		{Kind: plugins.KindGuardrail, Name: "b", Plugin: "keywords", Config: []byte(`{"words":["x"]}`)},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for h.Ready() != nil {
		runtime.Gosched()
	}
	for _, s := range h.Status() {
		fmt.Println(s.PID)
	}
	fmt.Println("ready")
	select {}
}

func TestHost_KilledHostLeavesNoOrphan(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "host", t.TempDir())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	var pids []int
	for sc := bufio.NewScanner(out); sc.Scan() && sc.Text() != "ready"; {
		pid, err := strconv.Atoi(sc.Text())
		if err != nil || pid == 0 {
			t.Fatalf("got pid %q", sc.Text())
		}
		pids = append(pids, pid)
	}
	if len(pids) != 2 {
		t.Fatalf("got pids %v, want two", pids)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for _, pid := range pids {
		eventually(t, 3*time.Second, "plugin is gone", func() bool { return gone(pid) })
	}
}

// gone says that the process has ended; a zombie that nobody reaps has.
func gone(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}

func TestHost_ConcurrentChecks(t *testing.T) {
	t.Parallel()
	h := newHost(t, plugins.Config{})
	syncReady(t, h, guard("words", "keywords", `{"words":["forbidden"]}`))
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			for j := range 10 {
				text, want := fmt.Sprintf("hello %d %d", i, j), guardrail.Pass
				if (i+j)%2 == 0 {
					text, want = text+" forbidden", guardrail.Block
				}
				if d := before(t, h, text); d.Action != want {
					t.Errorf("%q: got %v %v, want %v", text, d.Action, d.Results, want)
				}
			}
		})
	}
	wg.Wait()
}

func TestHost_Close(t *testing.T) {
	t.Parallel()
	h := plugins.NewHost(plugins.Config{Dir: t.TempDir()})
	syncReady(t, h, guard("p", "probe", ""))
	pid := waitRunning(t, h, 0)
	h.Close()
	if !gone(pid) {
		t.Errorf("process %d outlives Close", pid)
	}
	if err := h.Sync(nil); !errors.Is(err, plugins.ErrClosed) {
		t.Errorf("Sync after Close: got %v, want ErrClosed", err)
	}
	h.Close()
}
