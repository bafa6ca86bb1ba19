//go:build !linux

package segment

import "os"

// Datasync waits until the file is on disk.
func Datasync(f *os.File) error { return f.Sync() }
