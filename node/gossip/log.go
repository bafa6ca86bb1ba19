package gossip

import (
	"bytes"
	"context"
	"log/slog"
	"regexp"
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

// logWriter passes memberlist's log lines on to a slog.Logger.
type logWriter struct{ logger *slog.Logger }

// Write implements io.Writer. It is called with one line at a time.
func (w logWriter) Write(b []byte) (int, error) {
	level, text := slog.LevelDebug, bytes.TrimSpace(b)
	if m := logLine.FindSubmatch(text); m != nil {
		if l, ok := logLevels[string(m[1])]; ok {
			level = l
		}
		text = m[2]
	}
	w.logger.Log(context.Background(), level, "memberlist", "text", string(text))
	return len(b), nil
}
