package adminapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// serverFields are the members of a record that only the server writes. A client may send
// them back as it read them.
var serverFields = []string{
	"id", "owner", "created_at", "created_by", "updated_at", "updated_by",
	"hash", "old_hashes", "hint", "spend", "accounts",
}

// recordOf is a pointer to R that is a record.
type recordOf[R any] interface {
	*R
	resource.Record
}

// noun is one kind of record: what is its own about listing, finding and writing. The
// methods are the operations that the native and LiteLLM's routes share.
type noun[R any, P recordOf[R]] struct {
	s      *Server
	kind   string // "key"
	prefix string // of new ids; "" if the client names the id

	all    func(q listQuery) []P // of a small table
	page   func(q listQuery) (items []P, next string, total int, err error)
	find   func(ref string) (P, bool) // by id or name
	put    func(next P, read uint64) (fsm.Command, error)
	remove func(id string) fsm.Command

	// The rest may be nil.
	owns    func(who *resource.Principal, r P) bool // who may read r as his own
	secrets map[string]func(P) **resource.Sealed    // members given as text
	hidden  []string                                // members of the view that the record does not have
	carry   func(next, now P)                       // keeps what only the server writes
	check   func(ctx context.Context, now, next P) error
	block   func(id string, blocked bool) fsm.Command
	blocked func(P) *bool
	// begin takes members out of a document that creates a record; what it returns
	// completes the record and gives the commands that belong into the same entry.
	begin func(ctx context.Context, doc document) (func(next P) ([]fsm.Command, error), error)
}

// one returns a record that the caller may see.
func (n *noun[R, P]) one(ctx context.Context, ref string) (P, error) {
	r, ok := n.find(ref)
	if c := callerOf(ctx); ok && c.ownOnly {
		ok = n.owns != nil && n.owns(c.who, r)
	}
	if !ok {
		return nil, fmt.Errorf("%s %q: %w", n.kind, ref, resource.ErrNotFound)
	}
	return r, nil
}

// writable returns a record that the API may change.
func (n *noun[R, P]) writable(ctx context.Context, ref string) (P, error) {
	r, err := n.one(ctx, ref)
	if err != nil {
		return nil, err
	}
	if r.Head().Owner == resource.OwnerFile {
		return nil, fmt.Errorf("%s %q belongs to the configuration file: %w", n.kind, ref, resource.ErrOwner)
	}
	return r, nil
}

func (n *noun[R, P]) list(q listQuery) (items []P, next string, total int, err error) {
	if n.page != nil {
		return n.page(q)
	}
	return paginate(n.all(q), q)
}

// create makes a record of the document.
func (n *noun[R, P]) create(ctx context.Context, doc document) (P, Written, error) {
	var finish func(P) ([]fsm.Command, error)
	if n.begin != nil {
		f, err := n.begin(ctx, doc)
		if err != nil {
			return nil, Written{}, err
		}
		finish = f
	}
	next, err := n.draft(ctx, doc, nil)
	if err != nil {
		return nil, Written{}, err
	}
	var more []fsm.Command
	if finish != nil {
		if more, err = finish(next); err != nil {
			return nil, Written{}, err
		}
	}
	if n.block != nil && *n.blocked(next) {
		more = append(more, n.block(next.Head().ID, true))
	}
	cmd, err := n.command(ctx, nil, next, more)
	if err != nil {
		return nil, Written{}, err
	}
	w, err := n.s.write.do(ctx, cmd)
	return n.stored(next), w, err
}

// replace puts the document in the place of the record.
func (n *noun[R, P]) replace(ctx context.Context, ref string, version uint64, doc document) (P, Written, error) {
	now, err := n.writable(ctx, ref)
	if n.prefix == "" && errors.Is(err, resource.ErrNotFound) {
		if err := doc.set("id", ref); err != nil { // the path names it: a put is what creates it
			return nil, Written{}, err
		}
		return n.create(ctx, doc)
	}
	if err != nil {
		return nil, Written{}, err
	}
	if version, err = versionOf(version, doc); err != nil {
		return nil, Written{}, err
	}
	if version == 0 && n.prefix == "" {
		version = now.Head().Version // one value: there is nothing of others to overwrite
	}
	if version == 0 {
		return nil, Written{}, newProblem(http.StatusPreconditionRequired, "version_required",
			"a replacement names the version that it replaces", "send If-Match or version as you read it, or PATCH")
	}
	next, err := n.draft(ctx, doc, now)
	if err != nil {
		return nil, Written{}, err
	}
	if n.block != nil && *n.blocked(next) != *n.blocked(now) {
		return nil, Written{}, fmt.Errorf("%s %q was blocked or unblocked: %w", n.kind, ref, resource.ErrConflict)
	}
	return n.update(ctx, now, next, version, nil)
}

