// Package callbacks knows LiteLLM's names of callbacks: which plugin of ours each is, and which of
// its variables and fields say what of the plugin's configuration.
package callbacks

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Callback is one of LiteLLM's callbacks.
type Callback struct {
	Plugin string
	Fields []Field
	Fixed  map[string]any // of the configuration, where nothing else is said
}

// Field is a part of a plugin's configuration.
type Field struct {
	Name   string   // of the configuration, or of one of its secrets
	Vars   []string // LiteLLM's names in callback_vars and in the callback's own parameters
	Env    []string // names of variables of the environment, of which the first that is set counts
	Secret bool
	Kind   Kind
}

// Kind is how a value is read.
type Kind int

// The kinds of values.
const (
	Text    Kind = iota
	Flag         // "true" or "false"
	Headers      // "name=value,name=value"
	Project      // Weave's ENTITY/PROJECT
)

func field(name, variable string, env ...string) Field {
	f := Field{Name: name, Env: env}
	if variable != "" {
		f.Vars = strings.Split(variable, "|")
	}
	return f
}

func hidden(f Field) Field { f.Secret = true; return f }

func as(k Kind, f Field) Field { f.Kind = k; return f }

var langfuse = []Field{
	field("public_key", "langfuse_public_key", "LANGFUSE_PUBLIC_KEY"), hidden(field("secret_key", "langfuse_secret_key|langfuse_secret", "LANGFUSE_SECRET_KEY")),
	field("environment", "langfuse_environment", "LANGFUSE_TRACING_ENVIRONMENT"),
}

func with(fields []Field, more ...Field) []Field { return append(slices.Clone(fields), more...) }

func amazon(prefix string, more ...Field) []Field {
	return with([]Field{
		hidden(field("access_key_id", prefix+"_aws_access_key_id", "AWS_ACCESS_KEY_ID")),
		hidden(field("secret_access_key", prefix+"_aws_secret_access_key", "AWS_SECRET_ACCESS_KEY")),
		hidden(field("session_token", prefix+"_aws_session_token", "AWS_SESSION_TOKEN")),
		field("region", prefix+"_region_name", "AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION"),
	}, more...)
}

var s3 = Callback{Plugin: "s3", Fixed: map[string]any{"single": true}, Fields: amazon("s3",
	field("bucket", "s3_bucket_name"), field("prefix", "s3_path"), field("endpoint", "s3_endpoint_url"), as(Flag, field("team_prefix", "s3_use_team_prefix")))}

func key(plugin, env string, more ...Field) Callback {
	return Callback{Plugin: plugin, Fields: append([]Field{hidden(field("api_key", strings.ToLower(env), env))}, more...)}
}

func google(variable, name, env string, more ...Field) []Field {
	return with([]Field{
		field(name, variable, env), field("service_account_file", "gcs_path_service_account", "GCS_PATH_SERVICE_ACCOUNT", "GOOGLE_APPLICATION_CREDENTIALS"),
	}, more...)
}

