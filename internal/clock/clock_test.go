package clock_test

import (
	"testing"

	"github.com/conclave-llm/conclave/internal/clock"
)

func TestBoot_neverGoesBackwards(t *testing.T) {
	t.Parallel()
	last := clock.Boot()
	if last <= 0 {
		t.Fatalf("Boot() = %v, want > 0", last)
	}
	for range 1000 {
		now := clock.Boot()
		if now < last {
			t.Fatalf("Boot() = %v after %v", now, last)
		}
		last = now
	}
}
