package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/reply"
)

// The bounds of one request.
const (
	maxRounds = 10      // requests of the model; the last may call no tool
	maxCalls  = 64      // of tools
	abreast   = 8       // calls of one answer at once
	maxResult = 1 << 20 // bytes of a result that the model is shown
	maxTotal  = 8 << 20 // of all results
)

// ErrTorn is an answer that was cut where no error could be said any more: the client's must be cut too.
var ErrTorn = errors.New("the answer was cut")

// errBroken is an answer of the model's that cannot be read.
var errBroken = errors.New("the answer of a round cannot be read")

// Config is what a Request is run with. All fields are required but Finish and Rename.
type Config struct {
	Tools Toolset
	// Ask makes one request of the model, whose answer goes to out, be it an error, which is
	// returned too.
	Ask func(ctx context.Context, round int, body []byte, out reply.Writer) *llm.Error
	// Out is the client.
	Out reply.Writer
	// Finish is given the whole answer before it leaves, in a stream that of its last event, and
	// returns what is sent; nil: nothing is done. Of chat completions and messages it sees none.
	Finish func(ctx context.Context, answer []byte) []byte
	// Rename is given every response in a stream; nil: they stay as they are.
	Rename func(response []byte) []byte
}

// talk is a conversation in one dialect.
type talk interface {
	// start puts the tools into the request, and returns calls that an earlier answer left.
	start(o *offer) ([]*call, error)
	// body is the request of a round; of the last one it lets the model call nothing.
	body(last bool) []byte
	// partial says whether calls are made while others of the same answer are left to the client.
	partial() bool
	// answered takes the results of calls, and sends the events that tell of them.
	answered(calls []*call)
	// whole takes an answer.
	whole(answer []byte) ([]*call, error)
	// answer is the one for the client.
	answer() []byte
	// event takes one of a stream.
	event(typ string, data []byte) error
	// ended is the end of a round's stream.
	ended() ([]*call, error)
	// last are the events that end the client's stream.
	last(finish func([]byte) []byte)
}

// loop is a Request on its way.
type loop struct {
	cfg   Config
	r     *Request
	t     talk
	offer *offer
	made  int // calls
	bytes int // of their results
	most  int // calls
	spent meter
	out   *feed
}

// Run runs a request. An error has not been told to the client; of ErrTorn he cannot be.
func (r *Request) Run(ctx context.Context, cfg Config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := &loop{cfg: cfg, r: r, most: maxCalls, out: &feed{to: cfg.Out, rename: cfg.Rename}}
	switch r.at {
	case llm.Chat:
		l.t = newChat(r, l.out)
	case llm.Messages:
		l.t = newMessages(r, l.out)
	default:
		l.t = newResponses(r, l.out)
	}
	if n := r.callLimit(); n > 0 {
		l.most = min(n, maxCalls)
	}
	return l.run(ctx)
}

// callLimit is the client's own bound of calls, 0 for none.
func (r *Request) callLimit() (n int) {
	if json.Unmarshal(r.doc["max_tool_calls"], &n) != nil || n < 0 {
		return 0
	}
	return n
}

func (l *loop) run(ctx context.Context) (err error) {
	if l.offer, err = offerOf(ctx, l.cfg.Tools, l.r.servers, l.r.functions()); err != nil {
		return err
	}
	left, err := l.t.start(l.offer)
	if err != nil {
		return err
	}
	if err := l.call(ctx, left); err != nil {
		return err
	}
	for round := 0; ; round++ {
		last := round == maxRounds-1 || l.made >= l.most
		calls, over, err := l.round(ctx, round, last)
		if over || err != nil {
			return l.fail(err)
		}
		again, err := l.proceed(ctx, calls, last)
		if err != nil {
			return l.fail(err)
		}
		if !again {
			return l.deliver(ctx)
		}
	}
}

// proceed makes the calls of an answer, and says whether the model is asked again.
func (l *loop) proceed(ctx context.Context, calls []*call, last bool) (again bool, err error) {
	var run []*call
	for _, c := range calls {
		if c.runs() && !last {
			run = append(run, c)
		}
	}
	again = len(calls) > 0 && len(run) == len(calls)
	if !again && !l.t.partial() {
		return false, nil
	}
	return again, l.call(ctx, run)
}

// round asks the model once. over says that the client has been told how it ended.
func (l *loop) round(ctx context.Context, round int, last bool) (calls []*call, over bool, err error) {
	body := l.t.body(last)
	if !l.r.stream {
		in := newIntake(nil)
		if e := l.cfg.Ask(ctx, round, body, in); e != nil || in.status != http.StatusOK {
			return nil, true, in.relay(l.cfg.Out)
		}
		l.spent.add(in.header)
		l.out.header = in.header
		calls, err = l.t.whole(in.body)
		return calls, false, broken(err)
	}
	return l.stream(ctx, round, body)
}

