package litellm

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"go.yaml.in/yaml/v3"

	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/resource"
)

const (
	maxDepth = 64      // of a YAML file, its aliases followed
	maxNodes = 200_000 // of a YAML file, its aliases followed: they can stand for each other
)

// secretLine finds a secret in a line of YAML.
var secretLine = regexp.MustCompile(`(?mi)([a-z0-9_]*(?:api_key|master_key|secret|password|token|credentials|database_url|redis_url)[a-z0-9_]*["']?[ \t]*:[ \t]*)([^\s#].*)$`)

// Read reads LiteLLM's config.yaml. An error in its contents is a *config.Error.
func Read(s *config.Source, src []byte) (*config.File, error) {
	d := &decoder{Source: s, starts: lineStarts(src), out: &config.File{Path: s.Path}, vars: map[string]string{}}
	var doc yaml.Node
	if err := yaml.Unmarshal(src, &doc); err != nil {
		d.report(d.rangeOf(lineOf(err), 1), "Invalid YAML", "%s.", strings.TrimPrefix(err.Error(), "yaml: "))
		return nil, d.failed(src)
	}
	if s.NodeOnly {
		d.out.Resources.Skipped = true
	} else if len(doc.Content) > 0 {
		d.file(d.mapping("", doc.Content[0]))
		if !d.diags.HasErrors() {
			s.Undefined(&d.out.Resources, d.literals(&doc), d.report)
		}
	}
	if d.diags.HasErrors() {
		return nil, d.failed(src)
	}
	return d.out, nil
}

// failed makes the error of what was found.
func (d *decoder) failed(src []byte) *config.Error {
	return config.NewError(d.diags, d.Path, &hcl.File{Bytes: hide(src)})
}

func lineStarts(src []byte) []int {
	starts := []int{0}
	for i, b := range src {
		if b == '\n' {
			starts = append(starts, i+1)
		}
	}
	return starts
}

// lineOf finds the line in an error of the YAML reader.
func lineOf(err error) int {
	_, rest, _ := strings.Cut(err.Error(), "line ")
	n, _ := strconv.Atoi(rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))])
	return max(n, 1)
}

// decoder turns a tree of YAML into what it declares.
type decoder struct {
	*config.Source
	starts []int // of the file's lines
	out    *config.File
	diags  hcl.Diagnostics
	vars   map[string]string // environment_variables
	kept   *kept             // of the key_management_system; nil: there is none
	nodes  int               // that were visited

	private bool // turn_off_message_logging
}

// visit counts a node, and says whether there may be more.
func (d *decoder) visit(n *yaml.Node) bool {
	if d.nodes++; d.nodes == maxNodes {
		d.report(d.at(n), "Too large", "With its aliases followed the file has over %d values.", maxNodes)
	}
	return d.nodes < maxNodes
}

func (d *decoder) rangeOf(line, column int) hcl.Range {
	line = min(max(line, 1), len(d.starts))
	at := hcl.Pos{Line: line, Column: max(column, 1), Byte: d.starts[line-1] + max(column, 1) - 1}
	end := at
	end.Byte++
	end.Column++
	return hcl.Range{Filename: d.Path, Start: at, End: end}
}

func (d *decoder) at(n *yaml.Node) hcl.Range { return d.rangeOf(n.Line, n.Column) }

func (d *decoder) position(n *yaml.Node) config.Position { return config.PositionOf(d.at(n)) }

func (d *decoder) report(at hcl.Range, summary, format string, args ...any) {
	d.diags = append(d.diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: &at})
}

func (d *decoder) wrong(n *yaml.Node, path, format string, args ...any) {
	d.report(d.at(n), "Invalid value of "+path, format, args...)
}

// invalid reports an error of a record at the node.
func (d *decoder) invalid(kind string, n *yaml.Node, err error) {
	d.report(d.at(n), "Invalid "+kind, "%s.", err)
}

// ignore lists a key that changes nothing here.
func (d *decoder) ignore(n *yaml.Node, path, why string) {
	d.out.Ignored = append(d.out.Ignored, config.Problem{Position: d.position(n), Summary: "Ignored key", Detail: path + " " + why})
}

// unknown refuses a key that has no meaning here, or lists it.
func (d *decoder) unknown(n *yaml.Node, path string) {
	if d.IgnoreUnknown {
		d.ignore(n, path, "is not known here")
		return
	}
	d.report(d.at(n), "Unknown key", "%s is not known here, and would have no effect. With --ignore-unknown it is left out.", path)
}

// mapping is an object of the file whose keys are taken one by one.
type mapping struct {
	d      *decoder
	path   string
	node   *yaml.Node
	keys   []*yaml.Node
	values map[string]*yaml.Node
	taken  map[string]bool
}

