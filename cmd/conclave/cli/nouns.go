package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
)

// Flags that several nouns share.
var (
	holderFields = []field{
		{"model", "models", asList, "a model it may use: a name or prefix* (default: all)"},
		{"access-group", "access_group_ids", asList, "id or name of an access group that gives it models and MCP servers beside these"},
		{"budget", "budget", asNumber, "US dollars in a window"},
		{"per", "per", asText, "window of the budget: hour, day, week, month or total"},
		{"shared-budget", "budget_id", asText, "id or name of a shared budget"},
		{"rpm", "limits.rpm", asNumber, "requests a minute"},
		{"tpm", "limits.tpm", asNumber, "tokens a minute"},
		{"parallel", "limits.parallel", asNumber, "requests in flight"},
		{"route", "routes", asList, "a path or /prefix/* that may be called (default: all)"},
		{"allow-ip", "allowed_ips", asList, "an address or range that requests may come from (default: any)"},
		{"deny-ip", "denied_ips", asList, "an address or range that they may not come from"},
		{"guardrail", "guardrails", asList, "a guardrail that judges its requests"},
		{"callback", "callbacks", asList, "a callback that is told of its requests"},
		{"tag", "tags", asList, "a tag of all its requests"},
		{"metadata", "metadata", asJSON, "a JSON object of your own"},
		{"expires-in", "expires_at", asExpiry, "12h, 30d or never: what has expired is refused"},
	}
	keyFields = append([]field{
		{"team", "team_id", asText, "id or name of its team"},
		{"project", "project_id", asText, "id or name of its project"},
		{"user", "user_id", asText, "id or e-mail address of whose it is"},
		{"role", "role", asText, "proxy_admin or proxy_admin_viewer (default: inference only)"},
		{"secret", "secret", asSecret, "take this secret: env:VAR, file:PATH or - (default: made)"},
		{"type", "type", asText, "llm_api, management or read_only (default: whatever role and routes allow)"},
		{"rotate-every", "rotation.every", asText, "give it a new secret so often: 30d"},
		{"rotate-grace", "rotation.grace", asText, "how long an old secret stays valid after the new one is delivered: 24h"},
		{"rotate-to", "rotation.deliver", asText, "how its owner gets a new secret: webhook, email, secret_store or pickup"},
		{"rotate-url", "rotation.url", asText, "of the webhook"},
		{"rotate-email", "rotation.email", asText, "of the owner, who gets a link there"},
		{"rotation-key", "rotation_key", asSecret, "signs what goes to the webhook: env:VAR, file:PATH or -"},
	}, holderFields...)
	accountFields = []field{
		{"option", "options", asPairs, "NAME=VALUE of the provider's: region=eu-west-1, api_version=2024-10-21; NAME= removes it"},
		{"secret", "secrets", asSecretPairs, "NAME=SECRET beside the key: aws_secret_access_key=env:VAR, =file:PATH or =-; NAME= removes it"},
	}
	upstreamFields = append([]field{
		{"provider", "provider", asText, "row of the provider table: openai; or plugin/NAME"},
		{"api-base", "api_base", asText, "base URL (default: the provider's)"},
		{"upstream-model", "model", asText, "the model's name at the provider (default: the same)"},
		{"api-key", "api_key", asSecret, "the provider's key: env:VAR, file:PATH or - for standard input"},
		{"credential", "credential_id", asText, "id or name of a credential, instead of a key"},
		{"weight", "weight", asNumber, "share of the requests (default 1)"},
		{"order", "order", asNumber, "lower ones are tried first"},
		{"input-price", "price.input", asNumber, "US dollars per million tokens"},
		{"output-price", "price.output", asNumber, "US dollars per million tokens"},
		{"rpm", "limits.rpm", asNumber, "requests a minute"},
		{"tpm", "limits.tpm", asNumber, "tokens a minute"},
		{"parallel", "limits.parallel", asNumber, "requests in flight"},
	}, accountFields...)
)

// firstPrefix marks the flags of a model's first deployment, which only create has.
const firstPrefix = "first."

// pluginUseFields are those of the kinds that use a plugin of their own kind.
var pluginUseFields = []field{
	{"plugin", "plugin", asText, "name of a registered plugin"},
	{"config", "config", asJSON, "the plugin's own"},
	{"secret", "secrets", asSecretPairs, "a secret field of config, such as token"},
	{"deadline-ms", "deadline_ms", asNumber, "milliseconds for one question"},
	{"instances", "instances", asNumber, "processes on each node that share the questions (default 1)"},
	{"memory-mb", "memory_mb", asNumber, "MiB of one process, above which it is killed (default 256)"},
}

