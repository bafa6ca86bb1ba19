//go:build !linux

package ledger

import "os"

// datasync waits until the file is on disk.
func datasync(f *os.File) error { return f.Sync() }
