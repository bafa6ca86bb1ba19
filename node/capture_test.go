package node_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/node"
	"github.com/conclave-llm/conclave/node/nodetest"
	"github.com/conclave-llm/conclave/resource"
)

// biller is OpenAI's costs API, which bills one amount for the first day that is asked for, and the clock of the
// nodes that ask it.
type biller struct {
	*httptest.Server
	mu    sync.Mutex
	bill  resource.Money
	asked []string // URLs
	ahead time.Duration
	looks []chan time.Time
}

func newBiller(t *testing.T) *biller {
	b := &biller{ahead: 24 * time.Hour} // so that what was recorded today is in the closed days
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.asked = append(b.asked, r.URL.String())
		if r.Header.Get("Authorization") != "Bearer sk-admin-planted" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, `{"object":"page","data":[{"start_time":%s,"results":[{"amount":{"value":%s,"currency":"usd"}}]}]}`, r.URL.Query().Get("start_time"), b.bill)
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *biller) edit(_ int, cfg *node.Config) {
	capture, alerts := make(chan time.Time, 1), make(chan time.Time, 1)
	b.looks = append(b.looks, capture, alerts)
	cfg.Capture = node.CaptureConfig{Look: capture, Now: b.now}
	cfg.Alerts = node.AlertsConfig{Look: alerts, Now: b.now}
}

func (b *biller) now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Add(b.ahead)
}

func (b *biller) charge(m resource.Money) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bill = m
}

// look lets time pass and every node look what is due.
func (b *biller) look(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ahead += d
	for _, l := range b.looks {
		select {
		case l <- time.Time{}:
		default:
		}
	}
}

// TestCapture compares a bill with what a cluster recorded, as its leader, through changes of leader and key: each
// state is told once for the cluster, and ends.
func TestCapture(t *testing.T) {
	t.Parallel()
	b := newBiller(t)
	c := nodetest.Config{Edit: b.edit}.Start(t, 3)
	api := c.Nodes[0].Admin()
	key := c.Key(0, fields{"name": "k"}).Secret
	for _, n := range c.Nodes {
		if status, body := n.Chat(key); status != 200 {
			t.Fatalf("%d %s", status, body)
		}
	}
	b.charge(2 * c.Bill())
	recorded := func() {
		t.Helper()
		c.Await("all that was spent is recorded", func() bool {
			_, body := c.Leader().Do("GET", "/global/spend", nodetest.MasterKey, nil)
			var out struct {
				Spend resource.Money `json:"spend"`
			}
			return json.Unmarshal(body, &out) == nil && out.Spend == c.Bill()
		})
	}
	recorded()
	set := func(value fields) {
		t.Helper()
		if status, body := c.Leader().Do("PUT", "/api/v1/settings/spend_capture_rate_check", nodetest.MasterKey, fields{"value": value}); status >= 300 {
			t.Fatalf("%d %s", status, body)
		}
	}
	alerts := func(kind string) (open, ended int) {
		all, err := c.Leader().Admin().Alerts(t.Context(), map[string][]string{"kind": {kind}})
		if err != nil {
			return -1, -1
		}
		for _, a := range all.Items {
			if a.EndedAt != 0 {
				ended++
			} else {
				open++
			}
		}
		return open, ended
	}
	is := func(kind string, open, ended int, step time.Duration) {
		t.Helper()
		c.Await(fmt.Sprintf("%s: %d open, %d ended", kind, open, ended), func() bool {
			b.look(step)
			o, e := alerts(kind)
			return o == open && e == ended
		})
	}
	rate := func(n *nodetest.Node) string {
		_, body := n.Do("GET", "/metrics", nodetest.MasterKey, nil)
		_, after, _ := bytes.Cut(body, []byte("\nconclave_spend_capture_rate{provider=\"openai\"} "))
		text, _, _ := bytes.Cut(after, []byte("\n"))
		return string(text)
	}
	gauge := func(want string) {
		t.Helper()
		c.Await("the gauge of the leader alone: "+want, func() bool {
			b.look(0)
			leader := c.Leader()
			for _, n := range c.Nodes {
				if n.Running() && (n == leader) != (rate(n) == want) {
					return false
				}
			}
			return true
		})
	}
	set(fields{"lookback_days": 90, "openai_api_base": b.URL + "/v1"})
	is("spend_capture_failed", 1, 0, 15*time.Second) // there is no key
	gauge("NaN")
	if _, err := api.Environment().Replace(t.Context(), "OPENAI_ADMIN_KEY", fields{"value": "sk-admin-planted"}); err != nil {
		t.Fatal(err)
	}
	b.look(15 * time.Minute)
	is("spend_capture_low", 1, 0, 15*time.Second)
	is("spend_capture_failed", 0, 1, 15*time.Second)
	gauge("0.5")
	leader := c.Leader()
	leader.Kill()
	gauge("NaN") // what the dead node has recorded is missing
	leader.Start()
	c.AwaitReady()
	recorded()
	b.look(15 * time.Minute)
	gauge("0.5")
	if open, ended := alerts("spend_capture_low"); open != 1 || ended != 0 {
		t.Errorf("%d alerts are open and %d have ended, want the one", open, ended)
	}
	set(fields{"lookback_days": 90, "threshold": 0.4, "openai_api_base": b.URL + "/v1"})
	is("spend_capture_low", 0, 1, 15*time.Second)
	gauge("0.5")
	if status, body := c.Leader().Do("DELETE", "/api/v1/settings/spend_capture_rate_check", nodetest.MasterKey, nil); status >= 300 {
		t.Fatalf("%d %s", status, body)
	}
	c.Await("no gauge is left", func() bool { b.look(0); return rate(c.Leader()) == "" })
	if strings.Contains(c.Log.String(), "planted") {
		t.Error("the key stands in the log")
	}
}

