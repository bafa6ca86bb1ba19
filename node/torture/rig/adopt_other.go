//go:build !linux

package rig

import "errors"

// Adopt says that this system does not have it.
func Adopt() error { return errors.New("lost processes are looked for on Linux only") }
