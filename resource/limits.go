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
