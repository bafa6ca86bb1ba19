package models

import (
	"maps"
	"net/http"
	"slices"

	"github.com/conclave-llm/conclave/adminapi/litellm/fields"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// credentialRefused are fields that a credential has no place for.
var credentialRefused = []string{"model_id"}

func (a *api) credentialNew(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	name, err := fields.Text(in, "credential_name")
	if err != nil {
		return err
	}
	if name == "" {
		return wire.Invalid("credential_name", "is missing")
	}
	if err := fields.Refuse(in, credentialRefused); err != nil {
		return err
	}
	doc, err := credentialDoc(in)
	if err != nil {
		return err
	}
	if _, named := doc["display_name"]; len(doc) == 0 || named && len(doc) == 1 {
		return wire.Invalid("credential_values", "is missing")
	}
	if err := doc.Set("name", name); err != nil {
		return err
	}
	_, wr, err := a.cfg.Records.Credentials.Create(r.Context(), by, doc)
	return credentialDone(w, wr, "created", err)
}

// credentialDone is LiteLLM's answer to a write.
func credentialDone(w http.ResponseWriter, wr records.Written, what string, err error) error {
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, map[string]any{"success": true, "message": "Credential " + what + " successfully"})
}

// credentialDoc turns LiteLLM's fields into the document of a credential, or a merge patch. Of
// credential_info only the provider is kept.
func credentialDoc(in records.Document) (records.Document, error) {
	values, info, out := records.Document{}, records.Document{}, records.Document{}
	fields.Copy(in, out, map[string]string{"display_name": "display_name"})
	if err := in.Take("credential_values", &values); err != nil {
		return nil, err
	}
	if err := in.Take("credential_info", &info); err != nil {
		return nil, err
	}
	for _, from := range []records.Document{values, info} {
		if v, ok := from["custom_llm_provider"]; ok && !records.IsNull(v) {
			out["provider"] = v
		}
		delete(from, "custom_llm_provider")
	}
	for _, name := range []string{"api_key", "api_base"} {
		if v, ok := values[name]; ok {
			out[name] = v
		}
		delete(values, name)
	}
	if err := moveAccount(values, out); err != nil {
		return nil, records.Within("credential_values", err)
	}
	if err := fields.Refuse(values, slices.Sorted(maps.Keys(values))); err != nil {
		return nil, records.Within("credential_values", err)
	}
	return out, nil
}

func (a *api) credentialList(w http.ResponseWriter, _ *http.Request, _ records.Caller) error {
	return wire.Answer(w, records.Written{}, map[string]any{
		"success": true, "credentials": wire.Rows(a.cfg.State.Catalog().Tables().Credentials, credentialRow),
	})
}

func (a *api) credentialByName(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	c, err := a.cfg.Records.Credentials.One(by, r.PathValue("name"))
	if err != nil {
		return err
	}
	return wire.Answer(w, records.Written{}, credentialRow(c))
}

// credentialByModel shows what a deployment reaches its provider with.
func (a *api) credentialByModel(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	d, err := a.cfg.Records.Deployments.One(by, r.PathValue("id"))
	if err != nil {
		return err
	}
	if d.CredentialID != "" {
		c, err := a.cfg.Records.Credentials.One(by, d.CredentialID)
		if err != nil {
			return err
		}
		return wire.Answer(w, records.Written{}, credentialRow(c))
	}
	return wire.Answer(w, records.Written{}, credentialRow(&resource.Credential{
		Name: d.ID + "-credential", Provider: d.Provider, APIKey: d.APIKey, APIBase: d.APIBase, Options: d.Options, Secrets: d.Secrets,
	}))
}

func (a *api) credentialUpdate(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	name, err := fields.Text(in, "credential_name")
	if err != nil {
		return err
	}
	if name != "" && name != r.PathValue("name") {
		return wire.Invalid("credential_name", "cannot be changed")
	}
	if err := fields.Refuse(in, credentialRefused); err != nil {
		return err
	}
	if err := dropValues(in); err != nil {
		return err
	}
	doc, err := credentialDoc(in)
	if err != nil {
		return err
	}
	_, wr, err := a.cfg.Records.Credentials.Patch(r.Context(), by, r.PathValue("name"), 0, doc)
	return credentialDone(w, wr, "updated", err)
}

// dropValues turns LiteLLM's list of values to delete into values of null.
func dropValues(in records.Document) error {
	var names []string
	if err := in.Take("credential_values_to_delete", &names); err != nil || len(names) == 0 {
		return err
	}
	values := records.Document{}
	if err := in.Take("credential_values", &values); err != nil {
		return err
	}
	for _, name := range names {
		if _, ok := values[name]; ok {
			return wire.Invalid("credential_values_to_delete", "and credential_values have both "+name)
		}
		values[name] = []byte("null")
	}
	return in.Set("credential_values", values)
}

func (a *api) credentialDelete(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	wr, err := a.cfg.Records.Credentials.Delete(r.Context(), by, r.PathValue("name"))
	return credentialDone(w, wr, "deleted", err)
}

// credentialRow shows a credential; of the secret only that it is there.
func credentialRow(c *resource.Credential) map[string]any {
	values, info := map[string]any{}, map[string]any{}
	if c.APIKey != nil {
		values["api_key"] = "sealed:" + c.APIKey.Fingerprint
	}
	if c.APIBase != "" {
		values["api_base"] = c.APIBase
	}
	showAccount(values, c.Options, c.Secrets)
	if c.Provider != "" {
		info["custom_llm_provider"] = c.Provider
	}
	row := map[string]any{"credential_name": c.Name, "display_name": nil, "credential_info": info, "credential_values": values}
	if c.DisplayName != "" {
		row["display_name"] = c.DisplayName
	}
	return row
}
