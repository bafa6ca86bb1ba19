package guardrail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-llm/conclave/plugins/contract"
	"github.com/conclave-llm/conclave/plugins/proto"
	"github.com/conclave-llm/conclave/plugins/wiretext"
)

// maxChecks bounds the checks that a plugin works on at a time; the session is not read
// while all are taken.
const maxChecks = 256

// Register serves the plugin on a gRPC server.
func Register(s grpc.ServiceRegistrar, impl Plugin) {
	proto.RegisterGuardrailServer(s, &server{impl: impl})
}

type server struct {
	proto.UnimplementedGuardrailServer
	impl Plugin
	host atomic.Uint32 // its minor
}

func (s *server) Configure(ctx context.Context, req *proto.ConfigureGuardrail) (*proto.GuardrailDescription, error) {
	s.host.Store(req.GetHostMinor())
	d, err := s.impl.Configure(ctx, Settings{
		Name: req.GetName(), Config: req.GetConfig(), HostVersion: req.GetHostVersion(), HostMinor: req.GetHostMinor(),
	})
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if d.HoldBack < 0 {
		return nil, status.Errorf(codes.Internal, "hold-back of %d bytes", d.HoldBack)
	}
	resp := &proto.GuardrailDescription{
		Version: d.Version, HoldBackBytes: uint32(d.HoldBack), HoldAll: d.HoldAll, WantsBody: d.WantsBody, SdkMinor: contract.Minor,
		WantsHeaders: d.WantsHeaders, WantsCaller: d.WantsCaller, WantsRequest: d.WantsRequest,
	}
	for _, h := range d.Hooks {
		resp.Hooks = append(resp.Hooks, hooks[h])
	}
	return resp, nil
}

func (s *server) Session(rpc grpc.BidiStreamingServer[proto.HostMessage, proto.GuardrailMessage]) error {
	ctx, cancel := context.WithCancel(rpc.Context())
	se := &served{
		impl: s.impl, host: s.host.Load(), rpc: rpc, slots: make(chan struct{}, maxChecks),
		checks: make(map[uint64]context.CancelFunc), streams: make(map[uint64]*serverStream), askers: make(map[uint64]*asker),
	}
	defer se.wg.Wait()
	defer cancel()
	for {
		m, err := rpc.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		se.handle(ctx, m)
	}
}

// served is a session on the plugin's side.
type served struct {
	impl  Plugin
	host  uint32 // its minor
	rpc   grpc.BidiStreamingServer[proto.HostMessage, proto.GuardrailMessage]
	slots chan struct{}
	wg    sync.WaitGroup

	sending sync.Mutex // serializes rpc.Send

	mu      sync.Mutex // guards what follows
	checks  map[uint64]context.CancelFunc
	streams map[uint64]*serverStream
	askers  map[uint64]*asker // of checks
}

func (s *served) handle(ctx context.Context, m *proto.HostMessage) {
	id := m.GetId()
	switch k := m.GetKind().(type) {
	case *proto.HostMessage_Check:
		s.check(ctx, id, k.Check)
	case *proto.HostMessage_Open:
		s.open(ctx, id, k.Open)
	case *proto.HostMessage_Chunk, *proto.HostMessage_End:
		s.mu.Lock()
		st := s.streams[id]
		s.mu.Unlock()
		if st == nil {
			s.answer(id, &proto.Verdict{Error: "no such stream"})
			return
		}
		select {
		case st.in <- m:
		default:
			s.answer(id, &proto.Verdict{Error: "chunk before the verdict on the last one"})
		}
	case *proto.HostMessage_Cancel:
		s.cancel(id)
	case *proto.HostMessage_Answer:
		s.answered(id, k.Answer)
	case *proto.HostMessage_Ping:
		s.answer(id, &proto.Verdict{Action: proto.Action_ACTION_PASS})
	default:
		s.answer(id, &proto.Verdict{Error: "message is newer than the plugin"})
	}
}

func (s *served) check(ctx context.Context, id uint64, q *proto.Check) {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return
	}
	ctx, cancel := within(ctx, q.GetDeadlineMs())
	c := checkFromWire(q)
	a := &asker{
		slots: s.slots, answers: make(map[uint32]chan *proto.ModelAnswer),
		send: func(q *proto.ModelRequest) { s.send(&proto.GuardrailMessage{Id: id, Ask: q}) },
	}
	c.Info.Models = a
	s.mu.Lock()
	s.checks[id], s.askers[id] = cancel, a
	s.mu.Unlock()
	s.wg.Go(func() {
		defer func() {
			<-s.slots
			s.cancel(id)
		}()
		s.answer(id, judge(func() (Verdict, error) {
			v, err := s.impl.Check(ctx, c)
			if err == nil {
				err = s.tellable(&v)
			}
			return v, err
		}))
	})
}

// tellable says why the host cannot be told the verdict; nil: it can. One from before bodies would take an
// answer with one for an empty text, and a message that is too large would end the session.
func (s *served) tellable(v *Verdict) error {
	switch {
	case v.Action != Answer || len(v.Body) == 0 && v.ContentType == "":
		return nil
	case s.host < contract.MinorBodies:
		return fmt.Errorf("the node speaks minor %s of the contract, and an answer with a body needs %s", contract.Name(s.host), contract.Name(contract.MinorBodies))
	case len(v.Body) > MaxBody:
		return fmt.Errorf("an answer with a body of %d bytes, more than %d", len(v.Body), MaxBody)
	}
	return nil
}

// serverStream is the plugin's side of one conversation.
type serverStream struct {
	in     chan *proto.HostMessage
	cancel context.CancelFunc
}

