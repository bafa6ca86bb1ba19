package proxy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// general puts a guardrail that may do what may says, and knows the hooks, into the rig.
func (r *rig) general(check func(q *guardrail.Check) guardrail.Verdict, may guardrail.Powers, edit func(*guardrail.Member), hooks ...resource.Hook) {
	m := &guardrail.Member{Name: "hook", May: may}
	if edit != nil {
		edit(m)
	}
	m.Set(&guardrail.Live{Backend: &judge{check: check}, Description: guardrail.Description{
		Hooks: hooks, WantsBody: true, WantsCaller: true, WantsHeaders: []string{"X-Department", "authorization", "x-company-key"},
	}})
	r.cfg.Guardrails = guardrail.NewChain(nil, nil)
	r.cfg.Guardrails.Replace([]*guardrail.Member{m})
}

func changes(c guardrail.Change) guardrail.Verdict {
	return guardrail.Verdict{Action: guardrail.Rewrite, Change: &c}
}

const everything = guardrail.MayModel | guardrail.MayParameters | guardrail.MayContent | guardrail.MayTags | guardrail.MayAnswer |
	guardrail.MayRefuse | guardrail.MayHeaders | guardrail.MayError | guardrail.MayRecord

// A request that a guardrail changes is decided about again as what it is then; what it may not change, or
// what nobody may, counts as a check that did not run.
func TestHook_Changes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		change  guardrail.Change
		may     guardrail.Powers
		onError resource.OnError
		code    string // of the refusal; "": it is served
		sent    string // is in what the deployment gets
		model   string // of the record
		tags    string // of the record
	}{
		{name: "model", change: guardrail.Change{Model: "other"}, may: guardrail.MayModel, model: "other", sent: `"model":"other"`},
		{name: "model without the power", change: guardrail.Change{Model: "other"}, code: "guardrail_not_run", model: "demo"},
		{name: "model without the power, pass", change: guardrail.Change{Model: "other"}, onError: resource.OnErrorPass, model: "demo", sent: "gpt-x"},
		{name: "model that the key may not use", change: guardrail.Change{Model: "secret"}, may: everything, code: "model_access_denied", model: "demo"},
		{name: "model that is not there", change: guardrail.Change{Model: "missing"}, may: everything, code: "model_not_found", model: "demo"},
		{name: "parameter", change: guardrail.Change{Set: []byte(`{"temperature":0.5}`), Remove: []string{"future_field"}}, may: guardrail.MayParameters, model: "demo", sent: `"temperature":0.5`},
		{name: "parameter without the power", change: guardrail.Change{Set: []byte(`{"temperature":0.5}`)}, may: guardrail.MayContent, code: "guardrail_not_run", model: "demo"},
		{name: "content", change: guardrail.Change{Set: []byte(`{"messages":[{"role":"user","content":"bye"}]}`)}, may: guardrail.MayContent, model: "demo", sent: `"bye"`},
		{name: "content without the power", change: guardrail.Change{Set: []byte(`{"MESSAGES":[]}`)}, may: guardrail.MayParameters, code: "guardrail_not_run", model: "demo"},
		{name: "identity", change: guardrail.Change{Set: []byte(`{"user":"eve"}`)}, may: everything, code: "guardrail_not_run", model: "demo"},
		{name: "metadata in capitals", change: guardrail.Change{Set: []byte(`{"Metadata":{}}`)}, may: everything, code: "guardrail_not_run", model: "demo"},
		{name: "address of the provider", change: guardrail.Change{Set: []byte(`{"api_base":"http://127.0.0.1"}`)}, may: everything, code: "conclave_guardrail_failed", model: "demo"},
		{name: "no object", change: guardrail.Change{Set: []byte(`[1]`)}, may: everything, code: "guardrail_not_run", model: "demo"},
		{name: "tags", change: guardrail.Change{Tags: []string{"t2"}}, may: guardrail.MayTags, model: "demo", tags: "t1,t2", sent: "gpt-x"},
		{name: "tags replaced", change: guardrail.Change{Tags: []string{"t2"}, ReplaceTags: true}, may: guardrail.MayTags, model: "demo", tags: "t2", sent: "gpt-x"},
		{name: "tag that refuses", change: guardrail.Change{Tags: []string{"closed"}}, may: guardrail.MayTags, model: "demo", code: "route_not_allowed"},
		{name: "tags without the power", change: guardrail.Change{Tags: []string{"t2"}}, code: "guardrail_not_run", model: "demo"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.tables.Tags = []*resource.Tag{{Meta: resource.Meta{ID: "closed"}, Policy: resource.Policy{Routes: []string{"/v1/embeddings"}}}}
			r.general(func(*guardrail.Check) guardrail.Verdict { return changes(tt.change) }, tt.may,
				func(m *guardrail.Member) { m.OnError = tt.onError }, resource.HookBefore)
			var sent string
			next := r.upstream
			r.upstream = func(ctx context.Context, a *upstream.Attempt) (proxy.Answer, error) {
				sent = string(a.Body) + a.Model
				return next(ctx, a)
			}
			w := r.do("POST", "/v1/chat/completions", strings.Replace(chatBody, "{", `{"tags":["t1"],`, 1))
			if tt.code == "" && w.Code != 200 || tt.code != "" && codeOf(t, w.Body.String()) != tt.code {
				t.Fatalf("got %d %s, want %q", w.Code, w.Body, tt.code)
			}
			if tt.code != "" && sent != "" || !strings.Contains(sent, tt.sent) {
				t.Errorf("sent %s", sent)
			}
			if tt.name == "parameter" && strings.Contains(sent, "future_field") {
				t.Errorf("sent %s", sent)
			}
			r.checkBalance()
			rec := r.journal.settled[0]
			if rec.Model != tt.model || tt.tags != "" && strings.Join(rec.Tags, ",") != tt.tags {
				t.Errorf("recorded the model %s, the tags %v", rec.Model, rec.Tags)
			}
			if rec.KeyID != "key_good" {
				t.Errorf("recorded the key %s", rec.KeyID)
			}
		})
	}
}

