package quote

import (
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
)

// TestPromptBytes: all that becomes tokens is held for, wherever it stands in a body.
func TestPromptBytes(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("word ", 1000)
	for name, r := range map[string]*Request{
		"documents": {Endpoint: llm.Rerank, Body: []byte(`{"query":"q","documents":["` + long + `"]}`)},
		"a state":   {Endpoint: llm.SystemOne, Body: []byte(`{"state":"` + long + `","questions":{}}`)},
		"an input":  {Endpoint: llm.Decisions, Body: []byte(`{"input":"` + long + `","questions":[]}`)},
		"a text":    {Endpoint: llm.Extraction, Body: []byte(`{"state":"` + long + `","entities":{}}`)},
		"messages":  {Endpoint: llm.Chat, Fields: &llm.Fields{PromptBytes: int64(len(long))}},
	} {
		if got := bound(r); got < int64(len(long)) {
			t.Errorf("%s: at most %d tokens are held for, of %d bytes", name, got, len(long))
		}
	}
}

// TestFraming: the texts of which vectors are made have nothing around them: "hello" was told and charged as 17 tokens where
// the provider does not count.
func TestFraming(t *testing.T) {
	t.Parallel()
	if got := framing(llm.Embeddings); got != 1 {
		t.Errorf("got %d tokens around a text, want 1", got)
	}
	if got := framing(llm.Chat); got != framingTokens {
		t.Errorf("got %d tokens around messages, want %d", got, framingTokens)
	}
}

// TestDecides: an answer to each question is held for, whatever the questions stand in.
func TestDecides(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]int64{
		`{"questions":[{},{},{}]}`:                   3,
		`{"questions":{"a":{},"b":{"c":[1]}},"x":1}`: 2,
		`{"questions":7}`:                            1,
		`{`:                                          1,
	} {
		var q Quote
		q.decides(&Request{Body: []byte(body)})
		if q.Output != want*answerTokens || q.Service != llm.ServiceDecisions {
			t.Errorf("%s: %+v", body, q)
		}
	}
}
