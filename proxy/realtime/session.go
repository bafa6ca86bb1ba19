package realtime

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/proxy/socket"
)

// Defaults of Config.
const (
	DefaultIdle  = 15 * time.Minute
	DefaultTotal = time.Hour
	DefaultTick  = 250 * time.Millisecond
	DefaultPing  = 20 * time.Second
)

// lastWords bounds the telling of why a session ends.
const lastWords = 2 * time.Second

// Config is what a session is made of. Client, Provider, Gate and First are required.
type Config struct {
	Client   *socket.Conn
	Provider Peer
	Gate     Gate
	Model    string // as the client names it
	Upstream string // as the provider does
	First    Use    // that was held when the session was opened
	Session  []byte // the configuration that the client's secret carries; nil: none
	Listens  bool   // the provider transcribes what it hears, and answers nothing; First is the first transcription

	Idle  time.Duration   // without an event of either side; 0: DefaultIdle
	Total time.Duration   // 0: DefaultTotal
	Tick  time.Duration   // between looks at the key and the timers; 0: DefaultTick
	Ping  time.Duration   // between signs of life, and how long one may take; 0: DefaultPing
	Stop  <-chan struct{} // closed when the node stops: what is open ends, nothing begins
	Now   func() time.Time
}

// Peer is a connection on which events come and go. *socket.Conn is one.
type Peer interface {
	// Read returns the next message, and whether it is one of text. Its error ends the connection.
	Read(ctx context.Context) (text bool, message []byte, err error)
	Write(ctx context.Context, message []byte) error
	Ping(ctx context.Context) error
	Close(code int, reason string)
}

func (c *Config) fill() {
	for _, d := range []struct {
		at    *time.Duration
		value time.Duration
	}{{&c.Idle, DefaultIdle}, {&c.Total, DefaultTotal}, {&c.Tick, DefaultTick}, {&c.Ping, DefaultPing}} {
		if *d.at == 0 {
			*d.at = d.value
		}
	}
	if c.Now == nil {
		c.Now = clock.Now
	}
}

// session is one session. Its fields are the provider's pump's, but for those under mu.
type session struct {
	cfg       Config
	began     time.Time
	last      atomic.Int64    // when an event came, in nanoseconds since began
	forgotten map[string]bool // items that must not be heard of

	mu          sync.Mutex           // guards what follows
	spare       Use                  // for a response that may begin
	hearing     Use                  // for a transcription that may come
	sent        []sent               // responses that the client has asked for
	open        map[string]*response // by id
	meter       meter
	automatic   bool   // the provider begins responses by itself
	transcribes bool   // it transcribes what it hears
	hears       string // by which model
	most        int64  // tokens of each answer; 0: any number
	closing     *llm.Error
}

// left is a side that has gone.
type left struct {
	client bool
	err    error // a *socket.Closed
}

// Error implements error.
func (l *left) Error() string { return l.err.Error() }

// Unwrap returns the cause.
func (l *left) Unwrap() error { return l.err }

// errDone ends a session that was told why before.
var errDone = errors.New("session is over")

// Run relays a session to its end, closes both connections and settles all its uses. ctx cuts it
// off. Its error is an *llm.Error that says why the session ended, nil if the client ended it or
// its time was over.
func Run(ctx context.Context, cfg Config) error {
	cfg.fill()
	s := &session{cfg: cfg, began: cfg.Now(), spare: cfg.First, open: map[string]*response{}, forgotten: map[string]bool{}, automatic: true}
	if cfg.Listens {
		s.spare, s.hearing, s.automatic, s.transcribes = nil, cfg.First, false, true
	}
	s.touch()
	pumping, stop := context.WithCancel(context.WithoutCancel(ctx)) // outlives ctx, so that both sides hear why
	defer stop()
	ends := make(chan error, 4)
	var wg sync.WaitGroup
	watching, unwatch := context.WithCancel(pumping)
	for _, part := range []func() error{
		func() error { return s.fromProvider(pumping) },
		func() error { return s.fromClient(pumping) },
		func() error { return s.watch(watching, ctx) },
		func() error { return s.ping(watching) },
	} {
		wg.Go(func() {
			if err := survive(part); err != nil {
				ends <- err
			}
		})
	}
	why := <-ends
	unwatch()
	e := s.end(pumping, why)
	stop()
	wg.Wait()
	s.leftover(settleWith(e))
	if e == nil {
		return nil
	}
	return e
}

