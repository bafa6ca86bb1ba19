package resource

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/resource/channel"
	"github.com/conclave-llm/conclave/resource/manifest"
)

// maxSettingBytes bounds one value: all settings are read again with every catalog.
const maxSettingBytes = 1 << 20

// Setting is one value of the cluster, named by its id.
type Setting struct {
	Meta
	Value json.RawMessage `json:"value,omitempty"`
}

// Settings are all settings, decoded, with defaults filled in.
type Settings struct {
	BudgetExceededStatus int              // 400, 402, 422 or 429; default 429
	ServeStale           time.Duration    // how long a node without a leader serves inference; default 24h; 0: fail closed; <0: for ever
	MaxBodyBytes         int64            // of an inference request; default 32 MiB
	DefaultOutputHold    int64            // tokens held for a request without a maximum; default 4096
	RequestLogDays       int64            // how long requests are listed; default 30
	RequestLogBytes      int64            // of all of them on one node; default 4 GiB
	LogContent           bool             // keep prompts and answers of those who do not forbid it, not only of those who want it; default false
	LogContentDays       int64            // how long those are kept; default 7
	CustomerBudget       string           // id or name of the shared budget that each end user has who has none of his own; "": none
	KeepCallbacks        bool             // requests may not name callbacks that are not told of them; default false
	KeepLog              bool             // requests may not say no-log; default false
	BlobQuota            int64            // bytes of all blobs of the cluster; default 16 GiB
	ResponseDays         int64            // how long turns of responses are stored; default 30; 0: none is
	StoreByDefault       bool             // store turns of requests that do not say "store"; default true
	FileDays             int64            // how long files and batches are kept; default 30; 0: none is
	MaxFileBytes         int64            // of an uploaded file; default 200 MiB
	BatchParallel        int64            // lines of a batch that are sent at once; default 8
	BatchLines           int64            // of a batch's file; default 50000
	DefaultProvider      string           // of requests in OpenAI's words that no model names; default: the first that serves them
	ModerationModel      string           // of requests for moderations that name none; default: the only one that the caller has
	OwnerDays            int64            // how long it is known who made an id at a provider; default 180; 0: it is not
	KeyHeader            string           // a further header that carries a key; default none
	PriceAdjustments     Adjustments      // discounts and margins; default none
	PriceSync            PriceSync        // default off
	CaptureCheck         *CaptureCheck    // nil: bills are not compared
	UnknownPrice         *Price           // where a budget says estimate; default EstimatePrice
	KeyDefaults          *KeyRules        // of new keys; nil: none
	KeyCeilings          *KeyRules        // of keys that keys make; nil: none
	Audit                AuditSettings    // default: kept for ever, delivered nowhere
	Alerts               channel.Settings // default: kept for a month, delivered nowhere
	Snapshots            SnapshotSettings // default: none is made by itself
	RotationStore        *RotationStore   // of new secrets of keys; nil: there is none
	MCPSearchAbove       int64            // tools that a key is listed; one that has more searches among them; default 0: no bound
	PluginTrust          manifest.Trust   // whose plugins may be uploaded; default: anybody's
	PublicURL            string           // where browsers find the gateway, without a slash at the end; default none

	AvailableTeams Names         // ids of teams that people join by themselves; default none
	BlockUnpriced  bool          // refuse models without a price; default false
	HealthChecks   bool          // ask backends whether they can be reached; default false
	HealthInterval time.Duration // how often, once for the cluster; default five minutes

	DeadCleanup   bool          // remove nodes that are out of reach; default true
	DeadAfter     time.Duration // for that long; default 24h
	DeadMinVoters int64         // if so many voters stay; default 3
	TimeoutMS     int64         // of an attempt; default: ten minutes
	Timeouts      Timeouts      // the other timers of an attempt
	DrainMS       int64         // how long an answer is read whose client has left; default: a minute

	Sealed           bool              // nothing is dialled that the configuration does not name
	EgressAllow      []string          // host:port in lower case that may be dialled beside it
	ProviderProxies  map[string]*Proxy // by provider
	AllowInsecureTLS bool              // records may say insecure_skip_verify

	MaxResponseBytes     int64          // of an answer; 0: no limit
	EnforceUser          bool           // a request must name its end user
	EnforcedParams       []string       // that a request must have; "metadata.cost_center"
	ServiceAccountParams []string       // the same for keys of a team that belong to no user
	AllowedIPs           []netip.Prefix // empty: every address
	DeniedIPs            []netip.Prefix // win over AllowedIPs
	TrustedProxies       []netip.Prefix // whose X-Forwarded-For is believed; empty: nobody's
	CountedCustomers     int64          // end users without a record that have totals of their own; default DefaultCountedCustomers
	CountedTags          int64          // the same of tags; default DefaultCountedTags
	CustomerHeaders      []string       // in canonical form, that name the end user, first one first
	BlockedCustomers     Names          // ids of end users that are refused, beside those with a blocked record
	BannedKeywords       []string       // in lower case
	WildcardRoutes       bool           // lists of models name patterns such as "openai/*" too
}