func (s *served) open(ctx context.Context, id uint64, o *proto.Open) {
	ctx, cancel := context.WithCancel(ctx)
	st := &serverStream{in: make(chan *proto.HostMessage, 1), cancel: cancel}
	s.mu.Lock()
	s.streams[id] = st
	s.mu.Unlock()
	s.wg.Go(func() {
		defer s.cancel(id)
		s.converse(ctx, id, st, o)
	})
}

func (s *served) converse(ctx context.Context, id uint64, st *serverStream, o *proto.Open) {
	opener, ok := s.impl.(Streamer)
	if !ok {
		opener = noStreams{}
	}
	info := infoFromWire(o.GetInfo())
	impl, err := opener.OpenStream(ctx, &info)
	if err == nil {
		defer impl.Close()
	}
	for {
		var m *proto.HostMessage
		select {
		case m = <-st.in:
		case <-ctx.Done():
			return
		}
		if err != nil {
			s.answer(id, &proto.Verdict{Error: err.Error()})
			return
		}
		turn, cancel := within(ctx, o.GetDeadlineMs())
		var v *proto.Verdict
		if c := m.GetChunk(); c != nil {
			v = judge(func() (Verdict, error) { return impl.Chunk(turn, partsFromWire(c)) })
		} else {
			v = judge(func() (Verdict, error) { return impl.End(turn) })
		}
		cancel()
		if m.GetEnd() != nil {
			s.cancel(id) // before the answer: the id is free when the host has it
		}
		s.answer(id, v)
		if m.GetEnd() != nil {
			return
		}
	}
}

type noStreams struct{}

func (noStreams) OpenStream(context.Context, *Info) (Stream, error) { return nil, ErrNoStreams }

// cancel ends the check or stream of the conversation, if it is under way.
func (s *served) cancel(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel, ok := s.checks[id]; ok {
		cancel()
		delete(s.checks, id)
		delete(s.askers, id)
	}
	if st, ok := s.streams[id]; ok {
		st.cancel()
		delete(s.streams, id)
	}
}

func (s *served) answer(id uint64, v *proto.Verdict) {
	s.send(&proto.GuardrailMessage{Id: id, Verdict: v})
}

func (s *served) send(m *proto.GuardrailMessage) {
	s.sending.Lock()
	defer s.sending.Unlock()
	_ = s.rpc.Send(m) // a broken session ends in Recv
}

// answered hands a model's answer to the check that has asked for it.
func (s *served) answered(id uint64, m *proto.ModelAnswer) {
	s.mu.Lock()
	a := s.askers[id]
	s.mu.Unlock()
	if a != nil {
		a.answered(m)
	}
}

// judge turns what the plugin returns, or its panic, into a verdict.
func judge(ask func() (Verdict, error)) (out *proto.Verdict) {
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintf(os.Stderr, "panic: %v\n%s", r, debug.Stack())
			out = &proto.Verdict{Error: fmt.Sprintf("panic: %v", r)}
		}
	}()
	v, err := ask()
	if err != nil {
		return &proto.Verdict{Error: wiretext.Valid(err.Error())}
	}
	out = &proto.Verdict{
		Action: proto.Action_ACTION_PASS, Message: wiretext.Valid(v.Message), Change: changeToWire(v.Change), Answer: wiretext.Valid(v.Answer), Status: uint32(v.Status),
		Code: wiretext.Valid(v.Code), Headers: headersToWire(v.Headers), Failure: failureToWire(v.Failure), Record: loggedToWire(v.Record),
		Body: v.Body, ContentType: wiretext.Valid(v.ContentType),
	}
	switch v.Action {
	case Rewrite:
		out.Action = proto.Action_ACTION_REWRITE
	case Block:
		out.Action = proto.Action_ACTION_BLOCK
	case Answer:
		out.Action = proto.Action_ACTION_ANSWER
	}
	for _, r := range v.Replacements {
		out.Replacements = append(out.Replacements, &proto.Replacement{
			Index: uint32(r.Index), Text: wiretext.Valid(r.Text), Channel: r.Channel, Start: uint64(r.Start), End: uint64(r.End),
		})
	}
	for _, f := range v.Findings {
		out.Findings = append(out.Findings, &proto.Finding{Category: wiretext.Valid(f.Category), Count: uint32(f.Count), Score: f.Score})
	}
	return out
}

func within(ctx context.Context, ms uint32) (context.Context, context.CancelFunc) {
	if ms == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Duration(ms)*time.Millisecond)
}

func checkFromWire(q *proto.Check) *Check {
	hook, _ := hookOf(q.GetHook())
	c := &Check{
		Hook: hook, Info: infoFromWire(q.GetInfo()), Body: q.GetBody(), Texts: make([]Text, len(q.GetTexts())),
		Headers: headersFromWire(q.GetHeaders()), Caller: callerFromWire(q.GetCaller()), Failure: failureFromWire(q.GetFailure()), Record: loggedFromWire(q.GetRecord()),
		Request: textsFromWire(q.GetRequest()),
	}
	for i, t := range q.GetTexts() {
		c.Texts[i] = Text{Path: t.GetPath(), Role: t.GetRole(), Text: t.GetText()}
	}
	return c
}

func partsFromWire(c *proto.Chunk) []Part {
	parts := make([]Part, len(c.GetParts()))
	for i, p := range c.GetParts() {
		parts[i] = Part{Channel: p.GetChannel(), Text: p.GetText()}
	}
	return parts
}

func infoFromWire(i *proto.Info) Info {
	return Info{
		RequestID: i.GetRequestId(), Endpoint: i.GetEndpoint(), Model: i.GetModel(), KeyID: i.GetKeyId(),
		TeamID: i.GetTeamId(), User: i.GetUser(), Stream: i.GetStream(),
	}
}
