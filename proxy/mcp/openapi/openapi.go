// Package openapi reads a document of OpenAPI 3 as tools: one for each operation, whose arguments
// are its parameters and its body, and whose call is a request of HTTP.
//
//	openapi.go   a document and its operations
//	schema.go    the schemas of arguments, whole, without references
//	request.go   the request that a call makes
package openapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// The bounds of a document.
const (
	MaxDocument   = 8 << 20 // bytes
	maxOperations = 2000
	maxSchema     = 64 << 10 // bytes of one tool's schema
	maxText       = 2048     // bytes of a description
)

// Operation is one tool.
type Operation struct {
	Name        string // operationId, else the method and the path
	Description string
	Schema      json.RawMessage // of its arguments, an object
	ReadOnly    bool            // its method changes nothing

	method, path string
	params       []param
	body         string // the argument that is the body; "": there is none
}

// param is a parameter, and the argument that it is of.
type param struct {
	argument, name, in string
	required           bool
	explode            bool
}

// Document is what is read of an OpenAPI document.
type Document struct {
	Server     string // the first one's URL, "" for none
	Operations []Operation
}

// document is an OpenAPI document as it is written.
type document struct {
	OpenAPI string `json:"openapi"`
	Swagger string `json:"swagger"`
	Servers []struct {
		URL string `json:"url"`
	} `json:"servers"`
	Paths map[string]map[string]json.RawMessage `json:"paths"`
}

// operation is one as it is written.
type operation struct {
	ID          string            `json:"operationId"`
	Summary     string            `json:"summary"`
	Description string            `json:"description"`
	Parameters  []json.RawMessage `json:"parameters"`
	Body        json.RawMessage   `json:"requestBody"`
}

// methods are those that are tools; the value says that one changes nothing.
var methods = map[string]bool{"get": true, "head": true, "post": false, "put": false, "patch": false, "delete": false}

// Parse reads a document, which is JSON. An error says where it is wrong.
func Parse(b []byte) (*Document, error) {
	if len(b) > MaxDocument {
		return nil, fmt.Errorf("the document has over %d MiB", MaxDocument>>20)
	}
	var doc document
	var root any
	if err := errors.Join(json.Unmarshal(b, &doc), json.Unmarshal(b, &root)); err != nil {
		return nil, fmt.Errorf("read OpenAPI document, which must be JSON: %w", err)
	}
	switch {
	case doc.Swagger != "":
		return nil, fmt.Errorf("the document is of Swagger %.8s; convert it to OpenAPI 3", doc.Swagger)
	case !strings.HasPrefix(doc.OpenAPI, "3."):
		return nil, fmt.Errorf("openapi: %.16q is not 3.x", doc.OpenAPI)
	}
	out := &Document{}
	if len(doc.Servers) > 0 {
		out.Server = doc.Servers[0].URL
	}
	r := &resolver{root: root}
	names := map[string]bool{}
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		item := doc.Paths[path]
		for _, method := range slices.Sorted(maps.Keys(item)) {
			readOnly, ok := methods[method]
			if !ok {
				continue
			}
			o, err := r.operation(method, path, item[method], item["parameters"])
			if err != nil {
				return nil, fmt.Errorf("paths.%s.%s: %w", path, method, err)
			}
			if names[o.Name] {
				return nil, fmt.Errorf("paths.%s.%s: another operation is called %s too", path, method, o.Name)
			}
			o.ReadOnly, names[o.Name] = readOnly, true
			if out.Operations = append(out.Operations, *o); len(out.Operations) > maxOperations {
				return nil, fmt.Errorf("the document has more than %d operations", maxOperations)
			}
		}
	}
	return out, nil
}

// operation reads one. shared are the parameters of its path.
func (r *resolver) operation(method, path string, raw, shared json.RawMessage) (*Operation, error) {
	var in operation
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(path, "/") {
		return nil, errors.New("a path begins with a slash")
	}
	o := &Operation{Name: nameOf(in.ID, method, path), Description: describe(in.Summary, in.Description), method: strings.ToUpper(method), path: path}
	s := newSchema()
	all := in.Parameters
	if len(shared) > 0 {
		var more []json.RawMessage
		if err := json.Unmarshal(shared, &more); err != nil {
			return nil, fmt.Errorf("parameters: %w", err)
		}
		all = append(slices.Clone(all), more...) // an operation's own come first, and win
	}
	for i, raw := range all {
		if err := r.parameter(o, s, raw); err != nil {
			return nil, fmt.Errorf("parameters[%d]: %w", i, err)
		}
	}
	if err := r.requestBody(o, s, in.Body); err != nil {
		return nil, fmt.Errorf("requestBody: %w", err)
	}
	for _, name := range templated(path) {
		if !slices.ContainsFunc(o.params, func(p param) bool { return p.in == "path" && p.name == name }) {
			return nil, fmt.Errorf("the path has {%s}, which is no parameter", name)
		}
	}
	o.Schema = s.bytes()
	return o, nil
}

// nameOf is the name of a tool: letters, digits, dashes and underscores.
func nameOf(id, method, path string) string {
	if id == "" {
		id = method + path
	}
	name := strings.Trim(strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' {
			return c
		}
		return '_'
	}, id), "_")
	return name[:min(len(name), 128)]
}

func describe(summary, more string) string {
	text := strings.TrimSpace(summary)
	if more = strings.TrimSpace(more); more != "" && more != text {
		text = strings.TrimSpace(text + "\n" + more)
	}
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}

// templated are the names in braces in a path.
func templated(path string) (names []string) {
	for {
		_, rest, ok := strings.Cut(path, "{")
		if !ok {
			return names
		}
		var name string
		if name, path, ok = strings.Cut(rest, "}"); !ok {
			return names
		}
		names = append(names, name)
	}
}

// parameter reads a parameter into the arguments. What a caller may not choose, headers of the
// connection or of who asks, is left out, and so are cookies.
func (r *resolver) parameter(o *Operation, s *schema, raw json.RawMessage) error {
	v, err := r.resolve(raw)
	if err != nil {
		return err
	}
	name, _ := v["name"].(string)
	in, _ := v["in"].(string)
	required, _ := v["required"].(bool)
	if name == "" {
		return errors.New("it has no name")
	}
	if slices.ContainsFunc(o.params, func(p param) bool { return p.name == name && p.in == in }) {
		return nil
	}
	switch in {
	case "path":
		required = true
	case "query":
	case "header":
		if !ownHeader(name) {
			return nil
		}
	default:
		return nil
	}
	explode := true
	if e, ok := v["explode"].(bool); ok {
		explode = e
	}
	argument := name
	if s.has(argument) {
		argument = in + "_" + name
	}
	of, ok := v["schema"].(map[string]any)
	if !ok {
		of = map[string]any{"type": "string"}
	}
	of = r.inline(of, 0)
	if d, _ := v["description"].(string); d != "" && of["description"] == nil {
		of["description"] = describe("", d)
	}
	s.add(argument, of, required)
	o.params = append(o.params, param{argument: argument, name: name, in: in, required: required, explode: explode})
	return nil
}

// ownHeader says whether a caller may choose a header.
func ownHeader(name string) bool {
	switch strings.ToLower(name) {
	case "authorization", "cookie", "host", "content-length", "content-type", "accept", "connection", "transfer-encoding", "upgrade",
		"proxy-authorization", "te", "trailer", "x-api-key", "api-key":
		return false
	}
	return true
}

// requestBody makes a body of JSON an argument.
func (r *resolver) requestBody(o *Operation, s *schema, raw json.RawMessage) error {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	v, err := r.resolve(raw)
	if err != nil {
		return err
	}
	content, _ := v["content"].(map[string]any)
	for kind, media := range content {
		if base, _, _ := strings.Cut(kind, ";"); base != "application/json" && !strings.HasSuffix(base, "+json") {
			continue
		}
		m, _ := media.(map[string]any)
		of, _ := m["schema"].(map[string]any)
		required, _ := v["required"].(bool)
		o.body = "body"
		if s.has(o.body) {
			o.body = "request_body"
		}
		s.add(o.body, r.inline(of, 0), required)
		return nil
	}
	if required, _ := v["required"].(bool); required {
		o.Description = describe(o.Description, "This operation takes a body that is no JSON, and cannot be called.")
	}
	return nil
}

// Base is where requests go: the address that is given, else the document's own, which must be absolute.
func (d *Document) Base(given string) (*url.URL, error) {
	base := given
	if base == "" {
		base = d.Server
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.ContainsAny(base, "{}") {
		return nil, fmt.Errorf("%.200q is no address to send requests to; give url", base)
	}
	return u, nil
}
