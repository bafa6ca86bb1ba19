package node_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/node/nodetest"
	"github.com/conclave-llm/conclave/resource"
)

// TestPrices imports a price through one node and is billed at it by another; a budget that
// estimates is billed for what has none; a discount counts.
func TestPrices(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 3)
	ctx, api := t.Context(), c.Nodes[1].Admin()
	deployment := fields{"name": "d", "provider": "custom_openai", "api_base": c.MockURL, "model": "demo", "api_key": nodetest.UpstreamKey}
	if _, err := api.Models().Create(ctx, fields{"name": "own", "deployments": []any{deployment}}); err != nil {
		t.Fatal(err)
	}
	key := c.Key(0, fields{"name": "k", "budgets": []any{fields{"usd": 100, "unpriced": "estimate"}}})
	spent := func() resource.Money {
		t.Helper()
		c.Sync(api)
		if status, body := c.Nodes[2].Do(http.MethodPost, "/v1/chat/completions", key.Secret, nodetest.ChatBody(fields{"model": "own"})); status != 200 {
			t.Fatalf("%d %s", status, body)
		}
		after := c.Mock.Usage()
		var total resource.Money
		c.Await("the bill is in the totals", func() bool {
			u, err := api.Usage(ctx, "key", key.ID, "", "")
			if err != nil || u[0].Requests != int64(after.Requests) {
				return false
			}
			total = u[0].Cost
			return true
		})
		return total
	}
	usage := func() (in, out resource.Money) {
		u := c.Mock.Usage()
		return resource.Money(u.PromptTokens), resource.Money(u.CompletionTokens)
	}
	first := spent()
	in, out := usage()
	if want := in*5_000 + out*25_000; first != want {
		t.Errorf("estimated %s, want %s", first, want)
	}
	csv := "provider,model,mode,input,output\ncustom_openai,demo,chat,7,9\n"
	if _, err := api.ImportPrices(ctx, []byte(csv), client.PriceImport{Source: "own.csv"}); err != nil {
		t.Fatal(err)
	}
	second := spent() - first
	in2, out2 := usage()
	if want := (in2-in)*7_000 + (out2-out)*9_000; second != want {
		t.Errorf("imported price bills %s, want %s", second, want)
	}
	if _, err := api.Settings().Create(ctx, fields{"id": "price_adjustments", "value": fields{"custom_openai": fields{"discount": 0.5, "fixed": 0.25}}}); err != nil {
		t.Fatal(err)
	}
	third := spent() - second - first
	in3, out3 := usage()
	if want := ((in3-in2)*7_000+(out3-out2)*9_000+1)/2 + 250_000_000; third != want {
		t.Errorf("discounted bill %s, want %s", third, want)
	}
}

// TestPrices_Sync downloads once for the cluster and reaches every node.
func TestPrices_Sync(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write([]byte("provider,model,mode,input,output\nmine,m,chat,1,2\n"))
	}))
	t.Cleanup(srv.Close)
	c := nodetest.Start(t, 3)
	ctx, api := t.Context(), c.Followers()[0].Admin()
	if _, err := api.Settings().Create(ctx, fields{"id": "price_sync", "value": fields{"url": srv.URL, "apply": "auto"}}); err != nil {
		t.Fatal(err)
	}
	if diff, err := api.SyncPrices(ctx); err != nil || diff.Added != 1 {
		t.Fatalf("got %+v, %v", diff, err)
	}
	c.Sync(api)
	for _, n := range c.Nodes {
		row, err := n.Admin().Price(ctx, "mine", "m")
		if err != nil || row.Price.Output != 2*resource.Dollar || !strings.HasPrefix(row.Source, "imported") {
			t.Errorf("%s: got %+v, %v", n.Name, row, err)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("downloaded %d times", asked.Load())
	}
}
