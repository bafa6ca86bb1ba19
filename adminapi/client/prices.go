package client

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/resource"
)

// PriceRow is the list price of one model at one provider.
type PriceRow struct {
	Provider     string          `json:"provider"`
	Model        string          `json:"model"`
	Mode         string          `json:"mode,omitempty"`
	MaxInput     int64           `json:"max_input,omitempty"`     // tokens
	MaxOutput    int64           `json:"max_output,omitempty"`    // tokens
	Dimensions   int64           `json:"dimensions,omitempty"`    // of an embedding
	Features     []string        `json:"features,omitempty"`      // what the model can do: tools, vision, …
	DeprecatedOn string          `json:"deprecated_on,omitempty"` // the day on which its provider ends it: 2026-12-31
	Price        *resource.Price `json:"price,omitempty"`         // absent: unknown
	Source       string          `json:"source"`                  // built_in or imported
}

// PriceDiff is what a file changes, or what waits for a person.
type PriceDiff struct {
	Added     int              `json:"added"`
	Changed   int              `json:"changed"`
	Removed   int              `json:"removed"`
	Unchanged int              `json:"unchanged"`
	Held      int              `json:"held"` // waits for a person
	Changes   []pricing.Change `json:"changes"`
	Ignored   map[string]int   `json:"ignored,omitempty"` // prices of kinds that are not known, with how often
}

// PriceSource tells where the prices come from.
type PriceSource struct {
	BuiltIn   int           `json:"built_in"` // rows
	Imported  int           `json:"imported"` // rows, which go before the built-in ones
	Held      int64         `json:"held"`     // rows that wait for a person
	Source    string        `json:"source,omitempty"`
	ETag      string        `json:"etag,omitempty"`
	SHA256    string        `json:"sha256,omitempty"`
	At        resource.Time `json:"at,omitempty"`
	UpdatedBy string        `json:"updated_by,omitempty"`
	Sync      PriceSync     `json:"sync"`
}

// PriceSync is the setting of that name, and what came of it.
type PriceSync struct {
	URL   string        `json:"url,omitempty"`
	Every string        `json:"every,omitempty"`
	Apply string        `json:"apply,omitempty"`
	Last  *PriceSyncRun `json:"last,omitempty"` // on the answering node
}

// PriceSyncRun is one download.
type PriceSyncRun struct {
	At     resource.Time `json:"at"`
	Result string        `json:"result"` // applied, unchanged or failed
	Held   int           `json:"held,omitempty"`
	Error  string        `json:"error,omitempty"`
}

// PriceImport says how a file is applied.
type PriceImport struct {
	Source  string // for people
	Replace bool   // drop imported rows that the file does not have
	Accept  bool   // hold nothing for a person
	DryRun  bool   // change nothing
}

// Prices returns a page of the prices that count. The filter has the members provider, q,
// imported, limit and cursor.
func (c *Client) Prices(ctx context.Context, filter url.Values) (Page[PriceRow], error) {
	var out Page[PriceRow]
	return out, c.do(ctx, http.MethodGet, "prices", filter, nil, &out)
}

// Price returns the row at which a provider's model is priced.
func (c *Client) Price(ctx context.Context, provider, model string) (PriceRow, error) {
	var out PriceRow
	return out, c.do(ctx, http.MethodGet, "prices/lookup", url.Values{"provider": {provider}, "model": {model}}, nil, &out)
}

// PriceSource tells where the prices come from.
func (c *Client) PriceSource(ctx context.Context) (PriceSource, error) {
	var out PriceSource
	return out, c.do(ctx, http.MethodGet, "prices/source", nil, nil, &out)
}

// ImportPrices applies a file of prices in CSV or JSON, or tells what it would do.
func (c *Client) ImportPrices(ctx context.Context, file []byte, how PriceImport) (PriceDiff, error) {
	var out PriceDiff
	path := "prices/import"
	if how.DryRun {
		path = "prices/diff"
	}
	q := url.Values{"source": {how.Source}}
	for name, is := range map[string]bool{"replace": how.Replace, "accept": how.Accept} {
		if is {
			q.Set(name, strconv.FormatBool(is))
		}
	}
	return out, c.send(ctx, path, q, file, &out)
}

// SyncPrices downloads prices from where the setting price_sync says.
func (c *Client) SyncPrices(ctx context.Context) (PriceDiff, error) {
	var out PriceDiff
	return out, c.do(ctx, http.MethodPost, "prices/sync", nil, nil, &out)
}

// ProposedPrices lists what waits for a person.
func (c *Client) ProposedPrices(ctx context.Context) (PriceDiff, error) {
	var out PriceDiff
	return out, c.do(ctx, http.MethodGet, "prices/proposed", nil, nil, &out)
}

// AcceptPrices makes prices of what waits, of all or of some by "provider/model".
func (c *Client) AcceptPrices(ctx context.Context, only ...string) (PriceDiff, error) {
	var out PriceDiff
	return out, c.do(ctx, http.MethodPost, "prices/proposed/accept", nil, map[string][]string{"only": only}, &out)
}

// DiscardPrices drops what waits.
func (c *Client) DiscardPrices(ctx context.Context) error {
	return c.do(ctx, http.MethodDelete, "prices/proposed", nil, nil, nil)
}

// ResetPrices drops all imported prices.
func (c *Client) ResetPrices(ctx context.Context) error {
	return c.do(ctx, http.MethodDelete, "prices", nil, nil, nil)
}

// send posts bytes as they are.
func (c *Client) send(ctx context.Context, path string, q url.Values, body []byte, out any) error {
	req, err := c.request(ctx, http.MethodPost, path, q, nil)
	if err != nil {
		return err
	}
	raw, err := http.NewRequestWithContext(ctx, http.MethodPost, req.URL.String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	raw.Header = req.Header
	raw.Header.Set("Content-Type", "application/octet-stream")
	return c.finish(raw, out)
}