// table has the callbacks by LiteLLM's names.
var table = map[string]Callback{
	"agentops":      key("agentops", "AGENTOPS_API_KEY", field("environment", "", "AGENTOPS_ENVIRONMENT"), field("service_name", "", "AGENTOPS_SERVICE_NAME")),
	"arize":         key("arize", "ARIZE_API_KEY", field("workspace", "arize_space_id|arize_space_key", "ARIZE_SPACE_ID", "ARIZE_SPACE_KEY"), field("project", "", "ARIZE_PROJECT_NAME")),
	"arize_phoenix": key("phoenix", "PHOENIX_API_KEY", field("endpoint", "", "PHOENIX_COLLECTOR_HTTP_ENDPOINT", "PHOENIX_COLLECTOR_ENDPOINT"), field("project", "", "PHOENIX_PROJECT_NAME")),
	"athina":        key("athina", "ATHINA_API_KEY", field("url", "", "ATHINA_BASE_URL")),
	"aws_sqs":       {Plugin: "sqs", Fields: amazon("sqs", field("queue_url", "sqs_queue_url"))},
	"azure_storage": {Plugin: "azure_blob", Fixed: map[string]any{"single": true}, Fields: []Field{
		field("account", "", "AZURE_STORAGE_ACCOUNT_NAME"), field("container", "", "AZURE_STORAGE_FILE_SYSTEM"),
		hidden(field("account_key", "", "AZURE_STORAGE_ACCOUNT_KEY")), field("tenant_id", "", "AZURE_STORAGE_TENANT_ID"),
		field("client_id", "", "AZURE_STORAGE_CLIENT_ID"), hidden(field("client_secret", "", "AZURE_STORAGE_CLIENT_SECRET")),
	}},
	"braintrust": {Plugin: "braintrust", Fixed: map[string]any{"project": "litellm"}, Fields: key("", "BRAINTRUST_API_KEY").Fields},
	"datadog": {Plugin: "datadog", Fields: []Field{
		hidden(field("api_key", "dd_api_key", "DD_API_KEY")), field("site", "dd_site", "DD_SITE"), field("env", "", "DD_ENV"),
		field("service", "", "DD_SERVICE"), field("source", "", "DD_SOURCE"), field("version", "", "DD_VERSION"), field("hostname", "", "DD_HOSTNAME"),
	}},
	"file":       {Plugin: "file"},
	"gcs_bucket": {Plugin: "gcs", Fixed: map[string]any{"single": true}, Fields: google("gcs_bucket_name", "bucket", "GCS_BUCKET_NAME")},
	"gcs_pubsub": {Plugin: "pubsub", Fields: google("", "project", "GCS_PUBSUB_PROJECT_ID", field("topic", "", "GCS_PUBSUB_TOPIC_ID"))},
	"generic_api": {Plugin: "webhook", Fields: []Field{
		field("url", "endpoint", "GENERIC_LOGGER_ENDPOINT"), hidden(as(Headers, field("headers", "headers", "GENERIC_LOGGER_HEADERS"))), field("format", "log_format"),
	}},
	"helicone":      key("helicone", "HELICONE_API_KEY", field("url", "", "HELICONE_API_BASE")),
	"langfuse":      {Plugin: "langfuse", Fields: with(langfuse, field("host", "langfuse_host", "LANGFUSE_HOST"), field("release", "", "LANGFUSE_RELEASE"))},
	"langfuse_otel": {Plugin: "langfuse_otel", Fields: with(langfuse, field("endpoint", "langfuse_host", "LANGFUSE_OTEL_HOST", "LANGFUSE_HOST"))},
	"langsmith": key("langsmith", "LANGSMITH_API_KEY", field("project", "langsmith_project", "LANGSMITH_PROJECT"),
		field("endpoint", "langsmith_base_url", "LANGSMITH_BASE_URL"), field("workspace", "langsmith_tenant_id", "LANGSMITH_TENANT_ID")),
	"langtrace": key("langtrace", "LANGTRACE_API_KEY", field("endpoint", "", "LANGTRACE_API_HOST")),
	"logfire":   {Plugin: "logfire", Fields: []Field{hidden(field("api_key", "logfire_token", "LOGFIRE_TOKEN")), field("endpoint", "", "LOGFIRE_BASE_URL")}},
	"lunary":    {Plugin: "lunary", Fields: []Field{hidden(field("api_key", "lunary_public_key", "LUNARY_PUBLIC_KEY"))}},
	"mlflow": {Plugin: "mlflow", Fixed: map[string]any{"project": "0"}, Fields: []Field{
		field("endpoint", "", "MLFLOW_TRACKING_URI"), field("project", "", "MLFLOW_EXPERIMENT_ID"),
		field("public_key", "", "MLFLOW_TRACKING_USERNAME"), hidden(field("secret_key", "", "MLFLOW_TRACKING_PASSWORD")),
	}},
	"newrelic": {Plugin: "newrelic", Fields: []Field{hidden(field("api_key", "newrelic_license_key", "NEW_RELIC_LICENSE_KEY")), field("service_name", "", "NEW_RELIC_APP_NAME")}},
	"opik":     key("opik", "OPIK_API_KEY", field("workspace", "", "OPIK_WORKSPACE"), field("project", "", "OPIK_PROJECT_NAME"), field("endpoint", "", "OPIK_URL_OVERRIDE")),
	"otel": {Plugin: "otlp", Fields: []Field{
		field("endpoint", "", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_ENDPOINT"), hidden(as(Headers, field("headers", "", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_HEADERS"))),
		field("service_name", "", "OTEL_SERVICE_NAME"), field("environment", "", "OTEL_ENVIRONMENT_NAME"),
	}},
	"s3": s3, "s3_v2": s3,
	"sentry":    {Plugin: "sentry", Fields: []Field{hidden(field("dsn", "", "SENTRY_DSN")), field("environment", "", "SENTRY_ENVIRONMENT")}},
	"signoz":    {Plugin: "signoz", Fields: []Field{hidden(field("api_key", "signoz_ingestion_key", "SIGNOZ_INGESTION_KEY")), field("endpoint", "signoz_endpoint", "SIGNOZ_ENDPOINT")}},
	"traceloop": key("traceloop", "TRACELOOP_API_KEY"),
	"weave_otel": {Plugin: "weave", Fields: []Field{
		hidden(field("api_key", "wandb_api_key", "WANDB_API_KEY")), as(Project, field("project", "weave_project_id|wandb_project_id", "WANDB_PROJECT_ID")), field("endpoint", "", "WANDB_HOST"),
	}},
}

