package adminapi

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// maxGrace bounds how long a rotated secret may stay valid.
const maxGrace = 90 * 24 * time.Hour

// maxOldHashes bounds how many rotated secrets of one key may be in their grace.
const maxOldHashes = 8

func (s *Server) keyNoun() *noun[resource.Key, *resource.Key] {
	return &noun[resource.Key, *resource.Key]{
		s: s, kind: "key", prefix: "key",
		page:    s.keyPage,
		find:    s.findKey,
		put:     s.putKey,
		remove:  func(id string) fsm.Command { return fsm.DeleteKey{ID: id} },
		owns:    func(who *resource.Principal, k *resource.Key) bool { return who.Key != nil && who.Key.ID == k.ID },
		hidden:  []string{"spend", "accounts"},
		carry:   carryKey,
		check:   s.checkKey,
		begin:   s.beginKey,
		block:   func(id string, blocked bool) fsm.Command { return fsm.BlockKey{ID: id, Blocked: blocked} },
		blocked: func(k *resource.Key) *bool { return &k.Blocked },
	}
}

func (s *Server) registerKeyActions() {
	for _, state := range []client.BlockState{client.Blocked, client.Unblocked} {
		register(s, string(state)+"-key", http.MethodPost, "/keys/{id}/"+string(state), string(state)+" a key at once",
			func(ctx context.Context, in *RefInput) (*doneOutput, error) {
				_, w, err := s.keys.setBlocked(ctx, in.Ref, state)
				return s.done(w, err)
			})
	}
	register(s, "rotate-key", http.MethodPost, "/keys/{id}/rotate", "Give a key a new secret",
		func(ctx context.Context, in *rotateInput) (*recordOutput[client.Key], error) {
			k, w, err := s.rotate(ctx, in.Ref, in.Body, nil)
			if err != nil {
				return nil, s.problem(err)
			}
			return &recordOutput[client.Key]{Written: w, Body: s.keyView(ctx, k, alone)}, nil
		})
}

type rotateInput struct {
	RefInput
	Body client.Rotate
}

func (s *Server) keyPage(q listQuery) (items []*resource.Key, next string, total int, err error) {
	team := q.TeamID
	if t, ok := s.findTeam(team); ok {
		team = t.ID
	}
	items, next, total = s.cfg.State.Keys(fsm.ListQuery{Limit: q.Limit, Cursor: q.Cursor, Q: q.Q, TeamID: team, Sort: q.Sort})
	return items, next, total, nil
}

// findKey finds a key by id, name, or the hash of its secret.
func (s *Server) findKey(ref string) (*resource.Key, bool) {
	if k, ok := s.cfg.State.Key(ref); ok {
		return k, true
	}
	if k, ok := s.cfg.State.KeyByName(ref); ok {
		return k, true
	}
	var h resource.Hash
	if err := h.UnmarshalText([]byte(ref)); err != nil {
		return nil, false
	}
	return s.cfg.State.KeyByHash(h)
}

// beginKey takes the secret out of the document, or makes one, for the answer to show.
func (s *Server) beginKey(ctx context.Context, doc document) (func(*resource.Key) ([]fsm.Command, error), error) {
	secret, err := takeSecret(doc)
	if err != nil {
		return nil, err
	}
	return func(next *resource.Key) ([]fsm.Command, error) {
		next.Hash, next.Hint, next.OldHashes = resource.HashSecret(secret), resource.HintOf(secret), nil
		callerOf(ctx).secret = secret
		return nil, nil
	}, nil
}

