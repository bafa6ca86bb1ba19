// Package schema knows the configurations of plugins: the JSON Schema of each shipped plugin and
// of those that were uploaded with one, and whether a configuration fits. What
// does not fit is refused before it is saved; what only the plugin can judge, it judges when it
// is configured.
package schema

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/conclave-llm/conclave/plugins/builtin/otlp"
	"github.com/conclave-llm/conclave/resource"
)

// shipped holds the schemas of shipped plugins, KIND/NAME.json each. The vendors of package otlp
// share callback/otlp.json.
//
//go:embed shipped
var shipped embed.FS

// Of returns the schema of the configuration of a plugin of the kind, nil if none is known. A
// registered plugin comes before a shipped one of its name, as where it is run.
func Of(registered []*resource.Plugin, kind, name string) json.RawMessage {
	i := slices.IndexFunc(registered, func(p *resource.Plugin) bool { return p.Name == name && p.Kind == kind })
	if i >= 0 {
		if m := registered[i].Bundle(); m != nil {
			return m.Schema
		}
		return nil
	}
	vendor := kind == "callback" && slices.Contains(otlp.Vendors(), name)
	file := name
	if vendor {
		file = "otlp"
	}
	text, err := shipped.ReadFile("shipped/" + kind + "/" + file + ".json")
	if err != nil {
		return nil
	}
	if vendor {
		return ofVendor(text, name)
	}
	return text
}

// ofVendor is the schema that the vendors share, with the name and the needs of one.
func ofVendor(shared []byte, name string) json.RawMessage {
	var s jsonschema.Schema
	if err := json.Unmarshal(shared, &s); err != nil {
		return nil
	}
	s.Title, s.Required = "Sends each request as a span to "+otlp.Title(name), otlp.Needs(name)
	text, err := json.Marshal(&s)
	if err != nil {
		return nil
	}
	return text
}

// Check returns a *resource.Invalid of the field config if the configuration does not fit the
// schema of its plugin. An empty configuration is an empty object. A value that is taken from
// the cluster's environment when the plugin starts ("env://NAME") is a text here.
func Check(registered []*resource.Plugin, kind, name string, config json.RawMessage) error {
	schema := Of(registered, kind, name)
	if len(schema) == 0 {
		return nil
	}
	check, err := Compile(schema)
	if err != nil {
		return &resource.Invalid{Field: "plugin", Reason: fmt.Sprintf("%s: %v", name, err)}
	}
	if len(bytes.TrimSpace(config)) == 0 {
		config = json.RawMessage(`{}`)
	}
	err = check(config)
	if err == nil {
		return nil
	}
	reason := cmp.Or(noThreshold(kind, name, schema, config), outOfRange(schema, config), err.Error())
	if strings.HasPrefix(reason, "unexpected additional properties") {
		reason += known(schema)
	}
	return &resource.Invalid{Field: "config", Reason: fmt.Sprintf("does not fit the schema of %s: %s", name, reason)}
}

// CheckGuardrail is Check of a guardrail, each of whose secrets is a text where it belongs.
func CheckGuardrail(registered []*resource.Plugin, g *resource.Guardrail) error {
	return checkWith(registered, "guardrail", g.Plugin, g.Configured)
}

// CheckCallback is Check of a callback, each of whose secrets is a text where it belongs.
func CheckCallback(registered []*resource.Plugin, c *resource.Callback) error {
	return checkWith(registered, "callback", c.Plugin, c.Configured)
}

// CheckSecretSource is Check of a secret source, each of whose secrets is a text where it belongs.
func CheckSecretSource(registered []*resource.Plugin, s *resource.SecretSource) error {
	return checkWith(registered, "secret_source", s.Plugin, s.Configured)
}

// CheckUse is Check of a record that uses a plugin of the kind, each of whose secrets is a text where it
// belongs.
func CheckUse(registered []*resource.Plugin, kind string, u *resource.PluginUse) error {
	return checkWith(registered, kind, u.Plugin, u.Configured)
}

func checkWith(registered []*resource.Plugin, kind, name string, configured func(open func(string, *resource.Sealed) (string, error)) (json.RawMessage, error)) error {
	config, err := configured(func(string, *resource.Sealed) (string, error) { return "secret", nil })
	if err != nil {
		return &resource.Invalid{Field: "secrets", Reason: err.Error()}
	}
	return Check(registered, kind, name, config)
}

// CheckProvider is Check of a deployment for which a plugin answers, each of whose secrets, and of those of its
// credential c, is a text where it belongs; c may be nil.
func CheckProvider(registered []*resource.Plugin, d *resource.Deployment, c *resource.Credential) error {
	config, err := d.PluginConfig(c, func(string, string, string, *resource.Sealed) (string, error) { return "secret", nil })
	if err != nil {
		return err
	}
	return Check(registered, "provider", d.PluginName(), config)
}

// Compile reads a schema and returns what checks a document against it. References to other
// documents are refused: nothing is fetched.
func Compile(schema json.RawMessage) (check func(document json.RawMessage) error, err error) {
	var s jsonschema.Schema
	if err := json.Unmarshal(schema, &s); err != nil {
		return nil, fmt.Errorf("the schema is none: %w", err)
	}
	r, err := s.Resolve(nil)
	if err != nil {
		return nil, fmt.Errorf("the schema is none: %w", err)
	}
	return func(document json.RawMessage) error {
		var v any
		if err := json.Unmarshal(document, &v); err != nil {
			return errors.New("it is not JSON")
		}
		if err := r.Validate(v); err != nil {
			return errors.New(shorten(err.Error()))
		}
		return nil
	}, nil
}

// shorten takes the places within the schema out of an error: "validating root: validating
// /properties/words: type: …" says "words: type: …". Of a choice it says what each would need.
func shorten(text string) string {
	if _, choices, ok := strings.Cut(text, "validating /anyOf/0: "); ok {
		return choiceOf.ReplaceAllString(choices, "; or ")
	}
	parts := strings.Split(text, "validating ")
	last := parts[len(parts)-1]
	last = strings.TrimPrefix(strings.TrimPrefix(last, "root: "), "/else: ")
	last = strings.ReplaceAll(strings.TrimPrefix(last, "/properties/"), "/properties/", ".")
	return together.ReplaceAllString(last, "$2: give this or $1, not both")
}

// together is what is said of a member that does not go with another one.
var together = regexp.MustCompile(`^/dependentSchemas/(\w+)\.(\w+): not: .*`)

var choiceOf = regexp.MustCompile(`\nvalidating /anyOf/\d+: `)
