// Package lane serves OpenAI's responses over one WebSocket: each response.create is a request as
// POST /v1/responses takes one, whose events come back as messages. Requests of one lane, which a
// client names by stream_id, are answered one after the other; lanes are answered side by side.
//
// What a request may do and costs is decided by who serves it. The connection itself gives it
// nothing but the turns before, which it remembers.
package lane

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/proxy/socket"
)

// Bounds of a connection, as OpenAI documents them but for the queue.
const (
	DefaultTotal = time.Hour
	DefaultTick  = 250 * time.Millisecond
	DefaultPing  = 20 * time.Second
	maxLanes     = 16 // that are answered side by side
	maxQueue     = 16 // requests of a lane that wait
)

// lastWords bounds the telling of why a connection ends.
const lastWords = 2 * time.Second

// Config is what a connection is made of. Conn and Serve are required.
type Config struct {
	Conn *socket.Conn
	// Serve answers one request for a streamed response. It returns when the answer has ended.
	Serve func(ctx context.Context, body []byte, out reply.Writer)
	// Check returns an error if the connection may not go on; nil: it always may.
	Check func(ctx context.Context) error

	Total time.Duration   // of the connection; 0: DefaultTotal
	Tick  time.Duration   // between checks; 0: DefaultTick
	Ping  time.Duration   // between signs of life, and how long one may take; 0: DefaultPing
	Stop  <-chan struct{} // closed when the node stops: what is answered ends, nothing begins
	Now   func() time.Time
}

func (c *Config) fill() {
	for _, d := range []struct {
		at    *time.Duration
		value time.Duration
	}{{&c.Total, DefaultTotal}, {&c.Tick, DefaultTick}, {&c.Ping, DefaultPing}} {
		if *d.at == 0 {
			*d.at = d.value
		}
	}
	if c.Now == nil {
		c.Now = clock.Now
	}
	if c.Check == nil {
		c.Check = func(context.Context) error { return nil }
	}
}

// server serves one connection.
type server struct {
	cfg   Config
	began time.Time
	wg    sync.WaitGroup // of lanes

	mu      sync.Mutex // guards what follows
	lanes   map[string]*queue
	waiting int        // requests that have not ended
	closing *llm.Error // nil: requests are taken
	idle    chan struct{}
}

// queue is one lane while it has requests.
type queue struct{ requests []*request }

// Run serves a connection to its end and closes it. ctx cuts it off. It returns an *llm.Error that
// says why the connection ended, nil if the client ended it.
func Run(ctx context.Context, cfg Config) error {
	cfg.fill()
	s := &server{cfg: cfg, began: cfg.Now(), lanes: map[string]*queue{}, idle: make(chan struct{})}
	reading, stop := context.WithCancel(context.WithoutCancel(ctx)) // outlives ctx, so that the client hears why
	serving, end := context.WithCancel(ctx)
	defer stop()
	defer end()
	ends := make(chan error, 3)
	var wg sync.WaitGroup
	wg.Go(func() { ends <- s.read(reading, serving) })
	wg.Go(func() {
		if err := s.watch(serving, ctx); err != nil {
			ends <- err
		}
	})
	wg.Go(func() {
		if err := s.ping(serving); err != nil {
			ends <- err
		}
	})
	why := <-ends
	end()
	s.wg.Wait()
	e := s.end(reading, why)
	stop()
	wg.Wait()
	if e == nil {
		return nil
	}
	return e
}

// read takes requests until the client leaves.
func (s *server) read(ctx, serving context.Context) error {
	for {
		text, raw, err := s.cfg.Conn.Read(ctx)
		if err != nil {
			return err
		}
		r, err := readRequest(raw, text)
		if err == nil {
			err = s.take(serving, r)
		}
		if err == nil {
			continue
		}
		if err := s.tell(ctx, err, r.lane); err != nil {
			return err
		}
	}
}

// take puts a request at the end of its lane.
func (s *server) take(ctx context.Context, r *request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing != nil {
		return s.closing
	}
	q, ok := s.lanes[r.lane]
	switch {
	case !ok && len(s.lanes) >= maxLanes:
		return &llm.Error{Kind: llm.RateLimited, Code: "websocket_stream_limit_reached", Message: "Too many lanes of this connection are answered at the same time."}
	case ok && len(q.requests) >= maxQueue:
		return &llm.Error{Kind: llm.RateLimited, Code: "websocket_queue_full", Message: "Too many requests of this lane wait."}
	}
	s.waiting++
	if ok {
		q.requests = append(q.requests, r)
		return nil
	}
	q = &queue{requests: []*request{r}}
	s.lanes[r.lane] = q
	s.wg.Go(func() { s.serve(ctx, r.lane, q) })
	return nil
}

