package quote

import (
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
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

// TestOutputHold: of a request without a maximum the most is held that a level wants, else what the setting says, and
// never more than the model makes.
func TestOutputHold(t *testing.T) {
	t.Parallel()
	level := func(kind string, all int64, gpt int64) resource.Level {
		p := &resource.Policy{}
		if all > 0 {
			p.OutputHold = &all
		}
		if gpt > 0 {
			p.ModelOutputHolds = map[string]int64{"gpt": gpt}
		}
		return resource.Level{Kind: kind, Policy: p}
	}
	cat := resource.NewCatalog(resource.Tables{})
	for _, tt := range []struct {
		name   string
		levels []resource.Level
		model  string
		fields llm.Fields
		most   int64
		want   int64
	}{
		{"nobody says", []resource.Level{level("team", 0, 0), {Kind: "model"}}, "gpt", llm.Fields{}, 0, cat.Settings().DefaultOutputHold},
		{"the key says", []resource.Level{level("team", 0, 0), level("key", 100, 0)}, "gpt", llm.Fields{}, 0, 100},
		{"of the model", []resource.Level{level("key", 100, 70)}, "gpt", llm.Fields{}, 0, 70},
		{"of another", []resource.Level{level("key", 100, 70)}, "claude", llm.Fields{}, 0, 100},
		{"of another alone", []resource.Level{level("key", 0, 70)}, "claude", llm.Fields{}, 0, cat.Settings().DefaultOutputHold},
		{"the team wants more", []resource.Level{level("team", 300, 0), level("key", 100, 70)}, "gpt", llm.Fields{}, 0, 300},
		{"the model makes less", []resource.Level{level("key", 100, 0)}, "gpt", llm.Fields{}, 60, 60},
		{"the client says", []resource.Level{level("key", 100, 0)}, "gpt", llm.Fields{MaxTokens: 9}, 0, 9},
		{"two choices", []resource.Level{level("key", 100, 0)}, "gpt", llm.Fields{N: 2}, 0, 200},
	} {
		var q Quote
		q.generates(&Request{Catalog: cat, Levels: tt.levels, Model: &resource.Model{Name: tt.model}, Endpoint: llm.Chat, Fields: &tt.fields}, tt.most)
		if q.Output != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, q.Output, tt.want)
		}
	}
}
