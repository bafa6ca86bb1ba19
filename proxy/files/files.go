// Package files serves OpenAI's files out of the cluster's own store: what is uploaded for a batch
// that the gateway runs, or to be fetched again. Files that a provider keeps are relayed by the
// data path, which package pass belongs to.
package files

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// Purposes that the cluster keeps files for. All others are a provider's business.
const (
	PurposeBatch       = "batch"
	PurposeBatchOutput = "batch_output"
	PurposeUserData    = "user_data"
)

// Store keeps artifacts; *artifacts.Store of node is one.
type Store interface {
	// Put creates an artifact (read 0) or replaces the version that was read, with the bodies of
	// its new parts. It returns resource.ErrConflict for another version.
	Put(ctx context.Context, a *resource.Artifact, read uint64, bodies ...[]byte) (version uint64, err error)
	// Get returns an artifact and its version; resource.ErrNotFound for none.
	Get(ctx context.Context, id string) (*resource.Artifact, uint64, error)
	// Body returns the bytes of a part.
	Body(ctx context.Context, digest string) ([]byte, error)
	// List returns those that match, in no order that counts.
	List(ctx context.Context, match func(*resource.Artifact) bool) ([]*resource.Artifact, error)
	// Delete forgets an artifact for good.
	Delete(ctx context.Context, id string) error
}

// Shelf is the files of the cluster. It may be used concurrently.
type Shelf struct {
	store Store
	now   func() time.Time
}

// New makes a Shelf. Where now is nil, its time is clock.Now.
func New(store Store, now func() time.Time) *Shelf {
	if now == nil {
		now = clock.Now
	}
	return &Shelf{store, now}
}

// Upload is a file that a client sends.
type Upload struct {
	Name    string
	Purpose string
	Body    []byte
	Owners  resource.Owners
	Days    int64 // that it is kept; 0: none is
	Seconds int64 // the client wants less; 0: it does not say
}

// File is a file as OpenAI shows it.
type File struct {
	ID        string  `json:"id"`
	Object    string  `json:"object"`
	Bytes     int64   `json:"bytes"`
	CreatedAt int64   `json:"created_at"`
	ExpiresAt int64   `json:"expires_at,omitempty"`
	Filename  string  `json:"filename"`
	Purpose   string  `json:"purpose"`
	Status    string  `json:"status"`
	Details   *string `json:"status_details"`
}

// Shown is an artifact as OpenAI shows files.
func Shown(a *resource.Artifact) *File {
	return &File{
		ID: a.ID, Object: "file", Bytes: a.File.Bytes, CreatedAt: a.CreatedAt.Std().Unix(), ExpiresAt: a.ExpiresAt.Std().Unix(),
		Filename: a.File.Name, Purpose: a.File.Purpose, Status: "processed",
	}
}

// NewID makes an id that tells nothing.
func NewID(prefix string) string {
	var b [24]byte
	_, _ = rand.Read(b[:]) // never fails
	return prefix + hex.EncodeToString(b[:])
}

// Create keeps an uploaded file. It returns when two nodes have it.
func (s *Shelf) Create(ctx context.Context, u *Upload) (*File, error) {
	if err := u.check(); err != nil {
		return nil, err
	}
	now := s.now()
	keep := time.Duration(u.Days) * 24 * time.Hour
	if u.Seconds > 0 {
		keep = min(keep, time.Duration(u.Seconds)*time.Second)
	}
	a := &resource.Artifact{
		ID: NewID("file-"), Kind: resource.ArtifactFile, Owners: u.Owners, CreatedAt: resource.At(now), ExpiresAt: resource.At(now.Add(keep)),
		File: &resource.FileFacts{Name: u.Name, Purpose: u.Purpose, Bytes: int64(len(u.Body))},
	}
	var bodies [][]byte
	for part := range slices.Chunk(u.Body, resource.PartBytes) {
		a.File.Parts = append(a.File.Parts, resource.PartOf(part, 0))
		bodies = append(bodies, part)
	}
	if _, err := s.store.Put(ctx, a, 0, bodies...); err != nil {
		return nil, StoreError(err)
	}
	return Shown(a), nil
}

func (u *Upload) check() error {
	switch {
	case u.Days == 0:
		return &llm.Error{Kind: llm.Forbidden, Code: "files_not_stored", Message: "This gateway keeps no files. Name the provider that shall, as custom_llm_provider."}
	case u.Purpose == "":
		return &llm.Error{Kind: llm.Invalid, Code: "missing_required_parameter", Param: "purpose", Message: "The form has no field \"purpose\"."}
	case u.Purpose != PurposeBatch && u.Purpose != PurposeUserData:
		return &llm.Error{
			Kind: llm.Invalid, Code: "invalid_value", Param: "purpose",
			Message: "The gateway keeps files for batch and user_data. A file for " + strconv.Quote(shown(u.Purpose)) + " is a provider's: name it as custom_llm_provider, or a model as target_model_names.",
		}
	case len(u.Name) > 512:
		return &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Param: "file", Message: "The name of the file has more than 512 bytes."}
	case u.Seconds != 0 && (u.Seconds < resource.MinExpiry || u.Seconds > resource.MaxExpiry):
		return &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Param: "expires_after[seconds]", Message: "A file expires after 3600 to 2592000 seconds."}
	}
	return nil
}

