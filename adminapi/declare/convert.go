package declare

import (
	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/resource"
)

// FromConfig is what a configuration file declares.
func FromConfig(r *config.Resources) File {
	d := File{At: map[string]string{}}
	at := func(kind, name string, p config.Position) {
		if p.Line > 0 {
			d.At[kind+" "+name] = p.String()
		}
	}
	for _, c := range r.Credentials {
		out := Credential{Record: c.Resource}
		out.APIKey, out.Sealed = secretOf(c.APIKey)
		out.Secrets = secretsOf(c.Secrets)
		d.Credentials = append(d.Credentials, out)
		at("credential", c.Resource.Name, c.Position)
	}
	for _, m := range r.Models {
		out := Model{Record: m.Resource, Budget: m.SharedBudget}
		for _, dep := range m.Deployments {
			one := Deployment{Record: dep.Resource, Credential: dep.Credential, Budget: dep.SharedBudget}
			one.APIKey, one.Sealed = secretOf(dep.APIKey)
			one.Secrets = secretsOf(dep.Secrets)
			out.Deployments = append(out.Deployments, one)
			at("deployment", m.Resource.Name+"/"+dep.Resource.Name, dep.Position)
		}
		d.Models = append(d.Models, out)
		at("model", m.Resource.Name, m.Position)
	}
	d.plain(r, at)
	d.holders(r, at)
	return d
}

// plain takes what refers to nothing.
func (d *File) plain(r *config.Resources, at func(kind, name string, p config.Position)) {
	for _, b := range r.Budgets {
		d.Budgets = append(d.Budgets, b.Resource)
		at("budget", b.Resource.Name, b.Position)
	}
	for _, g := range r.Guardrails {
		d.Guardrails = append(d.Guardrails, Guardrail{Guardrail: g.Resource, Secrets: secretsOf(g.Secrets)})
		at("guardrail", g.Resource.Name, g.Position)
	}
	for _, c := range r.Callbacks {
		d.Callbacks = append(d.Callbacks, Callback{Record: c.Resource, Secrets: secretsOf(c.Secrets)})
		at("callback", c.Resource.Name, c.Position)
	}
	for _, c := range r.SecretSources {
		d.SecretSources = append(d.SecretSources, SecretSource{Record: c.Resource, Secrets: secretsOf(c.Secrets)})
		at("secret_source", c.Resource.Name, c.Position)
	}
	for _, c := range r.Auths {
		d.Auths = append(d.Auths, Auth{Record: c.Resource, Secrets: secretsOf(c.Secrets)})
		at("auth", c.Resource.Name, c.Position)
	}
	for _, c := range r.RouterFilters {
		d.RouterFilters = append(d.RouterFilters, RouterFilter{Record: c.Resource, Secrets: secretsOf(c.Secrets)})
		at("router_filter", c.Resource.Name, c.Position)
	}
	for _, g := range r.AccessGroups {
		d.AccessGroups = append(d.AccessGroups, AccessGroup{AccessGroup: g.Resource, Budget: g.SharedBudget})
		at("access_group", g.Resource.Name, g.Position)
	}
	for _, p := range r.Plugins {
		d.Plugins = append(d.Plugins, p.Resource)
		at("plugin", p.Resource.Name, p.Position)
	}
	for _, s := range r.MCPServers {
		d.MCPServers = append(d.MCPServers, MCPServer{Record: s.Resource, Credential: s.Credential, Secrets: secretsOf(s.Secrets)})
		at("mcp_server", s.Resource.Name, s.Position)
	}
	d.Environment = secretsOf(r.Environment)
	for name, p := range r.EnvironmentAt {
		at("variable", name, p)
	}
	for _, e := range r.PassThrough {
		d.PassThrough = append(d.PassThrough, PassThrough{Record: e.Resource, Secrets: secretsOf(e.Secrets)})
		at("pass_through_endpoint", e.Resource.Name, e.Position)
	}
	for _, p := range r.Prompts {
		d.Prompts = append(d.Prompts, p.Resource)
		at("prompt", p.Resource.Name, p.Position)
	}
	for _, s := range r.Settings {
		d.Settings = append(d.Settings, s.Resource)
		at("setting", s.Resource.ID, s.Position)
	}
}

