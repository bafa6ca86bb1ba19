package secret

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/conclave-llm/conclave/resource"
)

const (
	fileScheme = "file://"
	maxFile    = 1 << 20 // bytes of a file that a reference may name
)

// Resolve reads what a reference names: "env://NAME" and LiteLLM's "os.environ/NAME" the
// environment, "file:///absolute/path" a file less its last line end. Anything else is the
// secret itself. A variable that is not set, or a file that is not there, is an *Unresolved: an
// empty secret would be sent to a provider.
func Resolve(ref string) (Text, error) { return ResolveWith(ref, os.LookupEnv, nil) }

// ResolveWith is Resolve, with env to look variables up, and with the variables of the cluster for those that the process's own
// environment lacks; variable returns resource.ErrNotFound for one that there is not. Nil: there are none.
func ResolveWith(ref string, env func(string) (string, bool), variable func(name string) (Text, error)) (Text, error) {
	if name, ok := resource.VariableName(ref); ok {
		if v, ok := env(name); ok && v != "" {
			return New(v), nil
		}
		if variable == nil {
			return Text{}, &Unresolved{ref, "not_found", fmt.Errorf("environment variable %q is not set", name)}
		}
		if text, err := variable(name); !errors.Is(err, resource.ErrNotFound) {
			return text, err
		}
		return Text{}, &Unresolved{ref, "not_found", fmt.Errorf("variable %q is set neither in this node's environment nor in the cluster's", name)}
	}
	if IsFile(ref) {
		return fromFile(ref)
	}
	return New(ref), nil
}

// IsFile says whether a text is a reference to a file.
func IsFile(ref string) bool { return strings.HasPrefix(ref, fileScheme) }

// fromFile reads a file.
func fromFile(ref string) (Text, error) {
	path := strings.TrimPrefix(ref, fileScheme)
	if !filepath.IsAbs(path) {
		return Text{}, &Unresolved{ref, "malformed", errors.New("the path must be absolute, as in file:///run/secrets/key")}
	}
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxFile {
		return Text{}, &Unresolved{ref, "malformed", errors.New("the file is larger than 1 MiB")}
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(path)
	}
	s := trimNewline(string(b))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Text{}, &Unresolved{ref, "not_found", err}
	case errors.Is(err, fs.ErrPermission):
		return Text{}, &Unresolved{ref, "denied", err}
	case err != nil:
		return Text{}, &Unresolved{ref, "unavailable", err}
	case s == "":
		return Text{}, &Unresolved{ref, "malformed", errors.New("the file is empty")}
	}
	return New(s), nil
}
