package disk

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// usage asks the file system for what an ordinary user may still write.
func usage(dir string) (free, size uint64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, fmt.Errorf("look at the free space: %w", err)
	}
	block := uint64(s.Bsize)
	return s.Bavail * block, s.Blocks * block, nil
}
