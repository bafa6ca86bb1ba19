package litellm

import (
	"encoding/json"
	"fmt"
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
