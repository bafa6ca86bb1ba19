package secret

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/internal/durable"
	"github.com/conclave-llm/conclave/internal/fault"
)

// fileKept is the name of the file in the data folder in which Kept are.
const fileKept = "kek.values"

// Kept are the keys of sealed values whose KEKs were exchanged, in a data folder: a line for each, "KEK BOX", with the key wrapped
// by the KEK that was in use when the file was written. Who has the file and not the KEK has nothing.
type Kept string

func (f Kept) path() string { return filepath.Join(string(f), fileKept) }

// Load reads the keys. Lines that no KEK of the ring opens are passed over; without the file there are none.
func (f Kept) Load(ring Wrapper) ([]*ValueKey, error) {
	lines, err := f.read()
	if err != nil {
		return nil, err
	}
	return opened(ring, lines), nil
}

func (f Kept) read() (lines [][]byte, err error) {
	b, err := os.ReadFile(f.path())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read keys of sealed values: %w", err)
	}
	for line := range bytes.Lines(b) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

func opened(ring Wrapper, lines [][]byte) (keys []*ValueKey) {
	for _, line := range lines {
		if k, err := parseKept(ring, string(line)); err == nil {
			keys = append(keys, k)
		}
	}
	return keys
}

func purposeKept(id string) string { return "value key/" + id }

func parseKept(ring Wrapper, line string) (*ValueKey, error) {
	id, text, _ := strings.Cut(line, " ")
	box, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	b, err := ring.Unwrap(box, purposeKept(id))
	if err != nil {
		return nil, err
	}
	return newValueKey(id, b)
}

// Keep writes the keys of all KEKs of the ring but the one in use to the file, beside those that are there, and wraps all by the one
// in use. A ring whose KEK was exchanged may forget the old one then. Text is what another node's Export gave, or "".
func (f Kept) Keep(ring *Ring, text string) error {
	lines, err := f.read()
	if err != nil {
		return err
	}
	inUse := ring.InUse()
	keys := opened(ring, append(slices.Clone(lines), bytes.Split([]byte(text), []byte("\n"))...))
	for _, k := range ring.all()[1:] {
		v, err := k.ValueKey()
		if err != nil {
			return err
		}
		keys = append(keys, v)
	}
	out := map[string]string{}
	for _, line := range lines { // what does not open now may do so later: by a KEK that comes back
		id, _, _ := strings.Cut(string(line), " ")
		out[id] = string(line)
	}
	changed := false
	for _, k := range keys {
		if _, err := parseKept(inUse, out[k.id]); err == nil || k.id == inUse.id {
			continue
		}
		box, err := inUse.Wrap(k.bytes, purposeKept(k.id))
		if err != nil {
			return err
		}
		out[k.id], changed = k.id+" "+base64.RawStdEncoding.EncodeToString(box), true
	}
	if !changed {
		return nil
	}
	return f.write(out)
}

// Export is the file as another node with the same KEK takes it; "" if there is none.
func (f Kept) Export() (string, error) {
	if f == "" {
		return "", nil
	}
	lines, err := f.read()
	return string(bytes.Join(lines, []byte("\n"))), err
}

func (f Kept) write(lines map[string]string) error {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(lines)) {
		b.WriteString(lines[id] + "\n")
	}
	if err := durable.WriteFile(f.path(), []byte(b.String()), fault.KEKRename, fault.KEKRenamed); err != nil {
		return fmt.Errorf("save keys of sealed values: %w", err)
	}
	return nil
}
