package fsm

import (
	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/entry"
	"github.com/conclave-llm/conclave/resource"
)

// Kind numbers a command in the log. Numbers are never reused.
type Kind uint16

// Actor is whose credential a command acts under. Apply refuses the command if the key is
// blocked, expired, deleted or changed since Version.
type Actor = entry.Actor

// Envelope is what goes around a command in the log entry.
type Envelope = entry.Envelope

// Encoded is a record together with the bytes that its proposer encoded it as.
type Encoded[T any] = codec.Encoded[T]

// EncodedOf encodes a record.
func EncodedOf[T any](r T) (Encoded[T], error) { return codec.Encode(r) }

// Command is a change of the replicated state: data plus a pure function.
type Command interface {
	// Apply changes tx or refuses. It reads its receiver and tx, nothing else.
	Apply(tx *Tx) error
}

// Result is what a command came to. A refusal is an error beside it.
type Result struct {
	Index      uint64 `json:"index"`             // of the entry in the log; the record's new version
	Generation uint64 `json:"generation"`        // counts user restores; prefixes x-conclave-index
	Version    uint64 `json:"version,omitempty"` // the version of the record written, if one was
}

// Commands on records. Each Put creates (Read 0) or replaces the version its proposer read;
// the record's stored bytes are those that the proposer encoded.
type (
	// PutKey creates or replaces a key. Windows are the current windows of its budgets,
	// inline and shared, which it opens or, with another limit, adjusts.
	PutKey struct {
		Key     Encoded[resource.Key] `json:"key"`
		Read    uint64                `json:"read,omitempty"`
		Windows []OpenWindow          `json:"windows,omitempty"`
	}
	// BlockKey blocks or unblocks a key; it needs no version and always wins.
	BlockKey struct {
		ID      string `json:"id"`
		Blocked bool   `json:"blocked,omitempty"`
	}
	// DeleteKey deletes a key for ever; it needs no version and always wins.
	DeleteKey struct {
		ID string `json:"id"`
	}
	// PutTeam creates or replaces a team.
	PutTeam struct {
		Team    Encoded[resource.Team] `json:"team"`
		Read    uint64                 `json:"read,omitempty"`
		Windows []OpenWindow           `json:"windows,omitempty"`
	}
	// BlockTeam blocks or unblocks a team and with it all its keys.
	BlockTeam struct {
		ID      string `json:"id"`
		Blocked bool   `json:"blocked,omitempty"`
	}
	// DeleteTeam deletes a team with its members; refused with resource.ErrInUse while keys or
	// projects belong to it.
	DeleteTeam struct {
		ID string `json:"id"`
	}
	// PutModel creates or replaces a model.
	PutModel struct {
		Model   Encoded[resource.Model] `json:"model"`
		Read    uint64                  `json:"read,omitempty"`
		Windows []OpenWindow            `json:"windows,omitempty"`
	}
	// DeleteModel deletes a model and its deployments.
	DeleteModel struct {
		ID string `json:"id"`
	}
	// PutDeployment creates or replaces a deployment of an existing model.
	PutDeployment struct {
		Deployment Encoded[resource.Deployment] `json:"deployment"`
		Read       uint64                       `json:"read,omitempty"`
		Windows    []OpenWindow                 `json:"windows,omitempty"`
	}
	// DeleteDeployment deletes a deployment.
	DeleteDeployment struct {
		ID string `json:"id"`
	}
	// PutCredential creates or replaces a credential.
	PutCredential struct {
		Credential Encoded[resource.Credential] `json:"credential"`
		Read       uint64                       `json:"read,omitempty"`
	}
	// DeleteCredential deletes a credential that no deployment uses.
	DeleteCredential struct {
		ID string `json:"id"`
	}
	// PutBudget creates or replaces a shared budget. Another name is refused with resource.ErrInUse while a record, or a
	// setting, names the budget by the one it has.
	PutBudget struct {
		Budget Encoded[resource.Budget] `json:"budget"`
		Read   uint64                   `json:"read,omitempty"`
	}
	// DeleteBudget deletes a shared budget. It is refused with resource.ErrInUse while a record, or a setting, names it.
	DeleteBudget struct {
		ID string `json:"id"`
	}
	// PutGuardrail creates or replaces a guardrail.
	PutGuardrail struct {
		Guardrail Encoded[resource.Guardrail] `json:"guardrail"`
		Read      uint64                      `json:"read,omitempty"`
	}
	// DeleteGuardrail deletes a guardrail.
	DeleteGuardrail struct {
		ID string `json:"id"`
	}
	// PutCallback creates or replaces a callback.
	PutCallback struct {
		Callback Encoded[resource.Callback] `json:"callback"`
		Read     uint64                     `json:"read,omitempty"`
	}
	// DeleteCallback deletes a callback.
	DeleteCallback struct {
		ID string `json:"id"`
	}
	// PutSecretSource creates or replaces a secret source.
	PutSecretSource struct {
		Source Encoded[resource.SecretSource] `json:"source"`
		Read   uint64                         `json:"read,omitempty"`
	}
	// DeleteSecretSource deletes a secret source; what refers to it cannot be resolved from then on.
	DeleteSecretSource struct {
		ID string `json:"id"`
	}
	// PutAuth creates or replaces an auth plugin.
	PutAuth struct {
		Record Encoded[resource.Auth] `json:"record"`
		Read   uint64                 `json:"read,omitempty"`
	}
	// DeleteAuth deletes an auth plugin.
	DeleteAuth struct {
		ID string `json:"id"`
	}
	// PutRouterFilter creates or replaces a router filter.
	PutRouterFilter struct {
		Record Encoded[resource.RouterFilter] `json:"record"`
		Read   uint64                         `json:"read,omitempty"`
	}
	// DeleteRouterFilter deletes a router filter.
	DeleteRouterFilter struct {
		ID string `json:"id"`
	}
	// PutAccessGroup creates or replaces an access group.
	PutAccessGroup struct {
		Record  Encoded[resource.AccessGroup] `json:"record"`
		Read    uint64                        `json:"read,omitempty"`
		Windows []OpenWindow                  `json:"windows,omitempty"`
	}
	// DeleteAccessGroup deletes an access group. It is refused with resource.ErrInUse while a record has it.
	DeleteAccessGroup struct {
		ID string `json:"id"`
	}
	// PutMCPServer creates or replaces an MCP server.
	PutMCPServer struct {
		Server Encoded[resource.MCPServer] `json:"server"`
		Read   uint64                      `json:"read,omitempty"`
	}
	// DeleteMCPServer deletes an MCP server.
	DeleteMCPServer struct {
		ID string `json:"id"`
	}
	// PutPassThrough creates or replaces a pass-through endpoint.
	PutPassThrough struct {
		Endpoint Encoded[resource.PassThroughEndpoint] `json:"endpoint"`
		Read     uint64                                `json:"read,omitempty"`
	}
	// DeletePassThrough deletes a pass-through endpoint.
	DeletePassThrough struct {
		ID string `json:"id"`
	}
	// PutPrompt creates a stored prompt or replaces it.
	PutPrompt struct {
		Prompt Encoded[resource.Prompt] `json:"prompt"`
		Read   uint64                   `json:"read,omitempty"`
	}
	// DeletePrompt deletes a stored prompt.
	DeletePrompt struct {
		ID string `json:"id"`
	}
	// PutPlugin registers a plugin binary or replaces its registration.
	PutPlugin struct {
		Plugin Encoded[resource.Plugin] `json:"plugin"`
		Read   uint64                   `json:"read,omitempty"`
	}
	// DeletePlugin deletes a plugin that no guardrail or callback names.
	DeletePlugin struct {
		ID string `json:"id"`
	}
	// PutSetting sets a value of the cluster; its id is the setting's name.
	PutSetting struct {
		Setting Encoded[resource.Setting] `json:"setting"`
		Read    uint64                    `json:"read,omitempty"`
	}
	// DeleteSetting gives a setting its default back.
	DeleteSetting struct {
		ID string `json:"id"`
	}
	// PutVariable sets a variable of the cluster's environment; its id is the name.
	PutVariable struct {
		Variable Encoded[resource.Variable] `json:"variable"`
		Read     uint64                     `json:"read,omitempty"`
	}
	// DeleteVariable deletes a variable.
	DeleteVariable struct {
		ID string `json:"id"`
	}
	// Batch applies its items in order, all or none: one file applied is one entry.
	Batch struct {
		Items []Item `json:"items"`

		decoded []Command // of Items, if it came out of the log
	}
)

