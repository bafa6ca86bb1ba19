package resource

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Allowance is how much one holder may spend and how fast: what budgets and limits are
// reserved from. Each level of a request's chain has its own (Level).
type Allowance struct {
	BudgetID    string            `json:"budget_id,omitempty"` // shared terms
	Budgets     []Terms           `json:"budgets,omitempty"`
	Limits      Limits            `json:"limits,omitzero"`
	ModelLimits map[string]Limits `json:"model_limits,omitempty"` // by model name, beside Limits
}

// IsZero says that nothing is budgeted or limited.
func (a *Allowance) IsZero() bool {
	return a.BudgetID == "" && len(a.Budgets) == 0 && a.Limits.IsZero() && len(a.ModelLimits) == 0
}

func (a *Allowance) canonicalize() {
	for i := range a.Budgets {
		a.Budgets[i].canonicalize()
	}
}

func (a *Allowance) validate() error {
	if err := validateTerms("budgets", a.Budgets); err != nil {
		return err
	}
	if err := a.Limits.validate("limits"); err != nil {
		return err
	}
	return validateLimitsOf("model_limits", a.ModelLimits)
}

// Policy is what an organization, a team, a project, a user, a key, a customer, a tag or a
// team member may do. A request passes every level's policy; an empty field allows all.
type Policy struct {
	Allowance
	MCPLimits         map[string]Limits   `json:"mcp_limits,omitempty"`                // of calls of one MCP server, by what it is called, beside Limits; they have no tokens
	TagLimits         map[string]Limits   `json:"tag_limits,omitempty"`                // of requests that carry one tag, beside Limits
	Models            []string            `json:"models,omitempty"`                    // names, "prefix*" or the models' own groups; none: AnyModel
	AccessGroupIDs    []string            `json:"access_group_ids,omitempty"`          // give models and MCP servers beside Models and Objects
	Aliases           map[string]string   `json:"aliases,omitempty"`                   // asked name → model
	Routes            []string            `json:"routes,omitempty"`                    // paths or "/prefix/*"
	BudgetFallbacks   map[string][]string `json:"budget_fallbacks,omitempty"`          // model → models; the first that has room takes the place of one for which this holder's own budget is spent
	OutputHold        *int64              `json:"default_output_hold,omitempty"`       // tokens held of a request without a maximum, where ModelOutputHolds has not the model; the largest of the chain counts, else the setting
	ModelOutputHolds  map[string]int64    `json:"model_output_holds,omitempty"`        // by model
	PassThrough       []string            `json:"passthrough_routes,omitempty"`        // of those whose requests go on in a provider's own words, as Routes
	DeniedPassThrough []string            `json:"denied_passthrough_routes,omitempty"` // win over PassThrough
	AllowedIPs        []string            `json:"allowed_ips,omitempty"`
	DeniedIPs         []string            `json:"denied_ips,omitempty"`      // win over AllowedIPs
	EnforcedParams    []string            `json:"enforced_params,omitempty"` // "user", "metadata.cost_center"
	Guardrails        []string            `json:"guardrails,omitempty"`
	NoGuardrails      bool                `json:"disable_global_guardrails,omitempty"` // in a request's own chain: of the guardrails of every request only the mandatory ones
	Callbacks         []string            `json:"callbacks,omitempty"`
	Tags              []string            `json:"tags,omitempty"` // of every request, beside its own
	Sessions          *SessionLimits      `json:"sessions,omitempty"`
	LogContent        *bool               `json:"log_content,omitempty"`      // false anywhere in the chain: no prompt or answer is kept anywhere; true: it is, whatever the setting says
	LogContentDays    *int64              `json:"log_content_days,omitempty"` // for how many days; the least of the chain counts
	MaxRequestMB      *int64              `json:"max_request_mb,omitempty"`   // MiB of a request's body
	MaxResponseMB     *int64              `json:"max_response_mb,omitempty"`  // MiB of an answer
	Objects           *Objects            `json:"objects,omitempty"`          // MCP servers and tools, vector stores, agents, …
	Metadata          json.RawMessage     `json:"metadata,omitempty"`         // free JSON object
	ExpiresAt         Time                `json:"expires_at,omitempty"`       // requests pass the level until then; 0: for ever
}

// ExpiredAt says whether requests do not pass the level any more.
func (p *Policy) ExpiredAt(at Time) bool { return p.ExpiresAt != 0 && at >= p.ExpiresAt }

// AnyModel says that the policy bounds no models: its list is empty and it has no access groups, whose models
// would be all that it has, or the list says so in one of LiteLLM's words.
func (p *Policy) AnyModel() bool {
	return len(p.Models)+len(p.AccessGroupIDs) == 0 || slices.Contains(p.Models, TeamModels) || slices.Contains(p.Models, ProxyModels)
}

// lists says whether the policy's list names a model or one of the model's groups.
func (p *Policy) lists(model string, groups ...string) bool {
	return len(p.Models) > 0 && AllowsModel(p.Models, model, groups...)
}

// PassesThrough says whether the policy lets requests for a path go on in a provider's own words: what is denied wins
// over what is allowed.
func (p *Policy) PassesThrough(path string) bool {
	denied := len(p.DeniedPassThrough) > 0 && AllowsRoute(p.DeniedPassThrough, path)
	return !denied && AllowsRoute(p.PassThrough, path)
}

// Renames says whether the policy may send requests for a name to what its own alias makes of that: it names the
// alias among its models, and so has said itself what that stands for.
func (p *Policy) Renames(asked string) bool { return p.Aliases[asked] != "" && p.lists(asked) }

