package hclfile

import "github.com/hashicorp/hcl/v2"

// The blocks of a file, as gohcl reads them. An attribute has the name of the record's
// field. Values that HCL has no type for (money, free-form JSON, times) are kept as
// attributes and read in values.go.

type nodeBlock struct {
	Name                  string   `hcl:"name"`
	DataDir               string   `hcl:"data_dir,optional"`
	Listen                string   `hcl:"listen,optional"`
	Cluster               string   `hcl:"cluster,optional"`
	Advertise             string   `hcl:"advertise,optional"`
	ClientURL             string   `hcl:"client_url,optional"`
	MasterKey             string   `hcl:"master_key"`
	KEK                   *string  `hcl:"kek,optional"`
	KEKNext               string   `hcl:"kek_next,optional"`
	MaxConnections        *int     `hcl:"max_connections,optional"`
	MaxClusterConnections *int     `hcl:"max_cluster_connections,optional"`
	ServeStale            *string  `hcl:"serve_stale,optional"`
	Journal               string   `hcl:"journal,optional"`
	JournalDir            string   `hcl:"journal_dir,optional"`
	JournalKeep           *string  `hcl:"journal_keep,optional"`
	JournalMaxMB          *int     `hcl:"journal_max_mb,optional"`
	PluginDir             string   `hcl:"plugin_dir,optional"`
	Role                  string   `hcl:"role,optional"`
	DrainTimeout          *string  `hcl:"drain_timeout,optional"`
	UpgradePublishers     []string `hcl:"upgrade_publishers,optional"`
	DiskReserveMB         *int     `hcl:"disk_reserve_mb,optional"`
	Seeds                 []string `hcl:"seeds,optional"`
	RaftMultiplier        *int     `hcl:"raft_multiplier,optional"`
	LogLevel              string   `hcl:"log_level,optional"`
	LogFormat             string   `hcl:"log_format,optional"`
	TLSCert               string   `hcl:"tls_cert,optional"`
	TLSKey                string   `hcl:"tls_key,optional"`

	Proxy                *nodeProxyBlock `hcl:"proxy,block"`
	ProxyFromEnvironment bool            `hcl:"proxy_from_environment,optional"`
	Sealed               bool            `hcl:"sealed,optional"`
}

type nodeProxyBlock struct {
	URL      string `hcl:"url"`
	NoProxy  string `hcl:"no_proxy,optional"`
	CA       string `hcl:"ca,optional"`
	Password string `hcl:"password,optional"`
}

type credentialBlock struct {
	Provider string  `hcl:"provider,optional"`
	APIKey   *string `hcl:"api_key,optional"`
	APIBase  string  `hcl:"api_base,optional"`

	Secrets map[string]string `hcl:"secrets,optional"`
}

type modelBlock struct {
	Strategy     string            `hcl:"strategy,optional"`
	Fallbacks    []string          `hcl:"fallbacks,optional"`
	Retries      *int              `hcl:"retries,optional"`
	TimeoutMS    int64             `hcl:"timeout_ms,optional"`
	AccessGroups []string          `hcl:"access_groups,optional"`
	SharedBudget string            `hcl:"shared_budget,optional"`
	Metadata     *hcl.Attribute    `hcl:"metadata,optional"`
	Budgets      []termsBlock      `hcl:"budget,block"`
	Limit        *limitBlock       `hcl:"limit,block"`
	ModelLimits  []modelLimitBlock `hcl:"model_limit,block"`
	Deployments  []deploymentBlock `hcl:"deployment,block"`
}

type accessGroupBlock struct {
	SharedBudget string            `hcl:"shared_budget,optional"`
	Budgets      []termsBlock      `hcl:"budget,block"`
	Limit        *limitBlock       `hcl:"limit,block"`
	ModelLimits  []modelLimitBlock `hcl:"model_limit,block"`
}