// survive does a part of a session. A fault of the gateway's ends the session, and nothing else.
func survive(part func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &llm.Error{Kind: llm.Internal, Message: "The gateway failed.", Err: fmt.Errorf("panic: %v\n%s", p, debug.Stack())}
		}
	}()
	return part()
}

// settleWith is the error of uses that were open when the session ended.
func settleWith(e *llm.Error) *llm.Error {
	if e == nil {
		return errEnded
	}
	return e
}

func (s *session) touch() { s.last.Store(int64(s.cfg.Now().Sub(s.began))) }

// configure sends the configuration that the client's secret carries.
func (s *session) configure(ctx context.Context) error {
	if s.cfg.Session == nil {
		return nil
	}
	e, err := readEvent(append(append([]byte(`{"type":"session.update","session":`), s.cfg.Session...), '}'), true)
	if err == nil {
		err = s.updated(ctx, &e)
	}
	if err != nil {
		return s.refuse(ctx, err, "")
	}
	return nil
}

// configuredLocked takes in how the session is configured: what it does not say stays.
func (s *session) configuredLocked(cfg []byte) {
	s.meter.formats(cfg)
	if s.cfg.Listens {
		return
	}
	turns := member(cfg, "audio", "input", "turn_detection")
	if turns == nil {
		turns = member(cfg, "turn_detection")
	}
	if turns != nil {
		s.automatic = string(turns) != "null" && string(member(turns, "create_response")) != "false"
	}
	hears := member(cfg, "audio", "input", "transcription")
	if hears == nil {
		hears = member(cfg, "input_audio_transcription")
	}
	if hears != nil {
		s.transcribes = string(hears) != "null"
		if m := text(hears, "model"); m != "" {
			s.hears = m
		}
	}
	for _, name := range [...]string{"max_output_tokens", "max_response_output_tokens"} {
		if v := member(cfg, name); v != nil {
			c := llm.NewCursor(v)
			s.most, _ = c.Int() // "inf" is any number
		}
	}
}

// watch ends the session when its time is over, its key is not good any more or the node stops.
func (s *session) watch(ctx, cut context.Context) error {
	tick := time.NewTicker(s.cfg.Tick)
	defer tick.Stop()
	stop := s.cfg.Stop
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-cut.Done():
			return &llm.Error{Kind: llm.Unavailable, Code: codeStopping, Message: "This node stops. Open the session again."}
		case <-stop:
			stop = nil
			e := &llm.Error{Kind: llm.Unavailable, Code: codeStopping, Message: "This node stops. Open the session again when the response has ended."}
			if err := s.closeWith(ctx, e, ""); err != nil {
				return err
			}
		case <-tick.C:
			if err := s.overdue(ctx); err != nil {
				return err
			}
		}
	}
}

// The codes of a session's ends.
const (
	codeStopping = "node_stopping"
	codeExpired  = "session_expired"
	codeIdle     = "session_idle"
)

// overdue returns why the session must end now.
func (s *session) overdue(ctx context.Context) error {
	now := s.cfg.Now()
	switch {
	case now.Sub(s.began) >= s.cfg.Total:
		return &llm.Error{Kind: llm.Timeout, Code: codeExpired, Message: "The session has reached its longest duration of " + s.cfg.Total.String() + ". Open another one."}
	case now.Sub(s.began)-time.Duration(s.last.Load()) >= s.cfg.Idle:
		return &llm.Error{Kind: llm.Timeout, Code: codeIdle, Message: "Nothing was said for " + s.cfg.Idle.String() + "."}
	}
	return s.cfg.Gate.Check(ctx)
}

// ping finds out whether both sides are still there.
func (s *session) ping(ctx context.Context) error {
	tick := time.NewTicker(s.cfg.Ping)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, side := range []struct {
			conn   Peer
			client bool
		}{{s.cfg.Client, true}, {s.cfg.Provider, false}} {
			wait, cancel := context.WithTimeout(ctx, s.cfg.Ping)
			err := side.conn.Ping(wait)
			cancel()
			if err != nil && ctx.Err() == nil {
				return &left{client: side.client, err: err}
			}
		}
	}
}

// tell sends the client an error event; of is the id of the event that it is about.
func (s *session) tell(ctx context.Context, e *llm.Error, of string) error {
	return s.give(ctx, errorEvent(e, of))
}

