package main

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"sync"
	"time"
)

// logEvery is how long a line of Info may wait to be written together with others.
const logEvery = 100 * time.Millisecond

// logHandler writes lines of Info and below in batches, so that a request does not pay for a
// write of its own, and everything else at once.
type logHandler struct {
	slog.Handler
	out *logWriter
}

// newLogHandler wraps the handler that make gives for a writer. Lines that wait are written
// when ctx ends; later ones at once.
func newLogHandler(ctx context.Context, w io.Writer, make func(io.Writer) slog.Handler) *logHandler {
	out := &logWriter{buf: bufio.NewWriterSize(w, 64<<10)}
	go out.run(ctx)
	return &logHandler{Handler: make(out), out: out}
}

// Handle implements slog.Handler.
func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	if err := h.Handler.Handle(ctx, r); err != nil || r.Level <= slog.LevelInfo {
		return err
	}
	return h.out.flush()
}

// WithAttrs implements slog.Handler.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{Handler: h.Handler.WithAttrs(attrs), out: h.out}
}

// WithGroup implements slog.Handler.
func (h *logHandler) WithGroup(name string) slog.Handler {
	return &logHandler{Handler: h.Handler.WithGroup(name), out: h.out}
}

// logWriter is a buffer that is written out now and then.
type logWriter struct {
	mu     sync.Mutex // guards the fields below
	buf    *bufio.Writer
	direct bool // nobody writes the buffer out any more
}

// Write implements io.Writer.
func (w *logWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.buf.Write(p)
	if w.direct && err == nil {
		err = w.buf.Flush()
	}
	return n, err
}

func (w *logWriter) flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.Flush()
}

func (w *logWriter) run(ctx context.Context) {
	tick := time.NewTicker(logEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = w.flush() // there is no other place to tell that the log is gone
		case <-ctx.Done():
			w.mu.Lock()
			w.direct = true
			_ = w.buf.Flush()
			w.mu.Unlock()
			return
		}
	}
}
