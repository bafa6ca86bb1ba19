package secret

import "fmt"

// CodeUnresolved is the code of the answer to who needs a secret that is not there.
const CodeUnresolved = "secret_unresolved"

// Unresolved says that the value of a reference is not there. Its text holds the reference, which is
// no secret, for the log; clients get CodeUnresolved.
type Unresolved struct {
	Reference string
	Reason    string // "not_found", "denied", "malformed", "unavailable", "no_source"
	Err       error
}

// Error implements error.
func (u *Unresolved) Error() string {
	return fmt.Sprintf("resolve %s: %v", u.Reference, u.Err)
}

// Unwrap returns the cause.
func (u *Unresolved) Unwrap() error { return u.Err }
