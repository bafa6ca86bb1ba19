package client

import "github.com/conclave-llm/conclave/resource"

// Replay is how a request of the past would be decided now.
type Replay struct {
	Decision    string          `json:"decision"` // "served" or "refused"
	Code        string          `json:"code,omitempty"`
	Reason      string          `json:"reason,omitempty"`
	Level       *EffectiveLevel `json:"level,omitempty"` // that refuses it
	Deployments []string        `json:"deployments"`     // that could answer
	Cost        *resource.Money `json:"cost,omitempty"`  // of the same usage; absent: it cannot be told
	Differences []string        `json:"differences"`     // from what was
	NotJudged   []string        `json:"not_judged"`
}

// Refuse notes the first thing that refuses the request.
func (r *Replay) Refuse(code, reason string, level EffectiveLevel) {
	if r.Decision == "refused" {
		return
	}
	r.Decision, r.Code, r.Reason, r.Level = "refused", code, reason, &level
}
