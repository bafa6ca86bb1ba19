package client

import (
	"context"
	"net/http"
	"time"
)

// SecretReference names a secret that is to be resolved.
type SecretReference struct {
	Reference string `json:"reference" maxLength:"2100" doc:"such as vault://mount/path#field, secret://SOURCE/path#field, env://NAME or file:///absolute/path"`
}

// SecretTested is what became of a reference on one node.
type SecretTested struct {
	Node        string    `json:"node"`
	OK          bool      `json:"ok"`
	Fingerprint string    `json:"fingerprint,omitempty"` // of the value in use, which may be older than the error
	Version     string    `json:"version,omitempty"`     // of the secret in its store
	ReadAt      time.Time `json:"read_at,omitzero"`      // when the value was read
	Code        string    `json:"code,omitempty"`        // what requests that need it get: "secret_unresolved"
	Reason      string    `json:"reason,omitempty"`      // not_found, denied, malformed, unavailable, no_source, no_answer
	Error       string    `json:"error,omitempty"`
}

// SecretTests are those of all nodes.
type SecretTests struct {
	Items []SecretTested `json:"items"`
}

// TestSecret resolves a reference on every node.
func (c *Client) TestSecret(ctx context.Context, reference string) (out SecretTests, err error) {
	return out, c.do(ctx, http.MethodPost, "secrets/test", nil, SecretReference{Reference: reference}, &out)
}
