package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLogHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var out bytes.Buffer
		log := slog.New(newLogHandler(ctx, &out, func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) })).With("node", "a")
		has := func(what, text string, want bool) {
			t.Helper()
			synctest.Wait()
			if got := strings.Contains(out.String(), text); got != want {
				t.Errorf("%s: %q is written: %v, want %v", what, text, got, want)
			}
		}
		log.Info("first")
		has("at once", "first", false)
		time.Sleep(2 * logEvery)
		has("after a while", "first", true)
		log.Info("second")
		log.Warn("third")
		has("with a warning behind it", "second", true)
		has("a warning", "third", true)
		log.Info("fourth")
		cancel()
		has("at the end", "fourth", true)
		log.Info("fifth")
		has("after the end", "fifth", true)
	})
}
