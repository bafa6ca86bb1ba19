package signin_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/signin"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// stage is one credential, and a service that renews its tokens.
type stage struct {
	now    time.Time
	record *resource.Credential
	asked  []string // bodies
	at     string   // where the last was asked
	status int
	answer string
	refuse error // of proposals
	log    strings.Builder
}

// Seal and Open seal nothing: a box is the text.
func (*stage) Seal(text secret.Text, kind, id, field string) (*resource.Sealed, error) {
	return &resource.Sealed{DEK: "d", Box: []byte(text.Reveal()), Fingerprint: "print of " + text.Reveal()}, nil
}

func (*stage) Open(s *resource.Sealed, kind, id, field string) (secret.Text, error) {
	return secret.New(string(s.Box)), nil
}

// RoundTrip is the service.
func (s *stage) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	s.asked, s.at = append(s.asked, string(body)), r.URL.String()
	return &http.Response{StatusCode: s.status, Body: io.NopCloser(strings.NewReader(s.answer)), Request: r}, nil
}

func (s *stage) propose(_ context.Context, cmd fsm.Command) error {
	it := cmd.(fsm.Reseal).Items[0]
	if s.refuse != nil {
		return s.refuse
	}
	if old := s.record.Secrets["chatgpt_auth"]; it.Kind != "credential" || it.ID != "c1" || string(it.Old) != string(old.Box) {
		return fmt.Errorf("a wrong command: %+v", it)
	}
	s.record.Secrets["chatgpt_auth"] = it.Sealed
	return nil
}

func (s *stage) token(life time.Duration) string {
	return "e30." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, s.now.Add(life).Unix())) + ".c2ln"
}

func newStage(text func(s *stage) string) (*stage, *signin.Renewer) {
	s := &stage{now: time.Unix(1_700_000_000, 0), status: 200}
	s.record = &resource.Credential{Secrets: map[string]*resource.Sealed{"chatgpt_auth": {Box: []byte(text(s))}}}
	s.record.ID, s.record.Name = "c1", "mine"
	s.answer = fmt.Sprintf(`{"access_token":%q,"refresh_token":"rt-2"}`, s.token(240*time.Hour))
	return s, signin.New(signin.Config{
		Catalog: func() *resource.Catalog {
			return resource.NewCatalog(resource.Tables{Credentials: []*resource.Credential{s.record}})
		},
		Keys: s, Propose: s.propose, Leads: func() bool { return true }, Client: &http.Client{Transport: s}, Way: straight, Now: func() time.Time { return s.now },
		Logger: slog.New(slog.NewTextHandler(&s.log, nil)),
	})
}

// straight is a way without a proxy.
func straight(ctx context.Context, _ string, _ *resource.Credential, _ *resource.Deployment) (context.Context, error) {
	return ctx, nil
}

func (s *stage) auth(life time.Duration) string {
	return fmt.Sprintf(`{"tokens":{"access_token":%q,"refresh_token":"rt-1","account_id":"a"},"last_refresh":"x"}`, s.token(life))
}

// TestRenewer: tokens are renewed a day before their end, once, and what was given is stored when it can be.
func TestRenewer(t *testing.T) {
	t.Parallel()
	s, r := newStage(func(s *stage) string { return s.auth(48 * time.Hour) })
	first := s.auth(48 * time.Hour)
	s.record.Secrets["chatgpt_auth"].Fingerprint = "print of " + first
	r.Look(t.Context())
	if len(s.asked) != 0 {
		t.Fatalf("renewed too early: %q", s.asked)
	}
	s.now = s.now.Add(25 * time.Hour)
	s.refuse = errors.New("no leader")
	r.Look(t.Context())
	r.Look(t.Context())
	if len(s.asked) != 1 || !strings.Contains(s.asked[0], `"refresh_token":"rt-1"`) || !strings.Contains(s.log.String(), "not stored yet") {
		t.Fatalf("asked %q\n%s", s.asked, s.log.String())
	}
	s.refuse = nil
	r.Look(t.Context())
	r.Look(t.Context())
	if sealed := s.record.Secrets["chatgpt_auth"]; !sealed.SignIn || sealed.Given != "print of "+first || s.at != "https://auth.openai.com/oauth/token" {
		t.Errorf("asked at %s, and stored %+v", s.at, sealed)
	}
	if got := string(s.record.Secrets["chatgpt_auth"].Box); len(s.asked) != 1 || !strings.Contains(got, `"refresh_token":"rt-2"`) || !strings.Contains(got, `"account_id":"a"`) {
		t.Errorf("asked %d times, stored %s", len(s.asked), got)
	}
	if strings.Contains(s.log.String(), "rt-") {
		t.Errorf("logged a token:\n%s", s.log.String())
	}
}

// TestRenewer_Refused: a refusal is told with its code, and tried again after an hour or with another secret.
func TestRenewer_Refused(t *testing.T) {
	t.Parallel()
	s, r := newStage(func(s *stage) string { return s.auth(-time.Hour) })
	s.status, s.answer = 401, `{"error":{"code":"refresh_token_reused","message":"rt-1 was used"}}`
	for range 3 {
		r.Look(t.Context())
	}
	if len(s.asked) != 1 || !strings.Contains(s.log.String(), "refresh_token_reused") || strings.Contains(s.log.String(), "rt-1") {
		t.Errorf("asked %d times\n%s", len(s.asked), s.log.String())
	}
	s.now = s.now.Add(2 * time.Hour)
	r.Look(t.Context())
	s.record.Secrets["chatgpt_auth"] = &resource.Sealed{Box: []byte(strings.Replace(s.auth(-time.Hour), "rt-1", "rt-9", 1))}
	s.status, s.answer = 200, `{"nothing":1}`
	s.record.Options = map[string]string{"chatgpt_auth_url": "https://login.example/"}
	r.Look(t.Context())
	if s.at != "https://login.example/oauth/token" {
		t.Errorf("asked at %s", s.at)
	}
	if len(s.asked) != 3 || !strings.Contains(s.asked[2], "rt-9") {
		t.Errorf("asked %q", s.asked)
	}
}

// TestRenewer_Others: what is no auth.json, or cannot be renewed, is left alone.
func TestRenewer_Others(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"vault://secret/chatgpt#auth", `{"tokens":{"access_token":"opaque","refresh_token":"rt-1"}}`, `{"access_token":"a.e30.b"}`} {
		s, r := newStage(func(*stage) string { return text })
		r.Look(t.Context())
		if len(s.asked) != 0 || s.log.Len() != 0 {
			t.Errorf("%s: asked %q\n%s", text, s.asked, s.log.String())
		}
	}
}
