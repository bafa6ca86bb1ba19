package config

import "github.com/hashicorp/hcl/v2"

// The blocks of a file, as gohcl reads them. An attribute has the name of the record's
// field. Values that HCL has no type for (money, free-form JSON, times) are kept as
// attributes and read in values.go.

type nodeBlock struct {
	Name                  string  `hcl:"name"`
	DataDir               string  `hcl:"data_dir,optional"`
	Listen                string  `hcl:"listen,optional"`
	Cluster               string  `hcl:"cluster,optional"`
	Advertise             string  `hcl:"advertise,optional"`
	ClientURL             string  `hcl:"client_url,optional"`
	MasterKey             string  `hcl:"master_key"`
	KEK                   *string `hcl:"kek,optional"`
	MaxConnections        *int    `hcl:"max_connections,optional"`
	MaxClusterConnections *int    `hcl:"max_cluster_connections,optional"`
	ServeStale            *string `hcl:"serve_stale,optional"`
	Journal               string  `hcl:"journal,optional"`
	JournalDir            string  `hcl:"journal_dir,optional"`
	JournalKeep           *string `hcl:"journal_keep,optional"`
	JournalMaxMB          *int    `hcl:"journal_max_mb,optional"`
	PluginDir             string  `hcl:"plugin_dir,optional"`
	RaftMultiplier        *int    `hcl:"raft_multiplier,optional"`
	LogLevel              string  `hcl:"log_level,optional"`
	LogFormat             string  `hcl:"log_format,optional"`
	TLSCert               string  `hcl:"tls_cert,optional"`
	TLSKey                string  `hcl:"tls_key,optional"`
}

type credentialBlock struct {
	Provider string  `hcl:"provider,optional"`
	APIKey   *string `hcl:"api_key,optional"`
	APIBase  string  `hcl:"api_base,optional"`
}

type modelBlock struct {
	Strategy    string            `hcl:"strategy,optional"`
	Fallbacks   []string          `hcl:"fallbacks,optional"`
	Retries     *int              `hcl:"retries,optional"`
	TimeoutMS   int64             `hcl:"timeout_ms,optional"`
	Metadata    *hcl.Attribute    `hcl:"metadata,optional"`
	Deployments []deploymentBlock `hcl:"deployment,block"`
}

type deploymentBlock struct {
	Name       string         `hcl:"name,label"`
	Provider   string         `hcl:"provider,optional"`
	APIBase    string         `hcl:"api_base,optional"`
	Model      string         `hcl:"model,optional"`
	Credential string         `hcl:"credential,optional"`
	APIKey     *string        `hcl:"api_key,optional"`
	Weight     *int64         `hcl:"weight,optional"`
	Order      int64          `hcl:"order,optional"`
	TimeoutMS  int64          `hcl:"timeout_ms,optional"`
	Blocked    bool           `hcl:"blocked,optional"`
	Metadata   *hcl.Attribute `hcl:"metadata,optional"`
	Limit      *limitBlock    `hcl:"limit,block"`
	Price      *priceBlock    `hcl:"price,block"`

	Range hcl.Range `hcl:",def_range"`
	Body  hcl.Body  `hcl:",body"`
}

type limitBlock struct {
	RPM      *int64 `hcl:"rpm,optional"`
	TPM      *int64 `hcl:"tpm,optional"`
	Parallel *int64 `hcl:"parallel,optional"`
}

type termsBlock struct {
	Name      string         `hcl:"name,optional"`
	USD       *hcl.Attribute `hcl:"usd"`
	Per       string         `hcl:"per,optional"`
	Zone      string         `hcl:"zone,optional"`
	Strict    bool           `hcl:"strict,optional"`
	Clamp     bool           `hcl:"clamp,optional"`
	Overdraft *hcl.Attribute `hcl:"overdraft,optional"`
	NoQuorum  string         `hcl:"no_quorum,optional"`
	Unpriced  string         `hcl:"unpriced,optional"`
	Body      hcl.Body       `hcl:",body"`
}

type teamBlock struct {
	Models       []string       `hcl:"models,optional"`
	SharedBudget string         `hcl:"shared_budget,optional"`
	Tags         []string       `hcl:"tags,optional"`
	Metadata     *hcl.Attribute `hcl:"metadata,optional"`
	Budgets      []termsBlock   `hcl:"budget,block"`
	Limit        *limitBlock    `hcl:"limit,block"`
}

type keyBlock struct {
	Secret       string         `hcl:"secret"`
	Team         string         `hcl:"team,optional"`
	UserID       string         `hcl:"user_id,optional"`
	Role         string         `hcl:"role,optional"`
	Models       []string       `hcl:"models,optional"`
	Routes       []string       `hcl:"routes,optional"`
	SharedBudget string         `hcl:"shared_budget,optional"`
	Tags         []string       `hcl:"tags,optional"`
	ExpiresAt    *hcl.Attribute `hcl:"expires_at,optional"`
	Metadata     *hcl.Attribute `hcl:"metadata,optional"`
	Budgets      []termsBlock   `hcl:"budget,block"`
	Limit        *limitBlock    `hcl:"limit,block"`
}

type guardrailBlock struct {
	Plugin     string         `hcl:"plugin"`
	Hooks      []string       `hcl:"hooks,optional"`
	OnError    string         `hcl:"on_error,optional"`
	DeadlineMS int64          `hcl:"deadline_ms,optional"`
	Models     []string       `hcl:"models,optional"`
	Optional   bool           `hcl:"optional,optional"`
	Config     *hcl.Attribute `hcl:"config,optional"`
}

type callbackBlock struct {
	Plugin string         `hcl:"plugin"`
	Config *hcl.Attribute `hcl:"config,optional"`
}

type pluginBlock struct {
	Kind   string `hcl:"kind"`
	Path   string `hcl:"path"`
	SHA256 string `hcl:"sha256"`
	MTLS   *bool  `hcl:"mtls,optional"`
}

type settingBlock struct {
	Value *hcl.Attribute `hcl:"value"`
}
