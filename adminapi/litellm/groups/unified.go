package groups

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/litellm/fields"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// unifiedRoutes lists the paths of unified access groups, which have two names.
func (a *api) unifiedRoutes() (routes []wire.Route) {
	for _, name := range []string{"access", "unified-access"} {
		id, path := "litellm-v1-"+name+"-group", "/v1/"+strings.ReplaceAll(name, "-", "_")+"_group"
		routes = append(
			routes,
			wire.Route{ID: id + "-new", Method: http.MethodPost, Pattern: path, Handler: a.createUnified},
			wire.Route{ID: id + "-list", Method: http.MethodGet, Pattern: path, Handler: a.listUnified},
			wire.Route{ID: id + "-info", Method: http.MethodGet, Pattern: path + "/{id}", Handler: a.showUnified},
			wire.Route{ID: id + "-update", Method: http.MethodPut, Pattern: path + "/{id}", Handler: a.updateUnified},
			wire.Route{ID: id + "-delete", Method: http.MethodDelete, Pattern: path + "/{id}", Handler: a.deleteUnified},
		)
	}
	return routes
}

// unifiedFields are fields of unified groups that only have another name.
var unifiedFields = map[string]string{
	"access_group_name": "name", "description": "description", "access_model_names": "models", "access_mcp_server_ids": "mcp_servers",
	"mcp_tool_permissions": "mcp_tool_permissions", "assigned_team_ids": "assigned_team_ids", "assigned_key_ids": "assigned_key_ids",
}

// unifiedDoc turns LiteLLM's fields into those of a document, or, if now is given, of a merge patch of it.
func unifiedDoc(in records.Document, now *resource.AccessGroup) (records.Document, error) {
	if err := fields.Refuse(in, []string{"access_agent_ids", "access_skill_names"}); err != nil {
		return nil, err
	}
	out := records.Document{}
	fields.Copy(in, out, unifiedFields)
	if raw, ok := out["mcp_tool_permissions"]; ok && now != nil && !records.IsNull(raw) { // it is replaced as a whole
		var next map[string]json.RawMessage
		if err := in.Take("mcp_tool_permissions", &next); err != nil {
			return nil, err
		}
		for server := range now.MCPTools {
			if _, ok := next[server]; !ok {
				next[server] = json.RawMessage("null")
			}
		}
		return out, out.Set("mcp_tool_permissions", next)
	}
	return out, nil
}

// renamed gives an error about a group's field the name that LiteLLM's clients know it by.
func renamed(err error) error {
	e, ok := errors.AsType[*resource.Invalid](err)
	if !ok {
		return err
	}
	head := strings.IndexAny(e.Field+".", ".[")
	for theirs, ours := range unifiedFields {
		if e.Field[:head] == ours {
			return wire.Invalid(theirs+e.Field[head:], e.Reason)
		}
	}
	return err
}

func (a *api) createUnified(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	doc, err := unifiedDoc(in, nil)
	if err != nil {
		return err
	}
	g, wr, err := a.cfg.Records.AccessGroups.Create(r.Context(), by, doc)
	if err != nil {
		return renamed(err)
	}
	return wire.AnswerWith(w, http.StatusCreated, wr, a.unifiedRow(g))
}

func (a *api) updateUnified(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	now, err := a.cfg.Records.AccessGroups.One(by, r.PathValue("id"))
	if err != nil {
		return err
	}
	patch, err := unifiedDoc(in, now)
	if err != nil {
		return err
	}
	g, wr, err := a.cfg.Records.AccessGroups.Patch(r.Context(), by, now.ID, now.Version, patch)
	if err != nil {
		return renamed(err)
	}
	return wire.Answer(w, wr, a.unifiedRow(g))
}

// deleteUnified refuses to delete a group that a team or a key has: its assignments are taken back first.
func (a *api) deleteUnified(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	wr, err := a.cfg.Records.AccessGroups.Delete(r.Context(), by, r.PathValue("id"))
	if err != nil {
		return err
	}
	return wire.AnswerWith(w, http.StatusNoContent, wr, nil)
}

func (a *api) listUnified(w http.ResponseWriter, _ *http.Request, _ records.Caller) error {
	return wire.Answer(w, records.Written{}, wire.Rows(a.cfg.Catalog().Tables().AccessGroups, a.unifiedRow))
}

func (a *api) showUnified(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	g, err := a.cfg.Records.AccessGroups.One(by, r.PathValue("id"))
	if err != nil {
		return err
	}
	return wire.Answer(w, records.Written{}, a.unifiedRow(g))
}

// unifiedRow writes a group as LiteLLM's fields. Keys are called by their hashes, as LiteLLM has them.
func (a *api) unifiedRow(g *resource.AccessGroup) map[string]any {
	teams, keys := a.cfg.Records.Grouped(g.ID)
	hashes := make([]string, 0, len(keys))
	for _, k := range keys {
		hashes = append(hashes, k.Hash.String())
	}
	row := map[string]any{
		"access_group_id": g.ID, "access_group_name": g.Name, "description": nil,
		"access_model_names": orEmpty(g.Models), "access_mcp_server_ids": orEmpty(g.MCPServers), "mcp_tool_permissions": g.MCPTools,
		"access_agent_ids": []string{}, "access_skill_names": []string{},
		"assigned_team_ids": orEmpty(teams), "assigned_key_ids": hashes,
	}
	if g.Description != "" {
		row["description"] = g.Description
	}
	wire.Stamps(row, &g.Meta)
	return row
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
