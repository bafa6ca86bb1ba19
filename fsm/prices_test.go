package fsm_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func TestPutPrices(t *testing.T) {
	t.Parallel()
	h := start(t)
	put := func(read uint64, size int) fsm.PutPrices {
		return fsm.PutPrices{Read: read, Prices: encoded(t, resource.PriceTable{
			Meta: resource.Meta{ID: resource.PriceTableID}, Count: 1, Rows: bytes.Repeat([]byte{7}, size),
		})}
	}
	if h.f.Catalog().Prices() != nil {
		t.Fatal("there are prices")
	}
	first := h.do(put(0, 10))
	if got := h.f.Catalog().Prices(); got == nil || len(got.Rows) != 10 || got.Version != first.Version || !h.last.Tables["price"] {
		t.Fatalf("got %+v, told %v", got, h.last.Tables)
	}
	if a := h.try(master, put(0, 10)); !errors.Is(a.Err, resource.ErrConflict) {
		t.Errorf("another version: got %v", a.Err)
	}
	if a := h.try(master, put(first.Version, resource.MaxPriceTable+9000)); a.Err == nil {
		t.Error("a table of any size was taken")
	}
	if a := h.try(master, fsm.PutPrices{Prices: encoded(t, resource.PriceTable{Meta: resource.Meta{ID: "other"}})}); a.Err == nil {
		t.Error("a second table was taken")
	}
	held := h.f.Catalog().Prices()
	h.do(fsm.PutSetting{Setting: encoded(t, resource.Setting{Meta: resource.Meta{ID: "serve_stale"}, Value: []byte(`"1h"`)})})
	if h.f.Catalog().Prices() != held {
		t.Error("the table was decoded again for another change")
	}
	// What the leader downloads is told in the audit log.
	if a := h.try(node("n1"), put(first.Version, 20)); a.Err != nil {
		t.Fatal(a.Err)
	}
	items, _ := h.f.Audit(fsm.AuditQuery{Limit: 1, Kind: "price"})
	if len(items) != 1 || items[0].Actor != "node/n1" || items[0].Action != "put_prices" {
		t.Errorf("got %+v", items)
	}
	if err := h.stop(true); err != nil {
		t.Fatal(err)
	}
	h.open()
	if got := h.f.Catalog().Prices(); got == nil || len(got.Rows) != 20 {
		t.Errorf("after a restart: %+v", got)
	}
}
