package plugintest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/contract"
	"github.com/conclave-llm/conclave/plugins/modelserver"
	wire "github.com/conclave-llm/conclave/plugins/proto"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// ProviderCase says what the provider under test should answer.
type ProviderCase struct {
	Config []byte   // that must be accepted
	Bad    [][]byte // configurations that must be refused
	Model  string   // that the plugin has, by the name that deployments give
	Prompt string   // of a user, which is answered; "": it serves no chat completions
	Says   string   // what the answer to it must hold
	Input  string   // of which an embedding is made; "": it makes none
}

// Provider runs the checks of providers; make returns a fresh, unconfigured plugin.
func Provider(t *testing.T, make func() sdk.Provider, c ProviderCase) {
	k := &providerKit{c: c, from: inMemory{provider: make}}
	run(t, k.checks())
}

// ProviderProgram runs the checks of providers and of processes on a program.
func ProviderProgram(t *testing.T, p Program, c ProviderCase) {
	from := &launched{Program: p, kind: modelserver.PluginKey}
	k := &providerKit{c: c, from: from}
	run(t, k.checks())
	run(t, from.checks())
	run(t, k.processChecks(from))
}

type providerKit struct {
	c    ProviderCase
	from source
}

func (k *providerKit) checks() []check {
	all := []check{
		{"describes itself", k.describes},
		{"refuses bad configurations", k.refuses},
		{"says which contract it was built against", k.minor},
		{"serves a newer host", k.newer},
		{"answers an endpoint that it does not know with an error", k.unknown},
		{"lives through strange requests", k.strange},
		{"goes on after a new start", k.restart},
	}
	if k.c.Prompt != "" {
		all = append(all, []check{
			{"answers", func(t *testing.T) { k.right(t, k.start(t)) }},
			{"streams", func(t *testing.T) { k.streams(t, k.start(t)) }},
			{"says what it used", k.used},
			{"answers at the same time", k.concurrent},
			{"heeds cancellation", k.cancelled},
			{"answers while streams are not read", k.unread},
		}...)
	}
	if k.c.Input != "" {
		all = append(all, check{"makes embeddings", func(t *testing.T) { k.embeds(t, k.start(t)) }})
	}
	return all
}

// asked is a configured plugin, as a node asks it.
type asked struct {
	*modelserver.Gate
	client *modelserver.Client
}

// start serves a fresh plugin and configures it.
func (k *providerKit) start(t *testing.T) asked {
	t.Helper()
	c := modelserver.NewClient(k.from.connect(t))
	t.Cleanup(c.Close)
	if _, err := c.Configure(short(t), sdk.ProviderSettings{Name: "test", Config: k.c.Config}); err != nil {
		t.Fatalf("the configuration is refused: %v", err)
	}
	g := &modelserver.Gate{}
	g.Set("test", 0, c)
	return asked{g, c}
}

// chat is the case's request for a chat completion.
func (k *providerKit) chat(stream bool) *modelserver.Question {
	body := map[string]any{"model": k.c.Model, "messages": []map[string]string{{"role": "user", "content": k.c.Prompt}}}
	if stream {
		body["stream"], body["stream_options"] = true, map[string]bool{"include_usage": true}
	}
	return k.question(llm.Chat, stream, body)
}

func (k *providerKit) question(e llm.Endpoint, stream bool, body any) *modelserver.Question {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // maps of texts can be written
	}
	return &modelserver.Question{Endpoint: e, Stream: stream, Request: modelserver.Request{ID: "req_test", Model: k.c.Model, Body: text}}
}

// whole asks for an answer and reads it.
func whole(t *testing.T, g asked, q *modelserver.Question) (status int, body []byte) {
	t.Helper()
	res, err := g.RoundTrip(short(t), "test", q)
	if err != nil {
		t.Error(err)
		return 0, nil
	}
	defer func() { _ = res.Body.Close() }()
	if body, err = io.ReadAll(res.Body); err != nil {
		t.Errorf("the answer is cut: %v", err)
	}
	return res.StatusCode, body
}

func (k *providerKit) describes(t *testing.T) {
	c := modelserver.NewClient(k.from.connect(t))
	t.Cleanup(c.Close)
	d, err := c.Configure(short(t), sdk.ProviderSettings{Name: "test", Config: k.c.Config})
	if err != nil || d.Version == "" {
		t.Fatalf("version %q, %v", d.Version, err)
	}
	if slices.Contains(d.Endpoints, modelserver.Chat) != (k.c.Prompt != "") || slices.Contains(d.Endpoints, modelserver.Embeddings) != (k.c.Input != "") {
		t.Errorf("it serves %v, which is not what the case checks", d.Endpoints)
	}
	if len(d.Models) > 0 && !slices.Contains(d.Models, k.c.Model) {
		t.Errorf("it has the models %v, and not %s of the case", d.Models, k.c.Model)
	}
}