// holders takes what can be limited.
func (d *File) holders(r *config.Resources, at func(kind, name string, p config.Position)) {
	for _, o := range r.Organizations {
		d.Organizations = append(d.Organizations, Organization{Record: o.Resource, Budget: o.SharedBudget})
		at("organization", o.Resource.Name, o.Position)
	}
	for _, t := range r.Teams {
		out := Team{Record: t.Resource, Organization: t.Organization, Budget: t.SharedBudget}
		for _, m := range t.Members {
			out.Members = append(out.Members, Member{Record: m.Resource, Budget: m.SharedBudget})
			at("member", t.Resource.Name+"/"+m.Resource.UserID, m.Position)
		}
		d.Teams = append(d.Teams, out)
		at("team", t.Resource.Name, t.Position)
	}
	for _, p := range r.Projects {
		d.Projects = append(d.Projects, Project{Record: p.Resource, Team: p.Team, Budget: p.SharedBudget})
		at("project", p.Resource.Name, p.Position)
	}
	for _, u := range r.Users {
		d.Users = append(d.Users, User{Record: u.Resource, Organization: u.Organization, Budget: u.SharedBudget})
		at("user", u.Resource.ID, u.Position)
	}
	for _, c := range r.Customers {
		d.Customers = append(d.Customers, Customer{Record: c.Resource, Budget: c.SharedBudget})
		at("customer", c.Resource.ID, c.Position)
	}
	for _, t := range r.Tags {
		d.Tags = append(d.Tags, Tag{Record: t.Resource, Budget: t.SharedBudget})
		at("tag", t.Resource.ID, t.Position)
	}
	for _, k := range r.Keys {
		out := Key{Record: k.Resource, Team: k.Team, Project: k.Project, Budget: k.SharedBudget}
		out.RotationKey, out.RotationSealed = secretOf(k.RotationKey)
		d.Keys = append(d.Keys, out)
		at("key", k.Resource.Name, k.Position)
	}
}

// secretOf is a secret in the clear, or the fingerprint of a stored one.
func secretOf(s config.Secret) (text, sealed string) {
	if print, _, ok := s.Sealed(); ok {
		return "", print
	}
	return s.Reveal(), ""
}

// secretsOf is secretOf of secrets by name.
func secretsOf(all map[string]config.Secret) map[string]Secret {
	if len(all) == 0 {
		return nil
	}
	out := make(map[string]Secret, len(all))
	for name, s := range all {
		text, sealed := secretOf(s)
		out[name] = Secret{Text: text, Sealed: sealed}
	}
	return out
}

