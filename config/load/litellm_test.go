package load_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/config/load"
	"github.com/conclave-llm/conclave/resource"
)

const litellmFile = `
environment_variables:
  UPSTREAM: key-of-the-file
defaults: &d
  rpm: 7
model_list:
  - model_name: gpt
    litellm_params: {<<: *d, model: azure/gpt, api_key: os.environ/UPSTREAM, order: 2, weight: 0, itpm: 9}
    model_info: {id: one, access_groups: [cheap], base_model: x, supports_vision: yes, health_check_model: azure/small, health_check_max_tokens: 9}
  - model_name: gpt
    litellm_params: {model: openai/gpt, litellm_credential_name: shared, input_cost_per_token: "1e-6", output_cost_per_token: 2e-6}
credential_list:
  - credential_name: shared
    credential_values: {api_key: os.environ/OPENAI_API_KEY, api_base: https://x.example/v1}
    credential_info: {custom_llm_provider: openai, description: for people}
guardrails:
  - guardrail_name: words
    litellm_params: {guardrail: keywords, mode: [pre_call, post_call], default_on: true, words: [a]}
mcp_servers:
  git: {url: https://git.example/mcp, transport: http, auth_type: api_key, authentication_token: os.environ/OPENAI_API_KEY, extra_headers: [X-User], mcp_info: {server_name: git, mcp_server_cost_info: {default_cost_per_query: 0.01, tool_name_to_cost_per_query: {push: 0.5}}}}
  files: {command: /bin/files, args: [--root, /x], env: {TOKEN: os.environ/OPENAI_API_KEY}}
litellm_settings:
  num_retries: 1
  default_internal_user_params: {available_teams: [all]}
  default_fallbacks: [gpt, other]
  success_callback: [file]
  failure_callback: ["file"]
general_settings:
  enforce_user_param: on
  maximum_spend_logs_retention_period: 14d
  store_prompts_in_spend_logs: true
  max_file_size_mb: 7
  spend_capture_rate_check: {threshold: 0.8, openai_project_ids: [proj_a]}
  pass_through_endpoints:
    - {path: /v1/search/, target: https://x.example/s, headers: {Authorization: bearer os.environ/OPENAI_API_KEY, content-type: application/json}, auth: true, cost_per_request: 0.5, guardrails: {words: null}, timeout: 2, default_query_params: {a: b}}
`

// bomb is a file whose aliases stand for 2^30 values.
var bomb = func() string {
	s := "model_list:\n- model_name: m\n  litellm_params: {model: openai/m}\n  model_info:\n    x0: &x0 [a, a]\n"
	for i := range 30 {
		s += fmt.Sprintf("    x%d: &x%d [*x%d, *x%d]\n", i+1, i+1, i, i)
	}
	return s
}()

