package plugins_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/internal/launch"
	"github.com/conclave-llm/conclave/plugins"
	"github.com/conclave-llm/conclave/plugins/auth"
	"github.com/conclave-llm/conclave/plugins/routerfilter"
	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/resource"
)

// authProbe is an auth plugin that does what the credential tells it to.
type authProbe struct{}

func (authProbe) Configure(context.Context, sdk.AuthSettings) (sdk.AuthDescription, error) {
	return sdk.AuthDescription{Version: "test", Hooks: []sdk.AuthHook{sdk.AuthCredential}}, nil
}

func (authProbe) Authenticate(ctx context.Context, c *sdk.Credential) (sdk.AuthAnswer, error) {
	word, _, _ := strings.Cut(c.Secret.Reveal(), " ")
	switch word {
	case "hang":
		<-ctx.Done()
		select {} // a plugin that does not listen to its context
	case "exit":
		os.Exit(7)
	case "panic":
		panic("told to")
	case "grow":
		grown = make([]byte, 400<<20)
		for i := range grown {
			grown[i] = byte(i)
		}
	case "two":
		return sdk.AuthAnswer{Identity: &sdk.Identity{KeyID: "key_1", UserID: "u"}}, nil
	case "nobody":
		return sdk.AuthAnswer{Identity: &sdk.Identity{}}, nil
	case "teapot":
		return sdk.AuthAnswer{Refusal: &sdk.AuthRefusal{Status: 418}}, nil
	case "no":
		return sdk.AuthAnswer{Refusal: &sdk.AuthRefusal{Status: 403, Code: "no way", Message: "go\naway"}}, nil
	}
	return sdk.AuthAnswer{Identity: &sdk.Identity{UserID: word}}, nil
}

// filterProbe is a router filter that does what the model's name tells it to.
type filterProbe struct{}

func (filterProbe) Configure(context.Context, sdk.RouterFilterSettings) (sdk.RouterFilterDescription, error) {
	return sdk.RouterFilterDescription{Version: "test"}, nil
}

func (filterProbe) Filter(ctx context.Context, r *sdk.Route) ([]int, error) {
	switch r.Model {
	case "hang":
		<-ctx.Done()
		select {}
	case "exit":
		os.Exit(7)
	case "twice":
		return []int{0, 0}, nil
	case "beyond":
		return []int{len(r.Candidates)}, nil
	case "fail":
		return nil, errors.New("told to")
	}
	return []int{len(r.Candidates) - 1}, nil
}

// runs starts one plugin and waits until its process runs, another one than that with the pid.
func runs(t testing.TB, h *plugins.Host, not int) (pid int) {
	t.Helper()
	eventually(t, 60*time.Second, "a process runs", func() bool {
		s := h.Status()
		if len(s) != 1 || s[0].State != plugins.StateRunning || s[0].PID == not {
			return false
		}
		pid = s[0].PID
		return true
	})
	return pid
}

// TestHost_Auth asks a real process, which hangs, dies, grows and answers wrongly.
func TestHost_Auth(t *testing.T) {
	t.Parallel()
	gate := auth.NewGate(auth.GateConfig{})
	h := newHost(t, plugins.Config{RestartMin: time.Millisecond, Crashes: 100, HungAfter: 2 * time.Second, Auths: gate})
	if err := h.Sync([]plugins.Spec{{Kind: plugins.KindAuth, ID: "auth_1", Name: "idp", Plugin: "authprobe", Needed: true}}); err != nil {
		t.Fatal(err)
	}
	if err := h.Ready(); err == nil || !strings.Contains(err.Error(), "auth idp") {
		t.Errorf("ready before the process runs: %v", err)
	}
	record := &resource.Auth{Meta: resource.Meta{ID: "auth_1"}, Name: "idp", PluginUse: resource.PluginUse{DeadlineMS: 20_000}}
	ask := func(secret string) (auth.Answer, error) {
		return gate.Ask(t.Context(), record, &auth.Request{Secret: secret, Header: http.Header{}})
	}
	pid := runs(t, h, 0)
	if err := h.Ready(); err != nil {
		t.Error(err)
	}
	works := func() {
		t.Helper()
		if a, err := ask("alice"); err != nil || a.Identity == nil || a.Identity.UserID != "alice" {
			t.Fatalf("got %+v, %v", a, err)
		}
	}
	works()
	if a, err := ask("no"); err != nil || a.Refusal == nil || a.Refusal.Code != "noway" || a.Refusal.Message != "go away" {
		t.Errorf("refusal: %+v, %v", a.Refusal, err)
	}
	for _, wrong := range []string{"two", "nobody", "teapot", "panic"} {
		if a, err := ask(wrong); err == nil {
			t.Errorf("%s: got %+v", wrong, a)
		}
	}
	works()
	for _, end := range []func(){
		func() { _ = launch.Signal(pid, syscall.SIGKILL) },
		func() {
			if _, err := ask("exit"); !errors.Is(err, auth.ErrNotRunning) {
				t.Errorf("a process that exits: %v", err)
			}
		},
		func() { _, _ = ask("grow") }, // above 256 MiB
		func() { // all that it may work on at once hangs: it is not heard any more
			impatient := *record
			impatient.DeadlineMS = 1
			for range 300 {
				_, _ = gate.Ask(t.Context(), &impatient, &auth.Request{Secret: "hang " + time.Now().String()})
			}
		},
	} {
		end()
		pid = runs(t, h, pid)
		works()
	}
	if err := h.Sync(nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "nothing runs", func() bool { return len(h.Status()) == 0 && !gate.Running("idp") })
	if _, err := ask("alice"); !errors.Is(err, auth.ErrNotRunning) {
		t.Errorf("without a process: %v", err)
	}
}

