package builtin_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/builtin"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/plugins/sdk/plugintest"
)

func keywords(t testing.TB, config string) (*builtin.Keywords, sdk.GuardrailDescription) {
	t.Helper()
	k := &builtin.Keywords{}
	d, err := k.Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(config)})
	if err != nil {
		t.Fatal(err)
	}
	return k, d
}

func TestKeywords_Conformance(t *testing.T) {
	t.Parallel()
	plugintest.Guardrail(t, func() sdk.Guardrail { return &builtin.Keywords{} }, plugintest.GuardrailCase{
		Config: []byte(`{"words":["forbidden"]}`),
		Bad:    [][]byte{[]byte(`{}`), []byte(`{"words":[]}`), []byte(`{"words":[" "]}`), []byte(`{"words":["x"],"action":"eat"}`), []byte(`{"wrods":["x"]}`)},
		Passes: "a harmless text",
		Stops:  "a Forbidden text",
		Word:   "forbidden",
	})
}

func TestKeywords_Check(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, config, text, want string // want: "pass", "block" or the masked text
	}{
		{"any case", `{"words":["Secret"]}`, "top sECRET", "block"},
		{"case kept", `{"words":["Secret"],"case_sensitive":true}`, "top sECRET", "pass"},
		{"other letters of the same case class", `{"words":["kiss"]}`, "a \u212AI\u017Fs", "block"},
		{"Greek", `{"words":["ΣΟΦΟΣ"]}`, "σοφος and σοφός", "block"},
		{"mask", `{"words":["foo","foobar"],"action":"mask"}`, "a FOOBAR, foo", "a [masked], [masked]"},
		{"mask beside longer letters", `{"words":["k"],"action":"mask","mask":"*"}`, "é\u212Aé k", "é*é *"},
		{"mask with case kept", `{"words":["é"],"action":"mask","mask":"","case_sensitive":true}`, "aéÉb", "aÉb"},
		{"overlapping words", `{"words":["abab"],"action":"mask","mask":"*"}`, "xabababy", "x*y"},
		{"invalid UTF-8", `{"words":["x"],"action":"mask","mask":"*"}`, "\xffx\xff", "\xff*\xff"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			k, _ := keywords(t, tt.config)
			v, err := k.Check(t.Context(), &sdk.Check{Texts: []sdk.Text{{Text: "fine"}, {Text: tt.text}}})
			if err != nil {
				t.Fatal(err)
			}
			got := v.Action.String()
			if v.Action == guardrail.Rewrite {
				got = v.Replacements[0].Text
				if v.Replacements[0].Index != 1 {
					t.Errorf("rewrote text %d, want 1", v.Replacements[0].Index)
				}
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// The hold-back must cover the longest form of a word, else its first bytes leave.
func TestKeywords_HoldBack(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		config string
		want   int
	}{
		{`{"words":["abc","de"],"case_sensitive":true}`, 2},
		{`{"words":["abc"]}`, 2},
		{`{"words":["kk"]}`, 5}, // two Kelvin signs are six bytes
	} {
		if _, d := keywords(t, tt.config); d.HoldBack != tt.want {
			t.Errorf("%s: got hold-back %d, want %d", tt.config, d.HoldBack, tt.want)
		}
	}
}

func FuzzKeywords(f *testing.F) {
	f.Add("a foo b", "foo,oo")
	f.Add("0000", "00")
	f.Add("\u212A", "k,\u212A")
	f.Add("\xff\xffk", "K")
	f.Fuzz(func(t *testing.T, text, words string) {
		list := strings.Split(words, ",")
		config, err := json.Marshal(map[string]any{"words": list, "action": "mask", "mask": "", "case_sensitive": true})
		if err != nil || !utf8.ValidString(words) {
			return
		}
		k := &builtin.Keywords{}
		if _, err := k.Configure(t.Context(), sdk.GuardrailSettings{Config: config}); err != nil {
			return
		}
		v, err := k.Check(t.Context(), &sdk.Check{Texts: []sdk.Text{{Text: text}}})
		if err != nil {
			t.Fatal(err)
		}
		found := slices.ContainsFunc(list, func(w string) bool { return strings.Contains(text, w) })
		if (v.Action == guardrail.Rewrite) != found {
			t.Errorf("%q in %q: got %v, want found %v", list, text, v.Action, found)
		}
		if found && len(v.Replacements[0].Text) >= len(text) {
			t.Errorf("masking %q in %q gives %q", list, text, v.Replacements[0].Text)
		}
	})
}

func FuzzKeywords_Fold(f *testing.F) {
	f.Add("a FOO b", "foo", 3)
	f.Add("\u212A\xff", "k", 1)
	f.Fuzz(func(t *testing.T, text, word string, cut int) {
		config, err := json.Marshal(map[string]any{"words": []string{word}, "action": "mask", "mask": ""})
		if err != nil || !utf8.ValidString(word) {
			return
		}
		k := &builtin.Keywords{}
		d, err := k.Configure(t.Context(), sdk.GuardrailSettings{Config: config})
		if err != nil {
			return
		}
		v, err := k.Check(t.Context(), &sdk.Check{Texts: []sdk.Text{{Text: text}}})
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(text, word) && v.Action != guardrail.Rewrite {
			t.Errorf("%q in %q is not found", word, text)
		}
		if cut < 0 || cut > len(text) || !utf8.ValidString(text) || !utf8.ValidString(text[:cut]) {
			return
		}
		st, err := k.OpenStream(t.Context(), &sdk.Info{})
		if err != nil {
			t.Fatal(err)
		}
		a, _ := st.Chunk(t.Context(), []sdk.Part{{Text: text[:cut]}})
		b, _ := st.Chunk(t.Context(), []sdk.Part{{Text: text[cut:]}})
		if stopped := a.Action == guardrail.Block || b.Action == guardrail.Block; stopped != (v.Action == guardrail.Rewrite) {
			t.Errorf("%q in %q cut at %d (hold-back %d): stopped %v, whole %v", word, text, cut, d.HoldBack, stopped, v.Action)
		}
	})
}

func BenchmarkKeywords_Check(b *testing.B) {
	words := make([]string, 1000)
	for i := range words {
		words[i] = fmt.Sprintf("word%d", i)
	}
	config, _ := json.Marshal(map[string]any{"words": words})
	k, _ := keywords(b, string(config))
	c := &sdk.Check{Texts: []sdk.Text{{Text: strings.Repeat("all is well here. ", 200)}}}
	b.ReportAllocs()
	for b.Loop() {
		if v, err := k.Check(b.Context(), c); err != nil || v.Action != guardrail.Pass {
			b.Fatal(v, err)
		}
	}
}

func TestFile_Conformance(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	plugintest.Callback(t, func() sdk.Callback { return &builtin.File{} }, plugintest.CallbackCase{
		Config: fmt.Appendf(nil, `{"path":%q}`, filepath.Join(dir, "out.jsonl")),
		Bad:    [][]byte{[]byte(`{}`), []byte(`{"path":""}`), []byte(`{"path":"x","keep":-1}`), []byte(`{"pth":"x"}`)},
		Count: func(t testing.TB) int {
			b, err := os.ReadFile(filepath.Join(dir, "out.jsonl"))
			if err != nil {
				t.Fatal(err)
			}
			return bytes.Count(b, []byte("\n"))
		},
	})
}

func file(t *testing.T, config string) *builtin.File {
	t.Helper()
	w := &builtin.File{}
	if _, err := w.Configure(t.Context(), sdk.CallbackSettings{Config: []byte(config)}); err != nil {
		t.Fatal(err)
	}
	return w
}

func deliver(t *testing.T, w *builtin.File, rs ...sdk.Record) {
	t.Helper()
	if n, err := w.Deliver(t.Context(), rs); n != len(rs) || err != nil {
		t.Fatalf("delivered %d of %d, %v", n, len(rs), err)
	}
}

func TestFile_Line(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "out.jsonl")
	w := file(t, fmt.Sprintf(`{"path":%q}`, path))
	deliver(t, w, sdk.Record{
		Position: 3, NodeID: "n", RequestID: "r", StartedAt: time.Unix(1, 0), Duration: 1500 * time.Microsecond,
		Endpoint: "chat", Model: "m", Status: "success", HTTPStatus: 200, Attempts: 1, CostNanoUSD: 150_000_000, Priced: true,
		Usage: llm.Usage{Input: 4, Output: 2, Source: llm.UsageProvider},
	})
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"node":"n","position":3,"request_id":"r","started_at":"1970-01-01T00:00:01Z","duration_ms":1.5,` +
		`"endpoint":"chat","model":"m","stream":false,"status":"success","http_status":200,"attempts":1,` +
		`"usage":{"input":4,"cache_read":0,"cache_write":0,"output":2,"reasoning":0,"source":"provider"},"cost_usd":0.15}` + "\n"
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", st.Mode(), err)
	}
}

func TestFile_AuditLine(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "out.jsonl")
	w := file(t, fmt.Sprintf(`{"path":%q}`, path))
	e := sdk.AuditEntry{Number: 3, Index: 7, Actor: "master", Action: "put_team", After: []byte(`{"name":"a"}`)}
	if n, err := w.DeliverAudit(t.Context(), []sdk.AuditEntry{e}); n != 1 || err != nil {
		t.Fatalf("got %d (%v), want 1", n, err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"audit":{"number":3,"index":7,"at":null,"actor":"master","action":"put_team","after":{"name":"a"},` +
		`"previous":"0000000000000000000000000000000000000000000000000000000000000000","hash":"0000000000000000000000000000000000000000000000000000000000000000"}}` + "\n"
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}

