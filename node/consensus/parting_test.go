package consensus

import (
	"encoding/binary"
	"testing"
)

func TestPartingOf(t *testing.T) {
	t.Parallel()
	mine := func(index uint64) ([16]byte, bool) {
		return [16]byte{byte(index)}, index >= 10 && index != 13 // 13 was no command
	}
	// sent is one mark for each letter from index on: = as mine, x other.
	sent := func(index uint64, marks string) (out []byte) {
		for i, m := range marks {
			at := index + uint64(i)
			hash := [16]byte{byte(at)}
			if m == 'x' {
				hash[15] = 1
			}
			out = append(binary.BigEndian.AppendUint64(out, at), hash[:]...)
		}
		return out
	}
	for _, tt := range []struct {
		name string
		sent []byte
		want parting
	}{
		{"nothing", nil, parting{}},
		{"the same", sent(8, "====="), parting{same: 12}},
		{"since an entry", sent(8, "====xxx"), parting{same: 11, differ: 12}},
		{"behind one that cannot be compared", sent(8, "=====xx"), parting{same: 12, differ: 14}},
		{"since before", sent(11, "xxxx"), parting{differ: 11}},
		{"apart and together again", sent(10, "=xx==x"), parting{same: 14, differ: 15}},
		{"cut off", sent(10, "==x")[:3*markSize-1], parting{same: 11}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := partingOf(tt.sent, mine); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}
