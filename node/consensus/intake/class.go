package intake

import "github.com/conclave-llm/conclave/fsm"

// many is how many records in one entry make it an import, and large how many bytes do.
const (
	many  = 64
	large = 128 << 10
)

// kinds are the classes of the commands that are not an administrator's one change.
var kinds = map[fsm.Kind]Class{
	fsm.KindBootstrap:      Urgent,
	fsm.KindPutJoinToken:   Urgent,
	fsm.KindDropJoinToken:  Urgent,
	fsm.KindRegisterMember: Urgent,
	fsm.KindRemoveMember:   Urgent,
	fsm.KindMarkMember:     Urgent,
	fsm.KindSetVersion:     Urgent,
	fsm.KindOpenEpoch:      Urgent,
	fsm.KindCloseEpoch:     Urgent,

	fsm.KindBlockKey:           Urgent,
	fsm.KindBlockTeam:          Urgent,
	fsm.KindBlockOrganization:  Urgent,
	fsm.KindBlockProject:       Urgent,
	fsm.KindBlockUser:          Urgent,
	fsm.KindBlockCustomer:      Urgent,
	fsm.KindDeleteKey:          Urgent,
	fsm.KindDeleteTeam:         Urgent,
	fsm.KindDeleteOrganization: Urgent,
	fsm.KindDeleteProject:      Urgent,
	fsm.KindDeleteUser:         Urgent,
	fsm.KindDeleteTeamMember:   Urgent,
	fsm.KindDeleteCredential:   Urgent,
	fsm.KindDeletePlugin:       Urgent,
	fsm.KindOrderErasure:       Urgent,

	fsm.KindTickGroup:       Node,
	fsm.KindNoteEvents:      Node,
	fsm.KindPruneAudit:      Node,
	fsm.KindMarkAudit:       Node,
	fsm.KindTurnKey:         Node,
	fsm.KindRotateKey:       Node,
	fsm.KindNoteErasure:     Node,
	fsm.KindSweepBlobs:      Node,
	fsm.KindPutResponse:     Node,
	fsm.KindDeleteResponses: Node,

	fsm.KindPutPrices: Import,
}

// ClassOf tells how urgent an entry of so many bytes is. A batch is as urgent as its most
// urgent item, for a team is deleted in one with its keys.
func ClassOf(cmd fsm.Command, size int) Class {
	c := of(fsm.KindOf(cmd))
	b, ok := cmd.(fsm.Batch)
	for i := 0; ok && i < len(b.Items); i++ {
		c = min(c, of(b.Items[i].Kind))
	}
	if c == Admin && (len(b.Items) > many || size > large) {
		return Import
	}
	return c
}

func of(k fsm.Kind) Class {
	if c, ok := kinds[k]; ok {
		return c
	}
	return Admin
}
