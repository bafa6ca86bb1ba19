package remotewrite

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/conclave-llm/conclave/plugins/builtin/sink/sinktest"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// point is a sample of a series.
type point struct {
	value float64
	at    int64
}

// fields reads a message of protobuf: the contents of its fields in order.
func fields(t *testing.T, b []byte, visit func(n protowire.Number, value []byte, number uint64)) {
	t.Helper()
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			t.Fatalf("tag: %v", protowire.ParseError(size))
		}
		b = b[size:]
		var value []byte
		var number uint64
		switch kind {
		case protowire.BytesType:
			value, size = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			number, size = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			number, size = protowire.ConsumeFixed64(b)
		default:
			t.Fatalf("field %d is of the kind %d", n, kind)
		}
		if size < 0 {
			t.Fatalf("field %d: %v", n, protowire.ParseError(size))
		}
		visit(n, value, number)
		b = b[size:]
	}
}

// read gives the samples of a request by their series, which must have their labels in order, each once.
func read(t *testing.T, r *sinktest.Request) map[string][]point {
	t.Helper()
	raw, err := snappy.Decode(nil, r.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]point{}
	fields(t, raw, func(_ protowire.Number, one []byte, _ uint64) {
		var names, set []string
		var points []point
		fields(t, one, func(n protowire.Number, value []byte, _ uint64) {
			if n == 1 {
				pair := [2]string{}
				fields(t, value, func(n protowire.Number, text []byte, _ uint64) { pair[n-1] = string(text) })
				names, set = append(names, pair[0]), append(set, pair[0]+"="+pair[1])
				return
			}
			var p point
			fields(t, value, func(n protowire.Number, _ []byte, number uint64) {
				if n == 1 {
					p.value = math.Float64frombits(number)
				} else {
					p.at = int64(number)
				}
			})
			points = append(points, p)
		})
		id := strings.Join(set, ",")
		if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) || out[id] != nil {
			t.Errorf("labels %s", id)
		}
		out[id] = points
	})
	return out
}

func configured(t *testing.T, more map[string]any) (*RemoteWrite, *sinktest.Server) {
	t.Helper()
	s := sinktest.NewServer(t, "")
	config := map[string]any{"url": s.URL + "/api/v1/write"}
	maps.Copy(config, more)
	w := &RemoteWrite{}
	sinktest.Configure(t, w, config)
	return w, s
}

func TestRemoteWrite(t *testing.T) {
	t.Parallel()
	w, s := configured(t, map[string]any{"labels": []string{"status", "team"}, "external": map[string]string{"cluster": "eu"}, "username": "u", "password": "p", "tenant": "t1"})
	at := time.UnixMilli(1_000_000)
	w.now = func() time.Time { return at }
	sinktest.Deliver(t, w, sinktest.Records(5))
	got := s.Take()
	if len(got) != 1 || got[0].Path != "/api/v1/write" || got[0].Header.Get("Content-Encoding") != "snappy" || got[0].Header.Get("X-Prometheus-Remote-Write-Version") != "0.1.0" ||
		got[0].Header.Get("Authorization") != "Basic dTpw" || got[0].Header.Get("X-Scope-Orgid") != "t1" {
		t.Fatalf("got %d requests, %+v", len(got), got[0].Header)
	}
	const success = "__name__=conclave_callback_requests_total,cluster=eu,instance=node_a,status=success,team=research"
	first := read(t, &got[0])
	if p := first[success]; !slices.Equal(p, []point{{0, 999_999}, {2, 1_000_000}}) {
		t.Errorf("of a new series: %v", p)
	}
	if p := first["__name__=conclave_callback_tokens_total,cluster=eu,instance=node_a,status=success,team=research,type=cache_read"]; len(p) != 2 || p[1].value != 60 {
		t.Errorf("tokens: %v", p)
	}
	if len(first) != 4*len(counters) {
		t.Errorf("%d series, want %d", len(first), 4*len(counters))
	}
	sinktest.Deliver(t, w, sinktest.Records(1)) // in the same millisecond
	if p := read(t, &s.Take()[0])[success]; !slices.Equal(p, []point{{3, 1_000_002}}) {
		t.Errorf("of a known series: %v", p)
	}
}

// TestRemoteWrite_again: what is not taken comes again, and is counted once.
func TestRemoteWrite_again(t *testing.T) {
	t.Parallel()
	w, s := configured(t, map[string]any{"labels": []string{}, "token": "s3cret"})
	s.Answer(func(*sinktest.Request) (int, string) { return http.StatusServiceUnavailable, "" })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if n, err := w.Deliver(ctx, sinktest.Records(2)); n != 0 || err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Fatalf("got %d, %v", n, err)
	}
	s.Answer(func(*sinktest.Request) (int, string) { return http.StatusBadRequest, "out of order" })
	n, err := w.Deliver(t.Context(), sinktest.Records(2))
	if _, ok := errors.AsType[*sdk.CallbackRefused](err); !ok || n != 0 {
		t.Fatalf("got %d, %v", n, err)
	}
	s.Answer(func(*sinktest.Request) (int, string) { return http.StatusNoContent, "" })
	s.Take()
	sinktest.Deliver(t, w, sinktest.Records(2))
	got := s.Take()
	if p := read(t, &got[0])["__name__=conclave_callback_requests_total,instance=node_a"]; got[0].Header.Get("Authorization") != "Bearer s3cret" || len(p) != 2 || p[1].value != 2 {
		t.Errorf("got %v", p)
	}
}

func TestRemoteWrite_maxSeries(t *testing.T) {
	t.Parallel()
	w, s := configured(t, map[string]any{"labels": []string{"key"}, "max_series": 3})
	records := sinktest.Records(50)
	for i := range records {
		records[i].KeyName = fmt.Sprintf("key-%d", i%10)
	}
	sinktest.Deliver(t, w, records[:25])
	sinktest.Deliver(t, w, records[25:])
	if len(w.sums.have) > 4 {
		t.Errorf("%d series are kept, want 3 and the others'", len(w.sums.have))
	}
	all := 0.0
	for _, c := range w.sums.have {
		all += c.values[0]
	}
	if all != 50 {
		t.Errorf("%v requests are counted, want 50", all)
	}
	if p := read(t, &s.Take()[1])["__name__=conclave_callback_requests_total,instance=node_a,key=other"]; len(p) != 1 || p[0].value != 35 {
		t.Errorf("others: %v", p)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for _, bad := range []map[string]any{
		{},
		{"url": "x"},
		{"url": "http://x", "labels": []string{"nobody"}},
		{"url": "http://x", "external": map[string]string{"team": "x"}},
		{"url": "http://x", "external": map[string]string{"a-b": "x"}},
		{"url": "http://x", "max_series": -1},
		{"url": "http://x", "token": "a", "username": "b"},
		{"url": "http://x", "no_such_field": 1},
	} {
		if sinktest.Try(&RemoteWrite{}, bad) == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}
