// Package providers is what the admin API tells of providers: the table with the endpoints that
// each serves, and the models that a provider says it has, of which it makes models and
// deployments here.
package providers

import (
	"cmp"
	"context"
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/resource"
)

// Lister asks a provider which models it has; nil credential: without a key. The node's own
// dialer and signer make the request.
type Lister func(ctx context.Context, providerName, base string, c *resource.Credential) ([]string, error)

// List is the table of providers by name, of those whose name has q in it; one row stands for all plugins.
func List(q string) []client.Provider {
	rows := []client.Provider{}
	for _, name := range provider.Names() {
		if strings.Contains(name, q) {
			p, _ := provider.Lookup(name)
			rows = append(rows, shown(p))
		}
	}
	if p := provider.Plugins(); strings.Contains(p.Name, q) {
		rows = append(rows, shown(p))
	}
	return rows
}

// Get is one row.
func Get(name string) (client.Provider, error) {
	p, ok := provider.Lookup(name)
	if !ok {
		return client.Provider{}, unknown(name)
	}
	return shown(p), nil
}

func unknown(name string) error {
	return &llm.Error{Kind: llm.NotFound, Code: "not_found", Message: "there is no provider " + name + "; see conclave provider list"}
}

// shown tells of a row, with what those rows serve that stand for some of its models. An endpoint that
// none of them serves, but into whose requests are translated, is Translated.
func shown(p *provider.Provider) client.Provider {
	v := client.Provider{
		Name: p.Name, BaseURL: p.Base, KeyVariables: orNone(p.KeyVars), BaseVariables: orNone(p.BaseVars),
		Options: orNone(p.Options()), Endpoints: []string{}, Translated: []string{}, ListsModels: p.ListsModels() || p == provider.Plugins(), Auth: p.Auth.String(),
	}
	if v.BaseURL == "" && p.BaseOf != nil {
		v.BaseURL = p.BaseOf(map[string]string{"project": "p", "location": "l"})
	}
	rows := []*provider.Provider{p}
	for _, name := range p.Rows {
		if row, ok := provider.Lookup(name); ok {
			rows = append(rows, row)
		}
	}
	for _, e := range llm.Endpoints() {
		if slices.ContainsFunc(rows, func(p *provider.Provider) bool { return p.Serves(e) }) {
			v.Endpoints = append(v.Endpoints, e.String())
		} else if slices.ContainsFunc(rows, func(p *provider.Provider) bool { _, ok := p.Translation(e); return ok }) {
			v.Translated = append(v.Translated, e.String())
		}
	}
	return v
}

func orNone(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// Discovery asks providers for their models.
type Discovery struct {
	Records *records.Records
	Catalog func() *resource.Catalog
	Models  Lister // nil: nobody can be asked
}

// Discover asks a provider for its models, and makes of those that nothing serves here models
// and deployments, if the question says so.
func (d *Discovery) Discover(ctx context.Context, by records.Caller, name string, q client.Discover) (client.Discovered, records.Written, error) {
	found, err := d.ask(ctx, name, &q)
	if err != nil {
		return client.Discovered{}, records.Written{}, err
	}
	out := client.Discovered{Provider: name, Models: []client.DiscoveredModel{}}
	var last records.Written
	for _, model := range found {
		row := d.plan(name, model, &q)
		if q.Apply && row.Action != client.DiscoverKeep {
			w, err := d.make(ctx, by, name, &row, &q)
			if err != nil {
				return out, last, err
			}
			last = w
			out.Made++
		}
		out.Models = append(out.Models, row)
	}
	last.Version = 0
	return out, last, nil
}

// ask gets the models that the question is about, sorted, each once.
func (d *Discovery) ask(ctx context.Context, name string, q *client.Discover) ([]string, error) {
	if _, ok := provider.Lookup(name); !ok {
		return nil, unknown(name)
	}
	if d.Models == nil {
		return nil, &llm.Error{Kind: llm.Unavailable, Message: "this node asks no providers"}
	}
	if _, err := path.Match(q.Match, ""); err != nil {
		return nil, &resource.Invalid{Field: "match", Reason: "is no pattern such as gpt-*"}
	}
	c, err := d.credential(name, q)
	if err != nil {
		return nil, err
	}
	found, err := d.Models(ctx, name, q.APIBase, c)
	if errors.Is(err, provider.ErrNoList) {
		return nil, &resource.Invalid{Field: "provider", Reason: "does not list its models: make deployments for those that you know"}
	}
	if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(model string) bool {
		fits, _ := path.Match(q.Match, model)
		return q.Match != "" && !fits && !strings.HasPrefix(model, strings.TrimSuffix(q.Match, "*"))
	})
	slices.Sort(found)
	return slices.Compact(found), nil
}

// credential finds the credential that is asked with. Its key goes to its own address alone.
func (d *Discovery) credential(name string, q *client.Discover) (*resource.Credential, error) {
	if q.Credential == "" {
		return nil, nil
	}
	for _, c := range d.Catalog().Tables().Credentials {
		if c.ID != q.Credential && c.Name != q.Credential {
			continue
		}
		if c.Provider != "" && c.Provider != name {
			return nil, &resource.Invalid{Field: "credential", Reason: "is one of the provider " + c.Provider}
		}
		if q.APIBase != "" && q.APIBase != c.APIBase {
			return nil, &resource.Invalid{Field: "api_base", Reason: "is not that of the credential, whose key was not given for another host"}
		}
		return c, nil
	}
	return nil, &resource.Invalid{Field: "credential", Reason: "there is no credential " + q.Credential}
}

// plan says what becomes of one model.
func (d *Discovery) plan(name, model string, q *client.Discover) client.DiscoveredModel {
	prefix := name + "/"
	if q.Prefix != nil {
		prefix = *q.Prefix
	}
	row := client.DiscoveredModel{Model: model, Name: prefix + model, Action: client.DiscoverCreate}
	cat := d.Catalog()
	m, ok := cat.Model(row.Name)
	if !ok {
		return row
	}
	row.Action = client.DiscoverDeploy
	for _, dep := range cat.Deployments(m.ID) {
		if dep.Provider == name && cmp.Or(dep.Upstream, m.Name) == model {
			row.Action = client.DiscoverKeep
		}
	}
	return row
}

// make makes the deployment, and the model where there is none.
func (d *Discovery) make(ctx context.Context, by records.Caller, name string, row *client.DiscoveredModel, q *client.Discover) (records.Written, error) {
	dep := map[string]any{"provider": name, "model": row.Model}
	if q.Credential != "" {
		dep["credential_id"] = q.Credential
	} else if q.APIBase != "" {
		dep["api_base"] = q.APIBase
	}
	if row.Action == client.DiscoverDeploy {
		dep["model_id"] = row.Name
		doc, err := records.DocumentOf(dep)
		if err != nil {
			return records.Written{}, err
		}
		_, w, err := d.Records.Deployments.Create(ctx, by, doc)
		return w, err
	}
	doc, err := records.DocumentOf(map[string]any{"name": row.Name, "deployments": []any{dep}})
	if err != nil {
		return records.Written{}, err
	}
	_, w, err := d.Records.Models.Create(ctx, by, doc)
	return w, err
}
