// Package person answers for one person: everything that refers to an end user or a user, and
// the order to forget him.
package person

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/adminapi/spend"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/requestlog"
	"github.com/conclave-llm/conclave/resource"
)

const pageRows = 1000

// State reads what is known of people.
type State interface {
	records.State
	AuditPage(q fsm.AuditQuery) audit.Page
	Erasure(id string) (*resource.Erasure, bool)
	Erasures() []*resource.Erasure
}

// Turns are stored turns of conversations; *turns.Store of node is one.
type Turns interface {
	List(ctx context.Context, w resource.Owners, each func(r *resource.Response, body []byte) error) error
}

// Artifacts are files, batches and the owners of what providers keep; *artifacts.Store of node is one.
type Artifacts interface {
	List(ctx context.Context, match func(*resource.Artifact) bool) ([]*resource.Artifact, error)
	// Body returns the bytes of a part of a file.
	Body(ctx context.Context, digest string) ([]byte, error)
}

// Config says what the API works on. No field but Turns, Artifacts and Leaving may be zero.
type Config struct {
	State    State
	Store    records.Store
	Requests spend.Requests
	Turns    Turns // nil: there are none

	Artifacts Artifacts // nil: there are none
	// Leaving is told of the order before it is committed, and what it returns is called when it is; nil:
	// nobody is.
	Leaving func(cmds []fsm.Command) (committed func(ctx context.Context))
}

// API answers for persons.
type API struct{ cfg Config }

// New returns the API.
func New(cfg Config) *API { return &API{cfg} }

// Erase orders all nodes to forget a person, of whom there need not be a record.
func (a *API) Erase(ctx context.Context, by records.Caller, kind, id string) (*resource.Erasure, records.Written, error) {
	id = a.idOf(kind, id)
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	cmd := fsm.OrderErasure{ID: resource.NewID("er"), Kind: kind, Subject: id, Pseudonym: resource.PseudonymPrefix + hex.EncodeToString(b)}
	committed := func(context.Context) {}
	if a.cfg.Leaving != nil {
		committed = a.cfg.Leaving([]fsm.Command{cmd})
	}
	res, err := a.cfg.Store.Propose(ctx, by.Actor(), by.RequestID, cmd)
	if err != nil {
		return nil, records.Written{}, err
	}
	committed(ctx)
	e, err := a.Receipt(cmd.ID)
	return e, records.WrittenAt(res), err
}

// idOf resolves the address of a user.
func (a *API) idOf(kind, ref string) string {
	if kind == resource.HolderUser {
		if _, ok := a.cfg.State.User(ref); !ok {
			if u, ok := a.cfg.State.UserByEmail(ref); ok {
				return u.ID
			}
		}
	}
	return ref
}

// Receipt returns what became of an order.
func (a *API) Receipt(id string) (*resource.Erasure, error) {
	e, ok := a.cfg.State.Erasure(id)
	if !ok {
		return nil, fmt.Errorf("erasure %q: %w", id, resource.ErrNotFound)
	}
	return e, nil
}

// Receipts lists all orders, the pending ones first.
func (a *API) Receipts() []*resource.Erasure { return a.cfg.State.Erasures() }

// line is one thing that refers to the person.
type line struct {
	Type string `json:"type"` // "record", "key", "membership", "request", "content", "turn", "artifact", "file_part", "audit", "missing_nodes"
	Data any    `json:"data"`
}

// Export writes everything that refers to a person as JSON lines. If a node does not answer
// before the first line it stops; if one stops answering later, the answer is cut off, so that
// nobody takes a part for the whole. With partial=true it goes on, and the last line names the nodes.
func (a *API) Export(w http.ResponseWriter, r *http.Request, kind, id string) error {
	x := &export{a: a, ctx: r.Context(), kind: kind, id: a.idOf(kind, id), partial: r.URL.Query().Get("partial") == "true"}
	page, err := x.rows(nil) // asks before the answer begins
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Content-Disposition", `attachment; filename="`+kind+`.jsonl"`)
	x.out = json.NewEncoder(w)
	x.records()
	if err := errors.Join(x.requests(page), x.turns(), x.artifacts()); err != nil {
		panic(http.ErrAbortHandler) // the answer is not whole, and must not look so
	}
	x.audit()
	if len(x.missing) > 0 {
		x.write("missing_nodes", x.missing)
	}
	return nil
}

// export is one export.
type export struct {
	a        *API
	ctx      context.Context //nolint:containedctx // of the request that the value lives for
	kind, id string
	partial  bool
	out      *json.Encoder
	who      subject
	missing  []string
}

func (x *export) write(kind string, data any) { _ = x.out.Encode(line{kind, data}) } // who does not listen needs no answer

