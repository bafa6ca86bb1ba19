package scan_test

import (
	"slices"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
)

// FuzzApart sees that spans are in order and apart, and that no byte gets a milder action than any span asks for.
func FuzzApart(f *testing.F) {
	f.Add([]byte{0, 10, 2, 2, 4, 0})
	f.Add([]byte{0, 10, 2, 0, 3, 0, 5, 9, 1, 8, 6, 1, 12, 2, 2})
	f.Add([]byte{0, 4, 1, 2, 6, 1, 5, 9, 1, 3, 9, 3})
	actions := []scan.Action{scan.Block, scan.Mask, scan.Flag, scan.Allow}
	level := func(a scan.Action) int { return min(slices.Index(actions, a), 2) }
	f.Fuzz(func(t *testing.T, raw []byte) {
		const size = 256 + 64
		var want [size]int
		var spans []scan.Span
		for i := range want {
			want[i] = len(actions)
		}
		for c := range slices.Chunk(raw, 3) {
			if len(c) < 3 {
				break
			}
			s := scan.Span{Start: int(c[0]), End: int(c[0]) + 1 + int(c[1]%64), Action: actions[c[2]%4]}
			spans = append(spans, s)
			for i := s.Start; i < s.End; i++ {
				want[i] = min(want[i], level(s.Action))
			}
		}
		var got [size]int
		for i := range got {
			got[i] = len(actions)
		}
		end := 0
		for _, s := range scan.Apart(slices.Clone(spans)) {
			if s.Start < end || s.Start >= s.End {
				t.Fatalf("%+v begins before %d or is empty, of %+v", s, end, spans)
			}
			end = s.End
			for i := s.Start; i < s.End; i++ {
				got[i] = level(s.Action)
			}
		}
		blocked := slices.Contains(want[:], 0)
		for i := range want {
			if want[i] == 1 && got[i] > 1 && !blocked || got[i] < want[i] {
				t.Fatalf("byte %d has the level %d, want %d, of %+v", i, got[i], want[i], spans)
			}
		}
		if blocked != slices.Contains(got[:], 0) {
			t.Fatalf("blocked: %t, of %+v", blocked, spans)
		}
	})
}
