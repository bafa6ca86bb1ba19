package node

import (
	"testing"
	"time"

	"github.com/conclave-llm/conclave/node/consensus/clocks"
	"github.com/conclave-llm/conclave/resource"
)

func TestServesUntil(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		name  string
		limit time.Duration
		tick  time.Duration // its age by the late node's clock; 0: there was none
		want  time.Duration // from now; -1: never
	}{
		{"cut off just now", 24 * time.Hour, time.Second, 24 * time.Hour},
		{"cut off six hours ago", 24 * time.Hour, 6 * time.Hour, 18*time.Hour + clocks.MaxSkew},
		{"its clock is ahead", 24 * time.Hour, -time.Hour, 24 * time.Hour},
		{"fail closed: while its state is fresh", 0, time.Second, freshFor},
		{"fail closed, cut off for long", 0, time.Hour, freshFor + clocks.MaxSkew - time.Hour},
		{"it never told anything", time.Minute, 0, time.Minute},
		{"for ever", -1, time.Hour, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var at resource.Time
			if tt.tick != 0 {
				at = resource.At(now.Add(-tt.tick))
			}
			got, ok := servesUntil(tt.limit, at, now)
			if forever := tt.want == -1; ok == forever || !forever && !got.Equal(now.Add(tt.want)) {
				t.Errorf("got %v, %v, want %v from %v", got, ok, tt.want, now)
			}
		})
	}
}

func TestShorter(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ a, b, want time.Duration }{
		{time.Hour, time.Minute, time.Minute}, {-1, time.Hour, time.Hour}, {-1, -1, -1}, {-1, 0, 0}, {0, time.Hour, 0},
	} {
		for _, got := range []time.Duration{shorter(tt.a, tt.b), shorter(tt.b, tt.a)} {
			if got != tt.want {
				t.Errorf("of %v and %v: got %v", tt.a, tt.b, got)
			}
		}
	}
}
