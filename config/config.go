package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/conclave-llm/conclave/provider/modelfile"
)

// maxFile is the most bytes of a configuration file, and of a file named in it.
const maxFile = 4 << 20

// File is what a configuration file says.
type File struct {
	Path      string
	Node      *Node // nil: the file has no node block
	Resources Resources
	Blobs     []Blob    // files that expressions name with blob(PATH)
	Ignored   []Problem // keys that Options.IgnoreUnknown left out
}

// Options say how a file is read.
type Options struct {
	IgnoreUnknown bool // leave out keys of LiteLLM's config.yaml that are not known here, and list them

	// Known says whether the cluster, or the process of a node, has a variable, to which env(NAME) refers if this machine
	// has none of the name. Nil: this process is the node, and no other variable is known.
	Known func(name string) bool
}

// formats is the table of file formats, by extension: a new one is a parser and a row.
var formats = map[string]func(l *loader, src []byte) (*File, error){
	".hcl":  (*loader).hcl,
	".yaml": (*loader).yaml,
	".yml":  (*loader).yaml,
}

// loader reads one file.
type loader struct {
	path     string
	env      func(string) (string, bool)
	read     func(string) ([]byte, error)
	nodeOnly bool
	blobs    []Blob          // that blob(PATH) has named
	declared map[string]bool // variables of the environment block
	Options
}

// Load reads a file in HCL, whose name ends in .hcl, or LiteLLM's config.yaml. env looks up
// environment variables, as os.LookupEnv does. An error in the file's contents is an *Error.
func Load(path string, env func(string) (string, bool)) (*File, error) {
	return LoadWith(path, env, Options{})
}

// LoadWith is Load with options.
func LoadWith(path string, env func(string) (string, bool), how Options) (*File, error) {
	return load(&loader{path: path, env: env, read: readFile, Options: how})
}

// LoadNode reads the node block alone, and checks no more than the syntax of the rest: a node
// that joins or restarts needs no secrets of the records. It says whether there are any
// records, and returns an *Error if there is no node block.
func LoadNode(path string, env func(string) (string, bool)) (node *Node, records bool, err error) {
	f, err := load(&loader{path: path, env: env, read: readFile, nodeOnly: true})
	if err != nil {
		return nil, false, err
	}
	return f.Node, f.Resources.skipped, nil
}

// Parse reads src as the contents of the file at path.
func Parse(path string, src []byte, env func(string) (string, bool)) (*File, error) {
	return parse(&loader{path: path, env: env, read: readFile}, src)
}

func load(l *loader) (*File, error) {
	src, err := l.read(l.path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return parse(l, src)
}

func parse(l *loader, src []byte) (*File, error) {
	format, ok := formats[filepath.Ext(l.path)]
	if !ok {
		return nil, fmt.Errorf("read configuration: the name of %s ends in none of .hcl, .yaml, .yml", l.path)
	}
	if len(src) > maxFile {
		return nil, fmt.Errorf("read configuration: %s has over %d bytes", l.path, maxFile)
	}
	f, err := format(l, src)
	if err != nil {
		return nil, err
	}
	return f, f.checkFiles()
}

// checkFiles checks the files that deployments name with blob(PATH): a cluster has them only when they
// have been uploaded.
func (f *File) checkFiles() error {
	read := func(digest string) ([]byte, error) {
		for _, b := range f.Blobs {
			if b.Digest == digest {
				return b.Body, nil
			}
		}
		return nil, fs.ErrNotExist // uploaded before: the cluster checks it
	}
	for _, m := range f.Resources.Models {
		for i := range m.Deployments {
			d := &m.Deployments[i]
			if err := modelfile.Check(&d.Resource, read); err != nil && !errors.Is(err, modelfile.ErrUnread) {
				return fmt.Errorf("%s: deployment %s of model %s: %w", d.Position, d.Resource.Name, m.Resource.Name, err)
			}
		}
	}
	return nil
}

// readFile reads a file that is not over maxFile.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() || info.Size() > maxFile {
		return nil, fmt.Errorf("%s is a folder or has over %d bytes", path, maxFile)
	}
	return os.ReadFile(path)
}

// hcl reads HCL.
func (l *loader) hcl(src []byte) (*File, error) {
	f, diags := hclparse.NewParser().ParseHCL(src, l.path)
	if f == nil || diags.HasErrors() {
		return nil, newError(diags, l.path, src, f)
	}
	body, ok := f.Body.(*hclsyntax.Body)
	if !ok {
		return nil, fmt.Errorf("read configuration: %s is not native HCL", l.path)
	}
	d := &decoder{loader: l, ctx: l.functions(), out: &File{Path: l.path}, seen: map[string]hcl.Range{}}
	d.file(body, l.nodeOnly)
	if !d.diags.HasErrors() && !l.nodeOnly {
		l.undefined(&d.out.Resources, literals(body), d.report)
	}
	if d.diags.HasErrors() {
		return nil, newError(d.diags, l.path, src, f)
	}
	d.out.Blobs = l.blobs
	return d.out, nil
}
