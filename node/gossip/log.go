package gossip

import (
	"bytes"
	"context"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"
)

// logLine is a line of memberlist's: a time, a level in brackets, the text.
var logLine = regexp.MustCompile(`^(?:\d{4}/\d\d/\d\d \d\d:\d\d:\d\d )?\[(\w+)\] (?:memberlist: )?(.*)$`)

// logLevels maps memberlist's levels. Its warnings and errors are news about other nodes
// and the network, which the gossip outlives.
var logLevels = map[string]slog.Level{
	"DEBUG": slog.LevelDebug,
	"INFO":  slog.LevelDebug,
	"WARN":  slog.LevelInfo,
	"ERR":   slog.LevelWarn,
	"ERROR": slog.LevelWarn,
}

// Bounds of what a logWriter remembers.
const (
	logPause = 10 * time.Minute // without a line, after which the next one is news
	logKinds = 256              // of lines; strangers can make memberlist say what they want
)

// logWriter passes memberlist's log lines on to a slog.Logger. While a peer is away, or somebody sends what he should not, memberlist
// says the same at each try: the first line counts, the others are for debugging.
type logWriter struct {
	logger *slog.Logger
	now    func() time.Time

	mu   sync.Mutex           // guards last
	last map[string]time.Time // when a line was written, by what it says without the details
}

func newLogWriter(logger *slog.Logger) *logWriter {
	return &logWriter{logger: logger, now: time.Now, last: map[string]time.Time{}}
}

// Write implements io.Writer. It is called with one line at a time.
func (w *logWriter) Write(b []byte) (int, error) {
	level, text := slog.LevelDebug, bytes.TrimSpace(b)
	if m := logLine.FindSubmatch(text); m != nil {
		if l, ok := logLevels[string(m[1])]; ok {
			level = l
		}
		text = m[2]
	}
	if level > slog.LevelDebug && w.again(string(text)) {
		level = slog.LevelDebug
	}
	w.logger.Log(context.Background(), level, "memberlist", "text", string(text))
	return len(b), nil
}

// again says whether a line is one more of the same.
func (w *logWriter) again(text string) bool {
	text, _, _ = strings.Cut(text, ": ")     // an error, in which ports differ
	text, _, _ = strings.Cut(text, " from=") // an address
	now := w.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	last, known := w.last[text]
	if !known && len(w.last) >= logKinds {
		clear(w.last)
	}
	w.last[text] = now
	return known && now.Sub(last) < logPause
}
