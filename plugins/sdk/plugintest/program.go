package plugintest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// startTimeout is how long a node waits for a plugin's line.
const startTimeout = 5 * time.Second

// Program is a plugin as a node starts it.
type Program struct {
	Path string   // of the file that is run: a program, or a script that names its interpreter
	Args []string // usually none: a node gives none
	// NoMTLS is for plugins that do not implement go-plugin's AutoMTLS; they are registered so.
	NoMTLS bool
	// MemoryLimit is how many bytes of memory a process may have; 0: 256 MiB, as on a node.
	MemoryLimit int64
}

// Build compiles the Go program in the folder and returns the path of the result. It needs no
// network if the modules are there.
func Build(t *testing.T, folder string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plugin")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, ".") //nolint:gosec // the author builds his own plugin
	cmd.Dir = folder
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// launched starts a process for each connection.
type launched struct {
	Program
	kind string

	last *running // of the newest connection
}

// running is one process.
type running struct {
	client *goplugin.Client
	conn   *grpc.ClientConn
	said   *said // to stderr
}

func (r *running) pid() int {
	pid, _ := strconv.Atoi(r.client.ID())
	return pid
}

// said keeps what a process writes.
type said struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buf.Len() < 1<<20 {
		s.buf.Write(b)
	}
	return len(b), nil
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// bare joins a connection to go-plugin, and nothing else.
type bare struct {
	goplugin.NetRPCUnsupportedPlugin
}

func (bare) GRPCServer(*goplugin.GRPCBroker, *grpc.Server) error { return nil }

func (bare) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return conn, nil
}

func (l *launched) connect(t *testing.T) grpc.ClientConnInterface {
	t.Helper()
	r, err := l.start(t)
	if err != nil {
		t.Fatalf("start %s: %v\n%s", l.Path, err, r.said)
	}
	l.last = r
	return r.conn
}

// start starts the program as a node does: without the environment, in a folder of its own.
func (l *launched) start(t *testing.T) (*running, error) {
	t.Helper()
	r := &running{said: &said{}}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), l.Path, l.Args...) //nolint:gosec // the program under test
	dir := sockets(t)
	cmd.Env, cmd.Dir = append(environment(t), goplugin.EnvUnixSocketDir+"="+dir), t.TempDir()
	r.client = goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  sdk.Handshake(),
		VersionedPlugins: map[int]goplugin.PluginSet{sdk.ProtocolVersion: {l.kind: bare{}}},
		Cmd:              cmd,
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		AutoMTLS:         !l.NoMTLS,
		SkipHostEnv:      true,
		StartTimeout:     patience, // startsInTime measures it
		Stderr:           r.said,
		SyncStdout:       r.said,
		SyncStderr:       r.said,
		Logger:           hclog.NewNullLogger(),
		UnixSocketConfig: &goplugin.UnixSocketConfig{TempDir: dir},
		GRPCDialOptions: []grpc.DialOption{grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(guardrail.MaxAnswer), grpc.MaxCallSendMsgSize(guardrail.MaxMessage),
		)},
	})
	t.Cleanup(r.client.Kill)
	rpc, err := r.client.Client()
	if err != nil {
		return r, err
	}
	conn, err := rpc.Dispense(l.kind)
	if err != nil {
		return r, err
	}
	r.conn = conn.(*grpc.ClientConn)
	return r, nil
}

// sockets is a folder with a name that is short enough for a socket in it.
func sockets(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kit")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// environment is what a node gives, but for the handshake.
func environment(t *testing.T) []string {
	t.Helper()
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
		"HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir(),
	}
}

// checks are those of a program's start, whatever its kind.
func (l *launched) checks() []check {
	return []check{
		{"starts within five seconds", l.startsInTime},
		{"says where it listens in its first line", l.firstLine},
		{"picks a version that the host offers", l.offered},
		{"refuses to run by hand", l.byHand},
		{"runs beside itself", l.beside},
		{"starts again after it was killed", l.again},
		{"dies when it is told to", l.dies},
	}
}

