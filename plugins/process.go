package plugins

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/conclave-llm/conclave/internal/launch"
	"github.com/conclave-llm/conclave/plugins/auth"
	"github.com/conclave-llm/conclave/plugins/callback"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/modelserver"
	"github.com/conclave-llm/conclave/plugins/routerfilter"
	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/plugins/secretsource"
)

const (
	startTimeout = 5 * time.Second
	stopTimeout  = 2 * time.Second
)

// process is one start of a plugin. It runs until kill, or until it exits by itself.
type process struct {
	client *goplugin.Client
	run    *run
	conn   any     // the client of the plugin's kind
	health *health // asks it for signs of life
}

// session is the client of a kind whose questions are messages in one stream.
type session interface {
	lively                 // what it counts are the plugin's messages
	Done() <-chan struct{} // closed when the stream has ended
	Close()
}

// startProcess starts the plugin and connects to it; it is not yet configured.
func (h *Host) startProcess(ctx context.Context, s *Spec, log *lines) (*process, error) {
	bin, err := h.binaryOf(ctx, s)
	if err != nil {
		return nil, err
	}
	defer bin.close()
	p := &process{}
	var started atomic.Pointer[run] // go-plugin holds its lock while a plugin starts
	p.client = goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig: sdk.Handshake(),
		VersionedPlugins: map[int]goplugin.PluginSet{sdk.ProtocolVersion: {
			guardrail.PluginKey: &guardrail.GRPCPlugin{},
			callback.PluginKey:  &callback.GRPCPlugin{},
			auth.PluginKey:      &auth.GRPCPlugin{},

			routerfilter.PluginKey: &routerfilter.GRPCPlugin{},

			secretsource.PluginKey: &secretsource.GRPCPlugin{},

			modelserver.PluginKey: &modelserver.GRPCPlugin{},
		}},
		RunnerFunc: func(_ hclog.Logger, given *exec.Cmd, tmp string) (runner.Runner, error) {
			r, err := newRun(h.launcher, h.command(s, bin, given.Env, tmp), tmp)
			if err != nil {
				return nil, errors.Join(err, os.RemoveAll(tmp))
			}
			started.Store(r)
			return r, nil
		},
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		AutoMTLS:         !s.NoMTLS,
		SkipHostEnv:      true,
		Managed:          false,
		StartTimeout:     startTimeout,
		Stderr:           log,
		SyncStdout:       log,
		SyncStderr:       log,
		Logger:           hclog.NewNullLogger(),
		UnixSocketConfig: &goplugin.UnixSocketConfig{TempDir: h.sockets},
		GRPCDialOptions: []grpc.DialOption{
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return started.Load().dial(ctx) }),
			grpc.WithInitialWindowSize(1 << 20),
			grpc.WithInitialConnWindowSize(1 << 20),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(guardrail.MaxAnswer)),
		},
	})
	stop := context.AfterFunc(ctx, func() {
		if r := started.Load(); r != nil {
			r.signal()
		}
	})
	defer stop()
	err = p.connect(s.Kind)
	p.run = started.Load()
	if err = cmp.Or(context.Cause(ctx), err); err != nil {
		p.kill()
		return nil, p.early(err)
	}
	return p, nil
}

// early is err or, of a process that ended by itself before it could be asked anything, what its author should know: go-plugin
// then tells of a first line that cannot be read. kill has returned.
func (p *process) early(err error) error {
	if p.run == nil || p.run.cmd.ProcessState == nil || !p.run.cmd.ProcessState.Exited() {
		return err
	}
	return fmt.Errorf("the plugin ended before it was ready (%s); the last lines that it wrote may say why", p.run.cmd.ProcessState)
}

func (p *process) connect(kind Kind) error {
	rpc, err := p.client.Client()
	if err != nil {
		return fmt.Errorf("start plugin: %w", err)
	}
	if p.conn, err = rpc.Dispense(string(kind)); err != nil {
		return fmt.Errorf("connect to plugin: %w", err)
	}
	p.health = &health{rpc: grpc_health_v1.NewHealthClient(rpc.(*goplugin.GRPCClient).Conn)} // it is the one protocol that is allowed
	return nil
}

// kill stops the process, politely for two seconds, and waits for its end.
func (p *process) kill() {
	if s, ok := p.conn.(session); ok {
		s.Close()
	}
	if p.run != nil {
		force := time.AfterFunc(stopTimeout, p.run.signal)
		defer force.Stop()
	}
	p.client.Kill()
	if p.run != nil {
		p.run.close()
	}
}

// exited is closed when the process has ended.
func (p *process) exited() <-chan struct{} { return p.run.exited }

// binaryOf opens what is run for the spec.
func (h *Host) binaryOf(ctx context.Context, s *Spec) (*binary, error) {
	switch {
	case s.Path != "":
		return openPinned(h.binaries, s.SHA256, fromFile(s.Path))
	case s.SHA256 != "":
		return openPinned(h.binaries, s.SHA256, func() (io.ReadCloser, error) {
			if h.cfg.Fetch == nil {
				return nil, errors.New("this host has no uploaded plugins")
			}
			body, err := h.cfg.Fetch(ctx, s.SHA256)
			return io.NopCloser(bytes.NewReader(body)), err
		})
	}
	return &binary{path: h.cfg.Exe}, nil
}

