package llm_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/conclave-llm/conclave/llm"
)

func TestPeek(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		body string
		want llm.Fields
	}{
		{"empty object", `{}`, llm.Fields{N: 1}},
		{"plain", `{"model":"m","messages":[{"role":"user","content":"hi"}]}`, llm.Fields{Model: "m", N: 1, PromptBytes: 32}},
		{"white space", " {\n\t\"model\" : \"m\" ,\r\n\"stream\":true } \n", llm.Fields{Model: "m", N: 1, Stream: true}},
		{"escaped name of a field", `{"mod\u0065l":"a"}`, llm.Fields{Model: "a", N: 1}},
		{"escaped value", `{"model":"a\/\u00e9\ud83d\ude00\n"}`, llm.Fields{Model: "a/é😀\n", N: 1}},
		{"lone surrogate", `{"model":"\ud83d"}`, llm.Fields{Model: "\uFFFD", N: 1}},
		{"usage wanted", `{"stream_options":{"x":1,"include_usage":true}}`, llm.Fields{IncludeUsage: true, N: 1}},
		{"usage not wanted", `{"stream_options":{"include_usage":false}}`, llm.Fields{N: 1}},
		{"no stream options", `{"stream_options":null}`, llm.Fields{N: 1}},
		{"larger maximum", `{"max_tokens":10,"max_completion_tokens":20}`, llm.Fields{MaxTokens: 20, N: 1}},
		{"null maximum", `{"max_tokens":null,"n":null}`, llm.Fields{N: 1}},
		{"huge maximum", `{"max_tokens":9223372036854775807}`, llm.Fields{MaxTokens: llm.MaxTokenCount, N: 1}},
		{"choices", `{"n":3,"best_of":5}`, llm.Fields{N: 5}},
		{"zero choices", `{"n":0}`, llm.Fields{N: 1}},
		{
			"names", `{"tags":["a"],"guardrails":["g"],"metadata":{"tags":["b"],"x":{},"guardrails":["h"],"session_id":"s"},"prompt_cache_key":"p"}`,
			llm.Fields{N: 1, Tags: []string{"a", "b"}, Guardrails: []string{"g", "h"}, SessionID: "s", CacheKey: "p"},
		},
		{"cache key", `{"prompt_cache_key":"p","user":"u"}`, llm.Fields{N: 1, CacheKey: "p", User: "u"}},
		{"session at the top", `{"metadata":{"session_id":"m"},"litellm_trace_id":"t","litellm_session_id":"s"}`, llm.Fields{N: 1, SessionID: "s"}},
		{"session in metadata", `{"metadata":{"trace_id":"t","session_id":"m","litellm_session_id":"s"}}`, llm.Fields{N: 1, SessionID: "s"}},
		{"trace at the top", `{"litellm_trace_id":"t","metadata":{"session_id":"m"}}`, llm.Fields{N: 1, SessionID: "t"}},
		{"end users", `{"user":"a","safety_identifier":"b","metadata":{"user_id":"c"}}`, llm.Fields{N: 1, User: "a", SafetyIdentifier: "b", MetadataUser: "c"}},
		{"attempts", `{"num_retries":0,"timeout":1.5,"fallbacks":["a",{"model":"b"}]}`, llm.Fields{
			N: 1, HasRetries: true, Timeout: 1500 * time.Millisecond, Fallbacks: []string{"a", "b"},
		}},
		{"no fallbacks", `{"fallbacks":[],"num_retries":null,"timeout":null}`, llm.Fields{N: 1, NoFallbacks: true}},
		{"callbacks turned off", `{"no-log":true}`, llm.Fields{N: 1, NoLog: true}},
		{"fallbacks turned off", `{"disable_fallbacks":true}`, llm.Fields{N: 1, NoFallbacks: true}},
		{"metadata in forms of the client's own", `{"metadata":{"Tags":1,"tags":"a,b","guardrails":"g","session_id":5}}`, llm.Fields{N: 1, Guardrails: []string{"g"}}},
		{"names among other things", `{"metadata":{"t\u0061gs":["a",1,null],"guardrails":{}}}`, llm.Fields{N: 1, Tags: []string{"a"}}},
		{"address of the client's own", `{"x":1,"\u0061pi_base":"http://x","api_key":"k"}`, llm.Fields{N: 1, Redirect: "api_base"}},
		{"permissions", `{"metadata":{"permissions":{"a":true,"b":false,"c":"true","d":{"e":true},"f":true}}}`, llm.Fields{N: 1, Permissions: []string{"a", "f"}}},
		{"permissions of another kind", `{"metadata":{"permissions":["a"]}}`, llm.Fields{N: 1}},
		{"metadata of another kind", `{"metadata":[{"tags":1}]}`, llm.Fields{N: 1}},
		{"tools", `{"tools":[{}]}`, llm.Fields{N: 1, HasTools: true, PromptBytes: 4}},
		{"no tools", `{"tools":[ ],"functions":null}`, llm.Fields{N: 1, PromptBytes: 7}},
		{"unknown fields", `{"x":{"model":"z","Stream":1},"y":[1e5,-0.1,"\\"],"top_p":0.5}`, llm.Fields{N: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := llm.Peek([]byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got, cmpopts.IgnoreUnexported(llm.Fields{})); d != "" {
				t.Errorf("fields (-want +got):\n%s", d)
			}
		})
	}
}

