package providers

import (
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/provider"
)

// credentialField is one field of LiteLLM's form for a provider's credential.
type credentialField struct {
	Key       string `json:"key"`
	Label     string `json:"label"`
	Required  bool   `json:"required"`
	FieldType string `json:"field_type"` // text or password
}

// providerFields is LiteLLM's form for a provider.
type providerFields struct {
	Provider    string            `json:"provider"`
	DisplayName string            `json:"provider_display_name"`
	LiteLLM     string            `json:"litellm_provider"`
	Fields      []credentialField `json:"credential_fields"`
}

// Routes are LiteLLM's paths about providers. The one who serves them authorises the caller.
func Routes() []wire.Route {
	return []wire.Route{
		{ID: "litellm-providers", Method: http.MethodGet, Pattern: "/public/providers", Handler: names},
		{ID: "litellm-provider-fields", Method: http.MethodGet, Pattern: "/public/providers/fields", Handler: fields},
	}
}

func names(w http.ResponseWriter, _ *http.Request, _ records.Caller) error {
	return wire.Answer(w, records.Written{}, provider.Names())
}

func fields(w http.ResponseWriter, _ *http.Request, _ records.Caller) error {
	var all []providerFields
	for _, name := range provider.Names() {
		p, _ := provider.Lookup(name)
		all = append(all, providerFields{Provider: name, DisplayName: name, LiteLLM: name, Fields: fieldsOf(p)})
	}
	return wire.Answer(w, records.Written{}, all)
}

// fieldsOf are what a deployment of the provider may be given: its address, its options, its key.
func fieldsOf(p *provider.Provider) []credentialField {
	list := []credentialField{}
	for _, option := range p.Options() {
		list = append(list, credentialField{Key: option, Label: option, Required: true, FieldType: "text"})
	}
	if p.Base != "" {
		list = append(list, credentialField{Key: "api_base", Label: "api_base", FieldType: "text"})
	}
	if len(p.KeyVars) > 0 {
		list = append(list, credentialField{Key: "api_key", Label: "api_key", FieldType: "password"})
	}
	return list
}
