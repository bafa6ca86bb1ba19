package adminapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/bundles"
	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/plugins/pack"
	"github.com/conclave-llm/conclave/plugins/schema"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/manifest"
)

// Plugins are the plugin processes of the cluster.
type Plugins interface {
	// Processes tells what runs on every living node.
	Processes(ctx context.Context) []client.NodePlugins
}

type (
	uploadInput struct {
		RawBody []byte `contentType:"application/octet-stream" doc:"a bundle of 'conclave plugin pack', at most 128 MiB"`
	}
	schemaInput struct {
		RefInput
		Kind string `query:"kind" doc:"guardrail, callback, secret_source, auth, router_filter or provider; default: whichever has the name"`
	}
	processesInput struct {
		Name string `query:"name" doc:"of one guardrail, callback, secret source, auth plugin or router filter, or of the plugin that answers for deployments"`
	}
)

// registerPlugins registers what is done with plugins beside their records.
func (s *Server) registerPlugins() {
	var blobs Blobs = noBlobs{}
	if s.cfg.Blobs != nil {
		blobs = s.cfg.Blobs
	}
	up := bundles.New(bundles.Config{Blobs: blobs, Records: s.rs, State: s.cfg.State, Now: s.cfg.Now})
	op := large(operation("upload-plugin", http.MethodPost, "/plugins/upload", "Upload a bundle of a plugin, which every node then runs"))
	op.MaxBodyBytes = pack.MaxBundle
	registerWith(s, op, func(ctx context.Context, in *uploadInput) (*recordOutput[client.Plugin], error) {
		p, w, err := up.Upload(ctx, callerOf(ctx), in.RawBody)
		return answer(s, pluginView, p, w, err)
	})
	register(s, "get-plugin-schema", http.MethodGet, "/plugins/{id}/schema", "Read the schema of a plugin's configuration, shipped or registered",
		func(_ context.Context, in *schemaInput) (*bodyOutput[client.PluginSchema], error) {
			out, err := s.schemaOf(in)
			return body(s, out, err)
		})
	register(s, "list-plugin-processes", http.MethodGet, "/cluster/plugins", "What runs of plugins on every node, with the last lines that it wrote",
		func(ctx context.Context, in *processesInput) (*listOutput[client.NodePlugins], error) {
			var all []client.NodePlugins
			if s.cfg.Plugins != nil {
				all = s.cfg.Plugins.Processes(ctx)
			}
			for i := range all {
				all[i].Only(in.Name)
			}
			return &listOutput[client.NodePlugins]{Body: client.Page[client.NodePlugins]{Items: all, Total: len(all)}}, nil
		})
}

// schemaOf finds the schema of the plugin with the id or name.
func (s *Server) schemaOf(in *schemaInput) (client.PluginSchema, error) {
	name := in.Ref
	if p, ok := s.rs.Plugins.Find(name); ok {
		name = p.Name
	}
	for _, kind := range manifest.Kinds {
		if in.Kind != "" && in.Kind != kind {
			continue
		}
		if text := schema.Of(s.cfg.State.Catalog().Tables().Plugins, kind, name); len(text) > 0 {
			return client.PluginSchema{Plugin: name, Kind: kind, Schema: json.RawMessage(text)}, nil
		}
	}
	return client.PluginSchema{}, fmt.Errorf("a schema of plugin %q: %w", in.Ref, resource.ErrNotFound)
}

// pluginView shows what the manifest of an uploaded plugin says.
func pluginView(p *resource.Plugin, _ detail) client.Plugin {
	v := client.Plugin{Plugin: *p, Publisher: manifest.Publisher(p.Signature)}
	m := p.Bundle()
	if m == nil {
		return v
	}
	v.Bundle, v.Description = m.Version, m.Description
	for _, b := range m.Binaries {
		v.Platforms = append(v.Platforms, b.Platform())
	}
	return v
}