// Commands on the cluster itself.
type (
	// Bootstrap is the first entry: identity and secrets of the cluster. It is refused
	// once there is a cluster id.
	Bootstrap struct {
		ClusterID  string        `json:"cluster_id"`
		MasterHash resource.Hash `json:"master_hash,omitempty"` // of the master key; zero: none
		CACert     []byte        `json:"ca_cert"`               // DER
		CAKey      []byte        `json:"ca_key"`                // sealed under the KEK
		GossipKey  []byte        `json:"gossip_key"`            // sealed under the KEK
		DEKID      string        `json:"dek_id"`
		DEK        []byte        `json:"dek"` // data key wrapped by the KEK
		KEKID      string        `json:"kek_id"`
		Version    uint32        `json:"version,omitempty"` // of the state machine, from the start; 0: 1
	}
	// PutJoinToken stores the hash of a join token until it is used or expires.
	PutJoinToken struct {
		Hash     resource.Hash `json:"hash"` // of the token's secret part
		Expires  resource.Time `json:"expires"`
		Listed   bool          `json:"listed,omitempty"`   // note when and by whom it was made
		Replaces string        `json:"replaces,omitempty"` // the member that its use removes; "": none
	}
	// DropJoinToken revokes a join token that was not used.
	DropJoinToken struct {
		Hash resource.Hash `json:"hash"`
	}
	// RegisterMember adds a member, or updates a known one's address and versions. Token
	// is consumed when the member is new; it may be zero for the bootstrapper itself
	// (the table of members is empty) and for the members of a `dev` cluster.
	RegisterMember struct {
		Member resource.Member `json:"member"`
		Token  resource.Hash   `json:"token,omitempty"`
	}
	// RemoveMember leaves a tombstone; what the member held is presumed spent.
	RemoveMember struct {
		ID string `json:"id"`
	}
	// MarkMember sets or takes away one mark of a member: what an operator, or the leader
	// for the cluster, decided about it. Mark is one of the constants Mark….
	MarkMember struct {
		ID     string `json:"id"`
		Mark   string `json:"mark"`
		Off    bool   `json:"off,omitempty"`
		Reason string `json:"reason,omitempty"` // of MarkQuarantined
	}
	// SetVersion raises the version of the state machine, which entries may ask for from
	// then on. It is refused while a member's program cannot run it; there is no way back.
	SetVersion struct {
		Version uint32 `json:"version"`
	}
	// OpenEpoch gives a starting process the next epoch of its node. What the old epoch
	// held moves to presumed spent.
	OpenEpoch struct {
		Node  string `json:"node"`
		Life  uint64 `json:"life,omitempty"`  // tells the node's processes apart; 0: not said
		After uint64 `json:"after,omitempty"` // the newest epoch that its proposer knew: refused after another; 0: not said
	}
	// CloseEpoch ends an old epoch whose journal has been settled; Whole drops what
	// remains presumed of it, else that stays until its window ends.
	CloseEpoch struct {
		Node  string `json:"node"`
		Epoch uint64 `json:"epoch"`
		Whole bool   `json:"whole,omitempty"`
		By    uint64 `json:"by,omitempty"` // the epoch whose ticks settled it: refused once another runs; 0: not said
	}
	// TickGroup carries spend and lease requests of one or more nodes.
	TickGroup struct {
		Ticks []Tick `json:"ticks"`
	}
)

