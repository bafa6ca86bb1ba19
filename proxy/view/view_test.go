package view

import (
	"testing"

	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/resource"
)

func TestModelView(t *testing.T) {
	t.Parallel()
	read := resource.Money(7)
	cheap := &pricing.Entry{Price: &resource.Price{Input: 1, Output: 2, CacheRead: &read}, MaxOutput: 100}
	tiered := &pricing.Entry{Price: &resource.Price{Input: 3, Output: 1}, Above: 200, Tier: &resource.Price{Input: 9, Output: 9}}
	for _, tt := range []struct {
		name           string
		entries        []*pricing.Entry
		prompt         int64
		input, output  resource.Money
		free, unpriced bool
	}{
		{"the dearest class", []*pricing.Entry{cheap}, 10, 7, 2, false, false},
		{"the dearest deployment", []*pricing.Entry{tiered, cheap}, 10, 7, 2, false, false},
		{"a long prompt", []*pricing.Entry{tiered, cheap}, 201, 9, 9, false, false},
		{"free", []*pricing.Entry{{Price: &resource.Price{}}}, 10, 0, 0, true, false},
		{"unknown", []*pricing.Entry{{Price: &resource.Price{}}, nil}, 10, 0, 0, false, true},
		{"known without a price", []*pricing.Entry{{MaxOutput: 5}}, 10, 0, 0, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := &Model{Free: true}
			for _, e := range tt.entries {
				m.add(e)
			}
			if p := m.At(tt.prompt); p.Input != tt.input || p.Output != tt.output || m.Free != tt.free || m.Unpriced != tt.unpriced {
				t.Errorf("got %+v, free %v, unpriced %v", p, m.Free, m.Unpriced)
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
