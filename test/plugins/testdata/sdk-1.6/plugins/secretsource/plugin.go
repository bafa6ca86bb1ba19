package secretsource

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-llm/conclave/plugins/contract"
	"github.com/conclave-llm/conclave/plugins/proto"
	"github.com/conclave-llm/conclave/secret"
)

// PluginKey names the service in go-plugin's set.
const PluginKey = "secret_source"

const (
	maxValue = 1 << 20 // bytes of a secret
	maxText  = 300     // bytes of an error that are shown
	maxReads = 16      // at once, of one process
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

// Client speaks to one plugin process. It implements Plugin and may be used concurrently.
type Client struct {
	rpc  proto.SecretSourceClient
	turn chan struct{} // holds a token for each read under way
}

// NewClient makes a client of a plugin's connection.
func NewClient(conn grpc.ClientConnInterface) *Client {
	return &Client{rpc: proto.NewSecretSourceClient(conn), turn: make(chan struct{}, maxReads)}
}

// Configure implements Plugin.
func (c *Client) Configure(ctx context.Context, s Settings) (Description, error) {
	resp, err := c.rpc.Configure(ctx, &proto.ConfigureSecretSource{
		Config: s.Config, Name: s.Name, HostVersion: s.HostVersion, HostMinor: contract.Minor,
	})
	if err != nil {
		return Description{}, fmt.Errorf("configure secret source %s: %w", s.Name, err)
	}
	return Description{Version: resp.GetVersion(), SDKMinor: resp.GetSdkMinor()}, nil
}

// Read implements Plugin. Every error is an *Error.
func (c *Client) Read(ctx context.Context, at Address) (Value, error) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return Value{}, &Error{Unavailable, "the store is slow: too many secrets are read already"}
	}
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
	return Value{Text: secret.New(string(resp.GetValue())), Version: printable(resp.GetVersion())}, nil
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
	return &Error{reason, printable(st.Message())}
}

// printable is the text of a plugin in one line of bounded length.
func printable(text string) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "�")), " ")
	if len(text) <= maxText {
		return text
	}
	cut := maxText
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
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
	return &proto.SecretSourceDescription{Version: d.Version, SdkMinor: contract.Minor}, nil
}

func (s *server) Read(ctx context.Context, req *proto.ReadSecret) (_ *proto.SecretValue, err error) {
	defer func() {
		if p := recover(); p != nil { // of one read: the others go on
			err = status.Error(codes.Unavailable, "the secret source panicked")
		}
	}()
	v, err := s.impl.Read(ctx, Address{Path: req.GetPath(), Field: req.GetField()})
	if err != nil {
		return nil, toStatus(err)
	}
	if v.Text.IsZero() {
		return nil, status.Error(codes.NotFound, "the secret is empty")
	}
	return &proto.SecretValue{Value: []byte(v.Text.Reveal()), Version: strings.ToValidUTF8(v.Version, "�")}, nil
}

// toStatus tells an error to the host.
func toStatus(err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return status.Error(codes.Unavailable, strings.ToValidUTF8(err.Error(), "�"))
	}
	for code, reason := range reasons {
		if reason == e.Reason {
			return status.Error(code, strings.ToValidUTF8(e.Text, "�"))
		}
	}
	return status.Error(codes.Unavailable, strings.ToValidUTF8(e.Text, "�"))
}
