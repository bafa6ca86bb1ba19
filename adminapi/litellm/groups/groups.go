// Package groups is LiteLLM's paths for groups of models: a name that stands for models in the
// lists of keys and teams. Such a group is no record of its own: it is there as long as a model names
// it in its access_groups. Its budget is that of a unified access group of its name. Unified access groups are records (resource.AccessGroup), which keys and
// teams are given by their ids.
package groups

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/litellm/fields"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// Config says what the paths work on. No field may be zero.
type Config struct {
	Records *records.Records
	Catalog func() *resource.Catalog
}

type api struct{ cfg Config }

// Routes lists the paths.
func Routes(cfg Config) []wire.Route {
	a := &api{cfg}
	return append(a.unifiedRoutes(), []wire.Route{
		{ID: "litellm-access-group-new", Method: http.MethodPost, Pattern: "/access_group/new", Handler: a.create},
		{ID: "litellm-access-group-list", Method: http.MethodGet, Pattern: "/access_group/list", Handler: a.list},
		{ID: "litellm-access-group-info", Method: http.MethodGet, Pattern: "/access_group/{group}/info", Handler: a.info},
		{ID: "litellm-access-group-update", Method: http.MethodPut, Pattern: "/access_group/{group}/update", Handler: a.update},
		{ID: "litellm-access-group-delete", Method: http.MethodDelete, Pattern: "/access_group/{group}/delete", Handler: a.remove},
		{ID: "litellm-access-group-budget", Method: http.MethodGet, Pattern: "/access_group/{group}/budget", Handler: a.budget},
		{ID: "litellm-access-group-budget-set", Method: http.MethodPut, Pattern: "/access_group/{group}/budget", Handler: a.setBudget},
		{ID: "litellm-access-group-budget-delete", Method: http.MethodDelete, Pattern: "/access_group/{group}/budget", Handler: a.removeBudget},
	}...)
}

// group is one group with its models.
type group struct {
	name        string
	models      []string
	deployments int
}

func (g *group) row() map[string]any {
	return map[string]any{"access_group": g.name, "model_names": g.models, "deployment_count": g.deployments}
}

// all lists the groups, by name.
func (a *api) all() []*group {
	byName := map[string]*group{}
	var out []*group
	cat := a.cfg.Catalog()
	for _, m := range cat.Tables().Models {
		for _, name := range m.AccessGroups {
			g := byName[name]
			if g == nil {
				g = &group{name: name}
				byName[name], out = g, append(out, g)
			}
			g.models = append(g.models, m.Name)
			g.deployments += len(cat.Deployments(m.ID))
		}
	}
	slices.SortFunc(out, func(x, y *group) int { return strings.Compare(x.name, y.name) })
	return out
}

func (a *api) find(name string) (*group, error) {
	for _, g := range a.all() {
		if g.name == name {
			return g, nil
		}
	}
	return nil, fmt.Errorf("access group %q: %w", name, resource.ErrNotFound)
}

// named reads the models of a body.
func (a *api) named(in records.Document) ([]string, error) {
	var names, ids []string
	if err := in.Take("model_names", &names); err != nil {
		return nil, err
	}
	if err := in.Take("model_ids", &ids); err != nil {
		return nil, err
	}
	cat := a.cfg.Catalog()
	for _, id := range ids {
		d, ok := cat.Deployment(id)
		if !ok {
			return nil, wire.Invalid("model_ids", "there is no deployment "+id)
		}
		m, _ := cat.ModelByID(d.ModelID)
		for _, other := range cat.Deployments(m.ID) {
			if !slices.Contains(ids, other.ID) {
				return nil, wire.Invalid("model_ids", fmt.Sprintf("a group has whole models: %s has the deployment %s too; give model_names", m.Name, other.ID))
			}
		}
		names = append(names, m.Name)
	}
	if len(names) == 0 {
		return nil, wire.Invalid("model_names", "is missing; a group has models")
	}
	return names, nil
}

func (a *api) create(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	name, err := fields.Text(in, "access_group")
	if err != nil {
		return err
	}
	if name == "" {
		return wire.Invalid("access_group", "is missing")
	}
	if _, err := a.find(name); err == nil {
		return fmt.Errorf("access group %q: %w", name, resource.ErrExists)
	}
	return a.put(w, r, by, name, in)
}

func (a *api) update(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	g, err := a.find(r.PathValue("group"))
	if err != nil {
		return err
	}
	return a.put(w, r, by, g.name, in)
}

func (a *api) put(w http.ResponseWriter, r *http.Request, by records.Caller, name string, in records.Document) error {
	names, err := a.named(in)
	if err != nil {
		return err
	}
	wr, changed, err := a.cfg.Records.GroupModels(r.Context(), by, name, names)
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, map[string]any{
		"access_group": name, "model_names": names, "model_ids": nil, "models_updated": a.deployments(changed),
	})
}

// deployments counts those of models, which is what LiteLLM calls models here.
func (a *api) deployments(models []*resource.Model) (n int) {
	for _, m := range models {
		n += len(a.cfg.Catalog().Deployments(m.ID))
	}
	return n
}

func (a *api) list(w http.ResponseWriter, _ *http.Request, _ records.Caller) error {
	return wire.Answer(w, records.Written{}, map[string]any{"access_groups": wire.Rows(a.all(), (*group).row)})
}

func (a *api) info(w http.ResponseWriter, r *http.Request, _ records.Caller) error {
	g, err := a.find(r.PathValue("group"))
	if err != nil {
		return err
	}
	return wire.Answer(w, records.Written{}, g.row())
}

// remove takes the group's budget away and the group off all its models. Keys and teams that name it reach nothing by it then.
func (a *api) remove(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	g, err := a.find(r.PathValue("group"))
	if err != nil {
		return err
	}
	if _, _, err := a.clearBudget(r.Context(), by, g.name); err != nil && !errors.Is(err, resource.ErrRefused) {
		return err
	}
	wr, changed, err := a.cfg.Records.GroupModels(r.Context(), by, g.name, nil)
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, map[string]any{
		"access_group": g.name, "models_updated": a.deployments(changed), "message": "Access group '" + g.name + "' deleted successfully",
	})
}
