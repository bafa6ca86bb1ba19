package records

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/keyshelf"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/delegate"
)

// ServerFields are the members of a record that only the server writes. A client may send
// them back as it read them.
var ServerFields = []string{
	"id", "owner", "created_at", "created_by", "updated_at", "updated_by",
	"hash", "old_hashes", "hint", "spend", "accounts", "rotate_at", "rotated_at", "next", "turns", "stored_in",
}

// Of is a pointer to R that is a record.
type Of[R any] interface {
	*R
	resource.Record
}

// Noun is one kind of record: what is its own about listing, finding and writing. R is the
// record, P its pointer. A ref is an id or a name.
type Noun[R any, P Of[R]] struct {
	rs      *Records
	kind    string // "key"
	path    string // of the list, if it is not the plural
	prefix  string // of new ids; "" if the client names the id
	foreign bool   // ids are names of the outside world: any text

	all    func(q Query) []P // of a small table
	page   func(q Query) (items []P, next string, total int)
	find   func(ref string) (P, bool) // by id or name
	put    func(next P, read uint64) (fsm.Command, error)
	remove func(id string) fsm.Command

	// The rest may be nil.
	owns    func(who resource.Principal, r P) bool // who may read r as his own
	secrets map[string]func(P) **resource.Sealed   // members given as text
	named   func(P) *map[string]*resource.Sealed   // the member "secrets": secrets by name, given as text
	config  func(P) json.RawMessage                // the member "config", whose secrets the schema of the plugin marks
	hidden  []string                               // members of the view that the record does not have
	carry   func(next, now P)                      // keeps what only the server writes
	check   func(by Caller, now, next P) error
	block   func(id string, blocked bool) fsm.Command
	blocked func(P) *bool
	unset   func(ref string) (P, bool)                      // what a record that nobody has written is like
	near    func(d *delegate.Delegate, q Query) iter.Seq[P] // what q selects of the records that a person can see
	fill    func(doc Document) error                        // says in a document what its silence means
	// begin takes members out of a document that creates a record.
	begin func(by Caller, doc Document) (first[P], error)
	// beside takes members out of a document that say something of other records, and gives the commands
	// about those that belong behind the record's own into the same entry.
	beside func(by Caller, doc Document) (func(next P) ([]fsm.Command, error), error)
}

// first is what a new record has beyond its document.
type first[P any] struct {
	secret string        // for the answer to show
	prior  []fsm.Command // that belong before it into the same entry
	// complete changes the record and gives the commands that belong into the same entry.
	complete func(next P) ([]fsm.Command, error)
}

// Name is the kind's name: "key".
func (n *Noun[R, P]) Name() string { return n.kind }

// Path is where the list is: "keys".
func (n *Noun[R, P]) Path() string { return cmp.Or(n.path, n.kind+"s") }

// Find returns a record for the server's own use, whoever asks.
func (n *Noun[R, P]) Find(ref string) (P, bool) { return n.find(ref) }

// One returns a record that the caller may see.
func (n *Noun[R, P]) One(by Caller, ref string) (P, error) {
	r, ok := n.find(ref)
	ok = ok && by.sees(r, n.owns != nil && n.owns(by.Who, r))
	if !ok {
		return nil, fmt.Errorf("%s %q: %w", n.kind, ref, resource.ErrNotFound)
	}
	return r, nil
}

// Shown is One, or what a record that nobody has written is like.
func (n *Noun[R, P]) Shown(by Caller, ref string) (P, error) {
	r, err := n.One(by, ref)
	if errors.Is(err, resource.ErrNotFound) && n.unset != nil && !by.OwnOnly {
		if r, ok := n.unset(ref); ok {
			return r, nil
		}
	}
	return r, err
}

// Writable returns a record that the API may change.
func (n *Noun[R, P]) Writable(by Caller, ref string) (P, error) {
	r, err := n.One(by, ref)
	if err != nil {
		return nil, err
	}
	if r.Head().Owner == resource.OwnerFile {
		return nil, fmt.Errorf("%s %q belongs to the configuration file: %w", n.kind, ref, resource.ErrOwner)
	}
	return r, nil
}

