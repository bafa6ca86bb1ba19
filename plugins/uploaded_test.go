package plugins_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/conclave-llm/conclave/internal/launch"
	"github.com/conclave-llm/conclave/plugins"
	"github.com/conclave-llm/conclave/plugins/contract"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/proto"
	"github.com/conclave-llm/conclave/resource"
)

// script is an uploaded plugin that runs the probe in this test's binary.
func script(t *testing.T) (body []byte, digest string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	body = fmt.Appendf(nil, "#!/bin/sh\nexec %q plugin serve probe\n", exe)
	sum := sha256.Sum256(body)
	return body, hex.EncodeToString(sum[:])
}

func uploaded(digest string) plugins.Spec {
	s := guard("up", "mine", "")
	s.SHA256 = digest
	return s
}

func TestHost_Uploaded(t *testing.T) {
	t.Parallel()
	body, digest := script(t)
	var fetched atomic.Int64
	dir := t.TempDir()
	cfg := plugins.Config{Dir: dir, Fetch: func(_ context.Context, want string) ([]byte, error) {
		fetched.Add(1)
		if want != digest {
			return []byte("something else"), nil
		}
		return body, nil
	}}
	h := newHost(t, cfg)
	syncReady(t, h, uploaded(digest))
	if d := before(t, h, "block no"); d.Action != guardrail.Block {
		t.Errorf("got %v", d.Action)
	}
	s := h.Status()[0]
	if s.SHA256 != digest || s.SDK != contract.Name(contract.Minor) || s.State != plugins.StateRunning || s.Since.IsZero() {
		t.Errorf("status: %+v", s)
	}
	h.Close()
	again := newHost(t, cfg)
	syncReady(t, again, uploaded(digest))
	if n := fetched.Load(); n != 1 {
		t.Errorf("the binary was fetched %d times, want once: it is kept", n)
	}
	wrong := strings.Repeat("0", 64)
	if err := again.Sync([]plugins.Spec{uploaded(wrong)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "another body is refused", func() bool { return strings.Contains(again.Status()[0].Error, plugins.ErrDigest.Error()) })
	again.Close()
	third := newHost(t, cfg)
	if err := third.Sync([]plugins.Spec{guard("w", "keywords", `{"words":["x"]}`)}); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "bin")); len(left) != 0 {
		t.Errorf("binaries that nothing names are kept: %v", left)
	}
}

func TestHost_NoBinary(t *testing.T) {
	t.Parallel()
	manifest := fmt.Sprintf(`{"format":1,"name":"mine","version":"3.1","kind":"guardrail","binaries":[{"os":"plan9","arch":"mips","size":1,"sha256":%q}]}`, strings.Repeat("a", 64))
	for onError, want := range map[resource.OnError]guardrail.Action{resource.OnErrorBlock: guardrail.Block, resource.OnErrorPass: guardrail.Pass} {
		cat := resource.NewCatalog(resource.Tables{
			Guardrails: []*resource.Guardrail{{Name: "g", Plugin: "mine", OnError: onError}},
			Plugins:    []*resource.Plugin{{Name: "mine", Kind: "guardrail", Manifest: manifest}},
		})
		h := newHost(t, plugins.Config{})
		if err := h.Sync(plugins.Specs(cat, func(plugins.Kind, string) bool { return false })); err != nil {
			t.Fatal(err)
		}
		eventually(t, 5*time.Second, "the state says why", func() bool { return h.Status()[0].State == plugins.StateNoBinary })
		s := h.Status()[0]
		if s.Restarts != 0 || s.Bundle != "3.1" || !strings.Contains(s.Error, "plan9/mips") {
			t.Errorf("status: %+v", s)
		}
		if d := before(t, h, "hello"); d.Action != want || d.Results[0].Status != guardrail.StatusNotRun {
			t.Errorf("on_error %s: %v %v", onError, d.Action, d.Results[0].Status)
		}
	}
}

// pids asks the guardrail often enough to meet all its processes.
func pids(t *testing.T, h *plugins.Host) []int {
	t.Helper()
	var all []int
	for range 16 {
		pid, err := strconv.Atoi(before(t, h, "pid").Message)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(all, pid) {
			all = append(all, pid)
		}
	}
	return all
}

// Of three processes one may die at any time: no check notices.
func TestHost_Instances(t *testing.T) {
	t.Parallel()
	h := newHost(t, plugins.Config{})
	spec := guard("many", "probe", "")
	spec.Instances = 3
	syncReady(t, h, spec)
	killed := 0
	up := func() bool {
		n := 0
		for _, s := range h.Status() {
			if s.State == plugins.StateRunning && s.PID != killed {
				n++
			}
		}
		return n == 3
	}
	eventually(t, 10*time.Second, "three run", up)
	all := pids(t, h)
	if len(all) != 3 {
		t.Fatalf("checks went to the processes %v, want three", all)
	}
	for _, pid := range all {
		if err := launch.Signal(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		killed = pid
		for range 50 {
			if d := before(t, h, "hello"); d.Results[0].Status != guardrail.StatusPassed {
				t.Fatalf("status %s (%v) after process %d was killed", d.Results[0].Status, d.Results[0].Err, pid)
			}
		}
		eventually(t, 10*time.Second, "three run again", up)
	}
	spec.Instances = 1
	syncReady(t, h, spec)
	eventually(t, 10*time.Second, "one is left", func() bool { return len(h.Status()) == 1 && len(pids(t, h)) == 1 })
}

// serveMute is a plugin that takes its configuration, and never answers.
func serveMute() {
	path := filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "mute")
	ln, err := net.Listen("unix", path)
	if err != nil {
		os.Exit(1)
	}
	srv := grpc.NewServer()
	proto.RegisterGuardrailServer(srv, mute{})
	fmt.Printf("1|1|unix|%s|grpc|\n", path)
	_ = srv.Serve(ln)
}

type mute struct {
	proto.UnimplementedGuardrailServer
}

func (mute) Configure(context.Context, *proto.ConfigureGuardrail) (*proto.GuardrailDescription, error) {
	return &proto.GuardrailDescription{Version: "mute", Hooks: []proto.Hook{proto.Hook_HOOK_BEFORE}}, nil
}

func (mute) Session(s grpc.BidiStreamingServer[proto.HostMessage, proto.GuardrailMessage]) error {
	for {
		if _, err := s.Recv(); err != nil {
			return errors.New("over")
		}
	}
}

// A version that does not answer does not take the place of one that does.
func TestHost_ShadowCheck(t *testing.T) {
	t.Parallel()
	h := newHost(t, plugins.Config{})
	spec := guard("g", "probe", "")
	syncReady(t, h, spec)
	old := pids(t, h)
	spec.Plugin, spec.NoMTLS = "mute", true
	if err := h.Sync([]plugins.Spec{spec}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "the new version is found wanting", func() bool { return strings.Contains(h.Status()[0].Error, "does not answer") })
	if now := pids(t, h); !slices.Equal(now, old) {
		t.Errorf("processes %v, want the old %v", now, old)
	}
	if s := h.Status()[0]; s.State != plugins.StateRunning || s.Version != "test" {
		t.Errorf("status: %+v", s)
	}
}
