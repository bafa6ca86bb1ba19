package adminapi

import (
	"context"
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/providers"
)

type (
	providerListInput struct {
		Q string `query:"q" doc:"part of the name"`
	}
	providerInput struct {
		Name string `path:"name" doc:"row of the provider table, or a plugin: openai, plugin/house"`
	}
	discoverInput struct {
		Name string `path:"name" doc:"row of the provider table, or a plugin: openai, plugin/house"`
		Body client.Discover
	}
)

// registerProviders registers what is told of providers, and asked of them.
func (s *Server) registerProviders() {
	register(s, "list-providers", http.MethodGet, "/providers", "List the providers with the endpoints that each serves",
		func(_ context.Context, in *providerListInput) (*bodyOutput[client.Page[client.Provider]], error) {
			rows := providers.List(in.Q)
			return &bodyOutput[client.Page[client.Provider]]{client.Page[client.Provider]{Items: rows, Total: len(rows)}}, nil
		})
	register(s, "get-provider", http.MethodGet, "/providers/{name}", "Read one row of the table of providers",
		func(_ context.Context, in *providerInput) (*bodyOutput[client.Provider], error) {
			row, err := providers.Get(in.Name)
			if err != nil {
				return nil, s.problem(err)
			}
			return &bodyOutput[client.Provider]{row}, nil
		})
	d := &providers.Discovery{Records: s.rs, Catalog: s.cfg.State.Catalog, Models: s.cfg.Models}
	register(s, "discover-models", http.MethodPost, "/providers/{name}/discover", "Ask a provider for its models, and make deployments of them",
		func(ctx context.Context, in *discoverInput) (*writtenOutput[client.Discovered], error) {
			found, w, err := d.Discover(ctx, callerOf(ctx), in.Name, in.Body)
			if err != nil {
				return nil, s.problem(err)
			}
			return &writtenOutput[client.Discovered]{headersOf(w), found}, nil
		})
}