// A guardrail sees of the headers what its operator allows, and no credential whatever he allows.
func TestHook_Sees(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var saw guardrail.Check
	r.general(func(q *guardrail.Check) guardrail.Verdict { saw = *q; return guardrail.Verdict{} }, 0, func(m *guardrail.Member) {
		m.Headers = []string{"x-department", "authorization", "x-other"}
	}, resource.HookBefore)
	if w := r.do("POST", "/v1/chat/completions", chatBody, header("X-Department", "law"), header("X-Company-Key", "no"), header("X-Other", "no"), header("X-Litellm-Tags", "a")); w.Code != 200 {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	if got := fmt.Sprint(saw.Headers); got != "[{x-department law}]" {
		t.Errorf("saw the headers %s", got)
	}
	if saw.Caller == nil || fmt.Sprint(saw.Caller.Tags) != "[a]" || string(saw.Body) != chatBody || saw.Info.KeyID != "key_good" {
		t.Errorf("saw %+v of %+v", saw, saw.Caller)
	}
}

// At the end of a stream a guardrail of answers sees what it sees of a whole one: an answer in the client's dialect, who
// asked and what the operator allows of the headers.
func TestHook_SeesStream(t *testing.T) {
	t.Parallel()
	var seen []guardrail.Check
	for _, body := range []string{chatBody, streamBody} {
		r := newRig(t)
		r.general(func(q *guardrail.Check) guardrail.Verdict { seen = append(seen, *q); return guardrail.Verdict{} }, 0, func(m *guardrail.Member) {
			m.Headers = []string{"x-department", "authorization"}
		}, resource.HookAfter)
		if w := r.do("POST", "/v1/chat/completions", body, header("X-Department", "law"), header("X-Litellm-Tags", "a")); w.Code != 200 {
			t.Fatalf("got %d %s", w.Code, w.Body)
		}
		r.checkBalance()
	}
	if len(seen) != 2 {
		t.Fatalf("asked %d times, want 2", len(seen))
	}
	for i, q := range seen {
		var answer struct {
			Choices []struct {
				Message struct{ Content string }
			}
		}
		if err := json.Unmarshal(q.Body, &answer); err != nil || len(answer.Choices) != 1 || answer.Choices[0].Message.Content == "" {
			t.Errorf("%d: saw the body %s, %v", i, q.Body, err)
		}
		if fmt.Sprint(q.Headers) != "[{x-department law}]" || q.Caller == nil || fmt.Sprint(q.Caller.Tags) != "[a]" || q.Info.Stream != (i == 1) {
			t.Errorf("%d: saw %+v of %+v", i, q, q.Caller)
		}
	}
}

// What a guardrail answers is the answer in the client's dialect, whole and streamed: nobody is asked, and
// nothing is charged.
func TestHook_Answers(t *testing.T) {
	t.Parallel()
	chat, messages := `{"model":"demo","messages":[{"role":"user","content":"hi"}],"max_tokens":9%s}`, "/v1/messages"
	for _, tt := range []struct{ path, body, whole, event string }{
		{"/v1/chat/completions", chat, `"content":"from the hook"`, `"content":"from the hook"`},
		{messages, chat, `"text":"from the hook"`, `"text_delta","text":"from the hook"`},
		{"/v1/responses", `{"model":"demo","input":"hi"%s}`, `"text":"from the hook"`, `"delta":"from the hook"`},
		{"/v1/completions", `{"model":"demo","prompt":"hi"%s}`, `"text":"from the hook"`, `"text":"from the hook"`},
		{"/v1beta/models/demo:generateContent", `{"contents":[{"parts":[{"text":"hi"}]}]}`, `"text":"from the hook"`, ""},
		{"/v1beta/models/demo:streamGenerateContent?alt=sse", `{"contents":[{"parts":[{"text":"hi"}]}]}`, "", `"text":"from the hook"`},
	} {
		for _, stream := range []bool{false, true} {
			body, want := tt.body, tt.whole
			if strings.Contains(body, "%s") {
				body = fmt.Sprintf(body, map[bool]string{true: `,"stream":true`}[stream])
			}
			if stream {
				want = tt.event
			}
			if want == "" {
				continue
			}
			t.Run(fmt.Sprint(tt.path, stream), func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				r.general(func(*guardrail.Check) guardrail.Verdict {
					return guardrail.Verdict{Action: guardrail.Answer, Answer: "from the hook", Headers: []guardrail.Header{{Name: "x-source", Value: "hook"}}}
				}, guardrail.MayAnswer|guardrail.MayHeaders, nil, resource.HookBefore)
				w := r.do("POST", tt.path, body)
				if w.Code != 200 || !strings.Contains(strings.ReplaceAll(w.Body.String(), ": ", ":"), want) || w.Header().Get("X-Source") != "hook" {
					t.Fatalf("got %d %v %s", w.Code, w.Header(), w.Body)
				}
				if stream != strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream") {
					t.Errorf("content type %s", w.Header().Get("Content-Type"))
				}
				r.checkBalance()
				rec := r.journal.settled[0]
				if rec.Cost != 0 || rec.Usage.Total() != 0 || rec.Status != 200 || rec.Attempts != 0 || rec.ErrorKind != "" || rec.Guardrail != "hook" || rec.Guardrails[0].Status != "answered" {
					t.Errorf("recorded %+v", rec)
				}
				if r.router.began != 0 || r.limit.tokens != 0 || r.limit.settled != 1 {
					t.Errorf("%d attempts, limit %+v", r.router.began, r.limit)
				}
			})
		}
	}
}

