package remotewrite

import (
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/conclave-llm/conclave/plugins/sdk"
)

// labelName is what Prometheus takes as a label's name.
var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// labels are what sums may be told apart by.
var labels = map[string]func(r *sdk.Record) string{
	"customer":     func(r *sdk.Record) string { return r.CustomerID },
	"deployment":   func(r *sdk.Record) string { return r.DeploymentID },
	"endpoint":     func(r *sdk.Record) string { return r.Endpoint },
	"error":        func(r *sdk.Record) string { return r.ErrorCode },
	"key":          func(r *sdk.Record) string { return named(r.KeyName, r.KeyID) },
	"model":        func(r *sdk.Record) string { return r.Model },
	"organization": func(r *sdk.Record) string { return r.OrganizationID },
	"project":      func(r *sdk.Record) string { return r.ProjectID },
	"provider":     func(r *sdk.Record) string { return r.Provider },
	"status":       func(r *sdk.Record) string { return r.Status },
	"team":         func(r *sdk.Record) string { return named(r.TeamName, r.TeamID) },
	"user":         func(r *sdk.Record) string { return r.UserID },
}

func labelNames() []string { return slices.Sorted(maps.Keys(labels)) }

func named(name, id string) string {
	if name != "" {
		return name
	}
	return id
}

// counters are the sums of a combination of labels, by the names of their metrics.
var counters = []struct {
	metric, kind string // kind is the value of a label of that name; "" for none
	of           func(r *sdk.Record) float64
}{
	{"conclave_callback_requests_total", "", func(*sdk.Record) float64 { return 1 }},
	{"conclave_callback_request_seconds_total", "", func(r *sdk.Record) float64 { return r.Duration.Seconds() }},
	{"conclave_callback_spend_usd_total", "", func(r *sdk.Record) float64 { return float64(r.CostNanoUSD) / 1e9 }},
	{"conclave_callback_tokens_total", "input", func(r *sdk.Record) float64 { return float64(r.Usage.Input) }},
	{"conclave_callback_tokens_total", "cache_read", func(r *sdk.Record) float64 { return float64(r.Usage.CacheRead) }},
	{"conclave_callback_tokens_total", "cache_write", func(r *sdk.Record) float64 { return float64(r.Usage.CacheWrite) }},
	{"conclave_callback_tokens_total", "output", func(r *sdk.Record) float64 { return float64(r.Usage.Output) }},
	{"conclave_callback_tokens_total", "reasoning", func(r *sdk.Record) float64 { return float64(r.Usage.Reasoning) }},
}

// series are the sums of one combination of labels.
type series struct {
	labels [][2]string // sorted by name, without the metric's
	values []float64   // one for each of counters
	fresh  bool        // never written
}

// sums are all series, by their labels.
type sums struct {
	cfg  *Config
	have map[string]*series
}

func newSums(cfg *Config) *sums { return &sums{cfg: cfg, have: map[string]*series{}} }

// with returns copies of the series that the records change, as they are with them.
func (s *sums) with(records []sdk.Record) map[string]*series {
	changed := map[string]*series{}
	for i := range records {
		r := &records[i]
		set := s.labelsOf(r, false)
		id := identity(set)
		if s.have[id] == nil && changed[id] == nil && len(s.have)+len(changed) >= s.cfg.MaxSeries {
			set = s.labelsOf(r, true)
			id = identity(set)
		}
		c := changed[id]
		if c == nil {
			c = &series{labels: set, values: make([]float64, len(counters)), fresh: true}
			if old := s.have[id]; old != nil {
				c.values, c.fresh = slices.Clone(old.values), false
			}
			changed[id] = c
		}
		for j := range counters {
			c.values[j] += counters[j].of(r)
		}
	}
	return changed
}

// take keeps series that were written.
func (s *sums) take(changed map[string]*series) {
	for id, c := range changed {
		c.fresh = false
		s.have[id] = c
	}
}

// labelsOf is what tells the record's series from others, or that of all for which there is no room.
func (s *sums) labelsOf(r *sdk.Record, other bool) [][2]string {
	set := make([][2]string, 0, len(s.cfg.Labels)+len(s.cfg.Fixed)+1)
	for _, name := range s.cfg.Labels {
		value := labels[name](r)
		if other {
			value = "other"
		}
		if value != "" {
			set = append(set, [2]string{name, strings.ToValidUTF8(value, "\uFFFD")})
		}
	}
	for name, value := range s.cfg.Fixed {
		set = append(set, [2]string{name, value})
	}
	set = append(set, [2]string{"instance", r.NodeID})
	slices.SortFunc(set, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	return set
}

func identity(set [][2]string) string {
	var b strings.Builder
	for _, l := range set {
		b.WriteString(l[0] + "\x00" + l[1] + "\x00")
	}
	return b.String()
}

// appendRequest appends a WriteRequest of the protocol with a sample of each sum at the time.
func appendRequest(b []byte, changed map[string]*series, at int64) []byte {
	for _, id := range slices.Sorted(maps.Keys(changed)) {
		c := changed[id]
		for j := range counters {
			b = protowire.AppendTag(b, 1, protowire.BytesType)
			b = protowire.AppendBytes(b, appendSeries(nil, c, j, at))
		}
	}
	return b
}

// appendSeries appends a TimeSeries: its labels in order, its samples in time.
func appendSeries(b []byte, c *series, j int, at int64) []byte {
	set := append(slices.Clone(c.labels), [2]string{"__name__", counters[j].metric})
	if counters[j].kind != "" {
		set = append(set, [2]string{"type", counters[j].kind})
	}
	slices.SortFunc(set, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	for _, l := range set {
		var pair []byte
		for i, text := range l {
			pair = protowire.AppendTag(pair, protowire.Number(i+1), protowire.BytesType)
			pair = protowire.AppendString(pair, text)
		}
		b = protowire.AppendTag(b, 1, protowire.BytesType)
		b = protowire.AppendBytes(b, pair)
	}
	if c.fresh {
		b = appendSample(b, 0, at-1)
	}
	return appendSample(b, c.values[j], at)
}

func appendSample(b []byte, value float64, at int64) []byte {
	var s []byte
	s = protowire.AppendTag(s, 1, protowire.Fixed64Type)
	s = protowire.AppendFixed64(s, math.Float64bits(value))
	s = protowire.AppendTag(s, 2, protowire.VarintType)
	s = protowire.AppendVarint(s, uint64(at))
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	return protowire.AppendBytes(b, s)
}
