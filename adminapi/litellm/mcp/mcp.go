// Package mcp is LiteLLM's management paths of MCP servers: /v1/mcp/server and what stands
// around it. Callers who are no admins see the servers that they may use, without what they are
// reached with.
package mcp

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/resource"
)

// Gateway asks the servers themselves.
type Gateway interface {
	// Tools lists the tools that somebody may call.
	Tools(ctx context.Context, who *resource.Principal) []client.MCPTool
	// Health asks a server whether it is there.
	Health(ctx context.Context, serverID string) error
	// Grants lists what somebody has allowed the gateway to do for him at servers that ask for OAuth;
	// server is one of them, "" all.
	Grants(ctx context.Context, who *resource.Principal, server string) ([]client.MCPGrant, error)
	// Forget forgets what somebody has allowed at a server.
	Forget(ctx context.Context, who *resource.Principal, server string) error
}

// Config says what the paths work on. No field may be nil.
type Config struct {
	Records *records.Records
	Catalog func() *resource.Catalog
	Gateway Gateway
}

type api struct{ cfg Config }

// Routes lists the paths.
func Routes(cfg Config) []wire.Route {
	a := &api{cfg}
	return []wire.Route{
		{ID: "litellm-mcp-list", Method: http.MethodGet, Pattern: "/v1/mcp/server", Handler: a.list},
		{ID: "litellm-mcp-new", Method: http.MethodPost, Pattern: "/v1/mcp/server", Handler: a.create},
		{ID: "litellm-mcp-update", Method: http.MethodPut, Pattern: "/v1/mcp/server", Handler: a.update},
		{ID: "litellm-mcp-info", Method: http.MethodGet, Pattern: "/v1/mcp/server/{id}", Handler: a.info},
		{ID: "litellm-mcp-delete", Method: http.MethodDelete, Pattern: "/v1/mcp/server/{id}", Handler: a.remove},
		{ID: "litellm-mcp-health", Method: http.MethodGet, Pattern: "/v1/mcp/server/health", Handler: a.health},
		{ID: "litellm-mcp-import", Method: http.MethodPost, Pattern: "/v1/mcp/server/import", Handler: a.imported},
		{ID: "litellm-mcp-tools", Method: http.MethodGet, Pattern: "/v1/mcp/tools", Handler: a.tools},
		{ID: "litellm-mcp-grants", Method: http.MethodGet, Pattern: "/v1/mcp/user-credentials", Handler: a.grants},
		{ID: "litellm-mcp-grant", Method: http.MethodGet, Pattern: "/v1/mcp/server/{id}/oauth-user-credential/status", Handler: a.grant},
		{ID: "litellm-mcp-forget", Method: http.MethodDelete, Pattern: "/v1/mcp/server/{id}/oauth-user-credential", Handler: a.forget},
		{ID: "litellm-mcp-groups", Method: http.MethodGet, Pattern: "/v1/mcp/access_groups", Handler: a.groups},
	}
}

// visible are the servers that the caller may use or read.
func (a *api) visible(by records.Caller) (out []*resource.MCPServer) {
	cat := a.cfg.Catalog()
	for _, s := range cat.Tables().MCPServers {
		t := resource.Tool{Server: s.Name, Others: []string{s.ID}, Groups: s.AccessGroups}
		if s.Alias != "" {
			t.Others = append(t.Others, s.Alias)
		}
		if by.Who.MayRead() || !s.Disabled && by.Who.MayUseServer(cat, &t, s.AllowAllKeys) {
			out = append(out, s)
		}
	}
	return out
}

func (a *api) list(w http.ResponseWriter, _ *http.Request, by records.Caller) error {
	return wire.Answer(w, records.Written{}, wire.Rows(a.visible(by), func(s *resource.MCPServer) map[string]any { return row(s, by.Who.MayRead()) }))
}

func (a *api) info(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	ref := r.PathValue("id")
	for _, s := range a.visible(by) {
		if s.ID == ref || s.Name == ref {
			return wire.Answer(w, records.Written{}, row(s, by.Who.MayRead()))
		}
	}
	return resource.ErrNotFound
}

func (a *api) create(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	doc, err := document(in, true)
	if err != nil {
		return err
	}
	s, wr, err := a.cfg.Records.MCPServers.Create(r.Context(), by, doc)
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, row(s, true))
}