// TestHost_RouterFilter asks a real process, which hangs, dies and answers wrongly.
func TestHost_RouterFilter(t *testing.T) {
	t.Parallel()
	gate := routerfilter.NewGate(nil)
	h := newHost(t, plugins.Config{RestartMin: time.Millisecond, Crashes: 100, HungAfter: 2 * time.Second, Filters: gate})
	spec := plugins.Spec{Kind: plugins.KindFilter, ID: "rf_1", Name: "near", Plugin: "filterprobe"}
	if err := h.Sync([]plugins.Spec{spec}); err != nil {
		t.Fatal(err)
	}
	record := &resource.RouterFilter{Name: "near", PluginUse: resource.PluginUse{DeadlineMS: 20_000}}
	ask := func(model string) ([]int, error) {
		return gate.Filter(t.Context(), record, &routerfilter.Route{Model: model, Candidates: make([]routerfilter.Candidate, 3)})
	}
	pid := runs(t, h, 0)
	works := func() {
		t.Helper()
		if got, err := ask("m"); err != nil || len(got) != 1 || got[0] != 2 {
			t.Fatalf("got %v, %v", got, err)
		}
	}
	works()
	for _, wrong := range []string{"twice", "beyond", "fail"} {
		if got, err := ask(wrong); err == nil {
			t.Errorf("%s: got %v", wrong, got)
		}
	}
	for _, end := range []func(){
		func() { _ = launch.Signal(pid, syscall.SIGKILL) },
		func() {
			if _, err := ask("exit"); !errors.Is(err, routerfilter.ErrNotRunning) {
				t.Errorf("a process that exits: %v", err)
			}
		},
		func() {
			impatient := *record
			impatient.DeadlineMS = 1
			for range 300 {
				_, _ = gate.Filter(t.Context(), &impatient, &routerfilter.Route{Model: "hang", Candidates: make([]routerfilter.Candidate, 1)})
			}
		},
	} {
		end()
		pid = runs(t, h, pid)
		works()
	}
	spec.Instances = 2
	if err := h.Sync([]plugins.Spec{spec}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "two run", func() bool {
		s := h.Status()
		return len(s) == 2 && s[0].State == plugins.StateRunning && s[1].State == plugins.StateRunning
	})
	for _, s := range h.Status() { // whichever dies, no question notices
		_ = launch.Signal(s.PID, syscall.SIGKILL)
		works()
		eventually(t, 20*time.Second, "it runs again", func() bool {
			for _, now := range h.Status() {
				if now.State != plugins.StateRunning || now.PID == s.PID {
					return false
				}
			}
			return true
		})
	}
}

func BenchmarkRouterFilter(b *testing.B) {
	gate := routerfilter.NewGate(nil)
	h := newHost(b, plugins.Config{Filters: gate})
	if err := h.Sync([]plugins.Spec{{Kind: plugins.KindFilter, ID: "rf_1", Name: "near", Plugin: "filterprobe"}}); err != nil {
		b.Fatal(err)
	}
	runs(b, h, 0)
	record := &resource.RouterFilter{Name: "near", PluginUse: resource.PluginUse{DeadlineMS: 20_000}}
	route := &routerfilter.Route{Model: "m", KeyID: "key_1", Candidates: make([]routerfilter.Candidate, 5)}
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		if _, err := gate.Filter(b.Context(), record, route); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us/op") // a busy machine shows in the mean
}
