// Package routerfilter holds the contract of plugins that choose among the deployments that could answer
// a request: what a plugin implements, its gRPC client and server, and the Gate through which a node asks.
package routerfilter

import "context"

// Description is what a configured plugin says about itself.
type Description struct {
	Version  string // of the plugin, for display
	SDKMinor uint32 // of the contract which the plugin was built against. The SDK fills it in.
}

// Settings are what a plugin is configured with.
type Settings struct {
	Name        string // of the router filter, unique in the cluster
	Config      []byte // JSON object, the plugin's own; may be empty
	HostVersion string
	HostMinor   uint32 // of the contract that the host speaks
}

// Route is a request, and who could answer it. It holds no text of the request.
type Route struct {
	RequestID      string
	Endpoint       string // "chat", "completions", "embeddings", …
	Model          string // whose deployments these are: the one asked for, or a fallback
	Asked          string // the model that the client asked for
	KeyID          string // "" for the master key
	TeamID         string
	OrganizationID string
	UserID         string // of the key
	CustomerID     string // the end user
	Tags           []string
	Session        string // of an agent; "": none
	Stream         bool
	Candidates     []Candidate // in the order in which the router would ask them; one at least
}

// Candidate is a deployment that is in service and not full.
type Candidate struct {
	DeploymentID  string
	Name          string // of the deployment; may be ""
	Provider      string
	UpstreamModel string  // the model's name at the provider
	APIBase       string  // as configured; "": the provider's usual one
	Order         int     // of its level: lower ones are asked first
	InFlight      float64 // requests from this node
	Others        float64 // requests in flight from the other nodes, as last heard
	FirstToken    float64 // seconds, average over the nodes; 0: not known
	Metadata      []byte  // JSON object of the deployment, LiteLLM's model_info; nil: none
}

// Plugin is what the author of a router filter implements. Configure is called once, before anything
// else. Filter is called concurrently, and every request waits for it.
type Plugin interface {
	Configure(ctx context.Context, s Settings) (Description, error)
	// Filter returns the indexes in r.Candidates of those that may answer, the best first, each at
	// most once. With none the model cannot answer the request, and its fallbacks are tried.
	Filter(ctx context.Context, r *Route) ([]int, error)
}