// An answer that cannot be given, or may not, is none.
func TestHook_AnswersNot(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		path, body string
		may        guardrail.Powers
	}{
		{"/v1/chat/completions", chatBody, everything &^ guardrail.MayAnswer},
		{"/v1/embeddings", `{"model":"demo","input":"hi"}`, everything},
	} {
		r := newRig(t)
		r.general(func(*guardrail.Check) guardrail.Verdict {
			return guardrail.Verdict{Action: guardrail.Answer, Answer: "x"}
		}, tt.may, nil, resource.HookBefore)
		if w := r.do("POST", tt.path, tt.body); w.Code != 503 || codeOf(t, w.Body.String()) != "guardrail_not_run" {
			t.Errorf("%s: got %d %s", tt.path, w.Code, w.Body)
		}
		r.checkBalance()
	}
}

// A refusal has the guardrail's own status, code and message, in the client's dialect.
func TestHook_Refuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		v      guardrail.Verdict
		may    guardrail.Powers
		path   string
		status int
		code   string
	}{
		{"own", guardrail.Verdict{Status: 451, Code: "not_here", Message: "not in this country"}, guardrail.MayRefuse, "/v1/chat/completions", 451, "not_here"},
		{"own status", guardrail.Verdict{Status: 402, Message: "no"}, guardrail.MayRefuse, "/v1/chat/completions", 402, "guardrail_blocked"},
		{"not allowed", guardrail.Verdict{Status: 451, Message: "no"}, 0, "/v1/chat/completions", 503, "guardrail_not_run"},
		{"a success", guardrail.Verdict{Status: 200, Message: "no"}, guardrail.MayRefuse, "/v1/chat/completions", 503, "guardrail_not_run"},
		{"a fault", guardrail.Verdict{Status: 500, Message: "no"}, guardrail.MayRefuse, "/v1/chat/completions", 503, "guardrail_not_run"},
		{"a code of two words", guardrail.Verdict{Code: "a b", Message: "no"}, guardrail.MayRefuse, "/v1/chat/completions", 503, "guardrail_not_run"},
		{"plain", guardrail.Verdict{Message: "no"}, 0, "/v1/chat/completions", 400, "guardrail_blocked"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			tt.v.Action = guardrail.Block
			r.general(func(*guardrail.Check) guardrail.Verdict { return tt.v }, tt.may, nil, resource.HookBefore)
			w := r.do("POST", tt.path, chatBody)
			if w.Code != tt.status || codeOf(t, w.Body.String()) != tt.code {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, tt.status, tt.code)
			}
			r.checkBalance()
			if rec := r.journal.settled[0]; rec.Status != tt.status || rec.ErrorCode != tt.code {
				t.Errorf("recorded %d %s", rec.Status, rec.ErrorCode)
			}
		})
	}
}

