package fsm

import (
	"fmt"
	"reflect"

	"github.com/conclave-llm/conclave/fsm/codec"
)

// The kinds of commands. A number is never reused, and a new kind gets a Version that is
// raised with it.
const (
	KindBootstrap          Kind = 1
	KindPutJoinToken       Kind = 2
	KindRegisterMember     Kind = 3
	KindRemoveMember       Kind = 4
	KindOpenEpoch          Kind = 5
	KindCloseEpoch         Kind = 6
	KindTickGroup          Kind = 7
	KindBatch              Kind = 8
	KindPutKey             Kind = 16
	KindBlockKey           Kind = 17
	KindDeleteKey          Kind = 18
	KindPutTeam            Kind = 19
	KindBlockTeam          Kind = 20
	KindDeleteTeam         Kind = 21
	KindPutModel           Kind = 22
	KindDeleteModel        Kind = 23
	KindPutDeployment      Kind = 24
	KindDeleteDeployment   Kind = 25
	KindPutCredential      Kind = 26
	KindDeleteCredential   Kind = 27
	KindPutBudget          Kind = 28
	KindDeleteBudget       Kind = 29
	KindPutGuardrail       Kind = 30
	KindDeleteGuardrail    Kind = 31
	KindPutCallback        Kind = 32
	KindDeleteCallback     Kind = 33
	KindPutPlugin          Kind = 34
	KindDeletePlugin       Kind = 35
	KindPutSetting         Kind = 36
	KindDeleteSetting      Kind = 37
	KindPutOrganization    Kind = 38
	KindBlockOrganization  Kind = 39
	KindDeleteOrganization Kind = 40
	KindPutProject         Kind = 41
	KindBlockProject       Kind = 42
	KindDeleteProject      Kind = 43
	KindPutUser            Kind = 44
	KindBlockUser          Kind = 45
	KindDeleteUser         Kind = 46
	KindPutCustomer        Kind = 47
	KindBlockCustomer      Kind = 48
	KindDeleteCustomer     Kind = 49
	KindPutTag             Kind = 50
	KindDeleteTag          Kind = 51
	KindPutTeamMember      Kind = 52
	KindDeleteTeamMember   Kind = 53
	KindPutPrices          Kind = 80
	KindNoteEvents         Kind = 90
	KindPruneAudit         Kind = 91
	KindMarkAudit          Kind = 92
	KindTurnKey            Kind = 110
	KindOrderErasure       Kind = 120
	KindNoteErasure        Kind = 121
	KindActAsFile          Kind = 130
	KindTakeOver           Kind = 131
	KindPutBlob            Kind = 140
	KindDeleteBlob         Kind = 141
	KindReferBlob          Kind = 142
	KindSweepBlobs         Kind = 143
	KindPutResponse        Kind = 144
	KindDeleteResponses    Kind = 145
	KindPutArtifact        Kind = 146
	KindDeleteArtifacts    Kind = 147
	KindPutMCPServer       Kind = 150
	KindDeleteMCPServer    Kind = 151
	KindPutPassThrough     Kind = 152
	KindDeletePassThrough  Kind = 153
	KindPutMCPToken        Kind = 154
	KindDeleteMCPToken     Kind = 155
	KindPutPrompt          Kind = 160
	KindDeletePrompt       Kind = 161
	KindMarkMember         Kind = 170
	KindDropJoinToken      Kind = 171
	KindSetVersion         Kind = 172
	KindBeginRotation      Kind = 190
	KindNoteRotation       Kind = 191
	KindAdvanceRotation    Kind = 192
	KindReseal             Kind = 193
	KindPutVariable        Kind = 194
	KindDeleteVariable     Kind = 195
	KindRaiseAlerts        Kind = 210
	KindEndAlerts          Kind = 211
	KindNoteAlerts         Kind = 212
	KindRetryAlerts        Kind = 213
	KindDeleteAlerts       Kind = 214
	KindFoundTeam          Kind = 215
	KindSwitchPlugins      Kind = 225
	KindPutSecretSource    Kind = 235
	KindDeleteSecretSource Kind = 236
	KindBeginRollout       Kind = 255
	KindNoteRollout        Kind = 256
	KindAdvanceRollout     Kind = 257
	KindRevertRollout      Kind = 258
	KindPutAuth            Kind = 280
	KindDeleteAuth         Kind = 281
	KindPutRouterFilter    Kind = 282
	KindDeleteRouterFilter Kind = 283
	KindPutAccessGroup     Kind = 288
	KindDeleteAccessGroup  Kind = 289
	KindRotateKey          Kind = 300
)

// grant says whose credential may carry a command.
type grant uint8

