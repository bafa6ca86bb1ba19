package post_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/internal/hook"
	"github.com/conclave-llm/conclave/node/courier/post"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/alert"
	"github.com/conclave-llm/conclave/resource/channel"
	"github.com/conclave-llm/conclave/secret"
)

// secrets are the api_keys of credentials.
type secrets map[string]string

func (s secrets) open(name string) (secret.Text, error) {
	text, ok := s[name]
	if !ok {
		return secret.Text{}, errors.New("there is no credential " + name)
	}
	return secret.New(text), nil
}

func newPost(s secrets) *post.Post {
	return post.New(post.Config{Cluster: "c1", Dialer: egress.Direct(nil), Secret: s.open})
}

var sample = &alert.Alert{
	ID: "alrt_1", Kind: channel.BudgetThreshold, At: 1_700_000_000_000_000_000, Subject: "team/t1", Name: "forschung ü", Key: "team/t1/month/0/x",
	Budget: &alert.BudgetWindow{Account: "team/t1/month", Threshold: 80, Limit: 100 * resource.Dollar, Settled: 81 * resource.Dollar},
}

// received is one request that a server has got.
type received struct {
	header http.Header
	path   string
	body   []byte
}

func receiver(t *testing.T, start func(http.Handler) *httptest.Server, status int) (*httptest.Server, func() []received) {
	got := make(chan received, 16)
	srv := start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- received{r.Header, r.URL.Path, body}
		w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
		w.WriteHeader(status)
	}))
	t.Cleanup(srv.Close)
	return srv, func() (all []received) {
		for len(got) > 0 {
			all = append(all, <-got)
		}
		return all
	}
}

func TestSend_Webhook(t *testing.T) {
	t.Parallel()
	srv, got := receiver(t, httptest.NewServer, http.StatusNoContent)
	p := newPost(secrets{"hook": "signing key"})
	c := &channel.Channel{Name: "ops", Type: channel.Webhook, URL: srv.URL + "/a", Credential: "hook"}
	for range 2 {
		if err := p.Send(t.Context(), c, nil, sample); err != nil {
			t.Fatal(err)
		}
	}
	all := got()
	if len(all) != 2 || all[0].header.Get(hook.HeaderDelivery) != "alrt_1" || all[1].header.Get(hook.HeaderDelivery) != "alrt_1" {
		t.Fatalf("got %+v", all)
	}
	if at, ok := hook.Verify("signing key", all[0].header.Get(hook.HeaderSignature), all[0].body); !ok || time.Since(time.Unix(at, 0)) > time.Hour {
		t.Errorf("signature %q of %d", all[0].header.Get(hook.HeaderSignature), at)
	}
	var e map[string]any
	if err := json.Unmarshal(all[0].body, &e); err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]any{
		"id": "alrt_1", "kind": "budget_threshold", "event": "threshold_crossed", "event_group": "team", "team_id": "t1", "team_alias": "forschung ü",
		"spend": 81.0, "max_budget": 100.0, "cluster": "c1", "dedupe_key": "team/t1/month/0/x", "at": "2023-11-14T22:13:20Z",
	} {
		if e[field] != want {
			t.Errorf("%s: got %v, want %v", field, e[field], want)
		}
	}
}

func TestSend_PrivateAuthority(t *testing.T) {
	t.Parallel()
	srv, got := receiver(t, httptest.NewTLSServer, http.StatusOK)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	p := newPost(nil)
	c := &channel.Channel{Name: "ops", Type: channel.Webhook, URL: srv.URL}
	if err := p.Send(t.Context(), c, nil, sample); err == nil || len(got()) != 0 {
		t.Errorf("without its authority: got %v", err)
	}
	c.CA = ca
	if err := p.Send(t.Context(), c, nil, sample); err != nil || len(got()) != 1 {
		t.Errorf("with it: got %v", err)
	}
}

