package callback

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-llm/conclave/plugins/contract"
	"github.com/conclave-llm/conclave/plugins/proto"
	"github.com/conclave-llm/conclave/plugins/session"
	"github.com/conclave-llm/conclave/plugins/wiretext"
)

// PluginKey names the service in go-plugin's set.
const PluginKey = "callback"

// maxAnswer is the largest message in bytes that is taken from a plugin.
const maxAnswer = 1 << 20

// maxReason is the length in bytes of what is shown of a plugin's reason.
const maxReason = 1000

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

// Client speaks to one plugin process. It implements Plugin.
type Client struct{ rpc proto.CallbackClient }

// NewClient makes a client of a plugin's connection.
func NewClient(conn grpc.ClientConnInterface) *Client {
	return &Client{rpc: proto.NewCallbackClient(conn)}
}

// Configure implements Plugin.
func (c *Client) Configure(ctx context.Context, s Settings) (Description, error) {
	resp, err := c.rpc.Configure(ctx, &proto.ConfigureCallback{
		Config: s.Config, Name: s.Name, HostVersion: s.HostVersion, HostMinor: contract.Minor,
	}, grpc.MaxCallRecvMsgSize(maxAnswer))
	if err != nil {
		return Description{}, fmt.Errorf("configure callback %s: %w", s.Name, session.Said(err))
	}
	return Description{Version: resp.GetVersion(), MaxBatch: int(resp.GetMaxBatch()), SDKMinor: resp.GetSdkMinor()}, nil
}

// Deliver implements Plugin.
func (c *Client) Deliver(ctx context.Context, records []Record) (int, error) {
	batch := &proto.Batch{Records: make([]*proto.Record, len(records))}
	for i := range records {
		batch.Records[i] = toWire(&records[i])
	}
	resp, err := c.rpc.Deliver(ctx, batch, grpc.MaxCallRecvMsgSize(maxAnswer))
	if status.Code(err) == codes.PermissionDenied {
		err = &denied{session.Said(err)}
	} else if err != nil {
		err = session.Said(err)
	}
	if err != nil {
		return 0, fmt.Errorf("deliver %d records: %w", len(records), err)
	}
	n := sort.Search(len(records), func(i int) bool { return records[i].Position > resp.GetDelivered() })
	if n < len(records) && records[n].Position == resp.GetRefused() && resp.GetRefused() != 0 {
		return n, &Refused{Reason: resp.GetReason()}
	}
	if n < len(records) && (n == 0 || resp.GetReason() != "") {
		return n, fmt.Errorf("sink took %d of %d records: %s", n, len(records), cmp.Or(wiretext.Line(resp.GetReason(), maxReason), "it does not say why"))
	}
	return n, nil
}

// Register serves the plugin on a gRPC server.
func Register(s grpc.ServiceRegistrar, impl Plugin) {
	proto.RegisterCallbackServer(s, &server{impl: impl, turn: make(chan struct{}, 1)})
}

type server struct {
	proto.UnimplementedCallbackServer
	impl Plugin
	turn chan struct{} // holds the token of the delivery under way: the plugin sees one after the other
}

// begin waits for the turn of a delivery; the caller calls end.
func (s *server) begin(ctx context.Context) (end func(), err error) {
	select {
	case s.turn <- struct{}{}:
		return func() { <-s.turn }, nil
	case <-ctx.Done():
		return nil, status.Error(codes.Unavailable, "the delivery before has not ended")
	}
}

func (s *server) Configure(ctx context.Context, req *proto.ConfigureCallback) (*proto.CallbackDescription, error) {
	d, err := s.impl.Configure(ctx, Settings{
		Name: req.GetName(), Config: req.GetConfig(), HostVersion: req.GetHostVersion(), HostMinor: req.GetHostMinor(),
	})
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return &proto.CallbackDescription{Version: d.Version, MaxBatch: uint32(max(0, d.MaxBatch)), SdkMinor: contract.Minor}, nil
}

func (s *server) Deliver(ctx context.Context, b *proto.Batch) (*proto.Receipt, error) {
	records := make([]Record, len(b.GetRecords()))
	for i, r := range b.GetRecords() {
		records[i] = fromWire(r)
	}
	if len(records) == 0 {
		return &proto.Receipt{}, nil
	}
	end, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	ctx, cancel := sooner(ctx)
	defer cancel()
	n, err := s.impl.Deliver(ctx, records)
	refused, putAside := errors.AsType[*Refused](err)
	switch {
	case err == nil || n > 0 || putAside:
	case errors.Is(err, ErrDenied):
		return nil, status.Error(codes.PermissionDenied, err.Error())
	default:
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	if n < 0 || n > len(records) {
		return nil, status.Errorf(codes.Internal, "plugin says that it delivered %d of %d records", n, len(records))
	}
	receipt := &proto.Receipt{}
	if n > 0 {
		receipt.Delivered = records[n-1].Position
	}
	switch {
	case n == len(records):
	case putAside:
		receipt.Refused, receipt.Reason = records[n].Position, wiretext.Valid(refused.Reason)
	case err != nil && ctx.Err() == nil: // else the time was over, which is no failure of the sink
		receipt.Reason = wiretext.Valid(err.Error())
	}
	return receipt, nil
}

// sooner ends a tenth before the host gives up, so that what was delivered until then is still told.
func sooner(ctx context.Context) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, end.Add(-time.Until(end)/10))
}

// ErrNotRunning is why nothing is delivered while no process serves the callback.
var ErrNotRunning = errors.New("callback is not running")

// denied is what a plugin says of a sink that does not accept the credentials.
type denied struct{ error }

// Is says that it is ErrDenied, too.
func (*denied) Is(target error) bool { return target == ErrDenied }

// Unwrap returns what the plugin says.
func (d *denied) Unwrap() error { return d.error }
