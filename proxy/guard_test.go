package proxy_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// A rewrite that makes the request larger holds more, and gives back what was held before.
func TestGuard_Grows(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.guard(&judge{check: func(q *guardrail.Check) guardrail.Verdict {
		return guardrail.Verdict{Action: guardrail.Rewrite, Replacements: []guardrail.Replacement{{Index: 0, Text: strings.Repeat("long ", 500)}}}
	}}, resource.HookBefore)
	if w := r.do("POST", "/v1/chat/completions", chatBody); w.Code != 200 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	r.checkBalance()
	if r.limit.taken != 2 || r.money.taken != 2 {
		t.Errorf("limits were asked %d times, budgets %d times, want 2", r.limit.taken, r.money.taken)
	}
	if hold := r.journal.reserved[0].Hold; hold != r.journal.settled[0].Hold || hold < 8_000_000 {
		t.Errorf("recorded a hold of %v", hold)
	}
}

// mask replaces a word, and blocks another.
func mask(q *guardrail.Check) guardrail.Verdict {
	var v guardrail.Verdict
	for i, t := range q.Texts {
		if strings.Contains(t.Text, "forbidden") {
			return guardrail.Verdict{Action: guardrail.Block, Message: "no"}
		}
		if strings.Contains(t.Text, "secret") {
			v.Action = guardrail.Rewrite
			v.Replacements = append(v.Replacements, guardrail.Replacement{Index: i, Text: strings.ReplaceAll(t.Text, "secret", "******")})
		}
	}
	return v
}

// A guardrail of answers that wants what was asked sees it as the model got it, of a whole answer and at the end of a stream.
func TestGuard_Request(t *testing.T) {
	t.Parallel()
	for _, body := range []string{chatBody, streamBody} {
		r := newRig(t)
		var got []guardrail.Text
		masker, compares := &guardrail.Member{Name: "a"}, &guardrail.Member{Name: "b"}
		masker.Set(&guardrail.Live{Backend: &judge{check: mask}, Description: guardrail.Description{Hooks: []resource.Hook{resource.HookBefore}}})
		compares.Set(&guardrail.Live{Backend: &judge{check: func(q *guardrail.Check) guardrail.Verdict {
			got = q.Request
			return guardrail.Verdict{}
		}}, Description: guardrail.Description{Hooks: []resource.Hook{resource.HookAfter}, WantsRequest: true}})
		r.cfg.Guardrails = guardrail.NewChain(nil, nil)
		r.cfg.Guardrails.Replace([]*guardrail.Member{masker, compares})
		w := r.do("POST", "/v1/chat/completions", strings.NewReplacer("hello there", "my secret", "hi", "my secret").Replace(body))
		if w.Code != http.StatusOK || len(got) != 1 || got[0].Text != "my ******" || got[0].Role != "user" {
			t.Errorf("%s: the guardrail of the answer was told of %+v; status %d: %s", body, got, w.Code, w.Body)
		}
	}
}

func TestGuard_Before(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.guard(&judge{check: mask}, resource.HookBefore)
	var sent string
	next := r.upstream
	r.upstream = func(ctx context.Context, a *upstream.Attempt) (proxy.Answer, error) {
		sent = string(a.Body)
		return next(ctx, a)
	}
	w := r.do("POST", "/v1/chat/completions", strings.Replace(chatBody, "hi", "my secret", 1))
	if w.Code != 200 || !strings.Contains(sent, "my ******") || !strings.Contains(sent, "future_field") {
		t.Errorf("got %d, sent %s", w.Code, sent)
	}
	r.checkBalance()
}

