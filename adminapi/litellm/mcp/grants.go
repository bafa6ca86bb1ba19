package mcp

import (
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// grants lists what the caller has allowed at servers, or could.
func (a *api) grants(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	all, err := a.cfg.Gateway.Grants(r.Context(), &by.Who, "")
	if err != nil {
		return err
	}
	return wire.Answer(w, records.Written{}, wire.Rows(all, func(g client.MCPGrant) map[string]any { return grantRow(&g) }))
}

// grant is the same of one server.
func (a *api) grant(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	all, err := a.cfg.Gateway.Grants(r.Context(), &by.Who, r.PathValue("id"))
	if err != nil {
		return err
	}
	if len(all) != 1 {
		return resource.ErrNotFound
	}
	return wire.Answer(w, records.Written{}, grantRow(&all[0]))
}

func (a *api) forget(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	if err := a.cfg.Gateway.Forget(r.Context(), &by.Who, r.PathValue("id")); err != nil {
		return err
	}
	return wire.Answer(w, records.Written{}, map[string]any{"status": "deleted"})
}

func grantRow(g *client.MCPGrant) map[string]any {
	out := map[string]any{
		"server_id": g.ServerID, "server_name": g.Server, "credential_type": "oauth2", "has_credential": g.Allowed, "expires_at": nil, "authorize_url": g.URL,
	}
	if g.ExpiresAt != 0 {
		out["expires_at"] = g.ExpiresAt
	}
	return out
}
