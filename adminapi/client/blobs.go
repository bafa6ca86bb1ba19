package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/conclave-llm/conclave/resource"
)

// BlobCheck says what one node has of a blob.
type BlobCheck struct {
	Node  string `json:"node"`            // id
	Holds bool   `json:"holds"`           // whole, with the right digest
	Error string `json:"error,omitempty"` // why not
}

// Blobs lists blobs in the order of their digests; q may have limit and cursor.
func (c *Client) Blobs(ctx context.Context, q url.Values) (Page[resource.Blob], error) {
	var out Page[resource.Blob]
	return out, c.do(ctx, http.MethodGet, "blobs", q, nil, &out)
}

// PutBlob stores a body that every node keeps; q has kind and may have name and ttl.
func (c *Client) PutBlob(ctx context.Context, body []byte, q url.Values) (resource.Blob, error) {
	var out resource.Blob
	return out, c.send(ctx, "blobs", q, body, &out)
}

// DeleteBlob deletes a blob that nothing refers to.
func (c *Client) DeleteBlob(ctx context.Context, digest string) error {
	return c.do(ctx, http.MethodDelete, "blobs/"+url.PathEscape(digest), nil, nil, nil)
}

// VerifyBlob has every node read the body and check its digest.
func (c *Client) VerifyBlob(ctx context.Context, digest string) ([]BlobCheck, error) {
	var out []BlobCheck
	return out, c.do(ctx, http.MethodGet, "blobs/"+url.PathEscape(digest)+"/verify", nil, nil, &out)
}

// BlobBody returns the body of a digest.
func (c *Client) BlobBody(ctx context.Context, digest string) ([]byte, error) {
	req, err := c.request(ctx, http.MethodGet, "blobs/"+url.PathEscape(digest)+"/body", nil, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", c.server, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, resource.MaxBlobBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read answer of %s: %w", c.server, err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return nil, problemOf(resp, body)
	}
	return body, nil
}
