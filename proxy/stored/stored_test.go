package stored_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/stored"
	"github.com/conclave-llm/conclave/resource"
)

// shelf is a Store in memory.
type shelf struct {
	bodies map[string][]byte
	recs   map[string]resource.Response
	able   error
	put    error
}

func newShelf() *shelf {
	return &shelf{bodies: map[string][]byte{}, recs: map[string]resource.Response{}}
}

func (s *shelf) Able() error { return s.able }

func (s *shelf) Put(_ context.Context, r resource.Response, body []byte) error {
	if s.put != nil {
		return s.put
	}
	s.recs[r.ID], s.bodies[r.ID] = r, body
	return nil
}

func (s *shelf) Known(id string) bool {
	_, _, err := s.Get(context.Background(), id)
	return err == nil
}

func (s *shelf) Get(_ context.Context, id string) (*resource.Response, []byte, error) {
	r, ok := s.recs[id]
	if !ok {
		return nil, nil, resource.ErrNotFound
	}
	return &r, s.bodies[id], nil
}

func (s *shelf) Delete(_ context.Context, id string) error {
	delete(s.recs, id)
	return nil
}

func principal(key, user, team string) *resource.Principal {
	who := &resource.Principal{Key: &resource.Key{Meta: resource.Meta{ID: key}, UserID: user, TeamID: team}}
	if team != "" {
		who.Team = &resource.Team{Meta: resource.Meta{ID: team}}
	}
	return who
}

func owners(who *resource.Principal) resource.Owners {
	o := resource.Owners{KeyID: who.Key.ID, UserID: who.Key.UserID}
	if who.Team != nil {
		o.TeamID = who.Team.ID
	}
	return o
}

var terms = stored.Terms{Days: 30, Default: true}

const answer = `{"id":"resp_theirs","object":"response","store":true,"output":[` +
	`{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"sealed"},{"type":"reasoning","id":"rs_2","summary":[]},` +
	`{"type":"message","id":"msg_1","status":"completed","role":"assistant","content":[{"type":"output_text","text":"hi <b>"}]},` +
	`{"type":"function_call","id":"fc_1","call_id":"c1","name":"f","arguments":"{}"}]}`

// say takes one turn and returns the gateway's id.
func say(t *testing.T, k *stored.Keeper, who *resource.Principal, request string) (x *stored.Exchange, id string) {
	t.Helper()
	x, err := k.Open(t.Context(), who, []byte(request), "demo", terms)
	if err == nil {
		err = x.Decide(terms)
	}
	if err != nil {
		t.Fatalf("%s: %v", request, err)
	}
	x.Native("account", x.Body())
	got := x.Keep(t.Context(), x.Body(), x.Whole([]byte(answer)), owners(who))
	var r struct{ ID string }
	if err := json.Unmarshal(got, &r); err != nil || !strings.HasPrefix(r.ID, "resp_") || strings.Contains(string(got), "theirs") {
		t.Fatalf("got %s, %v", got, err)
	}
	return x, r.ID
}

func TestExchange_chain(t *testing.T) {
	t.Parallel()
	k := stored.New(newShelf(), nil, slog.New(slog.DiscardHandler))
	who := principal("k1", "", "t1")
	_, first := say(t, k, who, `{"model":"demo","input":"one"}`)
	x, _ := say(t, k, who, `{"model":"demo","a\"b":1,"input":[{"type":"function_call_output","call_id":"c1","output":"2"}],"previous_response_id":"`+first+`"}`)
	want := `{"model":"demo","a\"b":1,"input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"one"}]},` +
		`{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"sealed"},` +
		`{"type":"message","role":"assistant","content":[{"type":"output_text","text":"hi <b>"}]},` +
		`{"type":"function_call","call_id":"c1","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c1","output":"2"}]}`
	if got := string(x.Body()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	// The provider that has kept the turn is asked with its own id, and with all if it has lost it.
	native, ok := x.Native("account", x.Body())
	if !ok || !strings.Contains(string(native), `"previous_response_id":"resp_theirs"`) || strings.Contains(string(native), "one") {
		t.Errorf("got %s, %t", native, ok)
	}
	lost := &llm.Error{Kind: llm.Invalid, Status: 400, Code: "previous_response_not_found"}
	if !x.Forgotten(lost) || x.Forgotten(lost) {
		t.Error("a provider that has lost the turn is not asked again, or for ever")
	}
	if _, ok := x.Native("account", x.Body()); ok {
		t.Error("it is asked with its own id again")
	}
	x, _ = say(t, k, who, `{"model":"demo","input":"x","previous_response_id":"`+first+`"}`)
	if _, ok := x.Native("another", x.Body()); ok {
		t.Error("another account is asked with an id that it does not know")
	}
	if _, ok := x.Native("account", bytes.Clone(x.Body())); ok {
		t.Error("what a guardrail has changed is not what the provider is asked")
	}
	// Another model cannot open the reasoning.
	y, err := k.Open(t.Context(), who, []byte(`{"model":"b","input":"x","previous_response_id":"`+first+`"}`), "b", terms)
	if err != nil || strings.Contains(string(y.Body()), "sealed") {
		t.Errorf("got %s, %v", y.Body(), err)
	}
}

// Items of turns that are stored stand in the place of references to them, as the AI SDK sends them in the place of what it
// had before; those of others, and of nobody, stay.
func TestExchange_references(t *testing.T) {
	t.Parallel()
	k := stored.New(newShelf(), nil, slog.New(slog.DiscardHandler))
	who := principal("k1", "", "t1")
	x, err := k.Open(t.Context(), who, []byte(`{"input":"one"}`), "demo", terms)
	if err == nil {
		err = x.Decide(terms)
	}
	if err != nil {
		t.Fatal(err)
	}
	turn := strings.TrimPrefix(x.ID(), "resp_")
	x.Keep(t.Context(), x.Body(), []byte(strings.NewReplacer("rs_1", "rs_"+turn+"_0", "rs_2", "rs_"+turn+"_1", "msg_1", "msg_"+turn+"_2", `"id":"fc_1",`, "").Replace(answer)), owners(who))

	const result, message = `{"type":"function_call_output","call_id":"c1","output":"2"}`, `{"type":"message","role":"assistant","content":[{"type":"output_text","text":"hi <b>"}]}`
	const call = `{"type":"function_call","call_id":"c1","name":"f","arguments":"{}"}`
	reference := func(id string) string {
		return `{"type":"item_reference","id":"` + strings.ReplaceAll(id, "TURN", turn) + `"}`
	}
	sealed := `{"type":"reasoning","id":"rs_` + turn + `_0","summary":[],"encrypted_content":"sealed"}`
	for _, tt := range []struct {
		name, model string
		who         *resource.Principal
		input, want string
	}{
		{"an answer, and its call", "demo", who, reference("msg_TURN_2") + "," + reference("fc_TURN_3") + "," + result, message + "," + call + "," + result},
		{"what was asked", "demo", who, reference("msg_TURN_i0") + "," + result, `{"type":"message","role":"user","content":[{"type":"input_text","text":"one"}]},` + result},
		{"reasoning, as far as it can be opened", "demo", who, reference("rs_TURN_0") + "," + reference("rs_TURN_1") + "," + result, sealed + "," + result},
		{"reasoning of another model", "b", who, reference("rs_TURN_0") + "," + result, result},
		{"of another team", "demo", principal("k2", "", "t2"), reference("msg_TURN_2"), reference("msg_TURN_2")},
		{"of the provider's", "demo", who, reference("msg_1") + "," + reference("msg_TURN_9") + "," + reference("msg_TURN_0") + "," + reference("fc_TURN_2"), ""},
	} {
		body := `{"input":[` + tt.input + `],"store":false}`
		x, err := k.Open(t.Context(), tt.who, []byte(body), tt.model, terms)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		want := `{"input":[` + cmp.Or(tt.want, tt.input) + `],"store":false}`
		if got := string(x.Body()); got != want || x.Expanded() != (want != body) {
			t.Errorf("%s: got %s (%t), want %s", tt.name, got, x.Expanded(), want)
		}
	}
}

func TestKeeper_owners(t *testing.T) {
	t.Parallel()
	k := stored.New(newShelf(), nil, slog.New(slog.DiscardHandler))
	_, ofUser := say(t, k, principal("k1", "u1", "t1"), `{"input":"one"}`)
	_, ofTeam := say(t, k, principal("k2", "", "t1"), `{"input":"one"}`)
	_, ofKey := say(t, k, principal("k3", "", ""), `{"input":"one"}`)
	for _, tt := range []struct {
		name string
		who  *resource.Principal
		sees string
	}{
		{"the key", principal("k1", "u1", "t1"), "user team"},
		{"another key of the user", principal("k9", "u1", ""), "user"},
		{"another user of the team", principal("k9", "u2", "t1"), "team"},
		{"another team", principal("k9", "u2", "t2"), ""},
		{"a key of nobody", principal("k9", "", ""), ""},
		{"the lone key", principal("k3", "", ""), "key"},
		{"the master key", &resource.Principal{}, ""},
	} {
		var sees []string
		for _, one := range []struct{ name, id string }{{"user", ofUser}, {"team", ofTeam}, {"key", ofKey}} {
			_, err := k.Response(t.Context(), tt.who, one.id)
			var e *llm.Error
			if err == nil {
				sees = append(sees, one.name)
			} else if !errors.As(err, &e) || e.HTTPStatus() != 404 {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
		if got := strings.Join(sees, " "); got != tt.sees {
			t.Errorf("%s sees %q, want %q", tt.name, got, tt.sees)
		}
	}
}

func TestExchange_cannotStore(t *testing.T) {
	t.Parallel()
	s := newShelf()
	k := stored.New(s, nil, slog.New(slog.DiscardHandler))
	who := principal("k1", "", "")
	open := func(request string, terms stored.Terms) (*stored.Exchange, error) {
		t.Helper()
		x, err := k.Open(t.Context(), who, []byte(request), "demo", terms)
		if err != nil {
			t.Fatal(err)
		}
		return x, x.Decide(terms)
	}
	s.able = resource.ErrNoLeader
	if x, err := open(`{"input":"x"}`, terms); err != nil || x.Stored() {
		t.Errorf("nobody asked: %v", err)
	}
	if _, err := open(`{"input":"x","store":true}`, terms); err == nil {
		t.Error("asked to store, and cannot: no error")
	}
	s.able, s.put = nil, errors.New("boom")
	x, err := open(`{"input":"x"}`, terms)
	if err != nil {
		t.Fatal(err)
	}
	if got := x.Keep(t.Context(), x.Body(), x.Whole([]byte(answer)), owners(who)); !strings.Contains(string(got), `"store":false`) {
		t.Errorf("what is not stored says %s", got)
	}
	s.put = nil
	for _, tt := range []struct {
		request string
		terms   stored.Terms
		want    bool
	}{
		{`{"input":"x"}`, stored.Terms{Days: 1, Default: true, Private: true}, false},
		{`{"input":"x","store":true}`, stored.Terms{Days: 1, Private: true}, true},
		{`{"input":"x"}`, stored.Terms{Days: 1}, false},
		{`{"input":"x","store":null}`, stored.Terms{Days: 1, Default: true}, true},
		{`{"input":"x","store":true}`, stored.Terms{Default: true}, false},
	} {
		if x, err := open(tt.request, tt.terms); err != nil || x.Stored() != tt.want {
			t.Errorf("%s %+v: stored %t, want %t (%v)", tt.request, tt.terms, x.Stored(), tt.want, err)
		}
	}
}

// tape is a stream of events.
type tape struct{ events []string }

func (s *tape) Next() (llm.Event, error) {
	if len(s.events) == 0 {
		return llm.Event{}, io.EOF
	}
	e := s.events[0]
	s.events = s.events[1:]
	return llm.Event{Raw: []byte(e)}, nil
}
func (s *tape) Done() bool               { return len(s.events) == 0 }
func (s *tape) Usage() (llm.Usage, bool) { return llm.Usage{}, false }
func (s *tape) TextBytes() int64         { return 0 }
func (s *tape) Close()                   {}

func TestExchange_stream(t *testing.T) {
	t.Parallel()
	k := stored.New(newShelf(), nil, slog.New(slog.DiscardHandler))
	who := principal("k1", "", "")
	x, err := k.Open(t.Context(), who, []byte(`{"input":"x","stream":true}`), "demo", terms)
	if err == nil {
		err = x.Decide(terms)
	}
	if err != nil {
		t.Fatal(err)
	}
	delta := "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"a \\\"response\\\" b\"}\n\n"
	src := x.Stream(&tape{events: []string{
		"event: response.created\r\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_theirs\"},\"sequence_number\":0}\r\n\r\n",
		delta, ": ping\n\n",
		"data: {\"type\":\"response.completed\",\"response\":" + answer + "}\n\n",
	}})
	var out []string
	for {
		ev, err := src.Next()
		if err != nil {
			break
		}
		out = append(out, string(ev.Raw))
	}
	all := strings.Join(out, "")
	if strings.Contains(all, "theirs") || out[1] != delta || out[2] != ": ping\n\n" || !strings.HasSuffix(out[0], ",\"sequence_number\":0}\r\n\r\n") {
		t.Fatalf("got %q", out)
	}
	last := x.KeepEvent(t.Context(), x.Body(), []byte(out[3]), owners(who))
	if string(last) != out[3] {
		t.Errorf("the last event is %s", last)
	}
	id := all[strings.Index(all, `"id":"`)+6:]
	id = id[:strings.IndexByte(id, '"')]
	if r, err := k.Response(t.Context(), who, id); err != nil || !bytes.Contains(r, []byte("hi <b>")) {
		t.Errorf("got %s, %v", r, err)
	}
	page, err := k.InputItems(t.Context(), who, id, url.Values{})
	if err != nil || len(page.Data) != 1 || !strings.Contains(string(page.Data[0]), `"input_text","text":"x"`) {
		t.Errorf("got %+v, %v", page, err)
	}
}

func TestOpen_refuses(t *testing.T) {
	t.Parallel()
	k := stored.New(newShelf(), nil, slog.New(slog.DiscardHandler))
	for _, tt := range []struct{ request, code string }{
		{`{"input":"x","previous_response_id":"resp_no"}`, "previous_response_not_found"},
		{`{"input":"x","previous_response_id":"../x"}`, "previous_response_not_found"},
		{`{"input":"x","previous_response_id":7}`, "invalid_value"},
		{`{"input":"x","store":"yes"}`, "invalid_value"},
		{`{"input":"x","store":true,"store":false}`, "invalid_value"},
		{`{"input":"x","background":"yes"}`, "invalid_value"},
	} {
		_, err := k.Open(t.Context(), principal("k", "", ""), []byte(tt.request), "demo", terms)
		var e *llm.Error
		if !errors.As(err, &e) || e.Code != tt.code || e.HTTPStatus() != 400 {
			t.Errorf("%s: got %v, want %s", tt.request, err, tt.code)
		}
	}
}

func FuzzOpen(f *testing.F) {
	s := newShelf()
	k := stored.New(s, nil, slog.New(slog.DiscardHandler))
	who := principal("k1", "", "")
	s.recs["resp_1"] = resource.Response{ID: "resp_1", Owners: owners(who)}
	for _, seed := range [][2]string{
		{`{"input":"x","previous_response_id":"resp_1"}`, answer},
		{`{"input":[{"role":"user","content":"x"}],"previous_response_id":"resp_1","x":[1,{}]}`, `{"output":[1,"x",{},{"type":"reasoning"}]}`},
		{`{"input":[{"type":"item_reference","id":"msg_1_0"},{"type":"item_reference","id":"x_1_i0"}]}`, `{"output":[1]}`},
		{`{}`, `{}`},
		{`{"previous_response_id":"resp_1"}`, `{"output":{}}`},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, request, response string) {
		if _, err := llm.Peek([]byte(request)); err != nil || !json.Valid([]byte(response)) || response[0] != '{' {
			return
		}
		s.bodies["resp_1"] = []byte(`{"id":"resp_1","response":` + response + `}`)
		x, err := k.Open(t.Context(), who, []byte(request), "demo", terms)
		if err != nil {
			return
		}
		if !json.Valid(x.Body()) {
			t.Errorf("%s after %s gives %s", request, response, x.Body())
		}
		if err := x.Decide(terms); err == nil && !json.Valid(x.Whole([]byte(response))) {
			t.Errorf("%s gives %s", response, x.Whole([]byte(response)))
		}
		_ = x.KeepEvent(t.Context(), x.Body(), []byte("data: "+response+"\n\n"), owners(who))
	})
}
