package callback

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"

	"github.com/conclave-llm/conclave/internal/durable"
)

var (
	errNoMark  = errors.New("no mark")
	errBadMark = errors.New("damaged mark")
)

// A mark file is one line: the position and the CRC-32C of its digits, "42 1a2b3c4d".
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func readMark(path string) (uint64, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, errNoMark
	}
	if err != nil {
		return 0, err
	}
	return parseMark(b)
}

func parseMark(b []byte) (uint64, error) {
	var at uint64
	var sum uint32
	if _, err := fmt.Sscanf(string(b), "%d %x\n", &at, &sum); err != nil {
		return 0, errBadMark
	}
	if string(b) != string(formatMark(at)) {
		return 0, errBadMark
	}
	return at, nil
}

func formatMark(at uint64) []byte {
	digits := fmt.Sprintf("%d", at)
	return fmt.Appendf(nil, "%s %08x\n", digits, crc32.Checksum([]byte(digits), castagnoli))
}

// writeMark replaces the mark in one step, so that a crash leaves the old or the new one.
func writeMark(path string, at uint64) error {
	return durable.WriteFile(path, formatMark(at))
}
