package plugins_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/internal/launch"
	"github.com/conclave-llm/conclave/plugins"
	"github.com/conclave-llm/conclave/plugins/secretsource"
	"github.com/conclave-llm/conclave/resource"
)

// TestHost_SecretSource kills the process of a secret source again and again, one that reads meanwhile:
// what is held stays, and what is new is read when the next process is there.
func TestHost_SecretSource(t *testing.T) {
	t.Parallel()
	vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"data":{"data":{"key":"sk-1"},"metadata":{"version":1,"created_time":"2026-01-01T00:00:00Z"}}}`)
	}))
	t.Cleanup(vault.Close)
	record := &resource.SecretSource{Meta: resource.Meta{ID: "src_1"}, Name: "vault", RefreshSeconds: 300, MaxStaleSeconds: 3600}
	cache := secretsource.NewCache(secretsource.CacheConfig{Source: func(string) (*resource.SecretSource, bool) { return record, true }})
	running, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		cache.Run(running)
		close(ended)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	h := newHost(t, plugins.Config{RestartMin: time.Millisecond, Crashes: 100, Sources: cache})
	spec := plugins.Spec{Kind: plugins.KindSource, ID: "src_1", Name: "vault", Plugin: "vault", Config: fmt.Appendf(nil, `{"address":%q,"token":"s.x","kv":2}`, vault.URL)}
	if err := h.Sync([]plugins.Spec{spec}); err != nil {
		t.Fatal(err)
	}
	resolve := func(ref string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if text, err := cache.Resolve(ctx, ref); err != nil || text.Reveal() != "sk-1" {
			t.Fatalf("%s: got %v, %v", ref, text, err)
		}
	}
	resolve("vault://secret/held#key")
	for i := range 5 {
		status := h.Status()
		if len(status) != 1 || status[0].PID == 0 {
			t.Fatalf("got %+v, want one process", status)
		}
		if err := launch.Signal(status[0].PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		resolve("vault://secret/held#key")
		eventually(t, 20*time.Second, "another process runs", func() bool {
			s := h.Status()
			return s[0].State == plugins.StateRunning && s[0].PID != status[0].PID
		})
		resolve(fmt.Sprintf("vault://secret/new%d#key", i))
	}
	if err := h.Sync(nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "nothing runs", func() bool {
		_, err := cache.Held("vault://secret/late#key")
		return err != nil && len(h.Status()) == 0
	})
}
