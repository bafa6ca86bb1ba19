package records

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/resource"
)

// TestDocument_merge is RFC 7396, appendix A, where both sides are objects.
func TestDocument_merge(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ doc, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"e":null}`, `{"a":1}`, `{"a":1,"e":null}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
		{`{"n":12345678901234567890}`, `{"m":0.10}`, `{"m":0.10,"n":12345678901234567890}`},
	} {
		doc, err := ParseDocument([]byte(tt.doc))
		if err != nil {
			t.Fatal(err)
		}
		patch, err := ParseDocument([]byte(tt.patch))
		if err != nil {
			t.Fatal(err)
		}
		merged, err := doc.merge(patch)
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(merged)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, string(got)); diff != "" {
			t.Errorf("%s with %s (-want +got):\n%s", tt.doc, tt.patch, diff)
		}
	}
}

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"30s": "30s", "15m": "15m0s", "7d": "168h0m0s", "2w": "336h0m0s", "1mo": "720h0m0s",
		"": "", "d": "", "-1d": "", "1y": "", "99999999999999d": "", "1.5d": "",
	} {
		d, err := ParseDuration(text)
		if (err == nil) != (want != "") || (err == nil && d.String() != want) {
			t.Errorf("%q: got %s, %v; want %q", text, d, err, want)
		}
	}
}

func TestMovesHost(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"", "", false},
		{"https://a.example/v1", "https://A.example/v2", false},
		{"https://a.example", "http://a.example", true},
		{"https://a.example", "https://a.example:8443", true},
		{"https://a.example", "https://a.example@evil.example", true},
		{"", "https://a.example", true},
		{"https://a.example", "", true},
	} {
		if got := movesHost(tt.a, tt.b); got != tt.want {
			t.Errorf("%q to %q: got %v", tt.a, tt.b, got)
		}
	}
}

// FuzzDocument decodes whatever a client may send: an error or a record, never a panic, and
// a record that is accepted is written and read back the same.
func FuzzDocument(f *testing.F) {
	for _, s := range []string{
		`{"name":"a","limits":{"rpm":1}}`, `{"budgets":[{"usd":1e-9,"per":"day"}]}`, `{"name":null}`, `{"a":{"a":{}}}`,
		`{"metadata":{"a":[1.0]}}`, `{"name":"a","name":"b"}`, `[]`, `null`, `{"expires_at":"2026-01-01T00:00:00Z"}`,
	} {
		f.Add([]byte(s), []byte(`{"name":"b"}`))
	}
	f.Fuzz(func(t *testing.T, body, patch []byte) {
		doc, err := ParseDocument(body)
		if err != nil {
			return
		}
		if p, err := ParseDocument(patch); err == nil {
			if doc, err = doc.merge(p); err != nil {
				t.Fatalf("merge of objects: %v", err)
			}
		}
		var k resource.Key
		if doc.Decode(&k) != nil {
			return
		}
		k.Canonicalize()
		if k.Hash = resource.HashSecret("x"); k.Validate() != nil {
			return
		}
		var k2 resource.Key
		if err := mustDocument(t, &k).Decode(&k2); err != nil {
			t.Fatalf("read back: %v", err)
		}
		if diff := cmp.Diff(mustDocument(t, &k), mustDocument(t, &k2)); diff != "" {
			t.Errorf("written again (-first +second):\n%s", diff)
		}
	})
}

func mustDocument(t *testing.T, r resource.Record) Document {
	t.Helper()
	d, err := documentOf(r)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