// List returns a page of the records that the caller may see, the cursor of the next ("" after
// the last), and how many there are on all pages.
func (n *Noun[R, P]) List(by Caller, q Query) (items []P, next string, total int, err error) {
	if by.OwnOnly {
		return paginate(n.Visible(by, q), q)
	}
	if n.page != nil {
		items, next, total = n.page(q)
		return items, next, total, nil
	}
	return paginate(n.all(q), q)
}

// Visible lists what a query selects of the records that the caller may see; its Limit,
// Cursor and Q do not count.
func (n *Noun[R, P]) Visible(by Caller, q Query) []P {
	var all []P
	if n.page == nil {
		all = n.all(q)
	} else {
		for r := range n.candidates(by, q) {
			all = append(all, r)
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(r P) bool { return !by.sees(r, n.owns != nil && n.owns(by.Who, r)) })
}

// every yields what q selects of the records that the caller may see, in q's order.
func (n *Noun[R, P]) every(by Caller, q Query) iter.Seq[P] {
	if !by.OwnOnly {
		return allPages(q, n.page)
	}
	q.Limit, q.Cursor = math.MaxInt, ""
	items, _, _, _ := paginate(n.Visible(by, q), q) // an order that there is not gives nothing
	return slices.Values(items)
}

// candidates narrows a query to what a person can see anything of, so that not every record is
// looked at for every list.
func (n *Noun[R, P]) candidates(by Caller, q Query) iter.Seq[P] {
	q.Q = ""
	if n.near == nil || by.Delegate == nil || by.Delegate.Organization() != "" {
		return allPages(q, n.page)
	}
	return n.near(by.Delegate, q)
}

// Create makes a record of the document.
func (n *Noun[R, P]) Create(ctx context.Context, by Caller, doc Document) (P, Written, error) {
	next, cmds, secret, err := n.prepare(by, doc)
	if err != nil {
		return nil, Written{}, err
	}
	var w Written
	var kept []keyshelf.Item
	if k, ok := any(next).(*resource.Key); ok {
		kept = []keyshelf.Item{{Key: k, Secret: secret}}
	}
	err = n.rs.cfg.Shelf.Commit(ctx, kept, func() (err error) {
		w, err = n.rs.commit(ctx, by, cmds...)
		return err
	})
	if id := next.Head().ID; errors.Is(err, resource.ErrConflict) {
		if _, there := n.find(id); there { // who creates has read nothing that could have changed
			err = fmt.Errorf("%s %q is there already: %w", n.kind, id, resource.ErrExists)
		}
	}
	if err != nil {
		return nil, Written{}, err
	}
	w.Secret = secret
	return n.stored(next), w, nil
}

// prepare makes the record that the document describes, and the commands that create it.
func (n *Noun[R, P]) prepare(by Caller, doc Document) (next P, cmds []fsm.Command, secret string, err error) {
	var f first[P]
	if n.begin != nil {
		if f, err = n.begin(by, doc); err != nil {
			return nil, nil, "", err
		}
	}
	others, err := n.takeOthers(by, doc)
	if err != nil {
		return nil, nil, "", err
	}
	if next, err = n.draft(by, doc, nil); err != nil {
		return nil, nil, "", err
	}
	var more []fsm.Command
	if f.complete != nil {
		if more, err = f.complete(next); err != nil {
			return nil, nil, "", err
		}
	}
	if n.block != nil && *n.blocked(next) {
		more = append(more, n.block(next.Head().ID, true))
	}
	put, err := n.command(by, nil, next)
	if err != nil {
		return nil, nil, "", err
	}
	besides, err := others(next)
	return next, slices.Concat(f.prior, []fsm.Command{put}, more, besides), f.secret, err
}

// takeOthers is beside, or nothing where a kind says nothing of others.
func (n *Noun[R, P]) takeOthers(by Caller, doc Document) (func(next P) ([]fsm.Command, error), error) {
	if n.beside == nil {
		return func(P) ([]fsm.Command, error) { return nil, nil }, nil
	}
	return n.beside(by, doc)
}

// Replace puts the document in the place of the record; version is the one that was read, if
// the document does not say it.
func (n *Noun[R, P]) Replace(ctx context.Context, by Caller, ref string, version uint64, doc Document) (P, Written, error) {
	now, err := n.Writable(by, ref)
	if n.prefix == "" && errors.Is(err, resource.ErrNotFound) {
		if err := doc.Set("id", ref); err != nil { // the path names it: a put is what creates it
			return nil, Written{}, err
		}
		return n.Create(ctx, by, doc)
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
		return nil, Written{}, ErrVersionRequired
	}
	others, err := n.takeOthers(by, doc)
	if err != nil {
		return nil, Written{}, err
	}
	next, err := n.draft(by, doc, now)
	if err != nil {
		return nil, Written{}, err
	}
	if n.block != nil && *n.blocked(next) != *n.blocked(now) {
		return nil, Written{}, fmt.Errorf("%s %q was blocked or unblocked: %w", n.kind, ref, resource.ErrConflict)
	}
	more, err := others(next)
	if err != nil {
		return nil, Written{}, err
	}
	return n.update(ctx, by, now, next, version, more...)
}

// Patch merges a JSON merge patch into the record; version is the one that was read, 0 any.
func (n *Noun[R, P]) Patch(ctx context.Context, by Caller, ref string, version uint64, patch Document) (P, Written, error) {
	now, err := n.Writable(by, ref)
	if errors.Is(err, resource.ErrNotFound) && n.unset != nil {
		if err := patch.Set("id", ref); err != nil { // it had its default: the patch is all that is known
			return nil, Written{}, err
		}
		return n.Create(ctx, by, patch)
	}
	if err != nil {
		return nil, Written{}, err
	}
	if version, err = versionOf(version, patch); err != nil {
		return nil, Written{}, err
	}
	if version == 0 {
		version = now.Head().Version
	}
	others, err := n.takeOthers(by, patch)
	if err != nil {
		return nil, Written{}, err
	}
	doc, err := patched(now, patch)
	if err != nil {
		return nil, Written{}, err
	}
	next, err := n.draft(by, doc, now)
	if err != nil {
		return nil, Written{}, err
	}
	more, err := others(next)
	if err != nil {
		return nil, Written{}, err
	}
	if n.block != nil && *n.blocked(next) != *n.blocked(now) {
		more = append(more, n.block(now.Head().ID, *n.blocked(next)))
	}
	return n.update(ctx, by, now, next, version, more...)
}

// update commits next in the place of now.
func (n *Noun[R, P]) update(ctx context.Context, by Caller, now, next P, version uint64, more ...fsm.Command) (P, Written, error) {
	put, err := n.change(by, now, next, version)
	if err != nil {
		return nil, Written{}, err
	}
	w, err := n.rs.confirmed(ctx, by, append([]fsm.Command{put}, more...)...)
	if err != nil {
		return nil, Written{}, err
	}
	return n.stored(next), w, nil
}

// change makes the command that puts next, if everything allows it, in the place of now; version is the one that was read.
func (n *Noun[R, P]) change(by Caller, now, next P, version uint64) (fsm.Command, error) {
	if version != now.Head().Version {
		return nil, fmt.Errorf("%s %q has version %d, not %d: %w",
			n.kind, now.Head().ID, now.Head().Version, version, resource.ErrConflict)
	}
	return n.command(by, now, next)
}

// TakeOver makes a record the API's that belongs to the configuration file. Nothing else of
// it changes.
func (n *Noun[R, P]) TakeOver(ctx context.Context, by Caller, ref string) (Written, error) {
	now, err := n.One(by, ref)
	if err != nil {
		return Written{}, err
	}
	if now.Head().Owner != resource.OwnerFile {
		return Written{}, fmt.Errorf("%s %q belongs to the API already: %w", n.kind, ref, resource.ErrRefused)
	}
	copied := *now
	next := P(&copied)
	h := next.Head()
	h.Owner, h.UpdatedAt, h.UpdatedBy = resource.OwnerAPI, resource.At(n.rs.cfg.Now()), by.Who.Actor()
	put, err := n.put(next, h.Version)
	if err != nil {
		return Written{}, err
	}
	kind := n.kind
	if kind == "member" {
		kind = "team_member"
	}
	return n.rs.commit(ctx, by, fsm.TakeOver{Kind: kind, ID: h.ID}, put)
}

// Delete deletes records for ever, all of them or none.
func (n *Noun[R, P]) Delete(ctx context.Context, by Caller, refs ...string) (Written, error) {
	cmds, err := n.deletions(by, refs)
	if err != nil {
		return Written{}, err
	}
	return n.rs.confirmed(ctx, by, cmds...)
}

func (n *Noun[R, P]) deletions(by Caller, refs []string) ([]fsm.Command, error) {
	cmds := make([]fsm.Command, 0, len(refs))
	for _, ref := range refs {
		r, err := n.Writable(by, ref)
		if err != nil {
			return nil, err
		}
		cmds = append(cmds, n.remove(r.Head().ID))
	}
	return cmds, nil
}

// SetBlocked blocks or unblocks a record, whoever owns it: in an emergency the
// configuration file is far away. Only keys and teams can be blocked so.
func (n *Noun[R, P]) SetBlocked(ctx context.Context, by Caller, ref string, state client.BlockState) (P, Written, error) {
	r, err := n.One(by, ref)
	if err != nil {
		return nil, Written{}, err
	}
	w, err := n.rs.confirmed(ctx, by, n.block(r.Head().ID, state == client.Blocked))
	if err != nil {
		return nil, Written{}, err
	}
	return n.stored(r), w, nil
}

// secretsOf takes the secrets out of a document.
func (n *Noun[R, P]) secretsOf(doc Document) map[string]json.RawMessage {
	given := map[string]json.RawMessage{}
	for name := range n.secrets {
		if raw, ok := doc[name]; ok && !IsNull(raw) {
			given[name] = raw
		}
		delete(doc, name)
	}
	return given
}

// sealGiven seals the secrets that a document gave into the record; one that it did not give stays.
func (n *Noun[R, P]) sealGiven(given map[string]json.RawMessage, next, now P) error {
	for name, field := range n.secrets {
		var old *resource.Sealed
		if now != nil {
			old = *field(now)
		}
		sealed, err := n.seal(given[name], name, next.Head().ID, old)
		if err != nil {
			return err
		}
		*field(next) = sealed
	}
	return nil
}

// draft makes the record that the document describes; now is nil for a new one. It is
// complete but for check and Validate.
func (n *Noun[R, P]) draft(by Caller, doc Document, now P) (P, error) {
	for _, name := range n.hidden {
		delete(doc, name)
	}
	if n.fill != nil {
		if err := n.fill(doc); err != nil {
			return nil, err
		}
	}
	given := n.secretsOf(doc)
	named, err := n.takeSecrets(doc, now)
	if err != nil {
		return nil, err
	}
	next := P(new(R))
	if err := doc.Decode(next); err != nil {
		return nil, err
	}
	if err := n.stamp(by, next, now); err != nil {
		return nil, err
	}
	if err := n.sealGiven(given, next, now); err != nil {
		return nil, err
	}
	if err := n.sealNamed(named, next, now); err != nil {
		return nil, err
	}
	if now != nil && n.carry != nil {
		n.carry(next, now)
	}
	return next, nil
}

// takeSecrets takes the secrets by name out of the document, and those that stand in the configuration of a plugin
// whose schema marks them.
func (n *Noun[R, P]) takeSecrets(doc Document, now P) (map[string]json.RawMessage, error) {
	named, err := n.takeNamed(doc)
	if err != nil || n.config == nil {
		return named, err
	}
	var stored json.RawMessage
	if now != nil {
		stored = n.config(now)
	}
	return n.rs.takeMarked(n.kind, doc, named, stored)
}

// stamp writes what every record has of the server.
func (n *Noun[R, P]) stamp(by Caller, next, now P) error {
	h := next.Head()
	at, actor := resource.At(n.rs.cfg.Now()), by.Who.Actor()
	if now != nil {
		*h = *now.Head()
		h.UpdatedAt, h.UpdatedBy = at, actor
		return nil
	}
	id := h.ID
	switch {
	case id == "" && n.prefix == "":
		return invalid("id", "a "+n.kind+" has an id")
	case id == "":
		id = resource.NewID(n.prefix)
	case n.prefix == "" || n.foreign: // the state machine says what it cannot be
	case !validID(id):
		return invalid("id", "an id has 1 to 128 letters, digits, dots, dashes and underscores")
	}
	*h = resource.Meta{ID: id, CreatedAt: at, CreatedBy: actor, UpdatedAt: at, UpdatedBy: actor}
	return nil
}

// seal encrypts a secret given as text, or keeps the old one if its fingerprint is given.
func (n *Noun[R, P]) seal(raw json.RawMessage, field, id string, old *resource.Sealed) (*resource.Sealed, error) {
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
	sealed, err := n.rs.cfg.Seal(given.Text, n.kind, id, field)
	if err != nil {
		return nil, fmt.Errorf("seal %s of %s %s: %w", field, n.kind, id, err)
	}
	return sealed, nil
}

// takeNamed takes the secrets by name out of a document.
func (n *Noun[R, P]) takeNamed(doc Document) (named map[string]json.RawMessage, err error) {
	if n.named != nil {
		err = doc.Take("secrets", &named)
	}
	return named, err
}

// sealNamed encrypts the secrets by name, each bound to its own name.
func (n *Noun[R, P]) sealNamed(named map[string]json.RawMessage, next, now P) error {
	for name, raw := range named {
		var old *resource.Sealed
		if now != nil {
			old = (*n.named(now))[name]
		}
		if IsNull(raw) {
			continue
		}
		sealed, err := n.seal(raw, name, next.Head().ID, old)
		if err != nil {
			return Within("secrets", err)
		}
		if sealed == nil {
			continue
		}
		to := n.named(next)
		if *to == nil {
			*to = map[string]*resource.Sealed{}
		}
		(*to)[name] = sealed
	}
	return nil
}

// keeps says whether a record has a stored secret of another, by name.
func keeps(next, now map[string]*resource.Sealed) bool {
	for name, s := range next {
		if s != nil && now[name] == s {
			return true
		}
	}
	return false
}

// command checks next and makes the command that writes it.
func (n *Noun[R, P]) command(by Caller, now, next P) (fsm.Command, error) {
	var read uint64
	if now != nil {
		read = now.Head().Version
	}
	n.rs.referGroups(next)
	if n.check != nil {
		if err := n.check(by, now, next); err != nil {
			return nil, err
		}
	}
	next.Canonicalize()
	if err := next.Validate(); err != nil {
		return nil, err
	}
	if err := n.rs.checkGiven(by, recordOf[R](now), next); err != nil {
		return nil, err
	}
	return n.put(next, read)
}

// recordOf is a record that may be nil.
func recordOf[R any, P Of[R]](now P) resource.Record {
	if now == nil {
		return nil
	}
	return now
}

// stored reads the record as it is now; the write is applied on this node.
func (n *Noun[R, P]) stored(r P) P {
	if now, ok := n.find(r.Head().ID); ok {
		return now
	}
	return r
}

// versionOf takes the version out of the document; one given beside it goes first.
func versionOf(version uint64, doc Document) (uint64, error) {
	var inBody uint64
	if err := doc.Take("version", &inBody); err != nil {
		return 0, err
	}
	if version == 0 {
		return inBody, nil
	}
	return version, nil
}

// patched is the record with the patch merged into it, as a document.
func patched(now resource.Record, patch Document) (Document, error) {
	base, err := documentOf(now)
	if err != nil {
		return nil, err
	}
	if err := refuseServerFields(base, patch); err != nil {
		return nil, err
	}
	return base.merge(patch)
}

// refuseServerFields refuses a patch of what only the server writes.
func refuseServerFields(base, patch Document) error {
	for name, v := range patch {
		if slices.Contains(ServerFields, name) && !bytes.Equal(bytes.TrimSpace(v), bytes.TrimSpace(base[name])) {
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

// refer turns a reference by name into one by id; "" stays.
func refer[P resource.Record](field, ref string, find func(string) (P, bool)) (string, error) {
	if ref == "" {
		return "", nil
	}
	r, ok := find(ref)
	if !ok {
		return "", invalid(field, "there is no "+strings.TrimSuffix(field, "_id")+" with the id or name "+ref)
	}
	return r.Head().ID, nil
}