// nouns is the table of the kinds of records.
var nouns = append(holderNouns, []noun{
	{
		name: "key", short: "Virtual keys",
		columns: []console.Column{
			{"ID", "id"},
			{"NAME", "name"},
			{"HINT", "hint"},
			{"TEAM", "team_id"},
			{"MODELS", "models"},
			{"SPEND", "spend"},
			{"BLOCKED", "blocked"},
			{"EXPIRES", "expires_at"},
		},
		fields:  keyFields,
		filters: map[string]string{"team": "team_id", "project": "project_id", "user": "user_id", "status": "status"},
		create:  budgetFlags,
		more:    keyVerbs,
	},
	{
		name: "team", short: "Teams of keys",
		columns: []console.Column{{"ID", "id"}, {"NAME", "name"}, {"MODELS", "models"}, {"SPEND", "spend"}, {"BLOCKED", "blocked"}},
		fields:  append([]field{{"organization", "organization_id", asText, "id or name of its organization"}}, holderFields...),
		filters: map[string]string{"organization": "organization_id"},
		create:  budgetFlags,
		more: func(a *app) []*cobra.Command {
			return append(a.blockVerbs("team"), a.memberCommand(), a.teamAvailable())
		},
	},
	{
		name: "model", short: "Models that clients ask for",
		columns: []console.Column{{"ID", "id"}, {"NAME", "name"}, {"STRATEGY", "strategy"}, {"FALLBACKS", "fallbacks"}},
		fields:  modelFields(),
		create:  firstDeployment,
	},
	{
		name: "deployment", short: "Ways to serve a model",
		columns: []console.Column{
			{"ID", "id"},
			{"NAME", "name"},
			{"MODEL", "model_id"},
			{"PROVIDER", "provider"},
			{"API BASE", "api_base"},
			{"UPSTREAM", "model"},
			{"WEIGHT", "weight"},
		},
		fields:  append([]field{{"model", "model_id", asText, "id or name of the model that it serves"}}, upstreamFields...),
		filters: map[string]string{"model": "model_id"},
	},
	{
		name: "credential", short: "Providers' keys that deployments share",
		columns: []console.Column{{"ID", "id"}, {"NAME", "name"}, {"PROVIDER", "provider"}, {"KEY", "api_key"}, {"API BASE", "api_base"}},
		fields: append([]field{
			{"provider", "provider", asText, "row of the provider table: openai; or plugin/NAME"},
			{"api-base", "api_base", asText, "base URL"},
			{"api-key", "api_key", asSecret, "the provider's key: env:VAR, file:PATH or - for standard input"},
		}, accountFields...),
	},
	{
		name: "budget", short: "Budgets that keys and teams share the terms of",
		columns: []console.Column{{"ID", "id"}, {"NAME", "name"}, {"USD", "terms.usd"}, {"PER", "terms.per"}},
		fields: []field{
			{"usd", "terms.usd", asNumber, "US dollars in a window"},
			{"per", "terms.per", asText, "hour, day, week, month or total"},
			{"zone", "terms.zone", asText, "time zone of the windows (default UTC)"},
		},
	},
	{
		name: "guardrail", short: "Plugins that judge requests and answers",
		columns: []console.Column{{"ID", "id"}, {"NAME", "name"}, {"PLUGIN", "plugin"}, {"HOOKS", "hooks"}, {"ON ERROR", "on_error"}},
		fields: []field{
			{"plugin", "plugin", asText, "name of a shipped or registered plugin"},
			{"hook", "hooks", asList, "before, during, after, failure or logging"},
			{"on-error", "on_error", asText, "block or pass"},
			{"deadline-ms", "deadline_ms", asNumber, "milliseconds in which it must have judged a request, an answer or a chunk (default 1000, which is short for a service)"},
			{"optional", "optional", asBool, "only for requests that name it, and for holders that have it"},
			{"mandatory", "mandatory", asBool, "no key, team or other holder switches it off"},
			{"mode", "mode", asText, "enforce; observe: record what it decides and do nothing; log_only: mask what is kept"},
			{"may", "may", asList, "what it does beyond judging texts: model, parameters, content, tags, answer, refuse, headers, error or record"},
			{"header", "headers", asList, "a header of requests that it may see"},
			{"model", "models", asList, "a model whose requests it judges (default: all)"},
			{"config", "config", asJSON, "the plugin's own"},
			{"secret", "secrets", asSecretPairs, "a secret field of config, such as api_key or headers.Authorization"},
			{"instances", "instances", asNumber, "processes on each node that share the checks (default 1)"},
			{"memory-mb", "memory_mb", asNumber, "MiB of one process, above which it is killed (default 256)"},
		},
		more: func(a *app) []*cobra.Command { return []*cobra.Command{a.guardrailTry()} },
	},
	{
		name: "callback", short: "Plugins that are told of finished requests",
		columns: []console.Column{{"ID", "id"}, {"NAME", "name"}, {"PLUGIN", "plugin"}, {"SELECTION", "selection"}},
		fields: []field{
			{"plugin", "plugin", asText, "name of a shipped or registered plugin"},
			{"config", "config", asJSON, "the plugin's own"},
			{"secret", "secrets", asSecretPairs, "a secret field of config, such as api_key or headers.Authorization"},
			{"selection", "selection", asText, "always, default (unless a holder chose another of its plugin) or chosen (by its holders alone)"},
			{"status", "statuses", asList, "success, failure, blocked or canceled (default: all)"},
			{"content", "content", asBool, "tell prompts and answers too, where they may be kept"},
			{"memory-mb", "memory_mb", asNumber, "MiB of its process, above which it is killed (default 256)"},
		},
		more: func(a *app) []*cobra.Command { return a.callbackVerbs() },
	},
	{
		name: "secret-source", path: "secret_sources", short: "Plugins that read secrets out of a store of secrets, for references such as vault://mount/path#field",
		columns: []console.Column{{"ID", "id"}, {"NAME", "name"}, {"PLUGIN", "plugin"}, {"REFRESH", "refresh_seconds"}, {"MAX STALE", "max_stale_seconds"}},
		fields: []field{
			{"plugin", "plugin", asText, "name of a shipped or registered plugin"},
			{"config", "config", asJSON, "the plugin's own"},
			{"secret", "secrets", asSecretPairs, "a secret field of config, such as token"},
			{"refresh-seconds", "refresh_seconds", asNumber, "seconds after which a value is read again (default 300)"},
			{"max-stale-seconds", "max_stale_seconds", asNumber, "seconds for which a value is used that cannot be read again (default 86400)"},
			{"access-mode", "access_mode", asText, "read_only (default), write_only or read_and_write"},
			{"store-virtual-keys", "store_virtual_keys", asBool, "write the secrets of new and rotated keys there"},
			{"key-prefix", "prefix_for_stored_virtual_keys", asText, "begins their paths (default litellm/)"},
			{"memory-mb", "memory_mb", asNumber, "MiB of its process, above which it is killed (default 256)"},
		},
		more: func(a *app) []*cobra.Command { return a.secretSourceVerbs() },
	},
	{
		name: "auth", short: "Plugins that say who requests of the data path come from",
		columns: []console.Column{{"ID", "id"}, {"NAME", "name"}, {"PLUGIN", "plugin"}, {"MODE", "mode"}, {"ON ERROR", "on_error"}, {"DEADLINE", "deadline_ms"}},
		fields: append([]field{
			{"mode", "mode", asText, "unknown (credentials that are no virtual keys; the default), auto (all, and keys count where the plugin says nothing) or on (all, and nobody else decides)"},
			{"on-error", "on_error", asText, "block (503; the default) or pass (the ordinary check of keys decides)"},
			{"route", "routes", asList, "a path or /prefix/* at which it is asked (default: all)"},
			{"header", "headers", asList, "a header that it is given beside the credential"},
			{"cache-seconds", "cache_seconds", asNumber, "the most for which an answer is used again (default 60, -1: none is)"},
		}, pluginUseFields...),
	},
	{
		name: "router-filter", path: "router_filters", short: "Plugins that choose among the deployments which could answer a request",
		columns: []console.Column{{"ID", "id"}, {"NAME", "name"}, {"PLUGIN", "plugin"}, {"MODELS", "models"}, {"ON ERROR", "on_error"}, {"DEADLINE", "deadline_ms"}},
		fields: append([]field{
			{"model", "models", asList, "a model whose deployments it chooses among (default: all)"},
			{"on-error", "on_error", asText, "block (503; the default) or pass (the router's own order counts)"},
		}, pluginUseFields...),
	},
	{
		name: "access-group", path: "access-groups", short: "Sets of models, MCP servers and tools that keys and teams are given together",
		columns: []console.Column{{"ID", "id"}, {"NAME", "name"}, {"MODELS", "models"}, {"MCP SERVERS", "mcp_servers"}, {"DESCRIPTION", "description"}},
		fields: []field{
			{"description", "description", asText, "for people"},
			{"model", "models", asList, "a model: a name, prefix* or one of the models' own access groups"},
			{"mcp-server", "mcp_servers", asList, "an MCP server: a name or prefix*"},
			{"mcp-tools", "mcp_tool_permissions", asJSON, `of a server some tools alone: {"mail": ["send"]}`},
			{"budget", "budget", asNumber, "US dollars in a window, for all requests for its models together"},
			{"per", "per", asText, "window of the budget: hour, day, week, month or total"},
			{"shared-budget", "budget_id", asText, "id or name of a shared budget"},
			{"rpm", "limits.rpm", asNumber, "requests a minute, for all its models together"},
			{"tpm", "limits.tpm", asNumber, "tokens a minute"},
			{"parallel", "limits.parallel", asNumber, "requests in flight"},
			{"team", "assigned_team_ids", asList, "id or name of a team that has it; others lose it"},
			{"key", "assigned_key_ids", asList, "id or name of a key that has it; others lose it"},
		},
		create: budgetFlags,
	},
	{
		name: "plugin", short: "Plugins that are not shipped: bundles, or binaries on every node, pinned by their SHA-256",
		columns: []console.Column{{"ID", "id"}, {"NAME", "name"}, {"KIND", "kind"}, {"BUNDLE", "bundle"}, {"PLATFORMS", "platforms"}, {"PUBLISHER", "publisher"}, {"PATH", "path"}, {"SHA256", "sha256"}},
		fields: []field{
			{"kind", "kind", asText, "guardrail, callback, secret_source, auth, router_filter or provider"},
			{"path", "path", asText, "absolute path on every node"},
			{"sha256", "sha256", asText, "of the binary"},
		},
		more: (*app).pluginCommands,
	},
	{
		name: "environment", path: "environment", short: "Variables of the cluster, which credentials and plugins' configurations refer to as env://NAME", named: "id",
		columns: []console.Column{{"NAME", "id"}, {"FINGERPRINT", "value.fingerprint"}, {"UPDATED", "updated_at"}, {"BY", "updated_by"}, {"OWNER", "owner"}, {"OVERRIDDEN HERE", "overridden"}},
		fields:  []field{{"value", "value", asSecret, "the value: env:NAME, file:PATH or - for standard input"}},
	},
	{
		name: "prompt", short: "Stored prompts, which requests name with prompt_id",
		columns: []console.Column{{"ID", "id"}, {"NAME", "name"}, {"NEWEST", "last"}, {"ENVIRONMENTS", "environments"}, {"DESCRIPTION", "description"}},
		fields: []field{
			{"description", "description", asText, "for people"},
			{"versions", "versions", asJSON, "all versions: a list of {version, model, messages, parameters, defaults, note}"},
			{"environments", "environments", asJSON, "object of the version that each environment or label names"},
		},
		more: (*app).promptCommands,
	},
	{
		name: "setting", short: "Values of the cluster",
		columns: []console.Column{{"ID", "id"}, {"VALUE", "value"}, {"DEFAULT", "default"}, {"TYPE", "type"}, {"HELP", "help"}},
		fields:  []field{{"value", "value", asValue, "JSON, else text; file:PATH for what the file holds"}},
		create: func(doc map[string]any) error {
			if name, ok := doc["name"]; ok {
				doc["id"] = name // a setting's id is its name
				delete(doc, "name")
			}
			return nil
		},
	},
}...)

