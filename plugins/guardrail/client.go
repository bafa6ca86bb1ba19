package guardrail

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/conclave-llm/conclave/plugins/contract"
	"github.com/conclave-llm/conclave/plugins/proto"
	"github.com/conclave-llm/conclave/plugins/session"
	"github.com/conclave-llm/conclave/plugins/wiretext"
	"github.com/conclave-llm/conclave/resource"
)

// maxWaiting bounds the messages that wait to be written to a plugin that does not read.
const maxWaiting = 256

// Client asks one plugin process over one session. Many checks are under way at a time.
type Client struct {
	rpc   proto.GuardrailClient
	out   chan *proto.HostMessage
	signs session.Signs

	ctx    context.Context    // of the session: its life, not a request's
	cancel context.CancelFunc // ends the session
	wg     sync.WaitGroup

	mu      sync.Mutex // guards what follows
	pending map[uint64]chan *proto.Verdict
	asks    map[uint64]func(*proto.ModelRequest) // of checks to which models are lent
	last    uint64                               // id of the newest conversation
	err     error                                // why the session ended
}

// NewClient makes a client of a plugin's connection. Configure must be called next.
func NewClient(conn grpc.ClientConnInterface) *Client {
	ctx, cancel := context.WithCancel(context.Background())
	return &Client{
		rpc:     proto.NewGuardrailClient(conn),
		out:     make(chan *proto.HostMessage, maxWaiting),
		ctx:     ctx,
		cancel:  cancel,
		pending: make(map[uint64]chan *proto.Verdict),
		asks:    make(map[uint64]func(*proto.ModelRequest)),
	}
}

// Configure configures the plugin and opens the session.
func (c *Client) Configure(ctx context.Context, s Settings) (Description, error) {
	resp, err := c.rpc.Configure(ctx, &proto.ConfigureGuardrail{
		Config: s.Config, Name: s.Name, HostVersion: s.HostVersion, HostMinor: contract.Minor,
	})
	if err != nil {
		return Description{}, fmt.Errorf("configure guardrail %s: %w", s.Name, session.Said(err))
	}
	d := Description{
		Version: resp.GetVersion(), HoldBack: int(resp.GetHoldBackBytes()),
		HoldAll: resp.GetHoldAll(), WantsBody: resp.GetWantsBody(), SDKMinor: resp.GetSdkMinor(),
		WantsHeaders: resp.GetWantsHeaders(), WantsCaller: resp.GetWantsCaller(), WantsRequest: resp.GetWantsRequest(),
	}
	for _, p := range resp.GetHooks() {
		if h, ok := hookOf(p); ok {
			d.Hooks = append(d.Hooks, h)
		}
	}
	stream, err := c.rpc.Session(c.ctx, grpc.MaxCallRecvMsgSize(MaxAnswer), grpc.MaxCallSendMsgSize(MaxMessage))
	if err != nil {
		return Description{}, fmt.Errorf("open session of guardrail %s: %w", s.Name, err)
	}
	c.wg.Go(func() { c.send(stream) })
	c.wg.Go(func() { c.receive(stream) })
	return d, nil
}

// Close ends the session and waits for its goroutines. Checks under way fail.
func (c *Client) Close() {
	c.fail(ErrNotRunning)
	c.wg.Wait()
}

// Waiting counts the questions that wait for their answers.
func (c *Client) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pending)
}

// Signs are what was heard in the session.
func (c *Client) Signs() *session.Signs { return &c.signs }

// Done is closed when the session has ended.
func (c *Client) Done() <-chan struct{} { return c.ctx.Done() }

// Ping asks for a sign of life through the session.
func (c *Client) Ping(ctx context.Context) error {
	id, answer, err := c.begin()
	if err != nil {
		return err
	}
	c.signs.Ping(id)
	_, err = c.await(ctx, &proto.HostMessage{Id: id, Kind: &proto.HostMessage_Ping{Ping: &proto.Ping{}}}, answer)
	return err
}

