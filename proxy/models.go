package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/resource"
)

// modelCreated is the time that clients of LiteLLM know; models have no other.
const modelCreated = 1677610602

// modelReply is OpenAI's model.
type modelReply struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

// modelList is OpenAI's list of models.
type modelList struct {
	Object string       `json:"object"`
	Data   []modelReply `json:"data"`
}

// modelsRoute lists the models that the key may use.
func modelsRoute() (*Route, error) {
	r, err := lookup([]string{"/v1/models", "/models"}, listModels)
	if err != nil {
		return nil, err
	}
	r.azure = azurePaths("/models")
	return r, nil
}

// modelRoute shows one of them.
func modelRoute() (*Route, error) {
	r, err := lookup([]string{"/v1/models/{model...}", "/models/{model...}"}, showModel)
	if err != nil {
		return nil, err
	}
	r.azure = azurePaths("/models/{model...}")
	return r, nil
}

// lookup makes a route that reads the catalog alone. It stays readable when a
// limit or a budget is spent, so that a client can still find out what there is.
func lookup(patterns []string, answer step) (*Route, error) {
	return lookupOf("GET", patterns, llm.Chat, answer)
}

// lookupOf is lookup of another method and dialect.
func lookupOf(method string, patterns []string, endpoint llm.Endpoint, answer step) (*Route, error) {
	r, err := newRoute(method, patterns, endpoint, steps{
		auth:   authenticate,
		policy: checkCustomer,
		answer: answer,
		exempt: map[string]string{
			stepBody:       "nothing in a body counts",
			stepAccess:     "the answer holds only what the key may use",
			stepLimits:     "no upstream is asked",
			stepBudget:     "costs nothing",
			stepGuardrails: "no prompt",
			stepPlan:       "no upstream is asked",
			stepLedger:     "costs nothing",
		},
	})
	if err != nil {
		return nil, err
	}
	r.lookup = true
	return r, nil
}

func listModels(_ context.Context, s *Server, c *Call) error {
	list := modelList{Object: "list", Data: []modelReply{}}
	for _, m := range c.cat.Tables().Models {
		switch {
		case resource.IsPattern(m.Name):
			list.Data = c.appendPattern(list.Data, m)
		case c.cat.LevelsAllow(c.levels, m):
			list.Data = append(list.Data, modelOf(c.cat, m))
		}
	}
	return s.writeJSON(c, &list)
}

// appendPattern adds the models that are known of a pattern, and the pattern itself where that is
// wanted.
func (c *Call) appendPattern(list []modelReply, m *resource.Model) []modelReply {
	asked, _ := url.ParseQuery(c.query)
	if (c.cat.Settings().WildcardRoutes || asked.Get("return_wildcard_routes") == "true") && c.cat.LevelsAllow(c.levels, m) {
		list = append(list, modelOf(c.cat, m))
	}
	for _, name := range c.view.Known(m) {
		if known, ok := c.cat.Resolve(name); ok && c.cat.LevelsAllow(c.levels, known) {
			list = append(list, modelOf(c.cat, known))
		}
	}
	return list
}

func showModel(_ context.Context, s *Server, c *Call) error {
	m, ok := c.cat.Resolve(c.named)
	if !ok || !c.cat.LevelsAllow(c.levels, m) {
		return policy.UnknownModel(c.named)
	}
	r := modelOf(c.cat, m)
	return s.writeJSON(c, &r)
}

func modelOf(cat *resource.Catalog, m *resource.Model) modelReply {
	owner := "openai"
	if ds := cat.ModelDeployments(m); len(ds) > 0 {
		owner = ds[0].Provider
	}
	return modelReply{ID: m.Name, Object: "model", Created: modelCreated, OwnedBy: owner}
}

// writeJSON answers with v.
func (s *Server) writeJSON(c *Call, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	h := c.out.Header()
	s.answerHeaders(c, h)
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	c.result.status = http.StatusOK
	c.out.Start(http.StatusOK)
	_, err = c.out.Write(b)
	return err
}
