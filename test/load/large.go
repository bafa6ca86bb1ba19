package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	largeBody = 20 << 20         // bytes of a request with a picture in it
	largeRuns = 3                // of each connection
	heldLimit = 90 * time.Second // for opening all streams
)

// runLarge measures only large bodies and many streams.
func runLarge(ctx context.Context, o options, w io.Writer) error {
	rig, err := startRig(ctx, o)
	if err != nil {
		return err
	}
	defer rig.stop()
	return rig.reportLarge(ctx, o, w)
}

// reportLarge writes what the node takes for large bodies, relayed and translated, what they do to other requests, and what
// it takes for many streams at a time.
func (r *rig) reportLarge(ctx context.Context, o options, w io.Writer) error {
	before := r.node.rss()
	for _, model := range []string{"demo", "claude"} {
		if err := r.nod.forgetPeak(); err != nil {
			return err
		}
		res, err := o.large(model).drive(ctx, r.node)
		if err != nil {
			return fmt.Errorf("large bodies to %s: %w", model, err)
		}
		grown := r.node.peakRSS() - before
		fmt.Fprintf(w, "%d bodies of %s at a time to %s: p50 %s, p99 %s, peak RSS grows by %s, %.2f copies, %d errors\n",
			o.bodies, mib(largeBody>>10), model, res.p50.Round(time.Millisecond), res.p99.Round(time.Millisecond), mib(grown), float64(grown)/float64(o.bodies*largeBody>>10), res.errors)
	}
	if err := r.reportBeside(ctx, o, w); err != nil {
		return err
	}
	return r.reportHeld(ctx, o.held, w)
}

// large is so many large bodies at a time.
func (o options) large(model string) load {
	return load{body: pictureBody(model), count: largeRuns * o.bodies, conns: o.bodies}
}

// reportBeside writes how long other requests take while large bodies go through the node, and while the bare relay has them:
// then the machine is as busy, and the node is not.
func (r *rig) reportBeside(ctx context.Context, o options, w io.Writer) error {
	bare, err := o.large("demo").drive(ctx, r.relay)
	if err != nil {
		return fmt.Errorf("large bodies through the relay: %w", err)
	}
	fmt.Fprintf(w, "the same through the relay: p50 %s, p99 %s; ", bare.p50.Round(time.Millisecond), bare.p99.Round(time.Millisecond))
	small := load{body: chatBody("demo", false)}.every(o.rate, o.open)
	alone, err := small.drive(ctx, r.node)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "1 kB chats at %d/s: p99 %s alone", o.rate, alone.p99.Round(time.Microsecond))
	for _, t := range []*target{r.relay, r.node} {
		res, err := small.beside(ctx, r.node, o.large("demo"), t)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, ", %s beside those through the %s, %d errors", res.p99.Round(time.Microsecond), t.name, res.errors)
	}
	fmt.Fprintln(w)
	return nil
}

// beside drives a load while another target has another one, again and again.
func (l load) beside(ctx context.Context, at *target, other load, there *target) (result, error) {
	busy, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for busy.Err() == nil {
			_, _ = other.drive(busy, there) // it is cut off in the end
		}
	})
	res, err := l.drive(ctx, at)
	stop()
	wg.Wait()
	return res, err
}

// forgetPeak makes the child's peak of memory what it takes now.
func (p *process) forgetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0)
}

// pictureBody is a chat request with a picture that makes it largeBody long.
func pictureBody(model string) []byte {
	head := `{"model":"` + model + `","max_tokens":64,"messages":[{"role":"user","content":[{"type":"text","text":"What is this?"},` +
		`{"type":"image_url","image_url":{"url":"data:image/png;base64,`
	const tail = `"}}]}]}`
	n := (largeBody - len(head) - len(tail)) / 4 * 4
	return []byte(head + strings.Repeat("iVBORw0K", n/8) + tail)
}

// reportHeld opens n streams, has each give its first chunk, and writes what the node takes then.
func (r *rig) reportHeld(ctx context.Context, n int, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, heldLimit)
	defer cancel()
	body := chatBody("slow", true)
	var open, failed atomic.Int64
	var begun, all sync.WaitGroup
	gate := make(chan struct{}, 64) // streams that wait for their first chunk
	for range n {
		begun.Add(1)
		all.Go(func() {
			gate <- struct{}{}
			first := sync.OnceFunc(func() { <-gate; begun.Done() })
			defer first()
			if err := r.hold(ctx, body, sync.OnceFunc(func() { open.Add(1); first() })); err != nil && ctx.Err() == nil {
				failed.Add(1)
			}
		})
	}
	begun.Wait()
	taken, held, lost := r.node.rss(), open.Load(), failed.Load()
	cancel()
	all.Wait()
	fmt.Fprintf(w, "%d open streams: RSS %s, %d failed\n", held, mib(taken), lost)
	if held+lost < int64(n) {
		return fmt.Errorf("only %d of %d streams were opened within %s", held, n, heldLimit)
	}
	return nil
}

// hold keeps a stream open until ctx ends, and calls first at its first line.
func (r *rig) hold(ctx context.Context, body []byte, first func()) error {
	res, err := r.node.send(ctx, chatPath, body)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	lines := bufio.NewReaderSize(res.Body, 512)
	for {
		if _, err := lines.ReadSlice('\n'); err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		first()
	}
}
