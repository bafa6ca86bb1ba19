package hclfile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/resource"
)

// kinds is the table of the blocks that declare records: a new one is a method and a row.
var kinds = map[string]func(d *decoder, b *hcl.Block){
	"credential":            (*decoder).credential,
	"model":                 (*decoder).model,
	"organization":          (*decoder).organization,
	"team":                  (*decoder).team,
	"project":               (*decoder).project,
	"user":                  (*decoder).user,
	"customer":              (*decoder).customer,
	"tag":                   (*decoder).tag,
	"key":                   (*decoder).key,
	"budget":                (*decoder).budget,
	"guardrail":             (*decoder).guardrail,
	"callback":              (*decoder).callback,
	"secret_source":         (*decoder).secretSource,
	"auth":                  (*decoder).auth,
	"router_filter":         (*decoder).routerFilter,
	"access_group":          (*decoder).accessGroup,
	"plugin":                (*decoder).plugin,
	"mcp_server":            (*decoder).mcpServer,
	"pass_through_endpoint": (*decoder).passThrough,
	"setting":               (*decoder).setting,
	"prompt":                (*decoder).prompt,
}

// aliases maps names of records' fields to those of the file, where they differ.
var aliases = map[string]string{
	"budgets": "budget", "limits": "limit", "model_limits": "model_limit", "team_id": "team", "hash": "secret", "id": "", "terms": "",
	"sinks": "sink",
}

// unknownValue is what gohcl says of a value whose expression has failed, which has been
// reported by itself.
const unknownValue = "Unsuitable value: value must be known"

// decoder turns the blocks of a file into what they declare.
type decoder struct {
	*config.Source
	ctx   *hcl.EvalContext
	out   *config.File
	diags hcl.Diagnostics
	seen  map[string]hcl.Range // "kind name" of every record

	declared map[string]bool // variables of the environment block
}

// file reads all blocks, or the node block alone.
func (d *decoder) file(body *hclsyntax.Body, nodeOnly bool) {
	schema := &hcl.BodySchema{}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		schema.Blocks = append(schema.Blocks, hcl.BlockHeaderSchema{Type: kind, LabelNames: []string{"name"}})
	}
	for _, kind := range []string{"node", blockEnvironment, settingAudit, settingSnapshots} {
		schema.Blocks = append(schema.Blocks, hcl.BlockHeaderSchema{Type: kind})
	}
	content, diags := body.Content(schema)
	d.diags = append(d.diags, diags...)
	d.refer(content.Blocks)
	var node *hcl.Block
	for _, b := range content.Blocks {
		switch {
		case b.Type != "node" && nodeOnly:
			d.out.Resources.Skipped = true
		case b.Type == blockEnvironment:
			d.plain(func() { d.environment(b) })
		case b.Type == settingAudit:
			d.audit(b)
		case b.Type == settingSnapshots:
			d.snapshots(b)
		case b.Type != "node":
			if d.unique(b.Type, b.Labels[0], b.DefRange) {
				kinds[b.Type](d, b)
			}
		case node != nil:
			d.report(b.DefRange, "Duplicate node block", "A file describes one node; the other node block is at %s.", config.PositionOf(node.DefRange))
		default:
			node = b
			d.plain(func() { d.node(b) })
		}
	}
	if node == nil && nodeOnly {
		d.report(body.MissingItemRange(), "Missing node block", "The file does not say how this node runs.")
	}
}

// unique says whether the name is the first of its kind, and reports it if not.
func (d *decoder) unique(kind, name string, at hcl.Range) bool {
	id := kind + " " + name
	if first, ok := d.seen[id]; ok {
		d.report(at, "Duplicate "+kind, "The name %q is taken by the %s at %s.", name, kind, config.PositionOf(first))
		return false
	}
	d.seen[id] = at
	return true
}

// body decodes a block's contents and says whether it went well.
func (d *decoder) body(body hcl.Body, into any) bool {
	diags := gohcl.DecodeBody(body, d.ctx, into)
	for _, diag := range diags {
		if diag.Detail != unknownValue {
			d.diags = append(d.diags, diag)
		}
	}
	return !diags.HasErrors()
}

