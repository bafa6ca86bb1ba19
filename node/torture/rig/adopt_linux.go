package rig

import "golang.org/x/sys/unix"

// Adopt has processes whose parents end become children of this one, instead of the machine's first process.
func Adopt() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }
