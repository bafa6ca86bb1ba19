package adminapi_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/adminapi"
	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/declare"
	"github.com/conclave-llm/conclave/adminapi/providers"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// signIns is a node's part of sign-ins, of which a test enters the codes.
type signIns struct {
	mu  sync.Mutex
	all map[string]*client.SignIn
	of  map[string]providers.SignInOrder
}

func (s *signIns) Begin(_ context.Context, o providers.SignInOrder) (client.SignIn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := fmt.Sprintf("signin_%d.n1", len(s.all))
	s.all[id] = &client.SignIn{
		ID: id, Provider: o.Provider, Credential: o.Credential.Name, Node: "a", State: client.SignInPending,
		VerificationURL: "https://github.com/login/device", UserCode: "ABCD-1234", ExpiresAt: time.Date(2026, 3, 11, 10, 15, 0, 0, time.UTC),
	}
	s.of[id] = o
	return *s.all[id], nil
}

func (s *signIns) SignIn(_ context.Context, id string) (client.SignIn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in, ok := s.all[id]
	if !ok {
		return client.SignIn{}, &llm.Error{Kind: llm.NotFound, Code: "not_found", Message: "the sign-in is not known"}
	}
	return *in, nil
}

func (s *signIns) CancelSignIn(ctx context.Context, id string) (client.SignIn, error) {
	s.mu.Lock()
	if in, ok := s.all[id]; ok {
		in.State = client.SignInCancelled
	}
	s.mu.Unlock()
	return s.SignIn(ctx, id)
}

// enter enters the code, and gives what became of storing the secret.
func (s *signIns) enter(t *testing.T, id, text string) error {
	t.Helper()
	return s.of[id].Store(t.Context(), secret.New(text))
}

func newSignIns(t *testing.T) (*adminapitest.Harness, *signIns) {
	s := &signIns{all: map[string]*client.SignIn{}, of: map[string]providers.SignInOrder{}}
	return adminapitest.New(t, func(cfg *adminapi.Config) { cfg.SignIns = s }), s
}

