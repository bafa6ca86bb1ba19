package provider

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/provider/anthropic"
	"github.com/conclave-llm/conclave/provider/cohere"
	"github.com/conclave-llm/conclave/provider/gemini"
	"github.com/conclave-llm/conclave/provider/ollama"
	"github.com/conclave-llm/conclave/provider/openai"
	"github.com/conclave-llm/conclave/provider/typesafe"
)

// ErrNoList says that a provider has no list of its models that its key may read.
var ErrNoList = errors.New("the provider does not list its models")

// maxModelName bounds the name of a model in a provider's list.
const maxModelName = 256

// listing is how a dialect lists models: where, and under which names the list and its rows stand.
type listing struct {
	path   string // below the base, or "/.." for what stands beside it
	prefix string // taken off the names
	page   string // member with what asks for the next page; "": all are on one
	query  string // parameter for it
}

// listings are those of the dialects. OpenAI's is everybody else's.
func (p *Provider) listing() (l listing, ok bool) {
	if p.BaseOf != nil || p.Auth == SigV4 || p.NoModel {
		return l, false
	}
	switch p.Codec.(type) {
	case openai.Codec:
		return listing{path: "/models"}, true
	case anthropic.Codec:
		return listing{path: "/v1/models?limit=1000", page: "last_id", query: "after_id"}, true
	case gemini.Codec:
		return listing{path: "/models?pageSize=1000", prefix: "models/", page: "nextPageToken", query: "pageToken"}, true
	case cohere.Codec:
		return listing{path: "/../v1/models?page_size=1000", page: "next_page_token", query: "page_token"}, true
	case ollama.Codec:
		return listing{path: "/api/tags"}, true
	case typesafe.Codec:
		return listing{path: "/v1/models"}, true
	}
	return l, false
}

// ListsModels says whether the provider has a list of its models.
func (p *Provider) ListsModels() bool { _, ok := p.listing(); return ok }

// ModelsURL is where the provider lists its models; base and options as for URL, and page what
// ReadModels returned, "" for the first.
func (p *Provider) ModelsURL(base string, options map[string]string, page string) (string, error) {
	l, ok := p.listing()
	if !ok {
		return "", fmt.Errorf("provider %s: %w", p.Name, ErrNoList)
	}
	base, err := p.Root(base, options)
	if err != nil {
		return "", err
	}
	path := l.path
	if beside, ok := strings.CutPrefix(path, "/.."); ok {
		base, path = strings.TrimSuffix(base, "/v2"), beside
	}
	if strings.HasPrefix(path, "/v1/") {
		base = strings.TrimSuffix(base, "/v1")
	}
	if page == "" {
		return base + path, nil
	}
	return base + path + "&" + l.query + "=" + url.QueryEscape(page), nil
}

// modelPage is one page of a list in any of the dialects.
type modelPage struct {
	Data    []modelRow `json:"data"`
	Models  []modelRow `json:"models"`
	HasMore *bool      `json:"has_more"`
}

// modelRow names a model.
type modelRow struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// ReadModels reads one page of the provider's list. next asks for another, "" if there is none.
// Rows without a name are passed over.
func (p *Provider) ReadModels(body []byte) (models []string, next string, err error) {
	l, ok := p.listing()
	if !ok {
		return nil, "", fmt.Errorf("provider %s: %w", p.Name, ErrNoList)
	}
	var page modelPage
	if err := json.Unmarshal(body, &page); err != nil {
		if json.Unmarshal(body, &page.Data) != nil { // some send the list alone
			return nil, "", fmt.Errorf("read the models of %s: the answer is no list of models: %w", p.Name, err)
		}
	}
	if page.Data == nil && page.Models == nil {
		return nil, "", fmt.Errorf("read the models of %s: the answer has no list of models", p.Name)
	}
	for _, row := range slices.Concat(page.Data, page.Models) {
		name := row.ID
		if name == "" {
			name = row.Name
		}
		if name = strings.TrimPrefix(name, l.prefix); name != "" && len(name) <= maxModelName {
			models = append(models, name)
		}
	}
	if l.page != "" && (page.HasMore == nil || *page.HasMore) {
		var members map[string]json.RawMessage
		if json.Unmarshal(body, &members) == nil {
			_ = json.Unmarshal(members[l.page], &next) // what is no text asks for nothing
		}
	}
	return models, next, nil
}

// Options lists the options of a deployment that the provider's own address needs, and
// "api_base" if it has none.
func (p *Provider) Options() []string {
	if p.BaseOf != nil {
		return optionsIn(p.BaseOf(map[string]string{"project": "p", "location": "l"}))
	}
	if p.Base == "" {
		return []string{"api_base"}
	}
	return optionsIn(p.Base)
}

// optionsIn lists what stands in braces.
func optionsIn(template string) []string {
	var names []string
	for rest := template; ; {
		_, after, ok := strings.Cut(rest, "{")
		if !ok {
			return names
		}
		name, tail, _ := strings.Cut(after, "}")
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		rest = tail
	}
}
