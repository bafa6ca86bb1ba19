package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/internal/durable"
)

// Beside the file lie a stamp, written after a clean stop's sync and removed before the
// next write, and the id of the system's boot under which the file was written: as long as
// the system has not restarted, the page cache holds what a killed process wrote.
const (
	stampName = "fsm.stamp"
	bootName  = "fsm.boot"
	asideName = "fsm.db.damaged"
)

const bootIDPath = "/proc/sys/kernel/random/boot_id"

// bootID reads the id of the running system's boot. Where the system has none the answer is
// empty, and only a clean stop's file is trusted.
func bootID(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	b, err := os.ReadFile(bootIDPath)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// trusted says whether the file may be kept: it was stamped, or written under this boot.
func trusted(dir, boot string) bool {
	if _, err := os.Stat(filepath.Join(dir, fileName)); err != nil {
		return false
	}
	if _, err := os.Stat(filepath.Join(dir, stampName)); err == nil {
		return true
	}
	b, err := os.ReadFile(filepath.Join(dir, bootName))
	return err == nil && boot != "" && string(b) == boot
}

// distrust makes the next start rebuild the file.
func distrust(dir string) {
	for _, name := range []string{bootName, stampName} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			// A disk that refuses even this: empty the file, which no boot id equals.
			_ = os.Truncate(filepath.Join(dir, name), 0)
		}
	}
	_ = durable.SyncDir(dir)
}

// remove deletes a file that may not be whole: raft's log and snapshots have all of it.
func remove(dir string) error {
	if err := os.Remove(filepath.Join(dir, fileName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove state file: %w", err)
	}
	return nil
}

// setAside moves a damaged file away, for a person to look at.
func setAside(dir string) error {
	err := os.Rename(filepath.Join(dir, fileName), filepath.Join(dir, asideName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("put state file aside: %w", err)
	}
	return nil
}

// startWriting removes the stamp and notes the boot, durably, before the first write.
func startWriting(dir, boot string) error {
	if err := os.Remove(filepath.Join(dir, stampName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove stamp: %w", err)
	}
	return writeFile(dir, bootName, []byte(boot))
}

// writeStamp vouches for the synced file: position and state hash under a checksum.
func writeStamp(dir string, p Position) error {
	b := p.Encode()
	return writeFile(dir, stampName, binary.BigEndian.AppendUint32(b, crc32.Checksum(b, frame.Castagnoli)))
}

// readStamp returns the position that a clean stop vouched for, nil if there was none.
func readStamp(dir string) (*Position, error) {
	b, err := os.ReadFile(filepath.Join(dir, stampName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read stamp: %w", err)
	}
	if len(b) != positionSize+4 || crc32.Checksum(b[:positionSize], frame.Castagnoli) != binary.BigEndian.Uint32(b[positionSize:]) {
		return nil, fmt.Errorf("stamp of %d bytes: %w", len(b), frame.ErrDamaged)
	}
	p, err := ParsePosition(b[:positionSize])
	return &p, err
}

// writeFile writes a file so that it is there whole, or not at all, after a power cut.
func writeFile(dir, name string, b []byte) error {
	if err := durable.WriteFile(filepath.Join(dir, name), b); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