func (k *providerKit) refuses(t *testing.T) {
	for _, bad := range k.c.Bad {
		c := modelserver.NewClient(k.from.connect(t))
		if _, err := c.Configure(short(t), sdk.ProviderSettings{Name: "test", Config: bad}); err == nil {
			t.Errorf("%s is accepted", bad)
		}
		c.Close()
	}
}

func (k *providerKit) minor(t *testing.T) {
	d, err := wire.NewProviderClient(k.from.connect(t)).Configure(short(t), &wire.ConfigureProvider{Name: "test", Config: k.c.Config, HostMinor: contract.Minor})
	if err != nil || d.GetSdkMinor() < contract.MinorProviders {
		t.Errorf("minor %d, %v: providers came with %d", d.GetSdkMinor(), err, contract.MinorProviders)
	}
}

func (k *providerKit) newer(t *testing.T) {
	rpc := wire.NewProviderClient(k.from.connect(t))
	c := &wire.ConfigureProvider{Name: "test", Config: k.c.Config, HostMinor: contract.Minor + 90}
	c.ProtoReflect().SetUnknown(unknownField)
	if _, err := rpc.Configure(short(t), c); err != nil {
		t.Fatalf("the configuration is refused: %v", err)
	}
	q := k.chat(false)
	if k.c.Prompt == "" {
		q = k.embedding()
	}
	m := &wire.ProviderRequest{Endpoint: q.Endpoint.String(), Model: q.Model, Body: q.Body}
	m.ProtoReflect().SetUnknown(unknownField)
	s, err := rpc.Ask(short(t), m)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := s.Recv(); err != nil || a.GetBody() == nil {
		t.Errorf("got %v, %v, want an answer", a, err)
	}
}

// unknown is asked by a host that believes the plugin to be another.
func (k *providerKit) unknown(t *testing.T) {
	rpc := wire.NewProviderClient(k.from.connect(t))
	if _, err := rpc.Configure(short(t), &wire.ConfigureProvider{Name: "test", Config: k.c.Config}); err != nil {
		t.Fatalf("the configuration is refused: %v", err)
	}
	s, err := rpc.Ask(short(t), &wire.ProviderRequest{Endpoint: "dreams", Model: k.c.Model, Body: []byte(`{}`)})
	if err != nil {
		return
	}
	if a, err := s.Recv(); err == nil && a.GetError() == nil {
		t.Errorf("got %v", a)
	}
}

// answer is the part of an answer, or of a chunk of one, that the kit reads.
type answer struct {
	Choices []struct {
		Message, Delta struct{ Content string }
		FinishReason   *string `json:"finish_reason"`
	}
	Usage *struct {
		Prompt     int64 `json:"prompt_tokens"`
		Completion int64 `json:"completion_tokens"`
	}
	Data []struct {
		Embedding json.RawMessage
	}
}

// right asks the case's question and checks the whole answer.
func (k *providerKit) right(t *testing.T, g asked) (a answer) {
	t.Helper()
	status, body := whole(t, g, k.chat(false))
	err := json.Unmarshal(body, &a)
	if status != http.StatusOK || err != nil || len(a.Choices) == 0 || a.Choices[0].FinishReason == nil || !strings.Contains(a.Choices[0].Message.Content, k.c.Says) {
		t.Errorf("got %d %.500s, %v, want a choice that is finished and says %q", status, body, err, k.c.Says)
	}
	return a
}

// streams asks for a stream and checks it.
func (k *providerKit) streams(t *testing.T, g asked) (last answer) {
	t.Helper()
	status, body := whole(t, g, k.chat(true))
	events := llm.NewSSEReader(bytes.NewReader(body), 0)
	var text strings.Builder
	finished, ended := false, false
	for {
		e, err := events.Next()
		if err != nil {
			break
		}
		if ended = string(e.Data) == "[DONE]"; ended {
			continue
		}
		var a answer
		if err := json.Unmarshal(e.Data, &a); err != nil {
			t.Errorf("a chunk is no JSON: %.500s", e.Data)
			return last
		}
		for _, c := range a.Choices {
			text.WriteString(c.Delta.Content)
			finished = finished || c.FinishReason != nil
		}
		if a.Usage != nil {
			last = a
		}
	}
	if status != http.StatusOK || !finished || !ended || !strings.Contains(text.String(), k.c.Says) {
		t.Errorf("got %d, finished %t, ended %t, %.500q, want %q", status, finished, ended, text.String(), k.c.Says)
	}
	return last
}

func (k *providerKit) used(t *testing.T) {
	g := k.start(t)
	for what, a := range map[string]answer{"answer": k.right(t, g), "stream": k.streams(t, g)} {
		if a.Usage == nil {
			t.Logf("a whole %s says no usage: nodes will estimate it", what)
		} else if a.Usage.Prompt < 0 || a.Usage.Completion < 0 {
			t.Errorf("usage of a whole %s: %+v", what, *a.Usage)
		}
	}
}

