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
	fmt.Fprintf(w, "%-34s %9s %9s %9s %7s\n", "admin load on three processes", "p50", "p99", "keys/s", "errors")
	return createKeys(ctx, o, w)
}

// createKeys has o.clients clients create o.keys keys, one a request.
func createKeys(ctx context.Context, o options, w io.Writer) error {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 512}}
	var left, failed atomic.Int64
	left.Store(int64(o.keys))
	each := make([][]time.Duration, o.clients)
	var first atomic.Pointer[error]
	began := time.Now()
	var wg sync.WaitGroup
	for i := range o.clients {
		wg.Go(func() {
			url := fmt.Sprintf("http://127.0.0.1:%d/key/generate", adminPort+10*(i%3))
			for n := left.Add(-1); n >= 0 && ctx.Err() == nil; n = left.Add(-1) {
				d, err := create(ctx, client, url, map[string]any{"key_alias": fmt.Sprintf("key-%d", n), "max_budget": 10, "rpm_limit": 100})
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
	took := time.Since(began)
	times := slices.Concat(each...)
	slices.Sort(times)
	if len(times) == 0 {
		return fmt.Errorf("create keys: %w", *first.Load())
	}
	fmt.Fprintf(w, "%-34s %9s %9s %9.0f %7d\n", fmt.Sprintf("key/generate, %d clients", o.clients),
		times[len(times)/2].Round(10*time.Microsecond), times[len(times)*99/100].Round(10*time.Microsecond),
		float64(len(times))/took.Seconds(), failed.Load())
	if e := first.Load(); e != nil {
		return fmt.Errorf("create keys: %w", *e)
	}
	return nil
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
	if res.StatusCode != http.StatusOK {
		return 0, errors.Join(err, fmt.Errorf("%s answered %d: %.200s", url, res.StatusCode, text))
	}
	return time.Since(began), err
}