// Check asks the plugin about a request or a whole answer. Without an answer before the
// context ends it returns an error, and tells the plugin that nobody waits.
func (c *Client) Check(ctx context.Context, q *Check) (Verdict, error) {
	id, answer, err := c.begin()
	if err != nil {
		return Verdict{}, err
	}
	msg := &proto.Check{
		Hook: hooks[q.Hook], Info: infoToWire(&q.Info), Body: q.Body,
		DeadlineMs: remaining(ctx),
		Headers:    headersToWire(q.Headers), Caller: callerToWire(q.Caller), Failure: failureToWire(q.Failure), Record: loggedToWire(q.Record),
	}
	var size, more int
	msg.Texts, size = textsToWire(q.Texts)
	msg.Request, more = textsToWire(q.Request)
	size += more + len(q.Body)
	if r := q.Record; r != nil {
		size += len(r.Request) + len(r.Response)
	}
	if size > MaxMessage-(1<<20) {
		c.forget(id)
		return Verdict{}, fmt.Errorf("check of %d bytes is larger than a plugin's message", size)
	}
	defer c.lend(ctx, id, q.Info.Models)()
	return c.ask(ctx, &proto.HostMessage{Id: id, Kind: &proto.HostMessage_Check{Check: msg}}, answer)
}

// OpenStream begins the check of a stream; it does not wait for the plugin.
func (c *Client) OpenStream(ctx context.Context, info *Info) (Stream, error) {
	id, _, err := c.begin()
	if err != nil {
		return nil, err
	}
	c.forget(id)
	s := &clientStream{c: c, id: id}
	return s, c.post(ctx, &proto.HostMessage{Id: id, Kind: &proto.HostMessage_Open{
		Open: &proto.Open{Info: infoToWire(info), DeadlineMs: remaining(ctx)},
	}})
}

// clientStream is one conversation within the session.
type clientStream struct {
	c     *Client
	id    uint64
	ended bool
}

func (s *clientStream) Chunk(ctx context.Context, parts []Part) (Verdict, error) {
	wire := make([]*proto.Part, len(parts))
	slab := make([]proto.Part, len(parts))
	for i, p := range parts {
		slab[i].Channel, slab[i].Text = p.Channel, p.Text
		wire[i] = &slab[i]
	}
	return s.turn(ctx, &proto.HostMessage{Id: s.id, Kind: &proto.HostMessage_Chunk{Chunk: &proto.Chunk{Parts: wire}}})
}

func (s *clientStream) End(ctx context.Context) (Verdict, error) {
	v, err := s.turn(ctx, &proto.HostMessage{Id: s.id, Kind: &proto.HostMessage_End{End: &proto.End{}}})
	s.ended = s.ended || err == nil
	return v, err
}

func (s *clientStream) Close() {
	if s.ended {
		return
	}
	s.ended = true
	s.c.tell(s.id)
}

// turn sends a message and waits for its verdict. After an error the conversation is over: a
// late verdict must not be taken for that of the next chunk.
func (s *clientStream) turn(ctx context.Context, m *proto.HostMessage) (Verdict, error) {
	if s.ended {
		return Verdict{}, errors.New("stream is over")
	}
	answer := make(chan *proto.Verdict, 1)
	if err := s.c.expect(s.id, answer); err != nil {
		return Verdict{}, err
	}
	v, err := s.c.ask(ctx, m, answer)
	if err != nil {
		s.ended = true
		s.c.tell(s.id)
	}
	return v, err
}

// begin starts a conversation that expects one verdict.
func (c *Client) begin() (uint64, chan *proto.Verdict, error) {
	answer := make(chan *proto.Verdict, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, nil, c.err
	}
	c.last++
	c.pending[c.last] = answer
	return c.last, answer, nil
}

func (c *Client) expect(id uint64, answer chan *proto.Verdict) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.pending[id] = answer
	return nil
}

func (c *Client) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, id)
}

// ask is await of a question that has a deadline.
func (c *Client) ask(ctx context.Context, m *proto.HostMessage, answer chan *proto.Verdict) (Verdict, error) {
	before := c.signs.Answered()
	v, err := c.await(ctx, m, answer)
	if err != nil {
		c.signs.Miss(ctx, before)
	}
	return v, err
}

// await posts the message and waits for the verdict that begin or expect has announced.
func (c *Client) await(ctx context.Context, m *proto.HostMessage, answer chan *proto.Verdict) (Verdict, error) {
	if err := c.post(ctx, m); err != nil {
		c.forget(m.GetId())
		return Verdict{}, err
	}
	select {
	case v := <-answer:
		if v == nil {
			return Verdict{}, c.cause()
		}
		return verdictFromWire(v)
	case <-ctx.Done():
		c.forget(m.GetId())
		c.tell(m.GetId())
		return Verdict{}, context.Cause(ctx)
	}
}

