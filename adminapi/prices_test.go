package adminapi_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/resource"
)

const priceHeading = "provider,model,mode,input,output\n"

func TestPrices_Import(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	c, ctx := h.Client(adminapitest.MasterKey), t.Context()
	before, err := c.Price(ctx, "openai", "gpt-4o-2024-08-06")
	if err != nil || before.Source != "built_in" {
		t.Fatalf("got %+v, %v", before, err)
	}
	csv := []byte(priceHeading + "openai,gpt-4o,chat,2,8\nmine,llama,chat,0.1,0.2\n")
	diff, err := c.ImportPrices(ctx, csv, client.PriceImport{Source: "my.csv", DryRun: true})
	if err != nil || diff.Changed != 1 || diff.Added != 1 {
		t.Fatalf("got %+v, %v", diff, err)
	}
	if s, _ := c.PriceSource(ctx); s.Imported != 0 || s.BuiltIn < 4000 {
		t.Errorf("a dry run changed %+v", s)
	}
	if _, err = c.ImportPrices(ctx, csv, client.PriceImport{Source: "my.csv"}); err != nil {
		t.Fatal(err)
	}
	after, err := c.Price(ctx, "openai", "gpt-4o")
	if err != nil || after.Source != "imported" || after.Price.Input != 2*resource.Dollar {
		t.Errorf("got %+v, %v", after, err)
	}
	page, err := c.Prices(ctx, url.Values{"imported": {"true"}, "limit": {"1"}})
	if err != nil || page.Total != 2 || len(page.Items) != 1 || page.Items[0].Model != "llama" {
		t.Fatalf("got %+v, %v", page, err)
	}
	if page, err = c.Prices(ctx, url.Values{"imported": {"true"}, "cursor": {page.NextCursor}}); err != nil || len(page.Items) != 1 || page.Items[0].Model != "gpt-4o" {
		t.Errorf("got %+v, %v", page, err)
	}
	// A price that is a hundred times too high waits.
	wrong := []byte(priceHeading + "openai,gpt-4o,chat,2000,8\n")
	if diff, err = c.ImportPrices(ctx, wrong, client.PriceImport{}); err != nil || diff.Held != 1 {
		t.Fatalf("got %+v, %v", diff, err)
	}
	if after, _ = c.Price(ctx, "openai", "gpt-4o"); after.Price.Input != 2*resource.Dollar {
		t.Errorf("a held price counts: %+v", after)
	}
	if diff, err = c.ProposedPrices(ctx); err != nil || len(diff.Changes) != 1 || diff.Changes[0].Prices[0].New != "2000" {
		t.Fatalf("got %+v, %v", diff, err)
	}
	if diff, err = c.AcceptPrices(ctx, "openai/gpt-4o"); err != nil || diff.Changed != 1 {
		t.Fatalf("got %+v, %v", diff, err)
	}
	if after, _ = c.Price(ctx, "openai", "gpt-4o"); after.Price.Input != 2000*resource.Dollar {
		t.Errorf("an accepted price does not count: %+v", after)
	}
	if err := c.ResetPrices(ctx); err != nil {
		t.Fatal(err)
	}
	if after, _ = c.Price(ctx, "openai", "gpt-4o"); after.Source != "built_in" {
		t.Errorf("got %+v", after)
	}
	for name, file := range map[string]string{"nothing": "", "no rows": priceHeading, "not CSV": "a,b\n1,2\n", "not JSON": "{"} {
		_, err := c.ImportPrices(ctx, []byte(file), client.PriceImport{})
		if p, ok := errors.AsType[*client.Problem](err); !ok || p.Status != 400 {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if a := h.Call("sk-nobody", "POST", "/api/v1/prices/import", priceHeading); a.Status != 401 {
		t.Errorf("a stranger: got %d", a.Status)
	}
}

// priceServer serves a file that a test may change, with an ETag.
type priceServer struct {
	*httptest.Server
	file   atomic.Value // string
	status atomic.Int64
	sent   atomic.Int64 // whole answers
}

func newPriceServer(t *testing.T) *priceServer {
	s := &priceServer{}
	s.status.Store(200)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := s.file.Load().(string)
		tag := fmt.Sprintf("%q", resource.HashSecret(body).String())
		switch {
		case s.status.Load() != 200:
			w.WriteHeader(int(s.status.Load()))
		case r.Header.Get("If-None-Match") == tag:
			w.WriteHeader(http.StatusNotModified)
		default:
			s.sent.Add(1)
			w.Header().Set("ETag", tag)
			_, _ = w.Write([]byte(body))
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func TestPrices_Sync(t *testing.T) {
	t.Parallel()
	h, srv := adminapitest.New(t), newPriceServer(t)
	c, ctx := h.Client(adminapitest.MasterKey), t.Context()
	if _, err := c.SyncPrices(ctx); err == nil || !strings.Contains(err.Error(), "url") {
		t.Errorf("without a URL: got %v", err)
	}
	set := func(apply string) {
		t.Helper()
		h.Must("PUT", "/api/v1/settings/price_sync", fmt.Sprintf(`{"value":{"url":%q,"every":"1h","apply":%q}}`, srv.URL, apply))
	}
	set("auto")
	srv.file.Store(`{"gpt-4o":{"litellm_provider":"openai","mode":"chat","input_cost_per_token":1e-06,"output_cost_per_token":4e-06},"mine/m":{"litellm_provider":"mine","mode":"chat","input_cost_per_token":1e-06}}`)
	diff, err := c.SyncPrices(ctx)
	if err != nil || diff.Changed != 1 || diff.Added != 1 || diff.Held != 0 {
		t.Fatalf("got %+v, %v", diff, err)
	}
	if _, err = c.SyncPrices(ctx); err != nil || srv.sent.Load() != 1 {
		t.Errorf("the same file was sent %d times, %v", srv.sent.Load(), err)
	}
	// Nothing changes while the server fails.
	srv.status.Store(500)
	if _, err = c.SyncPrices(ctx); err == nil {
		t.Error("an error of the server was taken for prices")
	}
	s, err := c.PriceSource(ctx)
	if err != nil || s.Imported != 2 || s.Sync.Last == nil || s.Sync.Last.Result != "failed" || s.Source != srv.URL {
		t.Errorf("got %+v, %v", s, err)
	}
	srv.status.Store(200)
	srv.file.Store("not a file of prices")
	if _, err = c.SyncPrices(ctx); err == nil {
		t.Error("nonsense was taken for prices")
	}
	// For review, everything waits.
	set("review")
	srv.file.Store(`{"gpt-4o":{"litellm_provider":"openai","mode":"chat","input_cost_per_token":2e-06,"output_cost_per_token":4e-06}}`)
	if diff, err = c.SyncPrices(ctx); err != nil || diff.Held != 2 || diff.Changed != 0 {
		t.Fatalf("got %+v, %v", diff, err)
	}
	if row, _ := c.Price(ctx, "openai", "gpt-4o"); row.Price.Input != resource.Dollar {
		t.Errorf("got %+v before anybody accepted it", row)
	}
	if err := c.DiscardPrices(ctx); err != nil {
		t.Fatal(err)
	}
	if s, _ = c.PriceSource(ctx); s.Held != 0 || s.Imported != 2 {
		t.Errorf("got %+v", s)
	}
}
