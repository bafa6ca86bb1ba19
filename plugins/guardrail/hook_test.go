package guardrail_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/resource"
)

// says is a backend that always decides the same.
func says(v guardrail.Verdict, err error) fake {
	return fake{check: func(context.Context, *guardrail.Check) (guardrail.Verdict, error) { return v, err }}
}

// hook is a running guardrail that may do everything.
func hook(name string, b guardrail.Backend, h resource.Hook) *guardrail.Member {
	m := member(name, b, guardrail.Description{Hooks: []resource.Hook{h}})
	m.May = guardrail.PowersOf(resource.Powers)
	return m
}

// Whatever a general hook is told and says comes through the session as it was.
func TestSession_Hook(t *testing.T) {
	t.Parallel()
	want := &guardrail.Check{
		Hook: resource.HookLogging, Texts: []guardrail.Text{}, Headers: []guardrail.Header{{Name: "x-a", Value: "b"}},
		Caller:  &guardrail.Caller{KeyName: "k", OrganizationID: "o", ProjectID: "p", UserID: "u", CustomerID: "c", SessionID: "s", Tags: []string{"t"}},
		Failure: &guardrail.Failure{Status: 429, Code: "c", Message: "m", Origin: guardrail.OriginGateway, Step: "limits"},
		Record: &guardrail.Logged{
			RequestID: "r", Endpoint: "chat", Model: "m", Provider: "p", KeyID: "k", TeamID: "t", UserID: "u", Status: "success", HTTPStatus: 200, ErrorCode: "e",
			CostNanoUSD: 7, EndUser: "e", CustomerID: "c", SessionID: "s", Tags: []string{"t"}, Message: "m", Request: []byte("q"), Response: []byte("a"),
		},
		Request: []guardrail.Text{{Path: "messages.0.content", Role: "user", Text: "what was asked"}},
	}
	verdict := guardrail.Verdict{
		Action: guardrail.Answer, Message: "m", Change: &guardrail.Change{Model: "m", Set: []byte(`{}`), Remove: []string{"a"}, Tags: []string{"t"}, ReplaceTags: true},
		Answer: "a", Body: []byte("\x00\xff"), ContentType: "audio/wav", Status: 402, Code: "c", Headers: []guardrail.Header{{Name: "x-a", Value: "b"}}, Failure: want.Failure, Record: want.Record,
	}
	c := dial(t, &impl{
		description: guardrail.Description{Version: "7", Hooks: []resource.Hook{resource.HookFailure, resource.HookLogging}, WantsHeaders: []string{"x-a"}, WantsCaller: true, WantsRequest: true},
		fake: fake{check: func(_ context.Context, got *guardrail.Check) (guardrail.Verdict, error) {
			got.Info.Models = nil // is the session's own
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("check (-want +got):\n%s", diff)
			}
			return verdict, nil
		}},
	})
	v, err := c.Check(t.Context(), want)
	if diff := cmp.Diff(verdict, v); diff != "" || err != nil {
		t.Errorf("verdict (-want +got):\n%s, %v", diff, err)
	}
}

func TestChain_Switches(t *testing.T) {
	t.Parallel()
	plain, forced, optional := member("a", &finder{}, guardrail.Description{}), member("b", &finder{}, guardrail.Description{}), member("c", &finder{}, guardrail.Description{})
	forced.Forced, optional.Optional = true, true
	c := chain(plain, forced, optional)
	for _, tt := range []struct {
		choice guardrail.Choice
		want   string
	}{
		{guardrail.Choice{}, "a b"},
		{guardrail.Choice{Asked: []string{"c"}}, "a b c"},
		{guardrail.Choice{NoDefault: true}, "b"},
		{guardrail.Choice{NoDefault: true, Asked: []string{"a", "c"}}, "a b c"},
		{guardrail.Choice{Off: []string{"a", "b", "c"}, Asked: []string{"c"}}, "b"},
		{guardrail.Choice{On: []string{"c", "none"}}, "a b c"},
	} {
		set := c.For("m", tt.choice)
		if got := strings.Join(set.Names(), " "); got != tt.want {
			t.Errorf("%+v: got %q, want %q", tt.choice, got, tt.want)
		}
		if _, err := set.Before(t.Context(), request(`{}`)); err != nil {
			t.Errorf("%+v: %v", tt.choice, err)
		}
	}
}

