package client

import (
	"github.com/conclave-llm/conclave/ledger/evidence"
	"github.com/conclave-llm/conclave/resource"
)

// Replay is how a request of the past would be decided now.
type Replay struct {
	evidence.Verdict
	Deployments []string        `json:"deployments"`       // that could answer
	Cost        *resource.Money `json:"cost,omitempty"`    // of the same usage; absent: it cannot be told
	Differences []string        `json:"differences"`       // from what was
	Changed     []string        `json:"changed,omitempty"` // records that were written after the decision
}
