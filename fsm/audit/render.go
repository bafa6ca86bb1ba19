package audit

import (
	"encoding/json"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/alert"
)

// records makes an empty record of each kind, so that its fields are shown as the admin API
// shows them. A kind that is not here is shown with plain numbers.
var records = map[string]func() any{
	"key":                   func() any { return new(resource.Key) },
	"team":                  func() any { return new(resource.Team) },
	"organization":          func() any { return new(resource.Organization) },
	"project":               func() any { return new(resource.Project) },
	"user":                  func() any { return new(resource.User) },
	"customer":              func() any { return new(resource.Customer) },
	"tag":                   func() any { return new(resource.Tag) },
	"model":                 func() any { return new(resource.Model) },
	"deployment":            func() any { return new(resource.Deployment) },
	"credential":            func() any { return new(resource.Credential) },
	"budget":                func() any { return new(resource.Budget) },
	"guardrail":             func() any { return new(resource.Guardrail) },
	"callback":              func() any { return new(resource.Callback) },
	"secret_source":         func() any { return new(resource.SecretSource) },
	"auth":                  func() any { return new(resource.Auth) },
	"access_group":          func() any { return new(resource.AccessGroup) },
	"router_filter":         func() any { return new(resource.RouterFilter) },
	"plugin":                func() any { return new(resource.Plugin) },
	"mcp_server":            func() any { return new(resource.MCPServer) },
	"variable":              func() any { return new(resource.Variable) },
	"setting":               func() any { return new(resource.Setting) },
	"price":                 func() any { return new(resource.PriceTable) },
	"member":                func() any { return new(resource.Member) },
	"response":              func() any { return new(resource.Response) },
	"alert":                 func() any { return new(alert.Alert) },
	"erasure":               func() any { return new(resource.Erasure) },
	"blob":                  func() any { return new(resource.Blob) },
	"team_member":           func() any { return new(resource.TeamMember) },
	"pass_through_endpoint": func() any { return new(resource.PassThroughEndpoint) },
	"artifact":              func() any { return new(resource.Artifact) },
	"prompt":                func() any { return new(resource.Prompt) },
	"mcp_token":             func() any { return new(resource.MCPToken) },
}

// render gives a document as JSON, nil for none.
func render(kind string, doc codec.Raw) json.RawMessage {
	if len(doc) == 0 {
		return nil
	}
	var fields map[string]codec.Raw
	if codec.Unmarshal(doc, &fields) != nil {
		return nil
	}
	shown, ok := renderRecord(kind, doc, fields)
	if !ok {
		shown = make(map[string]json.RawMessage, len(fields))
		for name, raw := range fields {
			shown[name] = renderField(kind, name, raw)
		}
	}
	out, err := json.Marshal(shown)
	if err != nil {
		return nil
	}
	return out
}

// renderField shows one field as the record has it, or else as it is encoded.
func renderField(kind, name string, raw codec.Raw) json.RawMessage {
	doc := appendHead(appendHead(nil, cborMap, 1), cborText, uint64(len(name)))
	doc = append(append(doc, name...), raw...)
	if one, ok := renderRecord(kind, doc, map[string]codec.Raw{name: raw}); ok {
		return one[name]
	}
	var v any
	if codec.Unmarshal(raw, &v) != nil {
		return nil
	}
	b, err := json.Marshal(showable(v))
	if err != nil {
		return nil
	}
	return b
}

// renderRecord shows the fields of the document, and no other, as the record has them.
func renderRecord(kind string, doc codec.Raw, fields map[string]codec.Raw) (map[string]json.RawMessage, bool) {
	empty, ok := records[kind]
	if !ok {
		return nil, false
	}
	rec := empty()
	if codec.Unmarshal(doc, rec) != nil {
		return nil, false // it has fields of another version, or flags
	}
	b, err := json.Marshal(rec)
	if err != nil {
		return nil, false
	}
	var all map[string]json.RawMessage
	if json.Unmarshal(b, &all) != nil {
		return nil, false
	}
	shown := make(map[string]json.RawMessage, len(fields))
	for name := range fields {
		v, ok := all[name]
		if !ok {
			v = json.RawMessage("null")
		}
		shown[name] = v
	}
	return shown, true
}

// showable makes of what CBOR holds something that JSON can hold.
func showable(v any) any {
	switch v := v.(type) {
	case []byte:
		if json.Valid(v) {
			return json.RawMessage(v)
		}
		return v
	case map[any]any:
		out := make(map[string]any, len(v))
		for name, e := range v {
			if s, ok := name.(string); ok {
				out[s] = showable(e)
			}
		}
		return out
	case []any:
		for i := range v {
			v[i] = showable(v[i])
		}
		return v
	default:
		return v
	}
}