func TestSet_Failure(t *testing.T) {
	t.Parallel()
	came := guardrail.Failure{Status: 429, Code: "slow", Message: "slow down", Origin: guardrail.OriginGateway, Step: "limits"}
	fails := func(f guardrail.Failure) guardrail.Verdict {
		return guardrail.Verdict{Action: guardrail.Rewrite, Failure: &f}
	}
	for _, tt := range []struct {
		name   string
		v      guardrail.Verdict
		err    error
		want   guardrail.Failure // beside Origin and Step
		status guardrail.Status
		edit   func(*guardrail.Member)
	}{
		{name: "message", v: fails(guardrail.Failure{Message: "wait"}), want: guardrail.Failure{Status: 429, Code: "slow", Message: "wait"}, status: guardrail.StatusRewritten},
		{name: "all", v: fails(guardrail.Failure{Status: 503, Code: "busy", Message: "wait"}), want: guardrail.Failure{Status: 503, Code: "busy", Message: "wait"}, status: guardrail.StatusRewritten},
		{name: "a success", v: fails(guardrail.Failure{Status: 200}), want: came, status: guardrail.StatusNotRun},
		{name: "an answer", v: guardrail.Verdict{Action: guardrail.Answer, Answer: "x"}, want: came, status: guardrail.StatusNotRun},
		{name: "dead", err: guardrail.ErrNotRunning, want: came, status: guardrail.StatusNotRun},
		{name: "without the power", v: fails(guardrail.Failure{Message: "wait"}), want: came, status: guardrail.StatusNotRun, edit: func(m *guardrail.Member) { m.May = guardrail.MayHeaders }},
		{name: "observes", v: fails(guardrail.Failure{Message: "wait"}), want: came, status: guardrail.StatusFlagged, edit: func(m *guardrail.Member) { m.Observe = true }},
		{name: "passes", want: came, status: guardrail.StatusPassed},
	} {
		m := hook("a", says(tt.v, tt.err), resource.HookFailure)
		if tt.edit != nil {
			tt.edit(m)
		}
		got := chain(m).For("m", guardrail.Choice{}).Failure(t.Context(), request(""), came)
		tt.want.Origin, tt.want.Step = came.Origin, came.Step
		if got.Failure != tt.want || len(got.Results) != 1 || got.Results[0].Status != tt.status || got.Changed != (tt.status == guardrail.StatusRewritten) {
			t.Errorf("%s: got %+v", tt.name, got)
		}
	}
}

func TestChain_Logged(t *testing.T) {
	t.Parallel()
	record := guardrail.Logged{RequestID: "r", Model: "m", KeyID: "k", CostNanoUSD: 7, EndUser: "eve", Tags: []string{"t"}, Request: []byte("q")}
	edited := record
	edited.KeyID, edited.CostNanoUSD, edited.EndUser, edited.Request = "other", 0, "***", nil
	want := record
	want.EndUser, want.Request = "***", nil
	bare := guardrail.Logged{RequestID: "r", Model: "m", KeyID: "k", CostNanoUSD: 7}
	for _, tt := range []struct {
		name string
		v    guardrail.Verdict
		err  error
		edit func(*guardrail.Member)
		due  []string
		want *guardrail.Logged
	}{
		{name: "passes", want: &record},
		{name: "edits, but for what was spent and by whom", v: guardrail.Verdict{Action: guardrail.Rewrite, Record: &edited}, want: &want},
		{name: "drops", v: guardrail.Verdict{Action: guardrail.Block}},
		{name: "drops, and only observes", v: guardrail.Verdict{Action: guardrail.Block}, edit: func(m *guardrail.Member) { m.Observe = true }, want: &record},
		{name: "does not run", err: errors.New("x"), want: &bare},
		{name: "does not run, and may", err: errors.New("x"), edit: func(m *guardrail.Member) { m.OnError = resource.OnErrorPass }, want: &record},
		{name: "nothing in the place of it", v: guardrail.Verdict{Action: guardrail.Rewrite}, want: &bare},
		{name: "is for other models", v: guardrail.Verdict{Action: guardrail.Block}, edit: func(m *guardrail.Member) { m.Models = []string{"x"} }, want: &record},
		{name: "was not asked for", v: guardrail.Verdict{Action: guardrail.Block}, edit: func(m *guardrail.Member) { m.Optional = true }, want: &record},
		{name: "was asked for", v: guardrail.Verdict{Action: guardrail.Block}, edit: func(m *guardrail.Member) { m.Optional = true }, due: []string{"a"}},
	} {
		m := hook("a", says(tt.v, tt.err), resource.HookLogging)
		if tt.edit != nil {
			tt.edit(m)
		}
		got, err := chain(m).Logged(t.Context(), tt.due, record)
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("%s: (-want +got):\n%s, %v", tt.name, diff, err)
		}
	}
}

// What is kept is masked, in whole answers, streams and plain texts; what cannot be masked is not kept.
func TestSet_Mask(t *testing.T) {
	t.Parallel()
	ask := `{"messages":[{"role":"user","content":"my secret"}]}`
	masked := `{"messages":[{"role":"user","content":"my ***"}]}`
	whole := `{"choices":[{"index":0,"message":{"role":"assistant","content":"a secret"}}]}`
	events := strings.Join(chunks("a sec", "ret", " is out"), "") + "data: [DONE]\n\n"
	for _, tt := range []struct {
		name, request, response string
		cut                     bool
		hooks                   []resource.Hook
		edit                    func(*guardrail.Member)
		kept                    bool
		want, answer            string
	}{
		{name: "whole", request: ask, response: whole, kept: true, want: masked, answer: strings.Replace(whole, "secret", "***", 1)},
		{name: "a text", request: ask, response: "the \"secret\" is", kept: true, want: masked, answer: "the \"***\" is"},
		{name: "no answer", request: ask, kept: true, want: masked},
		{name: "cut", request: ask, response: whole[:30], cut: true, kept: true, want: masked},
		{name: "requests alone", request: ask, response: whole, hooks: []resource.Hook{resource.HookBefore}, kept: true, want: masked, answer: whole},
		{name: "not JSON", request: "{", response: whole},
		{name: "dead", request: ask, response: whole, edit: func(m *guardrail.Member) { m.Set(nil) }},
		{name: "dead, and may be", request: ask, response: whole, edit: func(m *guardrail.Member) { m.OnError = resource.OnErrorPass; m.Set(nil) }, kept: true, want: ask, answer: whole},
	} {
		m := member("a", masks("secret"), guardrail.Description{HoldBack: 5, Hooks: tt.hooks})
		m.LogOnly = true
		if tt.edit != nil {
			tt.edit(m)
		}
		set := chain(m).For("m", guardrail.Choice{})
		if d, err := set.Before(t.Context(), request(ask)); err != nil || string(d.Body) != ask || set.ChecksAnswers() {
			t.Errorf("%s: the request is not served as it came: %v", tt.name, err)
		}
		k := guardrail.Kept{Request: []byte(tt.request), Response: []byte(tt.response), Truncated: tt.cut}
		if kept := set.Mask(t.Context(), &k); kept != tt.kept {
			t.Errorf("%s: kept is %v", tt.name, kept)
		} else if kept && (string(k.Request) != tt.want || string(k.Response) != tt.answer) {
			t.Errorf("%s: kept %s and %s", tt.name, k.Request, k.Response)
		}
	}
	m := member("a", masks("secret"), guardrail.Description{HoldBack: 5})
	m.LogOnly = true
	k := guardrail.Kept{Request: []byte(ask), Response: []byte(events)}
	if !chain(m).For("m", guardrail.Choice{}).Mask(t.Context(), &k) || bytes.Contains(k.Response, []byte("ret")) || !bytes.Contains(k.Response, []byte("[DONE]")) {
		t.Errorf("kept %s", k.Response)
	}
	m = member("a", &finder{word: "secret"}, guardrail.Description{})
	m.LogOnly = true
	if chain(m).For("m", guardrail.Choice{}).Mask(t.Context(), &guardrail.Kept{Request: []byte(`{}`), Response: []byte(whole)}) {
		t.Error("an answer that is blocked is kept")
	}
}

// A guardrail that is dead or late refuses or passes, as its on_error says, whatever it may do.
func TestSet_HookFails(t *testing.T) {
	t.Parallel()
	slow := fake{check: func(ctx context.Context, _ *guardrail.Check) (guardrail.Verdict, error) {
		<-ctx.Done()
		return guardrail.Verdict{}, ctx.Err()
	}}
	for _, onError := range []resource.OnError{resource.OnErrorBlock, resource.OnErrorPass} {
		for name, b := range map[string]guardrail.Backend{
			"dead": says(guardrail.Verdict{}, guardrail.ErrNotRunning), "late": slow,
			"identity":    says(guardrail.Verdict{Action: guardrail.Rewrite, Change: &guardrail.Change{Set: []byte(`{"user":"eve"}`)}}, nil),
			"broken JSON": says(guardrail.Verdict{Action: guardrail.Rewrite, Change: &guardrail.Change{Set: []byte(`{"temperature":`)}}, nil),
		} {
			m := hook("a", b, resource.HookBefore)
			m.OnError, m.Deadline = onError, time.Millisecond
			q := request(`{"prompt":"x"}`)
			q.Open = m.May
			d, err := chain(m).For("m", guardrail.Choice{}).Before(t.Context(), q)
			if err != nil || (d.Action == guardrail.Block) != (onError == resource.OnErrorBlock) || d.Results[0].Status != guardrail.StatusNotRun {
				t.Fatalf("%s, %s: got %+v, %v", name, onError, d, err)
			}
			if e := (*llm.Error)(nil); errors.As(d.Err(), &e) && e.Code != guardrail.CodeNotRun || string(d.Body) != `{"prompt":"x"}` {
				t.Errorf("%s, %s: got %v, %s", name, onError, d.Err(), d.Body)
			}
		}
	}
}

// Each sees what those before it have set, and texts and members change together.
func TestSet_Members(t *testing.T) {
	t.Parallel()
	first := hook("a", says(guardrail.Verdict{
		Action: guardrail.Rewrite, Replacements: []guardrail.Replacement{{Index: 0, Text: "y"}},
		Change: &guardrail.Change{Model: "other", Set: []byte(`{"temperature":1,"messages":[{"role":"user","content":"secret"}],"n":2}`), Remove: []string{"seed"}},
	}, nil), resource.HookBefore)
	second := member("b", masks("secret"), guardrail.Description{Hooks: []resource.Hook{resource.HookBefore}})
	q := request(`{"messages":[{"role":"user","content":"x"}], "seed":7 , "big":12345678901234567890,"temperature":0}`)
	q.Open = guardrail.PowersOf(resource.Powers)
	d, err := chain(first, second).For("m", guardrail.Choice{}).Before(t.Context(), q)
	want := `{"messages":[{"role":"user","content":"***"}],"big":12345678901234567890,"temperature":1,"n":2}`
	if err != nil || string(d.Body) != want || d.Change.Model != "other" {
		t.Errorf("got %s, %v, want %s", d.Body, err, want)
	}
}

// FuzzMembers sets members of any body: what comes is JSON of one object that has them, or an error.
func FuzzMembers(f *testing.F) {
	f.Add([]byte(`{"a":1,"a":2,"b":{"a":[]}}`), []byte(`{"a":3}`))
	f.Add([]byte(`{}`), []byte(`{"é":"\ud83d\ude00"}`))
	f.Add([]byte(`[1]`), []byte(`{"a":1} {}`))
	f.Fuzz(func(t *testing.T, body, set []byte) {
		m := hook("a", says(guardrail.Verdict{Action: guardrail.Rewrite, Change: &guardrail.Change{Set: set}}, nil), resource.HookBefore)
		q := request(string(body))
		q.Open = m.May
		d, err := chain(m).For("m", guardrail.Choice{}).Before(t.Context(), q)
		if err != nil || d.Action == guardrail.Block {
			return
		}
		var got, want map[string]json.RawMessage
		if len(set) == 0 {
			return
		}
		if json.Unmarshal(d.Body, &got) != nil || json.Unmarshal(set, &want) != nil {
			if json.Valid(body) && json.Valid(set) {
				t.Fatalf("%q of %q and %q", d.Body, body, set)
			}
			return
		}
		for name, v := range want {
			if !bytes.Equal(bytes.TrimSpace(got[name]), bytes.TrimSpace(v)) {
				t.Errorf("%q of %q and %q", d.Body, body, set)
			}
		}
	})
}

// masks replaces a word in whole bodies and in streams.
func masks(word string) fake {
	return fake{check: rewriter(word, "***").check, stream: masker{word, "***"}.OpenStream}
}
