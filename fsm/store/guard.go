package store

import (
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/conclave-llm/conclave/fsm/frame"
)

// Guard does something that reads the file. A damaged page leads bbolt to places that are not there: its own words, and
// the fault of an address that the file does not have, which would end the process, are an error that wraps frame.ErrDamaged. Other
// panics go on.
func Guard(do func() error) (err error) {
	faults := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(faults)
		if r := recover(); r != nil {
			if !damaging(r) {
				panic(r)
			}
			err = fmt.Errorf("read state: %v: %w", r, frame.ErrDamaged)
		}
	}()
	return do()
}

// damaging says whether a panic is bbolt's about a page, or of an address in the file.
func damaging(r any) bool {
	if _, ok := r.(string); ok {
		return true // bbolt's; there are no others below
	}
	err, ok := r.(error)
	if !ok {
		return false
	}
	_, ok = errors.AsType[interface {
		error
		Addr() uintptr
	}](err)
	return ok
}
