package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/resource"
)

// desktopServer is a server in the file of a desktop client. What it does not have is refused.
type desktopServer struct {
	Type      string            `json:"type"`
	Transport string            `json:"transport"`
	URL       string            `json:"url"`
	ServerURL string            `json:"serverUrl"`
	Command   string            `json:"command"`
	Args      []string          `json:"args"`
	Env       map[string]string `json:"env"`
	Headers   map[string]string `json:"headers"`
	Disabled  bool              `json:"disabled"`
}

// ParseDesktop reads the MCP servers out of a desktop client's JSON file, by name: its member
// mcpServers, or servers. What stands in env and headers is taken for secret. A character that a
// name cannot have becomes an underscore.
func ParseDesktop(b []byte) ([]MCPServer, error) {
	var file struct {
		MCPServers map[string]json.RawMessage `json:"mcpServers"`
		Servers    map[string]json.RawMessage `json:"servers"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, fmt.Errorf("read desktop configuration: %w", err)
	}
	if file.MCPServers == nil {
		file.MCPServers = file.Servers
	}
	if len(file.MCPServers) == 0 {
		return nil, &resource.Invalid{Field: "mcpServers", Reason: "names no server"}
	}
	var out []MCPServer
	for _, name := range slices.Sorted(maps.Keys(file.MCPServers)) {
		s, err := desktopRecord(name, file.MCPServers[name])
		if err != nil {
			return nil, fmt.Errorf("mcpServers.%s: %w", name, err)
		}
		if slices.ContainsFunc(out, func(have MCPServer) bool { return have.Resource.Name == s.Resource.Name }) {
			return nil, fmt.Errorf("mcpServers.%s: another server is called %s too", name, s.Resource.Name)
		}
		out = append(out, s)
	}
	return out, nil
}

func desktopRecord(name string, raw json.RawMessage) (MCPServer, error) {
	var in desktopServer
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return MCPServer{}, err
	}
	s := MCPServer{Resource: resource.MCPServer{Name: desktopName(name), Disabled: in.Disabled}, Secrets: map[string]Secret{}}
	r := &s.Resource
	r.URL, r.Command, r.Args = in.URL+in.ServerURL, in.Command, in.Args
	switch kind := in.Type + in.Transport; kind {
	case "", "streamable-http", "streamableHttp", "streamable_http":
	default:
		r.Transport = resource.MCPTransport(kind)
	}
	for k, v := range in.Env {
		s.Secrets[resource.MCPSecretEnv+k] = Secret(v)
	}
	for k, v := range in.Headers {
		s.Secrets[resource.MCPSecretHeader+k] = Secret(v)
	}
	maps.DeleteFunc(s.Secrets, func(_ string, v Secret) bool { return v == "" })
	r.Canonicalize()
	return s, r.Validate()
}

func desktopName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}, name)
}

// Document is the server as the admin API takes it, with its secrets in the clear.
func (s *MCPServer) Document() (map[string]any, error) {
	b, err := json.Marshal(&s.Resource)
	if err != nil {
		return nil, err
	}
	doc := map[string]any{}
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, err
	}
	for _, name := range []string{"id", "owner", "version", "created_at", "updated_at", "created_by", "updated_by"} {
		delete(doc, name)
	}
	if len(s.Secrets) > 0 {
		secrets := map[string]any{}
		for name, v := range s.Secrets {
			secrets[name] = v.Reveal()
		}
		doc["secrets"] = secrets
	}
	return doc, nil
}