func TestFile_CutLineIsEnded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "out.jsonl")
	if err := os.WriteFile(path, []byte(`{"node":"n","posi`), 0o600); err != nil {
		t.Fatal(err)
	}
	deliver(t, file(t, fmt.Sprintf(`{"path":%q}`, path)), sdk.Record{Position: 1})
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if len(lines) != 2 || !json.Valid([]byte(lines[1])) {
		t.Errorf("got %q, want the new record on a line of its own", b)
	}
}

func TestFile_Rotates(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "out.jsonl")
	w := file(t, fmt.Sprintf(`{"path":%q,"max_mb":1,"keep":2}`, path))
	for i := range 5 {
		deliver(t, w, sdk.Record{Position: uint64(i), RequestID: strings.Repeat("x", 1<<20)})
	}
	for _, name := range []string{path, path + ".1", path + ".2"} {
		if st, err := os.Stat(name); err != nil || st.Size() < 1<<20 {
			t.Errorf("%s: %v, want a file of 1 MiB", name, err)
		}
	}
	if _, err := os.Stat(path + ".3"); err == nil {
		t.Error("more files are kept than keep says")
	}
	if err := os.Remove(path); err != nil { // somebody else rotates
		t.Fatal(err)
	}
	deliver(t, w, sdk.Record{Position: 9})
	if b, err := os.ReadFile(path); err != nil || !bytes.Contains(b, []byte(`"position":9`)) {
		t.Errorf("got %q, %v: a file that was moved away is not written on", b, err)
	}
}

