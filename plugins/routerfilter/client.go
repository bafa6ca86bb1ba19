package routerfilter

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-llm/conclave/plugins/contract"
	"github.com/conclave-llm/conclave/plugins/proto"
	"github.com/conclave-llm/conclave/plugins/session"
	"github.com/conclave-llm/conclave/plugins/wiretext"
)

// maxText bounds the text of a plugin's error, in bytes.
const maxText = 300

// ErrNotRunning is why nobody answers.
var ErrNotRunning = session.ErrNotRunning

// Client asks one plugin process over one session. It may be used concurrently.
type Client struct {
	*session.Client[proto.RouteQuestion, proto.RouteAnswer, *proto.RouteAnswer]
	rpc proto.RouterFilterClient
}

// NewClient makes a client of a plugin's connection. Configure must be called next.
func NewClient(conn grpc.ClientConnInterface) *Client {
	return &Client{
		Client: session.NewClient[proto.RouteQuestion, proto.RouteAnswer](func(id uint64) *proto.RouteQuestion {
			return &proto.RouteQuestion{Id: id, Kind: &proto.RouteQuestion_Cancel{Cancel: true}}
		}),
		rpc: proto.NewRouterFilterClient(conn),
	}
}

// Configure configures the plugin and opens the session.
func (c *Client) Configure(ctx context.Context, s Settings) (Description, error) {
	resp, err := c.rpc.Configure(ctx, &proto.ConfigureRouterFilter{
		Config: s.Config, Name: s.Name, HostVersion: s.HostVersion, HostMinor: contract.Minor,
	})
	if err != nil {
		return Description{}, fmt.Errorf("configure router filter %s: %w", s.Name, session.Said(err))
	}
	return Description{Version: resp.GetVersion(), SDKMinor: resp.GetSdkMinor()}, c.Open(c.rpc.Session)
}

// Ping asks for a sign of life through the session.
func (c *Client) Ping(ctx context.Context) error {
	return c.AskForSign(ctx, func(id uint64) *proto.RouteQuestion {
		return &proto.RouteQuestion{Id: id, Kind: &proto.RouteQuestion_Ping{Ping: true}}
	})
}

// Filter asks which candidates may answer. A choice that is none of the candidates, or one twice, is an
// error.
func (c *Client) Filter(ctx context.Context, r *Route) ([]int, error) {
	q := ToWire(r)
	q.DeadlineMs = session.Remaining(ctx)
	a, err := c.Ask(ctx, func(id uint64) *proto.RouteQuestion {
		return &proto.RouteQuestion{Id: id, Kind: &proto.RouteQuestion_Route{Route: q}}
	})
	if err != nil {
		return nil, err
	}
	return chosen(a, len(r.Candidates))
}

// chosen reads the answer of a plugin that had so many candidates.
func chosen(a *proto.RouteAnswer, candidates int) ([]int, error) {
	if text := a.GetError(); text != "" {
		return nil, fmt.Errorf("plugin: %s", short(text))
	}
	if len(a.GetChosen()) > candidates {
		return nil, errors.New("plugin chooses more deployments than there are candidates")
	}
	out := make([]int, len(a.GetChosen()))
	seen := make([]bool, candidates)
	for i, at := range a.GetChosen() {
		if int64(at) >= int64(len(seen)) || seen[at] {
			return nil, errors.New("plugin chooses a deployment that is no candidate, or one twice")
		}
		seen[at], out[i] = true, int(at)
	}
	return out, nil
}

// ToWire is the route as a plugin gets it, without a deadline.
func ToWire(r *Route) *proto.Route {
	q := &proto.Route{
		RequestId: r.RequestID, Endpoint: r.Endpoint, Model: wiretext.Valid(r.Model), Asked: wiretext.Valid(r.Asked), KeyId: r.KeyID, TeamId: r.TeamID,
		OrganizationId: r.OrganizationID, UserId: wiretext.Valid(r.UserID), CustomerId: wiretext.Valid(r.CustomerID), Session: wiretext.Valid(r.Session), Stream: r.Stream,
		Candidates: make([]*proto.Candidate, len(r.Candidates)),
	}
	for _, t := range r.Tags {
		q.Tags = append(q.Tags, wiretext.Valid(t))
	}
	slab := make([]proto.Candidate, len(r.Candidates))
	for i := range r.Candidates {
		c, w := &r.Candidates[i], &slab[i]
		w.DeploymentId, w.Name, w.Provider, w.UpstreamModel, w.ApiBase = c.DeploymentID, wiretext.Valid(c.Name), c.Provider, wiretext.Valid(c.UpstreamModel), wiretext.Valid(c.APIBase)
		w.Metadata = c.Metadata
		w.Order, w.InFlight, w.Others, w.FirstTokenSeconds = int32(c.Order), c.InFlight, c.Others, c.FirstToken
		q.Candidates[i] = w
	}
	return q
}