// records writes what the replicated state has.
func (x *export) records() {
	s := x.a.cfg.State
	x.who = subject{kind: x.kind, id: x.id, keys: map[string]bool{}}
	if x.kind == resource.HolderCustomer {
		if c, ok := s.Customer(x.id); ok {
			x.write("record", c)
		}
		return
	}
	if u, ok := s.User(x.id); ok {
		x.write("record", u)
		x.who.email = u.Email
	}
	for _, k := range s.KeysOf(x.id) {
		shown := *k
		shown.Hash, shown.OldHashes, shown.Next, shown.Turns, shown.RotationKey = resource.Hash{}, nil, nil, nil, nil // opens the gateway, and tells nothing of him
		x.write("key", &shown)
		x.who.keys[k.ID] = true
	}
	for _, m := range s.Memberships(x.id) {
		x.write("membership", m)
	}
}

func (x *export) rows(after *requestlog.Cursor) (requestlog.Page, error) {
	q := requestlog.Query{
		Filter: requestlog.Filter{Names: map[string][]string{x.kind: {x.id}}}, Ascending: true, Limit: pageRows, After: after,
	}
	page, missing, err := x.a.cfg.Requests.Rows(x.ctx, q)
	if err == nil && len(missing) > 0 && !x.partial {
		err = &resource.Invalid{Field: "partial", Reason: "is needed for an export without what these nodes have, which gave no answer: " + strings.Join(missing, ", ")}
	}
	for _, m := range missing {
		if !slices.Contains(x.missing, m) {
			x.missing = append(x.missing, m)
		}
	}
	return page, err
}

// requests writes the rows of all nodes, and what was kept of what they said.
func (x *export) requests(page requestlog.Page) (err error) {
	for {
		for i := range page.Rows {
			row := &page.Rows[i]
			x.write("request", row)
			if err := x.content(row); err != nil {
				return err
			}
		}
		if !page.More || len(page.Rows) == 0 {
			return nil
		}
		last := &page.Rows[len(page.Rows)-1]
		if page, err = x.rows(&requestlog.Cursor{Time: last.Time, Number: last.Number, Node: last.Node}); err != nil {
			return err
		}
	}
}

func (x *export) content(row *requestlog.Row) error {
	private := ledger.Flags(row.Flags).Has(ledger.Private) || ledger.Flags(row.Flags).Has(ledger.Adjustment)
	if private {
		return nil
	}
	c, missing, err := x.a.cfg.Requests.Content(x.ctx, row.RequestID, row.KeyID)
	if err != nil || len(missing) > 0 && !x.partial {
		return fmt.Errorf("content of request %s: nodes %v: %w", row.RequestID, missing, err)
	}
	if c != nil {
		x.write("content", map[string]any{
			"request_id": c.RequestID, "time": c.Time, "request": string(c.Request), "response": string(c.Response), "truncated": c.Truncated,
		})
	}
	return nil
}

// turns writes the stored turns of conversations.
func (x *export) turns() error {
	if x.a.cfg.Turns == nil {
		return nil
	}
	return x.a.cfg.Turns.List(x.ctx, x.whose(), func(r *resource.Response, body []byte) error {
		x.write("turn", map[string]any{"record": r, "body": json.RawMessage(body)})
		return nil
	})
}

// whose selects what is the person's.
func (x *export) whose() resource.Owners {
	if x.kind == resource.HolderUser {
		return resource.Owners{UserID: x.id}
	}
	return resource.Owners{CustomerID: x.id}
}

// pieceBytes is how much of a file stands in one line.
const pieceBytes = 1 << 20

// artifacts writes the records of files, batches and things that providers keep, each followed by what
// is in it: pieces in base64, in their order.
func (x *export) artifacts() error {
	if x.a.cfg.Artifacts == nil {
		return nil
	}
	whose := x.whose()
	all, err := x.a.cfg.Artifacts.List(x.ctx, func(a *resource.Artifact) bool { return a.Owners.Match(whose) })
	if err != nil {
		return fmt.Errorf("list artifacts: %w", err)
	}
	for _, r := range all {
		x.write("artifact", r)
		offset := int64(0)
		for _, p := range r.Parts() {
			body, err := x.a.cfg.Artifacts.Body(x.ctx, p.Blob)
			if err != nil {
				return fmt.Errorf("read %s: %w", r.ID, err)
			}
			for piece := range slices.Chunk(body, pieceBytes) {
				x.write("file_part", map[string]any{"id": r.ID, "offset": offset, "base64": piece})
				offset += int64(len(piece))
			}
		}
	}
	return nil
}

// audit writes the entries that name the person, or that he caused.
func (x *export) audit() {
	if x.kind == resource.HolderUser { // keys that he has no more
		x.entries(fsm.AuditQuery{Kind: resource.HolderKey, Action: fsm.KindDeleteKey.String(), Filter: x.who.named}, func(e *resource.AuditEntry) { x.who.keys[e.ID] = true })
	}
	x.entries(fsm.AuditQuery{Filter: x.who.in}, func(e *resource.AuditEntry) { x.write("audit", e) })
}

// entries visits those that the query selects, the oldest first.
func (x *export) entries(q fsm.AuditQuery, visit func(e *resource.AuditEntry)) {
	q.Limit, q.Oldest = pageRows, true
	for {
		p := x.a.cfg.State.AuditPage(q)
		for i := range p.Items {
			visit(&p.Items[i])
		}
		if q.Cursor = p.Next; q.Cursor == "" {
			return
		}
	}
}
