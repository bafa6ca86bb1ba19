package sign_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/upstream/sign"
	"github.com/conclave-llm/conclave/secret"
)

// TestCopilot: a token is given for GitHub's, by the headers of an editor, kept, and exchanged again before it
// ends; a refusal tells its status and no secret.
func TestCopilot(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	asked := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/copilot_internal/v2/token" || r.Header.Get("Authorization") != "token gho_hush" || r.Header.Get("Editor-Version") == "" {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"message":"gho_other may not"}`)
			return
		}
		asked++
		_, _ = fmt.Fprintf(w, `{"token":"tid=%d;exp=1","expires_at":%d,"refresh_in":1500,"endpoints":{"api":"https://api.individual.githubcopilot.com"}}`, asked, now.Add(30*time.Minute).Unix())
	}))
	t.Cleanup(srv.Close)
	s := sign.New(sign.Config{Client: srv.Client(), Now: func() time.Time { return now }})
	a := &sign.Account{Key: secret.New("gho_hush"), Options: map[string]string{"github_api_url": srv.URL}}
	for range 3 {
		h, err := prove(t, s, provider.CopilotToken, a, "https://api.githubcopilot.com/chat/completions")
		if err != nil || h.Get("Authorization") != "Bearer tid=1;exp=1" || h.Get("Copilot-Vision-Request") != "" {
			t.Fatalf("got %v, %v", h, err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	now = now.Add(28 * time.Minute)
	r := request(t, "https://api.githubcopilot.com/chat/completions")
	r.Body = []byte(`{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:x"}}]}]}`)
	if err := s.Sign(t.Context(), provider.CopilotToken, a, r); err != nil || r.Header.Get("Authorization") != "Bearer tid=2;exp=1" || r.Header.Get("Copilot-Vision-Request") != "true" {
		t.Errorf("got %v, %v", r.Header, err)
	}
	for _, bad := range []*sign.Account{{}, {Key: secret.New("gho_other"), Options: a.Options}} {
		if _, err := prove(t, s, provider.CopilotToken, bad, "https://api.githubcopilot.com/"); err == nil || strings.Contains(err.Error(), "gho_other") {
			t.Errorf("got %v", err)
		}
	}
}

// TestChatGPT: the access token of an auth.json is sent with its account, until it ends.
func TestChatGPT(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	claims := fmt.Sprintf(`{"exp":%d,"https://api.openai.com/auth":{"chatgpt_account_id":"acc"}}`, now.Add(time.Hour).Unix())
	token := "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".hush"
	s := sign.New(sign.Config{Now: func() time.Time { return now }})
	a := &sign.Account{Secrets: map[string]secret.Text{"chatgpt_auth": secret.New(`{"tokens":{"access_token":"` + token + `","refresh_token":"hush"}}`)}}
	for range 2 {
		h, err := prove(t, s, provider.ChatGPTToken, a, "https://chatgpt.com/backend-api/codex/responses")
		if err != nil || h.Get("Authorization") != "Bearer "+token || h.Get("Chatgpt-Account-Id") != "acc" {
			t.Fatalf("got %v, %v", h, err)
		}
	}
	now = now.Add(2 * time.Hour)
	for _, bad := range []*sign.Account{a, {}, {Key: secret.New("hush")}} {
		if _, err := prove(t, s, provider.ChatGPTToken, bad, "https://chatgpt.com/"); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("got %v", err)
		}
	}
}