// stored is the credential of the name.
func stored(t *testing.T, h *adminapitest.Harness, name string) *resource.Credential {
	t.Helper()
	for _, c := range h.State.Catalog().Tables().Credentials {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("there is no credential %s", name)
	return nil
}

// TestSignIn: what a sign-in gives goes into a credential that is there, or a new one, in the name of who began it.
func TestSignIn(t *testing.T) {
	t.Parallel()
	h, s := newSignIns(t)
	admin, _ := h.Must("POST", "/api/v1/keys", `{"name":"ops","role":"proxy_admin"}`)["secret"].(string)
	c := h.Client(admin)
	in, err := c.BeginSignIn(t.Context(), "github_copilot", client.BeginSignIn{Credential: "mine", Options: map[string]string{"github_url": "https://acme.ghe.com"}})
	if err != nil || in.State != client.SignInPending || in.UserCode != "ABCD-1234" || in.Credential != "mine" {
		t.Fatalf("got %+v, %v", in, err)
	}
	if n := len(h.State.Catalog().Tables().Credentials); n != 0 {
		t.Errorf("%d credentials before the code was entered", n)
	}
	if err := s.enter(t, in.ID, "gho_hush"); err != nil {
		t.Fatal(err)
	}
	made := stored(t, h, "mine")
	if text, err := adminapitest.Open(made.APIKey, "", "", ""); err != nil || text != "gho_hush" || !made.APIKey.SignIn || made.APIKey.Given != "" || made.Provider != "github_copilot" || made.Options["github_url"] != "https://acme.ghe.com" || made.Owner != resource.OwnerAPI {
		t.Errorf("stored %q, %v in %+v", text, err, made)
	}
	again, err := c.BeginSignIn(t.Context(), "github_copilot", client.BeginSignIn{Credential: made.ID})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.enter(t, again.ID, "gho_other"); err != nil {
		t.Fatal(err)
	}
	if now := stored(t, h, "mine"); now.ID != made.ID || now.APIKey.Fingerprint == made.APIKey.Fingerprint || now.Version <= made.Version || now.CreatedAt != made.CreatedAt {
		t.Errorf("again: %+v", now)
	}
	page, err := c.Audit(t.Context(), map[string][]string{"kind": {"credential"}})
	if err != nil || len(page.Items) != 2 || !strings.HasPrefix(page.Items[0].Actor, "key") || fmt.Sprint(page.Items[0].Fields) != "[api_key]" || strings.Contains(string(page.Items[0].After), "gho_") {
		t.Errorf("audited %+v, %v", page.Items, err)
	}
	got, err := c.SignIn(t.Context(), in.ID)
	if err != nil || got.ID != in.ID {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err = c.CancelSignIn(t.Context(), in.ID); err != nil || got.State != client.SignInCancelled {
		t.Errorf("cancelled %+v, %v", got, err)
	}
	_, err = c.SignIn(t.Context(), "signin_gone.n1")
	wantProblem(t, err, 404, "not_found")
}

// TestSignIn_File: the file's credential stays the file's, which does not take the token away again.
func TestSignIn_File(t *testing.T) {
	t.Parallel()
	h, s := newSignIns(t)
	file := declare.File{Credentials: []declare.Credential{{Record: resource.Credential{Name: "mine", Provider: "chatgpt"}, Secrets: map[string]declare.Secret{"chatgpt_auth": {Text: "used"}}}}}
	apply := func() int {
		changes, err := declare.Apply(t.Context(), h, declare.Config{State: h.State, Seal: adminapitest.Seal, Now: h.Clock}, file)
		if err != nil {
			t.Fatal(err)
		}
		return len(changes)
	}
	apply()
	in, err := h.Client(adminapitest.MasterKey).BeginSignIn(t.Context(), "chatgpt", client.BeginSignIn{Credential: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.enter(t, in.ID, `{"tokens":{}}`); err != nil {
		t.Fatal(err)
	}
	if n := apply(); n != 0 {
		t.Errorf("the file made %d changes", n)
	}
	c := stored(t, h, "mine")
	if text, _ := adminapitest.Open(c.Secrets["chatgpt_auth"], "", "", ""); text != `{"tokens":{}}` || c.Owner != resource.OwnerFile {
		t.Errorf("stored %q in %+v", text, c)
	}
}

// TestSignIn_Refused: who may not, or names what there is not, begins nothing; and what changed meanwhile is told.
func TestSignIn_Refused(t *testing.T) {
	t.Parallel()
	h, s := newSignIns(t)
	c := h.Client(adminapitest.MasterKey)
	h.Must("POST", "/api/v1/credentials", `{"name":"openai","provider":"openai","api_key":"sk-x"}`)
	h.Must("POST", "/api/v1/credentials", `{"name":"mine","provider":"github_copilot"}`)
	for _, tt := range []struct {
		provider string
		b        client.BeginSignIn
		status   int
	}{
		{"nobody", client.BeginSignIn{Credential: "x"}, 404},
		{"openai", client.BeginSignIn{Credential: "openai"}, 400},
		{"github_copilot", client.BeginSignIn{Credential: "openai"}, 400},
		{"github_copilot", client.BeginSignIn{}, 400},
		{"github_copilot", client.BeginSignIn{Credential: "new", Options: map[string]string{"a\n": "b"}}, 400},
		{"github_copilot", client.BeginSignIn{Credential: "mine", Options: map[string]string{"github_url": "https://x"}}, 400},
	} {
		_, err := c.BeginSignIn(t.Context(), tt.provider, tt.b)
		if p, ok := errors.AsType[*client.Problem](err); !ok || p.Status != tt.status {
			t.Errorf("%s %+v: got %v", tt.provider, tt.b, err)
		}
	}
	for _, role := range []string{"proxy_admin_viewer", ""} {
		key, _ := h.Must("POST", "/api/v1/keys", fmt.Sprintf(`{"name":"k%s","role":%q}`, role, role))["secret"].(string)
		for _, path := range []string{"POST /api/v1/providers/chatgpt/sign-in", "GET /api/v1/sign-ins/signin_0.n1", "DELETE /api/v1/sign-ins/signin_0.n1"} {
			method, path, _ := strings.Cut(path, " ")
			body := ""
			if method == "POST" {
				body = `{"credential":"x"}`
			}
			if a := h.Call(key, method, path, body); a.Status != 403 {
				t.Errorf("%s %s as %q: got %d %s", method, path, role, a.Status, a.Body)
			}
		}
	}
	if len(s.all) != 0 {
		t.Errorf("%d sign-ins were begun", len(s.all))
	}
	begin := func(key, name string) string {
		in, err := h.Client(key).BeginSignIn(t.Context(), "github_copilot", client.BeginSignIn{Credential: name})
		if err != nil {
			t.Fatal(err)
		}
		return in.ID
	}
	admin, _ := h.Must("POST", "/api/v1/keys", `{"name":"ops","role":"proxy_admin"}`)["secret"].(string)
	revoked, moved, taken, gone := begin(admin, "mine"), begin(adminapitest.MasterKey, "mine"), begin(adminapitest.MasterKey, "new"), begin(adminapitest.MasterKey, "mine")
	h.Must("POST", "/api/v1/keys/ops/block", "")
	h.Must("POST", "/api/v1/credentials", `{"name":"new","provider":"openai"}`)
	if err := s.enter(t, revoked, "gho_x"); !errors.Is(err, resource.ErrForbidden) {
		t.Errorf("of a blocked key: got %v", err)
	}
	h.Must("PATCH", "/api/v1/credentials/mine", `{"api_base":"https://elsewhere.example"}`)
	if err := s.enter(t, moved, "gho_x"); !errors.Is(err, resource.ErrRefused) {
		t.Errorf("of a credential that moved: got %v", err)
	}
	if err := s.enter(t, taken, "gho_x"); !errors.Is(err, resource.ErrExists) {
		t.Errorf("of a name that was taken: got %v", err)
	}
	h.Must("DELETE", "/api/v1/credentials/mine", "")
	if err := s.enter(t, gone, "gho_x"); !errors.Is(err, resource.ErrNotFound) {
		t.Errorf("of a credential that was deleted: got %v", err)
	}
	if a := adminapitest.New(t).Call(adminapitest.MasterKey, "POST", "/api/v1/providers/chatgpt/sign-in", `{"credential":"x"}`); a.Status != 503 {
		t.Errorf("where nobody signs in: got %d", a.Status)
	}
}
