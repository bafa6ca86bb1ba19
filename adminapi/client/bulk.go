package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/conclave-llm/conclave/resource"
)

// MadeKey is what became of one of several keys.
type MadeKey struct {
	ID      string        `json:"id,omitempty"` // "" in a dry run
	Name    string        `json:"name,omitempty"`
	Hash    resource.Hash `json:"hash,omitzero"`     // of the secret
	Secret  string        `json:"secret,omitempty"`  // shown this once
	Skipped bool          `json:"skipped,omitempty"` // a key had the name or the secret already; id and hash are that key's
}

// MadeKeys is what became of several keys, in the order in which they were given.
type MadeKeys struct {
	Items   []MadeKey `json:"items"`
	Created int       `json:"created"`
	Skipped int       `json:"skipped"`
}

// Bulk says how CreateKeys makes keys. The zero value makes all of them or none.
type Bulk struct {
	SkipExisting bool // pass over keys whose name or secret is there already
	DryRun       bool // check all of them and make none
}

// CreateKeys creates up to 10,000 keys, all or none. An error about one of them is a
// *Problem whose first field begins with its index: "[17].team_id".
func (c *Client) CreateKeys(ctx context.Context, keys []json.RawMessage, how Bulk) (MadeKeys, error) {
	q := url.Values{}
	if how.SkipExisting {
		q.Set("existing", "skip")
	}
	if how.DryRun {
		q.Set("dry_run", "true")
	}
	var out MadeKeys
	return out, c.do(ctx, http.MethodPost, "keys/bulk", q, keys, &out)
}
