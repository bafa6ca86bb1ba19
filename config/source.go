package config

import (
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/conclave-llm/conclave/resource"
)

// Source is a file that is read, and what its reader may ask.
type Source struct {
	Path     string
	Env      func(string) (string, bool)  // looks up a variable of this process, as os.LookupEnv does
	Read     func(string) ([]byte, error) // reads another file that this one names
	NodeOnly bool                         // of the records no more is said than whether there are any
	Options
}

// Options say how a file is read.
type Options struct {
	IgnoreUnknown bool // leave out keys of LiteLLM's config.yaml that are not known here, and list them

	// Known says whether the cluster, or the process of a node, has a variable, to which env(NAME) refers if this machine
	// has none of the name. Nil: this process is the node, and no other variable is known.
	Known func(name string) bool
}

// Text is the text of a file without line breaks at its end. A relative path starts at the folder of the configuration file.
func (s *Source) Text(path string) (string, error) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(s.Path), path)
	}
	b, err := s.Read(path)
	if err != nil {
		return "", err
	}
	if !utf8.Valid(b) {
		return "", fmt.Errorf("%s is not UTF-8 text", path)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// Owned is the Meta of a record that the file declares.
func Owned() resource.Meta { return resource.Meta{Owner: resource.OwnerFile} }

// OwnedAs is the Meta of a record that the file declares and calls by its id.
func OwnedAs(id string) resource.Meta {
	m := Owned()
	m.ID = id
	return m
}
