package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Paths of the endpoints that are driven.
const (
	chatPath     = "/v1/chat/completions"
	messagesPath = "/v1/messages"
)

// load is requests of one body: count of them over conns connections as fast as they are
// answered, or rate of them a second for length, whether answered or not.
type load struct {
	path   string // of the endpoint; "": chat completions
	body   []byte
	count  int
	conns  int
	rate   int
	length time.Duration
}

// result is what one round came to.
type result struct {
	cpu      float64 // microseconds of the target's CPU time per request
	p50, p99 time.Duration
	rate     float64 // answered requests a second
	errors   int64
}

// target is something that answers requests.
type target struct {
	name   string
	base   string // scheme and address
	key    string
	proc   *process // nil: its CPU time is not counted
	client *http.Client
}

// to is the same load of another model.
func (l load) to(model string) load {
	l.body = bytes.Replace(l.body, []byte(`"demo"`), []byte(`"`+model+`"`), 1)
	return l
}

// every is the same load at a rate.
func (l load) every(rate int, length time.Duration) load {
	l.rate, l.length = rate, length
	return l
}

func (l load) drive(ctx context.Context, t *target) (result, error) {
	before := t.cpu()
	start := time.Now()
	var times []time.Duration
	var failed int64
	if l.rate > 0 {
		times, failed = l.open(ctx, t)
	} else {
		times, failed = l.closed(ctx, t)
	}
	took := time.Since(start)
	if len(times) == 0 {
		return result{}, fmt.Errorf("no request of %d was answered", failed)
	}
	slices.Sort(times)
	n := len(times)
	return result{
		cpu: float64(t.cpu()-before) / float64(time.Microsecond) / float64(n),
		p50: times[n/2], p99: times[n*99/100],
		rate: float64(n) / took.Seconds(), errors: failed,
	}, ctx.Err()
}

// closed keeps conns requests in flight until count are done.
func (l load) closed(ctx context.Context, t *target) ([]time.Duration, int64) {
	var left, failed atomic.Int64
	left.Store(int64(l.count))
	each := make([][]time.Duration, l.conns)
	var wg sync.WaitGroup
	for i := range l.conns {
		wg.Go(func() {
			for left.Add(-1) >= 0 && ctx.Err() == nil {
				d, err := t.ask(ctx, l.path, l.body)
				if err != nil {
					failed.Add(1)
					continue
				}
				each[i] = append(each[i], d)
			}
		})
	}
	wg.Wait()
	return slices.Concat(each...), failed.Load()
}

// open sends rate requests a second for length; a late answer delays no other request.
func (l load) open(ctx context.Context, t *target) ([]time.Duration, int64) {
	var mu sync.Mutex // guards times
	var times []time.Duration
	var failed atomic.Int64
	var wg sync.WaitGroup
	tick := time.NewTicker(time.Second / time.Duration(l.rate))
	defer tick.Stop()
	for range int(l.length.Seconds() * float64(l.rate)) {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
		wg.Go(func() {
			d, err := t.ask(ctx, l.path, l.body)
			if err != nil {
				failed.Add(1)
				return
			}
			mu.Lock()
			times = append(times, d)
			mu.Unlock()
		})
	}
	wg.Wait()
	return times, failed.Load()
}

// ask sends one request and reads the whole answer.
func (t *target) ask(ctx context.Context, path string, body []byte) (time.Duration, error) {
	start := time.Now()
	res, err := t.send(ctx, path, body)
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err
	}
	if res.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("status %d: %.200s", res.StatusCode, text)
	}
	return time.Since(start), nil
}

// send sends one request and returns its answer, whose body is still to come.
func (t *target) send(ctx context.Context, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.base+cmp.Or(path, chatPath), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+t.key)
	if path == messagesPath {
		req.Header.Set("Anthropic-Version", "2023-06-01")
	}
	return t.client.Do(req)
}

func (t *target) cpu() time.Duration {
	if t.proc == nil {
		return 0
	}
	return t.proc.cpu()
}

// median takes each figure's median on its own, and the worst count of errors.
func median(rs []result) result {
	pick := func(f func(result) float64) float64 {
		xs := make([]float64, len(rs))
		for i, r := range rs {
			xs[i] = f(r)
		}
		return medianOf(xs)
	}
	m := result{
		cpu:  pick(func(r result) float64 { return r.cpu }),
		p50:  time.Duration(pick(func(r result) float64 { return float64(r.p50) })),
		p99:  time.Duration(pick(func(r result) float64 { return float64(r.p99) })),
		rate: pick(func(r result) float64 { return r.rate }),
	}
	for _, r := range rs {
		m.errors = max(m.errors, r.errors)
	}
	return m
}

func medianOf(xs []float64) float64 {
	slices.Sort(xs)
	return xs[len(xs)/2]
}
