package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
)

func serve(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return client.New(client.Config{Server: srv.URL + "/", Key: "sk-test"})
}

// TestClient_followsIndex checks that a read asks for what an own write came to, and that a
// later answer from before never turns the index back.
func TestClient_followsIndex(t *testing.T) {
	t.Parallel()
	answers := []string{"0-9", "0-10", "0-8", "1-2", "0-99"}
	var asked []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get(client.HeaderMinIndex))
		w.Header().Set(client.HeaderIndex, answers[len(asked)-1])
		w.Header().Set(client.HeaderPending, "n2, n3")
	})
	for range answers {
		if err := c.Keys().Delete(t.Context(), "a/b"); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := strings.Join(asked, " "), " 0-9 0-10 0-10 1-2"; got != want || c.Index() != "1-2" {
		t.Errorf("asked for %q, then %s; want %q, then 1-2", got, c.Index(), want)
	}
	if got := strings.Join(c.Pending(), " "); got != "n2 n3" {
		t.Errorf("pending: got %q", got)
	}
}

// TestReceipt sends receipts as headers.
func TestReceipt(t *testing.T) {
	t.Parallel()
	until := time.Date(2026, 1, 2, 3, 4, 5, 1, time.UTC)
	for name, tt := range map[string]struct {
		sent client.Receipt
		text string // of the deadline
	}{
		"everybody has it":       {client.Receipt{EnforcedBy: []string{"a", "b"}}, ""},
		"one is late":            {client.Receipt{EnforcedBy: []string{"a"}, Pending: []string{"b"}, Until: until}, "2026-01-02T03:04:06Z"},
		"one may never hear":     {client.Receipt{EnforcedBy: []string{"a"}, Pending: []string{"b", "c"}, Forever: true}, "forever"},
		"a write nobody awaited": {client.Receipt{}, ""},
	} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			tt.sent.Put(w.Header())
			if got := w.Header().Get(client.HeaderUntil); got != tt.text {
				t.Errorf("%s: deadline %q, want %q", name, got, tt.text)
			}
		})
		if err := c.Keys().Delete(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		got := c.Receipt()
		if !slices.Equal(got.EnforcedBy, tt.sent.EnforcedBy) || !slices.Equal(got.Pending, tt.sent.Pending) || got.Forever != tt.sent.Forever || got.Deadline() != tt.text {
			t.Errorf("%s: got %+v, want %+v", name, got, tt.sent)
		}
	}
}

func TestClient_paths(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.EscapedPath() != "/api/v1/models/openai%2Fgpt-4o" || r.Header.Get("Authorization") != "Bearer sk-test" {
			http.Error(w, r.URL.EscapedPath(), http.StatusTeapot)
			return
		}
		fmt.Fprint(w, `{"name":"openai/gpt-4o","deployments":[{"name":"d1","api_key":{"fingerprint":"ab"}}]}`)
	})
	m, err := c.Models().One(t.Context(), "openai/gpt-4o")
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Deployments[0].APIKey.String(); got != "sealed:ab" {
		t.Errorf("api key: got %s", got)
	}
}

func TestClient_problems(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "plain") {
			http.Error(w, "out of order", http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusConflict)
		fmt.Fprint(w, `{"title":"Conflict","status":409,"code":"conflict","detail":"changed","hint":"read again"}`)
	})
	for ref, want := range map[string]string{"x": "Conflict: changed (read again)", "plain": "Bad Gateway: out of order"} {
		_, err := c.Teams().One(t.Context(), ref)
		p, ok := errors.AsType[*client.Problem](err)
		if !ok || p.Error() != want {
			t.Errorf("%s: got %v, want %s", ref, err, want)
		}
	}
}

func TestSecret(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(&client.Secret{Text: "s"})
	if err != nil || string(b) != `"s"` {
		t.Errorf("text: got %s, %v", b, err)
	}
	for _, s := range []string{fmt.Sprint(&client.Secret{Text: "canary"}), fmt.Sprintf("%#v", &client.Secret{Text: "canary"})} {
		if strings.Contains(s, "canary") {
			t.Errorf("printed: %s", s)
		}
	}
	var back client.Secret
	if err := json.Unmarshal([]byte(`{"fingerprint":"ab"}`), &back); err != nil || back.Fingerprint != "ab" {
		t.Errorf("fingerprint: got %+v, %v", back, err)
	}
}
