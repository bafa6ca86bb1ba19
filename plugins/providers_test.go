package plugins_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/internal/launch"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins"
	"github.com/conclave-llm/conclave/plugins/modelserver"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// providerProbe is a provider that does what the body tells it to.
type providerProbe struct{}

func (providerProbe) Configure(_ context.Context, s sdk.ProviderSettings) (sdk.ProviderDescription, error) {
	return sdk.ProviderDescription{Version: "test " + string(s.Config)}, nil
}

func (providerProbe) Chat(ctx context.Context, q *sdk.ProviderRequest) ([]byte, error) {
	switch string(q.Body) {
	case "wait":
		<-ctx.Done()
		return nil, ctx.Err()
	case "exit":
		os.Exit(7)
	case "stop":
		return nil, launch.Signal(os.Getpid(), syscall.SIGSTOP)
	case "grow":
		grown = make([]byte, 400<<20)
		for i := range grown {
			grown[i] = byte(i)
		}
	}
	return []byte("answer"), nil
}

// ChatStream sends a chunk and the rest when the context ends, or a kill does.
func (providerProbe) ChatStream(ctx context.Context, q *sdk.ProviderRequest, send func([]byte) error) error {
	if err := send([]byte(`{"first":1}`)); err != nil {
		return err
	}
	if string(q.Body) == "open" {
		<-ctx.Done()
		return ctx.Err()
	}
	if string(q.Body) == "long" { // until the test says so
		look := time.NewTicker(5 * time.Millisecond)
		defer look.Stop()
		for {
			if _, err := os.Stat(q.Model); err == nil {
				return send([]byte(`{"last":1}`))
			}
			select {
			case <-look.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// TestHost_Provider asks a real process, which hangs, is stopped, dies and grows, with streams under way.
func TestHost_Provider(t *testing.T) {
	t.Parallel()
	gate := &modelserver.Gate{}
	h := newHost(t, plugins.Config{RestartMin: time.Millisecond, Crashes: 100, HungAfter: 2 * time.Second, Providers: gate})
	spec := plugins.Spec{Kind: plugins.KindProvider, ID: "house@1", Name: "house@1", Plugin: "providerprobe", Config: []byte(`{"n":"1"}`)}
	if err := h.Sync([]plugins.Spec{spec}); err != nil {
		t.Fatal(err)
	}
	ask := func(ctx context.Context, body, model string, stream bool) (*http.Response, error) {
		return gate.RoundTrip(ctx, "house@1", &modelserver.Question{
			Endpoint: llm.Chat, Stream: stream, Request: modelserver.Request{Model: model, Body: []byte(body)},
		})
	}
	read := func(res *http.Response) (string, error) {
		defer func() { _ = res.Body.Close() }()
		text, err := io.ReadAll(res.Body)
		return string(text), err
	}
	works := func() {
		t.Helper()
		res, err := ask(t.Context(), "hi", "m", false) //nolint:bodyclose // read closes it
		if err != nil {
			t.Fatal(err)
		}
		if text, err := read(res); text != "answer" || err != nil {
			t.Fatalf("got %q, %v", text, err)
		}
	}
	pid := runs(t, h, 0)
	works()
	for _, end := range []func(){
		func() { _ = launch.Signal(pid, syscall.SIGKILL) },
		func() { fails(t, ask, "exit") },
		func() { fails(t, ask, "grow") }, // above 256 MiB
		func() { fails(t, ask, "stop") }, // not heard any more
	} {
		var streams sync.WaitGroup
		for range 8 { // each of them ends, and not as a whole one does
			res, err := ask(t.Context(), "open", "m", true)
			if err != nil {
				t.Fatal(err)
			}
			streams.Go(func() {
				if text, err := read(res); err == nil || text != "data: {\"first\":1}\n\n" {
					t.Errorf("a stream of a process that ends: %q, %v", text, err)
				}
			})
		}
		end()
		streams.Wait()
		pid = runs(t, h, pid)
		works()
	}
	impatient, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := ask(impatient, "wait", "m", false); !errors.Is(err, context.DeadlineExceeded) { //nolint:bodyclose // there is none
		t.Errorf("a request that nobody waits for: %v", err)
	}

	// Another configuration takes over, and what is under way ends in peace.
	release := t.TempDir() + "/release"
	res, err := ask(t.Context(), "long", release, true) //nolint:bodyclose // read closes it
	if err != nil {
		t.Fatal(err)
	}
	spec.Config = []byte(`{"n":"2"}`)
	if err := h.Sync([]plugins.Spec{spec}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the new one runs", func() bool { return h.Status()[0].Version == `test {"n":"2"}` })
	works()
	second, err := ask(t.Context(), "long", release, true) //nolint:bodyclose // read closes it
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Sync(nil); err != nil { // nor does it end what is under way that nobody asks it any more
		t.Fatal(err)
	}
	if err := os.WriteFile(release, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, res := range []*http.Response{res, second} {
		if text, err := read(res); err != nil || !strings.HasSuffix(text, "data: {\"last\":1}\n\ndata: [DONE]\n\n") {
			t.Errorf("an answer that was under way: %q, %v", text, err)
		}
	}
	eventually(t, 20*time.Second, "nothing runs", func() bool {
		res, err := ask(t.Context(), "hi", "m", false) //nolint:bodyclose // read closes it
		if err == nil {
			_, err = read(res)
		}
		return errors.Is(err, modelserver.ErrNotRunning)
	})
}

// fails asks for what the process does not live through.
func fails(t *testing.T, ask func(context.Context, string, string, bool) (*http.Response, error), body string) {
	t.Helper()
	res, err := ask(t.Context(), body, "m", false)
	if err == nil { // it was answered before the process was ended
		_ = res.Body.Close()
		return
	}
	if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Upstream || e.Code != "provider_plugin_failed" {
		t.Errorf("%s: %v", body, err)
	}
}

// TestHost_Provider_Instances: requests go to all processes, and whichever dies, later ones do not notice.
func TestHost_Provider_Instances(t *testing.T) {
	t.Parallel()
	gate := &modelserver.Gate{}
	h := newHost(t, plugins.Config{RestartMin: time.Millisecond, Crashes: 100, Providers: gate})
	spec := plugins.Spec{Kind: plugins.KindProvider, ID: "house@1", Name: "house@1", Plugin: "providerprobe", Instances: 2}
	if err := h.Sync([]plugins.Spec{spec}); err != nil {
		t.Fatal(err)
	}
	all := func() bool {
		s := h.Status()
		return len(s) == 2 && s[0].State == plugins.StateRunning && s[1].State == plugins.StateRunning
	}
	eventually(t, 60*time.Second, "two run", all)
	for _, s := range h.Status() {
		_ = launch.Signal(s.PID, syscall.SIGKILL)
		eventually(t, 20*time.Second, "the end is seen", func() bool {
			for _, now := range h.Status() {
				if now.Instance == s.Instance {
					return now.PID != s.PID
				}
			}
			return false
		})
		for range 10 {
			res, err := gate.RoundTrip(t.Context(), "house@1", &modelserver.Question{Endpoint: llm.Chat, Request: modelserver.Request{Model: "m", Body: []byte("hi")}})
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
		}
		eventually(t, 20*time.Second, "it runs again", all)
	}
}
