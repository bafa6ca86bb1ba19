package secret

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/conclave-llm/conclave/resource"
)

// maxFile is the largest file that a reference may name.
const maxFile = 1 << 20

// Resolve reads what a reference names: "env://NAME" and LiteLLM's "os.environ/NAME" the
// environment, "file:///absolute/path" a file less its last line end. Anything else is the
// secret itself. A variable that is not set, or a file that is not there, is an error: an
// empty secret would be sent to a provider.
func Resolve(ref string) (Text, error) { return ResolveWith(ref, os.LookupEnv, nil) }

// ResolveWith is Resolve, with env to look variables up, and with the variables of the cluster for those that the process's own
// environment lacks; variable returns resource.ErrNotFound for one that there is not. Nil: there are none.
func ResolveWith(ref string, env func(string) (string, bool), variable func(name string) (Text, error)) (Text, error) {
	if name, ok := resource.VariableName(ref); ok {
		text, err := fromEnv(name, env)
		if err == nil || variable == nil {
			return text, err
		}
		if text, err := variable(name); !errors.Is(err, resource.ErrNotFound) {
			return text, err
		}
		return Text{}, fmt.Errorf("resolve secret: variable %q is set neither in this node's environment nor in the cluster's", name)
	}
	if path, ok := strings.CutPrefix(ref, "file://"); ok {
		return fromFile(path)
	}
	return New(ref), nil
}

// fromEnv reads a variable.
func fromEnv(name string, env func(string) (string, bool)) (Text, error) {
	v, ok := env(name)
	if !ok || v == "" {
		return Text{}, fmt.Errorf("resolve secret: environment variable %q is not set", name)
	}
	return New(v), nil
}

// fromFile reads a file.
func fromFile(path string) (Text, error) {
	if !filepath.IsAbs(path) {
		return Text{}, fmt.Errorf("resolve secret: file://%s: the path must be absolute, as in file:///run/secrets/key", path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return Text{}, fmt.Errorf("resolve secret: %w", err)
	}
	if info.Size() > maxFile {
		return Text{}, fmt.Errorf("resolve secret: %s is larger than 1 MiB", path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return Text{}, fmt.Errorf("resolve secret: %w", err)
	}
	s := trimNewline(string(b))
	if s == "" {
		return Text{}, fmt.Errorf("resolve secret: %s is empty", path)
	}
	return New(s), nil
}