// stream is round for an answer that comes in events.
func (l *loop) stream(ctx context.Context, round int, body []byte) (calls []*call, over bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	in := newIntake(w)
	var failed *llm.Error
	var asking sync.WaitGroup
	asking.Go(func() {
		defer func() {
			if p := recover(); p != nil { // an answer that was cut
				in.torn = true
			}
			_ = w.Close() // never fails
		}()
		failed = l.cfg.Ask(ctx, round, body, in)
	})
	defer func() {
		cancel()
		_ = r.Close() // never fails
		asking.Wait()
	}()
	err = l.read(r, in)
	if err != nil {
		cancel()
		_ = r.Close()
		asking.Wait()
		return nil, false, err
	}
	asking.Wait()
	if failed != nil || in.torn {
		return nil, true, l.cutShort(in, failed)
	}
	if in.status != http.StatusOK || !in.events() {
		return nil, true, in.relay(l.cfg.Out)
	}
	calls, err = l.t.ended()
	return calls, false, broken(err)
}

// read takes the events of a round's stream, whose head has come when the first does.
func (l *loop) read(r io.Reader, in *intake) error {
	events := llm.NewSSEReader(r, 0)
	for {
		ev, err := events.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return broken(err)
		}
		l.out.header = in.header
		switch {
		case ev.Cut:
			return broken(errBroken)
		case isError(ev):
			l.out.raw(ev.Raw)
		case len(ev.Data) == 0: // a comment keeps the connection
			if l.out.begun() {
				l.out.raw(ev.Raw)
			}
		default:
			if err := l.t.event(string(ev.Type), ev.Data); err != nil {
				return broken(err)
			}
		}
		if err := l.out.flush(); err != nil {
			return err
		}
	}
}

// isError says whether an event is the one with which a stream of ours fails.
func isError(ev llm.Event) bool {
	if string(ev.Type) == "error" {
		return true
	}
	o, err := readObject(ev.Data)
	return err == nil && o.has("error") && !o.has("choices") && !o.has("type")
}

// cutShort ends the client's answer as a round's has ended: with an error, which is an event if
// events were sent before. The error of a stream that had begun was an event of its own.
func (l *loop) cutShort(in *intake, failed *llm.Error) error {
	if in.torn || errors.Is(failed, ErrTorn) {
		return ErrTorn
	}
	if in.events() {
		return nil
	}
	if !l.out.begun() {
		return in.relay(l.cfg.Out)
	}
	l.out.raw(reply.ErrorEvent(failed, l.r.at.Vendor(), l.r.at))
	return l.out.flush()
}

// fail is the end of a request by an error of ours: the caller tells the client, unless a stream
// has begun.
func (l *loop) fail(err error) error {
	if err == nil || !l.out.begun() || errors.Is(err, ErrTorn) {
		return err
	}
	e := reply.AsError(err)
	if e.Kind == llm.Canceled {
		return nil
	}
	l.out.raw(reply.ErrorEvent(e, l.r.at.Vendor(), l.r.at))
	_ = l.out.flush() // who has left needs no error
	return nil
}

// deliver sends the answer, or the end of the stream.
func (l *loop) deliver(ctx context.Context) error {
	finish := func(answer []byte) []byte {
		if l.cfg.Finish == nil {
			return answer
		}
		return l.cfg.Finish(ctx, answer)
	}
	if l.r.stream {
		l.t.last(finish)
		return l.out.flush()
	}
	return l.out.whole(finish(l.t.answer()), &l.spent)
}

// broken is the error of an answer that cannot be read; one of ours stays as it is.
func broken(err error) error {
	var e *llm.Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return &llm.Error{Kind: llm.Upstream, Code: "invalid_answer", Message: "The model's answer cannot be read.", Err: err}
}

// call makes calls, some at once, and hands their results to the conversation.
func (l *loop) call(ctx context.Context, calls []*call) error {
	if len(calls) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	slots := make(chan struct{}, abreast)
	errs := make([]error, len(calls))
	for i, c := range calls {
		if l.made++; l.made > l.most {
			c.result = &Result{Text: fmt.Sprintf("This request may call %d tools, which it has.", l.most), Failed: true}
			continue
		}
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if errs[i] = l.one(ctx, c); errs[i] != nil {
				cancel()
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	for _, c := range calls {
		l.bound(c.result)
	}
	l.t.answered(calls)
	return l.out.flush()
}

// one makes a call. What goes wrong with it is told to the model, unless nothing more can be done.
func (l *loop) one(ctx context.Context, c *call) error {
	raw, err := c.raw()
	var res Result
	if err == nil {
		res, err = l.cfg.Tools.Call(ctx, l.offer.of[c.tool.Label], c.tool.Full, raw)
	}
	if err == nil {
		c.result = &res
		return nil
	}
	e := reply.AsError(err)
	switch e.Kind {
	case llm.OverBudget, llm.Canceled, llm.Internal:
		return err
	}
	c.result = &Result{Text: e.Message, Failed: true}
	return nil
}

// bound keeps the bytes of results within what a request may hold.
func (l *loop) bound(r *Result) {
	if len(r.Text) > maxResult {
		*r = Result{Text: fmt.Sprintf("The result has %d bytes, of which at most %d can be shown. Ask for less.", len(r.Text), maxResult), Failed: true}
	}
	if l.bytes += len(r.Text); l.bytes > maxTotal {
		*r = Result{Text: "The results of this request are too large to be shown together.", Failed: true}
	}
}