func (a *api) update(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	var ref string
	if err := in.Take("server_id", &ref); err != nil {
		return err
	}
	if ref == "" {
		return wire.Invalid("server_id", "is missing")
	}
	doc, err := document(in, false)
	if err != nil {
		return err
	}
	s, wr, err := a.cfg.Records.MCPServers.Patch(r.Context(), by, ref, 0, doc)
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, row(s, true))
}

func (a *api) remove(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	wr, err := a.cfg.Records.MCPServers.Delete(r.Context(), by, r.PathValue("id"))
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, map[string]any{"status": "deleted"})
}

// imported makes servers of a desktop client's file, one by one; it stops at the first that
// cannot be made.
func (a *api) imported(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(in)
	if err != nil {
		return err
	}
	all, err := config.ParseDesktop(raw)
	if err != nil {
		return wire.Invalid("mcpServers", err.Error())
	}
	var wr records.Written
	made := []map[string]any{}
	for i := range all {
		doc, err := documentOf(&all[i])
		if err != nil {
			return err
		}
		s, written, err := a.cfg.Records.MCPServers.Create(r.Context(), by, doc)
		if err != nil {
			return records.Within("mcpServers."+all[i].Resource.Name, err)
		}
		made, wr = append(made, row(s, true)), written
	}
	return wire.Answer(w, wr, map[string]any{"servers": made})
}

func documentOf(s *config.MCPServer) (records.Document, error) {
	doc, err := s.Document()
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	return records.ParseDocument(b)
}

// health asks the servers, or those that the query names.
func (a *api) health(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	ids := r.URL.Query()["server_ids"]
	out := []map[string]any{}
	for _, s := range a.visible(by) {
		if len(ids) > 0 && !slices.Contains(ids, s.ID) || s.Disabled {
			continue
		}
		status := "healthy"
		if err := a.cfg.Gateway.Health(r.Context(), s.ID); err != nil {
			status = "unhealthy"
		}
		out = append(out, map[string]any{"server_id": s.ID, "server_name": s.Name, "status": status})
	}
	return wire.Answer(w, records.Written{}, out)
}

func (a *api) tools(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	out := []map[string]any{}
	for _, t := range a.cfg.Gateway.Tools(r.Context(), &by.Who) {
		out = append(out, map[string]any{
			"name": t.Name, "description": t.Description, "inputSchema": t.InputSchema, "mcp_info": map[string]any{"server_name": t.Server},
		})
	}
	return wire.Answer(w, records.Written{}, map[string]any{"tools": out})
}

func (a *api) groups(w http.ResponseWriter, _ *http.Request, by records.Caller) error {
	out := []string{}
	for _, s := range a.visible(by) {
		for _, g := range s.AccessGroups {
			if !slices.Contains(out, g) {
				out = append(out, g)
			}
		}
	}
	slices.Sort(out)
	return wire.Answer(w, records.Written{}, map[string]any{"access_groups": out})
}

// row shows a server; whole is for who may read all records. A secret is never shown.
func row(s *resource.MCPServer, whole bool) map[string]any {
	out := map[string]any{
		"server_id": s.ID, "server_name": s.Name, "alias": s.Alias, "description": s.Description, "transport": s.Transport,
		"mcp_access_groups": orEmpty(s.AccessGroups), "allowed_tools": orEmpty(s.AllowedTools), "allow_all_keys": s.AllowAllKeys,
	}
	wire.Stamps(out, &s.Meta)
	if !whole {
		return out
	}
	secrets := map[string]string{}
	for name, v := range s.Secrets {
		secrets[name] = v.String()
	}
	out["url"], out["auth_type"], out["command"], out["args"] = s.URL, s.AuthKind(), s.Command, orEmpty(s.Args)
	out["extra_headers"], out["credentials"], out["disallowed_tools"] = orEmpty(s.ForwardHeaders), secrets, orEmpty(s.DisallowedTools)
	if o := s.OAuth; o != nil {
		out["oauth2_flow"], out["issuer"], out["authorization_url"], out["token_url"], out["registration_url"] = o.FlowOr(), o.Issuer, o.AuthorizationURL, o.TokenURL, o.RegistrationURL
	}
	if s.Spec != "" {
		out["spec_path"] = s.Spec
	}
	out["timeout"] = float64(s.TimeoutMS) / 1000
	out["mcp_info"] = map[string]any{
		"server_name": s.Name, "mcp_server_cost_info": map[string]any{"default_cost_per_query": s.CostPerCall, "tool_name_to_cost_per_query": s.ToolCosts},
	}
	return out
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
