package pricing_test

import (
	"math"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/resource"
)

func TestGPUTime(t *testing.T) {
	t.Parallel()
	with := func(gpus resource.Money, second resource.Rate) *resource.Price {
		p := &resource.Price{}
		p.GPUs, p.GPUSecond = gpus, second
		return p
	}
	for _, tt := range []struct {
		name  string
		price *resource.Price
		d     time.Duration
		want  resource.Money
	}{
		{"no price", nil, time.Second, 0},
		{"no GPUs", with(0, 0), time.Second, 0},
		{"one by its price", with(0, 1), time.Second, resource.Dollar},
		{"a quarter", with(resource.Dollar/4, 0), 2 * time.Second, resource.Dollar / 2},
		{"eight for an hour", with(8*resource.Dollar, 5), time.Hour, 8 * 3600 * resource.Dollar},
		{"more than there is", with(10_000*resource.Dollar, 0), math.MaxInt64, resource.MaxMoney},
	} {
		if got := pricing.GPUTime(tt.price, tt.d); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}