func TestPeek_Media(t *testing.T) {
	t.Parallel()
	image := "data:image/png;base64," + strings.Repeat("A", 4000)
	got, err := llm.Peek([]byte(`{"other":"` + image + `","messages":[{"content":[{"image_url":{"url":"` + image + `"}}]}]}`))
	if err != nil || got.MediaBytes != int64(len(image)) || got.PromptBytes <= got.MediaBytes {
		t.Errorf("got %d media bytes of %d and %v, want %d", got.MediaBytes, got.PromptBytes, err, len(image))
	}
}

func TestPeek_Refuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, body, code, message string
	}{
		{"nothing", ``, "invalid_json", "at byte 0"},
		{"array", `[]`, "invalid_json", "at byte 0"},
		{"cut", `{"a":`, "invalid_json", "unexpected end at byte 5"},
		{"cut string", `{"a":"b`, "invalid_json", "string does not end at byte 7"},
		{"trailing comma", `{"a":1,}`, "invalid_json", "at byte 7"},
		{"trailing bytes", `{"a":1} x`, "invalid_json", "something follows the object at byte 8"},
		{"leading zero", `{"a":01}`, "invalid_json", "at byte 6"},
		{"NaN", `{"a":NaN}`, "invalid_json", "not a value at byte 5"},
		{"line feed in a string", "{\"a\":\"\n\"}", "invalid_json", "control character in a string at byte 6"},
		{"bad escape", `{"a":"\x"}`, "invalid_json", "unknown escape at byte 7"},
		{"bad UTF-8", "{\"a\":\"\xff\"}", "invalid_json", "UTF-8"},
		{"deep", strings.Repeat(`{"a":`, 2000), "invalid_json", "nested too deeply"},
		{"twice", `{"model":"a","model":"b"}`, "duplicate_field", `"model" stands in the body twice, again at byte 13`},
		{"twice by an escape", `{"model":"a","\u006dodel":"b"}`, "duplicate_field", "again at byte 13"},
		{"upper case", `{"model":"a","Model":"b"}`, "invalid_field_name", `"Model" must be spelled "model"`},
		{"upper case alone", `{"STREAM":true}`, "invalid_field_name", "stream"},
		{"upper case by an escape", `{"\u004dodel":"b"}`, "invalid_field_name", "model"},
		{"long s", `{"ſtream":true}`, "invalid_field_name", "stream"},
		{"kelvin sign", `{"max_to\u212aens":1}`, "invalid_field_name", "max_tokens"},
		{"nested twice", `{"stream_options":{"include_usage":true,"include_usage":false}}`, "invalid_value", "twice"},
		{"nested upper case", `{"stream_options":{"Include_Usage":true}}`, "invalid_field_name", "include_usage"},
		{"tags twice", `{"metadata":{"tags":[],"tags":[]}}`, "invalid_value", "twice"},
		{"number for a model", `{"model":5}`, "invalid_value", "must be a string"},
		{"text for stream", `{"stream":"true"}`, "invalid_value", "true or false"},
		{"negative maximum", `{"max_tokens":-1}`, "invalid_value", "whole number"},
		{"fraction", `{"max_tokens":1.5}`, "invalid_value", "whole number"},
		{"exponent", `{"max_tokens":1e3}`, "invalid_value", "whole number"},
		{"too large for 64 bits", `{"max_tokens":99999999999999999999}`, "invalid_value", "whole number"},
		{"too many choices", `{"n":100000000}`, "invalid_value", "n"},
		{"tags of another kind", `{"tags":"a"}`, "invalid_value", "array"},
		{"tag of another kind", `{"tags":[1]}`, "invalid_value", "array"},
		{"cut in metadata", `{"metadata":{"session_id":"a`, "invalid_json", "string does not end"},
		{"fallbacks of another kind", `{"fallbacks":"m"}`, "invalid_value", "array"},
		{"fallback with more than a model", `{"fallbacks":[{"model":"m","messages":[]}]}`, "invalid_value", "array"},
		{"fallback by a table", `{"fallbacks":[{"a":["b"]}]}`, "invalid_value", "array"},
		{"too many fallbacks", `{"fallbacks":["1","2","3","4","5","6","7","8","9"]}`, "invalid_value", "at most 8"},
		{"too many retries", `{"num_retries":11}`, "invalid_value", "up to 10"},
		{"no time", `{"timeout":0}`, "invalid_value", "seconds"},
		{"text for a time", `{"timeout":"1"}`, "invalid_value", "seconds"},
		{"session of another kind", `{"litellm_session_id":1}`, "invalid_value", "string"},
		{"stream options of another kind", `{"stream_options":[]}`, "invalid_value", "object"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := llm.Peek([]byte(tt.body))
			var e *llm.Error
			if !errors.As(err, &e) || e.Kind != llm.Invalid || e.Code != tt.code || !strings.Contains(e.Message, tt.message) {
				t.Errorf("got %#v, want code %q and %q", err, tt.code, tt.message)
			}
		})
	}
}

