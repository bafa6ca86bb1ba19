package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// The states of a sign-in. All but SignInPending are its end.
const (
	SignInPending   = "pending"   // the provider waits for the code, or the secret is being stored
	SignInDone      = "done"      // the secret is in the credential
	SignInDenied    = "denied"    // the person said no
	SignInExpired   = "expired"   // nobody entered the code in time
	SignInCancelled = "cancelled" // by an admin, or by another sign-in for the credential
	SignInFailed    = "failed"    // Error says why
)

// BeginSignIn begins a sign-in at a provider.
type BeginSignIn struct {
	Credential string            `json:"credential"`        // id or name; the name of a new one, which is made once the sign-in is done
	Options    map[string]string `json:"options,omitempty"` // of a new one
}

// SignIn is a person's sign-in at a provider with a code that he enters in a browser. The node that began it asks the
// provider, and puts what it gives into a secret of the credential.
type SignIn struct {
	ID              string    `json:"id"`
	Provider        string    `json:"provider"`
	Credential      string    `json:"credential"` // its name
	Node            string    `json:"node"`       // that asks the provider; if it restarts, the sign-in is lost
	State           string    `json:"state"`
	VerificationURL string    `json:"verification_url,omitempty"` // where the code is entered; while it is pending
	UserCode        string    `json:"user_code,omitempty"`        // likewise
	ExpiresAt       time.Time `json:"expires_at"`                 // of the code
	Error           string    `json:"error,omitempty"`
}

// BeginSignIn begins a sign-in at a provider.
func (c *Client) BeginSignIn(ctx context.Context, provider string, b BeginSignIn) (SignIn, error) {
	var out SignIn
	return out, c.do(ctx, http.MethodPost, "providers/"+url.PathEscape(provider)+"/sign-in", nil, b, &out)
}

// SignIn reads how far a sign-in is.
func (c *Client) SignIn(ctx context.Context, id string) (SignIn, error) {
	var out SignIn
	return out, c.do(ctx, http.MethodGet, "sign-ins/"+url.PathEscape(id), nil, nil, &out)
}

// CancelSignIn ends a sign-in. One that is being stored, or has ended, stays what it is.
func (c *Client) CancelSignIn(ctx context.Context, id string) (SignIn, error) {
	var out SignIn
	return out, c.do(ctx, http.MethodDelete, "sign-ins/"+url.PathEscape(id), nil, nil, &out)
}
