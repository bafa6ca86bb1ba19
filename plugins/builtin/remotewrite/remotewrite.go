// Package remotewrite is the callback that writes sums over finished requests to Prometheus, or to what takes
// its remote write protocol of version 1.0: Mimir, Thanos, VictoriaMetrics and others.
//
// Sums are counters that the plugin keeps as long as it runs: what comes again because an answer was lost writes
// the same sums again. When it begins anew they begin at 0, which rate() and increase() understand.
package remotewrite

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/snappy"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/sink"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

const (
	maxBatch = 1000 // records that are summed up before they are written

	// defSeries bounds the combinations of labels; what comes beyond is counted under the value "other".
	defSeries = 10_000
)

// Config is the configuration.
type Config struct {
	URL       string            `json:"url"`
	Labels    []string          `json:"labels,omitempty"`     // default: key, model, provider, status, team
	Fixed     map[string]string `json:"external,omitempty"`   // labels of every series, such as cluster
	MaxSeries int               `json:"max_series,omitempty"` // default 10,000
	Username  string            `json:"username,omitempty"`
	Password  string            `json:"password,omitempty"`
	Token     string            `json:"token,omitempty"`  // a bearer token
	Tenant    string            `json:"tenant,omitempty"` // X-Scope-OrgID of Mimir, Cortex and Loki
	sink.HTTP
}

// RemoteWrite writes the sums after each delivery.
type RemoteWrite struct {
	cfg    Config
	header http.Header
	client *sink.Client
	sums   *sums
	last   int64 // time of the last samples, in milliseconds
	now    func() time.Time
}

// Configure implements sdk.Callback.
func (w *RemoteWrite) Configure(_ context.Context, set sdk.CallbackSettings) (sdk.CallbackDescription, error) {
	cfg := Config{Labels: []string{"key", "model", "provider", "status", "team"}, MaxSeries: defSeries}
	if err := sink.ReadConfig(set.Config, &cfg); err != nil {
		return sdk.CallbackDescription{}, err
	}
	if err := cfg.check(); err != nil {
		return sdk.CallbackDescription{}, err
	}
	no := false
	cfg.Gzip = &no // a body is compressed by the protocol's own rule
	client, err := sink.NewClient(cfg.HTTP, false)
	if err != nil {
		return sdk.CallbackDescription{}, err
	}
	w.cfg, w.client, w.header, w.sums, w.now = cfg, client, cfg.headers(), newSums(&cfg), time.Now
	return sdk.CallbackDescription{Version: scan.Version}, nil
}

func (c *Config) check() error {
	if _, err := sink.URL("url", c.URL); err != nil {
		return err
	}
	for _, name := range c.Labels {
		if _, ok := labels[name]; !ok {
			return fmt.Errorf("labels: %q is not one of %s", name, strings.Join(labelNames(), ", "))
		}
	}
	for name := range c.Fixed {
		if _, ok := labels[name]; ok || !labelName.MatchString(name) || strings.HasPrefix(name, "__") {
			return fmt.Errorf("external: %q is not a name that a label of one's own may have", name)
		}
	}
	if c.MaxSeries < 1 {
		return errors.New("max_series: is less than 1")
	}
	if c.Token != "" && c.Username != "" {
		return errors.New("token, username: give one of them")
	}
	slices.Sort(c.Labels)
	c.Labels = slices.Compact(c.Labels)
	return nil
}

func (c *Config) headers() http.Header {
	h := http.Header{
		"Content-Type": {"application/x-protobuf"}, "Content-Encoding": {"snappy"},
		"X-Prometheus-Remote-Write-Version": {"0.1.0"}, "User-Agent": {"conclave/" + scan.Version},
	}
	switch {
	case c.Token != "":
		h.Set("Authorization", "Bearer "+c.Token)
	case c.Username != "":
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(c.Username+":"+c.Password)))
	}
	if c.Tenant != "" {
		h.Set("X-Scope-OrgID", c.Tenant)
	}
	return h
}

// Deliver implements sdk.Callback. A record with which the server refuses the sums is put aside, and not in them.
func (w *RemoteWrite) Deliver(ctx context.Context, records []sdk.Record) (int, error) {
	return sink.Deliver(ctx, records, maxBatch, func(ctx context.Context, records []sdk.Record) (int, error) {
		next := w.sums.with(records)
		if err := w.write(ctx, next); err != nil {
			return 0, err
		}
		w.sums.take(next)
		return len(records), nil
	})
}

// write sends the changed series. A series that is new has a 0 before its first sample, so that its first
// increase is seen.
func (w *RemoteWrite) write(ctx context.Context, changed map[string]*series) error {
	at := max(w.now().UnixMilli(), w.last+2)
	w.last = at
	_, err := w.client.Do(ctx, &sink.Request{URL: w.cfg.URL, Header: w.header, Body: snappy.Encode(nil, appendRequest(nil, changed, at))})
	return err
}
