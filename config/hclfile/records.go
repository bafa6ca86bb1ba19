package hclfile

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/resource"
)

func (d *decoder) credential(b *hcl.Block) {
	var in credentialBlock
	before := len(d.diags)
	rest, body := split[resource.Credential](b.Body, in)
	if !d.body(body, &in) {
		return
	}
	c := config.Credential{
		Position: config.PositionOf(b.DefRange),
		Resource: resource.Credential{Meta: config.Owned(), Name: b.Labels[0], Provider: in.Provider, APIBase: in.APIBase},
		APIKey:   d.secret("credential", "api_key", in.APIKey, b.Body, b.DefRange),
		Secrets:  d.secrets("credential", in.Secrets, b.Body, b.DefRange),
	}
	d.rest(rest, &c.Resource)
	if d.valid("credential", &c.Resource, b.Body, b.DefRange, before) {
		d.out.Resources.Credentials = append(d.out.Resources.Credentials, c)
	}
}

func (d *decoder) model(b *hcl.Block) {
	var in modelBlock
	before := len(d.diags)
	rest, body := split[resource.Model](b.Body, in)
	restOf := splitBlocks[resource.Deployment](body, "deployment", deploymentBlock{})
	if !d.body(body, &in) {
		return
	}
	m := config.Model{Position: config.PositionOf(b.DefRange), Resource: resource.Model{
		Meta: config.Owned(), Name: b.Labels[0], Strategy: resource.Strategy(in.Strategy), Fallbacks: in.Fallbacks,
		Retries: in.Retries, TimeoutMS: in.TimeoutMS, AccessGroups: in.AccessGroups, Metadata: d.json(in.Metadata),
		Allowance: resource.Allowance{Budgets: d.allTerms(in.Budgets), Limits: in.Limit.limits(), ModelLimits: d.modelLimits(in.ModelLimits, b.Body)},
	}, SharedBudget: in.SharedBudget}
	d.rest(rest, &m.Resource)
	ok := d.valid("model", &m.Resource, b.Body, b.DefRange, before)
	for i := range in.Deployments {
		in := &in.Deployments[i]
		if !d.unique("deployment", b.Labels[0]+"/"+in.Name, in.Range) {
			continue
		}
		m.Deployments = append(m.Deployments, d.deployment(in, restOf[in.Name]))
	}
	if ok {
		d.out.Resources.Models = append(d.out.Resources.Models, m)
	}
}

func (d *decoder) deployment(in *deploymentBlock, rest []*hclsyntax.Attribute) config.Deployment {
	before := len(d.diags)
	out := config.Deployment{
		Position: config.PositionOf(in.Range),
		Resource: resource.Deployment{
			Meta: config.Owned(), Name: in.Name, Provider: in.Provider, APIBase: in.APIBase, Upstream: in.Model,
			Weight: in.Weight, Order: in.Order, Allowance: resource.Allowance{Budgets: d.allTerms(in.Budgets), Limits: in.Limit.limits(), ModelLimits: d.modelLimits(in.ModelLimits, in.Body)}, Price: d.price(in.Price),
			TimeoutMS: in.TimeoutMS, Blocked: in.Blocked, Metadata: d.json(in.Metadata),
		},
		Credential: in.Credential, SharedBudget: in.SharedBudget,
		APIKey:  d.secret("deployment", "api_key", in.APIKey, in.Body, in.Range),
		Secrets: d.secrets("deployment", in.Secrets, in.Body, in.Range),
	}
	d.rest(rest, &out.Resource)
	if in.Credential != "" && in.APIKey != nil {
		d.invalid("deployment", in.Body, in.Range, &resource.Invalid{
			Field: "api_key", Reason: "a deployment has a credential or an api_key of its own, not both",
		})
	}
	whole := out.Resource
	whole.ModelID = "model" // the record gets the model's id when it is applied
	d.valid("deployment", &whole, in.Body, in.Range, before)
	return out
}

// uniqueSecret reports a secret that another key of the file has.
func (d *decoder) uniqueSecret(k *config.Key, at hcl.Range) bool {
	id := "secret " + k.Resource.Hash.String()
	if first, ok := d.seen[id]; ok {
		d.report(at, "Duplicate secret", "The key at %s has the same secret.", config.PositionOf(first))
		return false
	}
	d.seen[id] = at
	return true
}