// Headers for the client begin with x- and are not the gateway's.
func TestHook_Headers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, value string
		may         guardrail.Powers
		ok          bool
	}{
		{"x-trace", "1", guardrail.MayHeaders, true},
		{"x-trace", "1", 0, false},
		{"set-cookie", "1", guardrail.MayHeaders, false},
		{"X-Conclave-Cost", "1", guardrail.MayHeaders, false},
		{"x-trace", "a\r\nset-cookie: b", guardrail.MayHeaders, false},
	} {
		for _, hook := range []resource.Hook{resource.HookBefore, resource.HookAfter} {
			r := newRig(t)
			r.general(func(*guardrail.Check) guardrail.Verdict {
				return guardrail.Verdict{Headers: []guardrail.Header{{Name: tt.name, Value: tt.value}}}
			}, tt.may, nil, hook)
			w := r.do("POST", "/v1/chat/completions", chatBody)
			if ok := w.Code == 200; ok != tt.ok || ok && w.Header().Get(tt.name) != tt.value {
				t.Errorf("%s %q at %s: got %d %v", tt.name, tt.value, hook, w.Code, w.Header())
			}
			r.checkBalance()
		}
	}
}

// A whole answer's members can be set, never what is charged.
func TestHook_AfterSets(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.general(func(*guardrail.Check) guardrail.Verdict {
		return changes(guardrail.Change{Set: []byte(`{"usage":{"prompt_tokens":0},"note":"x"}`), Remove: []string{"vendor_extra"}})
	}, guardrail.MayAnswer, nil, resource.HookAfter)
	w := r.do("POST", "/v1/chat/completions", chatBody)
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"note":"x"`) || strings.Contains(w.Body.String(), "vendor_extra") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	r.checkBalance()
	if rec := r.journal.settled[0]; rec.Usage.Total() != usage.Total() || rec.Cost == 0 {
		t.Errorf("recorded %+v", rec.Usage)
	}
}

// Two guardrails that send a request to each other's models do not go on for ever.
func TestHook_Loop(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.general(func(q *guardrail.Check) guardrail.Verdict {
		return changes(guardrail.Change{Model: map[string]string{"demo": "other", "other": "demo"}[q.Info.Model]})
	}, guardrail.MayModel, nil, resource.HookBefore)
	if w := r.do("POST", "/v1/chat/completions", chatBody); w.Code != 500 || codeOf(t, w.Body.String()) != "conclave_guardrail_loop" {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	r.checkBalance()
}

// A guardrail words the errors that clients get; the record keeps what they were.
func TestHook_Failure(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, body, origin string
		status             int
		edit               func(r *rig)
	}{
		{name: "refused by the gateway", body: strings.Replace(chatBody, "demo", "secret", 1), status: 403, origin: "gateway access"},
		{name: "refused by the provider", body: chatBody, status: 400, origin: "provider answer", edit: func(r *rig) {
			r.upstream = func(context.Context, *upstream.Attempt) (proxy.Answer, error) {
				return proxy.Answer{}, &llm.Error{Kind: llm.Invalid, Status: 400, Code: "bad", Message: "bad", Body: []byte(`{"error":{"message":"bad"}}`)}
			}
		}},
	} {
		r := newRig(t)
		if tt.edit != nil {
			tt.edit(r)
		}
		var saw guardrail.Failure
		r.general(func(q *guardrail.Check) guardrail.Verdict {
			saw = *q.Failure
			return guardrail.Verdict{Action: guardrail.Rewrite, Failure: &guardrail.Failure{Status: 418, Code: "teapot", Message: "short and stout"}}
		}, guardrail.MayError, nil, resource.HookFailure)
		w := r.do("POST", "/v1/chat/completions", tt.body)
		if w.Code != 418 || codeOf(t, w.Body.String()) != "teapot" || !strings.Contains(w.Body.String(), "short and stout") {
			t.Errorf("%s: got %d %s", tt.name, w.Code, w.Body)
		}
		if got := string(saw.Origin) + " " + saw.Step; saw.Status != tt.status || got != tt.origin {
			t.Errorf("%s: the guardrail saw %+v", tt.name, saw)
		}
		r.checkBalance()
		if rec := r.journal.settled[0]; rec.Status != tt.status || len(rec.Guardrails) != 1 || rec.Guardrails[0].Hook != "failure" {
			t.Errorf("%s: recorded %d %+v", tt.name, rec.Status, rec.Guardrails)
		}
		if w := r.do("POST", "/v1/chat/completions", tt.body, header("Authorization", "Bearer sk-nobody-0123456789")); w.Code != 401 {
			t.Errorf("%s: a stranger's error is shown: %d", tt.name, w.Code)
		}
	}
}

// Keys and teams switch off guardrails, but for mandatory ones; end users and tags, which clients name, do not.
func TestGuard_Switches(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		edit   func(r *rig, m *guardrail.Member)
		header string // tags
		asked  bool
	}{
		{name: "nothing", edit: func(*rig, *guardrail.Member) {}, asked: true},
		{name: "key", edit: func(r *rig, _ *guardrail.Member) { r.key().NoGuardrails = true }},
		{name: "key, mandatory", edit: func(r *rig, m *guardrail.Member) { r.key().NoGuardrails, m.Forced = true, true }, asked: true},
		{name: "key that names it", edit: func(r *rig, _ *guardrail.Member) {
			r.key().NoGuardrails, r.key().Guardrails = true, []string{"hook"}
		}, asked: true},
		{name: "permission", edit: func(r *rig, _ *guardrail.Member) { r.key().Permissions = map[string]bool{"hook": false} }},
		{name: "permission, optional", edit: func(r *rig, m *guardrail.Member) {
			r.key().Permissions, m.Optional = map[string]bool{"hook": true, "get_spend_routes": true}, true
		}, asked: true},
		{name: "team", edit: func(r *rig, _ *guardrail.Member) {
			r.key().TeamID = "team_1"
			r.tables.Teams = []*resource.Team{{Meta: resource.Meta{ID: "team_1"}, Policy: resource.Policy{NoGuardrails: true}}}
		}},
		{name: "tag", header: "free", edit: func(r *rig, _ *guardrail.Member) {
			r.tables.Tags = []*resource.Tag{{Meta: resource.Meta{ID: "free"}, Policy: resource.Policy{NoGuardrails: true}}}
		}, asked: true},
	} {
		r := newRig(t)
		asked := false
		r.general(func(*guardrail.Check) guardrail.Verdict { asked = true; return guardrail.Verdict{} }, 0, func(m *guardrail.Member) { tt.edit(r, m) }, resource.HookBefore)
		if w := r.do("POST", "/v1/chat/completions", chatBody, header("X-Litellm-Tags", tt.header)); w.Code != 200 || asked != tt.asked {
			t.Errorf("%s: got %d %s, asked is %v", tt.name, w.Code, w.Body, asked)
		}
	}
}

// key is the good key.
func (r *rig) key() *resource.Key { return r.keys[resource.HashSecret(goodKey)] }

// Nothing is kept of a request that is to be redacted, and its record says so.
func TestContent_Redacted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		header   string
		metadata string
		kept     int
	}{
		{"", "", 1},
		{"true", "", 0},
		{"false", "", 1},
		{"", `{"turn_off_message_logging":true}`, 0},
		{"", `{"turn_off_message_logging":false}`, 1},
		{"", `{"note":"turn_off_message_logging"}`, 1},
	} {
		r := newRig(t)
		settingOf("log_content", "true")(r, nil)
		r.key().Metadata = []byte(tt.metadata)
		kept := 0
		r.cfg.KeepContent = func(proxy.Said) { kept++ }
		if w := r.do("POST", "/v1/chat/completions", chatBody, header("X-Litellm-Enable-Message-Redaction", tt.header)); w.Code != 200 || kept != tt.kept {
			t.Errorf("%+v: got %d, kept %d", tt, w.Code, kept)
		}
		if private := r.journal.settled[0].Flags.Has(ledger.Private); private != (tt.kept == 0) {
			t.Errorf("%+v: private is %v", tt, private)
		}
	}
}