// Names is a sorted list of names without repetition.
type Names []string

// Has says whether the list has the name.
func (n Names) Has(name string) bool {
	_, ok := slices.BinarySearch(n, name)
	return ok
}

// DefaultSettings are those of a cluster that has set none.
func DefaultSettings() Settings {
	return Settings{
		Alerts:               channel.Default(),
		BudgetExceededStatus: 429,
		ServeStale:           24 * time.Hour,
		MaxBodyBytes:         32 << 20,
		DefaultOutputHold:    4096,
		UnknownPrice:         EstimatePrice(),
		RequestLogDays:       30,
		RequestLogBytes:      4 << 30,
		LogContentDays:       7,
		BlobQuota:            16 << 30,
		ResponseDays:         30,
		StoreByDefault:       true,
		FileDays:             30,
		MaxFileBytes:         200 << 20,
		BatchParallel:        8,
		BatchLines:           50_000,
		OwnerDays:            180,
		HealthInterval:       5 * time.Minute,
		DeadCleanup:          true,
		DeadAfter:            24 * time.Hour,
		DeadMinVoters:        3,
		DrainMS:              60_000,
		CountedCustomers:     DefaultCountedCustomers,
		CountedTags:          DefaultCountedTags,
	}
}

// The settings that bound how many names of requests have totals of their own, and what they are by default.
// Apply reads them: the defaults must not change.
const (
	SettingCountedCustomers = "counted_customers"
	SettingCountedTags      = "counted_tags"

	DefaultCountedCustomers int64 = 100_000
	DefaultCountedTags      int64 = 10_000
)

// maxCounted bounds both.
const maxCounted = 10_000_000

// SettingInfo describes a setting that this version knows.
type SettingInfo struct {
	Name    string          `json:"name"`
	Type    string          `json:"type"`    // "integer", "boolean", "string", "duration", "list", …
	Default json.RawMessage `json:"default"` // as JSON; null: none
	Help    string          `json:"help"`
}

// settingRow is one setting: what it is, and how its value is read.
type settingRow struct {
	name, typ, initial, help string
	read                     func(*Settings, json.RawMessage) error
}

