package resource

import (
	"errors"
	"fmt"
)

// Sentinels that cross the cluster as codes (see Code) and are tested with errors.Is.
var (
	// ErrNotFound says that no record has the id, name or hash asked for.
	ErrNotFound = errors.New("not found")
	// ErrConflict says that the stored version is not the one the writer had read.
	ErrConflict = errors.New("changed since it was read")
	// ErrExists says that another record of the kind has the name.
	ErrExists = errors.New("name is taken")
	// ErrDead says that the id belonged to a deleted record and cannot be used again.
	ErrDead = errors.New("id belongs to a deleted record")
	// ErrOwner says that the record is owned by the other of file and api.
	ErrOwner = errors.New("record is owned elsewhere")
	// ErrInUse says that another record refers to the one to be deleted.
	ErrInUse = errors.New("record is in use")
	// ErrForbidden says that the actor may not do this, or may no longer.
	ErrForbidden = errors.New("forbidden")
	// ErrNoLeader says that the cluster has no leader to take the write.
	ErrNoLeader = errors.New("no leader")
	// ErrExpired says that a command or a token came too late.
	ErrExpired = errors.New("expired")
	// ErrRefused says that a command was refused for a reason given in its text.
	ErrRefused = errors.New("refused")
	// ErrFull says that what was to be stored has no room under a quota.
	ErrFull = errors.New("quota exceeded")
	// ErrQuorum says that the cluster would lose its quorum.
	ErrQuorum = errors.New("the cluster would lose its quorum")
	// ErrDiskFull says that the leader's disk is too full for a large change.
	ErrDiskFull = errors.New("disk is nearly full")
	// ErrBusy says that the leader has as many changes under way as it takes; nothing was done.
	ErrBusy = errors.New("overloaded")
)

// Invalid says which field of a record is wrong, and why.
type Invalid struct {
	Field  string // path in the record, as in JSON: "budgets[0].usd"
	Reason string // what is wrong and what would be right
}

// Error implements error.
func (e *Invalid) Error() string { return fmt.Sprintf("%s: %s", e.Field, e.Reason) }

// invalidf makes an *Invalid for field.
func invalidf(field, format string, args ...any) error {
	return &Invalid{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// codes names each sentinel on the wire between nodes; rows are only ever added.
var codes = []struct {
	code string
	err  error
}{
	{"not_found", ErrNotFound},
	{"conflict", ErrConflict},
	{"exists", ErrExists},
	{"dead", ErrDead},
	{"owner", ErrOwner},
	{"in_use", ErrInUse},
	{"forbidden", ErrForbidden},
	{"no_leader", ErrNoLeader},
	{"expired", ErrExpired},
	{"refused", ErrRefused},
	{"quota_exceeded", ErrFull},
	{"quorum", ErrQuorum},
	{"disk_full", ErrDiskFull},
	{"overloaded", ErrBusy},
}

// Code names the sentinel that err wraps, "invalid" for an *Invalid, and "" for any other.
func Code(err error) string {
	if _, ok := errors.AsType[*Invalid](err); ok {
		return "invalid"
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return ""
}

// FromCode rebuilds an error from its code and text, so that errors.Is works on the node
// that forwarded the command. An unknown code gives an error with the text alone.
func FromCode(code, text string) error {
	if code == "invalid" {
		return &Invalid{Field: "", Reason: text}
	}
	for _, c := range codes {
		if c.code == code {
			return &remote{sentinel: c.err, text: text}
		}
	}
	return errors.New(text)
}

// remote is an error that another node returned.
type remote struct {
	sentinel error
	text     string
}

func (e *remote) Error() string { return e.text }
func (e *remote) Unwrap() error { return e.sentinel }
