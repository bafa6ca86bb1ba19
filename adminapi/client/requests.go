package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/conclave-llm/conclave/resource"
)

// Spend is an answer about what was spent.
type Spend struct {
	Items        []Usage       `json:"items"`
	From         resource.Time `json:"from,omitzero"` // what is covered
	To           resource.Time `json:"to,omitzero"`
	MissingNodes []string      `json:"missing_nodes,omitempty"` // gave no answer: their spend is not in it
}

// Spend answers a question about spend: group_by, granularity, from, to and filters such as
// key or team.
func (c *Client) Spend(ctx context.Context, q url.Values) (Spend, error) {
	var out Spend
	return out, c.do(ctx, http.MethodGet, "usage", q, nil, &out)
}

// Requests returns one page of requests as the API writes them.
func (c *Client) Requests(ctx context.Context, q url.Values) (json.RawMessage, error) {
	var out json.RawMessage
	return out, c.do(ctx, http.MethodGet, "requests", q, nil, &out)
}

// Explanation is why requests with one id were served or refused.
type Explanation struct {
	Items []struct {
		Explanation []string        `json:"explanation"`
		Receipt     json.RawMessage `json:"receipt"`
		Replay      *Replay         `json:"replay,omitempty"`
	} `json:"items"`
	Content *struct {
		Request  string `json:"request"`
		Response string `json:"response"`
	} `json:"content,omitempty"`
	MissingNodes []string        `json:"missing_nodes,omitempty"`
	Raw          json.RawMessage `json:"-"` // the whole answer
}

// Explain says why a request was served or refused, and, if q has content=true, what it said.
func (c *Client) Explain(ctx context.Context, id string, q url.Values) (Explanation, error) {
	var out Explanation
	if err := c.do(ctx, http.MethodGet, join("requests", id), q, nil, &out.Raw); err != nil {
		return out, err
	}
	return out, json.Unmarshal(out.Raw, &out)
}

// Case is a request with the state that decides about it, as the API writes it.
func (c *Client) Case(ctx context.Context, id string) (json.RawMessage, error) {
	var out json.RawMessage
	return out, c.do(ctx, http.MethodGet, join("requests", id, "case"), nil, nil, &out)
}

// Verification is what came of verifying the ledger.
type Verification struct {
	Index       uint64          `json:"index"`
	Compared    int             `json:"compared"`
	Missing     []string        `json:"missing"`
	Differences []string        `json:"differences"`
	Raw         json.RawMessage `json:"-"` // the whole answer
}

// VerifyLedger compares what the nodes recorded with every replicated total.
func (c *Client) VerifyLedger(ctx context.Context) (Verification, error) {
	var out Verification
	if err := c.do(ctx, http.MethodGet, "ledger/verify", nil, nil, &out.Raw); err != nil {
		return out, err
	}
	return out, json.Unmarshal(out.Raw, &out)
}

// Export copies an export, "requests" or "usage", to w.
func (c *Client) Export(ctx context.Context, what string, q url.Values, w io.Writer) error {
	req, err := c.request(ctx, http.MethodGet, what+"/export", q, nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("call %s: %w", c.server, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode >= http.StatusBadRequest {
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if err != nil {
			return fmt.Errorf("read answer of %s: %w", c.server, err)
		}
		return problemOf(resp, body)
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("read answer of %s: %w", c.server, err)
	}
	return nil
}

// Repriced is what requests cost, and would cost at another price.
type Repriced struct {
	Items []struct {
		Model    string         `json:"model"`
		Requests int64          `json:"requests"`
		Cost     resource.Money `json:"cost"`
		Repriced resource.Money `json:"repriced"`
		Change   resource.Money `json:"change"`
		Booked   int64          `json:"booked"`
		Skipped  int64          `json:"skipped"`
	} `json:"items"`
	MissingNodes []string `json:"missing_nodes,omitempty"`
}

// PreviewReprice says what the requests of the filter would have cost at the price, in JSON.
func (c *Client) PreviewReprice(ctx context.Context, price json.RawMessage, q url.Values) (Repriced, error) {
	var out Repriced
	q.Set("price", string(price))
	return out, c.do(ctx, http.MethodGet, "ledger/reprice", q, nil, &out)
}

// Reprice books the differences to the price as adjustments.
func (c *Client) Reprice(ctx context.Context, price json.RawMessage, q url.Values) (Repriced, error) {
	var out Repriced
	in := map[string]any{"price": price}
	filter := map[string][]string{}
	for name, values := range q {
		if name == "from" || name == "to" {
			in[name] = values[0]
		} else {
			filter[name] = values
		}
	}
	in["filter"] = filter
	return out, c.do(ctx, http.MethodPost, "ledger/reprice", nil, in, &out)
}

// Erase orders all nodes to forget a person of the kind, "customer" or "user".
func (c *Client) Erase(ctx context.Context, kind, id string) (resource.Erasure, error) {
	var out resource.Erasure
	return out, c.do(ctx, http.MethodPost, join(kind+"s", id, "erase"), nil, nil, &out)
}

// Erasure returns what became of the order.
func (c *Client) Erasure(ctx context.Context, id string) (resource.Erasure, error) {
	var out resource.Erasure
	return out, c.do(ctx, http.MethodGet, join("erasures", id), nil, nil, &out)
}

// ExportPerson copies everything that refers to a person to w, as JSON lines.
func (c *Client) ExportPerson(ctx context.Context, kind, id string, q url.Values, w io.Writer) error {
	return c.Export(ctx, join(kind+"s", id), q, w)
}