// settings is the table of settings, by name.
var settings = []settingRow{
	{
		SettingAlerts, "object", `{}`, `who hears of alerts, and of which: {"channels": [{"name": "ops", "type": "webhook", "url": "https://…", "credential": "NAME"}], "budget_thresholds": [80, 100]}`,
		readAlerts,
	},
	{
		"allow_dynamic_callback_disabling", "boolean", `true`, "let requests name, in x-litellm-disable-callbacks, callbacks that are not told of them; those that are always told are",
		inverse(func(s *Settings) *bool { return &s.KeepCallbacks }),
	},
	{
		"allow_insecure_tls", "boolean", `false`, "credentials and deployments may say tls.insecure_skip_verify: whoever is in between reads keys and prompts",
		boolean(func(s *Settings) *bool { return &s.AllowInsecureTLS }),
	},
	{
		"allowed_ips", "list", `[]`, "addresses and CIDR ranges that may send requests; empty: all",
		prefixes(func(s *Settings) *[]netip.Prefix { return &s.AllowedIPs }),
	},
	{
		"audit", "object", `{}`, `what becomes of audit entries: {"retention": "90d", "sinks": [{"kind": "file", "path": "audit.jsonl"}]}`,
		func(s *Settings, v json.RawMessage) (err error) {
			s.Audit, err = ParseAudit(v)
			return err
		},
	},
	{
		SettingAvailableTeams, "list", `[]`, "ids of the teams that every user may join by himself, as a plain member with what member_defaults of the team give; a team of an organization: its users",
		func(s *Settings, v json.RawMessage) (err error) {
			s.AvailableTeams, err = ParseAvailableTeams(v)
			return err
		},
	},
	{
		"background_health_checks", "boolean", `false`, "ask every backend once an interval, by requests that use no tokens, whether it can be reached",
		boolean(func(s *Settings) *bool { return &s.HealthChecks }),
	},
	{
		"banned_keywords_list", "list or lines", `[]`, "words that guardrails refuse, whatever their case",
		func(s *Settings, v json.RawMessage) error {
			words, err := readLines(v, 4096)
			for i := range words {
				words[i] = strings.ToLower(words[i])
			}
			s.BannedKeywords = words
			return err
		},
	},
	{
		"batch_parallel", "integer", `8`, "how many lines of a batch a node sends at once, 1 to 256",
		integer(func(s *Settings) *int64 { return &s.BatchParallel }, 1, MaxBatchParallel, 1),
	},
	{
		"between_chunks_timeout_ms", "integer", `0`, "how long a provider may be silent within an answer, up to a day; 0: two minutes",
		integer(func(s *Settings) *int64 { return &s.Timeouts.BetweenChunksMS }, 0, maxTimeoutMS, 1),
	},
	{
		"blob_quota_mb", "integer", `16384`, "MiB of all blobs of the cluster together, 1 to 1073741824",
		integer(func(s *Settings) *int64 { return &s.BlobQuota }, 1, 1<<30, 1<<20),
	},
	{
		"block_requests_for_models_without_pricing", "boolean", `false`, "refuse requests for models whose price is not known, whatever the budgets say",
		boolean(func(s *Settings) *bool { return &s.BlockUnpriced }),
	},
	{
		"blocked_user_list", "list or lines", `[]`, "ids of end users whose requests are refused, beside those blocked one by one",
		func(s *Settings, v json.RawMessage) error {
			ids, err := readLines(v, 256)
			slices.Sort(ids)
			s.BlockedCustomers = slices.Compact(ids)
			return err
		},
	},
	{
		"budget_exceeded_status_code", "integer", `429`, "status of a request over its budget: 400, 402, 422 or 429",
		readBudgetStatus,
	},
	{
		"connect_timeout_ms", "integer", `0`, "how long connecting to a provider may take, up to a day; 0: ten seconds",
		integer(func(s *Settings) *int64 { return &s.Timeouts.ConnectMS }, 0, maxTimeoutMS, 1),
	},
	{
		SettingCountedCustomers, "integer", `100000`, "how many end users without a record have totals of their own, up to 10000000; what further ones spend is counted for (other)",
		integer(func(s *Settings) *int64 { return &s.CountedCustomers }, 0, maxCounted, 1),
	},
	{
		SettingCountedTags, "integer", `10000`, "how many tags without a record have totals of their own, up to 10000000; what further ones spend is counted for (other)",
		integer(func(s *Settings) *int64 { return &s.CountedTags }, 0, maxCounted, 1),
	},
	{
		SettingCustomerBudget, "string", `""`, "id or name of the shared budget that each end user has who has none of his own; that of a key, of its team or of its organization wins",
		readCustomerBudget,
	},
	{
		"dead_node_after", "duration", `"24h"`, "a node out of reach for so long is removed if dead_node_cleanup is on, 1m or more",
		func(s *Settings, v json.RawMessage) error {
			var text string
			if err := json.Unmarshal(v, &text); err != nil {
				return invalidf("value", "%s is not a duration such as \"24h\"", v)
			}
			d, err := time.ParseDuration(text)
			if err != nil || d < time.Minute {
				return invalidf("value", "%q is not a duration of a minute or more, such as 24h", text)
			}
			s.DeadAfter = d
			return nil
		},
	},
	{
		"dead_node_cleanup", "boolean", `true`, "remove nodes that are out of reach for dead_node_after, as far as the quorum bears it",
		boolean(func(s *Settings) *bool { return &s.DeadCleanup }),
	},
	{
		"dead_node_min_voters", "integer", `3`, "the clean-up leaves so many voters, 1 to 7",
		integer(func(s *Settings) *int64 { return &s.DeadMinVoters }, 1, 7, 1),
	},
	{
		"default_output_hold", "integer", `4096`, "tokens held for a request that names no maximum, 1 to 10000000",
		integer(func(s *Settings) *int64 { return &s.DefaultOutputHold }, 1, 10_000_000, 1),
	},
	{
		"default_provider", "string", `""`, "the provider that serves paths of OpenAI's document for requests that name neither model nor a known id; empty: the first that may",
		readDefaultProvider,
	},
	{
		"denied_ips", "list", `[]`, "addresses and CIDR ranges that may not send requests; win over allowed_ips",
		prefixes(func(s *Settings) *[]netip.Prefix { return &s.DeniedIPs }),
	},
	{
		"drain_timeout_ms", "integer", `60000`, "how long an answer is read to its end whose client has left, where on_disconnect is drain, up to an hour",
		integer(func(s *Settings) *int64 { return &s.DrainMS }, 1, 3_600_000, 1),
	},
	{
		"egress_allow", "list", `[]`, "host:port that sealed nodes may dial beside what the configuration names, such as receivers of rotated keys", readDestinations,
	},
	{
		"enforce_user_param", "boolean", `false`, "refuse requests that do not name their end user",
		boolean(func(s *Settings) *bool { return &s.EnforceUser }),
	},
	{
		"enforced_params", "list", `[]`, "fields that every request must have, such as user or metadata.cost_center",
		params(func(s *Settings) *[]string { return &s.EnforcedParams }),
	},
	{
		"first_token_timeout_ms", "integer", `0`, "how long a stream may take to its first token, up to a day; 0: as long as between chunks, from the header on",
		integer(func(s *Settings) *int64 { return &s.Timeouts.FirstTokenMS }, 0, maxTimeoutMS, 1),
	},
	{
		"global_disable_no_log_param", "boolean", `false`, "heed no-log in requests no more, with which callbacks are not told of them but those that are always told",
		boolean(func(s *Settings) *bool { return &s.KeepLog }),
	},
	{
		"health_check_interval", "integer", `300`, "seconds between two background health checks of a backend, 1 to 86400",
		integer(func(s *Settings) *int64 { return (*int64)(&s.HealthInterval) }, 1, 86_400, int64(time.Second)),
	},
	{
		SettingKeyCeilings, "object", `{}`, `what no key exceeds that a key makes, and gets if it does not say: {"budgets": [{"usd": 10, "per": "month"}], "limits": {"rpm": 60}, "max_age": "720h"}`,
		keyRules(func(s *Settings) **KeyRules { return &s.KeyCeilings }),
	},
	{
		SettingKeyDefaults, "object", `{}`, "what new keys get that do not say it themselves, as key_ceilings",
		keyRules(func(s *Settings) **KeyRules { return &s.KeyDefaults }),
	},
	{
		"key_header", "string", `""`, "a further header that carries a key",
		func(s *Settings, v json.RawMessage) error {
			if err := json.Unmarshal(v, &s.KeyHeader); err != nil {
				return invalidf("value", "%s is not a string", v)
			}
			if s.KeyHeader == "" {
				return nil
			}
			_, err := headerName("value", s.KeyHeader)
			return err
		},
	},
	{
		"log_content", "boolean", `false`, "keep the prompts and answers of those who do not forbid it; where it is false, of those whose own log_content is true",
		boolean(func(s *Settings) *bool { return &s.LogContent }),
	},
	{
		"log_content_days", "integer", `7`, "for how many days they are kept whose own log_content_days do not say, 1 to 3660",
		integer(func(s *Settings) *int64 { return &s.LogContentDays }, 1, maxContentDays, 1),
	},
	{
		"max_batch_file_records", "integer", `50000`, "lines of a batch's file, 1 to 1000000",
		integer(func(s *Settings) *int64 { return &s.BatchLines }, 1, 1_000_000, 1),
	},
	{
		"max_body_bytes", "integer", `33554432`, "bytes of a request's body, 1024 to 1073741824; max_request_size_mb wins",
		integer(func(s *Settings) *int64 { return &s.MaxBodyBytes }, 1<<10, 1<<30, 1),
	},
	{
		"max_file_size_mb", "integer", `200`, "MiB of a file for /v1/files, 1 to 512",
		integer(func(s *Settings) *int64 { return &s.MaxFileBytes }, 1, 512, 1<<20),
	},
	{
		"max_request_size_mb", "integer", `32`, "MiB of a request's body, 1 to 1024",
		integer(func(s *Settings) *int64 { return &s.MaxBodyBytes }, 1, 1<<10, 1<<20),
	},
	{
		"max_response_size_mb", "integer", `0`, "MiB of an answer, up to 1024; 0: no limit",
		integer(func(s *Settings) *int64 { return &s.MaxResponseBytes }, 0, 1<<10, 1<<20),
	},
	{
		"mcp_search_above", "integer", `0`, "a key that has more tools of MCP servers is listed two in their place, which search among them and call what was found; 0: never",
		integer(func(s *Settings) *int64 { return &s.MCPSearchAbove }, 0, 10_000, 1),
	},
	{
		"moderation_model", "string", `""`, "the model of requests for moderations that name none; empty: omni-moderation-latest if the key has it, else the only model for moderations that it has",
		readModerationModel,
	},
	{
		SettingPluginTrust, "object", `{}`, `whose plugins may be uploaded: {"publishers": ["ed25519:…"], "require_signature": true}; without publishers anybody's`,
		readPluginTrust,
	},
	{
		"price_adjustments", "object", `{}`, "discounts and margins by provider", readAdjustments,
	},
	{
		"price_sync", "object", `{}`, `where prices are downloaded from: {"url": "https://…", "every": "24h", "apply": "review"}`, readPriceSync,
	},
	{
		"provider_id_days", "integer", `180`, "for how many days it is known which key made an id at a provider, and where, up to 3660; 0: it is not",
		integer(func(s *Settings) *int64 { return &s.OwnerDays }, 0, 3660, 1),
	},
	{
		settingProviderProxies, "object", `{}`, `proxies by provider, where neither deployment nor credential say: {"openai": {"url": "http://host:3128", "no_proxy": ".corp"}}`, readProxies,
	},
	{
		"public_url", "string", `""`, "where browsers find the gateway: https://llm.example.com; people are sent back there when they have allowed an MCP server, and links in mails lead there", readPublicURL,
	},
	{
		"request_log_days", "integer", `30`, "for how many days rows of requests are kept, 1 to 3660",
		integer(func(s *Settings) *int64 { return &s.RequestLogDays }, 1, 3660, 1),
	},
	{
		"request_log_mb", "integer", `4096`, "MiB of rows of requests on each node, 1 to 1073741824",
		integer(func(s *Settings) *int64 { return &s.RequestLogBytes }, 1, 1<<30, 1<<20),
	},
	{
		"return_wildcard_routes", "boolean", `false`, "list models whose names are patterns, such as openai/*, beside those that they cover",
		boolean(func(s *Settings) *bool { return &s.WildcardRoutes }),
	},
	{
		"rotation_store", "object", `{}`, `where rotations with the destination secret_store write new secrets: {"vault": "https://vault.corp:8200", "mount": "secret", "prefix": "conclave/keys", "credential": "NAME"}`, readRotationStore,
	},
	{
		"sealed", "boolean", `false`, "nodes dial nothing that the configuration does not name",
		boolean(func(s *Settings) *bool { return &s.Sealed }),
	},
	{
		"serve_stale", "duration", `"24h"`, "how long a node without a leader serves inference: a duration, forever or fail_closed",
		readServeStale,
	},
	{
		"service_account_enforced_params", "list", `[]`, "as enforced_params, for keys of a team that belong to no user",
		params(func(s *Settings) *[]string { return &s.ServiceAccountParams }),
	},
	{
		"snapshots", "object", `{}`, `when the leader makes a snapshot and where it is kept: {"every": "1h", "keep": 48, "dir": "backups"}, or "s3": {"endpoint": "https://…", "bucket": "b", "prefix": "conclave/", "region": "us-east-1", "credential": "NAME"}`,
		func(s *Settings, v json.RawMessage) (err error) {
			s.Snapshots, err = ParseSnapshots(v)
			return err
		},
	},
	{
		"spend_capture_rate_check", "object", `null`, `compare providers' bills with what was recorded, daily: {"providers": ["openai"], "threshold": 0.9, "lookback_days": 7, "openai_project_ids": []}; null: not`, readCaptureCheck,
	},
	{
		"store_responses_by_default", "boolean", `true`, "store turns of /v1/responses that do not say store, as OpenAI does; who has log_content off must always say it",
		boolean(func(s *Settings) *bool { return &s.StoreByDefault }),
	},
	{
		"stored_file_days", "integer", `30`, "for how many days files of /v1/files and batches are kept, up to 3660; 0: none is",
		integer(func(s *Settings) *int64 { return &s.FileDays }, 0, 3660, 1),
	},
	{
		"stored_response_days", "integer", `30`, "for how many days turns of /v1/responses are stored, up to 3660; 0: none is",
		integer(func(s *Settings) *int64 { return &s.ResponseDays }, 0, 3660, 1),
	},
	{
		"timeout_ms", "integer", `0`, "how long an attempt may take where neither deployment nor model say, up to a day; 0: ten minutes",
		integer(func(s *Settings) *int64 { return &s.TimeoutMS }, 0, maxTimeoutMS, 1),
	},
	{
		"trusted_proxies", "list", `[]`, "addresses and CIDR ranges of the proxies in front, whose X-Forwarded-For is believed",
		prefixes(func(s *Settings) *[]netip.Prefix { return &s.TrustedProxies }),
	},
	{
		"unknown_price", "object", `{"input": 5, "output": 25}`, "the price where none is known and a budget says estimate, in dollars a million tokens", readUnknownPrice,
	},
	{
		"user_header_mappings", "list", `[]`, `headers that name the end user: ["x-user"] or [{"header_name": "x-user", "litellm_user_role": "customer"}]`,
		readHeaderMappings,
	},
}

