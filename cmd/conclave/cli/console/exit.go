package console

import "fmt"

// ExitError makes the program exit with a status of its own.
type ExitError struct {
	Code int
	Err  error // nil: nothing is said
}

// Error is what the error within says.
func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Code)
	}
	return e.Err.Error()
}

// Unwrap returns the error within.
func (e *ExitError) Unwrap() error { return e.Err }