// patch merges a JSON merge patch into the record.
func (n *noun[R, P]) patch(ctx context.Context, ref string, version uint64, patch document) (P, Written, error) {
	now, err := n.writable(ctx, ref)
	if err != nil {
		return nil, Written{}, err
	}
	if version, err = versionOf(version, patch); err != nil {
		return nil, Written{}, err
	}
	if version == 0 {
		version = now.Head().Version
	}
	base, err := documentOf(now)
	if err != nil {
		return nil, Written{}, err
	}
	if err := refuseServerFields(base, patch); err != nil {
		return nil, Written{}, err
	}
	doc, err := base.merge(patch)
	if err != nil {
		return nil, Written{}, err
	}
	next, err := n.draft(ctx, doc, now)
	if err != nil {
		return nil, Written{}, err
	}
	var more []fsm.Command
	if n.block != nil && *n.blocked(next) != *n.blocked(now) {
		more = append(more, n.block(now.Head().ID, *n.blocked(next)))
	}
	return n.update(ctx, now, next, version, more)
}

// update commits next in the place of now.
func (n *noun[R, P]) update(ctx context.Context, now, next P, version uint64, more []fsm.Command) (P, Written, error) {
	if version != now.Head().Version {
		return nil, Written{}, fmt.Errorf("%s %q has version %d, not %d: %w",
			n.kind, now.Head().ID, now.Head().Version, version, resource.ErrConflict)
	}
	cmd, err := n.command(ctx, now, next, more)
	if err != nil {
		return nil, Written{}, err
	}
	w, err := n.s.write.confirmed(ctx, cmd)
	return n.stored(next), w, err
}

// delete deletes a record for ever.
func (n *noun[R, P]) delete(ctx context.Context, ref string) (Written, error) {
	r, err := n.writable(ctx, ref)
	if err != nil {
		return Written{}, err
	}
	return n.s.write.confirmed(ctx, n.remove(r.Head().ID))
}

// setBlocked blocks or unblocks a record, whoever owns it: in an emergency the
// configuration file is far away.
func (n *noun[R, P]) setBlocked(ctx context.Context, ref string, state client.BlockState) (P, Written, error) {
	r, err := n.one(ctx, ref)
	if err != nil {
		return nil, Written{}, err
	}
	w, err := n.s.write.confirmed(ctx, n.block(r.Head().ID, state == client.Blocked))
	return n.stored(r), w, err
}

// draft makes the record that the document describes; now is nil for a new one. It is
// complete but for check and Validate.
func (n *noun[R, P]) draft(ctx context.Context, doc document, now P) (P, error) {
	for _, name := range n.hidden {
		delete(doc, name)
	}
	given := map[string]json.RawMessage{}
	for name := range n.secrets {
		if raw, ok := doc[name]; ok && !isNull(raw) {
			given[name] = raw
		}
		delete(doc, name)
	}
	next := P(new(R))
	if err := doc.decode(next); err != nil {
		return nil, err
	}
	if err := n.stamp(ctx, next, now); err != nil {
		return nil, err
	}
	for name, field := range n.secrets {
		var old *resource.Sealed
		if now != nil {
			old = *field(now)
		}
		sealed, err := n.seal(given[name], name, next.Head().ID, old)
		if err != nil {
			return nil, err
		}
		*field(next) = sealed
	}
	if now != nil && n.carry != nil {
		n.carry(next, now)
	}
	return next, nil
}

