package gemini_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/gemini"
)

// TestSchema_Bounded: schemas that are made to be slow end; the bound is far from what they take, and
// near what they took when work grew with the product of their sizes.
func TestSchema_Bounded(t *testing.T) {
	t.Parallel()
	many := make([]string, 200_000)
	for i := range many {
		many[i] = `"p` + strings.Repeat("x", i%7) + strconv.Itoa(i) + `":{"type":"string"}`
	}
	props := strings.Join(many, ",")
	for name, schema := range map[string]string{
		"many properties in many alternatives":    `{"properties":{` + props + `},"anyOf":[` + strings.TrimSuffix(strings.Repeat(`{"required":["a"]},`, 3000), ",") + `]}`,
		"allOf of itself, twice":                  `{"allOf":[{"$ref":"#"},{"$ref":"#"}],"properties":{` + props + `}}`,
		"anyOf in anyOf":                          strings.Repeat(`{"anyOf":[{"type":"string"},`, 300) + `{"type":"string"}` + strings.Repeat(`]}`, 300),
		"a wide object with many foreign members": `{"type":"object","$ref":"#/$defs/a","$defs":{"a":{"type":"object"}},` + props + `}`,
		"one name, many times":                    `{"properties":{` + strings.TrimSuffix(strings.Repeat(`"a":{"type":"string"},`, 20000), ",") + `}}`,
		"many types":                              `{"type":["string","number","boolean","object","array"],"items":{"type":["string","number","boolean","object","array"],"items":{"type":["string","array"],"items":{"type":["string","array"]}}}}`,
	} {
		began := time.Now()
		req := &chat.Request{
			Messages: []chat.Message{{Role: chat.RoleUser, Parts: []chat.Part{{Text: "x"}}}},
			Format:   chat.Format{Type: "json_schema", Schema: []byte(schema)},
		}
		_, err := gemini.Dialect{}.EncodeRequest(req, &llm.Target{Model: "gemini-3-pro"})
		back := []byte(`{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{"responseSchema":` + schema + `}}`)
		if _, err := (gemini.Dialect{}).DecodeRequest(back); err != nil {
			t.Errorf("%s, read: %v", name, err)
		}
		if took := time.Since(began); took > time.Minute || err != nil {
			t.Errorf("%s: %v after %v", name, err, took)
		}
	}
}
