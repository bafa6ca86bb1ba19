// Package schema is the guardrail that lets only answers pass that are JSON of a given schema.
package schema

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/verdict"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// Bounds of what is checked.
const (
	maxSchema = 256 << 10
	maxDepth  = 256 // of an answer
)

// Config is the configuration of the guardrail.
type Config struct {
	verdict.Terms
	Schema json.RawMessage `json:"schema"` // JSON Schema, draft 7 or 2020-12; references stay within it
	// Fences takes an answer that stands in a fenced block of Markdown for what is in it.
	Fences bool `json:"fences,omitempty"`
}

// Schema is the guardrail.
type Schema struct {
	cfg    Config
	schema *jsonschema.Resolved
}

// Configure implements sdk.Guardrail.
func (g *Schema) Configure(_ context.Context, s sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	var cfg Config
	if err := verdict.Read(s.Config, &cfg); err != nil {
		return sdk.GuardrailDescription{}, err
	}
	if err := cfg.Validate("the answer is not JSON of the form that is wanted here"); err != nil {
		return sdk.GuardrailDescription{}, err
	}
	if len(cfg.Schema) == 0 || len(cfg.Schema) > maxSchema {
		return sdk.GuardrailDescription{}, fmt.Errorf("schema: has %d bytes, not 1 to %d", len(cfg.Schema), maxSchema)
	}
	var doc jsonschema.Schema
	if err := json.Unmarshal(cfg.Schema, &doc); err != nil {
		return sdk.GuardrailDescription{}, fmt.Errorf("schema: %w", err)
	}
	resolved, err := doc.Resolve(&jsonschema.ResolveOptions{})
	if err != nil {
		return sdk.GuardrailDescription{}, fmt.Errorf("schema: %w", err)
	}
	g.cfg, g.schema = cfg, resolved
	return sdk.GuardrailDescription{Version: scan.Version, Hooks: []sdk.Hook{sdk.After}}, nil
}

// Check implements sdk.Guardrail.
func (g *Schema) Check(_ context.Context, c *sdk.Check) (sdk.Verdict, error) {
	var found []sdk.Finding
	for _, text := range answers(c) {
		if category := g.judge(text); category != "" {
			found = append(found, sdk.Finding{Category: category})
		}
	}
	return g.cfg.Decide(found), nil
}

// judge says what is wrong with an answer, "" for nothing.
func (g *Schema) judge(text string) string {
	if g.cfg.Fences {
		text = unfenced(text)
	}
	doc, err := read(text)
	if err != nil {
		return "not_json"
	}
	if g.schema.Validate(doc) != nil {
		return "schema"
	}
	return ""
}

var errDeep = errors.New("nested too deeply")

// read reads a text that is one JSON value.
func read(text string) (any, error) {
	depth := 0
	d := json.NewDecoder(strings.NewReader(text))
	for {
		tok, err := d.Token()
		if err != nil {
			break // the next reader says what is wrong
		}
		if delim, ok := tok.(json.Delim); ok {
			if delim == '{' || delim == '[' {
				depth++
			} else {
				depth--
			}
		}
		if depth > maxDepth {
			return nil, errDeep
		}
	}
	var doc any
	err := json.Unmarshal([]byte(text), &doc)
	return doc, err
}

// unfenced is what stands in the one fenced block that is all of the text.
func unfenced(text string) string {
	b := bytes.TrimSpace([]byte(text))
	if !bytes.HasPrefix(b, []byte("```")) || !bytes.HasSuffix(b, []byte("```")) || len(b) < 6 {
		return text
	}
	_, inner, ok := bytes.Cut(b[3:len(b)-3], []byte("\n"))
	if !ok {
		return text
	}
	return string(inner)
}
