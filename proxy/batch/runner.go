package batch

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/proxy/files"
	"github.com/conclave-llm/conclave/resource"
)

const (
	// look is how often a node looks for batches that nobody runs.
	look = 2 * time.Second
	// lease is how long a batch stays with a runner that says nothing, and renewal how often it says so.
	lease, renewal = 30 * time.Second, 10 * time.Second
	// maxRunning bounds the batches that a node runs at once, and with them their files in memory.
	maxRunning = 4
)

// Answer is what a line came to.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Config is what a Runner is made of; all fields are required but Now and Logger.
type Config struct {
	NodeID string
	Store  files.Store
	// Ask puts a line through the whole way of a request, for the owners of the batch.
	Ask func(ctx context.Context, of *resource.Artifact, requestID string, body []byte) Answer
	// Settings are the cluster's.
	Settings func() *resource.Settings
	// Serving returns an error while this node must not serve.
	Serving func() error
	Now     func() time.Time // nil: clock.Now
	Logger  *slog.Logger     // nil: nobody is told
}

// Runner runs the batches of a node.
type Runner struct {
	cfg  Config
	name string        // of this process
	kick chan struct{} // somebody ordered or cancelled one
	stop chan struct{} // no line is sent any more
	once sync.Once
	jobs sync.WaitGroup

	mu      sync.Mutex // guards running
	running map[string]*job
}

// New makes a Runner.
func New(cfg Config) *Runner {
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return &Runner{
		cfg: cfg, name: cfg.NodeID + "/" + hex.EncodeToString(b[:]), kick: make(chan struct{}, 1), stop: make(chan struct{}),
		running: map[string]*job{},
	}
}

// Kick makes the Runner look now. It does not block.
func (r *Runner) Kick() {
	select {
	case r.kick <- struct{}{}:
	default: // it is awake already
	}
}

// Run looks for batches until ctx ends or Stop is called, and then waits for those that run.
func (r *Runner) Run(ctx context.Context) {
	defer r.jobs.Wait()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		if err := r.cfg.Serving(); err == nil {
			r.take(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-r.stop:
			return
		case <-r.kick:
		case <-tick.C:
		}
	}
}

// Stop sends no further lines, and waits until ctx ends for those that were sent, so that their
// answers are kept. Other nodes go on with the batches.
func (r *Runner) Stop(ctx context.Context) {
	r.once.Do(func() { close(r.stop) })
	done := make(chan struct{})
	go func() {
		r.jobs.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

func (r *Runner) stopping() bool {
	select {
	case <-r.stop:
		return true
	default:
		return false
	}
}

// take begins the batches that nobody runs, and tells those that run here of a cancellation.
func (r *Runner) take(ctx context.Context) {
	now := resource.At(r.cfg.Now())
	all, err := r.cfg.Store.List(ctx, func(a *resource.Artifact) bool {
		return a.Kind == resource.ArtifactBatch && !a.Batch.Over()
	})
	if err != nil {
		return // the node stops
	}
	for _, a := range all {
		r.mu.Lock()
		if j := r.running[a.ID]; j != nil {
			if a.Batch.Status == resource.BatchCancelling {
				j.hurry()
			}
		} else if r.free(a, now) && len(r.running) < maxRunning && !r.stopping() {
			r.beginLocked(ctx, a.ID)
		}
		r.mu.Unlock()
	}
}

// free says whether nobody runs the batch: a process of this node that was before this one is dead.
func (r *Runner) free(a *resource.Artifact, now resource.Time) bool {
	b := a.Batch
	return b.Runner == "" || b.LeaseUntil <= now || strings.HasPrefix(b.Runner, r.cfg.NodeID+"/") && b.Runner != r.name
}

// beginLocked begins to run a batch.
func (r *Runner) beginLocked(ctx context.Context, id string) {
	j := &job{r: r, id: id, wake: make(chan struct{}, 1)}
	r.running[id] = j
	r.jobs.Go(func() {
		if err := j.run(ctx); err != nil && ctx.Err() == nil {
			r.cfg.Logger.Warn("batch stops here", "batch", id, "error", err)
		}
		r.mu.Lock()
		delete(r.running, id)
		r.mu.Unlock()
	})
}