const (
	byAdmin grant = 1 << iota // the master key, the file, a key with the role proxy_admin
	byNode                    // a node of the cluster
)

// row is one command of the table.
type row struct {
	kind   Kind
	name   string
	since  uint32 // Version that brought it
	who    grant
	item   bool // may stand in a Batch
	typ    reflect.Type
	decode func(body []byte) (Command, error)
}

func rowOf[C Command](kind Kind, name string, since uint32, who grant, item bool) row {
	return row{
		kind: kind, name: name, since: since, who: who, item: item,
		typ: reflect.TypeFor[C](),
		decode: func(body []byte) (Command, error) {
			var c C
			err := codec.Strict(body, &c)
			return c, err
		},
	}
}

// Where a command may stand: alone in its entry, or in a Batch too.
const (
	alone = false
	item  = true
)

// table is the table of commands: add a kind above and a row here.
var table = append([]row{
	rowOf[Bootstrap](KindBootstrap, "bootstrap", 1, byNode|byAdmin, alone),
	rowOf[PutJoinToken](KindPutJoinToken, "put_join_token", 1, byNode|byAdmin, alone),
	rowOf[RegisterMember](KindRegisterMember, "register_member", 1, byNode|byAdmin, alone),
	rowOf[RemoveMember](KindRemoveMember, "remove_member", 1, byNode|byAdmin, alone),
	rowOf[OpenEpoch](KindOpenEpoch, "open_epoch", 1, byNode, alone),
	rowOf[CloseEpoch](KindCloseEpoch, "close_epoch", 1, byNode, alone),
	rowOf[TickGroup](KindTickGroup, "tick_group", 1, byNode, alone),
	rowOf[PutKey](KindPutKey, "put_key", 1, byAdmin, item),
	rowOf[BlockKey](KindBlockKey, "block_key", 1, byAdmin, item),
	rowOf[DeleteKey](KindDeleteKey, "delete_key", 1, byAdmin, item),
	rowOf[PutTeam](KindPutTeam, "put_team", 1, byAdmin, item),
	rowOf[BlockTeam](KindBlockTeam, "block_team", 1, byAdmin, item),
	rowOf[DeleteTeam](KindDeleteTeam, "delete_team", 1, byAdmin, item),
	rowOf[PutModel](KindPutModel, "put_model", 1, byAdmin, item),
	rowOf[DeleteModel](KindDeleteModel, "delete_model", 1, byAdmin, item),
	rowOf[PutDeployment](KindPutDeployment, "put_deployment", 1, byAdmin, item),
	rowOf[DeleteDeployment](KindDeleteDeployment, "delete_deployment", 1, byAdmin, item),
	rowOf[PutCredential](KindPutCredential, "put_credential", 1, byAdmin, item),
	rowOf[DeleteCredential](KindDeleteCredential, "delete_credential", 1, byAdmin, item),
	rowOf[PutBudget](KindPutBudget, "put_budget", 1, byAdmin, item),
	rowOf[DeleteBudget](KindDeleteBudget, "delete_budget", 1, byAdmin, item),
	rowOf[PutGuardrail](KindPutGuardrail, "put_guardrail", 1, byAdmin, item),
	rowOf[DeleteGuardrail](KindDeleteGuardrail, "delete_guardrail", 1, byAdmin, item),
	rowOf[PutCallback](KindPutCallback, "put_callback", 1, byAdmin, item),
	rowOf[DeleteCallback](KindDeleteCallback, "delete_callback", 1, byAdmin, item),
	rowOf[PutPlugin](KindPutPlugin, "put_plugin", 1, byAdmin, item),
	rowOf[DeletePlugin](KindDeletePlugin, "delete_plugin", 1, byAdmin, item),
	rowOf[PutSetting](KindPutSetting, "put_setting", 1, byAdmin, item),
	rowOf[DeleteSetting](KindDeleteSetting, "delete_setting", 1, byAdmin, item),
	rowOf[PutOrganization](KindPutOrganization, "put_organization", 1, byAdmin, item),
	rowOf[BlockOrganization](KindBlockOrganization, "block_organization", 1, byAdmin, item),
	rowOf[DeleteOrganization](KindDeleteOrganization, "delete_organization", 1, byAdmin, item),
	rowOf[PutProject](KindPutProject, "put_project", 1, byAdmin, item),
	rowOf[BlockProject](KindBlockProject, "block_project", 1, byAdmin, item),
	rowOf[DeleteProject](KindDeleteProject, "delete_project", 1, byAdmin, item),
	rowOf[PutUser](KindPutUser, "put_user", 1, byAdmin, item),
	rowOf[BlockUser](KindBlockUser, "block_user", 1, byAdmin, item),
	rowOf[DeleteUser](KindDeleteUser, "delete_user", 1, byAdmin, item),
	rowOf[PutCustomer](KindPutCustomer, "put_customer", 1, byAdmin, item),
	rowOf[BlockCustomer](KindBlockCustomer, "block_customer", 1, byAdmin, item),
	rowOf[DeleteCustomer](KindDeleteCustomer, "delete_customer", 1, byAdmin, item),
	rowOf[PutTag](KindPutTag, "put_tag", 1, byAdmin, item),
	rowOf[DeleteTag](KindDeleteTag, "delete_tag", 1, byAdmin, item),
	rowOf[PutTeamMember](KindPutTeamMember, "put_team_member", 1, byAdmin, item),
	rowOf[DeleteTeamMember](KindDeleteTeamMember, "delete_team_member", 1, byAdmin, item),
	rowOf[PutPrices](KindPutPrices, "put_prices", 1, byAdmin|byNode, alone),
	rowOf[NoteEvents](KindNoteEvents, "note_events", 1, byNode, alone),
	rowOf[PruneAudit](KindPruneAudit, "prune_audit", 1, byNode, alone),
	rowOf[MarkAudit](KindMarkAudit, "mark_audit", 1, byNode, alone),
	rowOf[TurnKey](KindTurnKey, "turn_key", 1, byNode, alone),
	rowOf[OrderErasure](KindOrderErasure, "order_erasure", 1, byAdmin, alone),
	rowOf[NoteErasure](KindNoteErasure, "note_erasure", 1, byNode, alone),
	rowOf[ActAsFile](KindActAsFile, "act_as_file", 1, byAdmin, item),
	rowOf[TakeOver](KindTakeOver, "take_over", 1, byAdmin, item),
	rowOf[PutBlob](KindPutBlob, "put_blob", 1, byAdmin|byNode, alone),
	rowOf[DeleteBlob](KindDeleteBlob, "delete_blob", 1, byAdmin|byNode, alone),
	rowOf[ReferBlob](KindReferBlob, "refer_blob", 1, byAdmin|byNode, alone),
	rowOf[SweepBlobs](KindSweepBlobs, "sweep_blobs", 1, byNode, alone),
	rowOf[PutResponse](KindPutResponse, "put_response", 1, byNode, alone),
	rowOf[DeleteResponses](KindDeleteResponses, "delete_responses", 1, byAdmin|byNode, alone),
	rowOf[PutArtifact](KindPutArtifact, "put_artifact", 1, byNode, alone),
	rowOf[DeleteArtifacts](KindDeleteArtifacts, "delete_artifacts", 1, byNode, alone),
	rowOf[PutMCPServer](KindPutMCPServer, "put_mcp_server", 1, byAdmin, item),
	rowOf[DeleteMCPServer](KindDeleteMCPServer, "delete_mcp_server", 1, byAdmin, item),
	rowOf[PutPassThrough](KindPutPassThrough, "put_pass_through_endpoint", 1, byAdmin, item),
	rowOf[DeletePassThrough](KindDeletePassThrough, "delete_pass_through_endpoint", 1, byAdmin, item),
	rowOf[PutPrompt](KindPutPrompt, "put_prompt", 1, byAdmin, item),
	rowOf[DeletePrompt](KindDeletePrompt, "delete_prompt", 1, byAdmin, item),
	rowOf[PutMCPToken](KindPutMCPToken, "put_mcp_token", 1, byNode, alone),
	rowOf[DeleteMCPToken](KindDeleteMCPToken, "delete_mcp_token", 1, byNode, alone),
	rowOf[MarkMember](KindMarkMember, "mark_member", 1, byNode|byAdmin, alone),
	rowOf[DropJoinToken](KindDropJoinToken, "drop_join_token", 1, byNode|byAdmin, alone),
	rowOf[SetVersion](KindSetVersion, "set_version", 1, byAdmin, alone),
	rowOf[BeginRotation](KindBeginRotation, "begin_rotation", 1, byAdmin, alone),
	rowOf[NoteRotation](KindNoteRotation, "note_rotation", 1, byNode, alone),
	rowOf[AdvanceRotation](KindAdvanceRotation, "advance_rotation", 1, byNode, alone),
	rowOf[Reseal](KindReseal, "reseal", 1, byNode, alone),
	rowOf[PutVariable](KindPutVariable, "put_variable", 1, byAdmin, item),
	rowOf[DeleteVariable](KindDeleteVariable, "delete_variable", 1, byAdmin, item),
	rowOf[RaiseAlerts](KindRaiseAlerts, "raise_alerts", 1, byNode, alone),
	rowOf[EndAlerts](KindEndAlerts, "end_alerts", 1, byNode, alone),
	rowOf[NoteAlerts](KindNoteAlerts, "note_alerts", 1, byNode, alone),
	rowOf[RetryAlerts](KindRetryAlerts, "retry_alerts", 1, byAdmin, alone),
	rowOf[DeleteAlerts](KindDeleteAlerts, "delete_alerts", 1, byNode, alone),
	rowOf[FoundTeam](KindFoundTeam, "found_team", 1, byNode, alone),
	rowOf[SwitchPlugins](KindSwitchPlugins, "switch_plugins", 1, byNode, alone),
	rowOf[PutSecretSource](KindPutSecretSource, "put_secret_source", 1, byAdmin, item),
	rowOf[DeleteSecretSource](KindDeleteSecretSource, "delete_secret_source", 1, byAdmin, item),
	rowOf[BeginRollout](KindBeginRollout, "begin_rollout", 1, byAdmin, alone),
	rowOf[NoteRollout](KindNoteRollout, "note_rollout", 1, byNode, alone),
	rowOf[AdvanceRollout](KindAdvanceRollout, "advance_rollout", 1, byNode, alone),
	rowOf[RevertRollout](KindRevertRollout, "revert_rollout", 1, byAdmin, alone),
	rowOf[PutAuth](KindPutAuth, "put_auth", 1, byAdmin, item),
	rowOf[DeleteAuth](KindDeleteAuth, "delete_auth", 1, byAdmin, item),
	rowOf[PutRouterFilter](KindPutRouterFilter, "put_router_filter", 1, byAdmin, item),
	rowOf[DeleteRouterFilter](KindDeleteRouterFilter, "delete_router_filter", 1, byAdmin, item),
	rowOf[PutAccessGroup](KindPutAccessGroup, "put_access_group", 1, byAdmin, item),
	rowOf[DeleteAccessGroup](KindDeleteAccessGroup, "delete_access_group", 1, byAdmin, item),
	rowOf[RotateKey](KindRotateKey, "rotate_key", 1, byNode, alone),
}, comingRows...)

