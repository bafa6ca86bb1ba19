package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

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

// listModels answers as the client's vendor does: Anthropic's SDKs name a version of its API.
func listModels(_ context.Context, s *Server, c *Call) error {
	models := c.usable()
	if c.header.Get("Anthropic-Version") != "" {
		list := anthropicList{Data: []anthropicModel{}}
		for _, m := range models {
			list.Data = append(list.Data, anthropicOf(m))
		}
		if n := len(list.Data); n > 0 {
			list.First, list.Last = &list.Data[0].ID, &list.Data[n-1].ID
		}
		return s.writeJSON(c, &list)
	}
	list := modelList{Object: "list", Data: []modelReply{}}
	for _, m := range models {
		list.Data = append(list.Data, modelOf(c.cat, m))
	}
	return s.writeJSON(c, &list)
}

// usable are the models that the key may use: of a pattern those that are known, and the pattern itself where that is
// wanted.
func (c *Call) usable() []*resource.Model {
	asked, _ := url.ParseQuery(c.query)
	patterns := c.cat.Settings().WildcardRoutes || asked.Get("return_wildcard_routes") == "true"
	var list []*resource.Model
	for _, m := range c.cat.Tables().Models {
		if (patterns || !resource.IsPattern(m.Name)) && c.cat.LevelsAllow(c.levels, m) {
			list = append(list, m)
		}
		if !resource.IsPattern(m.Name) {
			continue
		}
		for _, name := range c.view.Known(m) {
			if known, ok := c.cat.Resolve(name); ok && c.cat.LevelsAllow(c.levels, known) {
				list = append(list, known)
			}
		}
	}
	return list
}

func showModel(_ context.Context, s *Server, c *Call) error {
	m, err := c.namedModel()
	if err != nil {
		return err
	}
	if c.header.Get("Anthropic-Version") != "" {
		return s.writeJSON(c, anthropicOf(m))
	}
	r := modelOf(c.cat, m)
	return s.writeJSON(c, &r)
}

// namedModel is the model that the path names, if the key may use it.
func (c *Call) namedModel() (*resource.Model, error) {
	m, ok := c.cat.Resolve(c.named)
	if !ok || !c.cat.LevelsAllow(c.levels, m) {
		return nil, policy.UnknownModel(c.named)
	}
	return m, nil
}

// anthropicModel is Anthropic's model, and anthropicList its page of them; there is one page.
type anthropicModel struct {
	Type    string `json:"type"`
	ID      string `json:"id"`
	Name    string `json:"display_name"`
	Created string `json:"created_at"`
}

type anthropicList struct {
	Data  []anthropicModel `json:"data"`
	First *string          `json:"first_id"`
	Last  *string          `json:"last_id"`
	More  bool             `json:"has_more"`
}

func anthropicOf(m *resource.Model) anthropicModel {
	return anthropicModel{"model", m.Name, m.Name, time.Unix(modelCreated, 0).UTC().Format(time.RFC3339)}
}

// googleModelsRoute lists the models as Google's API does, and googleModelRoute shows one of them.
func googleModelsRoute() (*Route, error) {
	return lookupOf("GET", []string{"/v1beta/models", "/gemini/v1beta/models"}, llm.GenerateContent, listGoogle)
}

func googleModelRoute() (*Route, error) {
	return lookupOf("GET", []string{"/v1beta/models/{model...}", "/gemini/v1beta/models/{model...}"}, llm.GenerateContent, showGoogle)
}

// googleModel is Google's model.
type googleModel struct {
	Name    string   `json:"name"` // "models/NAME"
	Display string   `json:"displayName"`
	Input   int64    `json:"inputTokenLimit,omitempty"`
	Output  int64    `json:"outputTokenLimit,omitempty"`
	Methods []string `json:"supportedGenerationMethods"`
}

func listGoogle(_ context.Context, s *Server, c *Call) error {
	list := []googleModel{}
	for _, m := range c.usable() {
		list = append(list, c.googleOf(m))
	}
	return s.writeJSON(c, map[string]any{"models": list})
}

func showGoogle(_ context.Context, s *Server, c *Call) error {
	m, err := c.namedModel()
	if err != nil {
		return err
	}
	return s.writeJSON(c, c.googleOf(m))
}

// googleOf tells what the list of prices knows of the model's first deployment, too.
func (c *Call) googleOf(m *resource.Model) googleModel {
	g := googleModel{Name: "models/" + m.Name, Display: m.Name, Methods: []string{"generateContent", "streamGenerateContent", "countTokens"}}
	for _, d := range c.cat.ModelDeployments(m) {
		e := c.view.Entry(m, d)
		if e == nil {
			continue
		}
		g.Input, g.Output = e.MaxInput, e.MaxOutput
		if e.Mode == "embedding" {
			g.Methods = []string{"embedContent", "batchEmbedContents"}
		}
		break
	}
	return g
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
