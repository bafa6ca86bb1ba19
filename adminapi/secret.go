package adminapi

import (
	"context"
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// Secrets resolves references to secrets.
type Secrets interface {
	// Test resolves the reference on every node, and tells the values by their fingerprints.
	Test(ctx context.Context, reference string) []client.SecretTested
}

type testSecretInput struct{ Body client.SecretReference }

// registerSecrets registers what is asked of references to secrets.
func (s *Server) registerSecrets() {
	register(s, "test-secret", http.MethodPost, "/secrets/test", "Resolve a reference to a secret on every node, and show the fingerprints", s.testSecret)
}

func (s *Server) testSecret(ctx context.Context, in *testSecretInput) (*bodyOutput[client.SecretTests], error) {
	ref := in.Body.Reference
	if s.cfg.Secrets == nil {
		return nil, s.problem(&llm.Error{Kind: llm.Unavailable, Message: "No secret can be resolved here."})
	}
	if _, named := resource.VariableName(ref); !named && !resource.IsSecretRef(ref) && !secret.IsFile(ref) {
		return nil, s.problem(&resource.Invalid{Field: "reference", Reason: "is none: a reference is such as vault://mount/path#field, secret://SOURCE/path#field, env://NAME or file:///absolute/path"})
	}
	if resource.IsSecretRef(ref) {
		if _, err := resource.ParseSecretRef(ref); err != nil {
			return nil, s.problem(err)
		}
	}
	return &bodyOutput[client.SecretTests]{client.SecretTests{Items: s.cfg.Secrets.Test(ctx, ref)}}, nil
}
