package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	fillCall    = 1000 // keys of one call that fills a node
	bulkClients = 3
)

// bulkCalls are the sizes of calls that are measured; the last is the largest that there is.
var bulkCalls = []int{1000, 10_000}

// bulkKey is the nth key that is made in bulk, with a budget unless it is to be plain.
func bulkKey(prefix string, n int, plain bool) map[string]any {
	key := map[string]any{"name": fmt.Sprintf("%s-%d", prefix, n), "limits": map[string]any{"rpm": 100}}
	if !plain {
		key["budgets"] = []map[string]any{{"usd": 10, "per": "day"}}
	}
	return key
}

// createBulk has some clients create o.bulk keys in calls of each size.
func createBulk(ctx context.Context, o options, r *reporter) error {
	servers := make([]string, 3)
	for i := range servers {
		servers[i] = fmt.Sprintf("http://127.0.0.1:%d", adminPort+10*i)
	}
	for _, call := range bulkCalls {
		r.begin()
		times, err := fillKeys(ctx, servers, fmt.Sprintf("bulk%d", call), call, o.bulk, o.plain)
		if err != nil {
			return err
		}
		r.end(fmt.Sprintf("keys/bulk, %d a call", call), times, o.bulk, 0)
	}
	return nil
}

// fillKeys makes total keys in calls of so many and tells how long each call took.
func fillKeys(ctx context.Context, servers []string, prefix string, call, total int, plain bool) ([]time.Duration, error) {
	client := &http.Client{}
	var at atomic.Int64
	var first atomic.Pointer[error]
	each := make([][]time.Duration, bulkClients)
	var wg sync.WaitGroup
	for i := range bulkClients {
		wg.Go(func() {
			for from := int(at.Add(int64(call))) - call; from < total && ctx.Err() == nil; from = int(at.Add(int64(call))) - call {
				var keys []map[string]any
				for n := from; n < min(from+call, total); n++ {
					keys = append(keys, bulkKey(prefix, n, plain))
				}
				d, err := create(ctx, client, servers[i%len(servers)]+"/api/v1/keys/bulk", keys)
				if err != nil {
					first.CompareAndSwap(nil, &err)
					return
				}
				each[i] = append(each[i], d)
			}
		})
	}
	wg.Wait()
	if err := first.Load(); err != nil {
		return nil, fmt.Errorf("create keys in bulk: %w", *err)
	}
	return slices.Concat(each...), ctx.Err()
}

// importKeys creates o.bulk keys of a file through the command line.
func importKeys(ctx context.Context, o options, dir string, r *reporter) error {
	path := filepath.Join(dir, "keys.jsonl")
	if err := writeKeys(path, o.bulk, o.plain); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, o.conclave, "key", "import", path,
		"--server", "http://127.0.0.1:"+strconv.Itoa(adminPort), "--results", filepath.Join(dir, "results.jsonl"))
	cmd.Env = append(os.Environ(), "CONCLAVE_MASTER_KEY="+masterKey)
	r.begin()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("import keys: %w\n%s", err, out)
	}
	r.end(fmt.Sprintf("key import of %d", o.bulk), nil, o.bulk, 0)
	return nil
}

func writeKeys(path string, total int, plain bool) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // Flush tells of errors
	b := bufio.NewWriter(f)
	enc := json.NewEncoder(b)
	for n := range total {
		if err := enc.Encode(bulkKey("import", n, plain)); err != nil {
			return err
		}
	}
	return b.Flush()
}
