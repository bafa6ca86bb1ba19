package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/conclave-llm/conclave/node/torture/rig"
	"github.com/conclave-llm/conclave/resource"
)

// serveStale is for how long a node that is cut off serves: the ten seconds in which its state
// counts as fresh, and what a request may take.
const serveStale = 10*time.Second + callWait

// Config says what is run.
type Config struct {
	Dir     string        // of the report; made if it is not there, and must be empty
	Program string        // the binary of the nodes
	Next    string        // the binary of another version, that nodes change to and back; "": none do
	Journal string        // mode of the nodes' journals; "": "fsync", without which power failures are left out
	Seed    uint64        // chooses the faults
	Length  time.Duration // of the faults
	Nodes   int           // 0: three
	Say     func(string)  // tells how it goes; nil: nobody listens

	work string // of the nodes' data
}

// journalSynced is the mode of a journal that survives a power failure.
const journalSynced = "fsync"

// Run tortures a cluster and writes the report, which Check judges. An error says that there is no
// whole report.
func Run(ctx context.Context, cfg Config) (err error) {
	if cfg.Nodes == 0 {
		cfg.Nodes = 3
	}
	if cfg.Journal == "" {
		cfg.Journal = journalSynced
	}
	if cfg.Say == nil {
		cfg.Say = func(string) {}
	}
	if err := emptyDir(cfg.Dir); err != nil {
		return err
	}
	if cfg.work, err = os.MkdirTemp("", "conclave-torture-"); err != nil {
		return fmt.Errorf("make a folder for the nodes: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(cfg.work)) }()
	r := &run{cfg: cfg, stop: make(chan struct{}), file: runFile{
		Seed: cfg.Seed, Length: cfg.Length, Program: cfg.Program, Next: cfg.Next, Journal: cfg.Journal, Began: time.Now().UTC(), Stale: serveStale,
		OK: map[string]int64{}, Cut: map[string]int64{},
	}}
	var left []string
	if r.may, left = permitted(&r.cfg); len(left) > 0 {
		r.file.Left = strings.Join(left, "; ")
	}
	if err := rig.Adopt(); err == nil {
		r.adopts = true
	}
	return r.do(ctx)
}

// emptyDir makes the folder of a report.
func emptyDir(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "nodes"), 0o700); err != nil {
		return fmt.Errorf("make the report's folder: %w", err)
	}
	all, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(all) != 1 {
		return fmt.Errorf("%s is not empty: a report is not written over another one", dir)
	}
	return nil
}

// run is one run.
type run struct {
	cfg  Config
	c    *cluster
	file runFile
	stop chan struct{}
	load sync.WaitGroup

	schedule, history, uses, restores, probes, usages, looks *lines

	secrets map[string]string  // of the spenders, by model
	counts  map[string]*counts // likewise
	pool    pool               // keys that administrators work on
	down    []atomic.Bool      // by node
	may     map[need]bool      // faults that the machine permits
	quiet   sync.RWMutex       // held for writing: administrators do nothing
	marked  string             // id of the key whose name is damaged
	adopts  bool               // this process gets those that lose their parents
}

// counts are the requests of one spender's key.
type counts struct{ sent, ok, cut atomic.Int64 }

func (r *run) do(ctx context.Context) (err error) {
	var exits *lines
	for name, to := range map[string]**lines{fileSchedule: &r.schedule, fileHistory: &r.history, fileUses: &r.uses, fileExits: &exits, fileRestores: &r.restores, fileProbes: &r.probes, fileUsage: &r.usages, fileLooks: &r.looks} {
		if *to, err = newLines(r.cfg.Dir, name); err != nil {
			return err
		}
		defer func(l *lines) { err = errors.Join(err, l.close()) }(*to)
	}
	r.cfg.Say("founding a cluster")
	if r.c, err = newCluster(ctx, r.cfg, r.may, exits); err != nil {
		return err
	}
	defer r.c.close()
	for _, h := range r.c.hosts {
		r.file.Nodes = append(r.file.Nodes, h.name)
	}
	r.down = make([]atomic.Bool, len(r.c.hosts))
	if err := writeJSON(r.cfg.Dir, fileRun, &r.file); err != nil {
		return err
	}
	if err := r.prepare(ctx); err != nil {
		return err
	}
	r.startLoad(ctx)
	r.wait(ctx, warmUp)
	r.measure(ctx, warm)
	r.load.Go(func() { r.watch(ctx) })
	r.load.Go(func() { r.watchState(ctx) })
	r.torture(ctx)
	close(r.stop)
	r.load.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.cfg.Say("looking at what is left")
	return r.end(ctx)
}

// usedModel is what the administrators' keys use; its bill is nobody's. A plugin judges what it is asked.
const usedModel = "used"

