package plugintest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/resource"
)

type guardrailKit struct {
	c    GuardrailCase
	from source
}

func (k *guardrailKit) checks() []check {
	return append([]check{
		{"describes itself", k.describes},
		{"describes itself the same each time", k.stable},
		{"refuses bad configurations", k.refuses},
		{"passes a harmless text", k.passes},
		{"passes a body without texts", k.empty},
		{"stops what it must", k.stops},
		{"finds it behind many texts", k.many},
		{"does not repeat what it blocks", k.discreet},
		{"names findings without their texts", k.findings},
		{"rewrites only texts that are there", k.indexes},
		{"judges a text the same each time", k.steady},
		{"judges at the same time", k.concurrent},
		{"takes a text of a megabyte", k.large},
		{"takes sixty thousand texts", k.numerous},
		{"takes strange texts", k.strange},
		{"heeds cancellation", k.cancelled},
		{"lives through a flood of cancelled checks", k.cancelFlood},
		{"lives through a flood of checks", k.flood},
		{"passes a harmless stream", k.streamPasses},
		{"stops a word that is cut anywhere", k.streamStops},
		{"keeps texts side by side apart", k.channels},
		{"keeps streams apart", k.streamsApart},
		{"lives through streams that are dropped", k.dropped},
		{"asks for no header that holds a credential", k.credentials},
		{"judges errors and records as a node takes it", k.others},
		{"answers in a form that the endpoint takes", k.answers},
		{"does at each hook what it is for", k.hookCases},
	}, k.wireChecks()...)
}

// start serves a fresh plugin and configures it.
func (k *guardrailKit) start(t *testing.T) (*guardrail.Client, sdk.GuardrailDescription) {
	t.Helper()
	c := guardrail.NewClient(k.from.connect(t))
	t.Cleanup(c.Close)
	d, err := c.Configure(short(t), sdk.GuardrailSettings{Name: "test", Config: k.c.Config})
	if err != nil {
		t.Fatalf("the configuration is refused: %v", err)
	}
	return c, d
}

func (k *guardrailKit) describes(t *testing.T) {
	_, d := k.start(t)
	if len(d.Hooks) == 0 {
		t.Error("no hooks: the plugin would never be asked")
	}
	if d.Version == "" {
		t.Error("no version")
	}
	if d.HoldBack > 1<<20 {
		t.Errorf("hold-back of %d bytes: say HoldAll", d.HoldBack)
	}
}

func (k *guardrailKit) stable(t *testing.T) {
	_, a := k.start(t)
	_, b := k.start(t)
	if a.HoldBack != b.HoldBack || a.HoldAll != b.HoldAll || len(a.Hooks) != len(b.Hooks) {
		t.Errorf("one configuration is described as %+v and as %+v", a, b)
	}
}

func (k *guardrailKit) refuses(t *testing.T) {
	for _, bad := range k.c.Bad {
		c := guardrail.NewClient(k.from.connect(t))
		if _, err := c.Configure(short(t), sdk.GuardrailSettings{Name: "test", Config: bad}); err == nil {
			t.Errorf("%s is accepted", bad)
		}
		c.Close()
	}
}

// hooks are those of whole bodies that the plugin wants.
func hooks(d sdk.GuardrailDescription) []resource.Hook {
	var out []resource.Hook
	for _, h := range d.Hooks {
		if h == resource.HookBefore || h == resource.HookAfter {
			out = append(out, h)
		}
	}
	return out
}

// ask checks the texts at each hook of whole bodies.
func (k *guardrailKit) ask(t *testing.T, want func(sdk.Verdict) bool, texts ...string) {
	t.Helper()
	c, d := k.start(t)
	for _, h := range hooks(d) {
		v, err := c.Check(short(t), checkOf(h, texts...))
		if err != nil {
			t.Errorf("%s: %v", h, err)
		} else if !want(v) {
			t.Errorf("%s: got %v", h, v.Action)
		}
	}
}

