// Command example-secret-source is a secret source that reads files of a folder: the path of a reference is that
// of the file, and its field one of a file that holds a JSON object.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/conclave-llm/conclave/plugins/sdk"
)

// version is what nodes show.
const version = "0.1.0"

// maxFile is the largest file that is read, in bytes.
const maxFile = 1 << 20

// config is the plugin's own part of a secret source's configuration; schema.json says the same.
type config struct {
	Folder string `json:"folder"`
}

// plugin reads concurrently. What is outside of the folder cannot be opened through root.
type plugin struct{ root *os.Root }

// Configure is called once, before anything else.
func (p *plugin) Configure(_ context.Context, s sdk.SecretSourceSettings) (sdk.SecretSourceDescription, error) {
	var c config
	d := json.NewDecoder(bytes.NewReader(s.Config))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return sdk.SecretSourceDescription{}, fmt.Errorf("read config: %w", err)
	}
	if c.Folder == "" {
		return sdk.SecretSourceDescription{}, errors.New("folder: give the folder of the secrets")
	}
	var err error
	p.root, err = os.OpenRoot(c.Folder)
	return sdk.SecretSourceDescription{Version: version}, err
}

// Read is asked again when the value that a node holds is due, and later and later after an error.
func (p *plugin) Read(_ context.Context, at sdk.SecretAddress) (sdk.SecretValue, error) {
	if !fs.ValidPath(at.Path) || at.Path == "." {
		return sdk.SecretValue{}, &sdk.SecretError{Reason: sdk.SecretMalformed, Text: "the path is not that of a file in the folder"}
	}
	text, err := p.file(at.Path)
	if err != nil {
		return sdk.SecretValue{}, err
	}
	if at.Field != "" {
		var fields map[string]string
		if json.Unmarshal([]byte(text), &fields) != nil {
			return sdk.SecretValue{}, &sdk.SecretError{Reason: sdk.SecretMalformed, Text: "the file holds no JSON object of texts"}
		}
		var ok bool
		if text, ok = fields[at.Field]; !ok {
			return sdk.SecretValue{}, &sdk.SecretError{Reason: sdk.SecretNotFound, Text: "the file has no such field"}
		}
	}
	return sdk.SecretValue{Text: sdk.NewSecret(text)}, nil
}

// file reads a file, less its last line end.
func (p *plugin) file(path string) (string, error) {
	f, err := p.root.Open(path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "", &sdk.SecretError{Reason: sdk.SecretDenied, Text: "the file may not be read"}
	case err != nil:
		return "", &sdk.SecretError{Reason: sdk.SecretNotFound, Text: "there is no such file"}
	}
	defer func() { _ = f.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return "", &sdk.SecretError{Reason: sdk.SecretUnavailable, Text: "the file cannot be read"}
	}
	return strings.TrimSuffix(string(text), "\n"), nil
}

func main() { sdk.ServeSecretSource(&plugin{}) }
