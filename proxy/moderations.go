package proxy

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/resource"
)

// defaultModeration is the model that OpenAI asks where a request names none.
const defaultModeration = "omni-moderation-latest"

// moderationsRoute serves OpenAI's moderations, whose requests need name no model.
func moderationsRoute() (*Route, error) {
	r, err := openAI(llm.Moderations, "/moderations")
	if err != nil {
		return nil, err
	}
	r.steps.access = func(ctx context.Context, s *Server, c *Call) error {
		if c.asked() == "" {
			if c.instead = c.moderation(); c.instead == "" {
				return &llm.Error{
					Kind: llm.Invalid, Code: policy.CodeNoModel, Param: "model",
					Message: "The request names no model, and there is not one alone for moderations that the API key may use: name one, or let the setting moderation_model do it.",
				}
			}
		}
		return authorize(ctx, s, c)
	}
	return r, nil
}

// moderation is the model of a request for a moderation that names none: the setting's, OpenAI's own default if the caller
// has it, else the only one for moderations that he has; "": there are none or several.
func (c *Call) moderation() string {
	if name := c.cat.Settings().ModerationModel; name != "" {
		return name
	}
	if m, ok := c.cat.Resolve(defaultModeration); ok && c.cat.LevelsAllow(c.levels[:c.above], m) {
		return defaultModeration
	}
	only := ""
	for _, m := range c.cat.Tables().Models {
		if !c.cat.LevelsAllow(c.levels[:c.above], m) || !c.moderates(m) {
			continue
		}
		if only != "" {
			return ""
		}
		only = m.Name
	}
	return only
}

// moderates says whether a model is one for moderations: by its mode in its model_info or in the list of prices, else by
// its name at the provider.
func (c *Call) moderates(m *resource.Model) bool {
	for _, d := range c.cat.ModelDeployments(m) {
		var info struct {
			Mode string `json:"mode"`
		}
		_ = json.Unmarshal(d.Metadata, &info) // it is an object
		seen := c.view.Deployment(&router.Target{Model: m, Deployment: d})
		switch {
		case info.Mode != "":
			return info.Mode == "moderation"
		case seen.List != nil && seen.List.Mode != "":
			return seen.List.Mode == "moderation"
		case strings.Contains(seen.Name, "moderation"):
			return true
		}
	}
	return false
}
