package clock

import "testing"

func TestBoot_neverGoesBackwards(t *testing.T) {
	t.Parallel()
	last := Boot()
	if last <= 0 {
		t.Fatalf("Boot() = %v, want > 0", last)
	}
	for range 1000 {
		now := Boot()
		if now < last {
			t.Fatalf("Boot() = %v after %v", now, last)
		}
		last = now
	}
}
