package openapi_test

import (
	"encoding/json"
	"io"
	"net/url"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/proxy/mcp/openapi"
)

const petstore = `{"openapi":"3.0.3","servers":[{"url":"https://pets.example/v1"}],"paths":{
 "/pets/{id}":{"parameters":[{"name":"id","in":"path","required":true,"schema":{"type":"string"}}],
  "get":{"operationId":"getPet","summary":"One pet","parameters":[{"$ref":"#/components/parameters/Fields"},{"name":"Authorization","in":"header"},{"name":"X-Trace","in":"header"}]},
  "put":{"operationId":"put/pet","requestBody":{"required":true,"content":{"application/json":{"schema":{"$ref":"#/components/schemas/Pet"}}}}}},
 "/pets":{"get":{"parameters":[{"name":"tag","in":"query","explode":false,"schema":{"type":"array","items":{"type":"string"}}},{"name":"body","in":"query"}],"requestBody":{"content":{"application/json":{"schema":{}}}}}}},
 "components":{"parameters":{"Fields":{"name":"fields","in":"query","schema":{"type":"array"}}},
  "schemas":{"Pet":{"type":"object","properties":{"name":{"type":"string","nullable":true,"example":"Rex"},"friend":{"$ref":"#/components/schemas/Pet"}}}}}}`

func TestParse(t *testing.T) {
	t.Parallel()
	d, err := openapi.Parse([]byte(petstore))
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]*openapi.Operation{}
	for i := range d.Operations {
		byName[d.Operations[i].Name] = &d.Operations[i]
	}
	if len(byName) != 3 || byName["getPet"] == nil || byName["put_pet"] == nil || byName["get_pets"] == nil || !byName["getPet"].ReadOnly || byName["put_pet"].ReadOnly {
		t.Fatalf("got %+v", d.Operations)
	}
	if got, want := string(byName["getPet"].Schema), `{"properties":{"X-Trace":{"type":"string"},"fields":{"type":"array"},"id":{"type":"string"}},"required":["id"],"type":"object"}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := string(byName["put_pet"].Schema); !strings.Contains(got, `"name":{"type":["string","null"]}`) || strings.Contains(got, "$ref") || strings.Contains(got, "Rex") || !strings.Contains(got, `"required":["id","body"]`) {
		t.Errorf("got %s", got)
	}
	base, err := d.Base("")
	if err != nil || base.String() != "https://pets.example/v1" {
		t.Fatalf("got %v, %v", base, err)
	}
	for _, tt := range []struct{ name, args, want, body string }{
		{"getPet", `{"id":"a/b?c","fields":["x","y"],"X-Trace":"t"}`, "GET https://pets.example/v1/pets/a%2Fb%3Fc?fields=x&fields=y", ""},
		{"getPet", `{"id":7}`, "GET https://pets.example/v1/pets/7", ""},
		{"getPet", `{"id":".."}`, "a part of the path", ""},
		{"getPet", `{}`, `"id" is missing`, ""},
		{"getPet", `{"id":"a","url":"https://evil.example"}`, `no argument "url"`, ""},
		{"getPet", `{"id":"a","X-Trace":"a\r\nX: y"}`, "line end", ""},
		{"getPet", `[]`, "no JSON object", ""},
		{"put_pet", `{"id":"@evil.example","body":{"name":"Rex","n":12345678901234567890}}`, "PUT https://pets.example/v1/pets/@evil.example", `{"n":12345678901234567890,"name":"Rex"}`},
		{"get_pets", `{"tag":["a","b"],"body":"q","request_body":[1]}`, "GET https://pets.example/v1/pets?body=q&tag=a%2Cb", `[1]`},
	} {
		r, err := byName[tt.name].Request(t.Context(), base, json.RawMessage(tt.args))
		if err != nil {
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s %s: got %v, want %s", tt.name, tt.args, err, tt.want)
			}
			continue
		}
		body := ""
		if r.Body != nil {
			b, _ := io.ReadAll(r.Body)
			body = string(b)
		}
		if got := r.Method + " " + r.URL.String(); got != tt.want || body != tt.body {
			t.Errorf("%s %s: got %s %s, want %s %s", tt.name, tt.args, got, body, tt.want, tt.body)
		}
	}
}

func TestParse_refused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, doc, want string }{
		{"no JSON", "openapi: 3.0.0", "must be JSON"},
		{"Swagger", `{"swagger":"2.0","paths":{}}`, "convert it"},
		{"no version", `{"paths":{}}`, "not 3.x"},
		{"a parameter that is not there", `{"openapi":"3.1.0","paths":{"/a/{b}":{"get":{}}}}`, "paths./a/{b}.get: the path has {b}"},
		{"a reference that is not there", `{"openapi":"3.1.0","paths":{"/a":{"get":{"parameters":[{"$ref":"#/x"}]}}}}`, `no "#/x"`},
		{"a reference elsewhere", `{"openapi":"3.1.0","paths":{"/a":{"get":{"parameters":[{"$ref":"https://evil.example/x"}]}}}}`, "in the document"},
		{"a loop", `{"openapi":"3.1.0","paths":{"/a":{"get":{"parameters":[{"$ref":"#/x"}]}}},"x":{"$ref":"#/x"}}`, "lead to references"},
		{"two of a name", `{"openapi":"3.1.0","paths":{"/a":{"get":{"operationId":"x"}},"/b":{"get":{"operationId":"x"}}}}`, "called x too"},
		{"a path without a slash", `{"openapi":"3.1.0","paths":{"@evil.example/a":{"get":{}}}}`, "begins with a slash"},
		{"too large", strings.Repeat(" ", openapi.MaxDocument+1), "MiB"},
	} {
		if _, err := openapi.Parse([]byte(tt.doc)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
	}
}

// FuzzParse: no document makes a tool whose request leaves the server, or a schema without end.
func FuzzParse(f *testing.F) {
	f.Add([]byte(petstore), []byte(`{"id":"x"}`))
	f.Add([]byte(`{"openapi":"3.1.0","paths":{"/a/{b}":{"get":{"parameters":[{"name":"b","in":"path"}]}}}}`), []byte(`{"b":"//evil.example"}`))
	base, err := url.Parse("https://here.example/v1")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, doc, args []byte) {
		d, err := openapi.Parse(doc)
		if err != nil {
			return
		}
		for i := range d.Operations {
			o := &d.Operations[i]
			if !json.Valid(o.Schema) || len(o.Schema) > 1<<20 {
				t.Fatalf("schema %s", o.Schema)
			}
			if r, err := o.Request(t.Context(), base, args); err == nil && (r.URL.Host != base.Host || !strings.HasPrefix(r.URL.Path, "/v1")) {
				t.Fatalf("request to %s", r.URL)
			}
		}
	})
}