func (d *decoder) budget(b *hcl.Block) {
	var in sharedBlock
	before := len(d.diags)
	if !d.body(b.Body, &in) {
		return
	}
	out := config.Budget{Position: config.PositionOf(b.DefRange), Resource: resource.Budget{
		Meta: config.Owned(), Name: b.Labels[0], Terms: d.sharedTerms(&in, b.Body),
		Budgets: d.allTerms(in.Budgets), Limits: in.Limit.limits(), ModelLimits: d.modelLimits(in.ModelLimits, b.Body),
	}}
	if d.valid("budget", &out.Resource, b.Body, b.DefRange, before) {
		d.out.Resources.Budgets = append(d.out.Resources.Budgets, out)
	}
}

func (d *decoder) guardrail(b *hcl.Block) {
	var in guardrailBlock
	before := len(d.diags)
	rest, body := split[resource.Guardrail](b.Body, in)
	if !d.body(body, &in) {
		return
	}
	var hooks []resource.Hook
	for _, h := range in.Hooks {
		hooks = append(hooks, resource.Hook(h))
	}
	g := config.Guardrail{Position: config.PositionOf(b.DefRange), Resource: resource.Guardrail{
		Meta: config.Owned(), Name: b.Labels[0], Plugin: in.Plugin, Hooks: hooks, OnError: resource.OnError(in.OnError),
		DeadlineMS: in.DeadlineMS, Models: in.Models, Optional: in.Optional, Config: d.json(in.Config),
	}, Secrets: d.secrets("guardrail", in.Secrets, b.Body, b.DefRange)}
	d.rest(rest, &g.Resource)
	if d.valid("guardrail", &g.Resource, b.Body, b.DefRange, before) {
		d.out.Resources.Guardrails = append(d.out.Resources.Guardrails, g)
	}
}

func (d *decoder) callback(b *hcl.Block) {
	var in callbackBlock
	before := len(d.diags)
	rest, body := split[resource.Callback](b.Body, in)
	if !d.body(body, &in) {
		return
	}
	c := config.Callback{Position: config.PositionOf(b.DefRange), Resource: resource.Callback{
		Meta: config.Owned(), Name: b.Labels[0], Plugin: in.Plugin, Config: d.json(in.Config),
	}, Secrets: d.secrets("callback", in.Secrets, b.Body, b.DefRange)}
	d.rest(rest, &c.Resource)
	if d.valid("callback", &c.Resource, b.Body, b.DefRange, before) {
		d.out.Resources.Callbacks = append(d.out.Resources.Callbacks, c)
	}
}

func (d *decoder) secretSource(b *hcl.Block) {
	var in secretSourceBlock
	before := len(d.diags)
	rest, body := split[resource.SecretSource](b.Body, in)
	if !d.body(body, &in) {
		return
	}
	s := config.SecretSource{Position: config.PositionOf(b.DefRange), Resource: resource.SecretSource{
		Meta: config.Owned(), Name: b.Labels[0], Plugin: in.Plugin, Config: d.json(in.Config),
	}, Secrets: d.secrets("secret_source", in.Secrets, b.Body, b.DefRange)}
	d.rest(rest, &s.Resource)
	if d.valid("secret_source", &s.Resource, b.Body, b.DefRange, before) {
		d.out.Resources.SecretSources = append(d.out.Resources.SecretSources, s)
	}
}

func (d *decoder) auth(b *hcl.Block) {
	var in pluginUseBlock
	before := len(d.diags)
	rest, body := split[resource.Auth](b.Body, in)
	if !d.body(body, &in) {
		return
	}
	r := config.Auth{Position: config.PositionOf(b.DefRange), Resource: resource.Auth{
		Meta: config.Owned(), Name: b.Labels[0], PluginUse: resource.PluginUse{Plugin: in.Plugin, Config: d.json(in.Config)},
	}, Secrets: d.secrets("auth", in.Secrets, b.Body, b.DefRange)}
	d.rest(rest, &r.Resource)
	if d.valid("auth", &r.Resource, b.Body, b.DefRange, before) {
		d.out.Resources.Auths = append(d.out.Resources.Auths, r)
	}
}

