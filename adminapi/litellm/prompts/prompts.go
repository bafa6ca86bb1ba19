// Package prompts is LiteLLM's management paths of stored prompts. A prompt there is a .prompt file in
// litellm_params; here it is the record that the file says, and PUT and PATCH add a version to it.
package prompts

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/config/dotprompt"
	"github.com/conclave-llm/conclave/resource"
)

type api struct{ rs *records.Records }

// Routes lists the paths.
func Routes(rs *records.Records) []wire.Route {
	a := &api{rs}
	return []wire.Route{
		{ID: "litellm-prompts-list", Method: http.MethodGet, Pattern: "/prompts/list", Handler: a.list},
		{ID: "litellm-prompt-new", Method: http.MethodPost, Pattern: "/prompts", Handler: a.create},
		{ID: "litellm-prompt-info", Method: http.MethodGet, Pattern: "/prompts/{id}", Handler: a.info},
		{ID: "litellm-prompt-details", Method: http.MethodGet, Pattern: "/prompts/{id}/info", Handler: a.info},
		{ID: "litellm-prompt-versions", Method: http.MethodGet, Pattern: "/prompts/{id}/versions", Handler: a.versions},
		{ID: "litellm-prompt-update", Method: http.MethodPut, Pattern: "/prompts/{id}", Handler: a.update},
		{ID: "litellm-prompt-patch", Method: http.MethodPatch, Pattern: "/prompts/{id}", Handler: a.update},
		{ID: "litellm-prompt-delete", Method: http.MethodDelete, Pattern: "/prompts/{id}", Handler: a.remove},
		{ID: "litellm-prompt-converter", Method: http.MethodPost, Pattern: "/utils/dotprompt_json_converter", Handler: convert},
	}
}

func (a *api) list(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	env := r.URL.Query().Get("environment")
	rows := []map[string]any{}
	for _, p := range a.rs.Prompts.Visible(by, records.Query{}) {
		v, ok := p.Version(0, env)
		if !ok {
			continue
		}
		out, err := row(p, v)
		if err != nil {
			return err
		}
		rows = append(rows, out)
	}
	return wire.Answer(w, records.Written{}, map[string]any{"prompts": rows})
}

func (a *api) info(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	p, err := a.rs.Prompts.One(by, r.PathValue("id"))
	if err != nil {
		return err
	}
	n, err := number(r.URL.Query().Get("version"))
	if err != nil {
		return err
	}
	v, ok := p.Version(n, r.URL.Query().Get("environment"))
	if !ok {
		return resource.ErrNotFound
	}
	out, err := row(p, v)
	if err != nil {
		return err
	}
	return wire.Answer(w, records.Written{}, map[string]any{"prompt_spec": out, "raw_prompt_template": content(v, out)})
}

func number(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return 0, wire.Invalid("version", "is not a version's number")
	}
	return n, nil
}

func (a *api) versions(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	p, err := a.rs.Prompts.One(by, r.PathValue("id"))
	if err != nil {
		return err
	}
	rows := []map[string]any{}
	for i := range p.Versions {
		out, err := row(p, &p.Versions[i])
		if err != nil {
			return err
		}
		rows = append(rows, out)
	}
	return wire.Answer(w, records.Written{}, map[string]any{"prompts": rows})
}

// spec is a body of LiteLLM's.
type spec struct {
	ID     string `json:"prompt_id"`
	Params struct {
		ID          string `json:"prompt_id"`
		Integration string `json:"prompt_integration"`
		Content     string `json:"dotprompt_content"`
		Data        struct {
			Content string `json:"content"`
		} `json:"prompt_data"`
		NoModel bool `json:"ignore_prompt_manager_model"`
		NoRest  bool `json:"ignore_prompt_manager_optional_params"`
	} `json:"litellm_params"`
	Info struct {
		Environment string `json:"environment"`
	} `json:"prompt_info"`
	Environment string `json:"environment"`
}

