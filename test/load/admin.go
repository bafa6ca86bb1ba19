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
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// adminPort is the client port of the first of three nodes.
const adminPort = 24100

// runAdmin starts three processes and creates keys through all of them at once.
func runAdmin(ctx context.Context, o options, w io.Writer) error {
	dir, err := os.MkdirTemp("", "conclave-load-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	env := []string{"CONCLAVE_MASTER_KEY=" + masterKey}
	p, err := start(ctx, env, o.conclave, "dev", "--processes", "--data-dir", dir, "--port", strconv.Itoa(adminPort))
	if err != nil {
		return err
	}
	defer p.stop()
	for i := range 3 {
		if err := p.waitOK(ctx, fmt.Sprintf("http://127.0.0.1:%d/health/readiness", adminPort+10*i), 30*time.Second); err != nil {
			return err
		}
	}
	fmt.Fprintf(w, "%-34s %9s %9s %9s %9s %7s\n", "admin load on three processes", "p50", "p99", "keys/s", "CPU/key", "errors")
	r := &reporter{w: w, proc: p}
	for _, rate := range []int{0, o.keyRate} {
		if err := createKeys(ctx, o, rate, r); err != nil {
			return err
		}
	}
	if err := createBulk(ctx, o, r); err != nil {
		return err
	}
	return importKeys(ctx, o, dir, r)
}

// createKeys has o.clients clients create o.keys keys, one a request: rate of them a second,
// each of which counts from when it is due, or as many as are answered if rate is 0.
func createKeys(ctx context.Context, o options, rate int, r *reporter) error {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 512}}
	var left, failed atomic.Int64
	left.Store(int64(o.keys))
	each := make([][]time.Duration, o.clients)
	var first atomic.Pointer[error]
	r.begin()
	var wg sync.WaitGroup
	for i := range o.clients {
		wg.Go(func() {
			url := fmt.Sprintf("http://127.0.0.1:%d/key/generate", adminPort+10*(i%3))
			for n := left.Add(-1); n >= 0 && ctx.Err() == nil; n = left.Add(-1) {
				late := waitDue(r.began, o.keys-1-int(n), rate)
				d, err := create(ctx, client, url, map[string]any{"key_alias": fmt.Sprintf("key-%d-%d", rate, n), "max_budget": 10, "rpm_limit": 100})
				d += late
				if err != nil {
					failed.Add(1)
					first.CompareAndSwap(nil, &err)
					continue
				}
				each[i] = append(each[i], d)
			}
		})
	}
	wg.Wait()
	times := slices.Concat(each...)
	name := fmt.Sprintf("key/generate, %d clients", o.clients)
	if rate > 0 {
		name += fmt.Sprintf(" at %d/s", rate)
	}
	r.end(name, times, len(times), failed.Load())
	if e := first.Load(); e != nil {
		return fmt.Errorf("create keys: %w", *e)
	}
	return nil
}

// waitDue waits until the nth of rate a second is due, and tells by how much it is late.
func waitDue(began time.Time, n, rate int) time.Duration {
	if rate == 0 {
		return 0
	}
	due := began.Add(time.Second * time.Duration(n) / time.Duration(rate))
	time.Sleep(time.Until(due))
	return max(time.Since(due)-time.Millisecond, 0) // less what a timer is late by
}

// reporter writes a line for each measurement.
type reporter struct {
	w     io.Writer
	proc  *process // the parent of the nodes
	began time.Time
	cpu   time.Duration
}

func (r *reporter) begin() { r.cpu, r.began = r.proc.cpuOfAll(), time.Now() }

// end tells how long the calls took, and what the keys that they made cost all nodes together.
func (r *reporter) end(name string, times []time.Duration, keys int, failed int64) {
	took := time.Since(r.began)
	cpu := (r.proc.cpuOfAll() - r.cpu) / time.Duration(max(keys, 1))
	slices.Sort(times)
	at := func(part int) time.Duration { return times[len(times)*part/100].Round(10 * time.Microsecond) }
	if len(times) == 0 {
		times = []time.Duration{took}
	}
	fmt.Fprintf(r.w, "%-34s %9s %9s %9.0f %9s %7d\n", name, at(50), at(99), float64(keys)/took.Seconds(), cpu.Round(time.Microsecond), failed)
}

func create(ctx context.Context, client *http.Client, url string, body any) (time.Duration, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(b))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+masterKey)
	req.Header.Set("Content-Type", "application/json")
	began := time.Now()
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusCreated {
		return 0, errors.Join(err, fmt.Errorf("%s answered %d: %.200s", url, res.StatusCode, text))
	}
	return time.Since(began), err
}
