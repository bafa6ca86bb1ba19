package console

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// Secret resolves env:VAR, file:PATH and - so that secrets need not stand on the command
// line, where every user of the machine sees them.
func (c *Console) Secret(s string) (string, error) {
	if name, ok := strings.CutPrefix(s, "env:"); ok {
		v := os.Getenv(name)
		if v == "" {
			return "", fmt.Errorf("%s is not set", name)
		}
		return v, nil
	}
	path, isFile := strings.CutPrefix(s, "file:")
	if s != "-" && !isFile {
		return s, nil
	}
	b, err := c.Read(path)
	if err != nil {
		return "", err
	}
	v := strings.TrimSpace(string(b))
	if v == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return v, nil
}

// Read is the content of a file, or of the standard input for -.
func (c *Console) Read(path string) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(c.Stdin)
	}
	return os.ReadFile(path)
}

// SplitAll lets a list be written as one flag with commas, too.
func SplitAll(list []string) []string {
	out := []string{}
	for _, s := range list {
		for part := range strings.SplitSeq(s, ",") {
			if part != "" {
				out = append(out, part)
			}
		}
	}
	return out
}
