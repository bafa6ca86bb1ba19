package litellm

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/typesafe"
	"github.com/conclave-llm/conclave/resource"
)

// needless are keys whose purpose is served without them.
var needless = map[string]string{
	"general_settings.master_key":                       "is given to the node itself",
	"general_settings.database_url":                     "is not needed: there is no database",
	"general_settings.database_connection_pool_limit":   "is not needed: there is no database",
	"general_settings.database_connection_timeout":      "is not needed: there is no database",
	"general_settings.store_model_in_db":                "is not needed: models are always replicated",
	"general_settings.proxy_batch_write_at":             "is not needed: every request is recorded at once",
	"general_settings.use_redis_transaction_buffer":     "is not needed: there is no Redis",
	"general_settings.allow_requests_on_db_unavailable": "is not needed: there is no database",
	"general_settings.use_shared_health_check":          "is not needed: one node checks for all",
	"general_settings.disable_error_logs":               "is not needed: there is no database",
	"litellm_settings.set_verbose":                      "is given to the node itself, as log_level",
	"litellm_settings.json_logs":                        "is given to the node itself, as log_format",
	"router_settings.redis_url":                         "is not needed: there is no Redis",
	"router_settings.redis_host":                        "is not needed: there is no Redis",
	"router_settings.redis_port":                        "is not needed: there is no Redis",
	"router_settings.redis_password":                    "is not needed: there is no Redis",
	"router_settings.redis_db":                          "is not needed: there is no Redis",
}

// inPython are keys that name functions in Python, and what serves in their place.
var inPython = map[string]string{
	"general_settings.custom_auth":         "an auth plugin",
	"general_settings.custom_key_generate": "an auth plugin that declares the hook generate_key",
	"general_settings.custom_key_update":   "an auth plugin that declares the hook update_key",
}

// sameSettings are the keys whose values are those of settings, by section.
var sameSettings = map[string][]string{
	"litellm_settings": {"block_requests_for_models_without_pricing", "budget_exceeded_status_code", "banned_keywords_list", "blocked_user_list", "allow_dynamic_callback_disabling", "global_disable_no_log_param"},
	"general_settings": {"background_health_checks", "health_check_interval", "enforce_user_param", "enforced_params", "max_request_size_mb", "max_response_size_mb", "max_file_size_mb", "max_batch_file_records", "allowed_ips", "user_header_mappings", "banned_keywords_list", "blocked_user_list", "return_wildcard_routes", "moderation_model", "spend_capture_rate_check"},
}

// What decides whether prompts and answers are kept; turnOff goes first.
const (
	turnOff      = "turn_off_message_logging"
	storePrompts = "store_prompts_in_spend_logs"
)

// renamedSettings are settings that have another name.
var renamedSettings = map[string]string{
	storePrompts: "log_content", "litellm_key_header_name": "key_header",
}

// strategies are the routing strategies.
var strategies = map[string]resource.Strategy{
	"simple-shuffle": resource.StrategyShuffle, "least-busy": resource.StrategyLeastBusy, "latency-based-routing": resource.StrategyLatency,
}

// file reads the sections.
func (d *decoder) file(m *mapping) {
	vars := d.mapping("environment_variables", m.take("environment_variables"))
	for _, k := range vars.keys {
		value := vars.text(k.Value)
		if d.vars[k.Value] = value; value != "" {
			d.out.Resources.Declare(k.Value, value, d.position(k), func(err error) { d.wrong(k, vars.of(k.Value), "%s.", err) })
		}
	}
	general := d.mapping("general_settings", m.take("general_settings"))
	d.keyManagement(general)
	for i, n := range m.items("credential_list") {
		d.credential(d.mapping(fmt.Sprintf("credential_list[%d]", i), n))
	}
	defaults := &modelDefaults{fallbacks: map[string][]string{}}
	d.litellmSettings(d.mapping("litellm_settings", m.take("litellm_settings")), defaults)
	d.callbackSettings(d.mapping("callback_settings", m.take("callback_settings")))
	d.routerSettings(d.mapping("router_settings", m.take("router_settings")), defaults)
	d.generalSettings(general)
	for i, n := range m.items("model_list") {
		d.model(d.mapping(fmt.Sprintf("model_list[%d]", i), n))
	}
	d.finishModels(defaults)
	for i, n := range m.items("guardrails") {
		d.guardrail(d.mapping(fmt.Sprintf("guardrails[%d]", i), n))
	}
	d.mcpServers(d.mapping("mcp_servers", m.take("mcp_servers")))
	m.end()
}