// Private says that nothing may be kept or told of what is said in requests under the policy: log_content is
// false, it has no callbacks, or its metadata have turn_off_message_logging, as LiteLLM has it.
func (p *Policy) Private() bool {
	return p.LogContent != nil && !*p.LogContent || slices.Contains(p.Callbacks, NoCallbacks) || p.Unlogged()
}

// Unlogged says that the policy's metadata have turn_off_message_logging.
func (p *Policy) Unlogged() bool {
	m := p.logMetadata("turn_off_message_logging")
	return m != nil && m.Private
}

// WithoutCallbacks are the callbacks and plugins that requests under the policy do without where they may, as
// LiteLLM has it in metadata: litellm_disabled_callbacks.
func (p *Policy) WithoutCallbacks() []string {
	if m := p.logMetadata("litellm_disabled_callbacks"); m != nil {
		return m.Without
	}
	return nil
}

// logMetadata are what LiteLLM has in metadata about logs.
type logMetadata struct {
	Private bool     `json:"turn_off_message_logging"`
	Without []string `json:"litellm_disabled_callbacks"`
}

// logMetadata reads them if the member is there, which it mostly is not; nil if it is not.
func (p *Policy) logMetadata(member string) *logMetadata {
	if !bytes.Contains(p.Metadata, []byte(member)) {
		return nil
	}
	var all map[string]json.RawMessage
	if json.Unmarshal(p.Metadata, &all) != nil {
		return nil
	}
	m := &logMetadata{}
	_ = json.Unmarshal(all["turn_off_message_logging"], &m.Private) // of another type it says nothing
	_ = json.Unmarshal(all["litellm_disabled_callbacks"], &m.Without)
	return m
}

// SessionLimits bound one agent session: requests that carry the same session id.
type SessionLimits struct {
	Budget         Money  `json:"budget,omitempty"`     // of one session; 0: none
	Iterations     int64  `json:"iterations,omitempty"` // requests of one session; 0: any number
	RPM            *int64 `json:"rpm,omitempty"`
	TPM            *int64 `json:"tpm,omitempty"`
	RequireTraceID bool   `json:"require_trace_id,omitempty"` // refuse requests without a session
}

func (p *Policy) validate() error {
	if err := p.Allowance.validate(); err != nil {
		return err
	}
	if err := p.validatePartLimits(); err != nil {
		return err
	}
	if err := p.validateAccess(); err != nil {
		return err
	}
	for _, f := range []struct {
		field string
		names []string
	}{{"guardrails", p.Guardrails}, {"callbacks", p.Callbacks}, {"tags", p.Tags}} {
		if err := validNames(f.field, f.names); err != nil {
			return err
		}
	}
	if d := p.LogContentDays; d != nil && (*d < 1 || *d > maxContentDays) {
		return invalidf("log_content_days", "%d is not between 1 and %d", *d, maxContentDays)
	}
	for _, f := range []struct {
		field string
		v     *int64
	}{{"max_request_mb", p.MaxRequestMB}, {"max_response_mb", p.MaxResponseMB}} {
		if f.v != nil && (*f.v < 1 || *f.v > 1<<20) {
			return invalidf(f.field, "%d is not between 1 and %d", *f.v, 1<<20)
		}
	}
	if err := p.Objects.validate("objects"); err != nil {
		return err
	}
	if err := p.Sessions.validate("sessions"); err != nil {
		return err
	}
	return validMetadata(p.Metadata)
}

// validateAccess checks what decides who may ask what.
func (p *Policy) validateAccess() error {
	if err := validNames("models", p.Models); err != nil {
		return err
	}
	if err := p.validateGroups(); err != nil {
		return err
	}
	for _, from := range sortedKeys(p.Aliases) {
		if err := validNames("aliases", []string{from, p.Aliases[from]}); err != nil {
			return err
		}
	}
	for _, l := range []struct {
		field string
		paths []string
	}{{"routes", p.Routes}, {"passthrough_routes", p.PassThrough}, {"denied_passthrough_routes", p.DeniedPassThrough}} {
		for i, r := range l.paths {
			if !strings.HasPrefix(r, "/") {
				return invalidf(fmt.Sprintf("%s[%d]", l.field, i), "%q does not start with /", r)
			}
		}
	}
	if err := p.validateBudgetFallbacks(); err != nil {
		return err
	}
	if err := p.validateOutputHolds(); err != nil {
		return err
	}
	if err := validAddresses("allowed_ips", p.AllowedIPs); err != nil {
		return err
	}
	if err := validAddresses("denied_ips", p.DeniedIPs); err != nil {
		return err
	}
	return validParams("enforced_params", p.EnforcedParams)
}

func (s *SessionLimits) validate(field string) error {
	if s == nil {
		return nil
	}
	if s.Budget < 0 || s.Budget > MaxMoney {
		return invalidf(field+".budget", "%s is not between 0 and %s", s.Budget, MaxMoney)
	}
	if s.Iterations < 0 {
		return invalidf(field+".iterations", "%d is negative", s.Iterations)
	}
	l := Limits{RPM: s.RPM, TPM: s.TPM}
	return l.validate(field)
}

// ParseAddresses reads an address or a range in CIDR form, IPv4 or IPv6.
func ParseAddresses(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("range %q is not in CIDR form such as 10.0.0.0/8", s)
		}
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("address %q is neither IPv4 nor IPv6", s)
	}
	a = a.Unmap().WithZone("")
	return netip.PrefixFrom(a, a.BitLen()), nil
}

func validAddresses(field string, list []string) error {
	for i, s := range list {
		if _, err := ParseAddresses(s); err != nil {
			return invalidf(fmt.Sprintf("%s[%d]", field, i), "%s", err)
		}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