// validJSON says what jsontext thinks of the syntax.
func validJSON(body []byte) (ok bool, depth int) {
	d := jsontext.NewDecoder(strings.NewReader(string(body)), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if d.PeekKind() != '{' {
		return false, 0
	}
	for {
		if _, err := d.ReadToken(); err != nil {
			return errors.Is(err, io.EOF), depth
		}
		if depth = max(depth, d.StackDepth()); d.StackDepth() == 0 {
			_, err := d.ReadToken()
			return errors.Is(err, io.EOF), depth
		}
	}
}

var bodies = []string{
	`{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":{"include_usage":false}}`,
	`{"a":[1,-0.5e+7,true,null,{"b":"\u00e9\\\n"}],"max_tokens":5,"tags":["x"],"guardrails":[]}`,
	`{"metadata":{"tags":["a"]},"n":2} `, `{}`, `{"a":1,}`, `{"Model":1}`, "{\"a\":\"\x7f\"}",
	`{"tags":[],"guardrails":[],"z":1}`, `{"z":1,"guardrails":[] , "tags":[]}`,
}

func FuzzPeek(f *testing.F) {
	for _, b := range bodies {
		f.Add([]byte(b))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		ok, depth := validJSON(body)
		ok = ok && utf8.Valid(body)
		fields, err := llm.Peek(body)
		var e *llm.Error
		switch {
		case err == nil && !ok:
			t.Fatalf("accepted %q", body)
		case err == nil:
			checkRewrite(t, body, fields)
		case !errors.As(err, &e) || e.Kind != llm.Invalid:
			t.Fatalf("got %v, want an error of kind Invalid", err)
		case e.Code == "invalid_json" && ok && depth < 1000:
			t.Fatalf("refused %q: %v", body, err)
		}
	})
}

