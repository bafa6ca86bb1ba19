package prices_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conclave-llm/conclave/adminapi/prices"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// memory is a store that applies prices to a catalog of its own.
type memory struct {
	cat   atomic.Pointer[resource.Catalog]
	sync  string // value of the setting
	wrote atomic.Int64
	by    fsm.Actor
}

func (m *memory) set(table *resource.PriceTable) {
	t := resource.Tables{Prices: table}
	if m.sync != "" {
		t.Settings = []*resource.Setting{{Meta: resource.Meta{ID: "price_sync"}, Value: []byte(m.sync)}}
	}
	m.cat.Store(resource.NewCatalog(t))
}

func (m *memory) Propose(_ context.Context, by fsm.Actor, _ string, cmd fsm.Command) (fsm.Result, error) {
	put, ok := cmd.(fsm.PutPrices)
	if !ok {
		return fsm.Result{}, errors.New("another command")
	}
	table := put.Prices.Value()
	table.Version = uint64(m.wrote.Add(1))
	m.by = by
	m.set(&table)
	return fsm.Result{Index: table.Version, Version: table.Version}, nil
}

// web answers every request with its file.
type web struct {
	asked atomic.Int64
	fail  atomic.Bool
}

func (w *web) Do(*http.Request) (*http.Response, error) {
	n := w.asked.Add(1)
	if w.fail.Load() {
		return nil, errors.New("no route")
	}
	body := "provider,model,mode,input,output\nmine,m,chat,1,1\nmine,m" + strings.Repeat("x", int(n)) + ",chat,1,1\n"
	return &http.Response{StatusCode: 200, Status: "200 OK", Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

func TestRun(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		sync  string
		leads bool
		fail  bool
		want  int64 // downloads in three hours and a half
	}{
		{"off", "", true, false, 0},
		{"without a schedule", `{"url":"https://x/p.csv","apply":"auto"}`, true, false, 0},
		{"every hour", `{"url":"https://x/p.csv","apply":"auto","every":"1h"}`, true, false, 4},
		{"not the leader", `{"url":"https://x/p.csv","apply":"auto","every":"1h"}`, false, false, 0},
		{"again soon after a failure", `{"url":"https://x/p.csv","apply":"auto","every":"24h"}`, true, true, 14},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m, w := &memory{sync: tt.sync}, &web{}
				m.set(nil)
				w.fail.Store(tt.fail)
				p := prices.New(prices.Config{Store: m, Catalog: m.cat.Load, HTTP: w})
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() {
					p.Run(ctx, "n1", func() bool { return tt.leads })
					close(done)
				}()
				<-time.After(3*time.Hour + 30*time.Minute)
				cancel()
				<-done
				if got := w.asked.Load(); got != tt.want {
					t.Errorf("downloaded %d times, want %d", got, tt.want)
				}
				if wrote := m.wrote.Load(); !tt.fail && wrote != tt.want || tt.fail && wrote != 0 {
					t.Errorf("wrote %d times", wrote)
				}
				if tt.want > 0 && !tt.fail && (m.by != fsm.Actor{Kind: "node", ID: "n1"}) {
					t.Errorf("written by %v", m.by)
				}
			})
		})
	}
}

// TestRun_Other holds that what another node has downloaded is not downloaded again.
func TestRun_Other(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, w := &memory{sync: `{"url":"https://x/p.csv","every":"2h"}`}, &web{}
		m.set(&resource.PriceTable{Source: "https://x/p.csv", At: resource.At(time.Now())})
		p := prices.New(prices.Config{Store: m, Catalog: m.cat.Load, HTTP: w})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		p.Run(ctx, "n2", func() bool { return true })
		if w.asked.Load() != 0 {
			t.Errorf("downloaded %d times", w.asked.Load())
		}
	})
}

// same answers every request with one file.
type same struct{ asked atomic.Int64 }

func (w *same) Do(*http.Request) (*http.Response, error) {
	w.asked.Add(1)
	body := "provider,model,mode,input,output\nmine,m,chat,1,1\n"
	return &http.Response{StatusCode: 200, Status: "200 OK", Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// TestRun_Unchanged goes on by the schedule after downloads that bring nothing new: the next one is never past, and a
// node that comes to lead goes on where the last leader was.
func TestRun_Unchanged(t *testing.T) {
	t.Parallel()
	const url = "https://x/p.csv"
	for _, tt := range []struct {
		name string
		old  time.Duration // age of the table; 0: there is none
		rest time.Duration // for how long another node leads
		want int64         // downloads in 209 minutes
	}{
		{"the first", 0, 0, 4},
		{"after a start, what was missed", 90 * time.Minute, 0, 4},
		{"a new leader", 90 * time.Minute, time.Minute, 3},
		{"a new leader of a new cluster", 0, time.Minute, 4},
		{"never the leader", 90 * time.Minute, 4 * time.Hour, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m, w := &memory{sync: `{"url":"` + url + `","apply":"auto","every":"1h"}`}, &same{}
				m.set(nil)
				begin := time.Now()
				if tt.old > 0 { // the file that w has
					p := prices.New(prices.Config{Store: m, Catalog: m.cat.Load, HTTP: w, Now: func() time.Time { return begin.Add(-tt.old) }})
					if _, _, err := p.Sync(t.Context(), records.Caller{}); err != nil {
						t.Fatal(err)
					}
					w.asked.Store(0)
				}
				p := prices.New(prices.Config{Store: m, Catalog: m.cat.Load, HTTP: w})
				ctx, cancel := context.WithTimeout(t.Context(), 209*time.Minute)
				defer cancel()
				done := make(chan struct{})
				go func() {
					p.Run(ctx, "n1", func() bool { return time.Since(begin) >= tt.rest })
					close(done)
				}()
				for range 200 {
					time.Sleep(time.Minute)
					synctest.Wait()
					if next := p.NextSync(); next.Before(time.Now()) || next.After(time.Now().Add(time.Hour)) {
						t.Fatalf("%s after the start the next one is %s away", time.Since(begin), time.Until(next))
					}
				}
				<-done
				if got := w.asked.Load(); got != tt.want {
					t.Errorf("downloaded %d times, want %d", got, tt.want)
				}
				if got := m.wrote.Load(); got != 1 {
					t.Errorf("wrote %d times", got)
				}
			})
		})
	}
}
