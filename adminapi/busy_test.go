package adminapi_test

import (
	"net/http"
	"testing"

	"github.com/conclave-llm/conclave/adminapi"
	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/resource"
)

// TestWhoMayHelp: 429 says that another node may help, 503 that only the leader can, later.
func TestWhoMayHelp(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		down   error
		code   string
		theirs string // LiteLLM's type
	}{
		{"no leader", resource.ErrNoLeader, "no_leader", "internal_server_error"},
		{"too many changes at the leader", resource.ErrBusy, "overloaded", "overloaded_error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := adminapitest.New(t)
			h.Down = tt.down
			a := h.Call(adminapitest.MasterKey, http.MethodPost, "/api/v1/keys", `{"name":"k"}`)
			if a.Status != http.StatusServiceUnavailable || a.Object(t)["code"] != tt.code || a.Header.Get("Retry-After") != "1" {
				t.Errorf("got %d %s, Retry-After %q", a.Status, a.Body, a.Header.Get("Retry-After"))
			}
			a = h.Call(adminapitest.MasterKey, http.MethodPost, "/key/generate", `{"key_alias":"k"}`)
			e, _ := a.Object(t)["error"].(map[string]any)
			if a.Status != http.StatusServiceUnavailable || e["type"] != tt.theirs || a.Header.Get("Retry-After") != "1" {
				t.Errorf("LiteLLM's path: got %d %s, Retry-After %q", a.Status, a.Body, a.Header.Get("Retry-After"))
			}
		})
	}
}

func TestWhoMayHelp_busyNode(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t, func(c *adminapi.Config) { c.MaxInFlight = 1 })
	entered, held := make(chan struct{}, 1), make(chan struct{})
	h.Proposing = func() { entered <- struct{}{}; <-held }
	done := make(chan int)
	go func() {
		done <- h.Call(adminapitest.MasterKey, http.MethodPost, "/api/v1/teams", `{"name":"t"}`).Status
	}()
	<-entered
	for _, path := range []string{"/api/v1/keys", "/key/generate"} {
		a := h.Call(adminapitest.MasterKey, http.MethodPost, path, `{}`)
		if a.Status != http.StatusTooManyRequests || a.Header.Get("Retry-After") != "1" {
			t.Errorf("%s at a node that works on as much as it may: got %d %s", path, a.Status, a.Body)
		}
	}
	if a := h.Call(adminapitest.MasterKey, http.MethodGet, "/api/v1/teams", ""); a.Status != http.StatusOK {
		t.Errorf("a read meanwhile: got %d", a.Status)
	}
	close(held)
	if status := <-done; status != http.StatusCreated && status != http.StatusOK {
		t.Errorf("the write itself: got %d", status)
	}
	h.Proposing = nil
	h.Must("POST", "/api/v1/teams", `{"name":"u"}`)
}
