package requestlog_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/requestlog"
	"github.com/conclave-llm/conclave/ledger/rollup"
)

// cluster is some nodes that reach each other by a call.
type cluster struct {
	nodes    []requestlog.Node
	fixtures map[string]*fixture
	all      map[string]*requestlog.Cluster
	down     map[string]bool
}

func startCluster(t *testing.T, records ...[]ledger.Record) *cluster {
	t.Helper()
	c := &cluster{fixtures: map[string]*fixture{}, all: map[string]*requestlog.Cluster{}, down: map[string]bool{}}
	for i, list := range records {
		id := string(rune('a' + i))
		f := &fixture{source: newSource(), dir: t.TempDir(), now: noon.Add(10 * time.Hour), id: id}
		f.source.add(list...)
		f.open(t)
		c.fixtures[id] = f
		c.nodes = append(c.nodes, requestlog.Node{ID: id, Name: "node " + id})
		c.all[id] = requestlog.NewCluster(requestlog.ClusterConfig{Log: f.Log, Nodes: func() []requestlog.Node { return c.nodes }, Call: c.call})
	}
	return c
}

func (c *cluster) call(ctx context.Context, nodeID, method string, body []byte) ([]byte, error) {
	if c.down[nodeID] || method != requestlog.Method {
		return nil, errors.New("no answer")
	}
	return c.all[nodeID].Serve(ctx, "peer", body)
}

func TestCluster(t *testing.T) {
	t.Parallel()
	c := startCluster(t, requests(noon, 100), requests(noon.Add(30*time.Second), 50), nil)
	a := c.all["a"]
	page, missing, err := a.Rows(t.Context(), requestlog.Query{Limit: 120, Count: true})
	if err != nil || len(page.Rows) != 120 || page.Total != 150 || !page.More || len(missing) != 0 {
		t.Errorf("got %d rows of %d, missing %v, %v", len(page.Rows), page.Total, missing, err)
	}
	if !slices.IsSortedFunc(page.Rows, func(x, y requestlog.Row) int { return int(y.Time - x.Time) }) {
		t.Error("rows are not in the order of their times")
	}
	usage := func(q rollup.Query) (sum rollup.Sums, missing []string) {
		t.Helper()
		q.To = noon.Add(24 * time.Hour).Unix()
		lines, missing, err := a.Usage(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for i := range lines {
			sum.Add(&lines[i].Sums)
		}
		return sum, missing
	}
	want, missing := usage(rollup.Query{GroupBy: []rollup.Dim{rollup.Key}})
	if want.Requests != 150 || len(missing) != 0 {
		t.Errorf("got %+v, missing %v", want, missing)
	}
	c.down["b"] = true
	if got, missing := usage(rollup.Query{}); got.Requests != 100 || !slices.Equal(missing, []string{"node b"}) {
		t.Errorf("without b: %d requests, missing %v", got.Requests, missing)
	}
	c.down["b"] = false
	a.CopyAll(t.Context())
	c.fixtures["b"].source.add(requests(noon.Add(9*time.Hour+time.Second), 10)...)
	c.fixtures["b"].wait(t)
	a.CopyAll(t.Context())
	want, _ = usage(rollup.Query{})
	c.down["b"] = true
	got, missing := usage(rollup.Query{})
	if d := cmp.Diff(want, got); d != "" || len(missing) != 1 || !strings.HasPrefix(missing[0], "node b (copied ") {
		t.Errorf("with the copy of b: missing %v\n%s", missing, d)
	}
	if _, missing, err := a.Rows(t.Context(), requestlog.Query{Limit: 1}); err != nil || !slices.Equal(missing, []string{"node b"}) {
		t.Errorf("rows without b: missing %v, %v", missing, err)
	}
	if _, _, err := a.Rows(t.Context(), requestlog.Query{Limit: 1, Sort: "beauty"}); err == nil {
		t.Error("an unknown order is taken")
	}
}

// Verify is silent as long as everything agrees, and names what does not.
func TestCluster_Verify(t *testing.T) {
	t.Parallel()
	c := startCluster(t, requests(noon, 100), requests(noon, 50))
	day := int32(noon.Unix() / (24 * 3600))
	upTo := map[string]uint64{"a": 100, "b": 100} // half of a's records, all of b's
	var sum rollup.Sums
	for _, r := range append(requests(noon, 50), requests(noon, 50)...) {
		s := rollup.Of(&r)
		sum.Add(&s)
	}
	want := []requestlog.Replicated{{
		Kind: "total", Day: day, Cost: dollars(sum.Cost), Requests: sum.Requests, Failures: sum.Failures, Prompt: sum.Prompt, Completion: sum.Completion,
	}}
	verify := func() *requestlog.Verification {
		t.Helper()
		v, err := c.all["a"].Verify(t.Context(), 7, upTo, want)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if v := verify(); len(v.Differences)+len(v.Missing) != 0 || v.Compared != 1 || v.Nodes[0].Journal != 100 {
		t.Errorf("got %+v, %+v", v, v.Nodes[0])
	}
	for _, f := range c.fixtures {
		if err := f.Seal(noon.Add(5 * time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if v := verify(); len(v.Differences)+len(v.Missing) != 0 || v.Nodes[0].Segments != 1 {
		t.Errorf("sealed: got %+v", v)
	}
	want[0].Cost++
	if v := verify(); len(v.Differences) != 1 || !strings.Contains(v.Differences[0], "cost") {
		t.Errorf("a nanodollar more: got %q", v.Differences)
	}
	want[0].Cost--
	c.fixtures["a"].source.records[3].Cost += 5
	if v := verify(); len(v.Differences) == 0 || !strings.Contains(v.Differences[0], c.fixtures["a"].source.records[3].RequestID) {
		t.Errorf("a changed record: got %q", v.Differences)
	}
	c.fixtures["a"].source.records[3].Cost -= 5
	c.all["a"].CopyAll(t.Context())
	c.nodes = c.nodes[:1] // b is removed for ever
	if v := verify(); len(v.Differences)+len(v.Missing) != 0 {
		t.Errorf("with the copy of a removed node: got %+v", v)
	}
	upTo["c"] = 9
	if v := verify(); len(v.Missing) != 1 {
		t.Errorf("a removed node without a copy: missing %q", v.Missing)
	}
}
