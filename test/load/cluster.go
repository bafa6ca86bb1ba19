package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/conclave-llm/conclave/internal/ports"
)

const (
	trioLook    = 5 * time.Millisecond // between two looks for what is awaited
	trioWait    = time.Minute          // for whatever is awaited
	trioServed  = 100                  // requests of each node before something is done to one
	trioStreams = 12 * time.Second     // that a stream of the slow upstream lasts
)

// trio is a cluster of processes that the driver kills, stops and starts one by one, a fast upstream that keeps the bill, and one
// whose streams last.
type trio struct {
	conclave, dir string
	nodes         []*member
	mock, slow    *process
	mockURL       string
	key, free     string // of the requests, with a budget, and of the streams, without one
	client        *http.Client
}

// member is one node.
type member struct {
	name, url, address, file, data string
	proc                           *process
}

// trioFile is a node's configuration.
const trioFile = `
node {
  name       = %q
  data_dir   = %q
  listen     = %q
  cluster    = %q
  master_key = env("CONCLAVE_MASTER_KEY")
}
`

func startTrio(ctx context.Context, o options) (*trio, error) {
	dir, err := os.MkdirTemp("", "conclave-load-")
	if err != nil {
		return nil, err
	}
	t := &trio{conclave: o.conclave, dir: dir, client: &http.Client{Timeout: trioWait, Transport: &http.Transport{MaxIdleConnsPerHost: 1024}}}
	if err := t.found(ctx, o); err != nil {
		t.stop()
		return nil, err
	}
	return t, nil
}

func (t *trio) found(ctx context.Context, o options) (err error) {
	mocks := make([]string, 2)
	for i := range mocks {
		if mocks[i], err = ports.Addr(); err != nil {
			return err
		}
	}
	t.mockURL = "http://" + mocks[0]
	if t.mock, err = startMock(ctx, o, mocks[0]); err != nil {
		return err
	}
	if t.slow, err = startMock(ctx, o, mocks[1], "--chunks", "40", "--chunk-delay", (trioStreams / 40).String()); err != nil {
		return err
	}
	for i := range 3 {
		if _, err := t.add(ctx, i); err != nil {
			return err
		}
	}
	for model, url := range map[string]string{"demo": mocks[0], "slow": mocks[1]} {
		_, err := t.call(ctx, 0, http.MethodPost, "/api/v1/models", map[string]any{"name": model, "deployments": []any{map[string]any{
			"provider": "openai", "api_base": "http://" + url + "/v1", "model": model, "price": map[string]any{"input": 0.15, "output": 0.60},
		}}}, nil)
		if err != nil {
			return err
		}
	}
	for to, fields := range map[*string]map[string]any{
		&t.key: {"name": "load", "budgets": []any{map[string]any{"usd": 1000000, "per": "day"}}}, &t.free: {"name": "free"},
	} {
		var key struct {
			Secret string `json:"secret"`
		}
		if _, err := t.call(ctx, 0, http.MethodPost, "/api/v1/keys", fields, &key); err != nil {
			return err
		}
		*to = key.Secret
	}
	return t.voters(ctx)
}

// add makes the nth node: the first founds the cluster, the others join, with an empty folder. It returns how long it took from
// its start until it was ready.
func (t *trio) add(ctx context.Context, n int) (time.Duration, error) {
	var addrs [2]string
	for i := range addrs {
		a, err := ports.Addr()
		if err != nil {
			return 0, err
		}
		addrs[i] = a
	}
	name := string(rune('a' + n))
	m := &member{name: name, url: "http://" + addrs[0], address: addrs[1], file: filepath.Join(t.dir, name+".hcl"), data: filepath.Join(t.dir, name)}
	if err := os.WriteFile(m.file, fmt.Appendf(nil, trioFile, name, m.data, addrs[0], addrs[1]), 0o600); err != nil {
		return 0, err
	}
	t.nodes = append(t.nodes, m)
	if n == 0 {
		return t.start(ctx, m, "--bootstrap")
	}
	var token struct {
		Token string `json:"token"`
	}
	if _, err := t.call(ctx, 0, http.MethodPost, "/api/v1/cluster/join-tokens", map[string]any{}, &token); err != nil {
		return 0, err
	}
	return t.start(ctx, m, "--join", t.nodes[0].address, "--token", token.Token)
}

// start starts a node and tells how long it took to be ready.
func (t *trio) start(ctx context.Context, m *member, args ...string) (time.Duration, error) {
	began := time.Now()
	p, err := start(ctx, []string{"CONCLAVE_MASTER_KEY=" + masterKey}, t.conclave, append([]string{"serve", "--config", m.file}, args...)...)
	if err != nil {
		return 0, err
	}
	m.proc = p
	err = p.waitOK(ctx, m.url+readinessURL, trioWait)
	return time.Since(began), err
}

