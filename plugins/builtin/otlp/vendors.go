package otlp

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	common "go.opentelemetry.io/proto/slim/otlp/common/v1"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// vendor says how one takes spans.
type vendor struct {
	title    string
	endpoint string // "{region}" is the configuration's; empty: it must be given
	path     string // behind the endpoint; default /v1/traces
	region   string // default of the region
	needs    []string
	tokenURL string // gives tokens for the key, which prove who sends; empty: none are needed
	json     bool   // spans are sent in JSON, and not compressed: it reads nothing else well
	// prove puts into the headers who sends, and into the resource where it belongs.
	prove func(c *Config, h http.Header, resource map[string]string)
	// inference says that the vendor reads OpenInference's names.
	inference bool
	// more are further attributes of a span.
	more func(r *sdk.Record) []*common.KeyValue
}

// vendors are the vendors by the names of their callbacks. MLflow and Phoenix are real servers in test/counterparts. The rows of
// Braintrust, LangSmith, Logfire and Weave were compared with their documentation, those of AgentOps, Arize, Langtrace, Lunary and
// Opik with the sources that these publish; the addresses and headers of the others have not been tried at the vendor or
// checked against its pages.
var vendors = map[string]vendor{
	"otlp": {title: "any OpenTelemetry collector"},
	"agentops": { //nolint:gosec // an address, no secret
		title: "AgentOps", endpoint: "https://otlp.agentops.cloud", needs: []string{"api_key"}, tokenURL: "https://api.agentops.ai/v3/auth/token",
	},
	"arize": {
		title: "Arize AX", endpoint: "https://otlp.arize.com", needs: []string{"api_key", "workspace"}, inference: true,
		prove: func(c *Config, h http.Header, resource map[string]string) {
			for _, name := range []string{"arize-space-id", "space_id"} { // both are Arize's, the second one of older collectors
				h.Set(name, c.Workspace)
			}
			for _, name := range []string{"Authorization", "api_key"} {
				h.Set(name, c.APIKey)
			}
			project(c, resource)
		},
	},
	"braintrust": {
		title: "Braintrust", endpoint: "https://api.braintrust.dev/otel", needs: []string{"api_key", "project"},
		prove: func(c *Config, h http.Header, resource map[string]string) {
			bearer(c, h, resource)
			parent := c.Project
			if !strings.Contains(parent, ":") { // "project_id:…" is said as it is
				parent = "project_name:" + parent
			}
			h.Set("x-bt-parent", parent)
		},
	},
	"honeycomb": {
		title: "Honeycomb", endpoint: "https://api.honeycomb.io", needs: []string{"api_key"},
		prove: func(c *Config, h http.Header, _ map[string]string) {
			h.Set("x-honeycomb-team", c.APIKey)
			if c.Project != "" {
				h.Set("x-honeycomb-dataset", c.Project)
			}
		},
	},
	"langfuse_otel": {
		title: "Langfuse over OTLP", endpoint: "https://cloud.langfuse.com", path: "/api/public/otel/v1/traces",
		needs: []string{"public_key", "secret_key"}, more: langfuse,
		prove: func(c *Config, h http.Header, _ map[string]string) {
			h.Set("Authorization", basic(c.PublicKey, c.SecretKey))
			h.Set("x-langfuse-ingestion-version", "4")
		},
	},
	"langsmith": {
		title: "LangSmith", endpoint: "https://api.smith.langchain.com", path: "/otel/v1/traces", needs: []string{"api_key"},
		prove: func(c *Config, h http.Header, _ map[string]string) {
			h.Set("x-api-key", c.APIKey)
			if c.Project != "" {
				h.Set("Langsmith-Project", c.Project)
			}
			if c.Workspace != "" {
				h.Set("x-tenant-id", c.Workspace)
			}
		},
		more: langsmith,
	},
	"langtrace": {
		title: "Langtrace", endpoint: "https://app.langtrace.ai", path: "/api/trace", needs: []string{"api_key"}, json: true,
		prove: func(c *Config, h http.Header, _ map[string]string) {
			h.Set("x-api-key", c.APIKey)
			h.Set("User-Agent", "opentelemetry conclave/"+scan.Version) // else it takes them for spans of its own form
		},
	},
	"logfire": {
		title: "Pydantic Logfire", endpoint: "https://logfire-{region}.pydantic.dev", region: "us", needs: []string{"api_key"},
		prove: func(c *Config, h http.Header, _ map[string]string) { h.Set("Authorization", c.APIKey) },
	},
	"lunary": {
		title: "Lunary", endpoint: "https://api.lunary.ai/v1/otel", needs: []string{"api_key"}, prove: bearer, more: lunary,
	},
	"mlflow": {
		title: "MLflow 3.6 or newer", needs: []string{"project"}, // the id of the experiment
		prove: func(c *Config, h http.Header, _ map[string]string) {
			h.Set("x-mlflow-experiment-id", c.Project)
			if c.PublicKey != "" {
				h.Set("Authorization", basic(c.PublicKey, c.SecretKey))
			}
		},
		more: mlflow,
	},
	"newrelic": {
		title: "New Relic", endpoint: "https://otlp.nr-data.net", needs: []string{"api_key"},
		prove: func(c *Config, h http.Header, _ map[string]string) { h.Set("api-key", c.APIKey) },
	},
	"opik": {
		title: "Comet Opik", endpoint: "https://www.comet.com/opik/api", path: "/v1/private/otel/v1/traces",
		prove: func(c *Config, h http.Header, _ map[string]string) {
			for name, value := range map[string]string{"Authorization": c.APIKey, "Comet-Workspace": c.Workspace, "projectName": c.Project} {
				if value != "" {
					h.Set(name, value)
				}
			}
		},
		more: func(r *sdk.Record) []*common.KeyValue { return present(text("opik.tags", strings.Join(r.Tags, ","))) },
	},
	"phoenix": {
		title: "Arize Phoenix", inference: true,
		prove: func(c *Config, h http.Header, resource map[string]string) {
			if c.APIKey != "" {
				bearer(c, h, resource)
			}
			project(c, resource)
		},
	},
	"signoz": {
		title: "SigNoz", endpoint: "https://ingest.{region}.signoz.cloud", region: "us", needs: []string{"api_key"},
		prove: func(c *Config, h http.Header, _ map[string]string) { h.Set("signoz-ingestion-key", c.APIKey) },
	},
	"traceloop": {
		title: "Traceloop", endpoint: "https://api.traceloop.com", needs: []string{"api_key"}, prove: bearer,
	},
	"weave": {
		title: "Weights & Biases Weave", endpoint: "https://trace.wandb.ai", path: "/otel/v1/traces", needs: []string{"api_key", "workspace", "project"},
		prove: func(c *Config, h http.Header, resource map[string]string) {
			h.Set("wandb-api-key", c.APIKey)
			resource["wandb.entity"], resource["wandb.project"] = c.Workspace, c.Project
		},
	},
}

