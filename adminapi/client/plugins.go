package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"

	"github.com/conclave-llm/conclave/resource"
)

// Plugin is a registered plugin, with what the manifest of an uploaded one says.
type Plugin struct {
	resource.Plugin
	Bundle      string   `json:"bundle,omitempty"` // version
	Description string   `json:"description,omitempty"`
	Platforms   []string `json:"platforms,omitempty"` // "linux/amd64"
	Publisher   string   `json:"publisher,omitempty"` // fingerprint of who signed it
}

// PluginSchema is the schema of a plugin's configuration.
type PluginSchema struct {
	Plugin string          `json:"plugin"`
	Kind   string          `json:"kind"`
	Schema json.RawMessage `json:"schema"`
}

// NodePlugins is what runs of plugins on one node.
type NodePlugins struct {
	NodeID    string          `json:"node_id"`
	Node      string          `json:"node"`
	Error     string          `json:"error,omitempty"` // why it is not known
	Processes []PluginProcess `json:"processes"`
}

// Only leaves the processes of the record with the name, or of the plugin that answers for deployments; "" all.
func (n *NodePlugins) Only(name string) {
	if name != "" {
		n.Processes = slices.DeleteFunc(n.Processes, func(p PluginProcess) bool { return p.Name != name && (p.Kind != "provider" || p.Plugin != name) })
	}
}

// PluginProcess tells of one process of a record that uses a plugin, whether it runs or not.
type PluginProcess struct {
	Kind     string        `json:"kind"`
	Name     string        `json:"name"` // of the record; of a provider: what its deployments share, "PLUGIN@" and 12 digits
	Instance int           `json:"instance"`
	Plugin   string        `json:"plugin"`
	Bundle   string        `json:"bundle,omitempty"`   // version, of an uploaded plugin
	SHA256   string        `json:"sha256,omitempty"`   // of the binary, if it is not shipped
	Runs     string        `json:"runs,omitempty"`     // SHA-256 of what runs: another one while a new one does not start
	Outdated bool          `json:"outdated,omitempty"` // what runs was configured before the newest change, which does not run: error says why
	Version  string        `json:"version,omitempty"`  // that the plugin tells
	SDK      string        `json:"sdk,omitempty"`      // contract that it was built against
	State    string        `json:"state"`              // "running", "backoff", "no_binary_for_platform", …
	Since    resource.Time `json:"since"`
	PID      int           `json:"pid,omitempty"`
	RSS      int64         `json:"rss,omitempty"` // bytes of memory
	Restarts int           `json:"restarts"`
	Error    string        `json:"error,omitempty"`  // the last one
	Output   []string      `json:"output,omitempty"` // the last lines that it wrote
	HoldBack int           `json:"hold_back,omitempty"`
	HoldAll  bool          `json:"hold_all,omitempty"`
	Mark     uint64        `json:"mark,omitempty"` // of a callback: the journal below it is delivered

	Endpoints  []string `json:"endpoints,omitempty"`   // of a provider: what it serves, "chat", "embeddings"
	Models     []string `json:"models,omitempty"`      // of a provider: the first hundred that it says it has; none: it takes any
	ModelCount int      `json:"model_count,omitempty"` // how many it has
}

// UploadPlugin uploads a bundle.
func (c *Client) UploadPlugin(ctx context.Context, file []byte) (Plugin, error) {
	var out Plugin
	return out, c.send(ctx, "plugins/upload", nil, file, &out)
}

// PluginSchema returns the schema of the configuration of a shipped or registered plugin.
func (c *Client) PluginSchema(ctx context.Context, name, kind string) (PluginSchema, error) {
	q := url.Values{}
	if kind != "" {
		q.Set("kind", kind)
	}
	var out PluginSchema
	return out, c.do(ctx, http.MethodGet, join("plugins", name, "schema"), q, nil, &out)
}

// PluginProcesses tells what runs of plugins on every node; name "" all.
func (c *Client) PluginProcesses(ctx context.Context, name string) (Page[NodePlugins], error) {
	q := url.Values{}
	if name != "" {
		q.Set("name", name)
	}
	var out Page[NodePlugins]
	return out, c.do(ctx, http.MethodGet, "cluster/plugins", q, nil, &out)
}