// TestCapture_egress reads the bill at any node, by the provider's proxy, and in sealed mode only where the setting
// names the place.
func TestCapture_egress(t *testing.T) {
	t.Parallel()
	b := newBiller(t) // as a proxy, too
	b.charge(resource.Dollar)
	c := nodetest.Config{Edit: b.edit}.Start(t, 3)
	api := c.Nodes[0].Admin()
	put := func(name string, value any) {
		t.Helper()
		if _, err := api.Settings().Replace(t.Context(), name, fields{"value": value}); err != nil {
			t.Fatal(err)
		}
	}
	today := time.Now().UTC().Format(time.DateOnly)
	ask := func(n *nodetest.Node) (int, string) {
		c.Sync(api)
		status, body := n.Do("GET", "/spend/capture_rate?start_date="+today+"&end_date="+today, nodetest.MasterKey, nil)
		return status, string(body)
	}
	put("sealed", true)
	put("provider_proxies", fields{"openai": fields{"url": b.URL}})
	if _, err := api.Environment().Replace(t.Context(), "OPENAI_ADMIN_KEY", fields{"value": "sk-admin-planted"}); err != nil {
		t.Fatal(err)
	}
	if status, body := ask(c.Nodes[1]); status != 502 || !strings.Contains(body, "sealed mode refuses to dial api.openai.com:443") {
		t.Errorf("what no setting names: got %d %s", status, body)
	}
	put("spend_capture_rate_check", fields{"openai_api_base": "http://costs.example/v1"})
	for _, n := range c.Nodes {
		status, body := ask(n)
		var out struct {
			Billed resource.Money `json:"provider_spend"`
			Rate   *float64       `json:"capture_rate"`
		}
		if err := json.Unmarshal([]byte(body), &out); err != nil || status != 200 || out.Billed != resource.Dollar || out.Rate == nil || *out.Rate != 0 {
			t.Errorf("%s: got %d %s", n.Name, status, body)
		}
	}
	if len(b.asked) != 3 || !strings.HasPrefix(b.asked[0], "http://costs.example/v1/organization/costs?") {
		t.Errorf("the proxy was asked for %v", b.asked)
	}
	report, err := api.Egress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, e := range report.Nodes {
		for _, d := range e.Report.Allowed {
			if d.Address == "costs.example:80" && strings.Join(d.By, ", ") == "setting spend_capture_rate_check" {
				named++
			}
		}
	}
	if named != 3 {
		t.Errorf("%d nodes name the place: %+v", named, report)
	}
	if err := api.Environment().Delete(t.Context(), "OPENAI_ADMIN_KEY"); err != nil {
		t.Fatal(err)
	}
	if status, body := ask(c.Nodes[2]); status != 503 || !strings.Contains(body, "OPENAI_ADMIN_KEY") {
		t.Errorf("without a key: got %d %s", status, body)
	}
}
