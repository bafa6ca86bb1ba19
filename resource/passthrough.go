package resource

import (
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
)

// PassThroughSecretHeader begins the names of the secrets of a pass-through endpoint; the name of a
// header of every request follows.
const PassThroughSecretHeader = "header."

// PassThroughEndpoint is a path of the gateway whose requests go to a URL that an administrator has
// chosen. They pass the whole chain: key, limits, budgets, guardrails and ledger.
type PassThroughEndpoint struct {
	Meta
	Name           string             `json:"name,omitempty"` // unique; default: the path
	Description    string             `json:"description,omitempty"`
	Path           string             `json:"path,omitempty"`   // "/tools/search"
	Target         string             `json:"target,omitempty"` // URL without a query
	IncludeSubpath bool               `json:"include_subpath,omitempty"`
	Methods        []string           `json:"methods,omitempty"` // empty: GET, POST, PUT, PATCH and DELETE
	Headers        map[string]string  `json:"headers,omitempty"` // of every request
	Secrets        map[string]*Sealed `json:"secrets,omitempty"` // the same, sealed: "header.NAME"
	ForwardHeaders bool               `json:"forward_headers,omitempty"`
	Query          map[string]string  `json:"query,omitempty"` // where the client's has not the name
	NoAuth         bool               `json:"no_auth,omitempty"`
	CostPerRequest Money              `json:"cost_per_request,omitempty"` // US dollars
	Guardrails     []string           `json:"guardrails,omitempty"`       // beside those that always apply
	TimeoutMS      int64              `json:"timeout_ms,omitempty"`
	Disabled       bool               `json:"disabled,omitempty"`
}

// passThroughMethods are those that an endpoint may have.
var passThroughMethods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// Label implements Record.
func (e *PassThroughEndpoint) Label() string { return e.Name }

// Canonicalize implements Record.
func (e *PassThroughEndpoint) Canonicalize() {
	if e.Name == "" {
		e.Name = e.Path
	}
	for i, m := range e.Methods {
		e.Methods[i] = strings.ToUpper(m)
	}
	slices.Sort(e.Methods)
	e.Methods = slices.Compact(e.Methods)
	if len(e.Methods) == 0 {
		e.Methods = nil
	}
}

// Validate implements Record.
func (e *PassThroughEndpoint) Validate() error {
	switch {
	case e.Name == "" || len(e.Name) > 256:
		return invalidf("name", "must have 1 to 256 bytes")
	case len(e.Description) > maxMCPArg:
		return invalidf("description", "is longer than %d bytes", maxMCPArg)
	case !validPassThroughPath(e.Path):
		return invalidf("path", "%q is not a path such as /tools/search, of letters, digits and -._~", e.Path)
	case e.CostPerRequest < 0:
		return invalidf("cost_per_request", "must not be negative")
	case e.TimeoutMS < 0 || e.TimeoutMS > maxTimeoutMS:
		return invalidf("timeout_ms", "is not between 0 and %d", maxTimeoutMS)
	}
	if err := validBase("target", e.Target); err != nil || e.Target == "" {
		if err == nil {
			err = invalidf("target", "must be given")
		}
		return err
	}
	for _, m := range e.Methods {
		if !slices.Contains(passThroughMethods, m) {
			return invalidf("methods", "%q is not one of %s", m, strings.Join(passThroughMethods, ", "))
		}
	}
	if err := validNames("guardrails", e.Guardrails); err != nil {
		return err
	}
	return e.validateHeaders()
}

func (e *PassThroughEndpoint) validateHeaders() error {
	if len(e.Headers) > maxOptions || len(e.Secrets) > maxOptions || len(e.Query) > maxOptions {
		return invalidf("headers", "headers, secrets and query have at most %d entries each", maxOptions)
	}
	for _, name := range sortedKeys(e.Headers) {
		if err := validHeader("headers", name, e.Headers[name]); err != nil {
			return err
		}
	}
	for _, name := range sortedKeys(e.Secrets) {
		header, ok := strings.CutPrefix(name, PassThroughSecretHeader)
		if !ok {
			return invalidf("secrets."+name, "is not header.NAME")
		}
		if err := validHeader("secrets."+name, header, ""); err != nil {
			return err
		}
		for plain := range e.Headers {
			if strings.EqualFold(plain, header) {
				return invalidf("secrets."+name, "is given in headers too")
			}
		}
	}
	return nil
}

func validPassThroughPath(p string) bool {
	return len(p) > 1 && len(p) <= 512 && p[0] == '/' && path.Clean(p) == p && !strings.ContainsFunc(p, notInPath)
}

func notInPath(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("/-._~", r)
}

// Matches says whether a path is the endpoint's, and what of it follows the endpoint's own.
func (e *PassThroughEndpoint) Matches(escaped string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(escaped, e.Path)
	if !ok || rest != "" && (!e.IncludeSubpath || rest[0] != '/') {
		return "", false
	}
	return rest, true
}

// Takes says whether the endpoint takes a method.
func (e *PassThroughEndpoint) Takes(method string) bool {
	if len(e.Methods) == 0 {
		return slices.Contains(passThroughMethods, method)
	}
	return slices.Contains(e.Methods, method)
}

// Split is the target's scheme and host, and its path.
func (e *PassThroughEndpoint) Split() (base, at string) {
	u, err := url.Parse(e.Target)
	if err != nil {
		return e.Target, "" // such a record is not valid
	}
	at = strings.TrimSuffix(u.EscapedPath(), "/")
	return u.Scheme + "://" + u.Host, at
}

// PassThrough is an endpoint as the data path sees it: what it is taken for where a request has a
// model and a deployment.
type PassThrough struct {
	*PassThroughEndpoint
	Model      *Model
	Deployment *Deployment
}

func passThroughOf(e *PassThroughEndpoint) *PassThrough {
	base, _ := e.Split()
	meta := Meta{ID: e.ID}
	free := &Price{}
	d := &Deployment{Meta: meta, Name: e.Name, ModelID: e.ID, Provider: "openai_like", APIBase: base, Price: free, TimeoutMS: e.TimeoutMS}
	if e.CostPerRequest > 0 {
		d.Options = map[string]string{OptionCostPerRequest: e.CostPerRequest.String()}
	}
	return &PassThrough{e, &Model{Meta: meta, Name: "pass_through" + e.Path}, d}
}

// PassThrough returns the endpoint of a path, as it was escaped, and what of the path follows the
// endpoint's own. Of those that match the one with the longest path counts.
func (c *Catalog) PassThrough(escaped string) (e *PassThrough, rest string, ok bool) {
	for _, x := range c.passThrough {
		if x.Disabled || ok && len(x.Path) < len(e.Path) {
			continue
		}
		if r, fits := x.Matches(escaped); fits {
			e, rest, ok = x, r, true
		}
	}
	return e, rest, ok
}
