package fsm

import (
	"fmt"

	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// FoundTeam creates the team of the gateway's own requests, resource.SystemTeamID, the first time that it
// is needed. It changes no team that is there, and one that was deleted stays dead.
type FoundTeam struct {
	Team    Encoded[resource.Team] `json:"team"`
	Windows []OpenWindow           `json:"windows,omitempty"`
}

// Apply implements Command.
func (c FoundTeam) Apply(tx *Tx) error {
	t := c.Team.Record()
	if t.ID != resource.SystemTeamID {
		return &resource.Invalid{Field: "team.id", Reason: fmt.Sprintf("nodes found the team %s alone, not %q", resource.SystemTeamID, t.ID)}
	}
	if _, err := putRecord[resource.Team](tx, store.Teams, c.Team, 0); err != nil {
		return err
	}
	return tx.settleHolder(t, nil, c.Windows)
}
