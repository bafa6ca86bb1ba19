package litellm

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/litellm/fields"
	"github.com/conclave-llm/conclave/adminapi/litellm/logging"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// unsupportedKeyFields bound or widen what a key may do in LiteLLM, and do nothing here.
var unsupportedKeyFields = []string{"config"}

// renamedKeyFields are fields of keys that only have another name.
var renamedKeyFields = map[string]string{
	"key_alias": "name", "user_id": "user_id", "team_id": "team_id", "project_id": "project_id",
}

func (a *API) keyGenerate(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	return a.generate(w, r, by, in)
}

func (a *API) generate(w http.ResponseWriter, r *http.Request, by records.Caller, in records.Document) error {
	doc, err := a.keyDoc(in, nil)
	if err != nil {
		return err
	}
	if raw, ok := in["key"]; ok {
		doc["secret"] = raw
	}
	undo, err := logging.Take(r.Context(), a.cfg.Records, by, doc)
	if err != nil {
		return err
	}
	k, wr, err := a.cfg.Records.Keys.Create(r.Context(), by, doc)
	if err != nil {
		undo()
		return fields.Renamed(err)
	}
	return wire.Answer(w, wr, a.generated(k, wr.Secret))
}

// serviceAccount makes a key of a team that belongs to no user.
func (a *API) serviceAccount(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	team, err := fields.Text(in, "team_id")
	if err != nil {
		return err
	}
	if team == "" {
		return wire.Invalid("team_id", "is missing; a service account belongs to a team")
	}
	if err := in.Set("user_id", ""); err != nil { // no user, not even the caller
		return err
	}
	return a.generate(w, r, by, in)
}

func (a *API) keyUpdate(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	k, wr, err := a.updateKey(r, by, in)
	if err != nil {
		return fields.Renamed(err)
	}
	row := a.keyRow(k)
	row["key"] = k.Hash
	return wire.Answer(w, wr, row)
}

func (a *API) keyDelete(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
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
		return wire.Invalid("keys", "is missing; give keys or key_aliases")
	}
	ids := make([]string, 0, len(refs)+len(names))
	for _, ref := range append(refs, names...) {
		ids = append(ids, a.keyRef(ref))
	}
	wr, err := a.cfg.Records.Keys.Delete(r.Context(), by, ids...)
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, map[string]any{"deleted_keys": append(refs, names...)})
}

func (a *API) keyBlock(state client.BlockState) wire.Handler {
	return func(w http.ResponseWriter, r *http.Request, by records.Caller) error {
		in, err := wire.ReadBody(r)
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
		return wire.Answer(w, wr, a.keyRow(k))
	}
}

func (a *API) keyRegenerate(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	if ref := r.PathValue("key"); ref != "" {
		if err := in.Set("key", ref); err != nil {
			return err
		}
	}
	req, err := fields.Regenerate(in, r.Header)
	if err != nil {
		return err
	}
	now, err := a.keyOf(by, in)
	if errors.Is(err, resource.ErrNotFound) {
		now, err = a.turnedKey(by, in, req.IdempotencyKey, err)
	}
	if err != nil {
		return err
	}
	patch, err := a.keyDoc(in, now)
	if err != nil {
		return err
	}
	k, wr, err := a.cfg.Records.Rotate(r.Context(), by, now.ID, req, patch)
	if err != nil {
		return fields.Renamed(err)
	}
	return wire.Answer(w, wr, a.generated(k, wr.Secret))
}

func (a *API) keyInfo(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	ref := a.keyRef(r.URL.Query().Get("key"))
	if ref == "" && by.Who.Key != nil {
		ref = by.Who.Key.ID
	}
	if ref == "" {
		return wire.Invalid("key", "the master key is no virtual key; give ?key=")
	}
	k, err := a.cfg.Records.Keys.One(by, ref)
	if err != nil {
		return err
	}
	return wire.Answer(w, records.Written{}, map[string]any{"key": k.Hash, "info": a.infoRow(k)})
}

// infoRow is a key's row without its hash, and with its status.
func (a *API) infoRow(k *resource.Key) map[string]any {
	row := a.keyRow(k)
	delete(row, "token")
	row["status"] = "active"
	switch {
	case k.Blocked:
		row["status"] = "revoked"
	case k.ExpiredAt(resource.At(a.cfg.Now())):
		row["status"] = "expired"
	}
	return row
}