func modelFields() []field {
	fields := []field{
		{"strategy", "strategy", asText, "simple_shuffle, least_busy or latency"},
		{"fallback", "fallbacks", asList, "a model to try when this one cannot answer"},
		{"unsupported-params", "unsupported_params", asText, "what becomes of parameters that a provider cannot take: drop, reject or pass"},
		{"retries", "retries", asNumber, "further attempts after the first (default 2)"},
		{"deployment", firstPrefix + "name", asText, "name of the first deployment (default d1)"},
	}
	for _, f := range upstreamFields {
		f.path = firstPrefix + f.path
		f.usage = "first deployment: " + f.usage
		fields = append(fields, f)
	}
	return fields
}

// firstDeployment puts the flags of the first deployment where the API wants them, so that
// one call makes a model that answers.
func firstDeployment(doc map[string]any) error {
	first, ok := doc["first"].(map[string]any)
	delete(doc, "first")
	if !ok {
		return nil
	}
	if first["provider"] == nil && first["credential_id"] == nil {
		return errors.New("the first deployment needs --provider or --credential")
	}
	if first["name"] == nil {
		first["name"] = "d1"
	}
	doc["deployments"] = []any{first}
	return nil
}

func (a *app) blockVerbs(name string) []*cobra.Command {
	var cmds []*cobra.Command
	for _, state := range []client.BlockState{client.Blocked, client.Unblocked} {
		cmds = append(cmds, &cobra.Command{
			Use:   string(state) + " NAME",
			Short: string(state) + " a " + name + " at once, on every node",
			Args:  cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				if err := a.Client().Block(cmd.Context(), name+"s", args[0], state); err != nil {
					return err
				}
				fmt.Fprintf(a.Stderr, "%sed %s %s\n", state, name, console.Printable(args[0]))
				a.WarnPending()
				return nil
			},
		})
	}
	return cmds
}
