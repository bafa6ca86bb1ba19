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
	beginSignInInput struct {
		Name string `path:"name" doc:"row of the provider table: github_copilot, chatgpt"`
		Body client.BeginSignIn
	}
	signInInput struct {
		ID string `path:"id" doc:"id of the sign-in"`
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
	s.registerSignIns()
}

// registerSignIns registers the sign-ins of people at providers.
func (s *Server) registerSignIns() {
	d := &providers.Desk{Records: s.rs, SignIns: s.cfg.SignIns}
	shown := func(in client.SignIn, err error) (*bodyOutput[client.SignIn], error) {
		if err != nil {
			return nil, s.problem(err)
		}
		return &bodyOutput[client.SignIn]{in}, nil
	}
	register(s, "begin-sign-in", http.MethodPost, "/providers/{name}/sign-in", "Begin a person's sign-in at a provider, whose token goes into a credential",
		func(ctx context.Context, in *beginSignInInput) (*bodyOutput[client.SignIn], error) {
			return shown(d.Begin(ctx, callerOf(ctx), in.Name, in.Body))
		})
	register(s, "get-sign-in", http.MethodGet, "/sign-ins/{id}", "Read how far a sign-in at a provider is",
		func(ctx context.Context, in *signInInput) (*bodyOutput[client.SignIn], error) {
			return shown(d.Get(ctx, in.ID))
		})
	register(s, "cancel-sign-in", http.MethodDelete, "/sign-ins/{id}", "End a sign-in at a provider that is pending",
		func(ctx context.Context, in *signInInput) (*bodyOutput[client.SignIn], error) {
			return shown(d.Cancel(ctx, in.ID))
		})
}
