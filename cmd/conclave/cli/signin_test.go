package cli_test

import (
	"context"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/providers"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/secret"
)

// signIns is a node's part of sign-ins. What becomes of one the credential's name says; that for "slow" stays pending.
type signIns struct {
	mu      sync.Mutex
	order   providers.SignInOrder
	now     client.SignIn
	looks   int
	waiting chan struct{} // closed at the next look; nil: nobody waits
}

// Begin implements providers.SignIns.
func (s *signIns) Begin(_ context.Context, o providers.SignInOrder) (client.SignIn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.order, s.looks = o, 0
	s.now = client.SignIn{
		ID: "signin_1.n1", Provider: o.Provider, Credential: o.Credential.Name, Node: "a", State: client.SignInPending,
		VerificationURL: "https://github.com/login/device", UserCode: "ABCD-1234", ExpiresAt: time.Now().Add(time.Minute),
	}
	return s.now, nil
}

// SignIn implements providers.SignIns.
func (s *signIns) SignIn(ctx context.Context, _ string) (client.SignIn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	if s.waiting != nil {
		close(s.waiting)
		s.waiting = nil
	}
	switch s.now.Credential {
	case "slow":
	case "denied":
		s.now.State, s.now.Error = client.SignInDenied, "the person did not allow it"
	case "lost":
		return client.SignIn{}, &llm.Error{Kind: llm.NotFound, Code: "not_found", Message: "the node that began it has restarted; sign in again"}
	default:
		if s.looks == 1 {
			return client.SignIn{}, &llm.Error{Kind: llm.Unavailable, Message: "a node restarts"} // which passes
		}
		if err := s.order.Store(ctx, secret.New("gho_hush")); err != nil {
			return client.SignIn{}, err
		}
		s.now.State = client.SignInDone
	}
	return s.now, nil
}

// CancelSignIn implements providers.SignIns.
func (s *signIns) CancelSignIn(context.Context, string) (client.SignIn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.State = client.SignInCancelled
	return s.now, nil
}

// awaitSignIn waits until a command has looked at its sign-in.
func awaitSignIn(ts *testscript.TestScript, _ bool, _ []string) {
	s := ts.Value("desk").(*signIns)
	seen := make(chan struct{})
	s.mu.Lock()
	s.waiting = seen
	s.mu.Unlock()
	select {
	case <-seen:
	case <-time.After(20 * time.Second):
		ts.Fatalf("nobody looks")
	}
}
