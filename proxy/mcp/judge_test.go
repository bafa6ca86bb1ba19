package mcp

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestDocument(t *testing.T) {
	t.Parallel()
	d, err := parseDocument([]byte(`{"id":"secret","n":12,"list":["a",{"role":"b"}],"id":"last"}`), false)
	if err != nil {
		t.Fatal(err)
	}
	body, err := d.show("mcp/x")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"last"`, `"12"`, `"a"`, `"b"`, `"role"`} {
		if !strings.Contains(string(body), `"content":`+want) {
			t.Errorf("guardrails do not see %s: %s", want, body)
		}
	}
	if strings.Contains(string(body), "secret") {
		t.Errorf("they see what the server does not get: %s", body)
	}
	if err := d.take([]byte(strings.Replace(string(body), `"content":"last"`, `"content":"***"`, 1))); err != nil {
		t.Fatal(err)
	}
	if out, err := d.bytes(); err != nil || string(out) != `{"id":"***","list":["a",{"role":"b"}],"n":12}` {
		t.Errorf("got %s, %v", out, err)
	}
	if err := d.take([]byte(strings.Replace(string(body), `"content":"list"`, `"content":"other"`, 1))); err == nil {
		t.Error("the name of an argument was changed")
	}
	if err := d.take([]byte(`{"messages":[]}`)); err == nil {
		t.Error("texts were left out")
	}
}

// Of a result the names of the protocol mean something in its own blocks alone: what a tool has named is all checked.
func TestDocument_Result(t *testing.T) {
	t.Parallel()
	const raw = `{"content":[{"type":"image","data":"AAAA","mimeType":"image/png"},{"type":"text","text":"said"},{"type":"resource","resource":{"uri":"a:b","blob":"BBBB"}}],` +
		`"structuredContent":{"data":"one","rows":[{"blob":"two","type":"three","at":4}]},"_meta":{"mimeType":"five"}}`
	d, err := parseDocument([]byte(raw), true)
	if err != nil {
		t.Fatal(err)
	}
	body, err := d.show("mcp/x")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"said", "one", "two", "three", "4", "five", "data", "rows", "blob", "at", "a:b"} {
		if !strings.Contains(string(body), `"content":"`+want+`"`) {
			t.Errorf("guardrails do not see %s: %s", want, body)
		}
	}
	for _, media := range []string{"AAAA", "BBBB", "image", "structuredContent"} {
		if strings.Contains(string(body), `"content":"`+media) {
			t.Errorf("guardrails see %s: %s", media, body)
		}
	}
	masked := strings.NewReplacer(`"content":"blob"`, `"content":"*"`, `"content":"two"`, `"content":"**"`).Replace(string(body))
	if err := d.take([]byte(masked)); err != nil {
		t.Fatal(err)
	}
	out, err := d.bytes()
	if err != nil || !strings.Contains(string(out), `"structuredContent":{"data":"one","rows":[{"*":"**","at":4,"type":"three"}]}`) {
		t.Errorf("got %s, %v", out, err)
	}
	if err := d.take([]byte(strings.Replace(masked, `"content":"at"`, `"content":"type"`, 1))); err == nil {
		t.Error("two members have one name")
	}
}

func TestCanonical(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/git/mcp": "/mcp/git", "/mcp": "/mcp", "/mcp/git": "/mcp/git", "/v1/mcp": "/v1/mcp", "/a/b/mcp": "/a/b/mcp", "//mcp": "//mcp", "/xmcp": "/xmcp",
	} {
		r := httptest.NewRequest(http.MethodPost, "http://x"+path, nil)
		if got := Canonical(r).URL.Path; got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
}

func FuzzDocument(f *testing.F) {
	f.Add([]byte(`{"a":[1,"x",{"data":"y"}]}`), true)
	f.Add([]byte(`null`), false)
	f.Add([]byte(`"x"`), false)
	f.Fuzz(func(t *testing.T, b []byte, result bool) {
		d, err := parseDocument(b, result)
		if err != nil {
			return
		}
		body, err := d.show("m")
		if err != nil {
			t.Fatal(err)
		}
		before, err := d.bytes()
		if err != nil || !json.Valid(before) {
			t.Fatalf("got %s, %v", before, err)
		}
		if err := d.take(body); err != nil {
			t.Fatalf("what was shown cannot be taken: %v", err)
		}
		if after, _ := d.bytes(); string(after) != string(before) {
			t.Errorf("%s became %s", before, after)
		}
	})
}

func FuzzParseRest(f *testing.F) {
	f.Add([]byte(`{"name":"a-b","arguments":{"x":1},"server_id":"s"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if in, err := parseRest(b); err == nil && (in.Name == "" || len(in.Arguments) > 0 && !json.Valid(in.Arguments)) {
			t.Errorf("got %+v", in)
		}
	})
}
