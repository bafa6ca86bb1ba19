package plugins

import (
	"bytes"
	"log/slog"
	"slices"
	"sync"
	"time"
)

const (
	keptLines  = 20
	lineLength = 2048
	linesBurst = 20 // lines that are logged in one second
)

// lines keeps the last lines that a plugin wrote to stderr or stdout and logs them, a flood
// of them not. It is an io.Writer.
type lines struct {
	log *slog.Logger

	mu      sync.Mutex // guards what follows
	partial []byte
	kept    []string
	second  int64
	logged  int
	skipped int
}

// Write implements io.Writer; it never fails.
func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(b)
	for {
		line, rest, ok := bytes.Cut(b, []byte("\n"))
		if room := lineLength - len(l.partial); room > 0 {
			l.partial = append(l.partial, line[:min(len(line), room)]...)
		}
		if !ok {
			return n, nil
		}
		l.endLocked()
		b = rest
	}
}

func (l *lines) endLocked() {
	line := string(bytes.TrimRight(l.partial, "\r"))
	l.partial = l.partial[:0]
	if line == "" {
		return
	}
	if len(l.kept) == keptLines {
		l.kept = slices.Delete(l.kept, 0, 1)
	}
	l.kept = append(l.kept, line)
	if now := time.Now().Unix(); now != l.second {
		if l.skipped > 0 {
			l.log.Warn("plugin wrote more lines than are logged", "lines", l.skipped)
		}
		l.second, l.logged, l.skipped = now, 0, 0
	}
	if l.logged == linesBurst {
		l.skipped++
		return
	}
	l.logged++
	l.log.Info("plugin output", "line", line)
}

// last returns the last lines.
func (l *lines) last() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.kept)
}
