package litellm

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// unsupportedKeyFields bound or widen what a key may do in LiteLLM, and do nothing here.
var unsupportedKeyFields = []string{
	"access_group_ids", "agent_id", "aliases", "allowed_cache_controls", "allowed_passthrough_routes",
	"allowed_vector_store_indexes", "auto_rotate", "budget_fallbacks", "config", "denied_passthrough_routes",
	"disable_global_guardrails", "end_user_budget_id", "enforced_params", "guardrails", "mcp_rpm_limit",
	"model_max_budget", "model_rpm_limit", "model_tpm_limit", "object_permission", "organization_id",
	"permissions", "policies", "project_id", "rotation_interval", "router_settings", "soft_budget",
	"tag_rpm_limit", "temp_budget_expiry", "temp_budget_increase", "throttle_on_budget_exceeded", "tpd_limit",
}

// renamedKeyFields are fields that only have another name.
var renamedKeyFields = map[string]string{
	"key_alias": "name", "user_id": "user_id", "team_id": "team_id", "budget_id": "budget_id",
	"metadata": "metadata", "tags": "tags", "blocked": "blocked", "allowed_routes": "routes", "models": "models",
}

func (a *API) keyGenerate(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := readBody(r)
	if err != nil {
		return err
	}
	doc, err := a.keyDoc(in, nil)
	if err != nil {
		return err
	}
	if raw, ok := in["key"]; ok {
		doc["secret"] = raw
	}
	k, wr, err := a.cfg.Records.Keys.Create(r.Context(), by, doc)
	if err != nil {
		return err
	}
	return answer(w, wr, a.generated(k, wr.Secret))
}

func (a *API) keyUpdate(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := readBody(r)
	if err != nil {
		return err
	}
	k, wr, err := a.updateKey(r, by, in)
	if err != nil {
		return err
	}
	row := a.keyRow(k)
	row["key"] = k.Hash
	return answer(w, wr, row)
}

func (a *API) keyDelete(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := readBody(r)
	if err != nil {
		return err
	}
	var refs, names []string
	if err := in.Take("keys", &refs); err != nil {
		return err
	}
	if err := in.Take("key_aliases", &names); err != nil {
		return err
	}
	if len(refs)+len(names) == 0 {
		return invalid("keys", "is missing; give keys or key_aliases")
	}
	ids := make([]string, 0, len(refs)+len(names))
	for _, ref := range append(refs, names...) {
		ids = append(ids, a.keyRef(ref))
	}
	wr, err := a.cfg.Records.Keys.Delete(r.Context(), by, ids...)
	if err != nil {
		return err
	}
	return answer(w, wr, map[string]any{"deleted_keys": append(refs, names...)})
}

func (a *API) keyBlock(state client.BlockState) Handler {
	return func(w http.ResponseWriter, r *http.Request, by records.Caller) error {
		in, err := readBody(r)
		if err != nil {
			return err
		}
		k, err := a.keyOf(by, in)
		if err != nil {
			return err
		}
		k, wr, err := a.cfg.Records.Keys.SetBlocked(r.Context(), by, k.ID, state)
		if err != nil {
			return err
		}
		return answer(w, wr, a.keyRow(k))
	}
}

func (a *API) keyRegenerate(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := readBody(r)
	if err != nil {
		return err
	}
	now, err := a.keyOf(by, in)
	if err != nil {
		return err
	}
	var req client.Rotate
	if err := in.Take("new_key", &req.Secret); err != nil {
		return err
	}
	if err := in.Take("grace_period", &req.Grace); err != nil {
		return err
	}
	if err := refuseUnsupported(in, []string{"new_master_key"}); err != nil {
		return err
	}
	patch, err := a.keyDoc(in, now)
	if err != nil {
		return err
	}
	k, wr, err := a.cfg.Records.Rotate(r.Context(), by, now.ID, req, patch)
	if err != nil {
		return err
	}
	return answer(w, wr, a.generated(k, wr.Secret))
}

func (a *API) keyInfo(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	ref := a.keyRef(r.URL.Query().Get("key"))
	if ref == "" && by.Who.Key != nil {
		ref = by.Who.Key.ID
	}
	if ref == "" {
		return invalid("key", "the master key is no virtual key; give ?key=")
	}
	k, err := a.cfg.Records.Keys.One(by, ref)
	if err != nil {
		return err
	}
	row := a.keyRow(k)
	delete(row, "token")
	row["status"] = "active"
	switch {
	case k.Blocked:
		row["status"] = "revoked"
	case k.ExpiredAt(resource.At(a.cfg.Now())):
		row["status"] = "expired"
	}
	return answer(w, records.Written{}, map[string]any{"key": k.Hash, "info": row})
}

