package resource

// Limits bound requests. A nil field is no limit; 0 refuses everything.
type Limits struct {
	RPM       *int64 `json:"rpm,omitempty"`        // requests a minute
	TPM       *int64 `json:"tpm,omitempty"`        // tokens a minute, prompt and completion
	InputTPM  *int64 `json:"input_tpm,omitempty"`  // prompt tokens a minute
	OutputTPM *int64 `json:"output_tpm,omitempty"` // completion tokens a minute
	Parallel  *int64 `json:"parallel,omitempty"`   // requests in flight
}

// IsZero says that nothing is limited.
func (l *Limits) IsZero() bool { return *l == Limits{} }

// Limited says whether the policy bounds how fast its holder may do something.
func (p *Policy) Limited() bool {
	return len(p.MCPLimits)+len(p.TagLimits) > 0
}

// LimitsOfMCP are the policy's limits of calls of one MCP server, the lower of those under each of its names; false:
// there are none.
func (p *Policy) LimitsOfMCP(s *MCPServer) (l Limits, ok bool) {
	if len(p.MCPLimits) == 0 || s == nil {
		return l, false
	}
	for _, name := range [...]string{s.Name, s.ID, s.Alias} {
		if own, has := p.MCPLimits[name]; has {
			l, ok = l.lower(&own), true
		}
	}
	return l, ok
}

// validateLimitsOf checks limits by what they are of.
func validateLimitsOf(field string, limits map[string]Limits) error {
	for _, name := range sortedKeys(limits) {
		if err := validName(field, name); err != nil {
			return err
		}
		l := limits[name]
		if err := l.validate(field + "." + name); err != nil {
			return err
		}
	}
	return nil
}

func (p *Policy) validatePartLimits() error {
	for _, server := range sortedKeys(p.MCPLimits) {
		if l := p.MCPLimits[server]; l.TPM != nil || l.InputTPM != nil || l.OutputTPM != nil {
			return invalidf("mcp_limits."+server, "a call of an MCP server has no tokens; give rpm or parallel")
		}
	}
	if err := validateLimitsOf("mcp_limits", p.MCPLimits); err != nil {
		return err
	}
	return validateLimitsOf("tag_limits", p.TagLimits)
}

func (l *Limits) validate(field string) error {
	for _, f := range []struct {
		name string
		v    *int64
	}{{"rpm", l.RPM}, {"tpm", l.TPM}, {"input_tpm", l.InputTPM}, {"output_tpm", l.OutputTPM}, {"parallel", l.Parallel}} {
		if f.v != nil && (*f.v < 0 || *f.v > 1e12) {
			return invalidf(field+"."+f.name, "%d is not between 0 and 1e12", *f.v)
		}
	}
	return nil
}
