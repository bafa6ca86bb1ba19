package litellm

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// maxBulkUpdate bounds the keys of one call: each is an entry of its own.
const maxBulkUpdate = 500

// updatedKey and failedKey are the rows of LiteLLM's answer to /key/bulk_update.
type (
	updatedKey struct {
		Key  string         `json:"key"`
		Info map[string]any `json:"key_info"`
	}
	failedKey struct {
		Key    string `json:"key"`
		Info   any    `json:"key_info"`
		Reason string `json:"failed_reason"`
	}
)

// keyBulkUpdate updates keys one by one, as LiteLLM does: what is wrong with one keeps no other
// from its change.
func (a *API) keyBulkUpdate(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	var items []records.Document
	if err := in.Take("keys", &items); err != nil {
		return err
	}
	if len(items) == 0 || len(items) > maxBulkUpdate {
		return wire.Invalid("keys", fmt.Sprintf("has %d items; a call takes 1 to %d", len(items), maxBulkUpdate))
	}
	return a.updateKeys(w, r, by, items)
}

// teamKeyBulkUpdate gives the same change to keys of one team, those that are named or all.
func (a *API) teamKeyBulkUpdate(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	t, err := a.teams().named(by, in)
	if err != nil {
		return err
	}
	var refs []string
	var every bool
	change := records.Document{}
	for name, v := range map[string]any{"key_ids": &refs, "all_keys_in_team": &every, "update_fields": &change} {
		if err := in.Take(name, v); err != nil {
			return err
		}
	}
	if len(change) == 0 {
		return wire.Invalid("update_fields", "is missing")
	}
	if every == (len(refs) > 0) {
		return wire.Invalid("key_ids", "give either key_ids or all_keys_in_team")
	}
	for k := range a.cfg.Records.KeysFor(by, records.Query{TeamID: t.ID}) {
		if every {
			refs = append(refs, k.ID)
		}
	}
	if len(refs) > maxBulkUpdate {
		return wire.Invalid("key_ids", fmt.Sprintf("are %d keys; a call takes %d at most", len(refs), maxBulkUpdate))
	}
	items := make([]records.Document, 0, len(refs))
	for _, ref := range refs {
		if k, err := a.cfg.Records.Keys.One(by, a.keyRef(ref)); err == nil && k.TeamID != t.ID {
			return wire.Invalid("key_ids", k.ID+" is no key of the team")
		}
		item := maps.Clone(change)
		delete(item, "key_alias")
		if err := item.Set("key", ref); err != nil {
			return err
		}
		items = append(items, item)
	}
	return a.updateKeys(w, r, by, items)
}

// updateKeys updates keys one by one.
func (a *API) updateKeys(w http.ResponseWriter, r *http.Request, by records.Caller, items []records.Document) error {
	total, updated, failed := len(items), []updatedKey{}, []failedKey{}
	var last records.Written
	for _, item := range items {
		name := shownRef(item["key"])
		k, wr, err := a.updateKey(r, by, item)
		if err != nil {
			failed = append(failed, failedKey{Key: name, Reason: err.Error()})
			continue
		}
		last = wr
		row := a.keyRow(k)
		delete(row, "token")
		updated = append(updated, updatedKey{Key: name, Info: row})
	}
	return wire.Answer(w, last, map[string]any{"total_requested": total, "successful_updates": updated, "failed_updates": failed})
}

// shownRef is what a body calls a key, without a secret in it.
func shownRef(raw json.RawMessage) string {
	var ref string
	if err := json.Unmarshal(raw, &ref); err != nil {
		return ""
	}
	if len(ref) > 3 && ref[:3] == "sk-" {
		return resource.HashSecret(ref).String()
	}
	return ref
}

// updateKey changes the key that the document names.
func (a *API) updateKey(r *http.Request, by records.Caller, in records.Document) (*resource.Key, records.Written, error) {
	now, err := a.keyOf(by, in)
	if err != nil {
		return nil, records.Written{}, err
	}
	patch, err := a.keyDoc(in, now)
	if err != nil {
		return nil, records.Written{}, err
	}
	return a.cfg.Records.Keys.Patch(r.Context(), by, now.ID, 0, patch)
}
