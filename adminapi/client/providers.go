package client

import (
	"context"
	"net/http"
	"net/url"
)

// Provider is one row of the table of providers.
type Provider struct {
	Name          string   `json:"name"`
	BaseURL       string   `json:"base_url"`      // "": each deployment gives its own; options stand in braces
	Auth          string   `json:"auth"`          // how the key is sent
	KeyVariables  []string `json:"key_variables"` // of the environment, by custom
	BaseVariables []string `json:"base_variables"`
	Options       []string `json:"options"`      // of a deployment that its address needs
	Endpoints     []string `json:"endpoints"`    // that it serves itself
	Translated    []string `json:"translated"`   // whose requests are said in the words of one of its endpoints
	ListsModels   bool     `json:"lists_models"` // Discover works
}

// What becomes of a model that a provider has.
const (
	DiscoverKeep   = "keep"   // it is served already
	DiscoverCreate = "create" // a model and a deployment
	DiscoverDeploy = "deploy" // a deployment of the model that there is
)

// Discover asks a provider which models it has.
type Discover struct {
	Credential string  `json:"credential,omitempty"` // id or name; without one no key is sent
	APIBase    string  `json:"api_base,omitempty"`   // in the place of the provider's own; not with a credential
	Match      string  `json:"match,omitempty"`      // "gpt-*": only those
	Prefix     *string `json:"prefix,omitempty"`     // of the names here; default "provider/"
	Apply      bool    `json:"apply,omitempty"`      // make models and deployments of them
}

// DiscoveredModel is a model that a provider has.
type DiscoveredModel struct {
	Model  string `json:"model"`  // at the provider
	Name   string `json:"name"`   // here
	Action string `json:"action"` // keep, create or deploy
}

// Discovered is what a provider has.
type Discovered struct {
	Provider string            `json:"provider"`
	Models   []DiscoveredModel `json:"models"`
	Made     int               `json:"made"` // deployments
}

// Providers lists the table of providers, those with q in their name.
func (c *Client) Providers(ctx context.Context, q string) (Page[Provider], error) {
	var out Page[Provider]
	filter := url.Values{}
	if q != "" {
		filter.Set("q", q)
	}
	return out, c.do(ctx, http.MethodGet, "providers", filter, nil, &out)
}

// Provider is one row of the table.
func (c *Client) Provider(ctx context.Context, name string) (Provider, error) {
	var out Provider
	return out, c.do(ctx, http.MethodGet, "providers/"+url.PathEscape(name), nil, nil, &out)
}

// Discover asks a provider which models it has, and makes deployments of them if the question
// says so.
func (c *Client) Discover(ctx context.Context, name string, q Discover) (Discovered, error) {
	var out Discovered
	return out, c.do(ctx, http.MethodPost, "providers/"+url.PathEscape(name)+"/discover", nil, q, &out)
}
