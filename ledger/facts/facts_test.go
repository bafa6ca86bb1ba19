package facts_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/ledger/facts"
	"github.com/conclave-llm/conclave/llm"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		give facts.Facts
	}{
		{"nothing", facts.Facts{}},
		{"served", facts.Facts{Index: 1 << 40, Path: "/v1/chat/completions", Size: 311}},
		{"all", facts.Facts{
			Index: 7, Path: "/chat/completions", Route: "/v1/chat/completions", Apart: true, Upload: true, Address: "2001:db8::1", Size: -1,
			Asked: "gpt", Customer: "carol", Fallbacks: []string{"a", "b"}, Stays: true, Absent: []string{"user"}, Guards: []string{"pii"},
			Resting: []string{"dep"}, Spent: "gpt-4", Count: &llm.Count{Of: "rpm", Part: llm.PartTag, Name: "batch", Unit: "tokens", Limit: 5, Left: -3, Asked: 1, Late: true},
		}},
	} {
		b := tt.give.Append(nil)
		got, err := facts.Parse(b)
		if err != nil || !reflect.DeepEqual(got, tt.give) {
			t.Errorf("%s: got %+v, %v", tt.name, got, err)
		}
		for n := range b {
			if _, err := facts.Parse(b[:n]); err == nil {
				t.Errorf("%s: %d of %d bytes are read", tt.name, n, len(b))
			}
		}
	}
}

// TestAppend_bounds holds a client to what it may make the gateway keep.
func TestAppend_bounds(t *testing.T) {
	t.Parallel()
	long := make([]string, 1000)
	for i := range long {
		long[i] = strings.Repeat("x", 1<<16)
	}
	f := facts.Facts{Path: long[0], Asked: long[0], Fallbacks: long}
	b := f.Append(nil)
	if len(b) > 70<<10 {
		t.Errorf("got %d bytes", len(b))
	}
	if got, err := facts.Parse(b); err != nil || len(got.Fallbacks) != 64 || len(got.Path) != 1024 {
		t.Errorf("got %d fallbacks, %v", len(got.Fallbacks), err)
	}
}

func FuzzParse(f *testing.F) {
	all := facts.Facts{Path: "/v1/x", Fallbacks: []string{"a"}, Count: &llm.Count{Of: "rpm"}}
	f.Add(all.Append(nil))
	f.Add([]byte{0x3f, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := facts.Parse(b)
		if err != nil {
			return
		}
		if again, err := facts.Parse(got.Append(nil)); err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%x: got %+v, then %+v, %v", b, got, again, err)
		}
	})
}
