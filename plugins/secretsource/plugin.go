package secretsource

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-llm/conclave/plugins/contract"
	"github.com/conclave-llm/conclave/plugins/proto"
	"github.com/conclave-llm/conclave/plugins/session"
	"github.com/conclave-llm/conclave/plugins/wiretext"
	"github.com/conclave-llm/conclave/secret"
)

// PluginKey names the service in go-plugin's set.
const PluginKey = "secret_source"

const (
	maxValue = 1 << 20 // bytes of a secret
	maxText  = 300     // bytes of an error that are shown
	maxCalls = 16      // at once, of one process
)

// GRPCPlugin joins the contract to go-plugin.
type GRPCPlugin struct {
	goplugin.NetRPCUnsupportedPlugin
	Impl Plugin // nil on the host's side
}

// GRPCServer implements goplugin.GRPCPlugin.
func (p *GRPCPlugin) GRPCServer(_ *goplugin.GRPCBroker, s *grpc.Server) error {
	Register(s, p.Impl)
	return nil
}

// GRPCClient implements goplugin.GRPCPlugin; it returns a *Client.
func (p *GRPCPlugin) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return NewClient(conn), nil
}

var _ goplugin.GRPCPlugin = (*GRPCPlugin)(nil)

// Client speaks to one plugin process. It implements Plugin and Writer and may be used concurrently.
type Client struct {
	rpc    proto.SecretSourceClient
	turn   chan struct{} // holds a token for each call under way
	writes atomic.Bool   // the plugin is a Writer; known from Configure on
}

// NewClient makes a client of a plugin's connection.
func NewClient(conn grpc.ClientConnInterface) *Client {
	return &Client{rpc: proto.NewSecretSourceClient(conn), turn: make(chan struct{}, maxCalls)}
}

// Configure implements Plugin.
func (c *Client) Configure(ctx context.Context, s Settings) (Description, error) {
	resp, err := c.rpc.Configure(ctx, &proto.ConfigureSecretSource{
		Config: s.Config, Name: s.Name, HostVersion: s.HostVersion, HostMinor: contract.Minor,
	})
	if err != nil {
		return Description{}, fmt.Errorf("configure secret source %s: %w", s.Name, session.Said(err))
	}
	c.writes.Store(resp.GetWrites())
	return Description{Version: resp.GetVersion(), SDKMinor: resp.GetSdkMinor(), Writes: resp.GetWrites()}, nil
}

// begin waits until the plugin may be asked one thing more; the caller calls end.
func (c *Client) begin(ctx context.Context) (end func(), err error) {
	select {
	case c.turn <- struct{}{}:
		return func() { <-c.turn }, nil
	case <-ctx.Done():
		return nil, &Error{Unavailable, "the store is slow: too many secrets are asked for already"}
	}
}

// Read implements Plugin. Every error is an *Error.
func (c *Client) Read(ctx context.Context, at Address) (Value, error) {
	end, err := c.begin(ctx)
	if err != nil {
		return Value{}, err
	}
	defer end()
	resp, err := c.rpc.Read(ctx, &proto.ReadSecret{Path: at.Path, Field: at.Field}, grpc.MaxCallRecvMsgSize(maxValue+4096))
	if err != nil {
		return Value{}, fromStatus(err)
	}
	switch n := len(resp.GetValue()); {
	case n == 0:
		return Value{}, &Error{NotFound, "the secret is empty"}
	case n > maxValue:
		return Value{}, &Error{Malformed, fmt.Sprintf("the secret has more than %d bytes", maxValue)}
	}
	return Value{Text: secret.New(string(resp.GetValue())), Version: wiretext.Line(resp.GetVersion(), maxText)}, nil
}

var errReadsOnly = &Error{Denied, "the plugin reads only"}

// Write implements Writer. Every error is an *Error.
func (c *Client) Write(ctx context.Context, w Written) (version string, err error) {
	if !c.writes.Load() {
		return "", errReadsOnly
	}
	end, err := c.begin(ctx)
	if err != nil {
		return "", err
	}
	defer end()
	resp, err := c.rpc.Write(ctx, &proto.WriteSecret{Path: w.Path, Value: []byte(w.Text.Reveal()), Description: w.Description})
	if err != nil {
		return "", fromStatus(err)
	}
	return wiretext.Line(resp.GetVersion(), maxText), nil
}