func TestServe_Unknown(t *testing.T) {
	t.Parallel()
	if err := builtin.Serve("nope"); err == nil {
		t.Error("served a plugin that is not shipped")
	}
	for _, p := range builtin.Plugins() {
		if got, ok := builtin.Lookup(p.Name); !ok || got.Kind != p.Kind || p.Summary == "" {
			t.Errorf("row %+v is incomplete", p)
		}
	}
}

// The words that the cluster bans are put in where a guardrail asks for them, and an empty list finds nothing.
func TestKeywords_Stored(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		config string
		banned []string
		want   string
	}{
		{`{"words":["a"],"stored":true}`, []string{"b"}, `{"words":["a","b"],"stored":true,"case_sensitive":false}`},
		{`{"stored":true}`, nil, `{"stored":true}`},
		{`{"words":["a"]}`, []string{"b"}, `{"words":["a"]}`},
		{`{"stored":1}`, []string{"b"}, `{"stored":1}`},
	} {
		if got := string(builtin.WithStored([]byte(tt.config), tt.banned)); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.config, got, tt.want)
		}
	}
	k := &builtin.Keywords{}
	if _, err := k.Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(`{"stored":true}`)}); err != nil {
		t.Fatal(err)
	}
	if v, err := k.Check(t.Context(), &sdk.Check{Texts: []sdk.Text{{Text: "a text"}}}); err != nil || v.Message != "" {
		t.Errorf("got %+v, %v", v, err)
	}
}