func (d *decoder) routerFilter(b *hcl.Block) {
	var in pluginUseBlock
	before := len(d.diags)
	rest, body := split[resource.RouterFilter](b.Body, in)
	if !d.body(body, &in) {
		return
	}
	r := config.RouterFilter{Position: config.PositionOf(b.DefRange), Resource: resource.RouterFilter{
		Meta: config.Owned(), Name: b.Labels[0], PluginUse: resource.PluginUse{Plugin: in.Plugin, Config: d.json(in.Config)},
	}, Secrets: d.secrets("router_filter", in.Secrets, b.Body, b.DefRange)}
	d.rest(rest, &r.Resource)
	if d.valid("router_filter", &r.Resource, b.Body, b.DefRange, before) {
		d.out.Resources.RouterFilters = append(d.out.Resources.RouterFilters, r)
	}
}

func (d *decoder) accessGroup(b *hcl.Block) {
	var in accessGroupBlock
	before := len(d.diags)
	rest, body := split[resource.AccessGroup](b.Body, in)
	if !d.body(body, &in) {
		return
	}
	g := config.AccessGroup{Position: config.PositionOf(b.DefRange), Resource: resource.AccessGroup{
		Meta: config.Owned(), Name: b.Labels[0],
		Allowance: resource.Allowance{Budgets: d.allTerms(in.Budgets), Limits: in.Limit.limits(), ModelLimits: d.modelLimits(in.ModelLimits, b.Body)},
	}, SharedBudget: in.SharedBudget}
	d.rest(rest, &g.Resource)
	if d.valid("access_group", &g.Resource, b.Body, b.DefRange, before) {
		d.out.Resources.AccessGroups = append(d.out.Resources.AccessGroups, g)
	}
}

func (d *decoder) plugin(b *hcl.Block) {
	var in pluginBlock
	before := len(d.diags)
	rest, body := split[resource.Plugin](b.Body, in)
	if !d.body(body, &in) {
		return
	}
	p := config.Plugin{Position: config.PositionOf(b.DefRange), Resource: resource.Plugin{
		Meta: config.Owned(), Name: b.Labels[0], Kind: in.Kind, Path: in.Path, SHA256: in.SHA256, MTLS: in.MTLS,
	}}
	d.rest(rest, &p.Resource)
	if d.valid("plugin", &p.Resource, b.Body, b.DefRange, before) {
		d.out.Resources.Plugins = append(d.out.Resources.Plugins, p)
	}
}

func (d *decoder) setting(b *hcl.Block) {
	var in settingBlock
	before := len(d.diags)
	if !d.body(b.Body, &in) {
		return
	}
	d.need(b.Body, "value", in.Value)
	meta := config.Owned()
	meta.ID = b.Labels[0]
	s := config.Setting{Position: config.PositionOf(b.DefRange), Resource: resource.Setting{Meta: meta, Value: d.json(in.Value)}}
	if d.valid("setting", &s.Resource, b.Body, b.DefRange, before) {
		d.out.Resources.Settings = append(d.out.Resources.Settings, s)
	}
}

func (d *decoder) mcpServer(b *hcl.Block) {
	var in mcpServerBlock
	before := len(d.diags)
	rest, body := split[resource.MCPServer](b.Body, in)
	if !d.body(body, &in) {
		return
	}
	s := config.MCPServer{
		Position: config.PositionOf(b.DefRange), Resource: resource.MCPServer{Meta: config.Owned(), Name: b.Labels[0]},
		Credential: in.Credential, Secrets: d.secrets("mcp_server", in.Secrets, b.Body, b.DefRange),
	}
	d.rest(rest, &s.Resource)
	if d.valid("mcp_server", &s.Resource, b.Body, b.DefRange, before) {
		d.out.Resources.MCPServers = append(d.out.Resources.MCPServers, s)
	}
}

func (d *decoder) passThrough(b *hcl.Block) {
	var in passThroughBlock
	before := len(d.diags)
	rest, body := split[resource.PassThroughEndpoint](b.Body, in)
	if !d.body(body, &in) {
		return
	}
	e := config.PassThroughEndpoint{
		Position: config.PositionOf(b.DefRange), Resource: resource.PassThroughEndpoint{Meta: config.Owned(), Name: b.Labels[0]},
		Secrets: d.secrets("pass_through_endpoint", in.Secrets, b.Body, b.DefRange),
	}
	d.rest(rest, &e.Resource)
	if d.valid("pass_through_endpoint", &e.Resource, b.Body, b.DefRange, before) {
		d.out.Resources.PassThrough = append(d.out.Resources.PassThrough, e)
	}
}
