package plugintest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	wire "github.com/conclave-llm/conclave/plugins/proto"
	"github.com/conclave-llm/conclave/plugins/routerfilter"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// RouterFilterCase says what the router filter under test should do.
type RouterFilterCase struct {
	Config []byte    // that must be accepted
	Bad    [][]byte  // configurations that must be refused
	Route  sdk.Route // with candidates
	Want   []int     // what must be chosen of them, in this order
}

// RouterFilter runs the checks of router filters; make returns a fresh, unconfigured plugin.
func RouterFilter(t *testing.T, make func() sdk.RouterFilter, c RouterFilterCase) {
	k := &filterKit{c: c, from: inMemory{filter: make}}
	run(t, k.checks())
}

// RouterFilterProgram runs the checks of router filters and of processes on a program.
func RouterFilterProgram(t *testing.T, p Program, c RouterFilterCase) {
	from := &launched{Program: p, kind: routerfilter.PluginKey}
	k := &filterKit{c: c, from: from}
	run(t, k.checks())
	run(t, from.checks())
	run(t, k.talk().processChecks(from))
}

type filterKit struct {
	c    RouterFilterCase
	from source
}

func (k *filterKit) checks() []check {
	return append([]check{
		{"describes itself", k.describes},
		{"refuses bad configurations", k.refuses},
		{"chooses as it should", func(t *testing.T) { k.right(t, k.start(t)) }},
		{"chooses the same each time", k.steady},
		{"chooses at the same time", k.concurrent},
		{"chooses only among what is there", k.one},
		{"takes a thousand candidates", k.many},
		{"lives through strange requests", k.strange},
		{"heeds cancellation", k.cancelled},
		{"goes on after a new start", k.restart},
	}, k.talk().checks()...)
}

// start serves a fresh plugin and configures it.
func (k *filterKit) start(t *testing.T) *routerfilter.Client {
	t.Helper()
	c := routerfilter.NewClient(k.from.connect(t))
	t.Cleanup(c.Close)
	if _, err := c.Configure(short(t), sdk.RouterFilterSettings{Name: "test", Config: k.c.Config}); err != nil {
		t.Fatalf("the configuration is refused: %v", err)
	}
	return c
}

func (k *filterKit) describes(t *testing.T) {
	c := routerfilter.NewClient(k.from.connect(t))
	t.Cleanup(c.Close)
	if d, err := c.Configure(short(t), sdk.RouterFilterSettings{Name: "test", Config: k.c.Config}); err != nil || d.Version == "" {
		t.Errorf("version %q, %v", d.Version, err)
	}
}

func (k *filterKit) refuses(t *testing.T) {
	for _, bad := range k.c.Bad {
		c := routerfilter.NewClient(k.from.connect(t))
		if _, err := c.Configure(short(t), sdk.RouterFilterSettings{Name: "test", Config: bad}); err == nil {
			t.Errorf("%s is accepted", bad)
		}
		c.Close()
	}
}

func (k *filterKit) right(t *testing.T, c *routerfilter.Client) {
	t.Helper()
	if got, err := c.Filter(short(t), &k.c.Route); err != nil || !slices.Equal(got, k.c.Want) {
		t.Errorf("got %v, %v, want %v", got, err, k.c.Want)
	}
}

func (k *filterKit) steady(t *testing.T) {
	c := k.start(t)
	for range 20 {
		k.right(t, c)
	}
}

func (k *filterKit) concurrent(t *testing.T) {
	c := k.start(t)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() { k.right(t, c) })
	}
	wg.Wait()
}

// one asks about each candidate alone: there is one thing at most that can be chosen.
func (k *filterKit) one(t *testing.T) {
	c := k.start(t)
	for _, only := range k.c.Route.Candidates {
		r := k.c.Route
		r.Candidates = []sdk.Candidate{only}
		if _, err := c.Filter(short(t), &r); err != nil {
			t.Errorf("%s alone: %v", only.DeploymentID, err)
		}
	}
}

func (k *filterKit) many(t *testing.T) {
	r := k.c.Route
	r.Candidates = nil
	for i := range 1000 {
		c := k.c.Route.Candidates[i%len(k.c.Route.Candidates)]
		c.DeploymentID = fmt.Sprintf("%s_%d", c.DeploymentID, i)
		r.Candidates = append(r.Candidates, c)
	}
	if _, err := k.start(t).Filter(short(t), &r); err != nil {
		t.Error(err)
	}
}

func (k *filterKit) strange(t *testing.T) {
	c := k.start(t)
	long := strings.Repeat("\U0001F468\u200D", 10_000)
	for _, r := range []sdk.Route{
		{Candidates: make([]sdk.Candidate, 3)},
		{Model: "\x00", Tags: []string{"", long}, CustomerID: long, Candidates: []sdk.Candidate{{Metadata: []byte("no JSON"), Order: -1, InFlight: -1}}},
		{Model: long, Candidates: []sdk.Candidate{{DeploymentID: "a"}, {DeploymentID: "a"}}},
	} {
		if _, err := c.Filter(short(t), &r); err != nil {
			t.Logf("an error, which on_error decides about: %v", err)
		}
	}
	k.right(t, c)
}

func (k *filterKit) cancelled(t *testing.T) {
	c := k.start(t)
	ctx, cancel := context.WithCancel(short(t))
	cancel()
	_, _ = c.Filter(ctx, &k.c.Route) // may or may not be answered
	k.right(t, c)
}

func (k *filterKit) restart(t *testing.T) {
	k.right(t, k.start(t))
	k.right(t, k.start(t))
}

// talk is the plugin as a host of any minor speaks to it.
func (k *filterKit) talk() *talk[wire.RouteQuestion, wire.RouteAnswer] {
	return &talk[wire.RouteQuestion, wire.RouteAnswer]{
		open: func(t *testing.T, minor uint32, newer bool) (grpc.BidiStreamingClient[wire.RouteQuestion, wire.RouteAnswer], uint32) {
			t.Helper()
			rpc := wire.NewRouterFilterClient(k.from.connect(t))
			c := &wire.ConfigureRouterFilter{Name: "test", Config: k.c.Config, HostMinor: minor}
			if newer {
				c.ProtoReflect().SetUnknown(unknownField)
			}
			d, err := rpc.Configure(short(t), c)
			if err != nil {
				t.Fatalf("the configuration is refused: %v", err)
			}
			s, err := rpc.Session(short(t))
			if err != nil {
				t.Fatal(err)
			}
			return s, d.GetSdkMinor()
		},
		question: func(id uint64) *wire.RouteQuestion {
			return &wire.RouteQuestion{Id: id, Kind: &wire.RouteQuestion_Route{Route: routerfilter.ToWire(&k.c.Route)}}
		},
		ping: func(id uint64) *wire.RouteQuestion {
			return &wire.RouteQuestion{Id: id, Kind: &wire.RouteQuestion_Ping{Ping: true}}
		},
		cancel: func(id uint64) *wire.RouteQuestion {
			return &wire.RouteQuestion{Id: id, Kind: &wire.RouteQuestion_Cancel{Cancel: true}}
		},
		unknown: func(id uint64) *wire.RouteQuestion { return &wire.RouteQuestion{Id: id} },
		message: func(q *wire.RouteQuestion) proto.Message { return q },
		answer:  func(a *wire.RouteAnswer) (uint64, string) { return a.GetId(), a.GetError() },
	}
}