// endSection reports what is left of a section, but for what is needless.
func (d *decoder) endSection(m *mapping) {
	for _, k := range m.left() {
		if why := needless[m.of(k.Value)]; why != "" {
			d.ignore(k, m.of(k.Value), why)
			continue
		}
		if serves := inPython[m.of(k.Value)]; serves != "" && !d.IgnoreUnknown {
			d.report(d.at(k), "Function in Python", "%s names a function in Python, which does not run here: make it %s (docs/plugins.md). With --ignore-unknown it is left out.", m.of(k.Value), serves)
			continue
		}
		d.unknown(k, m.of(k.Value))
	}
}

func (d *decoder) credential(m *mapping) {
	values := d.mapping(m.of("credential_values"), m.take("credential_values"))
	info := d.mapping(m.of("credential_info"), m.take("credential_info"))
	c := config.Credential{Position: d.position(m.node), Resource: resource.Credential{
		Meta: config.Owned(), Name: m.text("credential_name"), Provider: info.text("custom_llm_provider"), APIBase: values.text("api_base"),
	}, APIKey: values.secret("api_key")}
	c.Resource.Options, c.Secrets = values.account()
	info.take("description") // is for people
	info.end()
	values.end()
	m.end()
	c.Resource.Canonicalize()
	if err := c.Resource.Validate(); err != nil {
		d.invalid("credential", m.node, err)
		return
	}
	d.out.Resources.Credentials = append(d.out.Resources.Credentials, c)
}

// modelDefaults are what the settings say of every model.
type modelDefaults struct {
	strategy  resource.Strategy
	retries   *int
	timeoutMS int64
	streamMS  int64
	params    resource.ParamsPolicy
	fallbacks map[string][]string
	anywhere  []string // fallbacks of every model
}

func (d *decoder) litellmSettings(m *mapping, out *modelDefaults) {
	d.reliability(m, out, "request_timeout")
	out.params = m.dropParams()
	d.callbacks(m)
	d.callbackSettings(d.mapping(m.of("callback_settings"), m.take("callback_settings")))
	if n := m.values[turnOff]; m.boolean(turnOff) {
		d.private = true
		d.addSetting(n, "log_content", json.RawMessage("false"))
	}
	d.customerBudget(m)
	people := d.mapping(m.of("default_internal_user_params"), m.take("default_internal_user_params"))
	d.setting(people, resource.SettingAvailableTeams, resource.SettingAvailableTeams)
	d.endSection(people)
	d.guardrailSettings(m)
	for _, name := range sameSettings["litellm_settings"] {
		d.setting(m, name, name)
	}
	d.endSection(m)
}

func (d *decoder) routerSettings(m *mapping, out *modelDefaults) {
	if n := m.take("routing_strategy"); n != nil {
		s, ok := strategies[n.Value]
		if !ok {
			d.wrong(n, m.of("routing_strategy"), "%q is not one of %s.", n.Value, strings.Join(slices.Sorted(maps.Keys(strategies)), ", "))
		}
		out.strategy = s
	}
	d.reliability(m, out, "timeout")
	d.endSection(m)
}

func (d *decoder) reliability(m *mapping, out *modelDefaults, timeout string) {
	if n := m.integer("num_retries"); n != nil {
		out.retries = new(int(*n))
	}
	out.timeoutMS = cmp.Or(m.milliseconds(timeout), out.timeoutMS)
	out.streamMS = cmp.Or(m.milliseconds("stream_timeout"), out.streamMS)
	for i, n := range m.items("fallbacks") {
		of := d.mapping(fmt.Sprintf("%s[%d]", m.of("fallbacks"), i), n)
		for _, k := range of.keys {
			out.fallbacks[k.Value] = of.texts(k.Value)
		}
	}
	if f := m.texts("default_fallbacks"); f != nil {
		out.anywhere = f
	}
}

func (d *decoder) generalSettings(m *mapping) {
	for _, name := range sameSettings["general_settings"] {
		d.setting(m, name, name)
	}
	for theirs, ours := range renamedSettings {
		if theirs != storePrompts || !d.private {
			d.setting(m, theirs, ours)
			continue
		}
		if n := m.values[theirs]; m.boolean(theirs) {
			d.ignore(n, m.of(theirs), "is not heeded, for litellm_settings."+turnOff+" keeps no prompts and answers")
		}
	}
	d.alerting(m)
	for i, n := range m.items("pass_through_endpoints") {
		d.passThroughEndpoint(d.mapping(fmt.Sprintf("%s[%d]", m.of("pass_through_endpoints"), i), n))
	}
	if n := m.take("service_account_settings"); n != nil {
		of := d.mapping(m.of("service_account_settings"), n)
		d.setting(of, "enforced_params", "service_account_enforced_params")
		of.end()
	}
	if n := m.take(retentionKey); n != nil {
		days, err := retentionDays(d.text(n, m.of(retentionKey)))
		if err != nil {
			d.wrong(n, m.of(retentionKey), "%s.", err)
		}
		d.addSetting(n, "request_log_days", json.RawMessage(strconv.Itoa(days)))
	}
	d.endSection(m)
}

