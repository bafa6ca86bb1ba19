package mcp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/conclave-llm/conclave/internal/launch"
	"github.com/conclave-llm/conclave/resource"
)

// stopTimeout is how long a process may take to end after its input has.
const stopTimeout = 2 * time.Second

// process is a server that is a process of this node: in a process group of its own, which is
// killed as a whole and dies with this node, with the environment of its record and no other.
type process struct {
	l   *link
	cmd *exec.Cmd

	mu     sync.Mutex // guards what follows
	pid    int
	done   bool          // may not be signalled any more
	exited chan struct{} // closed when it has ended
}

// newProcess makes the process of a stdio server; Connect starts it.
func (l *link) newProcess() (*process, error) {
	env, err := l.environment()
	if err != nil {
		return nil, err
	}
	path, err := exec.LookPath(l.server.Command)
	if err != nil {
		return nil, fmt.Errorf("find command: %w", err)
	}
	dir := filepath.Join(l.all.cfg.WorkDir, "mcp", "server-"+l.server.ID) // an id may be two dots
	if err := os.MkdirAll(dir, 0o700); err != nil {                       //nolint:gosec // ids have no slash
		return nil, fmt.Errorf("make folder of MCP server: %w", err)
	}
	cmd := &exec.Cmd{Path: path, Args: append([]string{l.server.Command}, l.server.Args...), Env: env, Dir: dir}
	return &process{l: l, cmd: cmd, exited: make(chan struct{})}, nil
}

// environment is all that the process sees.
func (l *link) environment() ([]string, error) {
	env := []string{}
	for name, v := range l.server.Env {
		env = append(env, name+"="+v)
	}
	for name := range l.server.Secrets {
		if variable, ok := strings.CutPrefix(name, resource.MCPSecretEnv); ok {
			v, err := l.secret(name)
			if err != nil {
				return nil, err
			}
			env = append(env, variable+"="+v)
		}
	}
	return env, nil
}

// Connect implements sdk.Transport: it starts the process and speaks over its pipes.
func (p *process) Connect(ctx context.Context) (sdk.Connection, error) {
	launcher := p.l.all.launched()
	if launcher == nil {
		return nil, errors.New("the node is shutting down")
	}
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := launcher.Start(p.cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.l.server.Command, err)
	}
	p.mu.Lock()
	p.pid = p.cmd.Process.Pid
	p.mu.Unlock()
	log := p.l.all.cfg.Logger.With("server", p.l.server.Name, "pid", p.pid)
	log.Info("MCP server started")
	var pipes sync.WaitGroup
	pipes.Go(func() { drain(stderr, log) })
	answers := newTee(out)
	pipes.Go(answers.run)
	p.l.all.wg.Go(func() { p.reap(&pipes) })
	c, err := (&sdk.IOTransport{Reader: answers, Writer: in, MaxLineLength: MaxAnswer}).Connect(ctx)
	if err != nil {
		p.kill()
		return nil, err
	}
	return &processConn{Connection: c, p: p}, nil
}

// reap waits for the process's end, then ends what is left of its group.
func (p *process) reap(pipes *sync.WaitGroup) {
	launch.AwaitExit(p.pid)
	p.mu.Lock()
	_ = launch.SignalGroup(p.pid, syscall.SIGKILL) // a grandchild that holds the pipes would hide the end
	p.done = true
	p.mu.Unlock()
	pipes.Wait()
	_ = p.cmd.Wait() // how it ended is nobody's concern
	close(p.exited)
}

// kill ends the whole group.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pid != 0 && !p.done {
		_ = launch.SignalGroup(p.pid, syscall.SIGKILL)
	}
}

// processConn is the connection to a process, whose end is the process's.
type processConn struct {
	sdk.Connection
	p *process
}

// Close implements sdk.Connection: it ends the input, waits a little, and kills.
func (c *processConn) Close() error {
	err := c.Connection.Close()
	force := time.AfterFunc(stopTimeout, c.p.kill)
	defer force.Stop()
	<-c.p.exited
	return err
}

// tee hands over what a process writes. It is read to its end even when nobody takes it any
// more, so that the process's end is seen.
type tee struct {
	src io.Reader
	r   *io.PipeReader
	w   *io.PipeWriter
}

func newTee(src io.Reader) *tee {
	t := &tee{src: src}
	t.r, t.w = io.Pipe()
	return t
}

func (t *tee) run() {
	_, err := io.Copy(t.w, t.src)
	_ = t.w.CloseWithError(err) // never fails
	_, _ = io.Copy(io.Discard, t.src)
}

// Read implements io.Reader.
func (t *tee) Read(p []byte) (int, error) { return t.r.Read(p) }

// Close implements io.Closer.
func (t *tee) Close() error { return t.r.Close() }

// drain logs what a process says to its error output, cut to a kilobyte a line.
func drain(r io.Reader, log *slog.Logger) {
	lines := bufio.NewReaderSize(r, 1024)
	for {
		line, more, err := lines.ReadLine()
		if err != nil {
			return
		}
		if len(line) > 0 {
			log.Debug("MCP server says", "line", string(line), "cut", more)
		}
		for more && err == nil {
			_, more, err = lines.ReadLine()
		}
	}
}
