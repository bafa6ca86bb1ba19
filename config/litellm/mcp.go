package litellm

import (
	"cmp"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/resource"
)

// MCPAuths are LiteLLM's names of the ways to prove to an MCP server who asks.
var MCPAuths = map[string]resource.MCPAuth{
	"": "", "none": resource.MCPAuthNone, "bearer_token": resource.MCPAuthBearer, "token": resource.MCPAuthBearer,
	"api_key": resource.MCPAuthKey, "basic": resource.MCPAuthBasic, "authorization": resource.MCPAuthRaw, "oauth2": resource.MCPAuthOAuth,
}

// mcpServers reads LiteLLM's servers, by name.
func (d *decoder) mcpServers(m *mapping) {
	for _, k := range m.keys {
		d.mcpServer(k, d.mapping(m.of(k.Value), m.take(k.Value)))
	}
}

func (d *decoder) mcpServer(name *yaml.Node, m *mapping) {
	s := config.MCPServer{Position: d.position(name), Secrets: map[string]config.Secret{}}
	r := &s.Resource
	r.Meta, r.Name, r.Alias, r.Description = config.Owned(), name.Value, m.text("alias"), m.text("description")
	r.URL, r.Spec, r.Command, r.Args = m.text("url"), m.text("spec_path"), m.text("command"), m.texts("args")
	if r.Transport = d.mcpTransport(m); r.Spec != "" {
		r.Transport = resource.MCPTransportOpenAPI
	}
	r.Auth = d.mcpAuth(m, s.Secrets)
	d.mcpOAuth(r, m, s.Secrets)
	r.ForwardHeaders, r.AllowedTools, r.DisallowedTools = m.texts("extra_headers"), m.texts("allowed_tools"), m.texts("disallowed_tools")
	r.AccessGroups = append(m.texts("access_groups"), m.texts("mcp_access_groups")...)
	r.AllowAllKeys, r.TimeoutMS = m.boolean("allow_all_keys"), m.milliseconds("timeout")
	if n := m.integer("max_concurrent_requests"); n != nil {
		r.Parallel = *n
	}
	for theirs, prefix := range map[string]string{"env": resource.MCPSecretEnv, "static_headers": resource.MCPSecretHeader} {
		of := d.mapping(m.of(theirs), m.take(theirs))
		for _, k := range of.keys {
			s.Secrets[prefix+k.Value] = of.secret(k.Value)
		}
	}
	d.mcpInfo(r, d.mapping(m.of("mcp_info"), m.take("mcp_info")))
	m.take("server_id")    // it gets one here
	m.take("spec_version") // both sides agree on one
	m.end()
	r.Canonicalize()
	if err := r.Validate(); err != nil {
		d.invalid("mcp_server", name, err)
		return
	}
	if len(s.Secrets) == 0 {
		s.Secrets = nil
	}
	d.out.Resources.MCPServers = append(d.out.Resources.MCPServers, s)
}

// mcpTransport is what LiteLLM takes for granted: sse, unless there is a command.
func (d *decoder) mcpTransport(m *mapping) resource.MCPTransport {
	switch t := m.text("transport"); t {
	case "":
		if m.values["command"] != nil {
			return resource.MCPTransportStdio
		}
		return resource.MCPTransportSSE
	case "streamable_http":
		return resource.MCPTransportHTTP
	default:
		return resource.MCPTransport(t)
	}
}

func (d *decoder) mcpAuth(m *mapping, secrets map[string]config.Secret) resource.MCPAuth {
	n := m.values["auth_type"]
	theirs := m.text("auth_type")
	auth, ok := MCPAuths[theirs]
	if !ok {
		d.wrong(n, m.of("auth_type"), "%q is not one of none, api_key, bearer_token, token, basic, authorization, oauth2.", theirs)
	}
	for _, name := range []string{"authentication_token", "auth_value"} {
		if v := m.secret(name); v != "" {
			secrets[resource.MCPSecretAuth] = v
		}
	}
	return auth
}

// mcpOAuth takes where tokens are got, and who the gateway is there.
func (d *decoder) mcpOAuth(r *resource.MCPServer, m *mapping, secrets map[string]config.Secret) {
	o := &resource.MCPOAuth{
		Flow: m.text("oauth2_flow"), Issuer: m.text("issuer"), AuthorizationURL: m.text("authorization_url"), TokenURL: m.text("token_url"),
		RegistrationURL: m.text("registration_url"), ClientID: m.text("client_id"), Scopes: m.texts("scopes"),
	}
	secret := m.secret("client_secret")
	if c := d.mapping(m.of("credentials"), m.take("credentials")); c != nil {
		o.ClientID, secret = cmp.Or(o.ClientID, c.text("client_id")), cmp.Or(secret, c.secret("client_secret"))
		if o.Scopes == nil {
			o.Scopes = c.texts("scopes")
		}
		if v := c.secret("auth_value"); v != "" {
			secrets[resource.MCPSecretAuth] = v
		}
		c.end()
	}
	if secret != "" {
		secrets[resource.MCPSecretClient] = secret
	}
	if !reflect.ValueOf(*o).IsZero() {
		r.OAuth = o
	}
}

// mcpInfo takes the prices; what else LiteLLM has there is for people.
func (d *decoder) mcpInfo(r *resource.MCPServer, info *mapping) {
	costs := d.mapping(info.of("mcp_server_cost_info"), info.take("mcp_server_cost_info"))
	if usd := costs.money("default_cost_per_query"); usd != nil {
		r.CostPerCall = *usd
	}
	tools := d.mapping(costs.of("tool_name_to_cost_per_query"), costs.take("tool_name_to_cost_per_query"))
	for _, k := range tools.keys {
		if usd := tools.money(k.Value); usd != nil {
			if r.ToolCosts == nil {
				r.ToolCosts = map[string]resource.Money{}
			}
			r.ToolCosts[k.Value] = *usd
		}
	}
	costs.end()
	for _, k := range info.left() {
		if !slices.Contains([]string{"server_name", "description", "logo_url"}, k.Value) {
			d.unknown(k, info.of(k.Value))
		}
	}
}
