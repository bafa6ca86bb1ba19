package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// How often, and how much, each figure is measured.
const (
	failovers   = 10
	hangs       = 3
	transfers   = 20
	confirms    = 300
	pairClients = 3
	openAtOnce  = 500
	stateWant   = 100 << 20
	logWant     = 256 << 20
	maxFailed   = 10  // of the calls that fill the state
	recordSize  = 400 // about what one key of the fill takes in the state
)

// figure is one line: what was measured, and what it is to be.
type figure struct {
	name, limit string
	times       []time.Duration
	note        string
	missed      bool
}

// judge says whether a part of the times, in hundredths, is within a limit.
func (f *figure) judge(part int, limit time.Duration) {
	slices.Sort(f.times)
	f.missed = f.missed || len(f.times) == 0 || f.times[max((len(f.times)*part+99)/100-1, 0)] > limit
}

func (f *figure) write(w io.Writer) {
	verdict := "ok"
	if f.missed {
		verdict = "MISSED"
	}
	median, worst := "-", "-"
	if n := len(f.times); n > 0 {
		slices.Sort(f.times)
		median, worst = round(f.times[n/2]), round(f.times[n-1])
	}
	fmt.Fprintf(w, "%-40s %4d %9s %9s  %-36s %-6s %s\n", f.name, len(f.times), median, worst, f.limit, verdict, f.note)
}