// setting takes a key whose value is that of a setting.
func (d *decoder) setting(m *mapping, name, setting string) {
	n := m.take(name)
	if n == nil {
		return
	}
	d.addSetting(n, setting, d.json(n, m.of(name)))
}

func (d *decoder) addSetting(n *yaml.Node, name string, value json.RawMessage) {
	s := config.Setting{Position: d.position(n), Resource: resource.Setting{Meta: config.OwnedAs(name), Value: value}}
	s.Resource.Canonicalize()
	if err := s.Resource.Validate(); err != nil {
		d.invalid("setting "+name, n, err)
		return
	}
	all := &d.out.Resources.Settings
	if i := slices.IndexFunc(*all, func(have config.Setting) bool { return have.Resource.ID == name }); i >= 0 {
		d.report(d.at(n), "Duplicate setting", "The setting %s is given at %s already.", name, (*all)[i].Position)
		return
	}
	*all = append(*all, s)
}

// model reads one entry of model_list: a deployment of the model of its name.
func (d *decoder) model(m *mapping) {
	name := m.text("model_name")
	params := d.mapping(m.of("litellm_params"), m.take("litellm_params"))
	info := d.mapping(m.of("model_info"), m.take("model_info"))
	m.end()
	all := &d.out.Resources.Models
	i := slices.IndexFunc(*all, func(have config.Model) bool { return have.Resource.Name == name })
	if i < 0 {
		i = len(*all)
		*all = append(*all, config.Model{Position: d.position(m.node), Resource: resource.Model{Meta: config.Owned(), Name: name}})
	}
	to := &(*all)[i]
	for _, g := range info.texts("access_groups") {
		if !slices.Contains(to.Resource.AccessGroups, g) {
			to.Resource.AccessGroups = append(to.Resource.AccessGroups, g)
		}
	}
	to.Resource.UnsupportedParams = cmp.Or(params.dropParams(), to.Resource.UnsupportedParams)
	dep := d.deployment(m, params, info)
	if dep.Resource.Name == "" {
		dep.Resource.Name = strconv.Itoa(len(to.Deployments) + 1)
	}
	if slices.ContainsFunc(to.Deployments, func(have config.Deployment) bool { return have.Resource.Name == dep.Resource.Name }) {
		d.invalid("deployment", m.node, fmt.Errorf("%s: model_info.id %q stands twice", m.path, dep.Resource.Name))
		return
	}
	to.Deployments = append(to.Deployments, dep)
}

func (d *decoder) deployment(m, params, info *mapping) config.Deployment {
	out := config.Deployment{Position: d.position(m.node), Credential: params.text("litellm_credential_name"), APIKey: params.secret("api_key")}
	r := &out.Resource
	r.Meta, r.Name, r.APIBase = config.Owned(), info.text("id"), params.text("api_base")
	r.Provider, r.Upstream = d.upstream(params)
	r.Limits = resource.Limits{
		RPM: params.integer("rpm"), TPM: params.integer("tpm"), InputTPM: params.integer("itpm"), OutputTPM: params.integer("otpm"),
		Parallel: params.integer("max_parallel_requests"),
	}
	r.Options, out.Secrets = params.account()
	if r.Provider == typesafe.RowStrands && strings.HasPrefix(r.APIBase, "arn:") {
		options := map[string]string{typesafe.OptionRuntime: r.APIBase}
		maps.Copy(options, r.Options)
		r.Options, r.APIBase = options, ""
	}
	r.Weight, r.TimeoutMS = params.integer("weight"), params.milliseconds("timeout")
	r.Timeouts = resource.StreamTimeout(params.milliseconds("stream_timeout"))
	if n := params.integer("order"); n != nil {
		r.Order = *n
	}
	r.Blocked = info.boolean("blocked")
	r.HealthCheckModel = info.text("health_check_model")
	if n := info.integer("health_check_max_tokens"); n != nil {
		r.HealthCheckMaxTokens = *n
	}
	r.PromptTemplate = d.promptTemplate(params)
	r.Price = d.customPrice(params)
	if p := d.customPrice(info); r.Price == nil {
		r.Price = p
	}
	if usd := params.money("max_budget"); usd != nil {
		r.Budgets = []resource.Terms{d.budget(params, *usd)}
	}
	r.Metadata = d.metadata(info)
	params.end()
	whole := *r
	whole.ModelID = "model" // the record gets the model's id when it is applied
	if whole.Name == "" {
		whole.Name = "1"
	}
	whole.Canonicalize()
	if err := whole.Validate(); err != nil {
		d.invalid("deployment", m.node, err)
	}
	if out.Credential != "" && out.APIKey != "" {
		d.invalid("deployment", m.node, &resource.Invalid{Field: "api_key", Reason: "a deployment has a credential or an api_key of its own, not both"})
	}
	r.Canonicalize()
	return out
}

