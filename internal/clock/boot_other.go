//go:build !linux

package clock

import "time"

// boot says that there is no boot clock here.
func boot() (time.Duration, bool) { return 0, false }