func TestGuard_Answers(t *testing.T) {
	t.Parallel()
	block := func(text string) guardrail.Verdict {
		if strings.Contains(text, "llo") {
			return guardrail.Verdict{Action: guardrail.Block, Message: "no"}
		}
		return guardrail.Verdict{}
	}
	all := func(q *guardrail.Check) guardrail.Verdict {
		for _, x := range q.Texts {
			if v := block(x.Text); v.Action != guardrail.Pass {
				return v
			}
		}
		return guardrail.Verdict{}
	}
	for _, hook := range []resource.Hook{resource.HookDuring, resource.HookAfter} {
		for _, body := range []string{chatBody, streamBody, strings.Replace(streamBody, "{", `{"n":2,`, 1)} {
			t.Run(string(hook)+body, func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				r.guard(&judge{check: all, chunk: block}, hook)
				next := r.upstream
				r.upstream = func(ctx context.Context, a *upstream.Attempt) (proxy.Answer, error) {
					answer, err := next(ctx, a)
					answer.Body = []byte(strings.Replace(answerBody, "hi", "hello", 1))
					return answer, err
				}
				w := r.do("POST", "/v1/chat/completions", body)
				if strings.Contains(w.Body.String(), "llo") || !strings.Contains(w.Body.String(), "guardrail_blocked") {
					t.Errorf("got %d %s", w.Code, w.Body)
				}
				r.checkBalance()
				if rec := r.journal.settled[0]; rec.ErrorCode != "guardrail_blocked" || rec.ErrorKind != "blocked" || rec.Guardrail != "words" || len(rec.Guardrails) != 1 || rec.Guardrails[0].Status != "blocked" || rec.Cost == 0 {
					t.Errorf("recorded %+v: what a guardrail keeps back was paid for", rec)
				}
				if r.router.began != 1 {
					t.Errorf("%d attempts", r.router.began)
				}
			})
		}
	}
}

// The last event of a stream may have text, too, where a provider marks the end in it.
func TestGuard_LastEvent(t *testing.T) {
	t.Parallel()
	const last = `{"candidates":[{"content":{"parts":[{"text":"my secret"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":2}}`
	w := newWire(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(rw, `data: {"candidates":[{"content":{"parts":[{"text":"hello "}]}}]}`+"\n\ndata: "+last+"\n\n")
	})
	d := w.tables.Deployments[0]
	d.Provider, d.APIKey = "gemini", &resource.Sealed{}
	r := newRig(t)
	r.tables = w.tables
	r.cfg.Upstream, r.cfg.Router = w.cfg.Upstream, w.cfg.Router
	r.guard(&judge{check: mask}, resource.HookAfter)
	got := r.do("POST", "/v1beta/models/demo:streamGenerateContent?alt=sse", `{"contents":[{"parts":[{"text":"hi"}]}]}`)
	if got.Code != 200 || strings.Contains(got.Body.String(), "secret") || !strings.Contains(got.Body.String(), `"finishReason":"STOP"`) {
		t.Errorf("got %d %s", got.Code, got.Body)
	}
	r.checkBalance()
}

// Who asks is told what guardrails made of a request, never in the words of the text.
func TestGuard_Header(t *testing.T) {
	t.Parallel()
	found := []guardrail.Finding{{Category: "EMAIL_ADDRESS", Count: 2}}
	for _, tt := range []struct {
		verdict guardrail.Verdict
		want    string
		status  int
	}{
		{guardrail.Verdict{}, "words before passed; words after passed", 200},
		{guardrail.Verdict{Findings: found}, "words before flagged (EMAIL_ADDRESS 2); words after flagged (EMAIL_ADDRESS 2)", 200},
		{guardrail.Verdict{Action: guardrail.Block, Findings: found}, "words before blocked (EMAIL_ADDRESS 2)", 400},
	} {
		r := newRig(t)
		r.guard(&judge{check: func(*guardrail.Check) guardrail.Verdict { return tt.verdict }}, resource.HookBefore, resource.HookAfter)
		w := r.do("POST", "/v1/chat/completions", chatBody)
		if got := w.Header().Get("X-Conclave-Guardrails"); w.Code != tt.status || got != tt.want {
			t.Errorf("got %d %q, want %d %q", w.Code, got, tt.status, tt.want)
		}
	}
}