// Register serves the plugin on a gRPC server.
func Register(s grpc.ServiceRegistrar, impl Plugin) {
	proto.RegisterRouterFilterServer(s, &server{impl: impl})
}

type server struct {
	proto.UnimplementedRouterFilterServer
	impl Plugin
}

func (s *server) Configure(ctx context.Context, req *proto.ConfigureRouterFilter) (*proto.RouterFilterDescription, error) {
	d, err := s.impl.Configure(ctx, Settings{
		Name: req.GetName(), Config: req.GetConfig(), HostVersion: req.GetHostVersion(), HostMinor: req.GetHostMinor(),
	})
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, wiretext.Valid(err.Error()))
	}
	return &proto.RouterFilterDescription{Version: wiretext.Valid(d.Version), SdkMinor: contract.Minor}, nil
}

func (s *server) Session(rpc grpc.BidiStreamingServer[proto.RouteQuestion, proto.RouteAnswer]) error {
	return session.Serve(rpc, session.Handler[proto.RouteQuestion, proto.RouteAnswer]{
		GivenUp: func(q *proto.RouteQuestion) bool { return q.GetCancel() },
		Answer:  s.answer,
		Failed: func(id uint64, text string) *proto.RouteAnswer {
			return &proto.RouteAnswer{Id: id, Error: wiretext.Valid(text)}
		},
	})
}

func (s *server) answer(ctx context.Context, q *proto.RouteQuestion) *proto.RouteAnswer {
	out := &proto.RouteAnswer{Id: q.GetId()}
	route := q.GetRoute()
	switch {
	case q.GetPing():
		return out
	case route == nil:
		out.Error = "message is newer than the plugin"
		return out
	}
	ctx, cancel := session.Within(ctx, route.GetDeadlineMs())
	defer cancel()
	chosen, err := s.impl.Filter(ctx, routeFromWire(route))
	if err != nil {
		out.Error = "the filter fails: " + wiretext.Valid(err.Error())
		return out
	}
	for _, at := range chosen {
		if at < 0 || at >= len(route.GetCandidates()) {
			out.Error = fmt.Sprintf("the filter chooses candidate %d of %d", at, len(route.GetCandidates()))
			return out
		}
		out.Chosen = append(out.Chosen, uint32(at))
	}
	return out
}

func routeFromWire(q *proto.Route) *Route {
	r := &Route{
		RequestID: q.GetRequestId(), Endpoint: q.GetEndpoint(), Model: q.GetModel(), Asked: q.GetAsked(), KeyID: q.GetKeyId(), TeamID: q.GetTeamId(),
		OrganizationID: q.GetOrganizationId(), UserID: q.GetUserId(), CustomerID: q.GetCustomerId(), Tags: q.GetTags(), Session: q.GetSession(), Stream: q.GetStream(),
		Candidates: make([]Candidate, len(q.GetCandidates())),
	}
	for i, c := range q.GetCandidates() {
		r.Candidates[i] = Candidate{
			DeploymentID: c.GetDeploymentId(), Name: c.GetName(), Provider: c.GetProvider(), UpstreamModel: c.GetUpstreamModel(), APIBase: c.GetApiBase(),
			Order: int(c.GetOrder()), InFlight: c.GetInFlight(), Others: c.GetOthers(), FirstToken: c.GetFirstTokenSeconds(), Metadata: c.GetMetadata(),
		}
	}
	return r
}

// short is the text of a plugin's error in one line of bounded length.
func short(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	return strings.ToValidUTF8(text[:min(len(text), maxText)], "")
}
