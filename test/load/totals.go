package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	totalsPort  = 24300
	totalsModel = "billed"
	totalsKey   = "sk-load-totals-0123456789"
	inputPrice  = 1000 // nanodollars a token
	outputPrice = 2000
	agreeWait   = 30 * time.Second // for the last ticks
)

// runTotals drives one key through three processes at a rate each, adds up what the answers say was
// used, and compares that with every node's totals, to the nanodollar.
func runTotals(ctx context.Context, o options, w io.Writer) error {
	dir, err := os.MkdirTemp("", "conclave-load-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	p, err := start(ctx, []string{"CONCLAVE_MASTER_KEY=" + masterKey}, o.conclave, "dev", "--processes", "--data-dir", dir, "--port", strconv.Itoa(totalsPort))
	if err != nil {
		return err
	}
	defer p.stop()
	for i := range 3 {
		if err := p.waitOK(ctx, nodeURL(i)+readinessURL, 30*time.Second); err != nil {
			return err
		}
	}
	if err := prepareTotals(ctx); err != nil {
		return err
	}
	t := &totals{client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1024}}}
	began := time.Now()
	t.drive(ctx, o.totalRate, o.totalFor)
	took := time.Since(began)
	fmt.Fprintf(w, "3 × %d requests a second for %s: %d answered (%.0f/s), %d errors, %d nanodollars by the answers\n",
		o.totalRate, o.totalFor, t.answered.Load(), float64(t.answered.Load())/took.Seconds(), t.failed.Load(), t.cost.Load())
	if t.failed.Load() > 0 {
		return fmt.Errorf("requests failed, the first: %w", *t.first.Load())
	}
	for i := range 3 {
		if err := awaitTotal(ctx, i, t.cost.Load(), w); err != nil {
			return err
		}
	}
	return verifyTotals(ctx, w)
}

func nodeURL(i int) string { return fmt.Sprintf("http://127.0.0.1:%d", totalsPort+10*i) }

// prepareTotals makes a model with whole nanodollars a token, and the one key.
func prepareTotals(ctx context.Context) error {
	client := &http.Client{}
	model := map[string]any{"name": totalsModel, "deployments": []any{map[string]any{
		"provider": "openai", "api_base": fmt.Sprintf("http://127.0.0.1:%d/v1", totalsPort+90), "model": "demo",
		"price": map[string]any{"input": inputPrice / 1000.0, "output": outputPrice / 1000.0},
	}}}
	if _, err := create(ctx, client, nodeURL(0)+"/api/v1/models", model); err != nil {
		return err
	}
	_, err := create(ctx, client, nodeURL(0)+"/key/generate", map[string]any{"key": totalsKey, "key_alias": totalsModel, "max_budget": 1_000_000})
	return err
}

// totals counts what the answers say.
type totals struct {
	client                 *http.Client
	answered, failed, cost atomic.Int64
	first                  atomic.Pointer[error]
}

// drive sends to all nodes in an open loop.
func (t *totals) drive(ctx context.Context, rate int, length time.Duration) {
	var wg sync.WaitGroup
	body := chatBody(totalsModel, false)
	began := time.Now()
	for i := range 3 {
		wg.Go(func() {
			at := &target{base: nodeURL(i), key: totalsKey, client: t.client}
			for n := range int(length.Seconds() * float64(rate)) {
				if ctx.Err() != nil {
					return
				}
				waitDue(began, n, rate)
				wg.Go(func() { t.ask(ctx, at, body) })
			}
		})
	}
	wg.Wait()
}

func (t *totals) ask(ctx context.Context, at *target, body []byte) {
	cost, err := billed(ctx, at, body)
	if err != nil {
		t.failed.Add(1)
		t.first.CompareAndSwap(nil, &err)
		return
	}
	t.answered.Add(1)
	t.cost.Add(cost)
}

// billed is what one request costs by the usage in its answer.
func billed(ctx context.Context, at *target, body []byte) (int64, error) {
	res, err := at.send(ctx, "", body)
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err
	}
	var answer struct {
		Usage struct {
			Prompt     int64 `json:"prompt_tokens"`
			Completion int64 `json:"completion_tokens"`
		}
	}
	if err := json.Unmarshal(text, &answer); err != nil || res.StatusCode != http.StatusOK || answer.Usage.Prompt == 0 {
		return 0, errors.Join(err, fmt.Errorf("status %d: %.200s", res.StatusCode, text))
	}
	return answer.Usage.Prompt*inputPrice + answer.Usage.Completion*outputPrice, nil
}

// awaitTotal waits until a node's total of the key is the sum, and says what it is if it never is.
func awaitTotal(ctx context.Context, node int, want int64, w io.Writer) error {
	var got string
	for end := time.Now().Add(agreeWait); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		b, err := ask(ctx, nodeURL(node)+"/key/info?key="+totalsKey)
		if err != nil {
			return err
		}
		var info struct {
			Info struct {
				Spend json.Number
			}
		}
		if err := json.Unmarshal(b, &info); err != nil {
			return err
		}
		got = info.Info.Spend.String()
		if same(got, want) {
			fmt.Fprintf(w, "node %d: %s US dollars, as the answers say\n", node, got)
			return nil
		}
	}
	return fmt.Errorf("node %d says %s US dollars, the answers %d nanodollars", node, got, want)
}

// same compares US dollars in decimals with nanodollars.
func same(dollars string, nanos int64) bool {
	v, err := strconv.ParseFloat(dollars, 64) // 15 digits are exact
	return err == nil && int64(v*1e9+0.5) == nanos
}

func ask(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+masterKey)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK {
		return nil, errors.Join(err, fmt.Errorf("%s answered %d: %.200s", url, res.StatusCode, b))
	}
	return b, err
}

// verifyTotals lets the cluster compare every total with what the nodes recorded.
func verifyTotals(ctx context.Context, w io.Writer) error {
	b, err := ask(ctx, nodeURL(0)+"/api/v1/ledger/verify")
	if err != nil {
		return err
	}
	var v struct {
		Compared    int
		Differences []string
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	if len(v.Differences) > 0 {
		return fmt.Errorf("the totals differ: %v", v.Differences)
	}
	fmt.Fprintf(w, "ledger verify: %d totals agree\n", v.Compared)
	return nil
}