func (c *Client) post(ctx context.Context, m *proto.HostMessage) error {
	select {
	case c.out <- m:
		return nil
	case <-c.ctx.Done():
		return c.cause()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// tell says that nobody waits for the conversation any more, if the plugin reads at all.
func (c *Client) tell(id uint64) {
	select {
	case c.out <- &proto.HostMessage{Id: id, Kind: &proto.HostMessage_Cancel{Cancel: &proto.Cancel{}}}:
	default:
	}
}

func (c *Client) cause() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		return ErrNotRunning
	}
	return c.err
}

func (c *Client) send(s grpc.BidiStreamingClient[proto.HostMessage, proto.GuardrailMessage]) {
	for {
		select {
		case m := <-c.out:
			if err := s.Send(m); err != nil {
				return // receive knows why
			}
		case <-c.ctx.Done():
			return
		}
	}
}

func (c *Client) receive(s grpc.BidiStreamingClient[proto.HostMessage, proto.GuardrailMessage]) {
	for {
		m, err := s.Recv()
		if err != nil {
			c.fail(fmt.Errorf("%w: session ended: %w", ErrNotRunning, err))
			return
		}
		c.signs.Hear(m.GetId())
		c.mu.Lock()
		if q := m.GetAsk(); q != nil {
			c.askLocked(m.GetId(), q)
			c.mu.Unlock()
			continue
		}
		answer, ok := c.pending[m.GetId()]
		delete(c.pending, m.GetId())
		c.mu.Unlock()
		if ok {
			v := m.GetVerdict()
			if v == nil {
				v = &proto.Verdict{Error: "plugin sent no verdict"}
			}
			answer <- v
		}
	}
}

// fail ends the session; everything that waits is told at once.
func (c *Client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	for id, answer := range c.pending {
		answer <- nil
		delete(c.pending, id)
	}
	c.cancel()
}

func infoToWire(i *Info) *proto.Info {
	return &proto.Info{
		RequestId: i.RequestID, Endpoint: i.Endpoint, Model: wiretext.Valid(i.Model), KeyId: i.KeyID,
		TeamId: i.TeamID, User: wiretext.Valid(i.User), Stream: i.Stream,
	}
}

func verdictFromWire(v *proto.Verdict) (Verdict, error) {
	if v.GetError() != "" {
		return Verdict{}, fmt.Errorf("plugin: %s", v.GetError())
	}
	out := Verdict{
		Message: v.GetMessage(), Change: changeFromWire(v.GetChange()), Answer: v.GetAnswer(), Status: int(v.GetStatus()), Code: v.GetCode(),
		Headers: headersFromWire(v.GetHeaders()), Failure: failureFromWire(v.GetFailure()), Record: loggedFromWire(v.GetRecord()),
		Body: v.GetBody(), ContentType: v.GetContentType(),
	}
	switch v.GetAction() {
	case proto.Action_ACTION_PASS:
	case proto.Action_ACTION_REWRITE:
		out.Action = Rewrite
	case proto.Action_ACTION_BLOCK:
		out.Action = Block
	case proto.Action_ACTION_ANSWER:
		out.Action = Answer
	default:
		return Verdict{}, fmt.Errorf("plugin: unknown action %d", v.GetAction())
	}
	for _, r := range v.GetReplacements() {
		out.Replacements = append(out.Replacements, Replacement{
			Index: int(r.GetIndex()), Text: r.GetText(), Channel: r.GetChannel(), Start: int64(r.GetStart()), End: int64(r.GetEnd()),
		})
	}
	for _, f := range v.GetFindings() {
		if len(out.Findings) < maxFindings {
			out.Findings = append(out.Findings, Finding{Category: clip(f.GetCategory()), Count: int(f.GetCount()), Score: f.GetScore()})
		}
	}
	return out, nil
}

// Bounds of what is kept of what a plugin found.
const (
	maxFindings = 32
	maxCategory = 64
)

// clip shortens the name of a category, and takes out what would break a line or a header.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == ',' {
			return '_'
		}
		return r
	}, s)
	return s[:min(len(s), maxCategory)]
}

// remaining is the time until the context's deadline in milliseconds, at least 1; 0 without one.
func remaining(ctx context.Context) uint32 {
	at, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return uint32(max(1, time.Until(at).Milliseconds()))
}

var _ Streamer = (*Client)(nil)

// hookNames lists hooks for messages.
func hookNames(hs []resource.Hook) string {
	names := make([]string, len(hs))
	for i, h := range hs {
		names[i] = string(h)
	}
	return strings.Join(names, ", ")
}