// command makes the process of a spec: nothing of the host's environment reaches it.
func (h *Host) command(s *Spec, bin *binary, env []string, tmp string) *exec.Cmd {
	cmd := &exec.Cmd{
		Path: bin.path,
		Args: []string{bin.path},
		Env: append([]string{
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"LANG=C.UTF-8", "HOME=" + h.cfg.WorkDir, "TMPDIR=" + tmp,
		}, env...),
		Dir: h.cfg.WorkDir,
	}
	if s.SHA256 == "" {
		cmd.Args = append([]string{"conclave"}, h.cfg.Args...)
		cmd.Args = append(cmd.Args, s.Plugin)
		cmd.Env = append(cmd.Env, "GOMAXPROCS=1", "GOGC=50", "GOMEMLIMIT=24MiB")
	}
	if bin.elf && fdPath(3) != "" {
		cmd.ExtraFiles = []*os.File{bin.file} // descriptor 3 of the child
		cmd.Path = fdPath(3)
	}
	return cmd
}

// run is a process as go-plugin runs it.
type run struct {
	launcher       *launch.Launcher
	cmd            *exec.Cmd
	tmp            string // folder of its sockets
	stdout, stderr io.ReadCloser
	exited         chan struct{}

	mu   sync.Mutex // guards what follows
	pid  int
	done bool   // may not be signalled any more
	addr string // of its socket
}

var _ runner.Runner = (*run)(nil)

func newRun(l *launch.Launcher, cmd *exec.Cmd, tmp string) (*run, error) {
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	return &run{launcher: l, cmd: cmd, tmp: tmp, stdout: stdout, stderr: stderr, exited: make(chan struct{})}, nil
}

// Start implements runner.Runner.
func (r *run) Start(context.Context) error {
	err := r.launcher.Start(r.cmd)
	if err != nil {
		close(r.exited)
		return fmt.Errorf("start %s: %w", r.cmd.Path, err)
	}
	r.mu.Lock()
	r.pid = r.cmd.Process.Pid
	r.mu.Unlock()
	go r.watch() // ends with the process
	return nil
}

// watch ends the whole group with its leader: a grandchild that holds the pipes would hide
// the leader's end.
func (r *run) watch() {
	launch.AwaitExit(r.pid)
	r.mu.Lock()
	_ = launch.SignalGroup(r.pid, syscall.SIGKILL)
	r.done = true
	r.mu.Unlock()
	close(r.exited)
}

// Wait implements runner.Runner.
func (r *run) Wait(context.Context) error {
	<-r.exited
	return r.cmd.Wait()
}

// Kill implements runner.Runner.
func (r *run) Kill(context.Context) error {
	r.signal()
	return nil
}

func (r *run) signal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pid != 0 && !r.done {
		_ = launch.SignalGroup(r.pid, syscall.SIGKILL)
	}
}

func (r *run) close() { _ = os.RemoveAll(r.tmp) }

// Stdout implements runner.Runner.
func (r *run) Stdout() io.ReadCloser { return r.stdout }

// Stderr implements runner.Runner.
func (r *run) Stderr() io.ReadCloser { return r.stderr }

// Name implements runner.Runner.
func (r *run) Name() string { return r.cmd.Args[0] }

// ID implements runner.Runner.
func (r *run) ID() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pid == 0 {
		return ""
	}
	return strconv.Itoa(r.pid)
}

// Diagnose implements runner.Runner.
func (r *run) Diagnose(context.Context) string { return "" }

// PluginToHost implements runner.Runner. It takes only sockets in the plugin's own folder,
// which nobody else may enter.
func (r *run) PluginToHost(network, addr string) (hostNetwork, hostAddr string, err error) {
	if network != "unix" {
		return "", "", fmt.Errorf("plugin listens on %s, want a Unix socket", network)
	}
	if rel, err := filepath.Rel(r.tmp, addr); err != nil || strings.HasPrefix(rel, "..") {
		return "", "", fmt.Errorf("plugin listens outside of the folder in %s", goplugin.EnvUnixSocketDir)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addr = addr
	return network, addr, nil
}

// HostToPlugin implements runner.Runner.
func (r *run) HostToPlugin(network, addr string) (pluginNetwork, pluginAddr string, err error) {
	return network, addr, nil
}

// dial connects to the plugin's socket and sees that the plugin serves it.
func (r *run) dial(ctx context.Context) (net.Conn, error) {
	r.mu.Lock()
	addr, pid := r.addr, r.pid
	r.mu.Unlock()
	if addr == "" {
		return nil, errors.New("plugin has no address yet")
	}
	var d net.Dialer //nolint:forbidigo // a socket of the own machine, made by the plugin that was started
	conn, err := d.DialContext(ctx, "unix", addr)
	if err != nil {
		return nil, err
	}
	if err := checkPeer(conn.(*net.UnixConn), pid); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}