func (l *launched) startsInTime(t *testing.T) {
	quick(t, "a start", startTimeout, func() {
		if _, err := l.start(t); err != nil {
			t.Fatal(err)
		}
	})
}

// handshake is the line that go-plugin expects, with an empty certificate without mTLS.
var handshake = regexp.MustCompile(`^1\|1\|unix\|([^|]+)\|grpc\|[^|]*(\|(true|false))?$`)

// line runs the program with the environment and returns its first line.
func (l *launched) line(t *testing.T, env ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, l.Path, l.Args...) //nolint:gosec // the program under test
	cmd.Env, cmd.Dir = append(environment(t), env...), t.TempDir()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	first, readErr := bufio.NewReader(out).ReadString('\n')
	if readErr == nil {
		cancel() // it serves
	}
	waitErr := cmd.Wait()
	if readErr != nil {
		return first, errors.Join(readErr, waitErr)
	}
	return strings.TrimSpace(first), nil
}

func (l *launched) cookie() string {
	h := sdk.Handshake()
	return h.MagicCookieKey + "=" + h.MagicCookieValue
}

func (l *launched) firstLine(t *testing.T) {
	dir := sockets(t)
	first, err := l.line(t, l.cookie(), "PLUGIN_PROTOCOL_VERSIONS=1", goplugin.EnvUnixSocketDir+"="+dir)
	m := handshake.FindStringSubmatch(first)
	if err != nil || m == nil {
		t.Fatalf("the first line is %q, %v", first, err)
	}
	if rel, err := filepath.Rel(dir, m[1]); err != nil || strings.HasPrefix(rel, "..") {
		t.Errorf("it listens at %s, not in the folder that %s names", m[1], goplugin.EnvUnixSocketDir)
	}
}

// offered is a host that speaks a newer version too.
func (l *launched) offered(t *testing.T) {
	first, err := l.line(t, l.cookie(), "PLUGIN_PROTOCOL_VERSIONS=1,2", goplugin.EnvUnixSocketDir+"="+sockets(t))
	if err != nil || handshake.FindString(first) == "" {
		t.Errorf("the first line is %q, %v, want version 1", first, err)
	}
}

func (l *launched) byHand(t *testing.T) {
	first, err := l.line(t, "PLUGIN_PROTOCOL_VERSIONS=1", goplugin.EnvUnixSocketDir+"="+sockets(t))
	if handshake.MatchString(first) {
		t.Errorf("without its cookie it says %q", first)
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() <= 0 {
		t.Errorf("without its cookie it ends with %v, want an exit status above 0", err)
	}
}

func (l *launched) beside(t *testing.T) {
	a, errA := l.start(t)
	b, errB := l.start(t)
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	if a.pid() == b.pid() {
		t.Error("two starts are one process")
	}
}

func (l *launched) again(t *testing.T) {
	for range 3 {
		r, err := l.start(t)
		if err != nil {
			t.Fatal(err)
		}
		p, err := os.FindProcess(r.pid())
		if err == nil {
			err = p.Kill()
		}
		if err != nil {
			t.Fatal(err)
		}
		within(t, "the process is gone", r.client.Exited)
	}
}

func (l *launched) dies(t *testing.T) {
	r, err := l.start(t)
	if err != nil {
		t.Fatal(err)
	}
	r.client.Kill() // waits two seconds for it
	within(t, "the process is gone", r.client.Exited)
}

// within waits for the condition.
func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	end := time.NewTimer(patience)
	defer end.Stop()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-end.C:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// usage is what a process has: bytes of memory and open descriptors. Only Linux tells.
func usage(t *testing.T, pid int) (rss int64, descriptors int) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("this system does not tell what a process has")
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	f := strings.Fields(string(b))
	if err != nil || len(f) < 2 {
		t.Fatalf("memory of process %d: %q, %v", pid, b, err)
	}
	pages, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize()), len(open)
}