// SettingInfos describes every setting, by name.
func SettingInfos() []SettingInfo {
	all := make([]SettingInfo, len(settings))
	for i := range settings {
		all[i] = settings[i].info()
	}
	slices.SortFunc(all, func(a, b SettingInfo) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// LookupSetting describes the setting of the name.
func LookupSetting(name string) (SettingInfo, bool) {
	if row := settingOf(name); row != nil {
		return row.info(), true
	}
	return SettingInfo{}, false
}

func (r *settingRow) info() SettingInfo {
	return SettingInfo{Name: r.name, Type: r.typ, Default: json.RawMessage(r.initial), Help: r.help}
}

// settingOf finds the row of the name, nil if there is none.
func settingOf(name string) *settingRow {
	for i := range settings {
		if settings[i].name == name {
			return &settings[i]
		}
	}
	return nil
}

// Label implements Record.
func (s *Setting) Label() string { return "" }

// Canonicalize implements Record.
func (s *Setting) Canonicalize() {}

// Validate implements Record.
func (s *Setting) Validate() error {
	var into Settings
	if err := into.Set(s.ID, s.Value); err != nil {
		return err
	}
	if check := known[s.ID]; check != nil {
		return check("value", s.Value)
	}
	return nil
}

// Blobs are the digests of the blobs that the value names.
func (s *Setting) Blobs() (digests []string) {
	if s.ID != SettingAlerts && s.ID != settingProviderProxies {
		return nil
	}
	var into Settings
	if into.Set(s.ID, s.Value) != nil {
		return nil
	}
	for i := range into.Alerts.Channels {
		digests = append(digests, into.Alerts.Channels[i].CA)
	}
	for _, name := range sortedKeys(into.ProviderProxies) {
		digests = append(digests, into.ProviderProxies[name].CA)
	}
	return slices.DeleteFunc(digests, func(text string) bool { return !ValidDigest(text) })
}

// Set reads one named value into s. It returns an *Invalid for an unknown name or value.
func (s *Settings) Set(name string, value json.RawMessage) error {
	row := settingOf(name)
	if row == nil {
		return invalidf("id", "%q is not a setting", name)
	}
	if len(value) > maxSettingBytes {
		return invalidf("value", "%d bytes are more than %d", len(value), maxSettingBytes)
	}
	return row.read(s, bytes.TrimSpace(value))
}
