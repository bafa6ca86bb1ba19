// Package hclfile reads and writes configuration files in HCL.
package hclfile

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/resource"
)

// blockOf gives the fields of records that are blocks in a file.
var blockOf = map[string]string{
	"budgets": "budget", "limits": "limit", "model_limits": "model_limit", "sessions": "sessions", "price": "price", "variants": "variant",
}

// secretFields are attributes whose value may stand for a stored secret.
var secretFields = map[string]bool{"secret": true, "api_key": true, "rotation_key": true}

// names are what a record refers to by name, and its secrets, by attribute; "" is left out.
type names map[string]any

// Write writes records as a file that package load reads back. Everything is in a fixed order: the
// kinds, the records by name, the attributes by name. A secret that stands for a stored one
// is written as a call of sealed; one in the clear is an error.
func Write(w io.Writer, r *config.Resources) error {
	f := hclwrite.NewEmptyFile()
	out := &writer{body: f.Body()}
	for _, kind := range []func(*writer, *config.Resources){
		(*writer).environment, (*writer).plugins, (*writer).secretSources, (*writer).routerFilters, (*writer).auths, (*writer).budgets, (*writer).credentials, (*writer).accessGroups, (*writer).models, (*writer).guardrails, (*writer).callbacks,
		(*writer).mcpServers, (*writer).prompts, (*writer).passThrough, (*writer).holders, (*writer).keys, (*writer).settings,
	} {
		kind(out, r)
	}
	if out.err != nil {
		return fmt.Errorf("write configuration: %w", out.err)
	}
	_, err := w.Write(hclwrite.Format(f.Bytes()))
	return err
}

// writer writes blocks into a body; the first error stays.
type writer struct {
	body *hclwrite.Body
	err  error
}

func (w *writer) fail(err error) {
	if w.err == nil && err != nil {
		w.err = err
	}
}

// block writes a record as a block and returns its body.
func (w *writer) block(kind, label string, record any, refs names) *hclwrite.Body {
	if len(w.body.Blocks()) > 0 {
		w.body.AppendNewline()
	}
	b := w.body.AppendNewBlock(kind, []string{label}).Body()
	w.record(b, record, refs)
	return b
}

func (w *writer) record(b *hclwrite.Body, record any, refs names) {
	doc, err := docOf(record)
	if err != nil {
		w.fail(err)
		return
	}
	for name := range doc {
		if reserved(name) && blockOf[name] == "" && name != "value" {
			delete(doc, name)
		}
	}
	if d, ok := record.(*resource.Deployment); ok && d.Blocked {
		doc["blocked"] = true
	}
	for name, v := range refs {
		if v != "" {
			doc[name] = v
		}
	}
	w.attributes(b, doc)
	w.blocks(b, doc)
}

// attributes writes what is no block, by name.
func (w *writer) attributes(b *hclwrite.Body, doc map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(doc)) {
		v := doc[name]
		if blockOf[name] != "" || v == nil {
			continue
		}
		if all, ok := v.(map[string]config.Secret); ok {
			w.secrets(b, name, all)
			continue
		}
		if secretFields[name] {
			w.secret(b, name, v)
			continue
		}
		value, err := valueOf(v)
		if err != nil {
			w.fail(fmt.Errorf("%s: %w", name, err))
			continue
		}
		b.SetAttributeValue(name, value)
	}
}

func (w *writer) secret(b *hclwrite.Body, name string, v any) {
	text, _ := v.(string)
	b.SetAttributeRaw(name, w.sealed(name, config.Secret(text)))
}

// secrets writes secrets by name as an object.
func (w *writer) secrets(b *hclwrite.Body, name string, all map[string]config.Secret) {
	if len(all) == 0 {
		return
	}
	var members []hclwrite.ObjectAttrTokens
	for _, member := range slices.Sorted(maps.Keys(all)) {
		members = append(members, hclwrite.ObjectAttrTokens{
			Name: hclwrite.TokensForValue(cty.StringVal(member)), Value: w.sealed(name+"."+member, all[member]),
		})
	}
	b.SetAttributeRaw(name, hclwrite.TokensForObject(members))
}

// sealed is the call that stands for a stored secret.
func (w *writer) sealed(name string, s config.Secret) hclwrite.Tokens {
	print, hint, ok := s.Sealed()
	if !ok {
		w.fail(fmt.Errorf("%s is not sealed", name))
		return nil
	}
	args := []hclwrite.Tokens{hclwrite.TokensForValue(cty.StringVal(print))}
	if hint != "" {
		args = append(args, hclwrite.TokensForValue(cty.StringVal(hint)))
	}
	return hclwrite.TokensForFunctionCall("sealed", args...)
}

