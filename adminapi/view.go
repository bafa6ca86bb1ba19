package adminapi

import (
	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/resource"
)

// detail says how much of a record a view shows. The zero value is for a list.
type detail struct {
	alone  bool
	secret string // of a key that was just made
}

// view makes of a record what a client sees.
type view[P, V any] func(r P, d detail) V

func (s *Server) modelView(m *resource.Model, d detail) client.Model {
	v := client.Model{Model: *m}
	if d.alone {
		for _, dep := range s.cfg.State.Catalog().Deployments(m.ID) {
			v.Deployments = append(v.Deployments, deploymentView(dep, detail{}))
		}
	}
	return v
}

func deploymentView(d *resource.Deployment, _ detail) client.Deployment {
	return client.Deployment{Deployment: *d, APIKey: client.Shown(d.APIKey), Secrets: client.ShownAll(d.Secrets)}
}

func credentialView(c *resource.Credential, _ detail) client.Credential {
	return client.Credential{Credential: *c, APIKey: client.Shown(c.APIKey), Secrets: client.ShownAll(c.Secrets)}
}

func passThroughView(e *resource.PassThroughEndpoint, _ detail) client.PassThroughEndpoint {
	return client.PassThroughEndpoint{PassThroughEndpoint: *e, Secrets: client.ShownAll(e.Secrets)}
}

func guardrailView(g *resource.Guardrail, _ detail) client.Guardrail {
	return client.Guardrail{Guardrail: *g, Secrets: client.ShownAll(g.Secrets)}
}

func callbackView(c *resource.Callback, _ detail) client.Callback {
	return client.Callback{Callback: *c, Secrets: client.ShownAll(c.Secrets)}
}

func secretSourceView(c *resource.SecretSource, _ detail) client.SecretSource {
	return client.SecretSource{SecretSource: *c, Secrets: client.ShownAll(c.Secrets)}
}

func authView(c *resource.Auth, _ detail) client.Auth {
	return client.Auth{Auth: *c, Secrets: client.ShownAll(c.Secrets)}
}

func routerFilterView(c *resource.RouterFilter, _ detail) client.RouterFilter {
	return client.RouterFilter{RouterFilter: *c, Secrets: client.ShownAll(c.Secrets)}
}

func (s *Server) accessGroupView(g *resource.AccessGroup, d detail) client.AccessGroup {
	v := client.AccessGroup{AccessGroup: *g}
	if d.alone {
		v.AssignedTeamIDs, v.AssignedKeyIDs = s.cfg.State.Grouped(g.ID)
		v.Accounts = s.rs.Accounts(resource.HolderAccessGroup + "/" + g.ID)
	}
	return v
}

func mcpServerView(m *resource.MCPServer, _ detail) client.MCPServer {
	return client.MCPServer{MCPServer: *m, Secrets: client.ShownAll(m.Secrets)}
}

func (s *Server) variableView(v *resource.Variable, _ detail) client.Variable {
	return client.Variable{Variable: *v, Value: client.Shown(v.Value), Overridden: s.cfg.Overrides != nil && s.cfg.Overrides(v.ID)}
}

// settingView adds what the setting may be. One that nobody has set has no version.
func settingView(r *resource.Setting, _ detail) client.Setting {
	v := client.Setting{Setting: *r, Unset: r.Version == 0}
	if info, ok := resource.LookupSetting(r.ID); ok {
		v.Type, v.Default, v.Help = info.Type, info.Default, info.Help
	}
	return v
}

// plainView shows a record as it is.
func plainView[R any](r *R, _ detail) R { return *r }
