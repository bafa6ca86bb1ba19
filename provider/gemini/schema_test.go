package gemini_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/gemini"
)

// declared is what Google is told of a function with the parameters.
func declared(t *testing.T, schema string) (name, got string, err error) {
	t.Helper()
	req := &chat.Request{
		Messages: []chat.Message{{Role: chat.RoleUser, Parts: []chat.Part{{Text: "x"}}}},
		Tools:    []chat.Tool{{Name: "f", Parameters: json.RawMessage(schema)}},
	}
	raw, err := gemini.Dialect{}.EncodeRequest(req, &llm.Target{Model: "gemini-2.5-pro"})
	if err != nil {
		return "", "", err
	}
	var body struct {
		Tools []struct {
			FunctionDeclarations []map[string]json.RawMessage `json:"functionDeclarations"`
		} `json:"tools"`
	}
	if err := json.Unmarshal(raw, &body); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	f := body.Tools[0].FunctionDeclarations[0]
	for _, name := range []string{"parameters", "parametersJsonSchema"} {
		if len(f[name]) > 0 {
			return name, string(f[name]), nil
		}
	}
	return "", "", nil
}

func TestSchema(t *testing.T) {
	t.Parallel()
	within := func(s string) string { return `{"type":"object","properties":{"a":` + s + `}}` }
	for _, tt := range []struct{ name, schema, want string }{
		{"scalars", `{"type":"string","minLength":1,"pattern":"x","minimum":3}`, `{"type":"STRING","minLength":1,"pattern":"x"}`},
		{"formats", `{"type":"string","format":"uri"}`, `{"type":"STRING"}`},
		{"date-time", `{"type":"string","format":"date-time"}`, `{"type":"STRING","format":"date-time"}`},
		{"nullable type", `{"type":["string","null"]}`, `{"type":"STRING","nullable":true}`},
		{"several types", `{"type":["string","integer"],"description":"d"}`, `{"anyOf":[{"type":"STRING","description":"d"},{"type":"INTEGER","description":"d"}]}`},
		{"anyOf null", `{"anyOf":[{"type":"string"},{"type":"null"}],"description":"d","default":null}`, `{"type":"STRING","description":"d","nullable":true}`},
		{
			"anyOf with siblings", `{"anyOf":[{"type":"string"},{"type":"number","description":"n"},{"type":"null"}],"title":"t","description":"d"}`,
			`{"anyOf":[{"type":"STRING","title":"t","description":"d","nullable":true},{"type":"NUMBER","title":"t","description":"n","nullable":true}]}`,
		},
		{"oneOf", `{"oneOf":[{"type":"string"},{"type":"boolean"}]}`, `{"anyOf":[{"type":"STRING"},{"type":"BOOLEAN"}]}`},
		{"anyOf of consts", `{"anyOf":[{"const":"a"},{"const":"b"}]}`, `{"anyOf":[{"type":"STRING","enum":["a"]},{"type":"STRING","enum":["b"]}]}`},
		{"const", `{"const":"a"}`, `{"type":"STRING","enum":["a"]}`},
		{"const number", `{"const":3}`, `{"type":"INTEGER","minimum":3,"maximum":3}`},
		{"enum of numbers", `{"type":"integer","enum":[1,2],"description":"d."}`, `{"type":"INTEGER","description":"d. One of: [1,2]"}`},
		{"enum with null and nothing", `{"type":["string","null"],"enum":["a","",null]}`, `{"type":"STRING","nullable":true,"enum":["a"]}`},
		{"exclusive bounds", `{"type":"integer","exclusiveMinimum":0,"exclusiveMaximum":10}`, `{"type":"INTEGER","minimum":1,"maximum":9}`},
		{"exclusive bounds of a number", `{"type":"number","exclusiveMinimum":0.5}`, `{"type":"NUMBER","minimum":0.5}`},
		{"exclusive bounds of old", `{"type":"integer","minimum":3,"exclusiveMinimum":true}`, `{"type":"INTEGER","minimum":3}`},
		{
			"object", `{"type":"object","properties":{"z":{"type":"string"},"b":{"type":"integer"}},"required":["z","gone","z"],"additionalProperties":false,"$schema":"s"}`,
			`{"type":"OBJECT","properties":{"z":{"type":"STRING"},"b":{"type":"INTEGER"}},"required":["z"]}`,
		},
		{"object without properties", `{"type":"object","properties":{}}`, `{"type":"OBJECT"}`},
		{"array without items", `{"type":"array"}`, `{"type":"ARRAY","items":{"anyOf":[{"type":"STRING"},{"type":"NUMBER"},{"type":"BOOLEAN"},{"type":"OBJECT"}]}}`},
		{"tuple", `{"type":"array","prefixItems":[{"type":"string"},{"type":"integer"}],"minItems":2}`, `{"type":"ARRAY","minItems":2,"items":{"anyOf":[{"type":"STRING"},{"type":"INTEGER"}]}}`},
		{
			"allOf", `{"allOf":[{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]},{"properties":{"b":{"type":"string"}},"required":["b"]}]}`,
			`{"type":"OBJECT","properties":{"a":{"type":"STRING"},"b":{"type":"STRING"}},"required":["a","b"]}`,
		},
		{"true", `true`, `{"anyOf":[{"type":"STRING"},{"type":"NUMBER"},{"type":"BOOLEAN"},{"type":"OBJECT"}]}`},
		{"null alone", `{"type":"null"}`, `{"type":"NULL"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			name, got, err := declared(t, within(tt.schema))
			if want := `{"type":"OBJECT","properties":{"a":` + tt.want + `}}`; err != nil || name != "parameters" || got != want {
				t.Errorf("got %v %s\n%s, want\n%s", err, name, got, want)
			}
		})
	}
}

func TestSchema_References(t *testing.T) {
	t.Parallel()
	name, got, err := declared(t, `{"type":"object","properties":{"a":{"$ref":"#/$defs/p~1q","description":"mine"},"b":{"allOf":[{"$ref":"#/$defs/p~1q"}]},"c":{"$ref":"#/definitions/old"}},"$defs":{"p/q":{"type":"string","description":"theirs"}},"definitions":{"old":{"type":"array","items":{"$ref":"#/$defs/p~1q"}}}}`)
	want := `{"type":"OBJECT","properties":{"a":{"type":"STRING","description":"mine"},"b":{"type":"STRING","description":"theirs"},"c":{"type":"ARRAY","items":{"type":"STRING","description":"theirs"}}}}`
	if err != nil || name != "parameters" || got != want {
		t.Errorf("got %v %s\n%s, want\n%s", err, name, got, want)
	}
	for name, schema := range map[string]string{
		"itself":          `{"type":"object","properties":{"next":{"$ref":"#"}}}`,
		"a tree":          `{"type":"object","properties":{"t":{"$ref":"#/$defs/n"}},"$defs":{"n":{"type":"object","properties":{"kids":{"type":"array","items":{"$ref":"#/$defs/n"}}}}}}`,
		"allOf of itself": `{"type":"object","properties":{"a":{"$ref":"#/$defs/a"}},"$defs":{"a":{"allOf":[{"$ref":"#/$defs/a"}]}}}`,
		"too large":       billion(),
	} {
		if as, got, err := declared(t, schema); err != nil || as != "parametersJsonSchema" || got != schema {
			t.Errorf("%s: got %v %s, want the JSON schema as it is", name, err, as)
		}
	}
	for name, schema := range map[string]string{
		"leads nowhere": `{"type":"object","properties":{"a":{"$ref":"#/$defs/a"}}}`,
		"elsewhere":     `{"type":"object","properties":{"a":{"$ref":"https://example.com/s.json"}}}`,
		"no schema":     `[1]`,
		"broken":        `{"type":`,
	} {
		_, _, err := declared(t, schema)
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Invalid || e.Param != "tools[0].function.parameters" {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// billion is a small schema that is enormous written out.
func billion() string {
	var defs []string
	for i := range 20 {
		next := `{"$ref":"#/$defs/d` + string(rune('a'+i+1)) + `"}`
		defs = append(defs, `"d`+string(rune('a'+i))+`":{"type":"object","properties":{"x":`+next+`,"y":`+next+`}}`)
	}
	return `{"type":"object","properties":{"a":{"$ref":"#/$defs/da"}},"$defs":{` + strings.Join(defs, ",") + `,"du":{"type":"string"}}}`
}

func TestSchema_Back(t *testing.T) {
	t.Parallel()
	body := `{"contents":[{"parts":[{"text":"x"}]}],"tools":[{"function_declarations":[{"name":"f","parameters":{"type":"OBJECT","property_ordering":["b","a"],"properties":{"a":{"type":"STRING","nullable":true,"enum":["x"],"max_length":"5"},"b":{"any_of":[{"type":"INTEGER"},{"type":"ARRAY","items":{"type":"BOOLEAN"}}],"nullable":true}},"required":["a"]}}]}]}`
	req, err := gemini.Dialect{}.DecodeRequest([]byte(body))
	want := `{"type":"object","properties":{"b":{"anyOf":[{"type":"integer"},{"type":"array","items":{"type":"boolean"}},{"type":"null"}]},"a":{"type":["string","null"],"enum":["x",null],"maxLength":5}},"required":["a"]}`
	if err != nil || len(req.Tools) != 1 || string(req.Tools[0].Parameters) != want {
		t.Errorf("got %v, %+v, want %s", err, req, want)
	}
}

// FuzzSchema: a schema of any kind is said, or refused with its field.
func FuzzSchema(f *testing.F) {
	for _, s := range []string{
		`{"type":"object","properties":{"a":{"$ref":"#/$defs/x"}},"$defs":{"x":{"anyOf":[{"type":"null"},{"const":1}]}}}`,
		`{"type":["array","null"],"items":[{"type":"string"},true],"minItems":"2"}`, `{"allOf":[{"$ref":"#"}]}`, `{"enum":[null,"",1.5,{}]}`, billion(),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, schema []byte) {
		req := &chat.Request{
			Messages: []chat.Message{{Role: chat.RoleUser, Parts: []chat.Part{{Text: "x"}}}},
			Format:   chat.Format{Type: "json_schema", Schema: schema},
		}
		raw, err := gemini.Dialect{}.EncodeRequest(req, &llm.Target{Model: "gemini-3-pro"})
		if err != nil {
			if e, ok := errors.AsType[*llm.Error](err); !ok || e.Param == "" {
				t.Fatalf("got %v", err)
			}
			return
		}
		if !json.Valid(raw) {
			t.Fatalf("got %s", raw)
		}
		if _, err := (gemini.Dialect{}).DecodeRequest(raw); err != nil {
			t.Fatalf("%v: %s", err, raw)
		}
	})
}
