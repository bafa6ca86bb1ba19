package modelserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-llm/conclave/plugins/contract"
	"github.com/conclave-llm/conclave/plugins/proto"
	"github.com/conclave-llm/conclave/plugins/session"
	"github.com/conclave-llm/conclave/plugins/wiretext"
)

// Register serves the plugin on a gRPC server.
func Register(s grpc.ServiceRegistrar, impl Plugin) {
	proto.RegisterProviderServer(s, &server{impl: impl})
}

type server struct {
	proto.UnimplementedProviderServer
	impl Plugin
}

func (s *server) Configure(ctx context.Context, req *proto.ConfigureProvider) (*proto.ProviderDescription, error) {
	d, err := s.impl.Configure(ctx, Settings{
		Name: req.GetName(), Config: req.GetConfig(), HostVersion: req.GetHostVersion(), HostMinor: req.GetHostMinor(),
	})
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, wiretext.Valid(err.Error()))
	}
	resp := &proto.ProviderDescription{Version: wiretext.Valid(d.Version), SdkMinor: contract.Minor}
	if _, ok := s.impl.(Chatter); ok {
		resp.Endpoints = append(resp.Endpoints, Chat)
	}
	if _, ok := s.impl.(Embedder); ok {
		resp.Endpoints = append(resp.Endpoints, Embeddings)
	}
	if len(resp.Endpoints) == 0 {
		return nil, status.Error(codes.Internal, "the plugin implements neither Chat nor Embed")
	}
	for _, m := range d.Models {
		resp.Models = append(resp.Models, wiretext.Valid(m))
	}
	return resp, nil
}

// Session implements proto.ProviderServer.
func (s *server) Session(rpc grpc.BidiStreamingServer[proto.ProviderPing, proto.ProviderPong]) error {
	return session.Serve(rpc, session.Handler[proto.ProviderPing, proto.ProviderPong]{
		GivenUp: func(*proto.ProviderPing) bool { return false },
		Answer: func(_ context.Context, q *proto.ProviderPing) *proto.ProviderPong {
			return &proto.ProviderPong{Id: q.GetId()}
		},
		Failed: func(id uint64, _ string) *proto.ProviderPong { return &proto.ProviderPong{Id: id} },
	})
}

// Ask implements proto.ProviderServer.
func (s *server) Ask(req *proto.ProviderRequest, rpc grpc.ServerStreamingServer[proto.ProviderAnswer]) error {
	err := s.answer(req, rpc)
	if err == nil || rpc.Context().Err() != nil {
		return err // nobody waits for an error
	}
	return rpc.Send(&proto.ProviderAnswer{Kind: &proto.ProviderAnswer_Error{Error: errorToWire(err)}})
}

// answer asks the plugin; its panic is an error like others, of this request alone.
func (s *server) answer(req *proto.ProviderRequest, rpc grpc.ServerStreamingServer[proto.ProviderAnswer]) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	ctx := rpc.Context()
	q := &Request{ID: req.GetRequestId(), Model: req.GetModel(), Body: req.GetBody()}
	chunk := func(c []byte) error {
		return rpc.Send(&proto.ProviderAnswer{Kind: &proto.ProviderAnswer_Chunk{Chunk: c}})
	}
	chats, _ := s.impl.(Chatter)
	streams, _ := s.impl.(Streamer)
	embeds, _ := s.impl.(Embedder)
	var body []byte
	switch e := req.GetEndpoint(); {
	case e == Chat && req.GetStream() && streams != nil:
		return streams.ChatStream(ctx, q, chunk)
	case e == Chat && chats != nil:
		if body, err = chats.Chat(ctx, q); err == nil && req.GetStream() {
			if body, err = asChunk(body); err == nil {
				return chunk(body)
			}
		}
	case e == Embeddings && embeds != nil:
		body, err = embeds.Embed(ctx, q)
	default:
		return &Error{Status: http.StatusNotFound, Code: "endpoint_not_supported", Message: "The plugin does not serve " + wiretext.Line(e, maxText) + "."}
	}
	if err != nil {
		return err
	}
	return sendWhole(rpc, body)
}

// sendWhole sends a whole answer in pieces.
func sendWhole(rpc grpc.ServerStreamingServer[proto.ProviderAnswer], body []byte) error {
	if len(body) == 0 {
		return errors.New("the plugin returned an empty answer")
	}
	for len(body) > 0 {
		n := min(len(body), pieceSize)
		if err := rpc.Send(&proto.ProviderAnswer{Kind: &proto.ProviderAnswer_Body{Body: body[:n]}}); err != nil {
			return err
		}
		body = body[n:]
	}
	return nil
}

// errorToWire tells an error to the host. The text of one that is no *Error is for the plugin's log alone.
func errorToWire(err error) *proto.ProviderError {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		fmt.Fprintln(os.Stderr, "no answer:", err)
		e = &Error{Status: http.StatusBadGateway, Code: codeFailed, Message: "The provider's plugin failed."}
	}
	return &proto.ProviderError{
		Status: uint32(min(max(e.Status, 0), 999)), Code: wiretext.Valid(e.Code), Message: wiretext.Valid(e.Message), Type: wiretext.Valid(e.Type),
		Param: wiretext.Valid(e.Param), RetryAfterMs: uint64(max(0, e.RetryAfter/time.Millisecond)),
	}
}
