// Package models is LiteLLM's paths for models, their groups and credentials. A row of
// LiteLLM's is a deployment here; the rows of one name are a model.
package models

import (
	"net/http"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/resource"
)

// Config says what the paths work on. No field may be zero, but for Try.
type Config struct {
	Records *records.Records
	State   State
	Now     func() time.Time
	Book    func() *pricing.Book // what is known of models
	Try     Trier                // nil: this node asks no providers
}

// State reads the models. *fsm.FSM implements it.
type State interface {
	Catalog() *resource.Catalog
}

type api struct{ cfg Config }

// Routes lists the paths.
func Routes(cfg Config) []wire.Route {
	a := &api{cfg}
	return []wire.Route{
		{ID: "litellm-model-new", Method: http.MethodPost, Pattern: "/model/new", Handler: a.modelNew},
		{ID: "litellm-model-update", Method: http.MethodPost, Pattern: "/model/update", Handler: a.modelUpdate},
		{ID: "litellm-model-patch", Method: http.MethodPatch, Pattern: "/model/{id}/update", Handler: a.modelUpdate},
		{ID: "litellm-model-delete", Method: http.MethodPost, Pattern: "/model/delete", Handler: a.modelDelete},
		{ID: "litellm-model-block", Method: http.MethodPost, Pattern: "/model/block", Handler: a.modelBlock(client.Blocked)},
		{ID: "litellm-model-unblock", Method: http.MethodPost, Pattern: "/model/unblock", Handler: a.modelBlock(client.Unblocked)},
		{ID: "litellm-model-info", Method: http.MethodGet, Pattern: "/model/info", Handler: a.modelInfo},
		{ID: "litellm-v1-model-info", Method: http.MethodGet, Pattern: "/v1/model/info", Handler: a.modelInfo},
		{ID: "litellm-v2-model-info", Method: http.MethodGet, Pattern: "/v2/model/info", Handler: a.modelPages},
		{ID: "litellm-model-group-info", Method: http.MethodGet, Pattern: "/model_group/info", Handler: a.modelGroups},
		{ID: "litellm-model-deprecations", Method: http.MethodGet, Pattern: "/model/deprecations", Handler: a.deprecations},
		{ID: "litellm-v1-model-deprecations", Method: http.MethodGet, Pattern: "/v1/model/deprecations", Handler: a.deprecations},
		{ID: "litellm-test-connection", Method: http.MethodPost, Pattern: "/health/test_connection", Handler: a.testConnection},
		{ID: "litellm-credential-new", Method: http.MethodPost, Pattern: "/credentials", Handler: a.credentialNew},
		{ID: "litellm-credential-list", Method: http.MethodGet, Pattern: "/credentials", Handler: a.credentialList},
		{ID: "litellm-credential-by-name", Method: http.MethodGet, Pattern: "/credentials/by_name/{name}", Handler: a.credentialByName},
		{ID: "litellm-credential-by-model", Method: http.MethodGet, Pattern: "/credentials/by_model/{id}", Handler: a.credentialByModel},
		{ID: "litellm-credential-update", Method: http.MethodPatch, Pattern: "/credentials/{name}", Handler: a.credentialUpdate},
		{ID: "litellm-credential-delete", Method: http.MethodDelete, Pattern: "/credentials/{name}", Handler: a.credentialDelete},
	}
}
