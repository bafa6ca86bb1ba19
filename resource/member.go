package resource

import "fmt"

// The roles of a member.
const (
	// MemberFull is a member that may vote. It is the zero value.
	MemberFull = ""
	// MemberRead is a member that serves requests and never votes.
	MemberRead = "read"
)

// Member is a registered node of the cluster. A removed one stays as a tombstone: its id
// never joins again.
type Member struct {
	Meta
	Name       string `json:"name,omitempty"`    // as configured; unique among living members
	Address    string `json:"address,omitempty"` // cluster port, as the others reach it
	ClientURL  string `json:"client_url,omitempty"`
	Version    string `json:"binary,omitempty"`      // of the program
	FSMVersion uint32 `json:"fsm_version,omitempty"` // newest that the program knows
	FSMOldest  uint32 `json:"fsm_oldest,omitempty"`  // oldest that the program can still run; 0: 1
	Role       string `json:"role,omitempty"`        // MemberFull or MemberRead
	ServeStale string `json:"serve_stale,omitempty"` // what the node's file has instead of the setting, see ParseServeStale; "": the setting's
	Removed    bool   `json:"removed,omitempty"`

	// What MarkMember sets; a member's own registration does not change it.
	Nonvoter    bool   `json:"nonvoter,omitempty"`    // an operator demoted it: it is not promoted by itself
	Drained     bool   `json:"drained,omitempty"`     // an operator takes traffic and leadership from it
	Quarantined string `json:"quarantined,omitempty"` // why it must not serve; "": it may
}

// MayVote says whether the member is ever to be a voter.
func (m *Member) MayVote() bool {
	return !m.Removed && !m.Nonvoter && m.Role != MemberRead && m.Quarantined == ""
}

// Runs says whether the member's program can run a version of the state machine.
func (m *Member) Runs(version uint32) bool {
	return max(1, m.FSMOldest) <= version && version <= max(1, m.FSMVersion)
}

// Range names the versions that the member's program can run.
func (m *Member) Range() string {
	return fmt.Sprintf("%d to %d", max(1, m.FSMOldest), max(1, m.FSMVersion))
}

// Label implements Record.
func (m *Member) Label() string { return m.Name }

// Canonicalize implements Record.
func (m *Member) Canonicalize() {}

// Validate implements Record.
func (m *Member) Validate() error {
	if m.ID == "" {
		return invalidf("id", "a member has an id")
	}
	if err := validName("name", m.Name); err != nil {
		return err
	}
	if m.Address == "" {
		return invalidf("address", "a member has an address")
	}
	if m.Role != MemberFull && m.Role != MemberRead {
		return invalidf("role", "%q is not a role of a node: leave it out, or say %q", m.Role, MemberRead)
	}
	if _, err := ParseServeStale(m.ServeStale); err != nil && m.ServeStale != "" {
		return invalidf("serve_stale", "%q is not a duration, forever or fail_closed", m.ServeStale)
	}
	return nil
}