// find returns a file that the principal may see.
func (s *Shelf) find(ctx context.Context, who *resource.Principal, id string) (*resource.Artifact, error) {
	a, _, err := s.store.Get(ctx, id)
	if err == nil && (a.Kind != resource.ArtifactFile || !who.Sees(&a.Owners)) {
		err = resource.ErrNotFound
	}
	if errors.Is(err, resource.ErrNotFound) {
		return nil, Missing("File", id)
	}
	return a, err
}

// Show shows a file that the principal may see.
func (s *Shelf) Show(ctx context.Context, who *resource.Principal, id string) (*File, error) {
	a, err := s.find(ctx, who, id)
	if err != nil {
		return nil, err
	}
	return Shown(a), nil
}

// Delete forgets one for good. A batch that runs has read it already.
func (s *Shelf) Delete(ctx context.Context, who *resource.Principal, id string) error {
	if _, err := s.find(ctx, who, id); err != nil {
		return err
	}
	err := s.store.Delete(ctx, id)
	if errors.Is(err, resource.ErrNotFound) {
		return Missing("File", id)
	}
	return StoreError(err)
}

// Content opens one: what is known of it, and its parts one after the other, nil at the end.
func (s *Shelf) Content(ctx context.Context, who *resource.Principal, id string) (*resource.FileFacts, func() ([]byte, error), error) {
	a, err := s.find(ctx, who, id)
	if err != nil {
		return nil, nil, err
	}
	parts := a.File.Parts
	return a.File, func() ([]byte, error) {
		if len(parts) == 0 {
			return nil, nil
		}
		body, err := s.store.Body(ctx, parts[0].Blob)
		parts = parts[1:]
		return body, err
	}, nil
}

// List is a page of what OpenAI lists.
type List[T any] struct {
	Object  string `json:"object"`
	Data    []T    `json:"data"`
	FirstID string `json:"first_id,omitempty"`
	LastID  string `json:"last_id,omitempty"`
	HasMore bool   `json:"has_more"`
}

// List lists the principal's files as a query asks: purpose, limit, order, after.
func (s *Shelf) List(ctx context.Context, who *resource.Principal, q url.Values) (*List[*File], error) {
	purpose := q.Get("purpose")
	all, err := s.store.List(ctx, func(a *resource.Artifact) bool {
		return a.Kind == resource.ArtifactFile && who.Sees(&a.Owners) && (purpose == "" || purpose == a.File.Purpose)
	})
	if err != nil {
		return nil, err
	}
	page, more, err := Page(all, q, 10_000)
	if err != nil {
		return nil, err
	}
	return ListOf(page, more, Shown), nil
}

// ListOf shows a page.
func ListOf[T any](page []*resource.Artifact, more bool, show func(*resource.Artifact) T) *List[T] {
	out := &List[T]{Object: "list", Data: make([]T, 0, len(page)), HasMore: more}
	for _, a := range page {
		out.Data = append(out.Data, show(a))
	}
	if n := len(page); n > 0 {
		out.FirstID, out.LastID = page[0].ID, page[n-1].ID
	}
	return out
}

// Page is the part of a list that a query asks for: the newest first, or with order=asc the oldest,
// those behind after, at most limit.
func Page(all []*resource.Artifact, q url.Values, most int) (page []*resource.Artifact, more bool, err error) {
	limit := most
	if text := q.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > most {
			return nil, false, badQuery("limit", "The limit must be a number from 1 to "+strconv.Itoa(most)+".")
		}
	}
	slices.SortFunc(all, func(a, b *resource.Artifact) int {
		return cmp.Or(cmp.Compare(b.CreatedAt, a.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	switch q.Get("order") {
	case "", "desc":
	case "asc":
		slices.Reverse(all)
	default:
		return nil, false, badQuery("order", "The order must be asc or desc.")
	}
	if after := q.Get("after"); after != "" {
		at := slices.IndexFunc(all, func(a *resource.Artifact) bool { return a.ID == after })
		if at < 0 {
			return nil, false, badQuery("after", "There is nothing with the id that after names.")
		}
		all = all[at+1:]
	}
	n := min(limit, len(all))
	return all[:n], n < len(all), nil
}

func badQuery(param, message string) error {
	return &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Param: param, Message: message}
}

// Missing says in OpenAI's words that there is no such thing. Who may not see one learns the same.
func Missing(what, id string) error {
	return &llm.Error{Kind: llm.NotFound, Type: "invalid_request_error", Code: "not_found", Param: "id", NoRetry: true, Message: "No such " + what + " object: " + shown(id)}
}

// shown is a text that a client sent, as far as it is harmless.
func shown(s string) string {
	if resource.ValidArtifactID(s) {
		return s
	}
	return "…"
}

// StoreError says in a client's words why something cannot be stored.
func StoreError(err error) error {
	switch {
	case errors.Is(err, resource.ErrFull):
		return &llm.Error{
			Kind: llm.Unavailable, Status: http.StatusInsufficientStorage, Code: "quota_exceeded", NoRetry: true, Err: err,
			Message: "The gateway has no room for the file: the setting blob_quota_mb bounds all that it keeps.",
		}
	case errors.Is(err, resource.ErrNoLeader):
		return &llm.Error{Kind: llm.Unavailable, Code: "store_unavailable", RetryAfter: time.Second, Message: "Nothing can be stored now: the cluster has no leader.", Err: err}
	}
	return err
}