// mapping reads an object; an absent one is empty.
func (d *decoder) mapping(path string, n *yaml.Node) *mapping {
	m := &mapping{d: d, path: path, node: n, values: map[string]*yaml.Node{}, taken: map[string]bool{}}
	n = followed(n)
	if n == nil || n.Tag == "!!null" {
		return m
	}
	if n.Kind != yaml.MappingNode {
		d.wrong(n, path, "It is not a mapping.")
		return m
	}
	m.fill(n, 0)
	return m
}

func (m *mapping) fill(n *yaml.Node, depth int) {
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case !m.d.visit(key):
			return
		case key.Tag == "!!merge":
			merged = append(merged, value)
		case m.values[key.Value] != nil && depth == 0:
			m.d.report(m.d.at(key), "Duplicate key", "%s stands twice.", m.of(key.Value))
		case m.values[key.Value] == nil:
			m.keys, m.values[key.Value] = append(m.keys, key), value
		}
	}
	for _, v := range merged {
		if v = followed(v); v != nil && v.Kind == yaml.MappingNode && depth < maxDepth {
			m.fill(v, depth+1)
		}
	}
}

func (m *mapping) of(name string) string { return strings.TrimPrefix(m.path+"."+name, ".") }

// take gives the value of a key, nil if it is not there or null.
func (m *mapping) take(name string) *yaml.Node {
	m.taken[name] = true
	n := followed(m.values[name])
	if n == nil || n.Tag == "!!null" {
		return nil
	}
	return n
}

// left are the keys that nobody took, in the file's order.
func (m *mapping) left() (keys []*yaml.Node) {
	for _, k := range m.keys {
		if !m.taken[k.Value] {
			keys = append(keys, k)
		}
	}
	return keys
}

// end reports what is left.
func (m *mapping) end() {
	for _, k := range m.left() {
		m.d.unknown(k, m.of(k.Value))
	}
}

// followed is the node that an alias stands for.
func followed(n *yaml.Node) *yaml.Node {
	for i := 0; n != nil && n.Kind == yaml.AliasNode; i++ {
		if i == maxDepth {
			return nil
		}
		n = n.Alias
	}
	return n
}

// items are the elements of a list, which may be absent.
func (m *mapping) items(name string) []*yaml.Node {
	n := m.take(name)
	if n == nil {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		m.d.wrong(n, m.of(name), "It is not a list.")
		return nil
	}
	out := make([]*yaml.Node, 0, len(n.Content))
	for _, e := range n.Content {
		if e = followed(e); e == nil || !m.d.visit(e) {
			break
		}
		out = append(out, e)
	}
	return out
}

// text takes a string, and follows os.environ/NAME.
func (m *mapping) text(name string) string {
	n := m.take(name)
	if n == nil {
		return ""
	}
	return m.d.text(n, m.of(name))
}

func (d *decoder) text(n *yaml.Node, path string) string {
	if n.Kind != yaml.ScalarNode {
		d.wrong(n, path, "It is not text.")
		return ""
	}
	name, ok := strings.CutPrefix(n.Value, "os.environ/")
	if !ok {
		return n.Value
	}
	if ref := d.kept.reference(name, false); ref != "" {
		return ref
	}
	if v, ok := d.vars[name]; ok {
		return v
	}
	v, ok := d.Env(name)
	if ref := d.kept.reference(name, !ok); ref != "" {
		return ref
	}
	if !ok {
		d.wrong(n, path, "The environment variable %s is not set.", name)
	}
	return v
}

// secret takes a string that is a secret. A variable of the file or of the cluster becomes a reference, which every node
// follows for itself: its own environment goes first, and a change of the variable is a change of the secret.
func (m *mapping) secret(name string) config.Secret {
	n := m.take(name)
	if n == nil {
		return ""
	}
	return m.d.secret(n, m.of(name))
}

func (d *decoder) secret(n *yaml.Node, path string) config.Secret {
	name, ok := strings.CutPrefix(n.Value, "os.environ/")
	if !ok || n.Kind != yaml.ScalarNode || d.kept.reference(name, false) != "" {
		return config.Secret(d.text(n, path))
	}
	_, declared := d.vars[name]
	if _, here := d.Env(name); declared || !here && d.Known != nil && d.Known(name) {
		return config.Secret(config.ReferencePrefix + name)
	}
	return config.Secret(d.text(n, path))
}

// texts takes a list of strings, or one.
func (m *mapping) texts(name string) (out []string) {
	n := m.take(name)
	if n == nil {
		return nil
	}
	if n.Kind == yaml.ScalarNode {
		return []string{m.d.text(n, m.of(name))}
	}
	for i, e := range m.items(name) {
		out = append(out, m.d.text(e, fmt.Sprintf("%s[%d]", m.of(name), i)))
	}
	return out
}

