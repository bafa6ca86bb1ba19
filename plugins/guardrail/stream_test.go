package guardrail_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/resource"
)

// Descriptions of guardrails that check whole answers alone, and streams alone.
var (
	whole  = guardrail.Description{Hooks: []resource.Hook{resource.HookAfter}}
	during = guardrail.Description{Hooks: []resource.Hook{resource.HookDuring}, HoldBack: 16}
)

// Whatever mix of guardrails looks at a streamed answer, what leaves is what leaves of a whole one, and nothing of what
// any of them has masked.
func TestStreamCheck_Mixed(t *testing.T) {
	t.Parallel()
	alice, bob, phone := masker{"alice@x.org", "<EMAIL>"}, rewriter("Bob", "<NAME>"), rewriter("555-1234", "<PHONE>")
	for _, tt := range []struct {
		name          string
		members       []*guardrail.Member
		want, results string
	}{
		{
			"two of whole answers",
			[]*guardrail.Member{member("a", rewriter("alice@x.org", "<EMAIL>"), whole), member("b", phone, whole)},
			"mail <EMAIL> or call Bob at <PHONE> ok", "a=rewritten b=rewritten",
		},
		{
			"one of streams, then one of whole answers",
			[]*guardrail.Member{member("a", alice, during), member("b", bob, whole)},
			"mail <EMAIL> or call <NAME> at 555-1234 ok", "a=rewritten b=rewritten",
		},
		{
			"one of whole answers, then one of streams",
			[]*guardrail.Member{member("a", bob, whole), member("b", alice, during)},
			"mail <EMAIL> or call <NAME> at 555-1234 ok", "a=rewritten b=rewritten",
		},
		{
			"one of streams sees what one of whole answers has put there",
			[]*guardrail.Member{member("a", rewriter("Bob", "alice@x.org"), whole), member("b", alice, during)},
			"mail <EMAIL> or call <EMAIL> at 555-1234 ok", "a=rewritten b=rewritten",
		},
		{
			"three",
			[]*guardrail.Member{member("a", bob, whole), member("b", alice, during), member("c", phone, whole)},
			"mail <EMAIL> or call <NAME> at <PHONE> ok", "a=rewritten b=rewritten c=rewritten",
		},
		{
			"one that leaves all as it is",
			[]*guardrail.Member{member("a", rewriter("nothing", ""), whole), member("b", alice, during), member("c", bob, whole)},
			"mail <EMAIL> or call <NAME> at 555-1234 ok", "a=rewritten b=rewritten c=rewritten",
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
			events := chunks("mail ali", "ce@x.o", "rg or call B", "ob at 555-1", "234 ok")
			var out strings.Builder
			for _, e := range events {
				left, err := c.Feed(t.Context(), []byte(e))
				if err != nil {
					t.Fatal(err)
				}
				for _, l := range left {
					out.Write(l)
				}
			}
			if got := content(t, out.String()); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if got := statuses(c.Results()); got != tt.results {
				t.Errorf("got %s, want %s", got, tt.results)
			}
			d, err := set.After(t.Context(), request(`{"choices":[{"message":{"content":"mail alice@x.org or call Bob at 555-1234 ok"}}]}`))
			if err != nil || string(d.Body) != `{"choices":[{"message":{"content":"`+tt.want+`"}}]}` {
				t.Errorf("whole: got %s, %v", d.Body, err)
			}
		})
	}
}

// A guardrail of streams blocks what one of whole answers has put into the answer.
func TestStreamCheck_BlocksRewritten(t *testing.T) {
	t.Parallel()
	set := chain(member("a", rewriter("Bob", "secret"), whole), member("b", &finder{word: "secret"}, during)).For("m", guardrail.Choice{})
	if out, err := relay(t, set, chunks("call B", "ob")); !guardrail.IsBlocked(err) || out != "" {
		t.Errorf("got %q, %v", out, err)
	}
}

// Arguments that come whole in an event stay in it, though others of the same names come later.
func TestStreamCheck_Calls(t *testing.T) {
	t.Parallel()
	call := func(city string) string {
		return `data: {"candidates":[{"content":{"role":"model","parts":[{"functionCall":{"name":"f","args":{"data":"` + city + `"}}}]},"index":0}]}` + "\n\n"
	}
	for _, m := range []*guardrail.Member{member("a", rewriter("Rome", "*"), whole), member("a", masker{"Rome", "*"}, during)} {
		out, err := relay(t, chain(m).For("m", guardrail.Choice{}), []string{call("Paris"), call("Rome"), "data: [DONE]\n\n"})
		if err != nil || out != call("Paris")+call("*")+"data: [DONE]\n\n" {
			t.Errorf("got %q, %v", out, err)
		}
	}
}

// teller knows one header and who asks.
type teller struct{}

func (teller) Header(name string) string {
	if name == "x-team" {
		return "law"
	}
	return ""
}

func (teller) Caller() *guardrail.Caller { return &guardrail.Caller{KeyName: "k"} }

// asked is the body of a request, and askedTexts its texts.
const asked = `{"model":"m","messages":[{"role":"system","content":"be kind"},{"role":"user","content":"hello"}]}`