// batchRow is apart because its decoder reads the table.
var batchRow = row{kind: KindBatch, name: "batch", since: 1, who: byAdmin, item: alone, typ: reflect.TypeFor[Batch](), decode: decodeBatch}

func decodeBatch(body []byte) (Command, error) {
	var c Batch
	if err := codec.Strict(body, &c); err != nil {
		return nil, err
	}
	c.decoded = make([]Command, len(c.Items))
	for i, it := range c.Items {
		row, ok := lookupItem(it.Kind)
		if !ok {
			return nil, fmt.Errorf("item %d: %w", i, &UnknownKind{Kind: it.Kind})
		}
		var err error
		if c.decoded[i], err = row.decode(it.Body); err != nil {
			return nil, fmt.Errorf("item %d: %s: %w", i, it.Kind, err)
		}
	}
	return c, nil
}

// byKind and byType find the table's rows; ten thousand items stand in one Batch.
var byKind, byType = func() (map[Kind]*row, map[reflect.Type]Kind) {
	kinds, types := make(map[Kind]*row, len(table)), make(map[reflect.Type]Kind, len(table))
	for i := range table {
		kinds[table[i].kind], types[table[i].typ] = &table[i], table[i].kind
	}
	return kinds, types
}()

func lookup(kind Kind) (*row, bool) {
	if kind == KindBatch {
		return &batchRow, true
	}
	r, ok := byKind[kind]
	return r, ok
}

// lookupItem finds a row that may stand in a Batch.
func lookupItem(kind Kind) (*row, bool) {
	r, ok := byKind[kind]
	return r, ok && r.item
}

// KindOf returns the kind of a command, 0 if the table has none for its type.
func KindOf(cmd Command) Kind {
	t := reflect.TypeOf(cmd)
	if t == batchRow.typ {
		return KindBatch
	}
	return byType[t]
}

// String gives the name of the kind in audit entries and dumps: "put_key".
func (k Kind) String() string {
	if row, ok := lookup(k); ok {
		return row.name
	}
	return fmt.Sprintf("kind_%d", uint16(k))
}

// ItemOf makes an item of a Batch. It returns an error for a command that may not stand in
// one.
func ItemOf(cmd Command) (Item, error) {
	kind := KindOf(cmd)
	if _, ok := lookupItem(kind); !ok {
		return Item{}, fmt.Errorf("make item of %s: %w", kind, ErrEntry)
	}
	body, err := codec.Marshal(cmd)
	if err != nil {
		return Item{}, fmt.Errorf("make item of %s: %w", kind, err)
	}
	return Item{Kind: kind, Body: body}, nil
}