// need reports an attribute that a block must have and has not. Those that gohcl reads into
// pointers it takes for optional.
func (d *decoder) need(body hcl.Body, name string, a *hcl.Attribute) {
	if a != nil {
		if v, _ := a.Expr.Value(d.ctx); !v.IsNull() {
			return
		}
	}
	d.report(body.MissingItemRange(), "Missing required argument",
		"The argument %q is required, but no definition was found.", name)
}

func (d *decoder) report(at hcl.Range, summary, format string, args ...any) {
	d.diags = append(d.diags, &hcl.Diagnostic{
		Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: &at,
	})
}

// valid canonicalizes and validates the record of a block, and reports what is wrong at the
// attribute that it is about. It also says false if reading the block has reported anything
// since the count of problems was before.
func (d *decoder) valid(kind string, r resource.Record, body hcl.Body, at hcl.Range, before int) bool {
	if len(d.diags) > before {
		return false
	}
	r.Canonicalize()
	if err := r.Validate(); err != nil {
		d.invalid(kind, body, at, err)
		return false
	}
	if field := referring(r); field != "" {
		d.invalid(kind, body, at, &resource.Invalid{Field: field, Reason: "refers to a variable of the cluster's environment, which only secrets and the config of plugins may; write the value itself"})
		return false
	}
	return true
}

// invalid reports every *resource.Invalid in err at its attribute, or else at the block.
func (d *decoder) invalid(kind string, body hcl.Body, at hcl.Range, err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			d.invalid(kind, body, at, e)
		}
		return
	}
	e, ok := errors.AsType[*resource.Invalid](err)
	if !ok {
		d.report(at, "Invalid "+kind, "%s.", err)
		return
	}
	if b, ok := body.(*hclsyntax.Body); ok {
		at = locate(b, at, e.Field)
	}
	d.report(at, "Invalid "+kind, "%s.", e)
}

// locate finds the place of a record's field, such as "budgets[0].usd": the attribute's
// value, else the innermost block around it, else at.
func locate(body *hclsyntax.Body, at hcl.Range, field string) hcl.Range {
	for part := range strings.SplitSeq(field, ".") {
		name, index := cutIndex(part)
		if alias, ok := aliases[name]; ok {
			name = alias
		}
		if name == "" {
			continue
		}
		if attr, ok := body.Attributes[name]; ok {
			return attr.Expr.Range()
		}
		inner := nth(body.Blocks, name, index)
		if inner == nil {
			return at
		}
		body, at = inner.Body, inner.DefRange()
	}
	return at
}

func cutIndex(part string) (name string, index int) {
	name, rest, ok := strings.Cut(part, "[")
	if !ok {
		return part, 0
	}
	index, err := strconv.Atoi(strings.TrimSuffix(rest, "]"))
	if err != nil {
		return name, 0
	}
	return name, index
}

func nth(blocks hclsyntax.Blocks, kind string, n int) *hclsyntax.Block {
	for _, b := range blocks {
		if b.Type != kind {
			continue
		}
		if n == 0 {
			return b
		}
		n--
	}
	return nil
}

// secret takes a secret that may be absent, but not empty.
func (d *decoder) secret(kind, name string, v *string, body hcl.Body, at hcl.Range) config.Secret {
	if v == nil {
		return ""
	}
	if *v == "" {
		d.invalid(kind, body, at, &resource.Invalid{Field: name, Reason: "is empty; leave it out if there is none"})
	}
	return config.Secret(*v)
}

// secrets takes secrets by name, none of which may be empty or an option, too.
func (d *decoder) secrets(kind string, given map[string]string, body hcl.Body, at hcl.Range) map[string]config.Secret {
	if len(given) == 0 {
		return nil
	}
	out := make(map[string]config.Secret, len(given))
	for _, name := range slices.Sorted(maps.Keys(given)) {
		v := given[name]
		out[name] = d.secret(kind, "secrets."+name, &v, body, at)
	}
	return out
}
