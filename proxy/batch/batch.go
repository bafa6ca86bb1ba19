package batch

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/files"
	"github.com/conclave-llm/conclave/resource"
)

// window is the one that OpenAI has.
const (
	window     = "24h"
	windowTime = 24 * time.Hour
)

// Endpoints are those that the lines of a batch may be for.
var Endpoints = []string{
	"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/moderations", "/v1/images/generations", "/v1/messages",
}

// Request is what a client asks for.
type Request struct {
	InputFile string           `json:"input_file_id"`
	Endpoint  string           `json:"endpoint"`
	Window    string           `json:"completion_window"`
	Metadata  json.RawMessage  `json:"metadata"`
	Expires   *resource.Expiry `json:"output_expires_after"` // nil: with the batch
}

// ReadRequest reads the body of a request for a batch.
func ReadRequest(body []byte) (*Request, error) {
	r := new(Request)
	if err := json.Unmarshal(body, r); err != nil {
		return nil, &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Message: "The request must be an object with input_file_id, endpoint and completion_window, in OpenAI's words.", Err: err}
	}
	if string(r.Metadata) == "null" {
		r.Metadata = nil
	}
	return r, nil
}

func (r *Request) check() error {
	bad := func(param, message string) error {
		return &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Param: param, Message: message}
	}
	switch {
	case r.InputFile == "":
		return &llm.Error{Kind: llm.Invalid, Code: "missing_required_parameter", Param: "input_file_id", Message: "The request has no input_file_id."}
	case !slices.Contains(Endpoints, r.Endpoint):
		return bad("endpoint", "The endpoint must be one of "+strings.Join(Endpoints, ", ")+".")
	case r.Window != window:
		return bad("completion_window", "The completion_window must be \"24h\".")
	case r.Expires != nil && (r.Expires.Anchor != resource.ExpiryAnchor || r.Expires.Seconds < resource.MinExpiry || r.Expires.Seconds > resource.MaxExpiry):
		return bad("output_expires_after", "output_expires_after has the anchor created_at and 3600 to 2592000 seconds.")
	}
	if len(r.Metadata) == 0 {
		return nil
	}
	var m map[string]string
	if json.Unmarshal(r.Metadata, &m) != nil || len(m) > 16 {
		return bad("metadata", "The metadata must be an object of at most 16 texts.")
	}
	for k, v := range m {
		if len(k) > 64 || len(v) > 512 {
			return bad("metadata", "A name in metadata may have 64 bytes and a value 512.")
		}
	}
	return nil
}

// Batch is a batch as OpenAI shows it.
type Batch struct {
	ID           string          `json:"id"`
	Object       string          `json:"object"`
	Endpoint     string          `json:"endpoint"`
	Errors       *problems       `json:"errors"`
	InputFile    string          `json:"input_file_id"`
	Window       string          `json:"completion_window"`
	Status       string          `json:"status"`
	OutputFile   *string         `json:"output_file_id"`
	ErrorFile    *string         `json:"error_file_id"`
	CreatedAt    int64           `json:"created_at"`
	InProgressAt *int64          `json:"in_progress_at"`
	ExpiresAt    *int64          `json:"expires_at"`
	FinalizingAt *int64          `json:"finalizing_at"`
	CompletedAt  *int64          `json:"completed_at"`
	FailedAt     *int64          `json:"failed_at"`
	ExpiredAt    *int64          `json:"expired_at"`
	CancellingAt *int64          `json:"cancelling_at"`
	CancelledAt  *int64          `json:"cancelled_at"`
	Counts       counts          `json:"request_counts"`
	Metadata     json.RawMessage `json:"metadata"`
}

type counts struct {
	Total     int64 `json:"total"`
	Completed int64 `json:"completed"`
	Failed    int64 `json:"failed"`
}

type problems struct {
	Object string    `json:"object"`
	Data   []problem `json:"data"`
}

type problem struct {
	Code    string  `json:"code"`
	Message string  `json:"message"`
	Param   *string `json:"param"`
	Line    *int64  `json:"line"`
}

// Shown is an artifact as OpenAI shows batches.
func Shown(a *resource.Artifact) *Batch {
	b := a.Batch
	m := &b.Moments
	out := &Batch{
		ID: a.ID, Object: "batch", Endpoint: b.Endpoint, InputFile: b.InputFile, Window: b.Window, Status: b.Status,
		OutputFile: orNil(b.OutputFile), ErrorFile: orNil(b.ErrorFile), CreatedAt: a.CreatedAt.Std().Unix(),
		InProgressAt: unix(m.InProgress), ExpiresAt: unix(m.Ends), FinalizingAt: unix(m.Finalizing), CompletedAt: unix(m.Completed),
		FailedAt: unix(m.Failed), ExpiredAt: unix(m.Expired), CancellingAt: unix(m.Cancelling), CancelledAt: unix(m.Cancelled),
		Counts: counts{b.Total, b.Completed, b.Failed}, Metadata: b.Metadata,
	}
	if len(b.Problems) > 0 {
		out.Errors = &problems{Object: "list"}
		for _, p := range b.Problems {
			shown := problem{Code: p.Code, Message: p.Message, Param: orNil(p.Param)}
			if p.Line > 0 {
				shown.Line = &p.Line
			}
			out.Errors.Data = append(out.Errors.Data, shown)
		}
	}
	return out
}

func orNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func unix(t resource.Time) *int64 {
	if t == 0 {
		return nil
	}
	at := t.Std().Unix()
	return &at
}

// Desk takes orders for batches and tells of them. It may be used concurrently.
type Desk struct {
	store files.Store
	now   func() time.Time
	begun func() // a batch was ordered or cancelled here
}

// NewDesk makes a Desk. Where now is nil, its time is clock.Now; begun is told of each order.
func NewDesk(store files.Store, now func() time.Time, begun func()) *Desk {
	if now == nil {
		now = clock.Now
	}
	return &Desk{store, now, begun}
}

// Create orders a batch for the principal and its owners. days is how long it is kept.
func (d *Desk) Create(ctx context.Context, who *resource.Principal, r *Request, owners resource.Owners, address string, days int64) (*Batch, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if days == 0 {
		return nil, &llm.Error{Kind: llm.Forbidden, Code: "files_not_stored", Message: "This gateway keeps no files, and so runs no batches."}
	}
	in, _, err := d.store.Get(ctx, r.InputFile)
	if err == nil && (in.Kind != resource.ArtifactFile || !who.Sees(&in.Owners)) {
		err = resource.ErrNotFound
	}
	switch {
	case errors.Is(err, resource.ErrNotFound):
		return nil, &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Param: "input_file_id", Message: "There is no file with the id that input_file_id names."}
	case err != nil:
		return nil, err
	case in.File.Purpose != files.PurposeBatch:
		return nil, &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Param: "input_file_id", Message: "The file is for " + strconv.Quote(in.File.Purpose) + ", not for batch."}
	}
	now := d.now()
	a := &resource.Artifact{
		ID: files.NewID("batch_"), Kind: resource.ArtifactBatch, Owners: owners, CreatedAt: resource.At(now),
		ExpiresAt: resource.At(now.Add(windowTime + time.Duration(days)*24*time.Hour)),
		Batch: &resource.BatchJob{
			Endpoint: r.Endpoint, InputFile: r.InputFile, Window: r.Window, Metadata: r.Metadata, Address: address,
			Status: resource.BatchValidating, Moments: resource.BatchMoments{Ends: resource.At(now.Add(windowTime))},
		},
	}
	if r.Expires != nil {
		a.Batch.OutputSeconds = r.Expires.Seconds
	}
	if _, err := d.store.Put(ctx, a, 0); err != nil {
		return nil, files.StoreError(err)
	}
	d.begun()
	return Shown(a), nil
}

// find returns a batch that the principal may see, and its version.
func (d *Desk) find(ctx context.Context, who *resource.Principal, id string) (*resource.Artifact, uint64, error) {
	a, version, err := d.store.Get(ctx, id)
	if err == nil && (a.Kind != resource.ArtifactBatch || !who.Sees(&a.Owners)) {
		err = resource.ErrNotFound
	}
	if errors.Is(err, resource.ErrNotFound) {
		return nil, 0, files.Missing("Batch", id)
	}
	return a, version, err
}

// Show shows a batch that the principal may see.
func (d *Desk) Show(ctx context.Context, who *resource.Principal, id string) (*Batch, error) {
	a, _, err := d.find(ctx, who, id)
	if err != nil {
		return nil, err
	}
	return Shown(a), nil
}

// maxTries bounds how often a cancellation meets another write of the record.
const maxTries = 8

// Cancel asks for the end of a batch. What is being sent is waited for.
func (d *Desk) Cancel(ctx context.Context, who *resource.Principal, id string) (*Batch, error) {
	for range maxTries {
		a, version, err := d.find(ctx, who, id)
		if err != nil {
			return nil, err
		}
		if a.Batch.Status == resource.BatchCancelling {
			return Shown(a), nil
		}
		if a.Batch.Over() {
			return nil, &llm.Error{Kind: llm.Invalid, Status: 409, Code: "batch_over", NoRetry: true, Message: "Cannot cancel a batch with status '" + a.Batch.Status + "'."}
		}
		next := clone(a)
		next.Batch.Status, next.Batch.Moments.Cancelling = resource.BatchCancelling, resource.At(d.now())
		_, err = d.store.Put(ctx, next, version)
		if errors.Is(err, resource.ErrConflict) {
			continue
		}
		if err != nil {
			return nil, files.StoreError(err)
		}
		d.begun()
		return Shown(next), nil
	}
	return nil, &llm.Error{Kind: llm.Unavailable, Code: "conflict", RetryAfter: time.Second, Message: "The batch changes too fast. Try again."}
}

// List lists the principal's batches as a query asks: limit, after.
func (d *Desk) List(ctx context.Context, who *resource.Principal, q url.Values) (*files.List[*Batch], error) {
	all, err := d.store.List(ctx, func(a *resource.Artifact) bool { return a.Kind == resource.ArtifactBatch && who.Sees(&a.Owners) })
	if err != nil {
		return nil, err
	}
	if !q.Has("limit") {
		q.Set("limit", "20")
	}
	page, more, err := files.Page(all, q, 100)
	if err != nil {
		return nil, err
	}
	return files.ListOf(page, more, Shown), nil
}

// clone is a copy whose batch may be changed. Its lists are replaced, never changed in place.
func clone(a *resource.Artifact) *resource.Artifact {
	next, job := *a, *a.Batch
	next.Batch = &job
	return &next
}
