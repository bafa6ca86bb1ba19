package node

import (
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/node/consensus"
)

// The status of a node whose clock is wrong says so, and by how much; small differences are no news.
func TestMemberView_clock(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		off  time.Duration
		want string // "": nothing
	}{
		{0, ""},
		{2 * time.Second, ""},
		{-2 * time.Second, ""},
		{time.Hour, "1h0m0s ahead of"},
		{-2100 * time.Millisecond, "2.1s behind"},
	} {
		v := memberView(&consensus.MemberStatus{Reachable: true, ClockOff: tt.off})
		got := strings.Join(v.Warnings, "\n")
		if v.ClockOffMS != tt.off.Milliseconds() || !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("off by %s: %d ms and %q, want %q", tt.off, v.ClockOffMS, got, tt.want)
		}
	}
}