type deploymentBlock struct {
	Name         string         `hcl:"name,label"`
	Provider     string         `hcl:"provider,optional"`
	APIBase      string         `hcl:"api_base,optional"`
	Model        string         `hcl:"model,optional"`
	Credential   string         `hcl:"credential,optional"`
	APIKey       *string        `hcl:"api_key,optional"`
	Weight       *int64         `hcl:"weight,optional"`
	Order        int64          `hcl:"order,optional"`
	TimeoutMS    int64          `hcl:"timeout_ms,optional"`
	Blocked      bool           `hcl:"blocked,optional"`
	Metadata     *hcl.Attribute `hcl:"metadata,optional"`
	SharedBudget string         `hcl:"shared_budget,optional"`
	Budgets      []termsBlock   `hcl:"budget,block"`
	Limit        *limitBlock    `hcl:"limit,block"`

	ModelLimits []modelLimitBlock `hcl:"model_limit,block"`
	Price       *priceBlock       `hcl:"price,block"`
	Secrets     map[string]string `hcl:"secrets,optional"`

	Range hcl.Range `hcl:",def_range"`
	Body  hcl.Body  `hcl:",body"`
}

type limitBlock struct {
	RPM       *int64 `hcl:"rpm,optional"`
	TPM       *int64 `hcl:"tpm,optional"`
	InputTPM  *int64 `hcl:"input_tpm,optional"`
	OutputTPM *int64 `hcl:"output_tpm,optional"`
	Parallel  *int64 `hcl:"parallel,optional"`
}

type modelLimitBlock struct {
	Model     string `hcl:"model,label"`
	RPM       *int64 `hcl:"rpm,optional"`
	TPM       *int64 `hcl:"tpm,optional"`
	InputTPM  *int64 `hcl:"input_tpm,optional"`
	OutputTPM *int64 `hcl:"output_tpm,optional"`
	Parallel  *int64 `hcl:"parallel,optional"`
}

type termsBlock struct {
	Name       string         `hcl:"name,optional"`
	USD        *hcl.Attribute `hcl:"usd,optional"`
	Tokens     *int64         `hcl:"tokens,optional"`
	Requests   *int64         `hcl:"requests,optional"`
	GPUSeconds *hcl.Attribute `hcl:"gpu_seconds,optional"`
	Soft       *hcl.Attribute `hcl:"soft,optional"`
	Models     []string       `hcl:"models,optional"`
	Per        string         `hcl:"per,optional"`
	Every      int64          `hcl:"every,optional"`
	Zone       string         `hcl:"zone,optional"`
	Strict     bool           `hcl:"strict,optional"`
	Clamp      bool           `hcl:"clamp,optional"`
	Overdraft  *hcl.Attribute `hcl:"overdraft,optional"`
	NoQuorum   string         `hcl:"no_quorum,optional"`
	Unpriced   string         `hcl:"unpriced,optional"`
	Increase   *hcl.Attribute `hcl:"increase,optional"`
	Alerts     *hcl.Attribute `hcl:"alerts,optional"`
	Body       hcl.Body       `hcl:",body"`
}

// sharedBlock is a shared budget: its terms beside what else it has.
type sharedBlock struct {
	Terms       hcl.Body          `hcl:",remain"`
	Budgets     []termsBlock      `hcl:"budget,block"`
	Limit       *limitBlock       `hcl:"limit,block"`
	ModelLimits []modelLimitBlock `hcl:"model_limit,block"`
}

type sessionsBlock struct {
	Budget         *hcl.Attribute `hcl:"budget,optional"`
	Iterations     int64          `hcl:"iterations,optional"`
	RPM            *int64         `hcl:"rpm,optional"`
	TPM            *int64         `hcl:"tpm,optional"`
	RequireTraceID bool           `hcl:"require_trace_id,optional"`
}

// policyBlock is what the blocks of all that can be limited have beside their own.
type policyBlock struct {
	SharedBudget   string            `hcl:"shared_budget,optional"`
	Models         []string          `hcl:"models,optional"`
	Aliases        map[string]string `hcl:"aliases,optional"`
	Routes         []string          `hcl:"routes,optional"`
	AllowedIPs     []string          `hcl:"allowed_ips,optional"`
	DeniedIPs      []string          `hcl:"denied_ips,optional"`
	EnforcedParams []string          `hcl:"enforced_params,optional"`
	Guardrails     []string          `hcl:"guardrails,optional"`
	Callbacks      []string          `hcl:"callbacks,optional"`
	Tags           []string          `hcl:"tags,optional"`
	LogContent     *bool             `hcl:"log_content,optional"`
	MaxRequestMB   *int64            `hcl:"max_request_mb,optional"`
	MaxResponseMB  *int64            `hcl:"max_response_mb,optional"`
	Metadata       *hcl.Attribute    `hcl:"metadata,optional"`
	ExpiresAt      *hcl.Attribute    `hcl:"expires_at,optional"`
	Budgets        []termsBlock      `hcl:"budget,block"`
	Limit          *limitBlock       `hcl:"limit,block"`
	ModelLimits    []modelLimitBlock `hcl:"model_limit,block"`
	Sessions       *sessionsBlock    `hcl:"sessions,block"`
}

