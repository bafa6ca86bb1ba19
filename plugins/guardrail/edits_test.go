package guardrail_test

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/resource"
)

// masker replaces a word in streams by another, as soon as it has seen it whole.
type masker struct{ word, mask string }

func (m masker) Check(context.Context, *guardrail.Check) (guardrail.Verdict, error) {
	return guardrail.Verdict{}, nil
}

func (m masker) OpenStream(context.Context, *guardrail.Info) (guardrail.Stream, error) {
	return &masking{masker: m, seen: map[string]string{}, done: map[string]int{}}, nil
}

type masking struct {
	masker
	seen map[string]string
	done map[string]int
}

func (m *masking) Chunk(_ context.Context, parts []guardrail.Part) (guardrail.Verdict, error) {
	var v guardrail.Verdict
	for _, p := range parts {
		m.seen[p.Channel] += p.Text
		for {
			at := strings.Index(m.seen[p.Channel][m.done[p.Channel]:], m.word)
			if at < 0 {
				break
			}
			at += m.done[p.Channel]
			m.done[p.Channel] = at + len(m.word)
			v.Action = guardrail.Rewrite
			v.Replacements = append(v.Replacements, guardrail.Replacement{
				Channel: p.Channel, Start: int64(at), End: int64(at + len(m.word)), Text: m.mask,
			})
		}
	}
	return v, nil
}

func (m *masking) End(context.Context) (guardrail.Verdict, error) { return guardrail.Verdict{}, nil }

func (m *masking) Close() {}

// content puts the texts of a streamed chat answer together.
func content(t *testing.T, raw string) string {
	t.Helper()
	var out strings.Builder
	for _, e := range strings.SplitAfter(raw, "\n\n") {
		data := strings.TrimSpace(strings.TrimPrefix(e, "data: "))
		if data == "" || data == "[DONE]" {
			continue
		}
		texts, err := guardrail.Extract([]byte(data))
		if err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		for _, x := range texts.List() {
			out.WriteString(x.Text)
		}
	}
	return out.String()
}

// However a stream is cut, what is replaced does not leave and all else does.
func TestStreamCheck_RewritesEverySplit(t *testing.T) {
	t.Parallel()
	const text, want = "a \"seCret\" here, seCret again: seCretseCret", "a \"***\" here, *** again: ******"
	d := guardrail.Description{HoldBack: len("seCret") - 1}
	set := chain(member("a", masker{"seCret", "***"}, d)).For("m", guardrail.Choice{})
	for i := range len(text) {
		for j := i; j < len(text); j++ {
			out, err := relay(t, set, chunks(text[:i], text[i:j], text[j:]))
			if err != nil || !strings.HasSuffix(out, "data: [DONE]\n\n") {
				t.Fatalf("split at %d and %d: %v, %q", i, j, err, out)
			}
			if got := content(t, out); got != want {
				t.Fatalf("split at %d and %d: got %q, want %q", i, j, got, want)
			}
		}
	}
}

