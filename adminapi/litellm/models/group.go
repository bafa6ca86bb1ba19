package models

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// modelPages lists deployments page by page.
func (a *api) modelPages(w http.ResponseWriter, r *http.Request, _ records.Caller) error {
	q := r.URL.Query()
	rows := []map[string]any{}
	cat := a.cfg.State.Catalog()
	for _, m := range cat.Tables().Models {
		if !wire.Selects(q.Get("model"), m.Name) || !strings.Contains(strings.ToLower(m.Name), strings.ToLower(q.Get("search"))) {
			continue
		}
		for _, d := range cat.Deployments(m.ID) {
			if wire.Selects(q.Get("modelId"), d.ID) {
				rows = append(rows, a.modelRow(m, d))
			}
		}
	}
	page, pages, from, to, err := wire.PageOf(q, "size", 50, len(rows))
	if err != nil {
		return err
	}
	return wire.Answer(w, records.Written{}, map[string]any{
		"data": rows[from:to], "total_count": len(rows), "current_page": page, "total_pages": pages, "size": to - from,
	})
}

// modelGroups shows each name that clients ask for, with what its deployments have together.
func (a *api) modelGroups(w http.ResponseWriter, r *http.Request, _ records.Caller) error {
	only := r.URL.Query().Get("model_group")
	groups := []map[string]any{}
	cat := a.cfg.State.Catalog()
	for _, m := range cat.Tables().Models {
		if all := cat.Deployments(m.ID); len(all) > 0 && wire.Selects(only, m.Name) {
			groups = append(groups, groupRow(m, all))
		}
	}
	return wire.Answer(w, records.Written{}, map[string]any{"data": groups})
}

// groupFlags are what a model may be able to do, by LiteLLM's names in model_info.
var groupFlags = []string{
	"supports_function_calling", "supports_parallel_function_calling", "supports_reasoning",
	"supports_url_context", "supports_vision", "supports_web_search",
}

// groupRow adds deployments up: limits are summed, sizes are the largest, abilities are those of
// any, prices those of the first that has some.
func groupRow(m *resource.Model, all []*resource.Deployment) map[string]any {
	row := map[string]any{
		"model_group": m.Name, "mode": "chat", "providers": []string{}, "tpm": nil, "rpm": nil,
		"max_input_tokens": nil, "max_output_tokens": nil, "input_cost_per_token": nil, "output_cost_per_token": nil,
	}
	for _, flag := range groupFlags {
		row[flag] = false
	}
	providers := []string{}
	for _, d := range all {
		if !slices.Contains(providers, d.Provider) {
			providers = append(providers, d.Provider)
		}
		addLimit(row, "tpm", d.Limits.TPM)
		addLimit(row, "rpm", d.Limits.RPM)
		if p := d.Price; p != nil && row["input_cost_per_token"] == nil {
			row["input_cost_per_token"], row["output_cost_per_token"] = perToken(p.Input), perToken(p.Output)
		}
		var info map[string]any
		if len(d.Metadata) > 0 {
			_ = json.Unmarshal(d.Metadata, &info) // Validate saw to it that it is an object
		}
		addInfo(row, info)
	}
	row["providers"] = providers
	return row
}

func addLimit(row map[string]any, name string, v *int64) {
	if v == nil {
		return
	}
	sum, _ := row[name].(int64)
	row[name] = sum + *v
}

func addInfo(row, info map[string]any) {
	if mode, ok := info["mode"].(string); ok && mode != "" {
		row["mode"] = mode
	}
	for _, name := range []string{"max_input_tokens", "max_output_tokens"} {
		v, ok := info[name].(float64)
		now, _ := row[name].(float64)
		if ok && v > now {
			row[name] = v
		}
	}
	for _, flag := range groupFlags {
		if info[flag] == true {
			row[flag] = true
		}
	}
}
