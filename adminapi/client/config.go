package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
)

// ConfigChange is one change that a configuration file asks for.
type ConfigChange struct {
	Action   string        `json:"action"` // "create", "update" or "delete"
	Kind     string        `json:"kind"`
	Name     string        `json:"name"`                // of the record; of a deployment MODEL/NAME, of a member TEAM/USER
	ID       string        `json:"id,omitempty"`        // "": it gets one
	TakeOver bool          `json:"take_over,omitempty"` // the API's record becomes the file's
	Fields   []FieldChange `json:"fields,omitempty"`
}

// FieldChange is a field of a record before and after. A secret is its fingerprint, and what
// a record refers to is a name.
type FieldChange struct {
	Field  string          `json:"field"`
	Before json.RawMessage `json:"before,omitempty"` // absent: it had none
	After  json.RawMessage `json:"after,omitempty"`  // absent: it has none
}

// ConfigOptions say how a configuration file is brought into the cluster.
type ConfigOptions struct {
	Prune    bool   // delete what the file owned and names no more
	TakeOver bool   // what the API owns and the file names becomes the file's
	Expect   string // of an apply: ConfigPlan.Digest of the plan that was agreed to; "": whatever there is to do
}

// ConfigPlan is what a configuration file changes.
type ConfigPlan struct {
	Changes []ConfigChange `json:"changes"`
	Digest  string         `json:"digest" doc:"of the changes and of the versions that they replace; give it to apply as expect"`
}

// PlanConfig says what the file would change; file is a declare.File.
func (c *Client) PlanConfig(ctx context.Context, file any, how ConfigOptions) (out ConfigPlan, err error) {
	return out, c.do(ctx, http.MethodPost, "config/plan", how.values(), file, &out)
}

// ApplyConfig brings the file into the cluster, all of it or nothing, and says what changed.
func (c *Client) ApplyConfig(ctx context.Context, file any, how ConfigOptions) (out ConfigPlan, err error) {
	return out, c.do(ctx, http.MethodPost, "config/apply", how.values(), file, &out)
}

// ExportConfig returns the running configuration as "hcl" or as a declare.File in "json".
func (c *Client) ExportConfig(ctx context.Context, format string) (out ConfigExport, err error) {
	return out, c.do(ctx, http.MethodGet, "config/export", url.Values{"format": {format}}, nil, &out)
}

// ConfigExport is a running configuration.
type ConfigExport struct {
	HCL  string          `json:"hcl,omitempty"`
	File json.RawMessage `json:"file,omitempty"`
}

// OwnConfig makes a record the API's that is the file's.
func (c *Client) OwnConfig(ctx context.Context, kind, ref string) error {
	return c.do(ctx, http.MethodPost, "config/own", nil, map[string]string{"kind": kind, "id": ref}, nil)
}

func (o ConfigOptions) values() url.Values {
	q := url.Values{}
	if o.Prune {
		q.Set("prune", "true")
	}
	if o.TakeOver {
		q.Set("take_over", "true")
	}
	if o.Expect != "" {
		q.Set("expect", o.Expect)
	}
	return q
}
