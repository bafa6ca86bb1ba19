package secret

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// maxFile is the largest file that a reference may name.
const maxFile = 1 << 20

// Resolve reads what a reference names: "env://NAME" and LiteLLM's "os.environ/NAME" the
// environment, "file:///absolute/path" a file less its last line end. Anything else is the
// secret itself. A variable that is not set, or a file that is not there, is an error: an
// empty secret would be sent to a provider.
func Resolve(ref string) (Text, error) {
	if name, ok := strings.CutPrefix(ref, "env://"); ok {
		return fromEnv(name)
	}
	if name, ok := strings.CutPrefix(ref, "os.environ/"); ok {
		return fromEnv(name)
	}
	if path, ok := strings.CutPrefix(ref, "file://"); ok {
		return fromFile(path)
	}
	return New(ref), nil
}

// fromEnv reads a variable.
func fromEnv(name string) (Text, error) {
	v, ok := os.LookupEnv(name)
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
