// Command example-callback is a callback that writes a line for each finished request to a file.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/conclave-llm/conclave/plugins/sdk"
)

// version is what nodes show.
const version = "0.1.0"

// config is the plugin's own part of a callback's configuration; schema.json says the same.
type config struct {
	Path string `json:"path"`
}

// plugin takes batches, one after the other.
type plugin struct{ file *os.File }

// Configure is called once, before anything else.
func (p *plugin) Configure(_ context.Context, s sdk.CallbackSettings) (sdk.CallbackDescription, error) {
	var c config
	d := json.NewDecoder(bytes.NewReader(s.Config))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return sdk.CallbackDescription{}, fmt.Errorf("read config: %w", err)
	}
	if c.Path == "" {
		return sdk.CallbackDescription{}, errors.New("path: give the file to write to")
	}
	var err error
	p.file, err = os.OpenFile(c.Path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	return sdk.CallbackDescription{Version: version}, err
}

// Deliver returns how many of the records, from the first, are safe. The rest comes again. After
// a crash a record may come twice: (NodeID, Position) tells.
func (p *plugin) Deliver(_ context.Context, records []sdk.Record) (int, error) {
	var lines bytes.Buffer
	for _, r := range records {
		fmt.Fprintf(&lines, "%s %d %s %q %s\n", r.NodeID, r.Position, r.StartedAt.Format("2006-01-02T15:04:05Z"), r.Model, r.Status)
	}
	if _, err := p.file.Write(lines.Bytes()); err != nil {
		return 0, err
	}
	if err := p.file.Sync(); err != nil {
		return 0, err
	}
	return len(records), nil
}

func main() { sdk.ServeCallback(&plugin{}) }