// kill ends a node as kill -9 does.
func (m *member) kill() {
	_ = m.proc.cmd.Process.Kill() // it may have ended
	<-m.proc.done
}

// term asks a node to end, as an operator does, and waits as long as requests may take.
func (m *member) term() {
	_ = m.proc.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	<-m.proc.done
}

func (t *trio) stop() {
	var all sync.WaitGroup
	for _, m := range t.nodes {
		if m.proc != nil {
			all.Go(m.proc.stop)
		}
	}
	all.Wait()
	t.mock.stop()
	t.slow.stop()
	_ = os.RemoveAll(t.dir)
}

// call asks node i with the master key. An answer that is none of 2xx is an error.
func (t *trio) call(ctx context.Context, i int, method, path string, in, out any) (http.Header, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, t.nodes[i].url+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+masterKey)
	req.Header.Set("Content-Type", "application/json")
	res, err := t.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if res.StatusCode/100 != 2 {
		return nil, errors.Join(err, fmt.Errorf("%s %s answered %d: %.200s", method, path, res.StatusCode, text))
	}
	if out != nil && err == nil {
		err = json.Unmarshal(text, out)
	}
	return res.Header, err
}

// leader is the node that leads, as node i sees it; -1: nobody.
func (t *trio) leader(ctx context.Context, i int) int {
	leader, _ := t.members(ctx, i)
	return leader
}

func (t *trio) members(ctx context.Context, i int) (leader, voters int) {
	var out struct {
		Members []struct {
			Name          string `json:"name"`
			Voter, Leader bool
		} `json:"members"`
	}
	leader = -1
	if _, err := t.call(ctx, i, http.MethodGet, "/api/v1/cluster", nil, &out); err != nil {
		return -1, 0
	}
	for _, m := range out.Members {
		if m.Voter {
			voters++
		}
		if m.Leader {
			leader = int(m.Name[0] - 'a')
		}
	}
	return leader, voters
}

// await waits until cond holds.
func await(ctx context.Context, what string, cond func() bool) error {
	for end := time.Now().Add(trioWait); !cond(); time.Sleep(trioLook) {
		if ctx.Err() != nil || time.Now().After(end) {
			return errors.Join(ctx.Err(), fmt.Errorf("not within %s: %s", trioWait, what))
		}
	}
	return nil
}

// voters waits until there is a leader and all three vote.
func (t *trio) voters(ctx context.Context) error {
	return await(ctx, "three nodes vote", func() bool { leader, v := t.members(ctx, 0); return leader >= 0 && v == 3 })
}

// asker is clients that send chat requests to nodes until end.
type asker struct {
	done           chan struct{}
	wg             sync.WaitGroup
	answered, lost []atomic.Int64 // by node
	first          []atomic.Pointer[error]
}

// ask has clients at every node, once each has served the key for a while without a refusal: one that was started a moment ago has
// little lease of the budget yet, and gets none while nobody leads.
func (t *trio) ask(ctx context.Context, clients int) (*asker, error) {
	a := &asker{done: make(chan struct{}), answered: make([]atomic.Int64, len(t.nodes)), lost: make([]atomic.Int64, len(t.nodes)), first: make([]atomic.Pointer[error], len(t.nodes))}
	body := chatBody("demo", false)
	for i, m := range t.nodes {
		at := &target{base: m.url, key: t.key, client: t.client}
		served := 0
		err := await(ctx, "node "+m.name+" serves", func() bool {
			if _, err := at.ask(ctx, "", body); err != nil {
				served = 0
				return false
			}
			served++
			return served == trioServed
		})
		if err != nil {
			return nil, err
		}
		a.answered[i].Store(trioServed)
		for range clients {
			a.wg.Go(func() {
				for {
					select {
					case <-a.done:
						return
					default:
					}
					if _, err := at.ask(ctx, "", body); err != nil {
						a.lost[i].Add(1)
						err = fmt.Errorf("node %s: %w", m.name, err)
						a.first[i].CompareAndSwap(nil, &err)
						time.Sleep(10 * time.Millisecond)
						continue
					}
					a.answered[i].Add(1)
				}
			})
		}
	}
	return a, nil
}

// end stops the clients. What failed at one node, -1 for none, does not count.
func (a *asker) end(but int, s *sum) {
	close(a.done)
	a.wg.Wait()
	for i := range a.lost {
		s.answered += a.answered[i].Load()
		if i == but {
			continue
		}
		s.lost += a.lost[i].Load()
		if e := a.first[i].Load(); e != nil && s.first == nil {
			s.first = *e
		}
	}
}

// sum is what became of requests.
type sum struct {
	answered, lost int64
	first          error // of those that were lost
}

// String tells it.
func (s sum) String() string {
	text := fmt.Sprintf("%d of %d requests failed elsewhere", s.lost, s.answered+s.lost)
	if s.first != nil {
		text += ", the first: " + s.first.Error()
	}
	return text
}
