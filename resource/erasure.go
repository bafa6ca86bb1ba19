package resource

// Erasure is the order to forget a person, and the receipt of what came of it. While it is
// pending it names the person, for every node must know whom; when the last node has done its
// part the name is deleted and the receipt stays.
type Erasure struct {
	ID        string        `json:"id"`
	Kind      string        `json:"kind"`              // HolderCustomer or HolderUser
	Subject   string        `json:"subject,omitempty"` // id of the person; "": all nodes are done
	Pseudonym string        `json:"pseudonym"`         // random: under it amounts stay
	At        Time          `json:"at"`
	By        string        `json:"by"`                // who ordered it: "master", "key/ID"
	DoneAt    Time          `json:"done_at,omitempty"` // 0: pending
	Nodes     []ErasureNode `json:"nodes"`
}

// The stages of a node's part, in order. The zero value is before all of them.
const (
	ErasureCut  = 1 // the node's totals up to To are under the pseudonym
	ErasureOwn  = 2 // so are its rows up to To; bodies, files and stored turns are deleted
	ErasureDone = 3 // and its copies of other nodes' sums
)

// ErasureNode is how far one node is.
type ErasureNode struct {
	ID       string `json:"id"`
	Name     string `json:"name,omitempty"`
	Stage    int    `json:"stage,omitempty"`
	To       uint64 `json:"to,omitempty"` // number of the node's last journal record that is forgotten
	At       Time   `json:"at,omitempty"` // of the last stage
	Rows     int64  `json:"rows,omitempty"`
	Contents int64  `json:"contents,omitempty"` // bodies, files and stored turns
	Gone     bool   `json:"gone,omitempty"`     // the node was removed before it was done
}

// Node finds a node's part, nil if it has none.
func (e *Erasure) Node(id string) *ErasureNode {
	for i := range e.Nodes {
		if e.Nodes[i].ID == id {
			return &e.Nodes[i]
		}
	}
	return nil
}

// Reached says whether all nodes but those that are gone have reached the stage.
func (e *Erasure) Reached(stage int) bool {
	for i := range e.Nodes {
		if n := &e.Nodes[i]; n.Stage < stage && !n.Gone {
			return false
		}
	}
	return true
}

// PseudonymPrefix begins every pseudonym.
const PseudonymPrefix = "erased-"