type organizationBlock struct {
	Policy hcl.Body `hcl:",remain"`
}

type teamBlock struct {
	Organization string        `hcl:"organization,optional"`
	Members      []memberBlock `hcl:"member,block"`
	Policy       hcl.Body      `hcl:",remain"`
}

type memberBlock struct {
	User   string   `hcl:"user,label"`
	Admin  bool     `hcl:"admin,optional"`
	Policy hcl.Body `hcl:",remain"`

	Range hcl.Range `hcl:",def_range"`
	Body  hcl.Body  `hcl:",body"`
}

type projectBlock struct {
	Team        string   `hcl:"team"`
	Description string   `hcl:"description,optional"`
	Policy      hcl.Body `hcl:",remain"`
}

type userBlock struct {
	Name           string   `hcl:"name,optional"`
	Email          string   `hcl:"email,optional"`
	Role           string   `hcl:"role,optional"`
	Organization   string   `hcl:"organization,optional"`
	ServiceAccount bool     `hcl:"service_account,optional"`
	Policy         hcl.Body `hcl:",remain"`
}

type customerBlock struct {
	Name         string   `hcl:"name,optional"`
	DefaultModel string   `hcl:"default_model,optional"`
	Region       string   `hcl:"region,optional"`
	Policy       hcl.Body `hcl:",remain"`
}

type tagBlock struct {
	Description string   `hcl:"description,optional"`
	Policy      hcl.Body `hcl:",remain"`
}

type keyBlock struct {
	Secret  string `hcl:"secret"`
	Team    string `hcl:"team,optional"`
	Project string `hcl:"project,optional"`
	UserID  string `hcl:"user_id,optional"`
	Role    string `hcl:"role,optional"`

	RotationKey *string  `hcl:"rotation_key,optional"`
	Policy      hcl.Body `hcl:",remain"`
}

type guardrailBlock struct {
	Plugin     string         `hcl:"plugin"`
	Hooks      []string       `hcl:"hooks,optional"`
	OnError    string         `hcl:"on_error,optional"`
	DeadlineMS int64          `hcl:"deadline_ms,optional"`
	Models     []string       `hcl:"models,optional"`
	Optional   bool           `hcl:"optional,optional"`
	Config     *hcl.Attribute `hcl:"config,optional"`

	Secrets map[string]string `hcl:"secrets,optional"`
}

type callbackBlock struct {
	Plugin  string            `hcl:"plugin"`
	Config  *hcl.Attribute    `hcl:"config,optional"`
	Secrets map[string]string `hcl:"secrets,optional"`
}

type secretSourceBlock struct {
	Plugin  string            `hcl:"plugin"`
	Config  *hcl.Attribute    `hcl:"config,optional"`
	Secrets map[string]string `hcl:"secrets,optional"`
}

// pluginUseBlock is what the blocks have in common that use a plugin of a kind with a resource.PluginUse.
type pluginUseBlock struct {
	Plugin  string            `hcl:"plugin"`
	Config  *hcl.Attribute    `hcl:"config,optional"`
	Secrets map[string]string `hcl:"secrets,optional"`
}

type pluginBlock struct {
	Kind   string `hcl:"kind"`
	Path   string `hcl:"path"`
	SHA256 string `hcl:"sha256"`
	MTLS   *bool  `hcl:"mtls,optional"`
}

type mcpServerBlock struct {
	Credential string            `hcl:"credential,optional"`
	Secrets    map[string]string `hcl:"secrets,optional"`
}

type passThroughBlock struct {
	Secrets map[string]string `hcl:"secrets,optional"`
}

type settingBlock struct {
	Value *hcl.Attribute `hcl:"value"`
}