func (a *API) keyList(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	q := r.URL.Query()
	var found []*resource.Key
	for k := range a.cfg.Records.AllKeys(records.Query{TeamID: q.Get("team_id"), Q: q.Get("search"), Sort: "-created_at"}) {
		if isOr(q.Get("key_alias"), k.Name) && isOr(q.Get("key_hash"), k.Hash.String()) && isOr(q.Get("user_id"), k.UserID) {
			found = append(found, k)
		}
	}
	page, pages, from, to, err := pageOf(q, "size", 10, len(found))
	if err != nil {
		return err
	}
	keys := make([]any, 0, to-from)
	for _, k := range found[from:to] {
		if q.Get("return_full_object") == "true" {
			keys = append(keys, a.keyRow(k))
		} else {
			keys = append(keys, k.Hash)
		}
	}
	return answer(w, records.Written{}, map[string]any{
		"keys": keys, "total_count": len(found), "current_page": page, "total_pages": pages,
	})
}

// isOr says whether the value is what was asked for, if anything was.
func isOr(asked, value string) bool { return asked == "" || asked == value }

// keyDoc turns LiteLLM's fields into the document of a key, or, if now is given, into a
// merge patch of it.
func (a *API) keyDoc(in records.Document, now *resource.Key) (records.Document, error) {
	if err := refuseUnsupported(in, unsupportedKeyFields); err != nil {
		return nil, err
	}
	if err := refuseKeyTypes(in); err != nil {
		return nil, err
	}
	if err := toModels(in); err != nil {
		return nil, err
	}
	out := records.Document{}
	for theirs, ours := range renamedKeyFields {
		if v, ok := in[theirs]; ok {
			out[ours] = v
		}
	}
	var terms []resource.Terms
	if now != nil {
		terms = now.Budgets
		delete(out, "name") // on an update key_alias may be what the key is found by
		if raw, ok := in["key_alias"]; ok && in["key"] != nil {
			out["name"] = raw
		}
	}
	if err := limitsDoc(in, out, terms); err != nil {
		return nil, err
	}
	return out, a.expiryDoc(in, out)
}

// refuseKeyTypes refuses presets of rights and spend that the key does not have.
func refuseKeyTypes(in records.Document) error {
	var keyType string
	if err := in.Take("key_type", &keyType); err != nil {
		return err
	}
	if keyType != "" && keyType != "default" && keyType != "llm_api" {
		return invalid("key_type", "is not supported; give the key a role at /api/v1/keys instead")
	}
	var spend resource.Money
	if err := in.Take("spend", &spend); err != nil {
		return err
	}
	if spend != 0 {
		return invalid("spend", "is what the ledger says; it cannot be set")
	}
	return nil
}

// expiryDoc turns a duration from now into the time of expiry; "-1" is never.
func (a *API) expiryDoc(in, out records.Document) error {
	raw, ok := in["duration"]
	if !ok {
		return nil
	}
	var text string
	if err := in.Take("duration", &text); err != nil {
		return err
	}
	if records.IsNull(raw) || text == "-1" {
		out["expires_at"] = json.RawMessage("null")
		return nil
	}
	d, err := records.ParseDuration(text)
	if err != nil || d <= 0 || d > 100*365*24*time.Hour {
		return invalid("duration", fmt.Sprintf("%q is not a duration such as 30s, 15m, 24h, 7d, 1mo, or -1", text))
	}
	return out.Set("expires_at", resource.At(a.cfg.Now().Add(d)))
}

// keyOf finds the key that a body names by its secret, hash, id or alias.
func (a *API) keyOf(by records.Caller, in records.Document) (*resource.Key, error) {
	var ref string
	name := "key"
	if in[name] == nil {
		name = "key_alias"
	}
	if raw, ok := in[name]; ok {
		if err := json.Unmarshal(raw, &ref); err != nil {
			return nil, invalid(name, "is not a string")
		}
	}
	if ref == "" {
		return nil, invalid("key", "is missing")
	}
	return a.cfg.Records.Keys.One(by, a.keyRef(ref))
}

// keyRef turns a secret into the id of its key; other references stay as they are.
func (a *API) keyRef(ref string) string {
	if !strings.HasPrefix(ref, "sk-") {
		return ref
	}
	if k, ok := a.cfg.State.KeyByHash(resource.HashSecret(ref)); ok {
		return k.ID
	}
	return resource.HashSecret(ref).String() // an error must not show the secret
}

// generated is the answer that shows a secret, the only one.
func (a *API) generated(k *resource.Key, secret string) map[string]any {
	row := a.keyRow(k)
	row["key"] = secret
	row["token_id"] = k.Hash
	return row
}

// keyRow writes a key as LiteLLM's row.
func (a *API) keyRow(k *resource.Key) map[string]any {
	row := map[string]any{
		"token": k.Hash, "key_name": k.Hint, "key_alias": orNil(k.Name),
		"spend":   a.cfg.State.Totals("key", k.ID).Cost,
		"expires": k.ExpiresAt, "models": orEmpty(k.Models), "allowed_routes": orEmpty(k.Routes),
		"user_id": orNil(k.UserID), "team_id": orNil(k.TeamID), "budget_id": orNil(k.BudgetID),
		"metadata": orObject(k.Metadata), "tags": orEmpty(k.Tags), "blocked": k.Blocked,
		"created_at": k.CreatedAt, "created_by": k.CreatedBy, "updated_at": k.UpdatedAt, "updated_by": k.UpdatedBy,
		"id": k.ID,
	}
	a.budgetRow(row, "key", k.ID, k.Budgets, k.Limits)
	return row
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func orObject(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("{}")
	}
	return raw
}
