package records

import (
	"iter"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/delegate"
)

func (rs *Records) keyNoun() *Noun[resource.Key, *resource.Key] {
	return &Noun[resource.Key, *resource.Key]{
		rs: rs, kind: "key", prefix: "key",
		page:    rs.keyPage,
		near:    rs.nearKeys,
		find:    rs.findKey,
		put:     rs.putKey,
		remove:  func(id string) fsm.Command { return fsm.DeleteKey{ID: id} },
		owns:    func(who resource.Principal, k *resource.Key) bool { return who.Key != nil && who.Key.ID == k.ID },
		hidden:  []string{"spend", "accounts", "next"},
		secrets: map[string]func(*resource.Key) **resource.Sealed{"rotation_key": func(k *resource.Key) **resource.Sealed { return &k.RotationKey }},
		carry:   carryKey,
		check:   rs.checkKey,
		begin:   rs.beginKey,
		block:   func(id string, blocked bool) fsm.Command { return fsm.BlockKey{ID: id, Blocked: blocked} },
		blocked: func(k *resource.Key) *bool { return &k.Blocked },
	}
}

func (rs *Records) keyPage(q Query) (items []*resource.Key, next string, total int) {
	return rs.cfg.State.Keys(rs.listQuery(q))
}

// listQuery turns a query into that of the records which are not in the catalog.
func (rs *Records) listQuery(q Query) fsm.ListQuery {
	out := fsm.ListQuery{Limit: q.Limit, Cursor: q.Cursor, Offset: q.Offset, Q: q.Q, TeamID: idIn(q.TeamID, rs.findTeam), GroupID: idIn(q.AccessGroupID, rs.findAccessGroup), Sort: q.Sort, Where: map[string]string{}}
	for field, want := range map[string]string{
		"user_id": idIn(q.UserID, rs.findUser), "project_id": idIn(q.ProjectID, rs.findProject),
		"organization_id": idIn(q.OrganizationID, rs.findOrganization), "role": q.Role, "created_by": q.CreatedBy,
	} {
		if want != "" {
			out.Where[field] = want
		}
	}
	switch q.Status {
	case "blocked":
		out.Where["blocked"] = "true"
	case "unblocked":
		out.Where["blocked"] = "false"
	case "expired":
		out.Expired = resource.At(rs.cfg.Now())
	}
	return out
}

// nearKeys are the keys of a person and those of his teams.
func (rs *Records) nearKeys(d *delegate.Delegate, q Query) iter.Seq[*resource.Key] {
	teams := d.Teams(false)
	if len(teams) > 3 { // each query is one pass over all keys
		return allPages(q, rs.keyPage)
	}
	mine := q
	mine.UserID = d.User().ID
	parts := []Query{mine}
	if q.UserID != "" && idIn(q.UserID, rs.findUser) != mine.UserID {
		parts = nil
	}
	for _, team := range teams {
		of := q
		if of.TeamID = team; q.TeamID == "" || idIn(q.TeamID, rs.findTeam) == team {
			parts = append(parts, of)
		}
	}
	return func(yield func(*resource.Key) bool) {
		seen := map[string]bool{}
		for _, part := range parts {
			for k := range allPages(part, rs.keyPage) {
				if !seen[k.ID] && !yield(k) {
					return
				}
				seen[k.ID] = true
			}
		}
	}
}

// findKey finds a key by id, name, or the hash of its secret.
func (rs *Records) findKey(ref string) (*resource.Key, bool) {
	if k, ok := rs.cfg.State.Key(ref); ok {
		return k, true
	}
	if k, ok := rs.cfg.State.KeyByName(ref); ok {
		return k, true
	}
	var h resource.Hash
	if err := h.UnmarshalText([]byte(ref)); err != nil {
		return nil, false
	}
	return rs.cfg.State.KeyByHash(h)
}

// beginKey takes the secret out of the document, or makes one, for the answer to show.
func (rs *Records) beginKey(by Caller, doc Document) (first[*resource.Key], error) {
	secret, err := takeSecret(doc)
	if err != nil {
		return first[*resource.Key]{}, err
	}
	_, named := doc["user_id"]
	_, typed := doc["type"]
	return first[*resource.Key]{secret: secret, complete: func(next *resource.Key) ([]fsm.Command, error) {
		rs.fillFor(by, next, named)
		if by.Delegate != nil && !typed && next.Type == resource.TypeAny {
			next.Type = by.Who.Key.Type
		}
		next.Hash, next.Hint, next.OldHashes = resource.HashSecret(secret), resource.HintOf(secret), nil
		set, at := rs.cfg.State.Catalog().Settings(), resource.At(rs.cfg.Now())
		set.KeyDefaults.Fill(next, at)
		if by.Who.Key != nil {
			set.KeyCeilings.Fill(next, at)
		}
		return nil, nil
	}}, nil
}