func TestStreamCheck_Rewrites(t *testing.T) {
	t.Parallel()
	hold := guardrail.Description{HoldBack: 5}
	for _, tt := range []struct {
		name    string
		members []*guardrail.Member
		events  []string
		want    string
		results string
	}{
		{
			"other bytes stay, log probabilities go",
			[]*guardrail.Member{member("a", masker{"secret", "*"}, hold)},
			[]string{"event: x\r\nid: 1\r\ndata: {\"choices\": [{\"index\":0,\"delta\":{\"content\":\"my secret\"},\"logprobs\":{\"content\":[1]}}], \"x\" : 1}\r\n\r\n"},
			"event: x\r\nid: 1\r\ndata: {\"choices\": [{\"index\":0,\"delta\":{\"content\":\"my *\"},\"logprobs\":null}], \"x\" : 1}\r\n\r\n", "a=rewritten",
		},
		{
			"data of two lines",
			[]*guardrail.Member{member("a", masker{"secret", "*"}, hold)},
			[]string{"data: {\"delta\":\ndata: \"secret\"}\n\n"},
			"data: {\"delta\":\ndata: \"*\"}\n\n", "a=rewritten",
		},
		{
			"not JSON", []*guardrail.Member{member("a", masker{"secret", "*"}, hold)}, []string{"data: my secret\n\n"}, "data: my *\n\n", "a=rewritten",
		},
		{
			"two guardrails, one word in the other's",
			[]*guardrail.Member{member("a", masker{"cre", "*"}, hold), member("b", masker{"secret", "#"}, hold)},
			[]string{"data: {\"delta\":\"a secret b\"}\n\n"},
			"data: {\"delta\":\"a * b\"}\n\n", "a=rewritten b=rewritten",
		},
		{
			"nothing to replace",
			[]*guardrail.Member{member("a", masker{"secret", "*"}, hold)},
			[]string{"data: {\"delta\":\"all clear\"}\n\n"},
			"data: {\"delta\":\"all clear\"}\n\n", "a=passed",
		},
		{
			"a whole answer at its end",
			[]*guardrail.Member{member("a", rewriter("secret", "*"), guardrail.Description{Hooks: []resource.Hook{resource.HookAfter}})},
			[]string{"data: {\"delta\":\"a sec\"}\n\n", "data: {\"delta\":\"ret b\"}\n\n"},
			"data: {\"delta\":\"a * b\"}\n\ndata: {\"delta\":\"\"}\n\n", "a=rewritten",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			set := chain(tt.members...).For("m", guardrail.Choice{})
			c, err := set.Stream(t.Context(), request(""))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			var got strings.Builder
			for _, e := range tt.events {
				out, err := c.Feed(t.Context(), []byte(e))
				if err != nil {
					t.Fatal(err)
				}
				for _, o := range out {
					got.Write(o)
				}
			}
			out, end, err := c.Finish(t.Context(), []byte("data: [DONE]\n\n"))
			for _, o := range out {
				got.Write(o)
			}
			if err != nil || got.String() != tt.want || string(end) != "data: [DONE]\n\n" {
				t.Errorf("got %q, %q, %v, want %q", got.String(), end, err, tt.want)
			}
			if got := statuses(c.Results()); got != tt.results {
				t.Errorf("got %s, want %s", got, tt.results)
			}
		})
	}
}

// What a guardrail finds is told, and one that only observes changes and stops nothing.
func TestObserve(t *testing.T) {
	t.Parallel()
	found := []guardrail.Finding{{Category: "word", Count: 2, Score: 0.91}}
	for _, tt := range []struct {
		verdict guardrail.Verdict
		observe bool
		action  guardrail.Action
		want    string
	}{
		{guardrail.Verdict{Findings: found}, false, guardrail.Pass, "a=flagged"},
		{guardrail.Verdict{Action: guardrail.Block, Findings: found}, false, guardrail.Block, "a=blocked"},
		{guardrail.Verdict{Action: guardrail.Block, Findings: found}, true, guardrail.Pass, "a=flagged"},
		{guardrail.Verdict{Action: guardrail.Rewrite, Replacements: []guardrail.Replacement{{Text: "*"}}, Findings: found}, true, guardrail.Pass, "a=flagged"},
	} {
		m := member("a", fake{check: func(context.Context, *guardrail.Check) (guardrail.Verdict, error) { return tt.verdict, nil }}, guardrail.Description{})
		m.Observe = tt.observe
		d, err := chain(m).For("m", guardrail.Choice{}).Before(t.Context(), request(`{"prompt":"x"}`))
		if err != nil || d.Action != tt.action || statuses(d.Results) != tt.want || d.Results[0].Found() != "word 2 0.91" || string(d.Body) != `{"prompt":"x"}` {
			t.Errorf("%+v: got %+v, %v", tt.verdict, d, err)
		}
	}
	m := member("a", fake{check: func(context.Context, *guardrail.Check) (guardrail.Verdict, error) {
		return guardrail.Verdict{}, errors.New("broken")
	}}, guardrail.Description{})
	m.Observe = true
	if d, err := chain(m).For("m", guardrail.Choice{}).Before(t.Context(), request(`{}`)); err != nil || d.Action != guardrail.Pass || statuses(d.Results) != "a=not_run" {
		t.Errorf("an observer that fails: got %+v, %v", d, err)
	}
}

