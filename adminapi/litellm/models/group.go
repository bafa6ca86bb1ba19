package models

import (
	"net/http"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// modelPages lists deployments page by page.
func (a *api) modelPages(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	q := r.URL.Query()
	rows := []map[string]any{}
	cat := a.cfg.State.Catalog()
	for _, m := range a.seen(cat, by) {
		if !wire.Selects(q.Get("model"), m.Name) || !strings.Contains(strings.ToLower(m.Name), strings.ToLower(q.Get("search"))) {
			continue
		}
		for _, d := range cat.Deployments(m.ID) {
			if wire.Selects(q.Get("modelId"), d.ID) {
				rows = append(rows, a.modelRow(m, d, by))
			}
		}
	}
	page, err := wire.PageOf(q, "size", 50)
	if err != nil {
		return err
	}
	from, to := page.Of(len(rows))
	return wire.Answer(w, records.Written{}, map[string]any{
		"data": rows[from:to], "total_count": len(rows), "current_page": page.Number, "total_pages": page.Pages(len(rows)), "size": page.Size,
	})
}

// modelGroups shows each name that clients ask for, with what its deployments have together.
func (a *api) modelGroups(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	only := r.URL.Query().Get("model_group")
	groups := []map[string]any{}
	cat := a.cfg.State.Catalog()
	for _, m := range a.seen(cat, by) {
		if all := cat.Deployments(m.ID); len(all) > 0 && wire.Selects(only, m.Name) {
			groups = append(groups, a.groupRow(m, all))
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
// any, prices those of the first whose are known.
func (a *api) groupRow(m *resource.Model, all []*resource.Deployment) map[string]any {
	row := map[string]any{
		"model_group": m.Name, "mode": "chat", "providers": []string{}, "tpm": nil, "rpm": nil,
		"max_input_tokens": nil, "max_output_tokens": nil, "input_cost_per_token": nil, "output_cost_per_token": nil, "input_cost_per_pixel": nil,
		"supported_openai_params": []string{},
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
		addInfo(row, a.infoOf(m, d))
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

// addInfo takes in what is known of one deployment's model.
func addInfo(row, info map[string]any) {
	if mode, ok := info["mode"].(string); ok && mode != "" {
		row["mode"] = mode
	}
	for _, name := range []string{"max_input_tokens", "max_output_tokens"} {
		if now, ok := row[name].(int64); ok {
			row[name] = max(now, tokens(info[name]))
		} else if n := tokens(info[name]); n > 0 {
			row[name] = n
		}
	}
	if row["input_cost_per_token"] == nil {
		for _, name := range []string{"input_cost_per_token", "output_cost_per_token", "input_cost_per_pixel"} {
			row[name] = info[name]
		}
	}
	for _, flag := range groupFlags {
		if info[flag] == true {
			row[flag] = true
		}
	}
	params, _ := info["supported_openai_params"].([]string)
	all, _ := row["supported_openai_params"].([]string)
	for _, name := range params {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	row["supported_openai_params"] = all
}

// tokens is a number that the list knows, or that stands in metadata.
func tokens(v any) int64 {
	switch n := v.(type) {
	case int64:
		return n
	case float64:
		return int64(n)
	default:
		return 0
	}
}