// blocks writes what is a block: an object as one, a list as several, and an object of
// objects as one for each label.
func (w *writer) blocks(b *hclwrite.Body, doc map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(doc)) {
		kind := blockOf[name]
		switch v := doc[name].(type) {
		case []any:
			for _, e := range v {
				if inner, ok := e.(map[string]any); ok && kind != "" {
					w.inner(b, kind, nil, inner)
				}
			}
		case map[string]any:
			switch {
			case kind == "" || len(v) == 0:
			case name == "model_limits":
				for _, model := range slices.Sorted(maps.Keys(v)) {
					if inner, ok := v[model].(map[string]any); ok {
						w.inner(b, kind, []string{model}, inner)
					}
				}
			default:
				w.inner(b, kind, nil, v)
			}
		}
	}
}

func (w *writer) inner(b *hclwrite.Body, kind string, labels []string, doc map[string]any) {
	if kind == "budget" {
		dropUSD(doc)
	}
	b.AppendNewline()
	body := b.AppendNewBlock(kind, labels).Body()
	w.attributes(body, doc)
	w.blocks(body, doc)
}

// dropUSD leaves out the dollars of a budget that counts something else.
func dropUSD(doc map[string]any) {
	for _, unit := range []string{"tokens", "requests", "gpu_seconds"} {
		if doc[unit] != nil {
			delete(doc, "usd")
		}
	}
}

// docOf is a record as the admin API shows it.
func docOf(record any) (map[string]any, error) {
	b, err := json.Marshal(record)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var doc map[string]any
	return doc, dec.Decode(&doc)
}

// valueOf is a value of JSON in HCL.
func valueOf(v any) (cty.Value, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return cty.NilVal, err
	}
	typ, err := ctyjson.ImpliedType(b)
	if err != nil {
		return cty.NilVal, err
	}
	return ctyjson.Unmarshal(b, typ)
}

// sorted is the list by what label gives.
func sorted[T any](list []T, label func(*T) string) []T {
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(a, b T) int { return cmp.Compare(label(&a), label(&b)) })
	return out
}

func (w *writer) plugins(r *config.Resources) {
	for _, p := range sorted(r.Plugins, func(p *config.Plugin) string { return p.Resource.Name }) {
		w.block("plugin", p.Resource.Name, &p.Resource, nil)
	}
}

func (w *writer) budgets(r *config.Resources) {
	for _, b := range sorted(r.Budgets, func(b *config.Budget) string { return b.Resource.Name }) {
		doc, err := docOf(&b.Resource.Terms)
		w.fail(err)
		dropUSD(doc)
		rest, err := docOf(&resource.Allowance{Budgets: b.Resource.Budgets, Limits: b.Resource.Limits, ModelLimits: b.Resource.ModelLimits})
		w.fail(err)
		name := b.Resource.Terms.Name
		if b.Resource.Terms.Boundless() && len(rest) > 0 {
			doc, name = rest, "" // who reads it makes the same terms of none
		}
		maps.Copy(doc, rest)
		w.block("budget", b.Resource.Name, doc, names{"name": name})
	}
}

func (w *writer) credentials(r *config.Resources) {
	for _, c := range sorted(r.Credentials, func(c *config.Credential) string { return c.Resource.Name }) {
		w.block("credential", c.Resource.Name, &c.Resource, names{"api_key": string(c.APIKey), "secrets": c.Secrets})
	}
}

func (w *writer) models(r *config.Resources) {
	for _, m := range sorted(r.Models, func(m *config.Model) string { return m.Resource.Name }) {
		b := w.block("model", m.Resource.Name, &m.Resource, names{"shared_budget": m.SharedBudget})
		for _, d := range sorted(m.Deployments, func(d *config.Deployment) string { return d.Resource.Name }) {
			b.AppendNewline()
			w.record(b.AppendNewBlock("deployment", []string{d.Resource.Name}).Body(), &d.Resource, names{
				"shared_budget": d.SharedBudget, "credential": d.Credential, "api_key": string(d.APIKey), "secrets": d.Secrets,
			})
		}
	}
}

func (w *writer) guardrails(r *config.Resources) {
	for _, g := range sorted(r.Guardrails, func(g *config.Guardrail) string { return g.Resource.Name }) {
		w.block("guardrail", g.Resource.Name, &g.Resource, names{"secrets": g.Secrets})
	}
}

func (w *writer) callbacks(r *config.Resources) {
	for _, c := range sorted(r.Callbacks, func(c *config.Callback) string { return c.Resource.Name }) {
		w.block("callback", c.Resource.Name, &c.Resource, names{"secrets": c.Secrets})
	}
}

func (w *writer) secretSources(r *config.Resources) {
	for _, s := range sorted(r.SecretSources, func(s *config.SecretSource) string { return s.Resource.Name }) {
		w.block("secret_source", s.Resource.Name, &s.Resource, names{"secrets": s.Secrets})
	}
}