// Vendors are the names of the callbacks of this package, in order.
func Vendors() (names []string) {
	for name := range vendors {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Title is what a vendor calls itself.
func Title(name string) string { return vendors[name].title }

// Needs are the fields of a configuration that a vendor cannot do without.
func Needs(name string) []string {
	v := vendors[name]
	if v.endpoint == "" {
		return append([]string{"endpoint"}, v.needs...)
	}
	return v.needs
}

// check refuses a configuration without what the vendor needs.
func (v *vendor) check(c *Config) error {
	for _, f := range []struct{ name, value string }{
		{"api_key", c.APIKey}, {"public_key", c.PublicKey}, {"secret_key", c.SecretKey}, {"project", c.Project}, {"workspace", c.Workspace},
	} {
		if f.value == "" && slices.Contains(v.needs, f.name) {
			return fmt.Errorf("%s: %s needs it", f.name, v.title)
		}
	}
	if c.Endpoint == "" && v.endpoint == "" {
		return fmt.Errorf("endpoint: give the address of %s, such as http://collector:4318", v.title)
	}
	if strings.ContainsAny(c.Region, "/:@?#. ") {
		return fmt.Errorf("region: %q is not the name of a region", c.Region)
	}
	return nil
}

// traces is the path of spans, as the protocol has it.
const traces = "/v1/traces"

// url is where spans go.
func (v *vendor) url(c *Config) string {
	path, region := v.path, c.Region
	if path == "" {
		path = traces
	}
	if region == "" {
		region = v.region
	}
	base := c.Endpoint
	if base == "" {
		base = strings.ReplaceAll(v.endpoint, "{region}", region)
	}
	base = strings.TrimSuffix(base, "/")
	before, _ := strings.CutSuffix(path, traces) // vendors' pages name an address that ends so
	switch {
	case strings.HasSuffix(base, path), strings.HasSuffix(base, traces):
		return base
	case before != "" && strings.HasSuffix(base, before):
		return base + traces
	}
	return base + path
}

func bearer(c *Config, h http.Header, _ map[string]string) {
	h.Set("Authorization", "Bearer "+c.APIKey)
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// project names the project as OpenInference's servers read it.
func project(c *Config, resource map[string]string) {
	if c.Project != "" {
		resource["openinference.project.name"], resource["model_id"] = c.Project, c.Project
	}
}

// langfuse are the names that Langfuse reads before others.
func langfuse(r *sdk.Record) []*common.KeyValue {
	return present(
		text("langfuse.observation.type", "generation"), text("langfuse.session.id", r.SessionID), text("langfuse.user.id", firstOf(r.EndUser, r.UserID)),
		text("langfuse.observation.input", string(r.Request)), text("langfuse.observation.output", string(r.Response)),
	)
}

// langsmith are the names that LangSmith makes a run's kind, inputs, outputs, tags and thread of.
func langsmith(r *sdk.Record) []*common.KeyValue {
	kind := "llm"
	if r.Endpoint == "embeddings" {
		kind = "embedding"
	}
	return present(
		text("langsmith.span.kind", kind), text("langsmith.span.tags", strings.Join(r.Tags, ",")), text("langsmith.metadata.session_id", r.SessionID),
		text("gen_ai.prompt", string(r.Request)), text("gen_ai.completion", string(r.Response)),
	)
}

// lunary are the names in which Lunary reads what was said: those of OpenLLMetry, one for each message.
func lunary(r *sdk.Record) []*common.KeyValue {
	return append(indexed("gen_ai.prompt", asked(r.Request), said{"user", r.Request}), indexed("gen_ai.completion", answered(r.Response), said{"assistant", r.Response})...)
}

// indexed are messages by their numbers; where there are none, the body in their place.
func indexed(prefix string, messages []said, body said) (list []*common.KeyValue) {
	if len(messages) == 0 && len(body.Content) > 0 {
		messages = []said{body}
	}
	for i, m := range messages {
		content := string(m.Content)
		var plain string
		if json.Unmarshal(m.Content, &plain) == nil {
			content = plain
		}
		at := fmt.Sprintf("%s.%d.", prefix, i)
		list = append(list, present(text(at+"role", m.Role), text(at+"content", content))...)
	}
	return list
}

// present are those attributes that say something.
func present(list ...*common.KeyValue) []*common.KeyValue {
	return slices.DeleteFunc(list, func(kv *common.KeyValue) bool { return kv == nil })
}

// mlflow are the names that MLflow reads; without a cost it makes one from its own list of prices.
func mlflow(r *sdk.Record) []*common.KeyValue {
	list := []*common.KeyValue{
		text("mlflow.spanType", `"`+kindOf(r, "CHAT_MODEL")+`"`), text("mlflow.spanInputs", string(r.Request)), text("mlflow.spanOutputs", string(r.Response)),
	}
	if r.Priced {
		list = append(list, text("mlflow.llm.cost", fmt.Sprintf(`{"total_cost":%v}`, usd(r))))
	}
	return present(list...)
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
