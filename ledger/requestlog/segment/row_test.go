package segment_test

import (
	"encoding/json"
	"testing"

	"github.com/conclave-llm/conclave/ledger/requestlog/segment"
)

// TestRow_hashed keeps what is hashed of a row: a new column is left out while it is empty, or
// the segments that exist would not verify any more.
func TestRow_hashed(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(segment.Row{Link: 7})
	const want = `{"number":0,"node":"","time":null,"count":0,"request_id":"","model":"","endpoint":"","status":0,"attempts":0,"input_tokens":0,"cache_read_tokens":0,"cache_write_tokens":0,"output_tokens":0,"reasoning_tokens":0,"usage_source":"","cost":0,"hold":0,"duration_ns":0,"flags":0}`
	if err != nil || string(b) != want {
		t.Errorf("got %s (%v), want %s", b, err, want)
	}
}
