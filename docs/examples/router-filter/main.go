// Command example-router-filter is a router filter that keeps requests where their tags say: one with the tag
// region:eu goes to deployments alone whose metadata has "region": "eu". Others go where the router says.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/conclave-llm/conclave/plugins/sdk"
)

// version is what nodes show.
const version = "0.1.0"

// config is the plugin's own part of a router filter's configuration; schema.json says the same.
type config struct {
	Field string `json:"field"`
}

// plugin chooses concurrently.
type plugin struct{ field string }

// Configure is called once, before anything else.
func (p *plugin) Configure(_ context.Context, s sdk.RouterFilterSettings) (sdk.RouterFilterDescription, error) {
	c := config{Field: "region"}
	if len(s.Config) > 0 {
		d := json.NewDecoder(bytes.NewReader(s.Config))
		d.DisallowUnknownFields()
		if err := d.Decode(&c); err != nil {
			return sdk.RouterFilterDescription{}, fmt.Errorf("read config: %w", err)
		}
	}
	if c.Field == "" || strings.Contains(c.Field, ":") {
		return sdk.RouterFilterDescription{}, fmt.Errorf("field: %q is no name of a field of metadata", c.Field)
	}
	p.field = c.Field
	return sdk.RouterFilterDescription{Version: version}, nil
}

// Filter returns the indexes of those candidates that may answer, in the router's order.
func (p *plugin) Filter(_ context.Context, r *sdk.Route) ([]int, error) {
	wanted := ""
	for _, tag := range r.Tags {
		if value, ok := strings.CutPrefix(tag, p.field+":"); ok {
			wanted = value
		}
	}
	chosen := make([]int, 0, len(r.Candidates))
	for i := range r.Candidates {
		if wanted == "" || p.of(&r.Candidates[i]) == wanted {
			chosen = append(chosen, i)
		}
	}
	return chosen, nil
}

// of reads the field of a candidate's metadata, "" if it has none.
func (p *plugin) of(c *sdk.Candidate) string {
	var metadata map[string]any
	if json.Unmarshal(c.Metadata, &metadata) != nil {
		return ""
	}
	value, _ := metadata[p.field].(string)
	return value
}

func main() { sdk.ServeRouterFilter(&plugin{}) }
