// Package workshop is what the author of a plugin does at his own desk, without a node: begin one,
// make a signing key, pack a version.
package workshop

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/conclave-llm/conclave/plugins/pack"
	"github.com/conclave-llm/conclave/plugins/schema"
	"github.com/conclave-llm/conclave/resource/manifest"
	"github.com/conclave-llm/conclave/signing"
)

// PlanName is the file that says what is packed.
const PlanName = "plugin.json"

// templates holds a folder for each kind, one for general hooks, and those files that all have.
//
//go:embed all:template
var templates embed.FS

// names that a plugin may have: they stand in paths, and in Go.
var validName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// paths of modules, with what Go lets stand in them.
var validModule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~-]*(/[A-Za-z0-9._~-]+)*$`)

// hookKind is the kind of plugins that may be general hooks.
const hookKind = "guardrail"

// New is what a new plugin is made of.
type New struct {
	Name   string // "shout"; the folder's name unless Folder says another
	Kind   string // one of manifest.Kinds
	Hook   bool   // of a guardrail: a general hook, which changes requests, answers, errors and records
	Module string // Go's; "": the name
	Folder string // "": the name
	SDK    string // folder of Conclave's source, whose requirements the plugin gets; "": the published module
}

// Create writes the plugin and returns the names of its files. It overwrites nothing.
func (n New) Create() ([]string, error) {
	if !validName.MatchString(n.Name) {
		return nil, fmt.Errorf("name %q: want lower-case letters, digits and dashes, a letter first", n.Name)
	}
	if !slices.Contains(manifest.Kinds, n.Kind) {
		return nil, fmt.Errorf("kind %q is not one of %s", n.Kind, strings.Join(manifest.Kinds, ", "))
	}
	from := n.Kind
	if n.Hook {
		if n.Kind != hookKind {
			return nil, fmt.Errorf("a general hook is a %s, not a %s", hookKind, n.Kind)
		}
		from = "hook"
	}
	if n.Module == "" {
		n.Module = n.Name
	}
	if n.Folder == "" {
		n.Folder = n.Name
	}
	if !validModule.MatchString(n.Module) {
		return nil, fmt.Errorf("module %q is not a path of Go's, such as example.org/shout", n.Module)
	}
	files := map[string][]byte{}
	for _, dir := range []string{"all", from} {
		if err := n.render(path.Join("template", dir), files); err != nil {
			return nil, err
		}
	}
	if err := n.requirements(files); err != nil {
		return nil, err
	}
	return write(n.Folder, files)
}

// render fills in the templates of a folder.
func (n New) render(dir string, files map[string][]byte) error {
	entries, err := fs.ReadDir(templates, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		text, err := fs.ReadFile(templates, path.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		t, err := template.New(e.Name()).Parse(string(text))
		if err != nil {
			return fmt.Errorf("read template: %w", err)
		}
		var out bytes.Buffer
		if err := t.Execute(&out, n); err != nil {
			return fmt.Errorf("fill in template: %w", err)
		}
		files[strings.TrimSuffix(e.Name(), ".tmpl")] = out.Bytes()
	}
	return nil
}

// requirements writes go.mod. With a folder of the SDK it has all modules that the SDK has, by
// their versions and sums, so that a build asks nobody which they are.
func (n New) requirements(files map[string][]byte) error {
	var out bytes.Buffer
	fmt.Fprintf(&out, "module %s\n\ngo 1.26.0\n", n.Module)
	defer func() { files["go.mod"] = out.Bytes() }()
	if n.SDK == "" {
		return nil
	}
	sdk, err := filepath.Abs(n.SDK)
	if err != nil {
		return fmt.Errorf("find the SDK: %w", err)
	}
	mod, err := os.ReadFile(filepath.Join(sdk, "go.mod"))
	if err != nil {
		return fmt.Errorf("read the SDK: %w", err)
	}
	if files["go.sum"], err = os.ReadFile(filepath.Join(sdk, "go.sum")); err != nil {
		return fmt.Errorf("read the SDK: %w", err)
	}
	fmt.Fprintf(&out, "\nrequire github.com/conclave-llm/conclave v0.0.0\n\nreplace github.com/conclave-llm/conclave => %q\n", sdk)
	for _, block := range requireBlock.FindAllString(string(mod), -1) {
		fmt.Fprintf(&out, "\n%s\n", strings.ReplaceAll(block, " // indirect", ""))
	}
	return nil
}

var requireBlock = regexp.MustCompile(`(?ms)^require \(\n.*?^\)`)

// write makes the folder, which must not be there, with the files.
func write(folder string, files map[string][]byte) ([]string, error) {
	if err := os.Mkdir(folder, 0o755); err != nil { //nolint:gosec // source for anybody to read
		return nil, fmt.Errorf("make folder: %w", err)
	}
	names := slices.Sorted(maps.Keys(files))
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(folder, name), files[name], 0o644); err != nil { //nolint:gosec // source for anybody to read
			return nil, fmt.Errorf("write plugin: %w", err)
		}
	}
	return names, nil
}

// Keygen writes a new secret key to path, which must not be there, and the public key beside it.
func Keygen(path string) (signing.PublicKey, error) {
	key, err := signing.Generate()
	if err != nil {
		return signing.PublicKey{}, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return signing.PublicKey{}, fmt.Errorf("write key: %w", err)
	}
	_, err = f.WriteString(key.Reveal() + "\n")
	err = errors.Join(err, f.Close(), os.WriteFile(path+".pub", []byte(key.Public().String()+"\n"), 0o644)) //nolint:gosec // a public key
	if err != nil {
		return signing.PublicKey{}, fmt.Errorf("write key: %w", err)
	}
	return key.Public(), nil
}

// readKey reads the key of a file; "" is none.
func readKey(path string) (*signing.SecretKey, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	key, err := signing.ParseSecretKey(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &key, nil
}

// plan is what plugin.json says.
type plan struct {
	Name        string            `json:"name"`
	Kind        string            `json:"kind"`
	Version     string            `json:"version"`
	Description string            `json:"description"`
	MTLS        *bool             `json:"mtls"`
	Schema      string            `json:"schema"`   // path of a JSON Schema
	Binaries    map[string]string `json:"binaries"` // path of the binary by platform: "linux/amd64", "any/any"
}

// Pack is one version to pack.
type Pack struct {
	Folder  string // with a plugin.json, in which paths begin
	Version string // in the place of the one in plugin.json; "": that one
	Key     string // file of the signing key; "": not signed
	Out     string // "": NAME-VERSION.cpb
}

// Write packs the version and returns it, and the path of the file.
func (p Pack) Write() (*pack.Bundle, string, error) {
	key, err := readKey(p.Key)
	if err != nil {
		return nil, "", err
	}
	what, m, err := p.read()
	if err != nil {
		return nil, "", err
	}
	binaries, err := p.binaries(what)
	if err != nil {
		return nil, "", err
	}
	b, err := pack.New(m, binaries, key)
	if err != nil {
		return nil, "", err
	}
	out := p.Out
	if out == "" {
		out = b.Manifest.Name + "-" + b.Manifest.Version + pack.Extension
	}
	var file bytes.Buffer
	if err := b.Write(&file); err != nil {
		return nil, "", err
	}
	if file.Len() > pack.MaxBundle {
		return nil, "", fmt.Errorf("the bundle has %d bytes, more than %d that a node takes", file.Len(), pack.MaxBundle)
	}
	if err := os.WriteFile(out, file.Bytes(), 0o644); err != nil { //nolint:gosec // it travels
		return nil, "", fmt.Errorf("write bundle: %w", err)
	}
	return b, out, nil
}

// read reads plugin.json and the schema that it names.
func (p Pack) read() (*plan, manifest.Manifest, error) {
	var what plan
	text, err := os.ReadFile(filepath.Join(p.Folder, PlanName))
	if err != nil {
		return nil, manifest.Manifest{}, fmt.Errorf("read plugin: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&what); err != nil {
		return nil, manifest.Manifest{}, fmt.Errorf("%s: %w", filepath.Join(p.Folder, PlanName), err)
	}
	m := manifest.Manifest{Name: what.Name, Kind: what.Kind, Version: what.Version, Description: what.Description, MTLS: what.MTLS}
	if p.Version != "" {
		m.Version = p.Version
	}
	if what.Schema == "" {
		return &what, m, nil
	}
	if m.Schema, err = os.ReadFile(filepath.Join(p.Folder, what.Schema)); err != nil {
		return nil, m, fmt.Errorf("read schema: %w", err)
	}
	if _, err := schema.Compile(m.Schema); err != nil {
		return nil, m, fmt.Errorf("%s: %w", what.Schema, err)
	}
	return &what, m, nil
}

// binaries reads the binaries in the order of their platforms.
func (p Pack) binaries(what *plan) ([]pack.Binary, error) {
	if len(what.Binaries) == 0 {
		return nil, fmt.Errorf("%s names no binaries", PlanName)
	}
	var all []pack.Binary
	for _, platform := range slices.Sorted(maps.Keys(what.Binaries)) {
		at := what.Binaries[platform]
		goos, arch, _ := strings.Cut(platform, "/")
		body, err := os.ReadFile(filepath.Join(p.Folder, at))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no binary for %s at %s: build it first ('make pack' in %s builds all and packs them)", platform, filepath.Join(p.Folder, at), p.Folder)
		}
		if err != nil {
			return nil, fmt.Errorf("read binary for %s: %w", platform, err)
		}
		all = append(all, pack.Binary{OS: goos, Arch: arch, Body: body})
	}
	return all, nil
}
