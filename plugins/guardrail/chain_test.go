package guardrail_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/resource"
)

// fake is a Backend made of functions.
type fake struct {
	check  func(context.Context, *guardrail.Check) (guardrail.Verdict, error)
	stream func(context.Context, *guardrail.Info) (guardrail.Stream, error)
}

func (f fake) Check(ctx context.Context, c *guardrail.Check) (guardrail.Verdict, error) {
	return f.check(ctx, c)
}

func (f fake) OpenStream(ctx context.Context, i *guardrail.Info) (guardrail.Stream, error) {
	return f.stream(ctx, i)
}

// finder blocks texts with the word, also in streams, whose tails it keeps whole.
type finder struct {
	word string
	mu   sync.Mutex
	seen map[string]string
}

func (f *finder) Check(_ context.Context, c *guardrail.Check) (guardrail.Verdict, error) {
	for _, t := range c.Texts {
		if strings.Contains(t.Text, f.word) {
			return guardrail.Verdict{Action: guardrail.Block, Message: "found"}, nil
		}
	}
	return guardrail.Verdict{}, nil
}

func (f *finder) OpenStream(context.Context, *guardrail.Info) (guardrail.Stream, error) {
	return &finder{word: f.word, seen: map[string]string{}}, nil
}

func (f *finder) Chunk(_ context.Context, parts []guardrail.Part) (guardrail.Verdict, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range parts {
		f.seen[p.Channel] += p.Text
		if strings.Contains(f.seen[p.Channel], f.word) {
			return guardrail.Verdict{Action: guardrail.Block, Message: "found"}, nil
		}
	}
	return guardrail.Verdict{}, nil
}

func (f *finder) End(context.Context) (guardrail.Verdict, error) { return guardrail.Verdict{}, nil }

func (f *finder) Close() {}

var allHooks = []resource.Hook{resource.HookBefore, resource.HookDuring, resource.HookAfter}

// member is a running guardrail.
func member(name string, b guardrail.Backend, d guardrail.Description) *guardrail.Member {
	m := &guardrail.Member{Name: name, OnError: resource.OnErrorBlock, Deadline: time.Second}
	if d.Hooks == nil {
		d.Hooks = allHooks
	}
	m.Set(&guardrail.Live{Backend: b, Description: d})
	return m
}

func chain(ms ...*guardrail.Member) *guardrail.Chain {
	c := guardrail.NewChain(nil, nil)
	c.Replace(ms)
	return c
}

func rewriter(from, to string) fake {
	return fake{check: func(_ context.Context, c *guardrail.Check) (guardrail.Verdict, error) {
		v := guardrail.Verdict{Action: guardrail.Rewrite}
		for i, t := range c.Texts {
			v.Replacements = append(v.Replacements, guardrail.Replacement{Index: i, Text: strings.ReplaceAll(t.Text, from, to)})
		}
		return v, nil
	}}
}

func request(body string) *guardrail.Request { return &guardrail.Request{Body: []byte(body)} }

func TestChain_For(t *testing.T) {
	t.Parallel()
	onlyGPT := member("gpt", &finder{}, guardrail.Description{})
	onlyGPT.Models = []string{"gpt*"}
	optional := member("opt", &finder{}, guardrail.Description{})
	optional.Optional = true
	c := chain(optional, onlyGPT)
	for _, tt := range []struct {
		name, model string
		requested   []string
		want        []string
	}{
		{"none applies", "claude", nil, nil},
		{"by model", "gpt-5", nil, []string{"gpt"}},
		{"optional when named", "claude", []string{"opt"}, []string{"opt"}},
		{"both by name", "gpt-5", []string{"opt"}, []string{"gpt", "opt"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			set := c.For(tt.model, guardrail.Choice{Asked: tt.requested})
			if diff := cmp.Diff(tt.want, set.Names()); diff != "" {
				t.Error(diff)
			}
			if (set == nil) != (tt.want == nil) {
				t.Errorf("got set %v, want nil only when nothing applies", set)
			}
		})
	}
	_, err := c.For("claude", guardrail.Choice{Asked: []string{"nope"}}).Before(t.Context(), request(`{}`))
	if e := (*llm.Error)(nil); !errors.As(err, &e) || e.Kind != llm.Invalid {
		t.Errorf("a guardrail that does not exist: got %v, want kind Invalid", err)
	}
}