func TestStreamCheck_Observe(t *testing.T) {
	t.Parallel()
	blocks, masks := member("a", &finder{word: "secret"}, guardrail.Description{HoldBack: 5}), member("b", masker{"secret", "*"}, guardrail.Description{HoldBack: 5})
	blocks.Observe, masks.Observe = true, true
	c, err := chain(blocks, masks).For("m", guardrail.Choice{}).Stream(t.Context(), request(""))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	event := chunks("my secret")[0]
	if _, err := c.Feed(t.Context(), []byte(event)); err != nil {
		t.Fatal(err)
	}
	out, _, err := c.Finish(t.Context(), nil)
	if err != nil || len(out) != 1 || string(out[0]) != event || statuses(c.Results()) != "a=flagged b=flagged" {
		t.Errorf("got %q, %v, %s", out, err, statuses(c.Results()))
	}
}

// What has left cannot be replaced: the guardrail counts as not run.
func TestStreamCheck_RewriteTooLate(t *testing.T) {
	t.Parallel()
	set := chain(member("a", masker{"secret", "*"}, guardrail.Description{HoldBack: 2})).For("m", guardrail.Choice{})
	out, err := relay(t, set, chunks("s", "ecr", "et"))
	if err == nil || strings.Contains(out, "et\"") {
		t.Errorf("got %q, %v", out, err)
	}
}

// A whole answer that only a guardrail of streams sees is rewritten too.
func TestSet_RewritesAsStream(t *testing.T) {
	t.Parallel()
	set := chain(member("a", masker{"secret", "*"}, guardrail.Description{Hooks: []resource.Hook{resource.HookDuring}})).For("m", guardrail.Choice{})
	d, err := set.After(t.Context(), request(`{"choices":[{"message":{"content":"a secret"}},{"message":{"content":"none"}}]}`))
	if err != nil || string(d.Body) != `{"choices":[{"message":{"content":"a *"}},{"message":{"content":"none"}}]}` {
		t.Errorf("got %s, %v", d.Body, err)
	}
}

// frame is one of Amazon's event stream, with a header.
func frame(payload string) []byte {
	head := "\x01a\x07\x00\x01b"
	out := binary.BigEndian.AppendUint32(nil, uint32(16+len(head)+len(payload)))
	out = binary.BigEndian.AppendUint32(out, uint32(len(head)))
	out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out))
	out = append(append(out, head...), payload...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out))
}

func TestStreamCheck_RewritesFrames(t *testing.T) {
	t.Parallel()
	set := chain(member("a", masker{"secret", "*"}, guardrail.Description{HoldBack: 5})).For("m", guardrail.Choice{})
	const event = `{"contentBlockIndex":0,"delta":{"text":%q}}`
	out, err := relay(t, set, []string{string(frame(fmt.Sprintf(event, "my sec"))), string(frame(fmt.Sprintf(event, "ret"))), "data: [DONE]\n\n"})
	want := string(frame(fmt.Sprintf(event, "my *"))) + string(frame(fmt.Sprintf(event, ""))) + "data: [DONE]\n\n"
	if err != nil || out != want {
		t.Errorf("got %q, %v, want %q", out, err, want)
	}
}

// What a frame holds in base64, as those of InvokeModel do, is read and changed in there.
func TestStreamCheck_RewritesWrapped(t *testing.T) {
	t.Parallel()
	set := chain(member("a", masker{"secret", "*"}, guardrail.Description{HoldBack: 5})).For("m", guardrail.Choice{})
	wrapped := func(text string) string {
		return string(frame(`{"bytes":"` + base64.StdEncoding.EncodeToString(fmt.Appendf(nil, `{"outputText":%q}`, text)) + `"}`))
	}
	out, err := relay(t, set, []string{wrapped("my sec"), wrapped("ret"), "data: [DONE]\n\n"})
	if want := wrapped("my *") + wrapped("") + "data: [DONE]\n\n"; err != nil || out != want {
		t.Errorf("got %q, %v, want %q", out, err, want)
	}
}
