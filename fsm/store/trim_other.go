//go:build !linux

package store

// trim does nothing where the system is not known.
func trim(uintptr, int64) error { return nil }