func (w *writer) auths(r *config.Resources) {
	for _, s := range sorted(r.Auths, func(s *config.Auth) string { return s.Resource.Name }) {
		w.block("auth", s.Resource.Name, &s.Resource, names{"secrets": s.Secrets})
	}
}

func (w *writer) routerFilters(r *config.Resources) {
	for _, s := range sorted(r.RouterFilters, func(s *config.RouterFilter) string { return s.Resource.Name }) {
		w.block("router_filter", s.Resource.Name, &s.Resource, names{"secrets": s.Secrets})
	}
}

func (w *writer) accessGroups(r *config.Resources) {
	for _, g := range sorted(r.AccessGroups, func(g *config.AccessGroup) string { return g.Resource.Name }) {
		w.block("access_group", g.Resource.Name, &g.Resource, names{"shared_budget": g.SharedBudget})
	}
}

func (w *writer) passThrough(r *config.Resources) {
	for _, e := range sorted(r.PassThrough, func(e *config.PassThroughEndpoint) string { return e.Resource.Name }) {
		w.block("pass_through_endpoint", e.Resource.Name, &e.Resource, names{"secrets": e.Secrets})
	}
}

func (w *writer) mcpServers(r *config.Resources) {
	for _, s := range sorted(r.MCPServers, func(s *config.MCPServer) string { return s.Resource.Name }) {
		w.block("mcp_server", s.Resource.Name, &s.Resource, names{"credential": s.Credential, "secrets": s.Secrets})
	}
}

func (w *writer) environment(r *config.Resources) {
	if len(r.Environment) == 0 {
		return
	}
	b := w.body.AppendNewBlock("environment", nil).Body()
	for _, name := range slices.Sorted(maps.Keys(r.Environment)) {
		b.SetAttributeRaw(name, w.sealed("environment."+name, r.Environment[name]))
	}
}

func (w *writer) prompts(r *config.Resources) {
	for _, p := range sorted(r.Prompts, func(p *config.Prompt) string { return p.Resource.Name }) {
		w.block("prompt", p.Resource.Name, &p.Resource, nil)
	}
}

func (w *writer) holders(r *config.Resources) {
	for _, o := range sorted(r.Organizations, func(o *config.Organization) string { return o.Resource.Name }) {
		w.block("organization", o.Resource.Name, &o.Resource, names{"shared_budget": o.SharedBudget})
	}
	for _, t := range sorted(r.Teams, func(t *config.Team) string { return t.Resource.Name }) {
		b := w.block("team", t.Resource.Name, &t.Resource, names{"shared_budget": t.SharedBudget, "organization": t.Organization})
		for _, m := range sorted(t.Members, func(m *config.Member) string { return m.Resource.UserID }) {
			b.AppendNewline()
			inner := b.AppendNewBlock("member", []string{m.Resource.UserID}).Body()
			m.Resource.UserID = "" // is the label
			w.record(inner, &m.Resource, names{"shared_budget": m.SharedBudget})
		}
	}
	for _, p := range sorted(r.Projects, func(p *config.Project) string { return p.Resource.Name }) {
		w.block("project", p.Resource.Name, &p.Resource, names{"shared_budget": p.SharedBudget, "team": p.Team})
	}
	for _, u := range sorted(r.Users, func(u *config.User) string { return u.Resource.ID }) {
		w.block("user", u.Resource.ID, &u.Resource, names{"shared_budget": u.SharedBudget, "organization": u.Organization, "name": u.Resource.Name})
	}
	for _, c := range sorted(r.Customers, func(c *config.Customer) string { return c.Resource.ID }) {
		w.block("customer", c.Resource.ID, &c.Resource, names{"shared_budget": c.SharedBudget, "name": c.Resource.Name})
	}
	for _, t := range sorted(r.Tags, func(t *config.Tag) string { return t.Resource.ID }) {
		w.block("tag", t.Resource.ID, &t.Resource, names{"shared_budget": t.SharedBudget})
	}
}

func (w *writer) keys(r *config.Resources) {
	for _, k := range sorted(r.Keys, func(k *config.Key) string { return k.Resource.Name }) {
		w.block("key", k.Resource.Name, &k.Resource, names{
			"secret": string(config.SealedSecret(k.Resource.Hash.String(), k.Resource.Hint)), "team": k.Team, "project": k.Project, "shared_budget": k.SharedBudget,
			"rotation_key": string(k.RotationKey),
		})
	}
}

func (w *writer) settings(r *config.Resources) {
	for _, s := range sorted(r.Settings, func(s *config.Setting) string { return s.Resource.ID }) {
		w.block("setting", s.Resource.ID, map[string]any{"value": s.Resource.Value}, nil)
	}
}
