package adminapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/fsm"
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

func (s *Server) keyGenerate(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody(r)
	if err != nil {
		return err
	}
	doc, err := s.keyDoc(in, nil)
	if err != nil {
		return err
	}
	if raw, ok := in["key"]; ok {
		doc["secret"] = raw
	}
	k, wr, err := s.keys.create(r.Context(), doc)
	if err != nil {
		return err
	}
	return s.answer(w, wr, s.generated(r.Context(), k))
}

func (s *Server) keyUpdate(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody(r)
	if err != nil {
		return err
	}
	now, err := s.keyOf(r.Context(), in)
	if err != nil {
		return err
	}
	patch, err := s.keyDoc(in, now)
	if err != nil {
		return err
	}
	k, wr, err := s.keys.patch(r.Context(), now.ID, 0, patch)
	if err != nil {
		return err
	}
	row := s.keyRow(k)
	row["key"] = k.Hash
	return s.answer(w, wr, row)
}

func (s *Server) keyDelete(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody(r)
	if err != nil {
		return err
	}
	var refs, names []string
	if err := in.take("keys", &refs); err != nil {
		return err
	}
	if err := in.take("key_aliases", &names); err != nil {
		return err
	}
	if len(refs)+len(names) == 0 {
		return invalid("keys", "is missing; give keys or key_aliases")
	}
	var cmds []fsm.Command
	for _, ref := range append(refs, names...) {
		k, err := s.keys.writable(r.Context(), s.keyRef(ref))
		if err != nil {
			return err
		}
		cmds = append(cmds, fsm.DeleteKey{ID: k.ID})
	}
	all, err := batch(cmds)
	if err != nil {
		return err
	}
	wr, err := s.write.confirmed(r.Context(), all)
	if err != nil {
		return err
	}
	return s.answer(w, wr, map[string]any{"deleted_keys": append(refs, names...)})
}

func (s *Server) keyBlock(state client.BlockState) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		in, err := readBody(r)
		if err != nil {
			return err
		}
		k, err := s.keyOf(r.Context(), in)
		if err != nil {
			return err
		}
		k, wr, err := s.keys.setBlocked(r.Context(), k.ID, state)
		if err != nil {
			return err
		}
		return s.answer(w, wr, s.keyRow(k))
	}
}

func (s *Server) keyRegenerate(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody(r)
	if err != nil {
		return err
	}
	now, err := s.keyOf(r.Context(), in)
	if err != nil {
		return err
	}
	var req client.Rotate
	if err := in.take("new_key", &req.Secret); err != nil {
		return err
	}
	if err := in.take("grace_period", &req.Grace); err != nil {
		return err
	}
	if err := refuseUnsupported(in, []string{"new_master_key"}); err != nil {
		return err
	}
	patch, err := s.keyDoc(in, now)
	if err != nil {
		return err
	}
	k, wr, err := s.rotate(r.Context(), now.ID, req, func(next *resource.Key) error {
		return mergeInto(next, patch)
	})
	if err != nil {
		return err
	}
	return s.answer(w, wr, s.generated(r.Context(), k))
}

// mergeInto changes the key by a patch of what a client may write.
func mergeInto(next *resource.Key, patch document) error {
	if _, ok := patch["blocked"]; ok {
		return invalid("blocked", "is not possible together with a new secret")
	}
	base, err := documentOf(next)
	if err != nil {
		return err
	}
	if err := refuseServerFields(base, patch); err != nil {
		return err
	}
	doc, err := base.merge(patch)
	if err != nil {
		return err
	}
	var edited resource.Key
	if err := doc.decode(&edited); err != nil {
		return err
	}
	carryKey(&edited, next)
	edited.Meta, edited.Blocked = next.Meta, next.Blocked
	*next = edited
	return nil
}

func (s *Server) keyInfo(w http.ResponseWriter, r *http.Request) error {
	ref := s.keyRef(r.URL.Query().Get("key"))
	if who := callerOf(r.Context()).who; ref == "" && who.Key != nil {
		ref = who.Key.ID
	}
	if ref == "" {
		return invalid("key", "the master key is no virtual key; give ?key=")
	}
	k, err := s.keys.one(r.Context(), ref)
	if err != nil {
		return err
	}
	row := s.keyRow(k)
	delete(row, "token")
	row["status"] = "active"
	switch {
	case k.Blocked:
		row["status"] = "revoked"
	case k.ExpiredAt(resource.At(s.cfg.Now())):
		row["status"] = "expired"
	}
	return s.answer(w, Written{}, map[string]any{"key": k.Hash, "info": row})
}

