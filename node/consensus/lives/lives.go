// Package lives tells the processes of one node apart. Each start of a node is a life with a number of its own, which the
// node's data folder remembers: so a folder knows whether the process that the cluster heard last was started from it.
package lives

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/conclave-llm/conclave/internal/durable"
)

const (
	file = "lives" // in the data folder: a life a line in hexadecimal digits, the newest last
	keep = 1 << 20 // lives that the file remembers: two months of starts, one each five seconds, of which no leader hears
)

// Lives are those that a data folder has seen.
type Lives struct {
	Own uint64 // of this process, never 0
	had []uint64
}

// Begin draws the life of this process and writes it into the data folder, for good, before anybody hears of it. Lines that
// cannot be read are no lives.
func Begin(dir string) (*Lives, error) {
	l := &Lives{}
	path := filepath.Join(dir, file)
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the lives of this folder: %w", err)
	}
	for line := range bytes.Lines(b) {
		if life, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 64); err == nil {
			l.had = append(l.had, life)
		}
	}
	for l.Own == 0 {
		var r [8]byte
		if _, err := rand.Read(r[:]); err != nil {
			return nil, fmt.Errorf("begin a life: %w", err)
		}
		l.Own = binary.BigEndian.Uint64(r[:])
	}
	l.had = append(l.had[max(0, len(l.had)+1-keep):], l.Own)
	var text []byte
	for _, life := range l.had {
		text = fmt.Appendf(text, "%016x\n", life)
	}
	if err := durable.WriteFile(path, text); err != nil {
		return nil, fmt.Errorf("begin a life: %w", err)
	}
	return l, nil
}

// Had says whether a process that was started from this folder had the life.
func (l *Lives) Had(life uint64) bool { return slices.Contains(l.had, life) }