func TestSend_Refused(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusFound, http.StatusBadRequest, http.StatusServiceUnavailable} {
		srv, got := receiver(t, httptest.NewServer, status)
		c := &channel.Channel{Name: "ops", Type: channel.Webhook, URL: srv.URL + "/T0/very-secret"}
		err := newPost(nil).Send(t.Context(), c, nil, sample)
		if err == nil || strings.Contains(err.Error(), "very-secret") || len(got()) != 1 {
			t.Errorf("status %d: got %v", status, err)
		}
	}
	c := &channel.Channel{Name: "ops", Type: channel.Webhook, URL: "http://127.0.0.1:1/very-secret"}
	if err := newPost(nil).Send(t.Context(), c, nil, sample); err == nil || strings.Contains(err.Error(), "very-secret") {
		t.Errorf("nobody there: got %v", err)
	}
	c.Credential = "none"
	if err := newPost(nil).Send(t.Context(), c, nil, sample); err == nil || !strings.Contains(err.Error(), "no credential none") {
		t.Errorf("no credential: got %v", err)
	}
}

func TestSend_Sealed(t *testing.T) {
	t.Parallel()
	srv, got := receiver(t, httptest.NewServer, http.StatusOK)
	d, err := egress.New(egress.Config{Sealed: true})
	if err != nil {
		t.Fatal(err)
	}
	p := post.New(post.Config{Dialer: d})
	for _, c := range []channel.Channel{
		{Type: channel.Webhook, URL: srv.URL},
		{Type: channel.Email, Host: srv.Listener.Addr().String(), TLS: channel.NoTLS, From: "a@b.c", To: []string{"d@e.f"}},
	} {
		if err := p.Send(t.Context(), &c, nil, sample); !egress.IsRefused(err) || len(got()) != 0 {
			t.Errorf("%s: got %v, want a refusal", c.Type, err)
		}
	}
}

func TestSend_Slack(t *testing.T) {
	t.Parallel()
	srv, got := receiver(t, httptest.NewServer, http.StatusOK)
	p := newPost(secrets{"slack": srv.URL + "/services/T/B/x", "elsewhere": "http://127.0.0.1:1/services/very-secret"})
	c := &channel.Channel{Name: "chat", Type: channel.Slack, URL: srv.URL, Credential: "slack"}
	if err := p.Send(t.Context(), c, nil, sample); err != nil {
		t.Fatal(err)
	}
	all := got()
	var body struct{ Text string }
	if len(all) != 1 || all[0].path != "/services/T/B/x" || json.Unmarshal(all[0].body, &body) != nil || !strings.Contains(body.Text, "has reached 80 %") {
		t.Errorf("got %+v", all)
	}
	c.Credential = "elsewhere"
	if err := p.Send(t.Context(), c, nil, sample); err == nil || strings.Contains(err.Error(), "very-secret") || len(got()) != 0 {
		t.Errorf("a URL at another host: got %v", err)
	}
}

func TestSend_Callback(t *testing.T) {
	t.Parallel()
	var got []resource.AuditEntry
	taken := 1
	p := post.New(post.Config{Dialer: egress.Direct(nil), Callback: func(_ context.Context, name string, entries []resource.AuditEntry) (int, error) {
		if name != "otel" {
			t.Errorf("callback %q", name)
		}
		got = append(got, entries...)
		return taken, nil
	}})
	c := &channel.Channel{Name: "siem", Type: channel.Callback, Callback: "otel"}
	if err := p.Send(t.Context(), c, nil, sample); err != nil || len(got) != 1 || got[0].Action != "alert" || got[0].ID != "t1" || !strings.Contains(string(got[0].After), `"alrt_1"`) {
		t.Errorf("got %v, %+v", err, got)
	}
	if taken = 0; p.Send(t.Context(), c, nil, sample) == nil {
		t.Error("a callback that takes nothing has taken it")
	}
	if err := newPost(nil).Send(t.Context(), c, nil, sample); err == nil {
		t.Error("no callbacks run, and one has taken it")
	}
}
