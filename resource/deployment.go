package resource

import (
	"encoding/json"
	"net/url"
	"strings"
)

// Deployment is one way to serve a model: a provider, an address, a name there.
type Deployment struct {
	Meta
	Allowance            // of all requests that it serves
	Name         string  `json:"name,omitempty"`     // unique within its model if set
	ModelID      string  `json:"model_id,omitempty"` // of the model it serves
	Provider     string  `json:"provider,omitempty"` // row of the provider table: "openai"; or "plugin/NAME"
	APIBase      string  `json:"api_base,omitempty"` // default: the credential's, else the provider's
	Upstream     string  `json:"model,omitempty"`    // the model's name at the provider; default: the model's
	CredentialID string  `json:"credential_id,omitempty"`
	APIKey       *Sealed `json:"api_key,omitempty"` // instead of a credential
	// Options and Secrets are as those of a credential, and count before them.
	Options   map[string]string  `json:"options,omitempty"`
	Secrets   map[string]*Sealed `json:"secrets,omitempty"`
	Weight    *int64             `json:"weight,omitempty"` // for simple_shuffle; default 1; 0 takes it out
	Order     int64              `json:"order,omitempty"`  // lower ones are tried first
	Price     *Price             `json:"price,omitempty"`  // nil: the price table's, else unknown
	TimeoutMS int64              `json:"timeout_ms,omitempty"`
	Timeouts
	Egress
	Blocked bool `json:"blocked,omitempty"`
	HealthCheck
	// PromptTemplate sends conversations to the provider's completions, as one text; nil: they go
	// where the provider's row says.
	PromptTemplate *PromptTemplate `json:"prompt_template,omitempty"`

	Metadata json.RawMessage `json:"metadata,omitempty"` // LiteLLM's model_info
}

// Label implements Record. Names of deployments are unique only within their model.
func (d *Deployment) Label() string { return "" }

// Canonicalize implements Record.
func (d *Deployment) Canonicalize() { d.canonicalize() }

// Validate implements Record.
func (d *Deployment) Validate() error {
	if d.Name != "" {
		if err := validName("name", d.Name); err != nil {
			return err
		}
	}
	if d.ModelID == "" {
		return invalidf("model_id", "a deployment serves a model")
	}
	if err := validName("provider", d.Provider); err != nil {
		return err
	}
	if err := validBase("api_base", d.APIBase); err != nil {
		return err
	}
	if d.Weight != nil && (*d.Weight < 0 || *d.Weight > 1_000_000) {
		return invalidf("weight", "%d is not between 0 and 1000000", *d.Weight)
	}
	if err := d.Allowance.validate(); err != nil {
		return err
	}
	if err := d.Timeouts.validate(d.TimeoutMS); err != nil {
		return err
	}
	if d.Price != nil {
		if err := d.Price.Validate("price"); err != nil {
			return err
		}
	}
	return d.validateRest()
}

// validateRest checks how the provider is told who asks, and what it is sent.
func (d *Deployment) validateRest() error {
	if err := validOptions(d.Options, d.Secrets); err != nil {
		return err
	}
	if err := d.validPlugin(); err != nil {
		return err
	}
	if err := d.check(d.Secrets); err != nil {
		return err
	}
	if err := d.PromptTemplate.validate("prompt_template"); err != nil {
		return err
	}
	if err := d.HealthCheck.validate(); err != nil {
		return err
	}
	return validMetadata(d.Metadata)
}

// OptionCostPerRequest is the option of a deployment, or of its credential, that says what a request
// in the provider's own words costs of which nobody understands the usage: US dollars, "0.002".
const OptionCostPerRequest = "cost_per_request"

// CostPerRequest is what the options say of it, 0 if they do not.
func CostPerRequest(options map[string]string) Money {
	m, err := ParseMoney(options[OptionCostPerRequest])
	if err != nil {
		return 0 // such a record is not valid
	}
	return m
}

// maxOptions bounds the options, and the secrets, of a credential or a deployment.
const maxOptions = 64

// validOptions checks the names and sizes of options and of secrets, which share one name space.
func validOptions(options map[string]string, secrets map[string]*Sealed) error {
	if len(options) > maxOptions || len(secrets) > maxOptions {
		return invalidf("options", "more than %d are given", maxOptions)
	}
	if text, ok := options[OptionCostPerRequest]; ok {
		if m, err := ParseMoney(text); err != nil || m < 0 {
			return invalidf("options."+OptionCostPerRequest, "%q is no amount of US dollars", text)
		}
	}
	for _, name := range sortedKeys(options) {
		v := options[name]
		if err := validName("options", name); err != nil {
			return err
		}
		if len(v) > 4096 || strings.ContainsAny(v, "\r\n\x00") {
			return invalidf("options."+name, "is longer than 4096 bytes or holds a line end")
		}
		if _, twice := secrets[name]; twice {
			return invalidf("options."+name, "is given as a secret too")
		}
	}
	for _, name := range sortedKeys(secrets) {
		if err := validName("secrets", name); err != nil {
			return err
		}
	}
	return nil
}

// validBase allows an absolute http or https URL without user info, query or fragment.
func validBase(field, base string) error {
	if base == "" {
		return nil
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return invalidf(field, "%q is not a URL such as https://host/v1", base)
	}
	if u.User != nil {
		return invalidf(field, "has a user in it; put the secret into api_key")
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return invalidf(field, "%q has a query or a fragment", base)
	}
	return nil
}