// fillFor gives a key that a person makes what it does not say and he has: it is his own unless
// the document names a user, or says that there is none.
func (rs *Records) fillFor(by Caller, next *resource.Key, named bool) {
	at := resource.At(rs.cfg.Now())
	if by.Delegate != nil {
		if !named {
			next.UserID = by.Delegate.User().ID
		}
		if u, ok := rs.findUser(next.UserID); ok {
			next.UserID = u.ID
		}
		by.Delegate.Fill(next, at)
	}
	if t, ok := rs.findTeam(next.TeamID); ok && next.UserID != "" {
		t.MemberDefaults.FillKey(next, at)
	}
}

func takeSecret(doc Document) (string, error) {
	var secret string
	if err := doc.Take("secret", &secret); err != nil {
		return "", err
	}
	if secret == "" {
		return resource.NewSecret(), nil
	}
	return secret, resource.CheckSecret(secret)
}

// carryKey keeps what an edit cannot change. Whether the key is blocked is no part of it:
// replace and patch look at that themselves.
func carryKey(next, now *resource.Key) {
	next.Hash, next.OldHashes, next.Hint, next.StoredIn = now.Hash, now.OldHashes, now.Hint, now.StoredIn
	next.RotateAt, next.RotatedAt, next.Next, next.Turns = now.RotateAt, now.RotatedAt, now.Next, now.Turns
}

func (rs *Records) checkKey(by Caller, now, next *resource.Key) error {
	err := rs.hookKey(by, now, next)
	if err != nil {
		return err
	}
	if now == nil {
		rs.cfg.Shelf.Assign(next) // by the name that it has now
	}
	if next.CustomerBudget, err = refer("customer_budget", next.CustomerBudget, rs.findBudget); err != nil {
		return err
	}
	if next.TeamID, err = refer("team_id", next.TeamID, rs.findTeam); err != nil {
		return err
	}
	if next.ProjectID, err = refer("project_id", next.ProjectID, rs.findProject); err != nil {
		return err
	}
	if p, ok := rs.findProject(next.ProjectID); ok && next.TeamID == "" {
		next.TeamID = p.TeamID
	}
	if u, ok := rs.findUser(next.UserID); ok {
		next.UserID = u.ID
	}
	if err := rs.checkAccess(by, now, next); err != nil {
		return err
	}
	Reschedule(now, next, resource.At(rs.cfg.Now()))
	return rs.cfg.MayGrant(by, now, next)
}

func (rs *Records) putKey(next *resource.Key, read uint64) (fsm.Command, error) {
	shared, err := rs.sharedBudget(next)
	if err != nil {
		return nil, err
	}
	return PutKey(next, read, shared, rs.cfg.Now())
}

// PutKey makes the command that writes a key; read is the version that was read, 0 for
// none, and shared the budget that its budget_id names, nil for none.
func PutKey(next *resource.Key, read uint64, shared *resource.Budget, now time.Time) (fsm.Command, error) {
	windows, err := windowsOf(next, shared, now)
	if err != nil {
		return nil, err
	}
	e, err := encoded(next)
	return fsm.PutKey{Key: e, Read: read, Windows: windows}, err
}

// edited is a copy of the key with the patch merged into what a client may write.
func edited(now *resource.Key, patch Document) (*resource.Key, error) {
	next := *now
	if patch == nil {
		return &next, nil
	}
	if _, ok := patch["blocked"]; ok {
		return nil, invalid("blocked", "is not possible together with a new secret")
	}
	if _, ok := patch["rotation_key"]; ok {
		return nil, invalid("rotation_key", "is not possible together with a new secret")
	}
	doc, err := patched(now, patch)
	if err != nil {
		return nil, err
	}
	delete(doc, "rotation_key")
	delete(doc, "next")
	next = resource.Key{}
	if err := doc.Decode(&next); err != nil {
		return nil, err
	}
	carryKey(&next, now)
	next.Meta, next.Blocked, next.RotationKey = now.Meta, now.Blocked, now.RotationKey
	return &next, nil
}
