package llm

// Count is what a limit, a budget or a bound on sizes had counted when it refused a request.
type Count struct {
	Of    string `json:"of"`             // "rpm", "tpm", "parallel", …, a budget's name, or "request_bytes", "response_bytes"
	Part  string `json:"part,omitempty"` // "model", "session", "tag", "mcp_server", "unpriced": which of the holder's; "": those of all requests
	Name  string `json:"name,omitempty"` // the tag
	Unit  string `json:"unit,omitempty"` // of a budget
	Limit int64  `json:"limit"`
	Left  int64  `json:"left"`
	Asked int64  `json:"asked"`
	Late  bool   `json:"late,omitempty"` // what was left was elsewhere, and did not come in time
}

// The parts of a holder's limits and budgets, and the bounds on sizes, as a Count names them.
const (
	PartModel    = "model"
	PartSession  = "session"
	PartTag      = "tag"
	PartMCP      = "mcp_server"
	PartUnpriced = "unpriced"

	CountRequestBytes  = "request_bytes"
	CountResponseBytes = "response_bytes"
	CountSecrets       = "secrets" // the key is right, and its secret is an old one
)