// keyInfos shows several keys.
func (a *API) keyInfos(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	refs, err := fields.Refs(in, "keys")
	if err != nil {
		return err
	}
	hashes, infos := []resource.Hash{}, []map[string]any{}
	for _, ref := range refs {
		k, err := a.cfg.Records.Keys.One(by, a.keyRef(ref))
		if err != nil {
			return err
		}
		hashes, infos = append(hashes, k.Hash), append(infos, a.infoRow(k))
	}
	return wire.Answer(w, records.Written{}, map[string]any{"key": hashes, "info": infos})
}

// keyAliases lists the names of keys.
func (a *API) keyAliases(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	q := r.URL.Query()
	names := []string{}
	for k := range a.cfg.Records.KeysFor(by, records.Query{TeamID: q.Get("team_id"), Q: q.Get("search"), Sort: "name"}) {
		if k.Name != "" {
			names = append(names, k.Name)
		}
	}
	page, err := wire.PageOf(q, "size", 50)
	if err != nil {
		return err
	}
	from, to := page.Of(len(names))
	return wire.Answer(w, records.Written{}, map[string]any{
		"aliases": names[from:to], "total_count": len(names), "current_page": page.Number, "total_pages": page.Pages(len(names)), "size": page.Size,
	})
}

// keyDoc turns LiteLLM's fields into the document of a key, or, if now is given, into a
// merge patch of it.
func (a *API) keyDoc(in records.Document, now *resource.Key) (records.Document, error) {
	if err := fields.Refuse(in, unsupportedKeyFields); err != nil {
		return nil, err
	}
	if err := refuseSpend(in); err != nil {
		return nil, err
	}
	if now != nil {
		if err := logging.Refuse(in); err != nil {
			return nil, err
		}
	}
	own, err := fields.KeyDoc(in, now, a.cfg.Now())
	if err != nil {
		return nil, err
	}
	if err := a.sameOrganization(in, now); err != nil {
		return nil, err
	}
	var policy *resource.Policy
	if now != nil {
		policy = &now.Policy
	}
	out, err := fields.PolicyDoc(in, policy)
	if err != nil {
		return nil, err
	}
	maps.Copy(out, own)
	fields.Copy(in, out, renamedKeyFields)
	if now != nil {
		delete(out, "name") // on an update key_alias may be what the key is found by
		if raw, ok := in["key_alias"]; ok && in["key"] != nil {
			out["name"] = raw
		}
	}
	if err := a.expiryDoc(in, out); err != nil {
		return nil, err
	}
	return out, fields.OursOfKey(in, out, renamedKeyFields)
}

// sameOrganization refuses an organization that is not that of the key's team: a key has none
// of its own.
func (a *API) sameOrganization(in records.Document, now *resource.Key) error {
	id, err := fields.Text(in, "organization_id")
	if err != nil || id == "" {
		return err
	}
	ref, err := fields.Text(in, "team_id")
	if err != nil {
		return err
	}
	if ref == "" && now != nil {
		ref = now.TeamID
	}
	t, ok := a.cfg.Records.Teams.Find(ref)
	if !ok || t.OrganizationID != id {
		return wire.Invalid("organization_id", "is not the organization of the key's team")
	}
	return nil
}

// refuseSpend refuses spend that the key does not have.
func refuseSpend(in records.Document) error {
	var spend resource.Money
	if err := in.Take("spend", &spend); err != nil {
		return err
	}
	if spend != 0 {
		return wire.Invalid("spend", "is what the ledger says; it cannot be set")
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
		return wire.Invalid("duration", fmt.Sprintf("%q is not a duration such as 30s, 15m, 24h, 7d, 1mo, or -1", text))
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
			return nil, wire.Invalid(name, "is not a string")
		}
	}
	if ref == "" {
		return nil, wire.Invalid("key", "is missing")
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
		"token": k.Hash, "key_name": k.Hint, "key_alias": orNil(k.Name), "expires": k.ExpiresAt,
		"allowed_routes": orEmpty(k.Routes), "aliases": orMap(k.Aliases), "blocked": k.Blocked, "id": k.ID,
		"user_id": orNil(k.UserID), "team_id": orNil(k.TeamID), "project_id": orNil(k.ProjectID), "organization_id": nil, "end_user_budget_id": orNil(k.CustomerBudget),
	}
	if t, ok := a.cfg.State.Catalog().Team(k.TeamID); ok {
		row["organization_id"] = orNil(t.OrganizationID)
	}
	wire.Stamps(row, &k.Meta)
	a.policyRow(row, resource.HolderKey, k.ID, &k.Policy)
	fields.KeyRow(row, k)
	return row
}

func orMap(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
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