// checkOf is a check of the texts.
func checkOf(h resource.Hook, texts ...string) *sdk.Check {
	c := &sdk.Check{Hook: h, Info: sdk.Info{RequestID: "test", Endpoint: "chat", Model: "test"}, Body: []byte("{}")}
	for _, s := range texts {
		c.Texts = append(c.Texts, sdk.Text{Path: "messages.0.content", Role: "user", Text: s})
	}
	return c
}

func passed(v sdk.Verdict) bool  { return v.Action == guardrail.Pass }
func stopped(v sdk.Verdict) bool { return v.Action != guardrail.Pass }
func anything(sdk.Verdict) bool  { return true }

func (k *guardrailKit) passes(t *testing.T) { k.ask(t, passed, k.c.Passes) }
func (k *guardrailKit) empty(t *testing.T)  { k.ask(t, passed) }

func (k *guardrailKit) stops(t *testing.T) {
	needs(t, k.c.Stops)
	k.ask(t, stopped, k.c.Stops)
}

func (k *guardrailKit) many(t *testing.T) {
	needs(t, k.c.Stops)
	texts := make([]string, 1000)
	for i := range texts {
		texts[i] = k.c.Passes
	}
	k.ask(t, stopped, append(texts, k.c.Stops)...)
}

func (k *guardrailKit) discreet(t *testing.T) {
	needs(t, k.c.Stops)
	k.ask(t, func(v sdk.Verdict) bool {
		return v.Action != guardrail.Block || (v.Message != "" && !strings.Contains(v.Message, k.c.Stops))
	}, k.c.Stops)
}

func (k *guardrailKit) indexes(t *testing.T) {
	needs(t, k.c.Stops)
	k.ask(t, func(v sdk.Verdict) bool {
		for _, r := range v.Replacements {
			if r.Index < 0 || r.Index > 1 {
				return false
			}
		}
		return true
	}, k.c.Passes, k.c.Stops)
}

func (k *guardrailKit) findings(t *testing.T) {
	needs(t, k.c.Stops)
	k.ask(t, func(v sdk.Verdict) bool {
		return !slices.ContainsFunc(v.Findings, func(f sdk.Finding) bool { return f.Category == "" || strings.Contains(f.Category, k.c.Stops) })
	}, k.c.Stops)
}

func (k *guardrailKit) steady(t *testing.T) {
	c, d := k.start(t)
	for _, h := range hooks(d) {
		var first sdk.Verdict
		for i := range 10 {
			v, err := c.Check(short(t), checkOf(h, k.c.Passes, k.c.Stops))
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				first = v
			}
			if v.Action != first.Action || len(v.Replacements) != len(first.Replacements) {
				t.Fatalf("%s: got %v, before it was %v", h, v.Action, first.Action)
			}
		}
	}
}

func (k *guardrailKit) concurrent(t *testing.T) {
	c, d := k.start(t)
	var wg sync.WaitGroup
	for _, h := range hooks(d) {
		for i := range 50 {
			text, want := k.c.Passes, passed
			if i%2 == 0 && k.c.Stops != "" {
				text, want = k.c.Stops, stopped
			}
			wg.Go(func() {
				if v, err := c.Check(short(t), checkOf(h, text)); err != nil || !want(v) {
					t.Errorf("got %v, %v", v.Action, err)
				}
			})
		}
	}
	wg.Wait()
}

func (k *guardrailKit) large(t *testing.T) {
	k.ask(t, anything, strings.Repeat(k.c.Passes+" ", 1+(1<<20)/(len(k.c.Passes)+1)))
}

func (k *guardrailKit) numerous(t *testing.T) {
	texts := make([]string, 60_000)
	for i := range texts {
		texts[i] = k.c.Passes
	}
	k.ask(t, passed, texts...)
}

func (k *guardrailKit) strange(t *testing.T) {
	k.ask(t, anything, "", "\x00", "\uFFFD", "\u202e\u0301", strings.Repeat("\U0001F468\u200D", 1000))
}

