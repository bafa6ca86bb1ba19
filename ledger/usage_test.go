package ledger

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
)

// TestRecord_Usage holds that every class and unit of a usage survives the journal.
func TestRecord_Usage(t *testing.T) {
	t.Parallel()
	want := *record("a")
	n := int64(0)
	for _, v := range []reflect.Value{reflect.ValueOf(&want.Usage).Elem(), reflect.ValueOf(&want.Usage.Units).Elem()} {
		for _, f := range v.Fields() {
			if f.Kind() == reflect.Int64 {
				n++
				f.SetInt(n)
			}
		}
	}
	for _, service := range []llm.Service{llm.ServiceUnsaid, llm.ServicePriority} {
		want.Usage.Service = service
		got, err := decodeRecord(frame{kind: kindSettle, body: putRecord(nil, &want)})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want.Usage, got.Usage); d != "" {
			t.Errorf("usage (-want +got):\n%s", d)
		}
	}
	want.Callbacks = []string{"langfuse", "team-sink"}
	if got, err := decodeRecord(frame{kind: kindSettle, body: putRecord(nil, &want)}); err != nil || !reflect.DeepEqual(got.Callbacks, want.Callbacks) {
		t.Errorf("callbacks: got %v, %v", got.Callbacks, err)
	}
	plain := record("a")
	plain.Guardrails = nil
	short := putRecord(nil, plain)
	plain.Usage.AudioInput = 1
	if long := putRecord(nil, plain); len(long) != len(short)+3 {
		t.Errorf("one class more takes %d bytes", len(long)-len(short))
	}
}