// checkRewrite makes every edit at once and reads the result.
func checkRewrite(t *testing.T, body []byte, f llm.Fields) {
	t.Helper()
	before := string(body)
	out := llm.Rewrite(body, &f, llm.Edits{Model: "other", IncludeUsage: true, MaxTokens: 7, DropOwn: true})
	if string(body) != before {
		t.Fatalf("the body was changed from %q to %q", before, body)
	}
	got, err := llm.Peek(out)
	if err != nil {
		t.Fatalf("%q became %q: %v", body, out, err)
	}
	if got.Model != "other" || !got.IncludeUsage || got.MaxTokens > 7 || got.MaxTokens == 0 {
		t.Fatalf("%q became %q", body, out)
	}
	if got.PromptBytes != f.PromptBytes || got.User != f.User || got.Stream != f.Stream || got.N != f.N {
		t.Fatalf("%q became %q, which means something else", body, out)
	}
}

func TestRewrite(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, in string
		edits    llm.Edits
		want     string
	}{
		{"nothing", `{ "model":"a" }`, llm.Edits{}, `{ "model":"a" }`},
		{"the same model", `{"model":"a"}`, llm.Edits{Model: "a"}, `{"model":"a"}`},
		{"model", `{ "x" : 1.0 , "model" : "a" , "y":"\u0041" }`, llm.Edits{Model: `b"c`}, `{ "x" : 1.0 , "model" : "b\"c" , "y":"\u0041" }`},
		{"model added", `{"x":1 }`, llm.Edits{Model: "b"}, `{"x":1 ,"model":"b"}`},
		{"model added to nothing", `{}`, llm.Edits{Model: "b"}, `{"model":"b"}`},
		{"usage added", `{"a":1}`, llm.Edits{IncludeUsage: true}, `{"a":1,"stream_options":{"include_usage":true}}`},
		{"usage added to options", `{"stream_options":{"o":1}}`, llm.Edits{IncludeUsage: true}, `{"stream_options":{"include_usage":true,"o":1}}`},
		{"usage added to no options", `{"stream_options":{ }}`, llm.Edits{IncludeUsage: true}, `{"stream_options":{"include_usage":true }}`},
		{"usage for null", `{"stream_options":null}`, llm.Edits{IncludeUsage: true}, `{"stream_options":{"include_usage":true}}`},
		{"usage switched", `{"stream_options":{"include_usage":false}}`, llm.Edits{IncludeUsage: true}, `{"stream_options":{"include_usage":true}}`},
		{"usage asked for", `{"stream_options":{"include_usage":true}}`, llm.Edits{IncludeUsage: true}, `{"stream_options":{"include_usage":true}}`},
		{"clamp", `{"max_tokens":9,"max_completion_tokens":3}`, llm.Edits{MaxTokens: 5}, `{"max_tokens":5,"max_completion_tokens":3}`},
		{"clamp of none", `{"a":1}`, llm.Edits{MaxTokens: 5}, `{"a":1,"max_tokens":5}`},
		{"clamp of null", `{"max_tokens":null}`, llm.Edits{MaxTokens: 5}, `{"max_tokens":5}`},
		{"rename", `{"max_completion_tokens" : 9}`, llm.Edits{RenameMaxTokens: "max_tokens"}, `{"max_tokens":9}`},
		{"rename and clamp", `{"max_completion_tokens":9}`, llm.Edits{RenameMaxTokens: "max_tokens", MaxTokens: 5}, `{"max_tokens":5}`},
		{"rename back", `{"max_tokens":9}`, llm.Edits{RenameMaxTokens: "max_completion_tokens"}, `{"max_completion_tokens":9}`},
		{"no rename of two", `{"max_tokens":9,"max_completion_tokens":8}`, llm.Edits{RenameMaxTokens: "max_tokens"}, `{"max_tokens":9,"max_completion_tokens":8}`},
		{"drop first", `{"tags":["x"],"a":1}`, llm.Edits{DropOwn: true}, `{"a":1}`},
		{"drop first two", `{ "tags":["x"] , "guardrails":[] , "a":1}`, llm.Edits{DropOwn: true}, `{ "a":1}`},
		{"drop last two", `{"a":1 , "guardrails":[],"tags":["x"] }`, llm.Edits{DropOwn: true}, `{"a":1  }`},
		{"drop first and last", `{"tags":[],"a":1,"guardrails":[]}`, llm.Edits{DropOwn: true}, `{"a":1}`},
		{"drop of seven", `{"timeout":1,"a":1,"num_retries":2,"fallbacks":["x"],"b":2,"litellm_session_id":"s","tags":[]}`, llm.Edits{DropOwn: true}, `{"a":1,"b":2}`},
		{"model in the path", `{"model":"m","stream":true,"a":1}`, llm.Edits{DropModel: true, Model: "other"}, `{"stream":true,"a":1}`},
		{"model and stream in the path", `{"a":1,"stream":true,"model":"m"}`, llm.Edits{DropModel: true, DropStream: true}, `{"a":1}`},
		{"nothing left but what is added", `{"model":"m"}`, llm.Edits{DropModel: true, Add: []llm.Member{{Name: "anthropic_version", Value: []byte(`"v"`)}}}, `{"anthropic_version":"v"}`},
		{"add two", `{"a":1}`, llm.Edits{Add: []llm.Member{{Name: "b", Value: []byte("2")}, {Name: "c", Value: []byte("[]")}}}, `{"a":1,"b":2,"c":[]}`},
		{"drop all and add", `{"tags":[],"guardrails":[]}`, llm.Edits{DropOwn: true, Model: "m"}, `{"model":"m"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, err := llm.Peek([]byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if got := string(llm.Rewrite([]byte(tt.in), &f, tt.edits)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestHas(t *testing.T) {
	t.Parallel()
	body := []byte(`{"a":{"b":1},"\u0063":2}`)
	for name, want := range map[string]bool{"a": true, "b": false, "c": true, "d": false} {
		if got := llm.Has(body, name); got != want {
			t.Errorf("Has(%q) = %v", name, got)
		}
	}
}

func TestPeek_Base64(t *testing.T) {
	t.Parallel()
	data := strings.Repeat("iVBORw0KGgo+/A09", 100)
	f, err := llm.Peek([]byte(`{"model":"m","messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","data":"` + data + `"}},{"type":"text","text":"` + strings.Repeat("words and ", 200) + `"}]}]}`))
	if err != nil || f.MediaBytes != int64(len(data)) {
		t.Errorf("got %d media bytes and %v, want %d", f.MediaBytes, err, len(data))
	}
}

func benchmarkBody() []byte {
	var b strings.Builder
	b.WriteString(`{"messages":[`)
	for b.Len() < 100_000 {
		b.WriteString(`{"role":"user","content":"` + strings.Repeat(`Lorem ipsum dolor sit amet,\nconsectetur \"adipiscing\" elit. `, 16) + `"},`)
	}
	b.WriteString(`{"role":"user","content":"end"}],"temperature":0.5,"stream":true,"model":"gpt-4o"}`)
	return []byte(b.String())
}

func BenchmarkPeek(b *testing.B) {
	for _, bb := range []struct {
		name string
		body []byte
	}{
		{"1kB", []byte(`{"model":"gpt-4o","messages":[{"role":"user","content":"` + strings.Repeat("hello world ", 80) + `"}],"stream":true,"max_tokens":100}`)},
		{"100kB", benchmarkBody()},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.SetBytes(int64(len(bb.body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := llm.Peek(bb.body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRewrite(b *testing.B) {
	body := benchmarkBody()
	f, err := llm.Peek(body)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		llm.Rewrite(body, &f, llm.Edits{Model: "other", IncludeUsage: true})
	}
}