func round(d time.Duration) string {
	if d > time.Second {
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(100 * time.Microsecond).String()
}

// runCluster measures what a cluster of processes does under faults, and fails if a figure is missed.
func runCluster(ctx context.Context, o options, w io.Writer) error {
	t, err := startTrio(ctx, o)
	if err != nil {
		return err
	}
	defer t.stop()
	c := &figures{trio: t, o: o, ids: map[string]bool{}}
	fmt.Fprintf(w, "%-40s %4s %9s %9s  %-36s\n", "three processes", "n", "median", "worst", "is to be")
	missed := 0
	for _, m := range []struct {
		name    string
		measure func(context.Context) (*figure, error)
	}{
		{"confirm", c.confirm},
		{"fresh", c.fresh},
		{"transfer", c.transfer},
		{"failover", c.failover},
		{"hang", c.hang},
		{"roll", c.roll},
		{"kept", c.kept},
		{"commands", c.commands},
		{"join", c.join},
		{"recover", c.recover},
	} {
		if o.only != "" && !slices.Contains(strings.Split(o.only, ","), m.name) {
			continue
		}
		f, err := m.measure(ctx)
		if err != nil {
			return err
		}
		if f.write(w); f.missed {
			missed++
		}
	}
	if missed > 0 {
		return fmt.Errorf("%d figures were missed", missed)
	}
	return nil
}

// figures measures.
type figures struct {
	*trio
	o        options
	answered int64           // requests, so far
	ids      map[string]bool // of keys that were acknowledged
	failed   int             // writes that were not
}

// made makes a key at a node and remembers it.
func (c *figures) made(ctx context.Context, node int) (id, pending string, err error) {
	var key struct {
		ID string `json:"id"`
	}
	h, err := c.call(ctx, node, http.MethodPost, "/api/v1/keys", map[string]any{}, &key)
	if err != nil {
		return "", "", err
	}
	c.ids[key.ID] = true
	return key.ID, h.Get("X-Conclave-Pending"), nil
}

// confirm makes and deletes keys, one after the other: an answer without the header that names nodes says that every node has it.
func (c *figures) confirm(ctx context.Context) (*figure, error) {
	f := &figure{name: "create or revoke, confirmed by all nodes", limit: "p50 < 20 ms, p99 < 100 ms"}
	late := 0
	for i := range confirms {
		begin := time.Now()
		id, pending, err := c.made(ctx, i%3)
		if err != nil {
			return nil, err
		}
		f.times = append(f.times, time.Since(begin))
		if pending != "" {
			late++
		}
		begin = time.Now()
		h, err := c.call(ctx, i%3, http.MethodDelete, "/api/v1/keys/"+id, nil, nil)
		if err != nil {
			return nil, err
		}
		f.times = append(f.times, time.Since(begin))
		if h.Get("X-Conclave-Pending") != "" {
			late++
		}
		delete(c.ids, id)
	}
	f.judge(50, 20*time.Millisecond)
	f.judge(99, 100*time.Millisecond)
	f.note = fmt.Sprintf("p99 %s; %d not confirmed by all", round(f.times[len(f.times)*99/100]), late)
	f.missed = f.missed || late > 0
	return f, nil
}

// fresh makes keys on one node and uses each at once on another one, which is told the index of the answer: however far behind that
// node is, it knows the key.
func (c *figures) fresh(ctx context.Context) (*figure, error) {
	f := &figure{name: "use of a key made elsewhere, with min_index", limit: "p99 ≤ 50 ms, 0 stale"}
	var (
		mu    sync.Mutex // guards f and stale
		stale int
		left  atomic.Int64
		wg    sync.WaitGroup
		errs  [pairClients]error
	)
	left.Store(int64(c.o.pairs))
	for i := range pairClients {
		wg.Go(func() {
			for n := left.Add(-1); n >= 0 && errs[i] == nil; n = left.Add(-1) {
				maker := int(n) % 3
				var key struct {
					Secret string `json:"secret"`
				}
				var h http.Header
				if h, errs[i] = c.call(ctx, maker, http.MethodPost, "/api/v1/keys", map[string]any{}, &key); errs[i] != nil {
					return
				}
				var status int
				began := time.Now()
				if status, errs[i] = c.use(ctx, (maker+1+int(n/3)%2)%3, key.Secret, h.Get("X-Conclave-Index")); errs[i] != nil {
					return
				}
				mu.Lock()
				if f.times = append(f.times, time.Since(began)); status != http.StatusOK {
					stale++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	f.judge(99, 50*time.Millisecond)
	f.missed = f.missed || stale > 0
	f.note = fmt.Sprintf("p99 %s of the whole request; %d refused", round(f.times[len(f.times)*99/100]), stale)
	return f, nil
}

// use sends a request with a key to a node that is to know what an answer told.
func (c *figures) use(ctx context.Context, node int, secret, index string) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.nodes[node].url+chatPath, bytes.NewReader(chatBody("demo", false)))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Conclave-Min-Index", index)
	res, err := c.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, err
}

// transfer hands the leadership over under requests and writes.
func (c *figures) transfer(ctx context.Context) (*figure, error) {
	f := &figure{name: "planned transfer of the leadership", limit: "< 100 ms, no client error"}
	a, err := c.ask(ctx, 1)
	if err != nil {
		return nil, err
	}
	stop, done := make(chan struct{}), make(chan struct{})
	writes := 0
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, _, err := c.made(ctx, i%3); err != nil {
				c.failed++
			}
			writes++
		}
	}()
	for i := 0; i < transfers && err == nil; i++ {
		begin := time.Now()
		if _, err = c.call(ctx, i%3, http.MethodPost, "/api/v1/cluster/transfer", map[string]any{}, nil); err == nil {
			f.times = append(f.times, time.Since(begin))
		}
		time.Sleep(200 * time.Millisecond)
	}
	close(stop)
	<-done
	var s sum
	a.end(-1, &s)
	c.answered += s.answered
	f.judge(100, 100*time.Millisecond)
	f.note = fmt.Sprintf("%s; %d of %d writes failed", s, c.failed, writes)
	f.missed = f.missed || s.lost > 0 || c.failed > 0
	return f, err
}

// failover kills the leader again and again; requests go to all nodes, and a write to another one until it is taken.
func (c *figures) failover(ctx context.Context) (*figure, error) {
	f := &figure{name: "kill -9 of the leader: writes are back", limit: "p95 < 1.5 s, 0 requests failed elsewhere"}
	var s sum
	for range failovers {
		leader := c.leader(ctx, 0)
		if leader < 0 {
			return nil, errors.New("nobody leads")
		}
		other := (leader + 1) % 3
		a, err := c.ask(ctx, 1)
		if err != nil {
			return nil, err
		}
		begin := time.Now()
		c.nodes[leader].kill()
		err = await(ctx, "writes are back", func() bool { _, _, err := c.made(ctx, other); return err == nil })
		f.times = append(f.times, time.Since(begin))
		a.end(leader, &s)
		if err != nil {
			return nil, err
		}
		if _, err := c.start(ctx, c.nodes[leader]); err != nil {
			return nil, err
		}
		if err := c.voters(ctx); err != nil {
			return nil, err
		}
	}
	f.judge(95, 1500*time.Millisecond)
	c.answered += s.answered
	f.note = s.String()
	f.missed = f.missed || s.lost > 0
	return f, nil
}

// hang has every sync of the leader's disk hang.
func (c *figures) hang(ctx context.Context) (*figure, error) {
	f := &figure{name: "the leader's disk hangs: writes are back", limit: "< 3 s, 0 requests failed elsewhere"}
	strace, err := exec.LookPath("strace")
	if err != nil {
		f.note, f.missed = "strace is not there", true
		return f, nil
	}
	var s sum
	for range hangs {
		leader := c.leader(ctx, 0)
		if leader < 0 {
			return nil, errors.New("nobody leads")
		}
		m, other := c.nodes[leader], (leader+1)%3
		a, err := c.ask(ctx, 1)
		if err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(ctx, strace, "-f", "-qq", "-o", "/dev/null", "-p", strconv.Itoa(m.proc.cmd.Process.Pid),
			"-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:delay_enter=20s")
		begin := time.Now()
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		err = await(ctx, "another leads and takes writes", func() bool {
			if now := c.leader(ctx, other); now == leader || now < 0 {
				return false
			}
			_, _, err := c.made(ctx, other)
			return err == nil
		})
		f.times = append(f.times, time.Since(begin))
		_ = cmd.Process.Kill() // the disk works again
		_ = cmd.Wait()
		a.end(leader, &s)
		if err != nil {
			return nil, err
		}
		m.kill()
		if _, err := c.start(ctx, m); err != nil {
			return nil, err
		}
		if err := c.voters(ctx); err != nil {
			return nil, err
		}
	}
	f.judge(100, 3*time.Second)
	c.answered += s.answered
	f.note = s.String()
	f.missed = f.missed || s.lost > 0
	return f, nil
}

// roll restarts the nodes one after the other, each with so many streams open on it.
func (c *figures) roll(ctx context.Context) (*figure, error) {
	f := &figure{name: fmt.Sprintf("restart with %d streams open on the node", openAtOnce), limit: "0 cut"}
	var whole atomic.Int64
	var first atomic.Pointer[error]
	for _, m := range c.nodes {
		var all, begun sync.WaitGroup
		for range openAtOnce {
			begun.Add(1)
			all.Go(func() {
				err := c.stream(ctx, m, begun.Done)
				if err == nil {
					whole.Add(1)
					return
				}
				first.CompareAndSwap(nil, &err)
			})
		}
		begun.Wait()
		began := time.Now()
		m.term()
		f.times = append(f.times, time.Since(began))
		all.Wait()
		if _, err := c.start(ctx, m); err != nil {
			return nil, err
		}
		if err := c.voters(ctx); err != nil {
			return nil, err
		}
	}
	cut := int64(3*openAtOnce) - whole.Load()
	f.note, f.missed = fmt.Sprintf("%d of %d cut; the times are those of the stop", cut, 3*openAtOnce), cut > 0
	if e := first.Load(); e != nil {
		f.note += ": " + (*e).Error()
	}
	return f, nil
}

// stream reads a stream to its end; begun is called once it has begun, or will not.
func (c *figures) stream(ctx context.Context, m *member, begun func()) error {
	at := &target{base: m.url, key: c.free, client: &http.Client{Transport: c.client.Transport}}
	res, err := at.send(ctx, "", chatBody("slow", true))
	if err != nil {
		begun()
		return err
	}
	defer func() { _ = res.Body.Close() }()
	lines, last := bufio.NewScanner(res.Body), ""
	started := false
	for lines.Scan() {
		if !started {
			started = true
			begun()
		}
		if text := lines.Text(); text != "" {
			last = text
		}
	}
	if !started {
		begun()
	}
	if last != "data: [DONE]" {
		return errors.Join(lines.Err(), fmt.Errorf("a stream ended with status %d after %.100q", res.StatusCode, last))
	}
	return nil
}

// kept compares what was acknowledged with what every node has.
func (c *figures) kept(ctx context.Context) (*figure, error) {
	f := &figure{name: "acknowledged writes and spend lost", limit: "0"}
	var bill struct {
		Models map[string]struct {
			Requests int64 `json:"requests"`
		} `json:"models"`
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.mockURL+"/mock/usage", nil)
	if err != nil {
		return nil, err
	}
	res, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	err = errors.Join(json.NewDecoder(res.Body).Decode(&bill), res.Body.Close())
	if err != nil {
		return nil, err
	}
	billed := bill.Models["demo"].Requests
	var u struct {
		Items []struct {
			Cost     json.Number `json:"cost"`
			Requests int64       `json:"requests"`
		} `json:"items"`
	}
	missing, booked := 0, int64(0)
	for i := range c.nodes {
		var key struct {
			ID string `json:"id"`
		}
		if _, err := c.call(ctx, i, http.MethodGet, "/api/v1/keys/load", nil, &key); err != nil {
			return nil, err
		}
		err := await(ctx, "the books have every billed request", func() bool {
			_, err := c.call(ctx, i, http.MethodGet, "/api/v1/usage?kind=key&id="+key.ID, nil, &u)
			return err == nil && len(u.Items) == 1 && u.Items[0].Requests >= billed
		})
		if err != nil {
			f.missed = true
		}
		if len(u.Items) == 1 {
			booked = u.Items[0].Requests
		}
		for id := range c.ids {
			if _, err := c.call(ctx, i, http.MethodGet, "/api/v1/keys/"+id, nil, nil); err != nil {
				missing++
			}
		}
	}
	f.missed = f.missed || missing > 0
	f.note = fmt.Sprintf("%d of %d keys missing; %d requests answered, %d billed, %d in the books", missing, 3*len(c.ids), c.answered, billed, booked)
	return f, nil
}

// commands makes single changes, and looks how large the log gets on any node.
func (c *figures) commands(ctx context.Context) (*figure, error) {
	f := &figure{name: fmt.Sprintf("log store after %d commands", c.o.commands), limit: "≤ 256 MiB"}
	var left, failed atomic.Int64
	left.Store(int64(c.o.commands))
	began := time.Now()
	var wg sync.WaitGroup
	for i := range c.o.clients {
		wg.Go(func() {
			for left.Add(-1) >= 0 && ctx.Err() == nil {
				if _, err := create(ctx, c.client, c.nodes[i%3].url+"/api/v1/keys", map[string]any{"limits": map[string]any{"rpm": 100}}); err != nil {
					failed.Add(1)
				}
			}
		})
	}
	var largest int64
	for left.Load() > 0 && ctx.Err() == nil {
		time.Sleep(time.Second)
		for _, m := range c.nodes {
			largest = max(largest, sizeOf(filepath.Join(m.data, "raft", "log")))
		}
	}
	wg.Wait()
	f.note = fmt.Sprintf("at most %d MiB on a node; %.0f a second, %d refused", largest>>20, float64(c.o.commands)/time.Since(began).Seconds(), failed.Load())
	f.missed = largest > logWant
	return f, ctx.Err()
}

// sizeOf is how large a file is, or all in a folder.
func sizeOf(dir string) (sum int64) {
	_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error { // files come and go
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				sum += info.Size()
			}
		}
		return nil
	})
	return sum
}