func (k *guardrailKit) cancelled(t *testing.T) {
	c, d := k.start(t)
	ctx, cancel := context.WithCancel(short(t))
	cancel()
	for _, h := range hooks(d) {
		_, _ = c.Check(ctx, checkOf(h, k.c.Passes)) // may or may not be answered
		if v, err := c.Check(short(t), checkOf(h, k.c.Passes)); err != nil || !passed(v) {
			t.Errorf("after a cancelled check: got %v, %v", v.Action, err)
		}
	}
}

// cancelFlood gives up a thousand checks while they are under way.
func (k *guardrailKit) cancelFlood(t *testing.T) {
	c, d := k.start(t)
	var wg sync.WaitGroup
	for _, h := range hooks(d) {
		for range 1000 {
			ctx, cancel := context.WithCancel(short(t))
			wg.Go(func() { _, _ = c.Check(ctx, checkOf(h, k.c.Passes)) }) // may or may not be answered
			wg.Go(cancel)
		}
		wg.Wait()
		if v, err := c.Check(short(t), checkOf(h, k.c.Passes)); err != nil || !passed(v) {
			t.Errorf("%s: afterwards: got %v, %v", h, v.Action, err)
		}
	}
}

// flood asks more at a time than a plugin works on.
func (k *guardrailKit) flood(t *testing.T) {
	c, d := k.start(t)
	var wg sync.WaitGroup
	for _, h := range hooks(d) {
		for range 2000 {
			wg.Go(func() {
				if v, err := c.Check(short(t), checkOf(h, k.c.Passes)); err != nil || !passed(v) {
					t.Errorf("%s: got %v, %v", h, v.Action, err)
				}
			})
		}
	}
	wg.Wait()
}

// streamer skips the test for a plugin that does not check streams.
func (k *guardrailKit) streamer(t *testing.T) (*guardrail.Client, sdk.GuardrailDescription) {
	t.Helper()
	c, d := k.start(t)
	if !slices.Contains(d.Hooks, resource.HookDuring) {
		t.Skip("the plugin does not check streams")
	}
	return c, d
}

// feed sends the chunks on one channel and says whether they, or the end, were stopped.
func feed(t *testing.T, c *guardrail.Client, parts ...sdk.Part) bool {
	t.Helper()
	st, err := c.OpenStream(short(t), &sdk.Info{Stream: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for _, p := range parts {
		v, err := st.Chunk(short(t), []sdk.Part{p})
		if err != nil {
			t.Fatal(err)
		}
		if stopped(v) {
			return true
		}
	}
	v, err := st.End(short(t))
	if err != nil {
		t.Fatal(err)
	}
	return stopped(v)
}

func on(channel string, texts ...string) []sdk.Part {
	var parts []sdk.Part
	for _, s := range texts {
		parts = append(parts, sdk.Part{Channel: channel, Text: s})
	}
	return parts
}

func (k *guardrailKit) streamPasses(t *testing.T) {
	c, _ := k.streamer(t)
	if feed(t, c, on("a", strings.SplitAfter(k.c.Passes, " ")...)...) {
		t.Error("a harmless stream is stopped")
	}
}

func (k *guardrailKit) streamStops(t *testing.T) {
	needs(t, k.c.Word)
	c, d := k.streamer(t)
	if !d.HoldAll && d.HoldBack < len(k.c.Word)-1 {
		t.Errorf("hold-back of %d bytes: the start of a word of %d would leave", d.HoldBack, len(k.c.Word))
	}
	for i := range k.c.Word {
		if !feed(t, c, on("a", k.c.Passes+" "+k.c.Word[:i], k.c.Word[i:]+" "+k.c.Passes)...) {
			t.Errorf("cut at %d it is not stopped", i)
		}
	}
	var letters []string
	for _, r := range k.c.Word {
		letters = append(letters, string(r))
	}
	if !feed(t, c, on("a", letters...)...) {
		t.Error("letter by letter it is not stopped")
	}
}

func (k *guardrailKit) channels(t *testing.T) {
	needs(t, k.c.Word)
	c, _ := k.streamer(t)
	half := len(k.c.Word) / 2
	parts := append(on("a", k.c.Word[:half]), on("b", " and ")...)
	if !feed(t, c, append(parts, on("a", k.c.Word[half:])...)...) {
		t.Error("a word is not stopped when another text comes between")
	}
}

func (k *guardrailKit) streamsApart(t *testing.T) {
	c, _ := k.streamer(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if feed(t, c, on("a", k.c.Passes)...) {
				t.Error("a harmless stream is stopped")
			}
		})
	}
	wg.Wait()
}