var askedTexts = []guardrail.Text{{Path: "messages.0.content", Role: "system", Text: "be kind"}, {Path: "messages.1.content", Role: "user", Text: "hello"}}

// A guardrail of answers that wants to see what was asked is shown it with whole answers alone; another one is not.
func TestChain_Request(t *testing.T) {
	t.Parallel()
	for _, wants := range []bool{true, false} {
		for _, hook := range []resource.Hook{resource.HookBefore, resource.HookAfter} {
			var got *guardrail.Check
			m := member("a", fake{check: func(_ context.Context, c *guardrail.Check) (guardrail.Verdict, error) {
				got = c
				return guardrail.Verdict{}, nil
			}}, guardrail.Description{Hooks: []resource.Hook{hook}, WantsRequest: wants})
			set := chain(m).For("m", guardrail.Choice{})
			ask, q := set.After, &guardrail.Request{Body: []byte(`{"choices":[{"message":{"role":"assistant","content":"hi"}}]}`), Asked: []byte(asked)}
			if hook == resource.HookBefore {
				ask = set.Before
			}
			if _, err := ask(t.Context(), q); err != nil {
				t.Fatal(err)
			}
			want := askedTexts
			if !wants || hook == resource.HookBefore {
				want = nil
			}
			if diff := cmp.Diff(want, got.Request); diff != "" {
				t.Errorf("%s, wants %v (-want +got):\n%s", hook, wants, diff)
			}
		}
	}
}

// A guardrail of whole answers is told at the end of a stream what it is told of a whole answer.
func TestStreamCheck_Tells(t *testing.T) {
	t.Parallel()
	var got *guardrail.Check
	m := member("b", fake{check: func(_ context.Context, c *guardrail.Check) (guardrail.Verdict, error) {
		got = c
		return guardrail.Verdict{}, nil
	}}, guardrail.Description{Hooks: whole.Hooks, WantsBody: true, WantsCaller: true, WantsRequest: true, WantsHeaders: []string{"X-Team", "x-other"}})
	m.Headers = []string{"x-team"}
	masks := member("a", rewriter("secret", "*"), whole)
	q := &guardrail.Request{Info: guardrail.Info{Model: "m"}, Teller: teller{}, Asked: []byte(asked)}
	for _, tt := range []struct {
		name  string
		whole func(events [][]byte) ([]byte, error)
		body  string
	}{
		{"events", nil, `{"events":[{"choices":[{"index":0,"delta":{"content":"a *"}}]},{"choices":[{"index":0,"delta":{"content":""}}]},"no JSON"]}`},
		{"put together", func(events [][]byte) ([]byte, error) { return events[0], nil }, chunks("a *")[0]},
	} {
		q.Whole = tt.whole
		c, err := chain(masks, m).For("m", guardrail.Choice{}).Stream(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		events := chunks("a sec", "ret")
		for _, e := range append(events[:2:2], ": ping\n\n", "data: no JSON\n\n", events[2]) {
			if _, err := c.Feed(t.Context(), []byte(e)); err != nil {
				t.Fatal(err)
			}
		}
		c.Close()
		want := &guardrail.Check{
			Hook: resource.HookAfter, Info: guardrail.Info{Model: "m", Stream: true}, Body: []byte(tt.body),
			Texts:   []guardrail.Text{{Path: "choices#0.delta.content", Role: "assistant", Text: "a *"}, {Path: "event", Role: "assistant", Text: "no JSON"}},
			Headers: []guardrail.Header{{Name: "x-team", Value: "law"}}, Caller: &guardrail.Caller{KeyName: "k"}, Request: askedTexts,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: check (-want +got):\n%s\n%s", tt.name, diff, got.Body)
		}
	}
}

// An event of any size leaves when nobody holds it: no guardrail is left, or the one there is has seen enough. One that
// is held for longer than can be is not sent, and its guardrail has not passed it.
func TestStreamCheck_LargeEvents(t *testing.T) {
	t.Parallel()
	event := chunks(strings.Repeat("x", 17<<20))[0]
	dead := member("a", &finder{word: "z"}, during)
	dead.OnError = resource.OnErrorPass
	dead.Set(nil)
	for _, tt := range []struct {
		name    string
		m       *guardrail.Member
		leaves  bool
		results string
	}{
		{"nobody is left", dead, true, "a=not_run"},
		{"no hold-back", member("a", &finder{word: "z"}, guardrail.Description{}), true, "a=passed"},
		{"held", member("a", &finder{word: "z"}, during), false, "a=not_run"},
	} {
		c, err := chain(tt.m).For("m", guardrail.Choice{}).Stream(t.Context(), request(""))
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.Feed(t.Context(), []byte(event))
		if (err == nil && len(out) == 1 && string(out[0]) == event) != tt.leaves {
			t.Errorf("%s: got %d events, %v", tt.name, len(out), err)
		}
		if _, err := c.End(t.Context()); (err == nil) != tt.leaves {
			t.Errorf("%s: at the end %v", tt.name, err)
		}
		if got := statuses(c.Results()); got != tt.results {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.results)
		}
		c.Close()
	}
}