func TestParse_LiteLLM(t *testing.T) {
	t.Parallel()
	if _, err := load.Text("c.yaml", []byte(litellmFile), environment); err == nil || !strings.Contains(err.Error(), "defaults is not known here") {
		t.Errorf("unknown key: got %v", err)
	}
	f, err := load.Text("c.yaml", []byte(strings.Replace(litellmFile, "defaults:", "environment_variables2:", 1)), environment)
	if err == nil {
		t.Fatalf("got %+v, want an error about the unknown key", f)
	}
	src := strings.Replace(litellmFile, "defaults: &d\n  rpm: 7\n", "", 1)
	src = strings.Replace(src, "<<: *d", "rpm: 7", 1)
	if f, err = load.Text("c.yaml", []byte(src), environment); err != nil {
		t.Fatal(err)
	}
	r := &f.Resources
	if s := r.MCPServers; len(s) != 2 || s[0].Resource.Auth != "api_key" || s[0].Secrets["auth"] == "" || s[0].Resource.Cost("push") != 500_000_000 ||
		s[0].Resource.Cost("x") != 10_000_000 || s[1].Resource.Transport != "stdio" || s[1].Secrets["env.TOKEN"] == "" {
		t.Errorf("MCP servers: got %+v", s)
	}
	if e := r.PassThrough; len(e) != 1 || e[0].Resource.Path != "/v1/search" || e[0].Secrets["header.Authorization"] != "bearer provider-key" || len(e[0].Secrets) != 1 ||
		e[0].Resource.NoAuth || e[0].Resource.CostPerRequest != resource.Dollar/2 || e[0].Resource.Guardrails[0] != "words" || e[0].Resource.TimeoutMS != 2000 || e[0].Resource.Query["a"] != "b" {
		t.Errorf("pass-through endpoints: got %+v", e)
	}
	m := r.Models[0]
	if len(r.Models) != 1 || len(m.Deployments) != 2 || *m.Resource.Retries != 1 || strings.Join(m.Resource.Fallbacks, " ") != "other" || m.Resource.AccessGroups[0] != "cheap" {
		t.Errorf("model: got %+v", m)
	}
	a, b := m.Deployments[0], m.Deployments[1]
	if a.Resource.Name != "one" || a.Resource.Provider != "azure" || a.Resource.Upstream != "gpt" || a.APIKey.Reveal() != "env://UPSTREAM" ||
		*a.Resource.Limits.RPM != 7 || *a.Resource.Limits.InputTPM != 9 || a.Resource.HealthCheckModel != "azure/small" || a.Resource.HealthCheckMaxTokens != 9 || a.Resource.Order != 2 || *a.Resource.Weight != 0 ||
		string(a.Resource.Metadata) != `{"base_model":"x","supports_vision":true}` || a.Line != 5 {
		t.Errorf("first deployment: got %+v, metadata %s", a, a.Resource.Metadata)
	}
	if b.Resource.Name != "2" || b.Credential != "shared" || b.Resource.Price.Input != resource.Dollar || b.Resource.Price.Output != 2*resource.Dollar {
		t.Errorf("second deployment: got %+v", b)
	}
	if c := r.Credentials[0]; c.APIKey.Reveal() != "provider-key" || c.Resource.APIBase != "https://x.example/v1" || c.Resource.Provider != "openai" {
		t.Errorf("credential: got %+v", c)
	}
	if g := r.Guardrails[0].Resource; g.Plugin != "keywords" || g.Optional || len(g.Hooks) != 2 || string(g.Config) != `{"words":["a"]}` {
		t.Errorf("guardrail: got %+v", g)
	}
	got := ""
	for _, s := range r.Settings {
		got += s.Resource.ID + "=" + string(s.Resource.Value) + " "
	}
	for _, want := range []string{"enforce_user_param=true", "request_log_days=14", "log_content=true", `available_teams=["all"]`, `spend_capture_rate_check={"openai_project_ids":["proj_a"],"threshold":0.8}`} {
		if !strings.Contains(got, want) {
			t.Errorf("settings: got %s, want %s", got, want)
		}
	}
	if len(r.Callbacks) != 1 || r.Callbacks[0].Resource.Plugin != "file" || r.Callbacks[0].Resource.Statuses != nil ||
		r.Callbacks[0].Resource.Selection != resource.SelectDefault {
		t.Errorf("callbacks: got %+v", r.Callbacks)
	}
}

// TestParse_LiteLLM_private keeps no prompts and answers where the file turns that off, whatever else it says.
func TestParse_LiteLLM_private(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, src, want, ignored string }{
		{"off", "litellm_settings: {turn_off_message_logging: true}", "log_content=false ", ""},
		{"not off", "litellm_settings: {turn_off_message_logging: no}\ngeneral_settings: {store_prompts_in_spend_logs: true}", "log_content=true ", ""},
		{"both", "litellm_settings: {turn_off_message_logging: on}\ngeneral_settings: {store_prompts_in_spend_logs: true}", "log_content=false ", "general_settings.store_prompts_in_spend_logs"},
		{"both off", "litellm_settings: {turn_off_message_logging: true}\ngeneral_settings: {store_prompts_in_spend_logs: false}", "log_content=false ", ""},
		{"neither", "litellm_settings: {turn_off_message_logging: sometimes}", "", "error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, err := load.Text("c.yaml", []byte(tt.src), environment)
			if (err != nil) != (tt.ignored == "error") {
				t.Fatal(err)
			}
			if err != nil {
				return
			}
			got := ""
			for _, s := range f.Resources.Settings {
				got += s.Resource.ID + "=" + string(s.Resource.Value) + " "
			}
			ignored := ""
			for _, p := range f.Ignored {
				ignored += p.Detail
			}
			if got != tt.want || (tt.ignored == "") != (ignored == "") || !strings.Contains(ignored, tt.ignored) {
				t.Errorf("got %q and ignored %q, want %q and %q", got, ignored, tt.want, tt.ignored)
			}
		})
	}
}

// TestParse_LiteLLM_passThrough: whether a deployment is open to requests in its provider's own words is an option.
func TestParse_LiteLLM_passThrough(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{"": "", ", use_in_pass_through: true": "true", ", use_in_pass_through: no": "false"} {
		f, err := loadText(t, "c.yaml", "model_list:\n- model_name: m\n  litellm_params: {model: openai/m"+said+"}\n", nil)
		if err != nil {
			t.Fatal(err)
		}
		if d := f.Resources.Models[0].Deployments[0].Resource; d.Options["use_in_pass_through"] != want {
			t.Errorf("%q: got %v", said, d.Options)
		}
	}
	if _, err := loadText(t, "c.yaml", "model_list:\n- model_name: m\n  litellm_params: {model: openai/m, use_in_pass_through: perhaps}\n", nil); err == nil || !strings.Contains(err.Error(), "neither true nor false") {
		t.Errorf("got %v", err)
	}
}

