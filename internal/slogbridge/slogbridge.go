// Package slogbridge lets the libraries that log through hclog log through slog.
package slogbridge

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// New returns a logger for a library that hands its lines to log, with the name under
// "component" and the keys in snake_case. A nil log discards everything.
func New(log *slog.Logger, name string) hclog.Logger {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{
		Name:   name,
		Level:  level(log),
		Output: io.Discard,
	})
	l.RegisterSink(sink{log: log})
	return l
}

// level is the lowest that l shows.
func level(l *slog.Logger) hclog.Level {
	ctx := context.Background()
	switch {
	case l.Enabled(ctx, slog.LevelDebug):
		return hclog.Debug
	case l.Enabled(ctx, slog.LevelInfo):
		return hclog.Info
	case l.Enabled(ctx, slog.LevelWarn):
		return hclog.Warn
	default:
		return hclog.Error
	}
}

// sink is what hclog gives its lines to.
type sink struct{ log *slog.Logger }

// Accept implements hclog.SinkAdapter.
func (s sink) Accept(name string, level hclog.Level, msg string, args ...any) {
	lv := levelOf(level)
	ctx := context.Background()
	if !s.log.Enabled(ctx, lv) {
		return
	}
	attrs := make([]slog.Attr, 0, len(args)/2+1)
	if name != "" {
		attrs = append(attrs, slog.String("component", name))
	}
	for i := 0; i+1 < len(args); i += 2 {
		attrs = append(attrs, slog.Any(key(args[i]), value(args[i+1])))
	}
	s.log.LogAttrs(ctx, lv, msg, attrs...) //nolint:sloglint // the message is the library's
}

// levelOf translates a level; hclog's trace is below slog's debug.
func levelOf(l hclog.Level) slog.Level {
	switch l {
	case hclog.Error:
		return slog.LevelError
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Info, hclog.NoLevel:
		return slog.LevelInfo
	case hclog.Debug:
		return slog.LevelDebug
	default:
		return slog.LevelDebug - 4
	}
}

// key makes "leader-address" and "leader address" "leader_address".
func key(k any) string {
	s, ok := k.(string)
	if !ok {
		s = fmt.Sprint(k)
	}
	return strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' {
			return '_'
		}
		return r
	}, s)
}

// value prints hclog's own formatting types and errors as text.
func value(v any) any {
	switch v := v.(type) {
	case error:
		return v.Error()
	case hclog.Format:
		if len(v) == 0 {
			return ""
		}
		return fmt.Sprintf(fmt.Sprint(v[0]), v[1:]...)
	case fmt.Stringer:
		return v.String()
	default:
		return v
	}
}
