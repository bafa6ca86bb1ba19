package evidence

// The decisions.
const (
	Served  = "served"
	Refused = "refused"
)

// Verdict is how a request is decided.
type Verdict struct {
	Decision string `json:"decision"`
	Step     string `json:"step,omitempty"`
	Code     string `json:"code,omitempty"`
	Scope    string `json:"scope,omitempty"`
	Entity   string `json:"entity,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Model    string `json:"model,omitempty"` // that is asked for, by its own name; "": it was not found
	// Judged says that the state decided; else the receipt was believed, for nothing else can tell.
	Judged bool `json:"judged"`
}

// Same says whether two verdicts are alike, whatever words they use.
func (v *Verdict) Same(o *Verdict) bool {
	return v.Decision == o.Decision && v.Step == o.Step && v.Code == o.Code && v.Scope == o.Scope && v.Entity == o.Entity
}

// Recorded is the verdict that the receipt tells of.
func Recorded(r *Request) Verdict {
	if r.Receipt.Step == "" {
		return Verdict{Decision: Served}
	}
	return Verdict{
		Decision: Refused, Step: r.Receipt.Step, Code: r.ErrorCode, Scope: r.Receipt.Scope, Entity: r.Receipt.Entity, Reason: r.Receipt.Rule,
	}
}
