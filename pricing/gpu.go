package pricing

import (
	"math/bits"
	"time"

	"github.com/conclave-llm/conclave/resource"
)

// GPUTime is the GPU-nanoseconds that a request of the duration occupies at a deployment with
// the price: 0 if the price tells of no GPUs.
func GPUTime(p *resource.Price, d time.Duration) resource.Money {
	if p == nil || d <= 0 || (p.GPUs <= 0 && p.GPUSecond <= 0) {
		return 0
	}
	hi, lo := bits.Mul64(uint64(d), uint64(p.GPUCount()))
	if hi >= uint64(resource.Dollar) { // the quotient does not fit
		return resource.MaxMoney
	}
	n, _ := bits.Div64(hi, lo, uint64(resource.Dollar))
	return resource.Money(min(n, uint64(resource.MaxMoney)))
}

// GPUHold is what to hold of GPU time for a request.
func GPUHold(p *resource.Price, h Held) resource.Money {
	return GPUTime(p, time.Duration(h.Output/servedRate+1)*time.Second)
}
