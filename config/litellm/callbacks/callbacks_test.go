package callbacks_test

import (
	"encoding/json"
	"maps"
	"reflect"
	"testing"

	"github.com/conclave-llm/conclave/config/litellm/callbacks"
	"github.com/conclave-llm/conclave/plugins/builtin"
	"github.com/conclave-llm/conclave/plugins/schema"
	"github.com/conclave-llm/conclave/resource"
)

// Each of LiteLLM's callbacks is a plugin that is shipped.
func TestNames(t *testing.T) {
	t.Parallel()
	for _, name := range callbacks.Names() {
		c, _ := callbacks.Lookup(name)
		if p, ok := builtin.Lookup(c.Plugin); !ok || p.Kind != "callback" {
			t.Errorf("%s is %q, which is no callback of this program", name, c.Plugin)
		}
	}
}

// What LiteLLM's variables say fits the schema of the plugin.
func TestFrom_Fits(t *testing.T) {
	t.Parallel()
	const text = "a/b=c" // also headers, and Weave's project
	for _, name := range callbacks.Names() {
		c, _ := callbacks.Lookup(name)
		vars := map[string]string{}
		for _, f := range c.Fields {
			for _, v := range f.Vars {
				vars[v] = text
				if f.Name == "format" {
					vars[v] = "ndjson"
				}
			}
		}
		value, err := c.FromVars(vars, func(string) (string, bool) { return text, true })
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		config, _ := json.Marshal(value.Config)
		r := &resource.Callback{Plugin: c.Plugin, Config: config, Secrets: map[string]*resource.Sealed{}}
		for field := range value.Secrets {
			r.Secrets[field] = &resource.Sealed{}
		}
		if err := schema.CheckCallback(nil, r); (err == nil) != (len(c.Fields) > 0) {
			t.Errorf("%s: %s and secrets %v: %v", name, config, value.Secrets, err)
		}
	}
}

func TestFrom(t *testing.T) {
	t.Parallel()
	env := map[string]string{
		"LANGFUSE_PUBLIC_KEY": "pk", "LANGFUSE_SECRET_KEY": "sk", "LANGFUSE_HOST": "http://lf", "OTEL_HEADERS": "a=b, c = d", "WANDB_PROJECT_ID": "me/p",
		"WANDB_API_KEY": "w", "OTEL_ENDPOINT": "http://o",
	}
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	for _, tt := range []struct {
		name    string
		vars    map[string]string // nil: out of the environment alone
		config  map[string]any
		secrets map[string]string
	}{
		{"langfuse", nil, map[string]any{"public_key": "pk", "host": "http://lf"}, map[string]string{"secret_key": "sk"}},
		{"langfuse_otel", nil, map[string]any{"public_key": "pk", "endpoint": "http://lf"}, map[string]string{"secret_key": "sk"}},
		{"otel", nil, map[string]any{"endpoint": "http://o"}, map[string]string{"headers.a": "b", "headers.c": "d"}},
		{"weave_otel", nil, map[string]any{"workspace": "me", "project": "p"}, map[string]string{"api_key": "w"}},
		{"langfuse", map[string]string{"langfuse_public_key": "pk2"}, map[string]any{"public_key": "pk2"}, map[string]string{}},
		{
			"s3_v2",
			map[string]string{"s3_bucket_name": "b", "s3_use_team_prefix": "True", "s3_aws_access_key_id": "id"},
			map[string]any{"bucket": "b", "team_prefix": true, "single": true},
			map[string]string{"access_key_id": "id"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, ok := callbacks.Lookup(tt.name)
			if !ok {
				t.Fatal("is not known")
			}
			got, err := c.FromEnv(lookup)
			if tt.vars != nil {
				got, err = c.FromVars(tt.vars, nil)
			}
			if err != nil || !reflect.DeepEqual(got.Config, tt.config) || !maps.Equal(got.Secrets, tt.secrets) {
				t.Errorf("got %+v, %v, want %v and %v", got, err, tt.config, tt.secrets)
			}
		})
	}
	c, _ := callbacks.Lookup("langfuse")
	if _, err := c.FromVars(map[string]string{"dd_api_key": "x"}, nil); err == nil {
		t.Error("a field of another callback is taken")
	}
	o, _ := callbacks.Lookup("otel")
	if _, err := o.FromEnv(func(string) (string, bool) { return "nonsense", true }); err == nil {
		t.Error("headers that are none are taken")
	}
	if _, err := callbacks.Statuses("sometimes"); err == nil {
		t.Error("a type that there is not is taken")
	}
}
