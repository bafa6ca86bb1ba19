package records

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/auth"
	"github.com/conclave-llm/conclave/resource"
)

// ownToServer are the members of a key that no plugin sees: who holds the key, and its secrets.
var ownToServer = []string{"hash", "old_hashes", "hint", "next", "turns", "rotation_key", "version"}

// unfilled are the members that no plugin gives another value, beside those that only the server writes.
var unfilled = append([]string{"blocked", "version", "rotation_key"}, ServerFields...)

// holdersOf are the members that say whose a key is. A plugin gives them to a new key alone.
var holdersOf = []string{"user_id", "team_id", "project_id"}

// hookKey asks the auth plugins that want it about a key that is being made or changed. They fill it in
// before anything is decided about it: what they give, the maker must be allowed to give.
func (rs *Records) hookKey(by Caller, now, next *resource.Key) error {
	all := rs.cfg.State.Catalog().Tables().Auths
	if len(all) == 0 || rs.cfg.KeyHook == nil {
		return nil
	}
	d := auth.KeyDraft{Hook: auth.HookGenerateKey, Actor: by.Who.Actor()}
	if now != nil {
		d.Hook = auth.HookUpdateKey
		before, err := shownKey(now)
		if err != nil {
			return err
		}
		if d.Before, err = json.Marshal(before); err != nil {
			return fmt.Errorf("write key: %w", err)
		}
	}
	for _, a := range all {
		if err := rs.hookOne(a, d, next); err != nil {
			return err
		}
	}
	return nil
}

// hookOne asks one of them.
func (rs *Records) hookOne(a *resource.Auth, d auth.KeyDraft, next *resource.Key) error {
	doc, err := shownKey(next)
	if err != nil {
		return err
	}
	if d.Key, err = json.Marshal(doc); err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(a.DeadlineMS)*time.Millisecond)
	defer cancel()
	v, err := rs.cfg.KeyHook(ctx, a, &d)
	if err == nil && v.Refused != "" {
		return fmt.Errorf("the auth plugin %s refuses the key: %s: %w", a.Name, v.Refused, resource.ErrForbidden)
	}
	if err == nil {
		err = fillKey(next, doc, d.Hook, v.Fill)
	}
	if err != nil && a.OnError != resource.OnErrorPass {
		return &llm.Error{
			Kind: llm.Unavailable, Code: "auth_plugin_unavailable", RetryAfter: time.Second, Err: err,
			Message: fmt.Sprintf("The auth plugin %s, which must agree to keys, cannot be asked now, or its answer makes no sense.", a.Name),
		}
	}
	return nil
}

// shownKey is the key without what nobody may see.
func shownKey(k *resource.Key) (Document, error) {
	b, err := json.Marshal(k)
	if err != nil {
		return nil, fmt.Errorf("write key: %w", err)
	}
	doc, err := ParseDocument(b)
	if err != nil {
		return nil, err
	}
	for _, name := range ownToServer {
		delete(doc, name)
	}
	return doc, nil
}

// fillKey gives fields of the key other values, as far as the hook may; with an error the key is as it was.
func fillKey(k *resource.Key, doc Document, hook auth.Hook, fill []byte) error {
	if len(fill) == 0 {
		return nil
	}
	given, err := ParseDocument(fill)
	if err != nil {
		return fmt.Errorf("what the plugin fills in: %w", err)
	}
	for _, name := range unfilled {
		if _, ok := given[name]; ok {
			return fmt.Errorf("the plugin fills in %s, which is not its to give", name)
		}
	}
	if hook == auth.HookUpdateKey {
		for _, name := range holdersOf {
			if v, ok := given[name]; ok && !bytes.Equal(v, doc[name]) {
				return fmt.Errorf("the plugin fills in %s: whose a key is that there is already is not its to change", name)
			}
		}
	}
	maps.Copy(doc, given)
	filled := &resource.Key{}
	if err := doc.Decode(filled); err != nil {
		return fmt.Errorf("what the plugin fills in: %w", err)
	}
	filled.Meta, filled.Hash, filled.OldHashes, filled.Hint, filled.Blocked = k.Meta, k.Hash, k.OldHashes, k.Hint, k.Blocked
	filled.RotationKey, filled.RotateAt, filled.RotatedAt, filled.Next, filled.Turns = k.RotationKey, k.RotateAt, k.RotatedAt, k.Next, k.Turns
	if err := filled.Validate(); err != nil {
		if in, ok := errors.AsType[*resource.Invalid](err); ok {
			return fmt.Errorf("what the plugin fills in: %w", in)
		}
		return err
	}
	*k = *filled
	return nil
}
