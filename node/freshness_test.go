package node

import (
	"errors"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

func TestFreshness(t *testing.T) {
	t.Parallel()
	const never = -1
	wall := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		name                  string
		sent, last            time.Duration // ages of the newest applied tick of this process, and of the state's; never: none
		limit                 time.Duration
		fresh, serving, admin bool
	}{
		{"just now", 0, never, time.Hour, true, true, true},
		{"a moment before the end", freshFor - 1, never, time.Hour, true, true, true},
		{"not fresh, admins still", freshFor, never, time.Hour, false, true, true},
		{"a moment before admins end", adminStaleFor - 1, never, time.Hour, false, true, true},
		{"admins end", adminStaleFor, never, time.Hour, false, true, false},
		{"inference ends", time.Hour, never, time.Hour, false, false, false},
		{"for ever", 1000 * time.Hour, never, -1, false, true, false},
		{"fail closed, fresh", freshFor - 1, never, 0, true, true, true},
		{"fail closed", freshFor, never, 0, false, false, true},
		{"limit below freshness", 5 * time.Second, never, time.Second, true, true, true},
		{"started, state is young", never, time.Second, time.Hour, true, true, true},
		{"started, state is old", never, 2 * time.Hour, time.Hour, false, false, false},
		{"started, state is from the future", never, -time.Hour, time.Hour, true, true, true},
		{"started, no state", never, never, time.Hour, false, false, false},
		{"started, no state, for ever", never, never, -1, false, true, false},
		{"own tick beats the state's", time.Hour, time.Second, time.Minute, false, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			const boot = 10_000 * time.Hour
			f := freshness{
				boot: func() time.Duration { return boot }, now: func() time.Time { return wall },
				limit: func() time.Duration { return tt.limit },
				lastTick: func() resource.Time {
					if tt.last == never {
						return 0
					}
					return resource.At(wall.Add(-tt.last))
				},
			}
			if tt.sent != never {
				f.applied(boot - tt.sent)
			}
			if got := f.Fresh(); got != tt.fresh {
				t.Errorf("fresh: got %v, want %v", got, tt.fresh)
			}
			err := f.Serving()
			if got := err == nil; got != tt.serving {
				t.Errorf("serving: got %v, want %v", err, tt.serving)
			}
			if e, ok := errors.AsType[*llm.Error](err); err != nil && (!ok || e.HTTPStatus() != 503) {
				t.Errorf("got %v, want a 503: it is no decision about the key", err)
			}
			if got := f.Stale() == nil; got != tt.admin {
				t.Errorf("admins: got %v, want %v", got, tt.admin)
			}
		})
	}
}
