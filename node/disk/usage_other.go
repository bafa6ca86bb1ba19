//go:build !linux

package disk

import "errors"

// usage is not known on this system.
func usage(string) (free, size uint64, err error) {
	return 0, 0, errors.New("free space is not known on this system")
}