func (k *providerKit) concurrent(t *testing.T) {
	g := k.start(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { k.right(t, g) })
		wg.Go(func() { k.streams(t, g) })
	}
	wg.Wait()
}

// cancelled leaves streams after their first byte: the process is idle then, and answers others.
func (k *providerKit) cancelled(t *testing.T) {
	g := k.start(t)
	for range 20 {
		ctx, cancel := context.WithCancel(short(t))
		if res, err := g.RoundTrip(ctx, "test", k.chat(true)); err == nil {
			_, _ = res.Body.Read(make([]byte, 1))
			cancel()
			_ = res.Body.Close()
		}
		cancel()
	}
	k.right(t, g)
}

// unread opens streams that nobody reads: neither another answer nor a sign of life waits for them.
func (k *providerKit) unread(t *testing.T) {
	g := k.start(t)
	for range 8 {
		res, err := g.RoundTrip(short(t), "test", k.chat(true))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
	}
	if err := g.client.Ping(short(t)); err != nil {
		t.Errorf("no sign of life: %v", err)
	}
	k.right(t, g)
}

// strange asks for what no client would; an error is an answer.
func (k *providerKit) strange(t *testing.T) {
	g := k.start(t)
	for _, e := range []llm.Endpoint{llm.Chat, llm.Embeddings} {
		for _, body := range []string{"", "null", "[]", "{}", "no JSON", `{"messages":[]}`, `{"messages":null,"input":null}`, `{"messages":7,"input":{}}`, strings.Repeat("[", 10_000), `{"messages":[{"content":"` + strings.Repeat("x", 1<<20) + `"}]}`} {
			q := &modelserver.Question{Endpoint: e, Request: modelserver.Request{Model: k.c.Model, Body: []byte(body)}}
			for _, q.Stream = range []bool{false, true} {
				res, err := g.RoundTrip(short(t), "test", q)
				if err != nil {
					continue
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
		}
	}
	k.works(t, g)
}

// works asks for whatever the case has.
func (k *providerKit) works(t *testing.T, g asked) {
	t.Helper()
	if k.c.Prompt != "" {
		k.right(t, g)
	}
	if k.c.Input != "" {
		k.embeds(t, g)
	}
}

func (k *providerKit) restart(t *testing.T) {
	k.works(t, k.start(t))
	k.works(t, k.start(t))
}

func (k *providerKit) embedding() *modelserver.Question {
	return k.question(llm.Embeddings, false, map[string]any{"model": k.c.Model, "input": []string{k.c.Input, k.c.Input}})
}

func (k *providerKit) embeds(t *testing.T, g asked) {
	t.Helper()
	status, body := whole(t, g, k.embedding())
	var a answer
	if err := json.Unmarshal(body, &a); status != http.StatusOK || err != nil || len(a.Data) != 2 || len(a.Data[1].Embedding) < 2 {
		t.Errorf("got %d %.500s, %v, want two embeddings", status, body, err)
	}
}

// processChecks are those of a process while it works.
func (k *providerKit) processChecks(from *launched) []check {
	work := func(t *testing.T, g asked, rounds int) {
		for range rounds {
			k.works(t, g)
		}
	}
	return []check{
		{"stays within its memory, and does not grow", func(t *testing.T) {
			g := k.start(t)
			work(t, g, 50)
			before, _ := usage(t, from.last.pid())
			work(t, g, 150)
			after, _ := usage(t, from.last.pid())
			if limit := cmp.Or(from.MemoryLimit, int64(defaultMemory)); after > limit {
				t.Errorf("%d bytes of memory, more than %d: a node would kill it", after, limit)
			}
			if after > before+before/2+(16<<20) {
				t.Errorf("it has grown from %d to %d bytes with three times the work", before, after)
			}
		}},
		{"does not keep descriptors", func(t *testing.T) {
			g := k.start(t)
			work(t, g, 5)
			_, before := usage(t, from.last.pid())
			work(t, g, 50)
			if _, after := usage(t, from.last.pid()); after > before+8 { // connections to a server of models stay open
				t.Errorf("%d descriptors are open, before it were %d", after, before)
			}
		}},
		{"fails what comes when it is killed", func(t *testing.T) {
			g := k.start(t)
			k.works(t, g)
			p, err := os.FindProcess(from.last.pid())
			if err == nil {
				err = p.Kill()
			}
			if err != nil {
				t.Fatal(err)
			}
			within(t, "a request fails", func() bool {
				q := k.chat(false)
				if k.c.Prompt == "" {
					q = k.embedding()
				}
				res, err := g.RoundTrip(short(t), "test", q)
				if err == nil {
					_ = res.Body.Close()
				}
				return err != nil
			})
		}},
	}
}
