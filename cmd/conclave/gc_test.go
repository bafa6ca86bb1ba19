package main

import "testing"

func TestGCPercent(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		live uint64
		want int
	}{
		{"empty", 0, 400},
		{"few keys", 6 << 20, 400},
		{"some keys", 12 << 20, 200},
		{"a hundred thousand keys", 100 << 20, 100},
		{"three hundred thousand keys", 256 << 20, 75},
		{"a million keys", 400 << 20, 50},
	} {
		if got := gcPercent(tt.live); got != tt.want {
			t.Errorf("%s: gcPercent(%d) = %d, want %d", tt.name, tt.live, got, tt.want)
		}
	}
}