// read reads a body as a version, and the environment that gets it.
func read(r *http.Request) (id string, v *records.NewPromptVersion, err error) {
	in, err := wire.ReadBody(r)
	if err != nil {
		return "", nil, err
	}
	var s spec
	for name, into := range map[string]any{"prompt_id": &s.ID, "litellm_params": &s.Params, "prompt_info": &s.Info, "environment": &s.Environment} {
		raw, ok := in[name]
		if ok && json.Unmarshal(raw, into) != nil { // what is not known here is for people, as it is there
			return "", nil, wire.Invalid(name, "is of the wrong type")
		}
	}
	if kind := s.Params.Integration; kind != "" && kind != "dotprompt" {
		return "", nil, wire.Invalid("litellm_params.prompt_integration", strconv.Quote(kind)+" is not supported: prompts are stored here, as dotprompt")
	}
	text := cmp.Or(s.Params.Content, s.Params.Data.Content)
	if text == "" {
		return "", nil, wire.Invalid("litellm_params.dotprompt_content", "is missing")
	}
	parsed, err := dotprompt.Parse([]byte(text))
	if err != nil {
		return "", nil, wire.Invalid("litellm_params.dotprompt_content", err.Error())
	}
	if s.Params.NoModel {
		parsed.Model = ""
	}
	if s.Params.NoRest {
		parsed.Parameters = nil
	}
	return cmp.Or(s.ID, s.Params.ID), &records.NewPromptVersion{PromptVersion: *parsed, Environment: cmp.Or(s.Environment, s.Info.Environment)}, nil
}

func (a *api) create(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	id, add, err := read(r)
	if err != nil {
		return err
	}
	if id == "" {
		return wire.Invalid("prompt_id", "is missing")
	}
	doc := records.Document{}
	if err := doc.Set("name", id); err != nil {
		return err
	}
	if err := doc.Set("versions", []resource.PromptVersion{add.PromptVersion}); err != nil {
		return err
	}
	if add.Environment != "" {
		if err := doc.Set("environments", map[string]int64{add.Environment: 1}); err != nil {
			return err
		}
	}
	p, wr, err := a.rs.Prompts.Create(r.Context(), by, doc)
	return answer(w, p, wr, err)
}

func (a *api) update(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	_, add, err := read(r)
	if err != nil {
		return err
	}
	p, wr, err := a.rs.AddPromptVersion(r.Context(), by, r.PathValue("id"), add)
	return answer(w, p, wr, err)
}

// answer shows the newest version of a prompt that was written.
func answer(w http.ResponseWriter, p *resource.Prompt, wr records.Written, err error) error {
	if err != nil {
		return err
	}
	out, err := row(p, &p.Versions[len(p.Versions)-1])
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, out)
}

func (a *api) remove(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	wr, err := a.rs.Prompts.Delete(r.Context(), by, r.PathValue("id"))
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, map[string]any{"message": "Prompt " + r.PathValue("id") + " deleted successfully"})
}

// row shows one version of a prompt.
func row(p *resource.Prompt, v *resource.PromptVersion) (map[string]any, error) {
	text, err := dotprompt.Format(v)
	if err != nil {
		return nil, err
	}
	out := map[string]any{
		"prompt_id": p.Name, "version": v.Version,
		"litellm_params": map[string]any{"prompt_id": p.Name, "prompt_integration": "dotprompt", "dotprompt_content": text},
		"prompt_info":    map[string]any{"prompt_type": map[bool]string{true: "config", false: "db"}[p.Owner == resource.OwnerFile]},
	}
	envs := []string{}
	for _, name := range slices.Sorted(maps.Keys(p.Environments)) {
		if p.Environments[name] == v.Version {
			envs = append(envs, name)
		}
	}
	out["environments"] = envs
	wire.Stamps(out, &p.Meta)
	return out, nil
}

// content is what LiteLLM calls the raw template of a version.
func content(v *resource.PromptVersion, shown map[string]any) map[string]any {
	metadata := map[string]any{"model": v.Model}
	if len(v.Parameters) > 0 {
		metadata["parameters"] = v.Parameters
	}
	params, _ := shown["litellm_params"].(map[string]any)
	return map[string]any{"litellm_prompt_id": shown["prompt_id"], "content": params["dotprompt_content"], "metadata": metadata}
}

// convert shows what a .prompt file says, which is in "dotprompt_content", or the body's "content".
func convert(w http.ResponseWriter, r *http.Request, _ records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	var text, other string
	for name, into := range map[string]*string{"dotprompt_content": &text, "content": &other} {
		if err := in.Take(name, into); err != nil {
			return err
		}
	}
	v, err := dotprompt.Parse([]byte(cmp.Or(text, other)))
	if err != nil {
		return wire.Invalid("dotprompt_content", err.Error())
	}
	return wire.Answer(w, records.Written{}, v)
}