// TestParse_LiteLLM_callbackSettings says of each callback whether it is told prompts and answers.
// TestParse_LiteLLM_runtime: a runtime of Amazon's is an option, and no address.
func TestParse_LiteLLM_runtime(t *testing.T) {
	t.Parallel()
	const arn = "arn:aws:bedrock-agentcore:us-west-2:123456789012:runtime/decider-1"
	f, err := loadText(t, "c.yaml", `model_list:
- model_name: decider
  litellm_params: {model: strands_decider/hobson, api_base: "`+arn+`", aws_region_name: us-west-2}
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	d := f.Resources.Models[0].Deployments[0].Resource
	if d.Provider != "strands_decider" || d.APIBase != "" || d.Options["runtime_arn"] != arn || d.Options["region"] != "us-west-2" {
		t.Errorf("got %+v", d)
	}
}

func TestParse_LiteLLM_callbackSettings(t *testing.T) {
	t.Parallel()
	const lists = "environment_variables: {DD_API_KEY: dd, OTEL_ENDPOINT: 'http://localhost:4318'}\n"
	for _, tt := range []struct{ name, src, want string }{
		{"nothing said", "litellm_settings: {callbacks: [datadog, otel]}", "datadog=false otel=false "},
		{"by callback", "litellm_settings: {callbacks: [datadog, otel]}\ncallback_settings: {datadog: {turn_off_message_logging: true}, otel: {message_logging: true}}", "datadog=false otel=true "},
		{"turned", "litellm_settings:\n  callbacks: [datadog, otel]\n  callback_settings: {datadog: {turn_off_message_logging: false}, otel: {message_logging: no}}", "datadog=true otel=false "},
		{"off counts", "litellm_settings: {callbacks: [otel]}\ncallback_settings: {otel: {turn_off_message_logging: true, message_logging: true}}", "otel=false "},
		{"no such callback", "litellm_settings: {callbacks: [otel]}\ncallback_settings: {datadog: {turn_off_message_logging: true}}", "stands in none of the lists"},
		{"neither", "litellm_settings: {callbacks: [otel]}\ncallback_settings: {otel: {turn_off_message_logging: perhaps}}", "neither true nor false"},
		{"another key", "litellm_settings: {callbacks: [otel]}\ncallback_settings: {otel: {callback_type: generic_api}}", "callback_settings.otel.callback_type is not known here"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, err := load.Text("c.yaml", []byte(lists+tt.src), environment)
			if err != nil {
				if !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
				return
			}
			got := ""
			for _, c := range f.Resources.Callbacks {
				got += fmt.Sprintf("%s=%v ", c.Resource.Name, c.Resource.Content)
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestParse_LiteLLM_callbacks(t *testing.T) {
	t.Parallel()
	f, err := load.Text("c.yaml", []byte(`
environment_variables: {LANGFUSE_PUBLIC_KEY: pk, LANGFUSE_SECRET_KEY: os.environ/OPENAI_API_KEY, DD_API_KEY: dd}
litellm_settings:
  success_callback: [langfuse, s3_v2, prometheus]
  failure_callback: [datadog, langfuse]
  audit_log_callbacks: [s3_v2, generic_api]
  s3_callback_params: {s3_bucket_name: logs, s3_aws_access_key_id: id, s3_aws_secret_access_key: os.environ/OPENAI_API_KEY, s3_region_name: eu-west-1}
`), environment)
	if err != nil && f == nil {
		t.Fatal(err)
	}
	got := map[string]config.Callback{}
	for _, c := range f.Resources.Callbacks {
		got[c.Resource.Name] = c
	}
	for name, want := range map[string]struct{ plugin, config, secret, statuses string }{
		"langfuse":    {"langfuse", `{"public_key":"pk"}`, "secret_key=provider-key", "[]"},
		"s3_v2":       {"s3", `{"bucket":"logs","region":"eu-west-1","single":true}`, "secret_access_key=provider-key", "[success]"},
		"datadog":     {"datadog", ``, "api_key=dd", "[blocked canceled failure]"},
		"generic_api": {"webhook", ``, "=", "[]"},
	} {
		c := got[name]
		field, value, _ := strings.Cut(want.secret, "=")
		if c.Resource.Plugin != want.plugin || string(c.Resource.Config) != want.config || string(c.Secrets[field]) != value || fmt.Sprint(c.Resource.Statuses) != want.statuses {
			t.Errorf("%s: got %+v with %d secrets, want %+v", name, c.Resource, len(c.Secrets), want)
		}
	}
	if len(got) != 4 || got["generic_api"].Resource.Selection != resource.SelectChosen {
		t.Errorf("got %d callbacks, want 4, of which one is told of the audit log alone", len(got))
	}
	audit := ""
	for _, s := range f.Resources.Settings {
		if s.Resource.ID == "audit" {
			audit = string(s.Resource.Value)
		}
	}
	if !strings.Contains(audit, `"callback":"s3_v2"`) || !strings.Contains(audit, `"callback":"generic_api"`) {
		t.Errorf("audit: got %s", audit)
	}
}

func TestParse_LiteLLM_errors(t *testing.T) {
	t.Parallel()
	const model = "model_list:\n  - model_name: m\n    litellm_params:\n      model: openai/m\n"
	for _, tt := range []struct{ name, src, at, want string }{
		{"syntax", "a: [\n", "", "Invalid YAML"},
		{"not a mapping", "- a\n", "1:1", "not a mapping"},
		{"unknown section", "mcp_server: {}\n", "1:1", "mcp_server is not known here"},
		{"unknown parameter", model + "      temperature: 1\n", "5:7", "model_list[0].litellm_params.temperature"},
		{"variable", model + "      api_key: os.environ/NOT_THERE\n", "5:16", "NOT_THERE is not set"},
		{"number", model + "      rpm: many\n", "5:12", `"many" is not a number`},
		{"negative", model + "      rpm: -1\n", "2:5", "limits.rpm"},
		{"no provider", "model_list:\n  - model_name: m\n    litellm_params: {model: gpt}\n", "3:29", "write it as openai/gpt"},
		{"no model", "model_list:\n  - model_name: m\n", "", "litellm_params.model is required"},
		{"strategy", "router_settings:\n  routing_strategy: lar1\n", "2:21", `"lar1" is not one of`},
		{"duplicate", "model_list: []\nmodel_list: []\n", "", "model_list stands twice"},
		{"endpoint", "general_settings:\n  pass_through_endpoints:\n    - path: /x\n", "3:7", "target"},
		{"setting", "litellm_settings:\n  budget_exceeded_status_code: 500\n", "2:32", "budget_exceeded_status_code"},
		{"bills", "general_settings:\n  spend_capture_rate_check: {treshold: 0.5}\n", "2:29", "treshold"},
		{"period", model + "      max_budget: 1\n      budget_duration: 90s\n", "6:24", "whole hours"},
		{"function", "general_settings:\n  custom_key_generate: hooks.generate\n", "2:3", "make it an auth plugin that declares the hook generate_key"},
		{"function on change", "general_settings:\n  custom_key_update: hooks.update\n", "2:3", "make it an auth plugin that declares the hook update_key"},
		{"function that lets in", "general_settings:\n  custom_auth: hooks.auth\n", "2:3", "make it an auth plugin (docs/plugins.md)"},
		{"bomb", bomb, "", "With its aliases followed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := load.Text("c.yml", []byte(tt.src), environment)
			e, ok := err.(*config.Error) //nolint:errorlint // it is not wrapped
			if !ok {
				t.Fatalf("got %v, want a *config.Error", err)
			}
			if p := e.Problems[0]; tt.at != "" && !strings.HasSuffix(p.String(), ":"+tt.at) {
				t.Errorf("got the place %s, want %s (%s)", p.Position, tt.at, p.Detail)
			}
			if !strings.Contains(err.Error(), tt.want) && !strings.Contains(e.Problems[0].Detail, tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestParse_LiteLLM_secrets holds errors to printing no secret of the file.
func TestParse_LiteLLM_secrets(t *testing.T) {
	t.Parallel()
	const src = "model_list:\n  - model_name: m\n    litellm_params:\n      api_key: sk-very-secret\n      no_such: 1\n      \"client_secret\": 'hush'\ngeneral_settings: {master_key: sk-1234, x: 1}\n"
	_, err := load.Text("c.yaml", []byte(src), environment)
	if err == nil {
		t.Fatal("got no error")
	}
	for _, secret := range []string{"very-secret", "hush", "sk-1234"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error tells %s:\n%v", secret, err)
		}
	}
}

func FuzzParse_LiteLLM(f *testing.F) {
	f.Add([]byte(litellmFile))
	f.Add([]byte("a: &a [*a]\nmodel_list: *a"))
	f.Add([]byte("model_list:\n- <<: {a: b}\n  model_info: {x: .inf, y: 0x10, z: !!binary aGk=}\n"))
	f.Add([]byte("router_settings: {fallbacks: [{a: [b]}], num_retries: 1e3}"))
	f.Add([]byte(bomb))
	f.Fuzz(func(t *testing.T, src []byte) {
		file, err := load.Text("c.yaml", src, environment)
		if (file == nil) == (err == nil) {
			t.Fatalf("got %v and %v", file, err)
		}
		if file != nil {
			for _, m := range file.Resources.Models {
				if m.Line < 1 || m.Resource.Validate() != nil {
					t.Errorf("model %+v is not valid", m)
				}
			}
		}
	})
}
