package adminapi_test

import (
	"context"
	"errors"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/resource"
)

func TestProviders_List(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	c := h.Client(adminapitest.MasterKey)
	page, err := c.Providers(t.Context(), "")
	if err != nil || page.Total != len(provider.Names())+1 || len(page.Items) != page.Total {
		t.Fatalf("got %d of %d, %v", len(page.Items), page.Total, err)
	}
	if row := page.Items[page.Total-1]; row.Name != "plugin/NAME" || len(row.Endpoints) != 2 { // stands for all of them
		t.Errorf("plugins: got %+v", row)
	}
	if row, err := c.Provider(t.Context(), "bedrock"); err != nil || len(row.Options) != 1 || row.Options[0] != "region" || row.Auth != "aws_sigv4" {
		t.Errorf("got %+v, %v", row, err)
	}
	if _, err := c.Provider(t.Context(), "nobody"); err == nil {
		t.Error("got a provider that is not there")
	}
	if a := h.Call(adminapitest.MasterKey, "GET", "/public/providers/fields", ""); a.Status != 200 {
		t.Errorf("got %+v", a)
	}
}

func TestDiscover(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	c, ctx := h.Client(adminapitest.MasterKey), t.Context()
	var asked *resource.Credential
	h.Models = func(_ context.Context, name, base string, cred *resource.Credential) ([]string, error) {
		asked = cred
		switch {
		case name == "bedrock":
			return nil, provider.ErrNoList
		case base == "http://down":
			return nil, errors.New("down")
		}
		return []string{"gpt-b", "gpt-a", "o3", "gpt-a"}, nil
	}
	if _, err := c.Credentials().Create(ctx, map[string]any{"name": "mine", "provider": "openai", "api_base": "http://h/v1", "api_key": "sk-x"}); err != nil {
		t.Fatal(err)
	}
	dry, err := c.Discover(ctx, "openai", client.Discover{Credential: "mine", Match: "gpt-*"})
	if err != nil || len(dry.Models) != 2 || dry.Made != 0 || dry.Models[0] != (client.DiscoveredModel{Model: "gpt-a", Name: "openai/gpt-a", Action: client.DiscoverCreate}) {
		t.Fatalf("got %+v, %v", dry, err)
	}
	if asked == nil || asked.Name != "mine" {
		t.Errorf("asked with %+v", asked)
	}
	if page, _ := c.Models().List(ctx, client.Query{}); page.Total != 0 {
		t.Errorf("a dry run made %d models", page.Total)
	}
	done, err := c.Discover(ctx, "openai", client.Discover{Credential: "mine", Apply: true})
	if err != nil || done.Made != 3 {
		t.Fatalf("got %+v, %v", done, err)
	}
	m, err := c.Models().One(ctx, "openai/gpt-a")
	if err != nil || len(m.Deployments) != 1 || m.Deployments[0].Upstream != "gpt-a" || m.Deployments[0].CredentialID != asked.ID {
		t.Errorf("made %+v, %v", m, err)
	}
	if again, err := c.Discover(ctx, "openai", client.Discover{Credential: "mine", Apply: true}); err != nil || again.Made != 0 || again.Models[0].Action != client.DiscoverKeep {
		t.Errorf("again: got %+v, %v", again, err)
	}
	prefix := "openai/"
	more, err := c.Discover(ctx, "groq", client.Discover{APIBase: "http://local", Prefix: &prefix, Match: "o3", Apply: true})
	if err != nil || more.Made != 1 || more.Models[0].Action != client.DiscoverDeploy {
		t.Errorf("a second provider: got %+v, %v", more, err)
	}
	for name, q := range map[string]client.Discover{
		"no credential":    {Credential: "nobody"},
		"another address":  {Credential: "mine", APIBase: "http://evil/v1"},
		"a broken pattern": {Match: "["},
		"down":             {APIBase: "http://down"},
	} {
		if got, err := c.Discover(ctx, "openai", q); err == nil {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	for _, name := range []string{"bedrock", "nobody", "groq"} { // groq: the credential is openai's
		if got, err := c.Discover(ctx, name, client.Discover{Credential: "mine"}); err == nil {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}
