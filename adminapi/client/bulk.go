package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
)

// MadeKey is what became of one of several keys.
type MadeKey struct {
	ID      string `json:"id"`
	Name    string `json:"name,omitempty"`
	Secret  string `json:"secret,omitempty"`  // shown this once
	Skipped bool   `json:"skipped,omitempty"` // a key had the name already; id is that key's
}

// MadeKeys is what became of several keys, in the order in which they were given.
type MadeKeys struct {
	Items   []MadeKey `json:"items"`
	Created int       `json:"created"`
	Skipped int       `json:"skipped"`
}

// Existing says what CreateKeys does with a key whose name is there already.
type Existing string

// The zero value of Existing refuses all keys of the call.
const (
	RefuseExisting Existing = ""
	SkipExisting   Existing = "skip"
)

// CreateKeys creates up to 10,000 keys, all or none. An error about one of them is a
// *Problem whose first field begins with its index: "[17].team_id".
func (c *Client) CreateKeys(ctx context.Context, keys []json.RawMessage, existing Existing) (MadeKeys, error) {
	q := url.Values{}
	if existing != RefuseExisting {
		q.Set("existing", string(existing))
	}
	var out MadeKeys
	return out, c.do(ctx, http.MethodPost, "keys/bulk", q, keys, &out)
}