// join fills the state and has a new node join.
func (c *figures) join(ctx context.Context) (*figure, error) {
	f := &figure{name: "a new node is ready, state of 100 MiB", limit: "≤ 10 s"}
	urls := []string{c.nodes[0].url, c.nodes[1].url, c.nodes[2].url}
	state := func() int64 { return sizeOf(filepath.Join(c.nodes[0].data, "state", "fsm.db")) }
	for i, failed := 0, 0; state() < stateWant; i++ {
		if _, err := fillKeys(ctx, urls, fmt.Sprintf("fill%d", i), fillCall, max(int(stateWant-state())/recordSize, fillCall), false); err != nil {
			if failed++; failed > maxFailed {
				return nil, err
			}
		}
	}
	for i := range 3 {
		took, err := c.add(ctx, 3)
		if err != nil {
			return nil, err
		}
		f.times = append(f.times, took)
		m := c.nodes[3]
		m.term()
		c.nodes = c.nodes[:3]
		if err := await(ctx, "it is removed", func() bool {
			_, err := c.call(ctx, i, http.MethodDelete, "/api/v1/cluster/nodes/"+m.name, nil, nil)
			return err == nil || strings.Contains(err.Error(), "answered 404")
		}); err != nil {
			return nil, err
		}
		if err := os.RemoveAll(m.data); err != nil {
			return nil, err
		}
	}
	f.judge(100, 10*time.Second)
	f.note = fmt.Sprintf("its file has %d MiB", state()>>20)
	return f, nil
}

// recover destroys two nodes and makes the third a cluster of its own. It is the last measurement.
func (c *figures) recover(ctx context.Context) (*figure, error) {
	f := &figure{name: "two of three destroyed: writes are back", limit: "≤ 60 s"}
	last := c.nodes[2]
	for _, m := range c.nodes[:2] {
		m.kill()
		if err := os.RemoveAll(m.data); err != nil {
			return nil, err
		}
	}
	begin := time.Now()
	last.term()
	cmd := exec.CommandContext(ctx, c.conclave, "recover", "--config", last.file, "--i-know-this-commits-uncommitted-entries")
	cmd.Env = append(os.Environ(), "CONCLAVE_MASTER_KEY="+masterKey)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("recover: %w: %s", err, out)
	}
	if _, err := c.start(ctx, last); err != nil {
		return nil, err
	}
	err := await(ctx, "writes are back", func() bool { _, _, err := c.made(ctx, 2); return err == nil })
	f.times = append(f.times, time.Since(begin))
	f.judge(100, time.Minute)
	f.note = "the stop, the command and the start"
	return f, err
}