// serve answers the requests of a lane until there is none.
func (s *server) serve(ctx context.Context, lane string, q *queue) {
	for {
		s.mu.Lock()
		if len(q.requests) == 0 {
			delete(s.lanes, lane)
			s.mu.Unlock()
			return
		}
		r := q.requests[0]
		q.requests = q.requests[1:]
		s.mu.Unlock()
		if ctx.Err() == nil {
			out := &frames{ctx: ctx, conn: s.cfg.Conn, lane: lane}
			s.cfg.Serve(ctx, r.body, out)
			out.end()
		}
		s.mu.Lock()
		s.waiting--
		s.idleLocked()
		s.mu.Unlock()
	}
}

// idleLocked notices that a connection that is closing has nothing left to answer.
func (s *server) idleLocked() {
	if s.closing == nil || s.waiting > 0 {
		return
	}
	select {
	case <-s.idle:
	default:
		close(s.idle)
	}
}

// close takes no more requests, and ends the connection when those that are there are answered.
func (s *server) close(ctx context.Context, e *llm.Error) error {
	s.mu.Lock()
	told := s.closing != nil
	if !told {
		s.closing = e
		s.idleLocked()
	}
	s.mu.Unlock()
	if told {
		return nil
	}
	return s.tell(ctx, e, "")
}

// The codes of a connection's ends.
const (
	codeStopping = "node_stopping"
	codeExpired  = "websocket_connection_limit_reached"
)

// watch ends the connection when its time is over, its key is not good any more or the node stops.
func (s *server) watch(ctx, cut context.Context) error {
	tick := time.NewTicker(s.cfg.Tick)
	defer tick.Stop()
	stop := s.cfg.Stop
	for {
		var err error
		select {
		case <-cut.Done():
			return &llm.Error{Kind: llm.Unavailable, Code: codeStopping, Message: "This node stops. Open another connection."}
		case <-ctx.Done():
			return nil
		case <-s.idle:
			return s.closing
		case <-stop:
			stop = nil
			err = s.close(ctx, &llm.Error{Kind: llm.Unavailable, Code: codeStopping, Message: "This node stops. Open another connection."})
		case <-tick.C:
			if s.cfg.Now().Sub(s.began) >= s.cfg.Total {
				err = s.close(ctx, &llm.Error{
					Kind: llm.Invalid, Code: codeExpired, Message: "The connection has reached its longest duration of " + s.cfg.Total.String() + ". Open another one.",
				})
				break
			}
			err = s.cfg.Check(ctx)
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// ping finds out whether the client is still there.
func (s *server) ping(ctx context.Context) error {
	tick := time.NewTicker(s.cfg.Ping)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		wait, cancel := context.WithTimeout(ctx, s.cfg.Ping)
		err := s.cfg.Conn.Ping(wait)
		cancel()
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// tell sends an error event.
func (s *server) tell(ctx context.Context, err error, lane string) error {
	return s.cfg.Conn.Write(ctx, errorEvent(reply.AsError(err), lane))
}

// end closes the connection, and returns why as an error that can be told, nil for an ordinary end.
func (s *server) end(ctx context.Context, why error) *llm.Error {
	if c, ok := errors.AsType[*socket.Closed](why); ok {
		s.cfg.Conn.Close(c.Code, "")
		if c.Err == nil {
			return nil
		}
		return &llm.Error{Kind: llm.Canceled, Message: "The client went away.", Err: why}
	}
	e := reply.AsError(why)
	s.mu.Lock()
	told := s.closing
	s.mu.Unlock()
	if e != told {
		ctx, cancel := context.WithTimeout(ctx, lastWords)
		defer cancel()
		_ = s.tell(ctx, e, "") // it may be gone
	}
	code := socket.Policy
	switch {
	case e.Code == codeStopping:
		code = socket.Restart
	case e.Code == codeExpired:
		code = socket.GoingAway
	case e.Kind == llm.Unavailable:
		code = socket.TryAgain
	case e.Kind == llm.Internal:
		code = socket.Internal
	}
	s.cfg.Conn.Close(code, reply.Code(e))
	return e
}