// Lookup finds one of LiteLLM's callbacks.
func Lookup(name string) (Callback, bool) {
	c, ok := table[name]
	return c, ok
}

// Names are LiteLLM's names of those that there are here, in order.
func Names() []string { return slices.Sorted(maps.Keys(table)) }

// Value is a configuration, and its secrets by the names of their fields.
type Value struct {
	Config  map[string]any
	Secrets map[string]string
}

// FromEnv reads the configuration out of variables of the environment.
func (c *Callback) FromEnv(lookup func(name string) (string, bool)) (Value, error) {
	return c.value(func(f *Field) (string, bool) {
		for _, name := range f.Env {
			if v, ok := lookup(name); ok && v != "" {
				return v, true
			}
		}
		return "", false
	})
}

// FromVars reads the configuration out of LiteLLM's fields, each of which must be one of the
// callback's. What they do not say, lookup may: nil says nothing.
func (c *Callback) FromVars(vars map[string]string, lookup func(name string) (string, bool)) (Value, error) {
	known := []string{}
	for i := range c.Fields {
		known = append(known, c.Fields[i].Vars...)
	}
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if !slices.Contains(known, name) {
			slices.Sort(known)
			return Value{}, fmt.Errorf("%s: is not one of %s", name, strings.Join(known, ", "))
		}
	}
	return c.value(func(f *Field) (string, bool) {
		for _, name := range f.Vars {
			if v := vars[name]; v != "" {
				return v, true
			}
		}
		for _, name := range f.Env {
			if lookup == nil {
				break
			}
			if v, ok := lookup(name); ok && v != "" {
				return v, true
			}
		}
		return "", false
	})
}

func (c *Callback) value(find func(f *Field) (string, bool)) (Value, error) {
	v := Value{Config: map[string]any{}, Secrets: map[string]string{}}
	maps.Copy(v.Config, c.Fixed)
	for i := range c.Fields {
		f := &c.Fields[i]
		text, ok := find(f)
		if !ok {
			continue
		}
		if err := f.put(&v, text); err != nil {
			return Value{}, err
		}
	}
	return v, nil
}

// put writes the field's value where it belongs.
func (f *Field) put(v *Value, text string) error {
	switch f.Kind {
	case Flag:
		v.Config[f.Name] = strings.EqualFold(text, "true")
	case Headers:
		for pair := range strings.SplitSeq(text, ",") {
			name, value, ok := strings.Cut(pair, "=")
			if name = strings.TrimSpace(name); !ok || name == "" {
				return fmt.Errorf("%s: %q is not NAME=VALUE", f.Name, name)
			}
			v.Secrets[f.Name+"."+name] = strings.TrimSpace(value)
		}
	case Project:
		entity, project, ok := strings.Cut(text, "/")
		if !ok {
			return fmt.Errorf("%s: %q is not ENTITY/PROJECT", f.Name, text)
		}
		v.Config["workspace"], v.Config["project"] = entity, project
	default:
		if f.Secret {
			v.Secrets[f.Name] = text
			return nil
		}
		v.Config[f.Name] = text
	}
	return nil
}

// Statuses are what a callback of LiteLLM's type is told; nil: all.
func Statuses(kind string) ([]string, error) {
	switch kind {
	case "", "success_and_failure":
		return nil, nil
	case "success":
		return []string{"success"}, nil
	case "failure":
		return []string{"blocked", "canceled", "failure"}, nil
	}
	return nil, fmt.Errorf("%q is not success, failure or success_and_failure", kind)
}
