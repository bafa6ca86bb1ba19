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
		{ID: "litellm-model-settings", Method: http.MethodGet, Pattern: "/model/settings", Handler: settings},
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

// settingField is one field of LiteLLM's form for a deployment.
type settingField struct {
	Name  string `json:"field_name"`
	Type  string `json:"field_type"` // string
	Help  string `json:"field_description"`
	Value string `json:"field_value"` // the default
}

// modelSettings is LiteLLM's form for a deployment of a provider.
type modelSettings struct {
	Name   string         `json:"name"`
	Fields []settingField `json:"fields"`
}

// settings tells what deployments of each provider may be given.
func settings(w http.ResponseWriter, _ *http.Request, _ records.Caller) error {
	var all []modelSettings
	for _, name := range provider.Names() {
		p, _ := provider.Lookup(name)
		form := modelSettings{Name: name, Fields: []settingField{}}
		for _, f := range fieldsOf(p) {
			field := settingField{Name: f.Key, Type: "string", Help: "optional"}
			if f.Required {
				field.Help = "required"
			}
			if f.Key == "api_base" {
				field.Value = p.Base
			}
			form.Fields = append(form.Fields, field)
		}
		all = append(all, form)
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
