package mock

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
)

// plan is how one request shall be answered: the configuration, changed by its headers.
type plan struct {
	latency    time.Duration
	chunks     int
	chunkDelay time.Duration
	status     int
	errorRate  float64
	stallAfter int     // chunks; -1: never
	cutAfter   int     // chunks; -1: never
	usage      []int64 // prompt, completion, cached, reasoning
	cut        bool    // reset the connection now
	refuse     bool    // say that it cannot help
}

// plan reads the headers x-mock-latency, -chunks, -chunk-delay, -status, -error-rate,
// -stall-after, -cut-after, -refuse ("true") and -usage ("prompt,completion[,cached[,reasoning]]").
func (s *Server) plan(h http.Header) (plan, error) {
	p := plan{
		latency: s.cfg.Latency, chunks: s.cfg.Chunks, chunkDelay: s.cfg.ChunkDelay,
		status: s.cfg.Status, errorRate: s.cfg.ErrorRate, stallAfter: -1, cutAfter: -1, refuse: s.cfg.Refuse,
	}
	if s.cfg.StallAfter > 0 {
		p.stallAfter = s.cfg.StallAfter
	}
	if s.cfg.CutAfter > 0 {
		p.cutAfter = s.cfg.CutAfter
	}
	for name, set := range planHeaders {
		v := h[name]
		if len(v) == 0 {
			continue
		}
		if err := set(&p, v[0]); err != nil {
			return p, &llm.Error{Kind: llm.Invalid, Param: strings.ToLower(name), Message: "Invalid " + name + ": " + v[0], Err: err}
		}
	}
	return p, nil
}

// planHeaders has what each header changes.
var planHeaders = map[string]func(*plan, string) error{
	"X-Mock-Latency":     func(p *plan, v string) (err error) { p.latency, err = duration(v); return err },
	"X-Mock-Chunk-Delay": func(p *plan, v string) (err error) { p.chunkDelay, err = duration(v); return err },
	"X-Mock-Chunks":      func(p *plan, v string) (err error) { p.chunks, err = number(v, 1<<20); return err },
	"X-Mock-Status":      func(p *plan, v string) (err error) { p.status, err = number(v, 999); return err },
	"X-Mock-Stall-After": func(p *plan, v string) (err error) { p.stallAfter, err = number(v, 1<<20); return err },
	"X-Mock-Cut-After":   func(p *plan, v string) (err error) { p.cutAfter, err = number(v, 1<<20); return err },
	"X-Mock-Refuse":      func(p *plan, v string) (err error) { p.refuse, err = strconv.ParseBool(v); return err },
	"X-Mock-Error-Rate":  func(p *plan, v string) (err error) { p.errorRate, err = strconv.ParseFloat(v, 64); return err },
	"X-Mock-Usage": func(p *plan, v string) error {
		for part := range strings.SplitSeq(v, ",") {
			n, err := strconv.ParseInt(strings.TrimSpace(part), 10, 64)
			if err != nil {
				return fmt.Errorf("read usage: %w", err)
			}
			p.usage = append(p.usage, n)
		}
		return nil
	},
}

// duration reads "150ms", or a number of milliseconds.
func duration(v string) (time.Duration, error) {
	if ms, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(ms) * time.Millisecond, nil
	}
	return time.ParseDuration(v)
}

func number(v string, most int) (int, error) {
	n, err := strconv.Atoi(v)
	if err == nil && (n < 0 || n > most) {
		err = strconv.ErrRange
	}
	return n, err
}

// wait takes d, less if the client goes away, when it returns false.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// reset ends the connection with a TCP reset, as far as the server allows.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2: resets the stream
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // the close below is then a reset
	}
	_ = conn.Close()
}
