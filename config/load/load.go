// Package load reads a configuration file in whichever format it has.
package load

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/config/hclfile"
	"github.com/conclave-llm/conclave/config/litellm"
	"github.com/conclave-llm/conclave/provider/modelfile"
)

// maxFile is the most bytes of a configuration file, and of a file named in it.
const maxFile = 4 << 20

// formats is the table of file formats, by extension: a new one is a reader and a row.
var formats = map[string]func(s *config.Source, src []byte) (*config.File, error){
	".hcl":  hclfile.Read,
	".yaml": litellm.Read,
	".yml":  litellm.Read,
}

// File reads a file in HCL, whose name ends in .hcl, or LiteLLM's config.yaml. env looks up
// environment variables, as os.LookupEnv does. An error in the file's contents is a *config.Error.
func File(path string, env func(string) (string, bool)) (*config.File, error) {
	return With(path, env, config.Options{})
}

// With is File with options.
func With(path string, env func(string) (string, bool), how config.Options) (*config.File, error) {
	return load(&config.Source{Path: path, Env: env, Read: readFile, Options: how})
}

// Node reads the node block alone, and checks no more than the syntax of the rest: a node
// that joins or restarts needs no secrets of the records. It says whether there are any
// records, and returns a *config.Error if there is no node block.
func Node(path string, env func(string) (string, bool)) (node *config.Node, records bool, err error) {
	f, err := load(&config.Source{Path: path, Env: env, Read: readFile, NodeOnly: true})
	if err != nil {
		return nil, false, err
	}
	return f.Node, f.Resources.Skipped, nil
}

// Text reads src as the contents of the file at path.
func Text(path string, src []byte, env func(string) (string, bool)) (*config.File, error) {
	return read(&config.Source{Path: path, Env: env, Read: readFile}, src)
}

func load(s *config.Source) (*config.File, error) {
	src, err := s.Read(s.Path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return read(s, src)
}

func read(s *config.Source, src []byte) (*config.File, error) {
	format, ok := formats[filepath.Ext(s.Path)]
	if !ok {
		return nil, fmt.Errorf("read configuration: the name of %s ends in none of .hcl, .yaml, .yml", s.Path)
	}
	if len(src) > maxFile {
		return nil, fmt.Errorf("read configuration: %s has over %d bytes", s.Path, maxFile)
	}
	f, err := format(s, src)
	if err != nil {
		return nil, err
	}
	return f, checkFiles(f)
}

// checkFiles checks the files that deployments and credentials name with blob(PATH): a cluster has them only when they
// have been uploaded.
func checkFiles(f *config.File) error {
	read := func(digest string) ([]byte, error) {
		for _, b := range f.Blobs {
			if b.Digest == digest {
				return b.Body, nil
			}
		}
		return nil, fs.ErrNotExist // uploaded before: the cluster checks it
	}
	for i := range f.Resources.Credentials {
		c := &f.Resources.Credentials[i]
		if err := modelfile.CheckWay(&c.Resource.Egress, read); err != nil && !errors.Is(err, modelfile.ErrUnread) {
			return fmt.Errorf("%s: credential %s: %w", c.Position, c.Resource.Name, err)
		}
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