func (k *guardrailKit) dropped(t *testing.T) {
	c, _ := k.streamer(t)
	for range 100 {
		st, err := c.OpenStream(short(t), &sdk.Info{Stream: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Chunk(short(t), on("a", k.c.Passes)); err != nil {
			t.Fatal(err)
		}
		st.Close()
	}
	if feed(t, c, on("a", k.c.Passes)...) {
		t.Error("a harmless stream is stopped")
	}
}

func (k *guardrailKit) credentials(t *testing.T) {
	_, d := k.start(t)
	for _, name := range d.WantsHeaders {
		if resource.IsCredentialHeader(name) {
			t.Errorf("%s holds credentials: no plugin gets it", name)
		}
	}
}

// others asks about an error and a record, where the plugin wants that, as an operator would let it who allows
// everything.
func (k *guardrailKit) others(t *testing.T) {
	c, d := k.start(t)
	for _, q := range []sdk.Check{
		{Hook: sdk.OnFailure, Failure: &sdk.Failure{Status: 429, Code: "rate_limit_exceeded", Message: k.c.Passes, Origin: guardrail.OriginGateway, Step: "limits"}},
		{Hook: sdk.Logging, Record: &sdk.LoggedRecord{RequestID: "test", Endpoint: "chat", Model: "test", Status: "success", HTTPStatus: 200, Tags: []string{"a"}}},
	} {
		if !slices.Contains(d.Hooks, q.Hook) {
			continue
		}
		v, err := c.Check(short(t), &q)
		if err == nil {
			all := guardrail.PowersOf(resource.Powers)
			err = guardrail.Permits(q.Hook, &v, all, all)
		}
		if err != nil {
			t.Errorf("%s: %v", q.Hook, err)
		}
	}
}

// answers asks at each endpoint whose requests may be answered in the place of a model, whole and streamed, about a
// harmless text and one that is stopped.
func (k *guardrailKit) answers(t *testing.T) {
	c, d := k.start(t)
	if !slices.Contains(d.Hooks, sdk.Before) {
		t.Skip("the plugin is not asked about requests")
	}
	for _, e := range llm.Endpoints() {
		if guardrail.FormsOf(e.String(), false) == 0 {
			continue
		}
		for _, stream := range []bool{false, true} {
			for _, text := range []string{k.c.Passes, k.c.Stops} {
				q := checkOf(sdk.Before, text)
				q.Info.Endpoint, q.Info.Stream = e.String(), stream
				v, err := c.Check(short(t), q)
				if err == nil && v.Action == guardrail.Answer {
					err = v.Fits(&q.Info)
				}
				if err != nil {
					t.Errorf("%s, stream %t: %v", e, stream, err)
				}
			}
		}
	}
}

func (k *guardrailKit) hookCases(t *testing.T) {
	c, d := k.start(t)
	for _, h := range k.c.Hooks {
		if !slices.Contains(d.Hooks, h.Check.Hook) {
			t.Errorf("%s: the plugin does not want the hook %s", h.Name, h.Check.Hook)
			continue
		}
		v, err := c.Check(short(t), &h.Check)
		if err == nil {
			may := guardrail.PowersOf(h.May)
			err = guardrail.Permits(h.Check.Hook, &v, may, may)
		}
		if err == nil && v.Action == guardrail.Answer {
			err = v.Fits(&h.Check.Info)
		}
		if err != nil || !h.Want(v) {
			t.Errorf("%s: got %+v, %v", h.Name, v, err)
		}
	}
}