// prepare makes the models and the spenders' keys.
func (r *run) prepare(ctx context.Context) error {
	if status := r.c.call(ctx, 0, http.MethodPut, "/api/v1/settings/serve_stale", masterKey, map[string]any{"value": "fail_closed"}, nil); status/100 != 2 {
		return fmt.Errorf("set serve_stale: status %d", status)
	}
	r.secrets, r.counts = map[string]string{}, map[string]*counts{}
	for model, usd := range map[string]float64{"capped": float64(cappedLimit) / float64(resource.Dollar), "rich": 1e6, usedModel: 0} {
		status := r.c.call(ctx, 0, http.MethodPost, "/api/v1/models", masterKey, map[string]any{
			"name": model,
			"deployments": []map[string]any{{
				"provider": "openai", "api_base": "http://" + r.c.upstream.Addr().String() + "/v1", "model": model,
				"price": map[string]any{"input": promptCost / 1000, "output": completionCost / 1000},
			}},
		}, nil)
		if status != http.StatusCreated {
			return fmt.Errorf("make the model %s: status %d", model, status)
		}
		if model == usedModel {
			continue // it is for keys that come and go
		}
		var key struct {
			Secret string `json:"secret"`
		}
		status = r.c.call(ctx, 0, http.MethodPost, "/api/v1/keys", masterKey, map[string]any{
			"name": model, "budgets": []map[string]any{{"usd": usd, "per": "total", "strict": true}},
		}, &key)
		if status != http.StatusCreated {
			return fmt.Errorf("make the key %s: status %d", model, status)
		}
		r.secrets[model], r.counts[model] = key.Secret, new(counts)
	}
	if err := r.mark(ctx); err != nil {
		return err
	}
	status := r.c.call(ctx, 0, http.MethodPost, "/api/v1/guardrails", masterKey, map[string]any{
		"name": "words", "plugin": "keywords", "hooks": []string{"before"}, "models": []string{usedModel}, "config": map[string]any{"words": []string{"forbidden"}},
	}, nil)
	if status != http.StatusCreated {
		return fmt.Errorf("make the guardrail: status %d", status)
	}
	for i := range r.c.hosts {
		err := r.c.await(ctx, readyWait, "node "+r.c.hosts[i].name+" serves", func() bool {
			return r.chat(ctx, i, "rich", r.secrets["rich"]) == http.StatusOK
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// chat sends one request; what it became is counted if the key is a spender's.
func (r *run) chat(ctx context.Context, node int, model, secret string) int {
	status := r.c.call(ctx, node, http.MethodPost, "/v1/chat/completions", secret, map[string]any{
		"model": model, "max_tokens": maxTokens, "messages": []map[string]string{{"role": "user", "content": "hello"}},
	}, nil)
	n := r.counts[model]
	if secret != r.secrets[model] {
		return status
	}
	n.sent.Add(1)
	switch status {
	case http.StatusOK:
		n.ok.Add(1)
	case http.StatusTooManyRequests, http.StatusUnauthorized:
	default:
		n.cut.Add(1)
	}
	return status
}

// end waits for the cluster to be whole, and writes what it says then.
func (r *run) end(ctx context.Context) error {
	if err := r.c.await(ctx, readyWait, "all nodes are ready, vote and have a leader", func() bool { return r.whole(ctx) }); err != nil {
		r.file.Slow = append(r.file.Slow, err.Error())
	}
	bill := map[string]*billed{}
	var usage struct {
		Models map[string]*billed `json:"models"`
	}
	if err := r.usage(ctx, &usage); err != nil {
		return err
	}
	for model := range r.secrets {
		if b := usage.Models[model]; b != nil {
			bill[model] = b
		}
	}
	if err := writeJSON(r.cfg.Dir, fileBill, bill); err != nil {
		return err
	}
	for model, n := range r.counts {
		r.file.Sent += n.sent.Load()
		r.file.OK[model], r.file.Cut[model] = n.ok.Load(), n.cut.Load()
	}
	if err := r.c.await(ctx, readyWait, "every node has the same books", func() bool { return r.settled(ctx, bill) }); err != nil {
		r.file.Slow = append(r.file.Slow, err.Error())
	}
	r.pool.readAll(ctx, r)
	r.measure(ctx, atEnd)
	r.findOrphans()
	var ledger []nodeBooks
	for i := range r.c.hosts {
		ledger = append(ledger, r.told(ctx, i))
	}
	err := r.c.await(ctx, readyWait, "every node tells the same books", func() bool { // of a refused request one may have heard late
		for i := range ledger {
			for model := range ledger[i].Books {
				ledger[i].Books[model] = r.books(ctx, i, model)
			}
		}
		return !slices.ContainsFunc(ledger, func(n nodeBooks) bool { return !maps.Equal(n.Books, ledger[0].Books) })
	})
	if err != nil {
		r.file.Slow = append(r.file.Slow, err.Error())
	}
	if err := r.keepState(ctx); err != nil {
		r.file.Slow = append(r.file.Slow, err.Error())
	}
	if err := r.keepLogs(ctx); err != nil {
		r.file.Slow = append(r.file.Slow, err.Error())
	}
	r.file.Ended = time.Now().UTC()
	return errors.Join(writeJSON(r.cfg.Dir, fileLedger, ledger), writeJSON(r.cfg.Dir, fileRun, &r.file))
}

// usage asks the upstream for the bill.
func (r *run) usage(ctx context.Context, to any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.c.upstream.Addr().String()+"/mock/usage", nil)
	if err != nil {
		return err
	}
	res, err := r.c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask the upstream for the bill: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	if err := json.NewDecoder(res.Body).Decode(to); err != nil {
		return fmt.Errorf("read the upstream's bill: %w", err)
	}
	return nil
}