// number takes a number, exactly as it stands, "" if there is none.
func (m *mapping) number(name string) (string, *yaml.Node) {
	n := m.take(name)
	if n == nil {
		return "", nil
	}
	text := m.d.text(n, m.of(name))
	if !json.Valid([]byte(text)) || strings.Trim(text, "0123456789.eE+-") != "" {
		m.d.wrong(n, m.of(name), "%q is not a number.", text)
		return "", nil
	}
	return text, n
}

// integer takes a whole number, nil if there is none.
func (m *mapping) integer(name string) *int64 {
	text, n := m.number(name)
	if n == nil {
		return nil
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		m.d.wrong(n, m.of(name), "%s is not a whole number.", text)
		return nil
	}
	return &v
}

// milliseconds takes a number of seconds.
func (m *mapping) milliseconds(name string) int64 {
	text, n := m.number(name)
	if n == nil {
		return 0
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || seconds < 0 || seconds > 1e9 {
		m.d.wrong(n, m.of(name), "%s is not a number of seconds.", text)
		return 0
	}
	return int64(seconds * 1000)
}

// money takes an amount of dollars, nil if there is none.
func (m *mapping) money(name string) *resource.Money {
	text, n := m.number(name)
	if n == nil {
		return nil
	}
	v, err := resource.ParseMoney(text)
	if err != nil {
		m.d.wrong(n, m.of(name), "%s.", err)
		return nil
	}
	return &v
}

// boolean takes a truth, as YAML 1.1 spells it.
func (m *mapping) boolean(name string) bool {
	n := m.take(name)
	if n == nil {
		return false
	}
	v, ok := truth(n)
	if !ok {
		m.d.wrong(n, m.of(name), "%q is neither true nor false.", n.Value)
	}
	return v
}

// truth reads a boolean: the program that the file was written for takes yes and on for one.
func truth(n *yaml.Node) (v, ok bool) {
	if n.Kind != yaml.ScalarNode || n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
		return false, false
	}
	switch strings.ToLower(n.Value) {
	case "true", "yes", "on":
		return true, true
	case "false", "no", "off":
		return false, true
	}
	return false, false
}

// json is a value as JSON, nil for none.
func (d *decoder) json(n *yaml.Node, path string) json.RawMessage {
	v := d.plain(n, path, 0)
	b, err := json.Marshal(v)
	if err != nil {
		d.wrong(n, path, "It cannot be written as JSON: %s.", err)
		return nil
	}
	return b
}

func (d *decoder) plain(n *yaml.Node, path string, depth int) any {
	n = followed(n)
	switch {
	case n == nil || depth > maxDepth || !d.visit(n):
		return nil
	case n.Kind == yaml.MappingNode:
		out := map[string]any{}
		m := d.mapping(path, n)
		for _, k := range m.keys {
			out[k.Value] = d.plain(m.values[k.Value], m.of(k.Value), depth+1)
		}
		return out
	case n.Kind == yaml.SequenceNode:
		out := []any{}
		for i, e := range n.Content {
			out = append(out, d.plain(e, fmt.Sprintf("%s[%d]", path, i), depth+1))
		}
		return out
	}
	return d.scalar(n, path)
}

func (d *decoder) scalar(n *yaml.Node, path string) any {
	if v, ok := truth(n); ok {
		return v
	}
	switch n.Tag {
	case "!!null":
		return nil
	case "!!int", "!!float":
		if num := bytes.TrimPrefix([]byte(n.Value), []byte("+")); json.Valid(num) {
			return json.Number(num)
		}
		var f any
		if err := n.Decode(&f); err == nil {
			if _, err := json.Marshal(f); err == nil {
				return f
			}
		}
	}
	return d.text(n, path)
}

// hide returns src with asterisks for what stands literally under a name of a secret.
func hide(src []byte) []byte {
	out := slices.Clone(src)
	for _, m := range secretLine.FindAllSubmatchIndex(out, -1) {
		if bytes.Contains(out[m[4]:m[5]], []byte("os.environ/")) {
			continue
		}
		for i := m[4]; i < m[5]; i++ {
			out[i] = '*'
		}
	}
	return out
}

// literals finds the references that stand in YAML as they are. Aliases are not followed: what they stand for is in the tree.
func (d *decoder) literals(n *yaml.Node) map[string][]hcl.Range {
	out := map[string][]hcl.Range{}
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		if name, ok := resource.VariableName(n.Value); ok && n.Kind == yaml.ScalarNode {
			out[name] = append(out[name], d.at(n))
		}
		for _, c := range n.Content {
			walk(c)
		}
	}
	walk(n)
	for _, all := range out {
		slices.SortFunc(all, func(a, b hcl.Range) int { return cmp.Compare(a.Start.Byte, b.Start.Byte) })
	}
	return out
}