// metadata is what model_info says beyond what has a field.
func (d *decoder) metadata(info *mapping) json.RawMessage {
	rest := map[string]json.RawMessage{}
	for _, k := range info.left() {
		rest[k.Value] = d.json(info.values[k.Value], info.of(k.Value))
	}
	if len(rest) == 0 {
		return nil
	}
	b, err := json.Marshal(rest)
	if err != nil {
		d.wrong(info.node, info.path, "%s.", err)
	}
	return b
}

// upstream is the provider and the model's name there.
func (d *decoder) upstream(params *mapping) (name, model string) {
	n := params.take("model")
	if n == nil {
		d.report(d.at(cmp.Or(params.node, &yaml.Node{Line: 1, Column: 1})), "Missing key", "%s is required.", params.of("model"))
		return "", ""
	}
	model = d.text(n, params.of("model"))
	if name = params.text("custom_llm_provider"); name != "" {
		return name, strings.TrimPrefix(model, name+"/")
	}
	if p, rest, ok := provider.Split(model); ok {
		return p.Name, rest
	}
	name, rest, ok := strings.Cut(model, "/")
	if !ok {
		d.wrong(n, params.of("model"), "%q does not name the provider; write it as openai/%s.", model, model)
		return "openai", model
	}
	return name, rest
}

// customPrice takes the prices out of an object.
func (d *decoder) customPrice(m *mapping) *resource.Price {
	fields := map[string]json.RawMessage{}
	for _, k := range m.left() {
		if v := followed(m.values[k.Value]); v != nil && (strings.Contains(k.Value, "cost") || strings.Contains(k.Value, "pric")) {
			fields[k.Value] = d.json(v, m.of(k.Value))
			if text, ok := strings.CutPrefix(string(fields[k.Value]), `"`); ok && json.Valid([]byte(strings.TrimSuffix(text, `"`))) {
				fields[k.Value] = json.RawMessage(strings.TrimSuffix(text, `"`)) // 1e-6 is text in YAML 1.1
			}
		}
	}
	p, used, err := pricing.CustomPrice(fields)
	for _, name := range used {
		m.taken[name] = true
	}
	if err != nil {
		d.wrong(m.node, m.path, "%s.", err)
	}
	return p
}

// periods are the units of budget_duration.
var periods = map[string]resource.Per{"h": resource.PerHour, "d": resource.PerDay, "w": resource.PerWeek, "mo": resource.PerMonth}

// budget is a budget of dollars with the window that budget_duration says.
func (d *decoder) budget(m *mapping, usd resource.Money) resource.Terms {
	t := resource.Terms{USD: usd, Per: resource.PerTotal}
	n := m.take("budget_duration")
	if n == nil {
		return t
	}
	text := d.text(n, m.of("budget_duration"))
	switch text {
	case "7d":
		text = "1w" // weeks begin on Monday, months on the first
	case "30d":
		text = "1mo"
	}
	unit := strings.TrimLeft(text, "0123456789")
	every, err := strconv.ParseInt(strings.TrimSuffix(text, unit), 10, 64)
	per, ok := periods[unit]
	if err != nil || !ok || every < 1 {
		d.wrong(n, m.of("budget_duration"), "%q is not whole hours, days, weeks or months such as 12h, 1d, 7d, 1mo.", text)
		return t
	}
	t.Per, t.Every = per, every
	return t
}

// finishModels gives every model what the settings say, and checks it.
func (d *decoder) finishModels(def *modelDefaults) {
	for i := range d.out.Resources.Models {
		m := &d.out.Resources.Models[i]
		r := &m.Resource
		r.Strategy, r.Retries, r.TimeoutMS = def.strategy, def.retries, def.timeoutMS
		r.Timeouts = resource.StreamTimeout(def.streamMS)
		r.UnsupportedParams = cmp.Or(r.UnsupportedParams, def.params)
		r.Fallbacks = def.fallbacks[r.Name]
		if r.Fallbacks == nil {
			r.Fallbacks = slices.DeleteFunc(slices.Clone(def.anywhere), func(f string) bool { return f == r.Name })
		}
		r.Canonicalize()
		if err := r.Validate(); err != nil {
			d.report(d.rangeOf(m.Line, m.Column), "Invalid model", "%s.", err)
		}
	}
}
