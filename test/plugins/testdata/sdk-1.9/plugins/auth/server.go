package auth

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-llm/conclave/plugins/contract"
	"github.com/conclave-llm/conclave/plugins/proto"
	"github.com/conclave-llm/conclave/plugins/session"
	"github.com/conclave-llm/conclave/plugins/wiretext"
	"github.com/conclave-llm/conclave/secret"
)

// Register serves the plugin on a gRPC server.
func Register(s grpc.ServiceRegistrar, impl Plugin) {
	proto.RegisterAuthServer(s, &server{impl: impl})
}

type server struct {
	proto.UnimplementedAuthServer
	impl Plugin
}

func (s *server) Configure(ctx context.Context, req *proto.ConfigureAuth) (*proto.AuthDescription, error) {
	d, err := s.impl.Configure(ctx, Settings{
		Name: req.GetName(), Config: req.GetConfig(), HostVersion: req.GetHostVersion(), HostMinor: req.GetHostMinor(),
	})
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, wiretext.Valid(err.Error()))
	}
	resp := &proto.AuthDescription{Version: wiretext.Valid(d.Version), SdkMinor: contract.Minor, Wants: d.Wants}
	for _, h := range d.Hooks {
		if _, ok := s.impl.(KeyPlugin); !ok && h != HookCredential {
			return nil, status.Errorf(codes.Internal, "the plugin declares %s and does not implement it", h)
		}
		resp.Hooks = append(resp.Hooks, hooks[h])
	}
	return resp, nil
}

func (s *server) Session(rpc grpc.BidiStreamingServer[proto.AuthQuestion, proto.AuthAnswer]) error {
	return session.Serve(rpc, session.Handler[proto.AuthQuestion, proto.AuthAnswer]{
		GivenUp: func(q *proto.AuthQuestion) bool { return q.GetCancel() },
		Answer:  s.answer,
		Failed: func(id uint64, text string) *proto.AuthAnswer {
			return &proto.AuthAnswer{Id: id, Error: wiretext.Valid(text)}
		},
	})
}

func (s *server) answer(ctx context.Context, q *proto.AuthQuestion) *proto.AuthAnswer {
	out := &proto.AuthAnswer{Id: q.GetId()}
	switch k := q.GetKind().(type) {
	case *proto.AuthQuestion_Ping:
	case *proto.AuthQuestion_Credential:
		ctx, cancel := session.Within(ctx, k.Credential.GetDeadlineMs())
		defer cancel()
		a, err := s.impl.Authenticate(ctx, credentialFromWire(k.Credential))
		if err != nil {
			out.Error = said(err)
			return out
		}
		answerToWire(&a, out)
	case *proto.AuthQuestion_Key:
		s.key(ctx, k.Key, out)
	default:
		out.Error = "message is newer than the plugin"
	}
	return out
}

// said is the text of an error, which is never empty on the wire.
func said(err error) string {
	if text := wiretext.Valid(err.Error()); text != "" {
		return text
	}
	return "the plugin gives an error without a text"
}

func (s *server) key(ctx context.Context, d *proto.KeyDraft, out *proto.AuthAnswer) {
	ctx, cancel := session.Within(ctx, d.GetDeadlineMs())
	defer cancel()
	impl, ok := s.impl.(KeyPlugin)
	hook, known := hookOf(d.GetHook())
	if !ok || !known {
		out.Error = said(errors.New("the plugin is not asked about keys"))
		return
	}
	v, err := impl.Key(ctx, &KeyDraft{Hook: hook, Key: d.GetKey(), Before: d.GetBefore(), Actor: d.GetActor()})
	if err != nil {
		out.Error = said(err)
		return
	}
	out.Kind = &proto.AuthAnswer_Key{Key: &proto.KeyVerdict{Fill: v.Fill, Refused: wiretext.Valid(v.Refused)}}
}

func credentialFromWire(q *proto.Credential) *Credential {
	c := &Credential{Method: q.GetMethod(), Path: q.GetPath(), Address: q.GetAddress(), Header: make(map[string][]string, len(q.GetHeaders()))}
	if q.GetSecret() != "" {
		c.Secret = secret.New(q.GetSecret())
	}
	for _, h := range q.GetHeaders() {
		c.Header[h.GetName()] = h.GetValues()
	}
	return c
}

func answerToWire(a *Answer, out *proto.AuthAnswer) {
	out.CacheSeconds = uint32(max(0, a.CacheFor/time.Second))
	switch {
	case a.Refusal != nil:
		out.Kind = &proto.AuthAnswer_Refusal{Refusal: &proto.Refusal{
			Status: uint32(a.Refusal.Status), Code: wiretext.Valid(a.Refusal.Code), Message: wiretext.Valid(a.Refusal.Message),
		}}
	case a.Identity != nil:
		i := a.Identity
		wire := &proto.Identity{
			KeyId: wiretext.Valid(i.KeyID), KeyHash: wiretext.Valid(i.KeyHash), UserId: wiretext.Valid(i.UserID), TeamId: wiretext.Valid(i.TeamID), ProjectId: wiretext.Valid(i.ProjectID), CustomerId: wiretext.Valid(i.CustomerID),
			Models: i.Models, Rpm: i.RPM, Tpm: i.TPM, Parallel: i.Parallel, Tags: i.Tags,
		}
		if !i.ExpiresAt.IsZero() {
			wire.ExpiresUnix = i.ExpiresAt.Unix()
		}
		out.Kind = &proto.AuthAnswer_Identity{Identity: wire}
	}
}