func (s *session) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing != nil
}

// closeWith tells why the session ends, and ends it when what is open has ended.
func (s *session) closeWith(ctx context.Context, e *llm.Error, of string) error {
	s.mu.Lock()
	told := s.closing != nil
	if !told {
		s.closing = e
	}
	s.mu.Unlock()
	if told {
		return nil
	}
	if err := s.tell(ctx, e, of); err != nil {
		return err
	}
	return s.endIfIdle()
}

// endIfIdle ends a session that is closing and has nothing open.
func (s *session) endIfIdle() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing != nil && len(s.open) == 0 && len(s.sent) == 0 {
		return errDone
	}
	return nil
}

// end tells both sides that the session is over, and returns why as an error that can be told, nil
// for an ordinary end.
func (s *session) end(ctx context.Context, why error) *llm.Error {
	client, provider := farewell{socket.Normal, ""}, farewell{socket.Normal, ""}
	var e *llm.Error
	var over *left
	switch {
	case errors.Is(why, errDone):
		s.mu.Lock()
		e = s.closing
		s.mu.Unlock()
		client = goodbye(e)
	case errors.As(why, &over) && over.client:
		provider = farewellOf(over.err)
		e = clientLeft(over.err)
	case errors.As(why, &over):
		client = farewellOf(over.err)
		if e = providerLeft(over.err); e != nil {
			s.say(ctx, e)
		}
	default:
		e = asError(why)
		client = goodbye(e)
		s.say(ctx, e)
	}
	var wg sync.WaitGroup
	wg.Go(func() { s.cfg.Client.Close(client.code, client.reason) })
	wg.Go(func() { s.cfg.Provider.Close(provider.code, provider.reason) })
	wg.Wait()
	return e
}

// say tells the client why the session ends, if it still listens.
func (s *session) say(ctx context.Context, e *llm.Error) {
	ctx, cancel := context.WithTimeout(ctx, lastWords)
	defer cancel()
	_ = s.tell(ctx, e, "") // it may be gone
}

// farewell is with what a connection is closed.
type farewell struct {
	code   int
	reason string
}

// goodbye is the code for an error of the gateway's.
func goodbye(e *llm.Error) farewell {
	f := farewell{socket.Policy, reply.Code(e)}
	switch {
	case e.Code == codeIdle:
		f.code = socket.Normal
	case e.Code == codeExpired:
		f.code = socket.GoingAway
	case e.Code == codeStopping:
		f.code = socket.Restart
	case e.Kind == llm.Unavailable || e.Kind == llm.RateLimited:
		f.code = socket.TryAgain
	case e.Kind == llm.Internal || e.Kind == llm.Upstream || e.Kind == llm.Timeout:
		f.code = socket.Internal
	}
	return f
}

// farewellOf hands the end of one side on to the other.
func farewellOf(err error) farewell {
	var c *socket.Closed
	if errors.As(err, &c) && c.Err == nil {
		return farewell{c.Code, c.Reason}
	}
	if e, ok := errors.AsType[*llm.Error](err); ok {
		return goodbye(e)
	}
	return farewell{socket.Internal, "conclave_connection_lost"}
}

// clientLeft is the error of a session whose client has gone; nil: it said goodbye.
func clientLeft(err error) *llm.Error {
	var c *socket.Closed
	if errors.As(err, &c) && c.Err == nil && c.Code < 1002 {
		return nil
	}
	return &llm.Error{Kind: llm.Canceled, Message: "The client went away.", Err: err}
}

// providerLeft is the error of a session whose provider has gone; nil: it said goodbye.
func providerLeft(err error) *llm.Error {
	if e, ok := errors.AsType[*llm.Error](err); ok {
		return e
	}
	var c *socket.Closed
	if !errors.As(err, &c) || c.Err != nil {
		return &llm.Error{Kind: llm.Upstream, Code: "upstream_cut", Message: "The provider's connection broke.", Err: err}
	}
	if c.Code == socket.Normal {
		return nil
	}
	message := "The provider closed the session."
	if reason := strings.TrimSpace(c.Reason); reason != "" {
		message = "The provider closed the session: " + reason
	}
	return &llm.Error{Kind: llm.Upstream, Code: "upstream_closed", Message: message, Err: err}
}
