package modelserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/contract"
	"github.com/conclave-llm/conclave/plugins/proto"
	"github.com/conclave-llm/conclave/plugins/session"
	"github.com/conclave-llm/conclave/plugins/wiretext"
)

// Bounds of what a plugin says, in bytes or in names.
const (
	maxText   = 300
	maxModels = 10_000
)

// ErrNotRunning is why nobody answers.
var ErrNotRunning = session.ErrNotRunning

// Client asks one plugin process. It may be used concurrently. What it embeds is the session, by which a node
// sees that the process lives.
type Client struct {
	*session.Client[proto.ProviderPing, proto.ProviderPong, *proto.ProviderPong]
	rpc proto.ProviderClient

	described Description  // from Configure on
	calls     atomic.Int64 // under way
}

// NewClient makes a client of a plugin's connection. Configure must be called next.
func NewClient(conn grpc.ClientConnInterface) *Client {
	return &Client{
		Client: session.NewClient[proto.ProviderPing, proto.ProviderPong](func(id uint64) *proto.ProviderPing {
			return &proto.ProviderPing{Id: id} // there is nothing to take back: one answer more is passed over
		}),
		rpc: proto.NewProviderClient(conn),
	}
}

// Configure configures the plugin and opens the session.
func (c *Client) Configure(ctx context.Context, s Settings) (Description, error) {
	resp, err := c.rpc.Configure(ctx, &proto.ConfigureProvider{
		Config: s.Config, Name: s.Name, HostVersion: s.HostVersion, HostMinor: contract.Minor,
	})
	if err != nil {
		return Description{}, fmt.Errorf("configure provider %s: %w", s.Name, session.Said(err))
	}
	d := Description{Version: resp.GetVersion(), SDKMinor: resp.GetSdkMinor(), Models: resp.GetModels()}
	for _, e := range resp.GetEndpoints() {
		if (e == Chat || e == Embeddings) && !slices.Contains(d.Endpoints, e) { // a newer plugin may have others
			d.Endpoints = append(d.Endpoints, e)
		}
	}
	if len(d.Endpoints) == 0 {
		return Description{}, fmt.Errorf("configure provider %s: it serves neither %s nor %s", s.Name, Chat, Embeddings)
	}
	if len(d.Models) > maxModels {
		return Description{}, fmt.Errorf("configure provider %s: it has more than %d models", s.Name, maxModels)
	}
	c.described = d
	return d, c.Open(c.rpc.Session)
}

// Ping asks for a sign of life through the session.
func (c *Client) Ping(ctx context.Context) error {
	return c.AskForSign(ctx, func(id uint64) *proto.ProviderPing { return &proto.ProviderPing{Id: id} })
}

// Waiting counts the requests that are under way.
func (c *Client) Waiting() int { return int(c.calls.Load()) }

// Question is a request as a node asks a plugin.
type Question struct {
	Endpoint llm.Endpoint
	Request
	Stream bool
}

// refuses says why the plugin is not asked at all; nil: it is.
func (d *Description) refuses(q *Question) *llm.Error {
	if !slices.Contains(d.Endpoints, q.Endpoint.String()) {
		return &llm.Error{
			Kind: llm.NotFound, Code: "endpoint_not_supported", Param: "model", Message: "The deployment's plugin does not serve " + q.Endpoint.String() + ".",
		}
	}
	if len(d.Models) > 0 && !slices.Contains(d.Models, q.Model) {
		return &llm.Error{
			Kind: llm.NotFound, Code: "model_not_found", Param: "model", Message: "The deployment's plugin has no model " + wiretext.Line(q.Model, maxText) + ".",
		}
	}
	if len(q.Body) > maxRequest {
		return &llm.Error{
			Kind: llm.TooLarge, Code: "request_too_large", Message: fmt.Sprintf("A request to a plugin has at most %d bytes.", maxRequest),
		}
	}
	return nil
}

// Ask sends a request and waits for the first message of its answer, which must be closed. An error before it
// is an *llm.Error, ErrNotRunning of a process that was not asked, or ctx's.
func (c *Client) Ask(ctx context.Context, q *Question) (*Answer, error) {
	select {
	case <-c.Done():
		return nil, ErrNotRunning
	default:
	}
	if e := c.described.refuses(q); e != nil {
		return nil, e
	}
	call, cancel := context.WithCancel(ctx)
	a := &Answer{client: c, cancel: cancel, streamed: q.Stream}
	c.calls.Add(1)
	var err error
	a.rpc, err = c.rpc.Ask(call, &proto.ProviderRequest{
		Endpoint: q.Endpoint.String(), Model: wiretext.Valid(q.Model), Body: q.Body, Stream: q.Stream, RequestId: q.ID,
	}, grpc.MaxCallRecvMsgSize(maxPiece+4096))
	if err == nil {
		err = a.first()
	}
	if err == nil {
		return a, nil
	}
	_ = a.Close()
	if e, ok := errors.AsType[*llm.Error](err); ok {
		return nil, e
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if end, ok := ctx.Deadline(); ok && status.Code(err) == codes.DeadlineExceeded && !time.Now().Before(end) {
		return nil, context.DeadlineExceeded // the plugin's side of the connection saw it first
	}
	return nil, &llm.Error{Kind: llm.Upstream, Code: codeFailed, Message: "The provider's plugin ended, or failed, before it answered.", Err: err}
}
