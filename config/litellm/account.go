package litellm

import (
	"maps"
	"slices"
	"strconv"

	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/resource"
)

// AccountParam is what a parameter of LiteLLM's, that says on whose behalf a provider is asked,
// is here.
type AccountParam struct {
	Name   string // of the option or the secret
	Secret bool   // it is sealed and never shown
	Truth  bool   // it is true or false
	Second bool   // another name of LiteLLM's stands for the same, and is the one that is shown
}

// AccountParams are LiteLLM's names of the options and secrets that providers and signatures
// read here. What nothing reads has no row, so that it is refused and not ignored.
var AccountParams = map[string]AccountParam{
	"aws_region_name":       {Name: "region"},
	"region_name":           {Name: "region", Second: true},
	"aws_access_key_id":     {Name: "aws_access_key_id", Secret: true},
	"aws_secret_access_key": {Name: "aws_secret_access_key", Secret: true},
	"aws_session_token":     {Name: "aws_session_token", Secret: true},
	"aws_role_name":         {Name: "aws_role_name"},
	"aws_session_name":      {Name: "aws_session_name"},
	"aws_external_id":       {Name: "aws_external_id"},
	"aws_sts_endpoint":      {Name: "aws_sts_endpoint"},
	"api_version":           {Name: "api_version"},
	"azure_ad_token":        {Name: "azure_ad_token", Secret: true},
	"azure_scope":           {Name: "azure_scope"},
	"client_id":             {Name: "client_id"},
	"client_secret":         {Name: "client_secret", Secret: true},
	"tenant_id":             {Name: "tenant_id"},
	"vertex_project":        {Name: "project"},
	"vertex_ai_project":     {Name: "project", Second: true},
	"vertex_location":       {Name: "location"},
	"vertex_ai_location":    {Name: "location", Second: true},
	"vertex_credentials":    {Name: "vertex_credentials", Secret: true},
	"vertex_ai_credentials": {Name: "vertex_credentials", Secret: true, Second: true},
	"oci_region":            {Name: "region", Second: true},
	"oci_user":              {Name: "oci_user"},
	"oci_fingerprint":       {Name: "oci_fingerprint"},
	"oci_tenancy":           {Name: "oci_tenancy"},
	"oci_key":               {Name: "oci_private_key", Secret: true},
	"oci_compartment_id":    {Name: "oci_compartment_id"},
	"predibase_tenant_id":   {Name: "tenant_id", Second: true},
	"use_in_pass_through":   {Name: "use_in_pass_through", Truth: true},
}

// account takes the options and secrets out of a mapping of LiteLLM's.
func (m *mapping) account() (options map[string]string, secrets map[string]config.Secret) {
	for _, theirs := range slices.Sorted(maps.Keys(AccountParams)) {
		p := AccountParams[theirs]
		if p.Secret {
			if s := m.secret(theirs); s != "" {
				if secrets == nil {
					secrets = map[string]config.Secret{}
				}
				secrets[p.Name] = s
			}
			continue
		}
		v := ""
		switch {
		case !p.Truth:
			v = m.text(theirs)
		case m.values[theirs] != nil:
			v = strconv.FormatBool(m.boolean(theirs))
		}
		if v != "" {
			if options == nil {
				options = map[string]string{}
			}
			options[p.Name] = v
		}
	}
	return options, secrets
}

// dropParams is LiteLLM's drop_params as a policy, "" if it does not stand there.
func (m *mapping) dropParams() resource.ParamsPolicy {
	if m.values["drop_params"] == nil {
		return ""
	}
	if m.boolean("drop_params") {
		return resource.ParamsDrop
	}
	return resource.ParamsReject
}
