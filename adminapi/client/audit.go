package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/conclave-llm/conclave/resource"
)

// AuditVerdict says whether the chain of the audit log is whole.
type AuditVerdict struct {
	Verified bool                  `json:"verified"`
	Broken   uint64                `json:"broken,omitempty"` // number of the first entry that is not as it was written
	Reason   string                `json:"reason,omitempty"`
	Entries  uint64                `json:"entries"`         // verified
	First    uint64                `json:"first,omitempty"` // number
	Last     uint64                `json:"last,omitempty"`  // number
	Head     resource.Hash         `json:"head"`            // of Last
	Anchor   *resource.AuditAnchor `json:"anchor,omitempty"`
	CA       string                `json:"ca,omitempty"` // SHA-256 of the certificate that the anchor was verified with
	Cluster  string                `json:"cluster,omitempty"`
}

// Audit returns one page of audit entries. The filter has the parameters of the admin API.
func (c *Client) Audit(ctx context.Context, filter url.Values) (Page[resource.AuditEntry], error) {
	var out Page[resource.AuditEntry]
	return out, c.do(ctx, http.MethodGet, "audit", filter, nil, &out)
}

// AuditEntry returns the audit entry with the number.
func (c *Client) AuditEntry(ctx context.Context, number uint64) (resource.AuditEntry, error) {
	var out resource.AuditEntry
	return out, c.do(ctx, http.MethodGet, join("audit", strconv.FormatUint(number, 10)), nil, nil, &out)
}

// VerifyAudit has the node verify its audit log.
func (c *Client) VerifyAudit(ctx context.Context) (AuditVerdict, error) {
	var out AuditVerdict
	return out, c.do(ctx, http.MethodGet, "audit/verify", nil, nil, &out)
}

// ExportAudit writes an export of the audit log to w as it comes.
func (c *Client) ExportAudit(ctx context.Context, filter url.Values, w io.Writer) error {
	req, err := c.request(ctx, http.MethodGet, "audit/export", filter, nil)
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
		return fmt.Errorf("read export of %s: %w", c.server, err)
	}
	return nil
}