// ToConfig is the file's records as package config writes them.
func (d *File) ToConfig() *config.Resources {
	r := &config.Resources{}
	for _, c := range d.Credentials {
		r.Credentials = append(r.Credentials, config.Credential{Resource: c.Record, APIKey: sealedOf(c.Sealed), Secrets: allSealed(c.Secrets)})
	}
	for _, m := range d.Models {
		out := config.Model{Resource: m.Record, SharedBudget: m.Budget}
		for _, dep := range m.Deployments {
			out.Deployments = append(out.Deployments, config.Deployment{
				Resource: dep.Record, Credential: dep.Credential, SharedBudget: dep.Budget, APIKey: sealedOf(dep.Sealed), Secrets: allSealed(dep.Secrets),
			})
		}
		r.Models = append(r.Models, out)
	}
	each(d.Budgets, func(b resource.Budget) { r.Budgets = append(r.Budgets, config.Budget{Resource: b}) })
	each(d.Guardrails, func(g Guardrail) {
		r.Guardrails = append(r.Guardrails, config.Guardrail{Resource: g.Guardrail, Secrets: allSealed(g.Secrets)})
	})
	each(d.Callbacks, func(c Callback) {
		r.Callbacks = append(r.Callbacks, config.Callback{Resource: c.Record, Secrets: allSealed(c.Secrets)})
	})
	each(d.SecretSources, func(c SecretSource) {
		r.SecretSources = append(r.SecretSources, config.SecretSource{Resource: c.Record, Secrets: allSealed(c.Secrets)})
	})
	each(d.Auths, func(c Auth) {
		r.Auths = append(r.Auths, config.Auth{Resource: c.Record, Secrets: allSealed(c.Secrets)})
	})
	each(d.RouterFilters, func(c RouterFilter) {
		r.RouterFilters = append(r.RouterFilters, config.RouterFilter{Resource: c.Record, Secrets: allSealed(c.Secrets)})
	})
	each(d.AccessGroups, func(g AccessGroup) {
		r.AccessGroups = append(r.AccessGroups, config.AccessGroup{Resource: g.AccessGroup, SharedBudget: g.Budget})
	})
	each(d.Plugins, func(p resource.Plugin) { r.Plugins = append(r.Plugins, config.Plugin{Resource: p}) })
	each(d.MCPServers, func(s MCPServer) {
		r.MCPServers = append(r.MCPServers, config.MCPServer{Resource: s.Record, Credential: s.Credential, Secrets: allSealed(s.Secrets)})
	})
	r.Environment = allSealed(d.Environment)
	each(d.PassThrough, func(e PassThrough) {
		r.PassThrough = append(r.PassThrough, config.PassThroughEndpoint{Resource: e.Record, Secrets: allSealed(e.Secrets)})
	})
	each(d.Prompts, func(p resource.Prompt) { r.Prompts = append(r.Prompts, config.Prompt{Resource: p}) })
	each(d.Settings, func(s resource.Setting) { r.Settings = append(r.Settings, config.Setting{Resource: s}) })
	d.holdersTo(r)
	return r
}

func (d *File) holdersTo(r *config.Resources) {
	for _, o := range d.Organizations {
		r.Organizations = append(r.Organizations, config.Organization{Resource: o.Record, SharedBudget: o.Budget})
	}
	for _, t := range d.Teams {
		out := config.Team{Resource: t.Record, Organization: t.Organization, SharedBudget: t.Budget}
		for _, m := range t.Members {
			out.Members = append(out.Members, config.Member{Resource: m.Record, SharedBudget: m.Budget})
		}
		r.Teams = append(r.Teams, out)
	}
	for _, p := range d.Projects {
		r.Projects = append(r.Projects, config.Project{Resource: p.Record, Team: p.Team, SharedBudget: p.Budget})
	}
	for _, u := range d.Users {
		r.Users = append(r.Users, config.User{Resource: u.Record, Organization: u.Organization, SharedBudget: u.Budget})
	}
	for _, c := range d.Customers {
		r.Customers = append(r.Customers, config.Customer{Resource: c.Record, SharedBudget: c.Budget})
	}
	for _, t := range d.Tags {
		r.Tags = append(r.Tags, config.Tag{Resource: t.Record, SharedBudget: t.Budget})
	}
	for _, k := range d.Keys {
		r.Keys = append(r.Keys, config.Key{
			Resource: k.Record, Team: k.Team, Project: k.Project, SharedBudget: k.Budget, RotationKey: sealedOf(k.RotationSealed),
		})
	}
}

func each[T any](list []T, visit func(T)) {
	for _, e := range list {
		visit(e)
	}
}

func sealedOf(print string) config.Secret {
	if print == "" {
		return ""
	}
	return config.SealedSecret(print, "")
}

func allSealed(all map[string]Secret) map[string]config.Secret {
	if len(all) == 0 {
		return nil
	}
	out := make(map[string]config.Secret, len(all))
	for name, s := range all {
		out[name] = sealedOf(s.Sealed)
	}
	return out
}
