//go:build !conclave_fault

package clock

import "time"

// moved does nothing.
func moved(t time.Time) time.Time { return t }

// bent does nothing.
func bent(d time.Duration) time.Duration { return d }
