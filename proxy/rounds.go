package proxy

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/agent"
	"github.com/conclave-llm/conclave/proxy/auth"
	"github.com/conclave-llm/conclave/proxy/reply"
)

// errRounds ends a pipeline whose request is answered by rounds of requests.
var errRounds = errors.New("the request is answered in rounds")

// Servers are the MCP servers whose tools requests may name.
type Servers interface {
	// Toolset has the servers of one client, who was admitted.
	Toolset(c *agent.Client) agent.Toolset
}

// findServers looks whether the request names MCP servers. No provider may be told of one, which it
// would connect to: where the gateway does not call the tools itself, the request is refused.
func (s *Server) findServers(c *Call) error {
	at := c.route.endpoint
	switch {
	case c.round || c.form != nil:
		return nil
	case c.route.prefix != nil, c.fields.HasMCP && (!agent.Speaks(at) || s.cfg.Servers == nil):
		if agent.Named(c.body) {
			return agent.Elsewhere()
		}
		return nil
	case !agent.Speaks(at) || s.cfg.Servers == nil:
		return nil
	}
	r, err := agent.Read(at, c.body, &c.fields)
	if err != nil || r == nil {
		return err
	}
	c.agent = r
	return errRounds
}

// rounds answers a request by asking its model, calling the tools that it calls, and asking it
// again. Each round is a request of its own, from its first step on. An error has not been told
// to the client.
func (s *Server) rounds(ctx context.Context, c *Call) error {
	if c.turn != nil {
		if err := c.turn.Decide(c.terms()); err != nil {
			return err
		}
	}
	asked := false
	cfg := agent.Config{
		Out: c.out,
		Tools: s.cfg.Servers.Toolset(&agent.Client{
			Catalog: c.cat, Who: c.who, Levels: c.levels[:c.above], Own: c.chain, Customer: c.fields.User, Tags: c.fields.Tags,
			Session: c.session, Header: c.header, Secret: auth.Secret(c.header, c.cat.Settings().KeyHeader),
		}),
		Ask: func(ctx context.Context, round int, body []byte, out reply.Writer) *llm.Error {
			asked = true
			return s.round(ctx, c, round, body, out)
		},
	}
	if c.turn != nil {
		cfg.Rename = c.turn.Whole
		cfg.Finish = func(ctx context.Context, answer []byte) []byte {
			if !c.fields.Stream {
				answer = c.turn.Whole(answer)
			}
			return c.turn.Keep(ctx, c.body, answer, c.owners())
		}
	}
	err := c.agent.Run(ctx, cfg)
	if errors.Is(err, agent.ErrTorn) {
		c.torn = true
		return nil
	}
	if err != nil && asked {
		c.id += "-mcp" // the first round's row has its own
	}
	return err
}

// round makes one request for another. Its answer goes to out.
func (s *Server) round(ctx context.Context, of *Call, n int, body []byte, out reply.Writer) *llm.Error {
	c := s.calls.Get().(*Call)
	c.came = of.came
	c.round, c.in, c.length, c.out, c.started = true, memory{bytes.NewReader(body)}, int64(len(body)), out, s.now()
	if n > 0 {
		c.id += "-" + strconv.Itoa(n+1)
	}
	defer s.recycle(c)
	s.serve(ctx, c)
	if c.torn {
		return &llm.Error{Kind: llm.Upstream, Code: "conclave_cut", Message: "The answer was cut.", Err: agent.ErrTorn}
	}
	return c.failed
}

// memory is a body that is here already.
type memory struct{ *bytes.Reader }

// Until implements reply.Body.
func (memory) Until(time.Time) {}