// Item is one command of a Batch.
type Item struct {
	Kind Kind   `json:"kind"`
	Body []byte `json:"body"` // CBOR of the command
}

// OpenWindow opens the window of one account, or adjusts its limit.
type OpenWindow struct {
	Account   resource.AccountID `json:"account"`
	Window    resource.Window    `json:"window"`
	Limit     resource.Money     `json:"limit"`
	Overdraft resource.Money     `json:"overdraft,omitempty"`
}

// Tick is what one node has spent since its last one, and what it wants. Ticks of an epoch
// are numbered from 1 without gaps; Apply drops one that it has seen.
type Tick struct {
	Node     string         `json:"node"`
	Epoch    uint64         `json:"epoch"`
	Seq      uint64         `json:"seq"`
	From     uint64         `json:"from,omitempty"` // journal records covered: (From, To]
	To       uint64         `json:"to,omitempty"`
	Spend    []SpendDelta   `json:"spend,omitempty"`
	Settle   []AccountDelta `json:"settle,omitempty"`    // consumed of each window
	Want     []Want         `json:"want,omitempty"`      // more lease
	Release  []AccountDelta `json:"release,omitempty"`   // lease given back; already subtracted by the node
	Applied  uint64         `json:"applied,omitempty"`   // the node's applied index
	Hash     []byte         `json:"hash,omitempty"`      // its state hash at Applied
	Clock    resource.Time  `json:"clock,omitempty"`     // its wall clock
	OldEpoch uint64         `json:"old_epoch,omitempty"` // Settle is against what this epoch left presumed
}

// AccountDelta is money of one window of one account.
type AccountDelta struct {
	Account resource.AccountID `json:"account"`
	Start   resource.Time      `json:"start,omitempty"` // of the window
	Amount  resource.Money     `json:"amount"`
}

// Want asks for more lease, and opens the window if nobody has.
type Want struct {
	OpenWindow
	Amount resource.Money `json:"amount"`
	Need   resource.Money `json:"need,omitempty"` // of Amount, for the largest waiting request: granted whole if the headroom holds it
	// Refused is the smallest hold that did not fit and was refused for that, since the node said so last.
	Refused resource.Money `json:"refused,omitempty"`
}