// Delete implements Writer. Every error is an *Error.
func (c *Client) Delete(ctx context.Context, path string) error {
	if !c.writes.Load() {
		return errReadsOnly
	}
	end, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if _, err := c.rpc.Delete(ctx, &proto.DeleteSecret{Path: path}); err != nil {
		return fromStatus(err)
	}
	return nil
}

// reasons are the reasons by the codes that tell them.
var reasons = map[codes.Code]Reason{
	codes.NotFound: NotFound, codes.PermissionDenied: Denied, codes.InvalidArgument: Malformed, codes.Unavailable: Unavailable,
}

// fromStatus reads the error of a call. What is no answer of the plugin's is Unavailable.
func fromStatus(err error) *Error {
	st := status.Convert(err)
	reason, ok := reasons[st.Code()]
	if !ok {
		return &Error{Unavailable, "the secret source did not answer: " + st.Code().String()}
	}
	return &Error{reason, wiretext.Line(st.Message(), maxText)}
}

// Register serves the plugin on a gRPC server.
func Register(s grpc.ServiceRegistrar, impl Plugin) {
	proto.RegisterSecretSourceServer(s, &server{impl: impl})
}

type server struct {
	proto.UnimplementedSecretSourceServer
	impl Plugin
}

func (s *server) Configure(ctx context.Context, req *proto.ConfigureSecretSource) (*proto.SecretSourceDescription, error) {
	d, err := s.impl.Configure(ctx, Settings{
		Name: req.GetName(), Config: req.GetConfig(), HostVersion: req.GetHostVersion(), HostMinor: req.GetHostMinor(),
	})
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	_, writes := s.impl.(Writer)
	return &proto.SecretSourceDescription{Version: d.Version, SdkMinor: contract.Minor, Writes: writes}, nil
}

// caught makes the panic of one call its error: the others go on.
func caught(err *error) {
	if p := recover(); p != nil {
		*err = status.Error(codes.Unavailable, "the secret source panicked")
	}
}

func (s *server) Read(ctx context.Context, req *proto.ReadSecret) (_ *proto.SecretValue, err error) {
	defer caught(&err)
	v, err := s.impl.Read(ctx, Address{Path: req.GetPath(), Field: req.GetField()})
	if err != nil {
		return nil, toStatus(err)
	}
	if v.Text.IsZero() {
		return nil, status.Error(codes.NotFound, "the secret is empty")
	}
	return &proto.SecretValue{Value: []byte(v.Text.Reveal()), Version: wiretext.Valid(v.Version)}, nil
}

func (s *server) Write(ctx context.Context, req *proto.WriteSecret) (_ *proto.WrittenSecret, err error) {
	w, ok := s.impl.(Writer)
	if !ok {
		return nil, toStatus(errReadsOnly)
	}
	defer caught(&err)
	if len(req.GetValue()) == 0 {
		return nil, toStatus(&Error{Malformed, "the secret is empty"})
	}
	version, err := w.Write(ctx, Written{Path: req.GetPath(), Text: secret.New(string(req.GetValue())), Description: req.GetDescription()})
	if err != nil {
		return nil, toStatus(err)
	}
	return &proto.WrittenSecret{Version: wiretext.Valid(version)}, nil
}

func (s *server) Delete(ctx context.Context, req *proto.DeleteSecret) (_ *proto.DeletedSecret, err error) {
	w, ok := s.impl.(Writer)
	if !ok {
		return nil, toStatus(errReadsOnly)
	}
	defer caught(&err)
	if err := w.Delete(ctx, req.GetPath()); err != nil {
		return nil, toStatus(err)
	}
	return &proto.DeletedSecret{}, nil
}

// toStatus tells an error to the host.
func toStatus(err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return status.Error(codes.Unavailable, wiretext.Valid(err.Error()))
	}
	for code, reason := range reasons {
		if reason == e.Reason {
			return status.Error(code, wiretext.Valid(e.Text))
		}
	}
	return status.Error(codes.Unavailable, wiretext.Valid(e.Text))
}