func (s *Server) keyList(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	var found []*resource.Key
	err := s.everyKey(listQuery{TeamID: q.Get("team_id"), Q: q.Get("search"), Sort: "-created_at"}, func(k *resource.Key) {
		for value, given := range map[string]string{
			k.Name: q.Get("key_alias"), k.Hash.String(): q.Get("key_hash"), "user:" + k.UserID: prefixed("user:", q.Get("user_id")),
		} {
			if given != "" && given != value {
				return
			}
		}
		found = append(found, k)
	})
	if err != nil {
		return err
	}
	page, pages, from, to, err := pageOf(q, "size", 10, len(found))
	if err != nil {
		return err
	}
	keys := make([]any, 0, to-from)
	for _, k := range found[from:to] {
		if q.Get("return_full_object") == "true" {
			keys = append(keys, s.keyRow(k))
		} else {
			keys = append(keys, k.Hash)
		}
	}
	return s.answer(w, Written{}, map[string]any{
		"keys": keys, "total_count": len(found), "current_page": page, "total_pages": pages,
	})
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// keyDoc turns LiteLLM's fields into the document of a key, or, if now is given, into a
// merge patch of it.
func (s *Server) keyDoc(in document, now *resource.Key) (document, error) {
	if err := refuseUnsupported(in, unsupportedKeyFields); err != nil {
		return nil, err
	}
	if err := refuseKeyTypes(in); err != nil {
		return nil, err
	}
	if err := toModels(in); err != nil {
		return nil, err
	}
	out := document{}
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
	return out, s.expiryDoc(in, out)
}

// refuseKeyTypes refuses presets of rights and spend that the key does not have.
func refuseKeyTypes(in document) error {
	var keyType string
	if err := in.take("key_type", &keyType); err != nil {
		return err
	}
	if keyType != "" && keyType != "default" && keyType != "llm_api" {
		return invalid("key_type", "is not supported; give the key a role at /api/v1/keys instead")
	}
	var spend resource.Money
	if err := in.take("spend", &spend); err != nil {
		return err
	}
	if spend != 0 {
		return invalid("spend", "is what the ledger says; it cannot be set")
	}
	return nil
}

// expiryDoc turns a duration from now into the time of expiry; "-1" is never.
func (s *Server) expiryDoc(in, out document) error {
	raw, ok := in["duration"]
	if !ok {
		return nil
	}
	var text string
	if err := in.take("duration", &text); err != nil {
		return err
	}
	if isNull(raw) || text == "-1" {
		out["expires_at"] = json.RawMessage("null")
		return nil
	}
	d, err := parseDuration(text)
	if err != nil || d <= 0 || d > 100*365*24*time.Hour {
		return invalid("duration", fmt.Sprintf("%q is not a duration such as 30s, 15m, 24h, 7d, 1mo, or -1", text))
	}
	return out.set("expires_at", resource.At(s.cfg.Now().Add(d)))
}

// keyOf finds the key that a body names by its secret, hash, id or alias.
func (s *Server) keyOf(ctx context.Context, in document) (*resource.Key, error) {
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
	return s.keys.one(ctx, s.keyRef(ref))
}

// keyRef turns a secret into the id of its key; other references stay as they are.
func (s *Server) keyRef(ref string) string {
	if !strings.HasPrefix(ref, "sk-") {
		return ref
	}
	if k, ok := s.cfg.State.KeyByHash(resource.HashSecret(ref)); ok {
		return k.ID
	}
	return resource.HashSecret(ref).String() // an error must not show the secret
}

// generated is the answer that shows a secret, the only one.
func (s *Server) generated(ctx context.Context, k *resource.Key) map[string]any {
	row := s.keyRow(k)
	row["key"] = callerOf(ctx).secret
	row["token_id"] = k.Hash
	return row
}

// keyRow writes a key as LiteLLM's row.
func (s *Server) keyRow(k *resource.Key) map[string]any {
	row := map[string]any{
		"token": k.Hash, "key_name": k.Hint, "key_alias": orNil(k.Name),
		"spend":   s.cfg.State.Totals("key", k.ID).Cost,
		"expires": k.ExpiresAt, "models": orEmpty(k.Models), "allowed_routes": orEmpty(k.Routes),
		"user_id": orNil(k.UserID), "team_id": orNil(k.TeamID), "budget_id": orNil(k.BudgetID),
		"metadata": orObject(k.Metadata), "tags": orEmpty(k.Tags), "blocked": k.Blocked,
		"created_at": k.CreatedAt, "created_by": k.CreatedBy, "updated_at": k.UpdatedAt, "updated_by": k.UpdatedBy,
		"id": k.ID,
	}
	s.budgetRow(row, "key", k.ID, k.Budgets, k.Limits)
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
