package mcp

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/conclave-llm/conclave/adminapi/litellm/fields"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/config/litellm"
	"github.com/conclave-llm/conclave/resource"
)

// renamed are LiteLLM's fields that only have another name.
var renamed = map[string]string{
	"server_id": "id", "server_name": "name", "alias": "alias", "description": "description", "url": "url", "transport": "transport",
	"command": "command", "args": "args", "allowed_tools": "allowed_tools", "disallowed_tools": "disallowed_tools",
	"extra_headers": "forward_headers", "mcp_access_groups": "access_groups", "allow_all_keys": "allow_all_keys",
	"max_concurrent_requests": "parallel", "spec_path": "spec",
}

// ignored are fields that change nothing: others say the same, or they are for people.
var ignored = []string{"spec_version", "status", "source_url", "created_by", "updated_by", "tool_name_to_display_name", "tool_name_to_description"}

// document turns LiteLLM's fields into those of a server, or of a merge patch. What would bound
// or open a server and is not known here is refused.
func document(in records.Document, whole bool) (records.Document, error) {
	out := records.Document{}
	rename(in, out)
	if _, ok := out["name"]; !ok && whole {
		out["name"] = out["alias"]
		delete(out, "alias")
	}
	if string(out["transport"]) == `"streamable_http"` {
		out["transport"] = json.RawMessage(`"http"`)
	}
	if out["spec"] != nil {
		out["transport"] = json.RawMessage(`"openapi"`)
	}
	if _, ok := out["transport"]; !ok && whole && out["command"] == nil {
		out["transport"] = json.RawMessage(`"sse"`) // LiteLLM's default
	}
	if err := takeAuth(in, out); err != nil {
		return nil, err
	}
	if err := takeInfo(in, out); err != nil {
		return nil, err
	}
	if err := takeTimeout(in, out); err != nil {
		return nil, err
	}
	for _, name := range ignored {
		delete(in, name)
	}
	return out, fields.Refuse(in, slices.Sorted(maps.Keys(in)))
}

// rename moves what only has another name; null and no text are nothing.
func rename(in, out records.Document) {
	for theirs, ours := range renamed {
		if v, ok := in[theirs]; ok && !records.IsNull(v) && string(v) != `""` {
			out[ours] = v
		}
		delete(in, theirs)
	}
}

// takeTimeout takes the time-out, which is in seconds.
func takeTimeout(in, out records.Document) error {
	var seconds float64
	if err := in.Take("timeout", &seconds); err != nil || seconds <= 0 {
		return err
	}
	return out.Set("timeout_ms", int64(seconds*1000))
}

// takeAuth takes how the server is told who asks, and all that may be secret.
func takeAuth(in, out records.Document) error {
	var kind string
	if err := in.Take("auth_type", &kind); err != nil {
		return err
	}
	auth, ok := litellm.MCPAuths[kind]
	if !ok {
		return wire.Invalid("auth_type", "is not one of none, api_key, bearer_token, token, basic, authorization, oauth2")
	}
	if auth != "" {
		if err := out.Set("auth", auth); err != nil {
			return err
		}
	}
	secrets := map[string]string{}
	var credentials struct {
		AuthValue string   `json:"auth_value"`
		ID        string   `json:"client_id"`
		Secret    string   `json:"client_secret"`
		Scopes    []string `json:"scopes"`
	}
	if err := in.Take("credentials", &credentials); err != nil {
		return err
	}
	for _, name := range []string{"authentication_token", "auth_value"} {
		v := ""
		if err := in.Take(name, &v); err != nil {
			return err
		}
		if v == "" {
			v = credentials.AuthValue
		}
		if v != "" {
			secrets[resource.MCPSecretAuth] = v
		}
	}
	if credentials.Secret != "" {
		secrets[resource.MCPSecretClient] = credentials.Secret
	}
	if err := takeOAuth(in, out, auth, credentials.ID, credentials.Scopes); err != nil {
		return err
	}
	if err := takeSecrets(in, secrets); err != nil {
		return err
	}
	if len(secrets) == 0 {
		return nil
	}
	return out.Set("secrets", secrets)
}

// takeSecrets takes variables and headers, any of which may be secret.
func takeSecrets(in records.Document, secrets map[string]string) error {
	for theirs, prefix := range map[string]string{"env": resource.MCPSecretEnv, "static_headers": resource.MCPSecretHeader} {
		all := map[string]string{}
		if err := in.Take(theirs, &all); err != nil {
			return err
		}
		for name, v := range all {
			secrets[prefix+name] = v
		}
	}
	return nil
}

// oauthFields are LiteLLM's fields of where tokens are got.
var oauthFields = map[string]string{
	"oauth2_flow": "flow", "issuer": "issuer", "authorization_url": "authorization_url", "token_url": "token_url", "registration_url": "registration_url",
}

// takeOAuth takes where tokens are got, and who the gateway is there.
func takeOAuth(in, out records.Document, auth resource.MCPAuth, id string, scopes []string) error {
	o := map[string]any{}
	for theirs, ours := range oauthFields {
		v := ""
		if err := in.Take(theirs, &v); err != nil {
			return err
		}
		if v != "" {
			o[ours] = v
		}
	}
	if id != "" {
		o["client_id"] = id
	}
	if len(scopes) > 0 {
		o["scopes"] = scopes
	}
	if len(o) == 0 {
		return nil
	}
	if auth != "" && auth != resource.MCPAuthOAuth {
		return wire.Invalid("auth_type", "is not oauth2, which the other fields are for")
	}
	return out.Set("oauth", o)
}

// takeInfo takes the prices; what else is there is for people.
func takeInfo(in, out records.Document) error {
	var info struct {
		Costs struct {
			Default *resource.Money           `json:"default_cost_per_query"`
			Tools   map[string]resource.Money `json:"tool_name_to_cost_per_query"`
		} `json:"mcp_server_cost_info"`
	}
	if raw, ok := in["mcp_info"]; ok && !records.IsNull(raw) {
		if err := json.Unmarshal(raw, &info); err != nil {
			return wire.Invalid("mcp_info", err.Error())
		}
	}
	delete(in, "mcp_info")
	if info.Costs.Default != nil {
		if err := out.Set("cost_per_call", *info.Costs.Default); err != nil {
			return err
		}
	}
	if info.Costs.Tools == nil {
		return nil
	}
	return out.Set("tool_costs", info.Costs.Tools)
}