func takeSecret(doc document) (string, error) {
	var secret string
	if err := doc.take("secret", &secret); err != nil {
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
	next.Hash, next.OldHashes, next.Hint = now.Hash, now.OldHashes, now.Hint
}

func (s *Server) checkKey(ctx context.Context, now, next *resource.Key) error {
	var err error
	if next.TeamID, err = refer("team_id", next.TeamID, s.findTeam); err != nil {
		return err
	}
	if next.BudgetID, err = refer("budget_id", next.BudgetID, s.findBudget); err != nil {
		return err
	}
	return mayGrant(callerOf(ctx).who, now, next)
}

func (s *Server) putKey(next *resource.Key, read uint64) (fsm.Command, error) {
	windows, err := s.windows("key", next.ID, next.Budgets, next.BudgetID)
	if err != nil {
		return nil, err
	}
	e, err := encoded(next)
	return fsm.PutKey{Key: e, Read: read, Windows: windows}, err
}

// windows are the current windows of a holder's budgets, inline and shared.
func (s *Server) windows(kind, id string, inline []resource.Terms, budgetID string) ([]fsm.OpenWindow, error) {
	all, ok := s.cfg.State.Catalog().Terms(inline, budgetID)
	if !ok {
		return nil, invalid("budget_id", "there is no such budget")
	}
	return openWindows(kind, id, all, s.cfg.Now())
}

// openWindows computes the window of each of the terms at the time; Apply never reads the
// time zone database.
func openWindows(kind, id string, all []resource.Terms, now time.Time) ([]fsm.OpenWindow, error) {
	var open []fsm.OpenWindow
	for i := range all {
		t := &all[i]
		account := resource.Account(kind, id, t.Name)
		if slices.ContainsFunc(open, func(w fsm.OpenWindow) bool { return w.Account == account }) {
			return nil, invalid("budget_id", "the shared budget's terms have the name "+t.Name+" of inline ones")
		}
		w, err := t.Window(now)
		if err != nil {
			return nil, invalid("budgets", err.Error())
		}
		open = append(open, fsm.OpenWindow{Account: account, Window: w, Limit: t.USD, Overdraft: t.Overdraft})
	}
	return open, nil
}

// rotate gives a key a new secret; the old one stays valid for the grace. edit, if it is
// not nil, changes more of the key in the same entry.
func (s *Server) rotate(ctx context.Context, ref string, r client.Rotate, edit func(next *resource.Key) error) (*resource.Key, Written, error) {
	now, err := s.keys.one(ctx, ref)
	if err != nil {
		return nil, Written{}, err
	}
	grace, err := parseGrace(r.Grace)
	if err != nil {
		return nil, Written{}, err
	}
	secret := r.Secret
	if secret == "" {
		secret = resource.NewSecret()
	} else if err := resource.CheckSecret(secret); err != nil {
		return nil, Written{}, err
	}
	next := *now
	at := resource.At(s.cfg.Now())
	next.OldHashes = slices.DeleteFunc(slices.Clone(now.OldHashes), func(o resource.OldHash) bool {
		return grace == 0 || o.Until <= at
	})
	if grace > 0 {
		next.OldHashes = append(next.OldHashes, resource.OldHash{Hash: now.Hash, Until: at + resource.Time(grace)})
	}
	if len(next.OldHashes) > maxOldHashes {
		return nil, Written{}, invalid("grace", "too many old secrets of this key are still valid; rotate without a grace to end them")
	}
	next.Hash, next.Hint = resource.HashSecret(secret), resource.HintOf(secret)
	next.UpdatedAt, next.UpdatedBy = at, callerOf(ctx).who.Actor()
	if edit != nil {
		if err := edit(&next); err != nil {
			return nil, Written{}, err
		}
	}
	if err := mayGrant(callerOf(ctx).who, nil, &next); err != nil { // who learns a secret gets all that the key has
		return nil, Written{}, err
	}
	k, w, err := s.keys.update(ctx, now, &next, now.Version, nil)
	callerOf(ctx).secret = secret
	return k, w, err
}

func parseGrace(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := parseDuration(text)
	if err != nil || d < 0 || d > maxGrace {
		return 0, invalid("grace", "is not a duration up to 90d such as 24h")
	}
	return d, nil
}

func (s *Server) keyView(ctx context.Context, k *resource.Key, d detail) client.Key {
	v := client.Key{Key: *k, Spend: s.cfg.State.Totals("key", k.ID).Cost}
	if d == alone {
		v.Accounts = s.accounts("key/" + k.ID)
		v.Secret = callerOf(ctx).secret
	}
	return v
}

// accounts shows the budget windows of a holder.
func (s *Server) accounts(holder string) []client.Account {
	var out []client.Account
	now := resource.At(s.cfg.Now())
	for _, a := range s.cfg.State.Accounts(holder) {
		if !a.Window.Contains(now) {
			continue
		}
		out = append(out, client.Account{
			Budget:   string(a.ID[len(holder)+1:]),
			StartsAt: a.Window.Start, ResetsAt: a.Window.End,
			Limit: a.Limit, Settled: a.Settled, Presumed: a.Presumed, Granted: a.Granted,
		})
	}
	return out
}

// refer turns a reference by name into one by id; "" stays.
func refer[P resource.Record](field, ref string, find func(string) (P, bool)) (string, error) {
	if ref == "" {
		return "", nil
	}
	r, ok := find(ref)
	if !ok {
		return "", invalid(field, "there is no "+field[:len(field)-len("_id")]+" with the id or name "+ref)
	}
	return r.Head().ID, nil
}
