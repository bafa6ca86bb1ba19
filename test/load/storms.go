package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	stormClients = 8       // that ask for pages of the log without a pause
	aborts       = 30      // requests whose clients leave
	abortSize    = 5 << 20 // bytes of each
	page         = 50      // requests of a page of the log
	pagePath     = "/api/v1/requests?limit=50"
	usagePath    = "/api/v1/usage?from=24h&group_by=key"
	searchPath   = "/api/v1/requests?limit=50&sort=-cost&status=success"
	readyEvery   = 5 * time.Millisecond
	readyFor     = 5 * time.Second
	readinessURL = "/health/readiness"
)

// runStorm measures what a storm of questions about the log does to requests, and what clients that
// leave with large bodies do to readiness.
func runStorm(ctx context.Context, o options, w io.Writer) error {
	r, err := startRig(ctx, o)
	if err != nil {
		return err
	}
	defer r.stop()
	fill := load{body: chatBody("demo", false), count: o.requests, conns: o.conns}
	if _, err := fill.drive(ctx, r.node); err != nil {
		return fmt.Errorf("fill the log: %w", err)
	}
	if err := r.reportPage(ctx, w); err != nil {
		return err
	}
	if err := r.reportStorm(ctx, o, w); err != nil {
		return err
	}
	return r.reportAborts(ctx, w)
}

// look asks the admin API.
func (r *rig) look(ctx context.Context, path string) (time.Duration, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.node.base+path, nil)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+masterKey)
	began := time.Now()
	res, err := r.node.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK {
		return 0, nil, errors.Join(err, fmt.Errorf("%s answered %d: %.200s", path, res.StatusCode, b))
	}
	return time.Since(began), b, err
}

// reportPage tells how many requests a page of the log takes, and how long.
func (r *rig) reportPage(ctx context.Context, w io.Writer) error {
	var times []time.Duration
	for range 20 {
		took, b, err := r.look(ctx, pagePath)
		if err != nil {
			return err
		}
		if n := bytes.Count(b, []byte(`"request_id"`)); n < page {
			return fmt.Errorf("a page of the log has %d requests, want %d", n, page)
		}
		times = append(times, took)
	}
	slices.Sort(times)
	fmt.Fprintf(w, "a page of the log: 1 request, p50 %s, slowest %s\n", times[10].Round(time.Microsecond), times[19].Round(time.Microsecond))
	return nil
}

// reportStorm drives the open loop in turns alone and beside the storm.
func (r *rig) reportStorm(ctx context.Context, o options, w io.Writer) error {
	l := load{body: chatBody("demo", false)}.every(o.rate, o.open)
	var quiet, stormy []result
	var questions int64
	for range o.rounds {
		res, err := l.drive(ctx, r.node)
		if err != nil {
			return err
		}
		quiet = append(quiet, res)
		n, res, err := r.storm(ctx, l)
		if err != nil {
			return err
		}
		questions += n
		stormy = append(stormy, res)
	}
	a, b := median(quiet), median(stormy)
	fmt.Fprintf(w, "open loop %d/s: p99 %s, errors %d; beside %d questions of %d clients: p99 %s (%+.1f %%), errors %d\n", o.rate,
		a.p99.Round(time.Microsecond), a.errors, questions, stormClients, b.p99.Round(time.Microsecond), 100*(float64(b.p99)/float64(a.p99)-1), b.errors)
	return nil
}

func (r *rig) storm(ctx context.Context, l load) (questions int64, res result, err error) {
	asking, stop := context.WithCancel(ctx)
	var n atomic.Int64
	var wg sync.WaitGroup
	for range stormClients {
		wg.Go(func() {
			for asking.Err() == nil {
				for _, path := range []string{pagePath, usagePath, searchPath} {
					if _, _, err := r.look(asking, path); err == nil {
						n.Add(1)
					}
				}
			}
		})
	}
	res, err = l.drive(ctx, r.node)
	stop()
	wg.Wait()
	return n.Load(), res, err
}

// reportAborts opens streams with large bodies, leaves them at their first byte, and asks meanwhile
// whether the node is ready.
func (r *rig) reportAborts(ctx context.Context, w io.Writer) error {
	body := []byte(`{"model":"slow","stream":true,"max_tokens":64,"messages":[{"role":"user","content":"` + strings.Repeat("word ", abortSize/5) + `"}]}`)
	polling, stop := context.WithTimeout(ctx, readyFor)
	defer stop()
	var times []time.Duration
	var failed int
	var wg sync.WaitGroup
	wg.Go(func() {
		for polling.Err() == nil {
			took, _, err := r.look(polling, readinessURL)
			switch {
			case err == nil:
				times = append(times, took)
			case polling.Err() == nil:
				failed++
			}
			time.Sleep(readyEvery)
		}
	})
	left := make(chan error, aborts)
	for range aborts {
		wg.Go(func() { left <- r.leave(ctx, body) })
	}
	wg.Wait()
	for range aborts {
		if err := <-left; err != nil {
			return fmt.Errorf("abort: %w", err)
		}
	}
	if len(times) == 0 {
		return errors.New("readiness never answered")
	}
	slices.Sort(times)
	fmt.Fprintf(w, "readiness while %d clients leave requests of %d MiB: p50 %s, p99 %s, slowest %s, of %d; errors %d\n", aborts, abortSize>>20,
		times[len(times)/2].Round(time.Microsecond), times[len(times)*99/100].Round(time.Microsecond), times[len(times)-1].Round(time.Microsecond), len(times), failed)
	return nil
}

// leave sends a request and hangs up at the first byte of its answer.
func (r *rig) leave(ctx context.Context, body []byte) error {
	ctx, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	res, err := r.node.send(ctx, "", body)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(res.Body)
		return fmt.Errorf("status %d: %.200s", res.StatusCode, text)
	}
	_, err = io.ReadFull(res.Body, make([]byte, 1))
	return err
}
