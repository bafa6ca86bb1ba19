package view

import (
	"testing"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/resource"
)

func TestModel_Hold(t *testing.T) {
	t.Parallel()
	const m = resource.Money(1_000_000)
	read, long := 7*m, 9*m
	cheap := &pricing.Entry{Price: &resource.Price{Input: m, Output: 2 * m, Classes: resource.Classes{CacheRead: &read}}, MaxOutput: 100}
	tiered := &pricing.Entry{Price: &resource.Price{Input: 3 * m, Output: m, Variants: []resource.PriceVariant{
		{Above: 200, Input: &long, Output: &long}, {Service: "priority", Output: new(50 * m)},
	}}}
	timed := &pricing.Entry{Price: &resource.Price{Units: resource.Units{Second: 1_000_000_000}}} // 1,000 nanodollars
	for _, tt := range []struct {
		name           string
		entries        []*pricing.Entry
		prompt         int64
		service        llm.Service
		adjust         resource.Adjustment
		want           resource.Money
		free, unpriced bool
	}{
		{"the dearest class", []*pricing.Entry{cheap}, 10, 0, resource.Adjustment{}, 10*7 + 10*2, false, false},
		{"the dearest deployment", []*pricing.Entry{tiered, cheap}, 10, 0, resource.Adjustment{}, 90, false, false},
		{"a long prompt", []*pricing.Entry{tiered, cheap}, 201, 0, resource.Adjustment{}, 201*9 + 10*9, false, false},
		{"a dear tier", []*pricing.Entry{tiered, cheap}, 10, llm.ServicePriority, resource.Adjustment{}, 10*3 + 10*50, false, false},
		{"time", []*pricing.Entry{timed}, 10, 0, resource.Adjustment{}, 1000, false, false},
		{"a margin", []*pricing.Entry{cheap}, 10, 0, resource.Adjustment{Margin: 500_000, Fixed: 3}, 138, false, false},
		{"free", []*pricing.Entry{{Price: &resource.Price{}}}, 10, 0, resource.Adjustment{}, 0, true, false},
		{"free but for a fee", []*pricing.Entry{{Price: &resource.Price{}}}, 10, 0, resource.Adjustment{Fixed: 1}, 1, false, false},
		{"all of it off", []*pricing.Entry{cheap}, 10, 0, resource.Adjustment{Discount: 1_000_000}, 0, true, false},
		{"unknown", []*pricing.Entry{{Price: &resource.Price{}}, nil}, 10, 0, resource.Adjustment{}, 0, false, true},
		{"known without a price", []*pricing.Entry{{MaxOutput: 5}}, 10, 0, resource.Adjustment{}, 0, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := &Model{Free: true}
			for _, e := range tt.entries {
				m.add(e, tt.adjust)
			}
			got := m.Hold(pricing.Held{Prompt: tt.prompt, Output: 10, Service: tt.service})
			if got != tt.want || m.Free != tt.free || m.Unpriced != tt.unpriced {
				t.Errorf("got %d, free %v, unpriced %v", got, m.Free, m.Unpriced)
			}
		})
	}
}

func TestFactor(t *testing.T) {
	t.Parallel()
	f := newFactor()
	f.Learn(10, 1000)
	if f.Value() != 1 {
		t.Errorf("a small prompt taught %v", f.Value())
	}
	for range 40 {
		f.Learn(100, 130)
	}
	up := f.Value()
	f.Learn(100, 70)
	if up < 1.29 || up > 1.31 || f.Value() < 1.28 {
		t.Errorf("rose to %v, fell to %v", up, f.Value())
	}
	for range 40 {
		f.Learn(100, 100_000)
	}
	if f.Value() > 4 {
		t.Errorf("rose to %v without a bound", f.Value())
	}
}

// TestCounting: who was silent once is listened to for good; a tokenizer that cannot be had is asked for once a while, and told of once.
func TestCounting(t *testing.T) {
	t.Parallel()
	var k Counting
	if k.Tells() {
		t.Error("of a deployment that nobody knows")
	}
	k.Ended(true)
	if !k.Tells() {
		t.Error("one that told does not tell")
	}
	k.Ended(false)
	k.Ended(true)
	if k.Tells() {
		t.Error("one that was silent tells")
	}
	now := time.Unix(1, 0)
	if !k.Countable(now) || k.Had(now, true) || !k.Had(now, false) || k.Countable(now.Add(tokenizerRest-1)) {
		t.Error("one whose tokenizer is gone is counted, or nobody learns of it")
	}
	now = now.Add(tokenizerRest)
	if !k.Countable(now) || k.Had(now, false) {
		t.Error("it is told of twice, or not asked for again")
	}
	if k.Had(now, true) || !k.Countable(now) || !k.Had(now, false) {
		t.Error("one whose tokenizer is back is not counted")
	}
}