// stamp writes what every record has of the server.
func (n *noun[R, P]) stamp(ctx context.Context, next, now P) error {
	h := next.Head()
	at, by := resource.At(n.s.cfg.Now()), callerOf(ctx).who.Actor()
	if now != nil {
		*h = *now.Head()
		h.UpdatedAt, h.UpdatedBy = at, by
		return nil
	}
	id := h.ID
	switch {
	case id == "" && n.prefix == "":
		return invalid("id", "a "+n.kind+" has an id")
	case id == "":
		id = resource.NewID(n.prefix)
	case !validID(id):
		return invalid("id", "an id has 1 to 128 letters, digits, dots, dashes and underscores")
	}
	*h = resource.Meta{ID: id, CreatedAt: at, CreatedBy: by, UpdatedAt: at, UpdatedBy: by}
	return nil
}

// seal encrypts a secret given as text, or keeps the old one if its fingerprint is given.
func (n *noun[R, P]) seal(raw json.RawMessage, field, id string, old *resource.Sealed) (*resource.Sealed, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return nil, nil
	}
	var given client.Secret
	if err := json.Unmarshal(raw, &given); err != nil {
		return nil, invalid(field, "is neither text nor a fingerprint")
	}
	if raw[0] != '"' {
		if old == nil || given.Fingerprint != old.Fingerprint {
			return nil, invalid(field, "is not the fingerprint of the stored secret; give the secret as text to change it")
		}
		return old, nil
	}
	if given.Text == "" {
		return nil, nil
	}
	sealed, err := n.s.cfg.Seal(given.Text, n.kind, id, field)
	if err != nil {
		return nil, fmt.Errorf("seal %s of %s %s: %w", field, n.kind, id, err)
	}
	return sealed, nil
}

// command checks next and makes the command that writes it, in one entry with more.
func (n *noun[R, P]) command(ctx context.Context, now, next P, more []fsm.Command) (fsm.Command, error) {
	var read uint64
	if now != nil {
		read = now.Head().Version
	}
	if n.check != nil {
		if err := n.check(ctx, now, next); err != nil {
			return nil, err
		}
	}
	next.Canonicalize()
	if err := next.Validate(); err != nil {
		return nil, err
	}
	put, err := n.put(next, read)
	if err != nil || len(more) == 0 {
		return put, err
	}
	return batch(append([]fsm.Command{put}, more...))
}

// stored reads the record as it is now; the write is applied on this node.
func (n *noun[R, P]) stored(r P) P {
	if now, ok := n.find(r.Head().ID); ok {
		return now
	}
	return r
}

// batch makes one command of several.
func batch(cmds []fsm.Command) (fsm.Command, error) {
	b := fsm.Batch{Items: make([]fsm.Item, 0, len(cmds))}
	for _, cmd := range cmds {
		item, err := fsm.ItemOf(cmd)
		if err != nil {
			return nil, fmt.Errorf("encode command: %w", err)
		}
		b.Items = append(b.Items, item)
	}
	return b, nil
}

// versionOf takes the version out of the document; one given beside it goes first.
func versionOf(version uint64, doc document) (uint64, error) {
	var inBody uint64
	if err := doc.take("version", &inBody); err != nil {
		return 0, err
	}
	if version == 0 {
		return inBody, nil
	}
	return version, nil
}

// refuseServerFields refuses a patch of what only the server writes.
func refuseServerFields(base, patch document) error {
	for name, v := range patch {
		if slices.Contains(serverFields, name) && !bytes.Equal(bytes.TrimSpace(v), bytes.TrimSpace(base[name])) {
			return invalid(name, "only the server writes it")
		}
	}
	return nil
}

func validID(id string) bool {
	if id == "" || len(id) > 128 {
		return false
	}
	return strings.IndexFunc(id, func(r rune) bool {
		ok := r == '.' || r == '-' || r == '_' || (r >= '0' && r <= '9') || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z')
		return !ok
	}) < 0
}

// find returns the first record with the id, or else with the name.
func find[P resource.Record](all []P, ref string) (P, bool) {
	var none P
	if ref == "" {
		return none, false
	}
	for _, r := range all {
		if r.Head().ID == ref {
			return r, true
		}
	}
	for _, r := range all {
		if r.Label() == ref {
			return r, true
		}
	}
	return none, false
}

// encoded makes a put command's record.
func encoded[R any](r *R) (fsm.Encoded[R], error) {
	e, err := fsm.EncodedOf(*r)
	if err != nil {
		return e, fmt.Errorf("encode record: %w", err)
	}
	return e, nil
}