func TestSet_Before(t *testing.T) {
	t.Parallel()
	fails := fake{check: func(context.Context, *guardrail.Check) (guardrail.Verdict, error) {
		return guardrail.Verdict{}, errors.New("broken")
	}}
	outOfRange := fake{check: func(context.Context, *guardrail.Check) (guardrail.Verdict, error) {
		return guardrail.Verdict{Action: guardrail.Rewrite, Replacements: []guardrail.Replacement{{Index: 0, Text: "x"}, {Index: 9, Text: "y"}}}, nil
	}}
	passing := func(m *guardrail.Member) *guardrail.Member { m.OnError = resource.OnErrorPass; return m }
	down := func(m *guardrail.Member) *guardrail.Member { m.Set(nil); return m }
	only := func(m *guardrail.Member, h ...resource.Hook) *guardrail.Member { m.Hooks = h; return m }
	none := guardrail.Description{}
	for _, tt := range []struct {
		name     string
		members  []*guardrail.Member
		action   guardrail.Action
		body     string
		statuses string
	}{
		{"in the order of names", []*guardrail.Member{member("b", rewriter("y", "z"), none), member("a", rewriter("x", "y"), none)}, guardrail.Rewrite, `{"prompt":"z"}`, "a=rewritten b=rewritten"},
		{"the next one sees the rewrite", []*guardrail.Member{member("a", rewriter("x", "w"), none), member("b", &finder{word: "x"}, none)}, guardrail.Rewrite, `{"prompt":"w"}`, "a=rewritten b=passed"},
		{"a block ends it", []*guardrail.Member{member("a", &finder{word: "x"}, none), member("b", fails, none)}, guardrail.Block, `{"prompt":"x"}`, "a=blocked"},
		{"an error blocks", []*guardrail.Member{member("a", fails, none)}, guardrail.Block, `{"prompt":"x"}`, "a=not_run"},
		{"an error passes", []*guardrail.Member{passing(member("a", fails, none))}, guardrail.Pass, `{"prompt":"x"}`, "a=not_run"},
		{"not running", []*guardrail.Member{down(member("a", fails, none))}, guardrail.Block, `{"prompt":"x"}`, "a=not_run"},
		{"half a rewrite is none", []*guardrail.Member{passing(member("a", outOfRange, none))}, guardrail.Pass, `{"prompt":"x"}`, "a=not_run"},
		{"undeclared hooks cost nothing", []*guardrail.Member{member("a", fails, guardrail.Description{Hooks: []resource.Hook{resource.HookAfter}})}, guardrail.Pass, `{"prompt":"x"}`, ""},
		{"a configured hook that the plugin lacks", []*guardrail.Member{only(member("a", fails, guardrail.Description{Hooks: []resource.Hook{resource.HookAfter}}), resource.HookBefore)}, guardrail.Block, `{"prompt":"x"}`, "a=not_run"},
		{"unconfigured hooks cost nothing", []*guardrail.Member{only(member("a", fails, none), resource.HookAfter)}, guardrail.Pass, `{"prompt":"x"}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d, err := chain(tt.members...).For("m", guardrail.Choice{}).Before(t.Context(), request(`{"prompt":"x"}`))
			if err != nil {
				t.Fatal(err)
			}
			if d.Action != tt.action || string(d.Body) != tt.body || statuses(d.Results) != tt.statuses {
				t.Errorf("got %v %s %q, want %v %s %q", d.Action, d.Body, statuses(d.Results), tt.action, tt.body, tt.statuses)
			}
			if (d.Err() != nil) != (tt.action == guardrail.Block) {
				t.Errorf("got error %v for %v", d.Err(), d.Action)
			}
		})
	}
}

// A prompt that is the ids of its tokens is no text: nobody here knows which, and nothing has passed.
func TestSet_TokenIDs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		body, param string
	}{
		{`{"prompt":[70,71,72]}`, "prompt"},
		{`{"prompt":["a",[70]],"suffix":"b"}`, "prompt"},
		{`{"model":"m","input":[[1,2],[3]]}`, "input"},
		{`{"prompt":"a","prompt_token_ids":[1]}`, "prompt_token_ids"},
		{`{"prompt":["70"],"logit_bias":{"70":-100},"stop_token_ids":[1]}`, ""},
		{`{"input":[{"type":"message","content":[{"type":"input_text","text":"a","box":[1,2]}]}]}`, ""},
		{`{"input":[],"dimensions":3,"vector":[1]}`, ""},
	} {
		for _, onError := range []resource.OnError{resource.OnErrorBlock, resource.OnErrorPass} {
			m := member("a", &finder{word: "forbidden"}, guardrail.Description{})
			m.OnError = onError
			d, err := chain(m).For("m", guardrail.Choice{}).Before(t.Context(), request(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if tt.param == "" {
				if d.Err() != nil || statuses(d.Results) != "a=passed" {
					t.Errorf("%s: got %v, %s", tt.body, d.Err(), statuses(d.Results))
				}
				continue
			}
			if statuses(d.Results) != "a=not_run" || !errors.Is(d.Results[0].Err, guardrail.ErrTokens) {
				t.Errorf("%s: got %s, %v", tt.body, statuses(d.Results), d.Results[0].Err)
			}
			var e *llm.Error
			refused := errors.As(d.Err(), &e) && e.Kind == llm.Invalid && e.Code == guardrail.CodeNotRun && e.Param == tt.param &&
				e.Message == "guardrail a did not run: token ids cannot be checked; send text"
			if refused != (onError == resource.OnErrorBlock) || d.Err() != nil && !refused {
				t.Errorf("%s, on_error %s: got %v", tt.body, onError, d.Err())
			}
		}
	}
	d, err := chain(member("a", &finder{}, guardrail.Description{})).For("m", guardrail.Choice{}).After(t.Context(), request(`{"input":[1],"output":[]}`))
	if err != nil || d.Err() != nil {
		t.Errorf("an answer: got %v, %v", d.Err(), err)
	}
}

func statuses(rs []guardrail.Result) string {
	var out []string
	for _, r := range rs {
		out = append(out, r.Guardrail+"="+string(r.Status))
	}
	return strings.Join(out, " ")
}

func TestSet_Canceled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	set := chain(member("a", fake{check: func(ctx context.Context, _ *guardrail.Check) (guardrail.Verdict, error) {
		cancel()
		<-ctx.Done()
		return guardrail.Verdict{}, ctx.Err()
	}}, guardrail.Description{})).For("m", guardrail.Choice{})
	if _, err := set.Before(ctx, request(`{"prompt":"x"}`)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the client's cancellation and no not_run", err)
	}
}

// An answer is checked by a guardrail of streams too, and a stream by one of whole answers.
func TestSet_OutputCannotBeAvoided(t *testing.T) {
	t.Parallel()
	for _, hooks := range [][]resource.Hook{{resource.HookDuring}, {resource.HookAfter}} {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v stream=%v", hooks, stream), func(t *testing.T) {
				t.Parallel()
				set := chain(member("a", &finder{word: "secret"}, guardrail.Description{Hooks: hooks, HoldBack: 5})).For("m", guardrail.Choice{})
				if !set.ChecksAnswers() {
					t.Fatal("set does not check answers")
				}
				if !stream {
					d, err := set.After(t.Context(), request(`{"choices":[{"message":{"content":"a secret"}}]}`))
					if err != nil || d.Action != guardrail.Block {
						t.Errorf("got %+v, %v, want a block", d, err)
					}
					return
				}
				out, err := relay(t, set, chunks("a sec", "ret b"))
				if !guardrail.IsBlocked(err) || strings.Contains(out, "sec") {
					t.Errorf("got %q, %v, want a block before the word", out, err)
				}
			})
		}
	}
}

// chunks makes the events of a streamed chat answer.
func chunks(texts ...string) []string {
	var events []string
	for _, s := range texts {
		events = append(events, fmt.Sprintf("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":%q}}]}\n\n", s))
	}
	return append(events, "data: [DONE]\n\n")
}

// relay feeds the events and returns the raw bytes that a client would get.
func relay(t testing.TB, set *guardrail.Set, events []string) (string, error) {
	t.Helper()
	c, err := set.Stream(t.Context(), request(""))
	if err != nil {
		return "", err
	}
	defer c.Close()
	var out strings.Builder
	buf := make([]byte, 0, 1<<12)
	for _, e := range events {
		buf = append(buf[:0], e...) // as a reader does, which uses its buffer again
		events, err := c.Feed(t.Context(), buf)
		for _, e := range events {
			out.Write(e)
		}
		if err != nil {
			return out.String(), err
		}
	}
	return out.String(), nil
}

func TestStreamCheck_EverySplit(t *testing.T) {
	t.Parallel()
	const word, text = "forbidden", "this is a forbidden word, and more of it"
	set := chain(member("a", &finder{word: word}, guardrail.Description{HoldBack: len(word) - 1})).For("m", guardrail.Choice{})
	for i := range len(text) {
		for j := i; j < len(text); j++ {
			out, err := relay(t, set, chunks(text[:i], text[i:j], text[j:]))
			if !guardrail.IsBlocked(err) {
				t.Fatalf("split at %d and %d: got error %v, want a block", i, j, err)
			}
			if strings.Contains(out, "f") {
				t.Fatalf("split at %d and %d: %q left", i, j, out)
			}
		}
	}
}

func TestStreamCheck_Channels(t *testing.T) {
	t.Parallel()
	set := chain(member("a", &finder{word: "secret"}, guardrail.Description{HoldBack: 5})).For("m", guardrail.Choice{})
	event := func(choice int, field, text string) string {
		return fmt.Sprintf("data: {\"choices\":[{\"delta\":{%q:%q},\"index\":%d}]}\n\n", field, text, choice)
	}
	tool := func(call int, args string) string {
		return fmt.Sprintf("data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":%d,\"function\":{\"arguments\":%q}}]}}]}\n\n", call, args)
	}
	for _, tt := range []struct {
		name   string
		events []string
		block  bool
	}{
		{"choices side by side", []string{event(0, "content", "sec"), event(1, "content", "ret"), event(0, "content", "ond")}, false},
		{"second choice", []string{event(1, "content", "sec"), event(0, "content", "x"), event(1, "content", "ret")}, true},
		{"reasoning", []string{event(0, "reasoning_content", "sec"), event(0, "reasoning_content", "ret")}, true},
		{"tool calls", []string{tool(0, "sec"), tool(1, "x"), tool(0, "ret")}, true},
		{"tool calls side by side", []string{tool(0, "sec"), tool(1, "ret")}, false},
		{"not JSON", []string{"data: oops secret\n\n"}, true},
		{"event over two lines", []string{"event: x\r\ndata: {\"delta\":\r\ndata: \"secret\"}\r\n\r\n"}, true},
		{"nothing leaves after the end", []string{"data: [DONE]\n\n", event(0, "content", "secret")}, false},
		{"comments", []string{": ping\n\n"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			out, err := relay(t, set, append(tt.events, "data: [DONE]\n\n"))
			if guardrail.IsBlocked(err) != tt.block {
				t.Fatalf("got %v, want block %v", err, tt.block)
			}
			want, _, _ := strings.Cut(strings.Join(tt.events, ""), "data: [DONE]")
			if want += "data: [DONE]\n\n"; !tt.block && out != want {
				t.Errorf("got %q, want %q", out, want)
			}
		})
	}
}

func FuzzStreamCheck(f *testing.F) {
	f.Add([]byte("data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n"), []byte("data: [DONE]\n\n"))
	f.Add([]byte(": ping\n\n"), []byte("event: e\r\ndata: {\r\ndata: }\r\n"))
	f.Add([]byte("data: secr"), []byte("data: et"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		set := chain(member("a", &finder{word: "secret"}, guardrail.Description{HoldBack: 5})).For("m", guardrail.Choice{})
		events := []string{string(a), string(b), "data: [DONE]\n\n"}
		out, err := relay(t, set, events)
		if all := strings.Join(events, ""); !strings.HasPrefix(all, out) || (err == nil && !strings.Contains(out, "[DONE]")) {
			t.Errorf("got %q, %v of %q", out, err, all)
		}
	})
}

func TestStreamCheck_HoldBack(t *testing.T) {
	t.Parallel()
	set := chain(member("a", &finder{word: "zzzz"}, guardrail.Description{HoldBack: 3})).For("m", guardrail.Choice{})
	c, err := set.Stream(t.Context(), request(""))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	events := chunks("ab", "cd", "ef")
	for i, want := range []int{0, 0, 1, 3} {
		out, err := c.Feed(t.Context(), []byte(events[i]))
		if err != nil || len(out) != want {
			t.Errorf("event %d releases %d, %v, want %d", i, len(out), err, want)
		}
	}
	if got := statuses(c.Results()); got != "a=passed" {
		t.Errorf("got %q, want a=passed", got)
	}
}

func TestStreamCheck_Errors(t *testing.T) {
	t.Parallel()
	broken := fake{stream: func(context.Context, *guardrail.Info) (guardrail.Stream, error) {
		return brokenStream{}, nil
	}}
	for _, tt := range []struct {
		onError resource.OnError
		block   bool
	}{{resource.OnErrorBlock, true}, {resource.OnErrorPass, false}} {
		t.Run(string(tt.onError), func(t *testing.T) {
			t.Parallel()
			m := member("a", broken, guardrail.Description{HoldBack: 100})
			m.OnError = tt.onError
			set := chain(m, member("b", &finder{word: "zzz"}, guardrail.Description{})).For("m", guardrail.Choice{})
			out, err := relay(t, set, chunks("one", "two"))
			if tt.block {
				if e := (*llm.Error)(nil); !errors.As(err, &e) || e.Kind != llm.Unavailable || out != "" {
					t.Errorf("got %q, %v, want kind Unavailable and nothing sent", out, err)
				}
				return
			}
			if want := strings.Join(chunks("one", "two"), ""); err != nil || out != want {
				t.Errorf("got %q, %v, want %q", out, err, want)
			}
		})
	}
}

type brokenStream struct{}

func (brokenStream) Chunk(context.Context, []guardrail.Part) (guardrail.Verdict, error) {
	return guardrail.Verdict{}, errors.New("broken")
}

func (brokenStream) End(context.Context) (guardrail.Verdict, error) {
	return guardrail.Verdict{}, errors.New("broken")
}

func (brokenStream) Close() {}

func TestSet_Nil(t *testing.T) {
	c := guardrail.NewChain(nil, nil)
	set := c.For("m", guardrail.Choice{})
	body := []byte(`{"prompt":"x"}`)
	if n := testing.AllocsPerRun(100, func() {
		if c.For("m", guardrail.Choice{}) != nil || set.ChecksAnswers() {
			t.Error("an empty chain has a set")
		}
	}); n != 0 {
		t.Errorf("a nil set costs %v allocations", n)
	}
	if d, err := set.Before(t.Context(), &guardrail.Request{Body: body}); err != nil || d.Action != guardrail.Pass || d.Err() != nil {
		t.Errorf("got %+v, %v, want a pass", d, err)
	}
	st, err := set.Stream(t.Context(), request(""))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if out, err := st.Feed(t.Context(), body); err != nil || len(out) != 1 {
		t.Errorf("got %q, %v, want the event itself", out, err)
	}
}

func BenchmarkChain_For(b *testing.B) {
	empty := guardrail.NewChain(nil, nil)
	cached := chain(member("a", &finder{}, guardrail.Description{}))
	b.Run("nil", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			empty.For("m", guardrail.Choice{})
		}
	})
	b.Run("cached", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			cached.For("m", guardrail.Choice{})
		}
	})
}
