package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/view"
	"github.com/conclave-llm/conclave/resource"
)

// ErrNotAsked says that a health check was not sent, for a reason that is the gateway's own.
var ErrNotAsked = errors.New("no health check was sent")

// healthRoutes are the routes of the gateway's own questions whether a deployment answers. They are booked
// on the team resource.SystemTeamID, whose limits and budgets hold them, and on no key.
func healthRoutes() (map[llm.Endpoint]*Route, error) {
	all := map[llm.Endpoint]*Route{}
	for endpoint, path := range map[llm.Endpoint]string{llm.Chat: "/v1/chat/completions", llm.Embeddings: "/v1/embeddings"} {
		r, err := newRoute(http.MethodPost, []string{path}, endpoint, steps{
			auth: systemTeam, body: readJudge, access: checkedModel, limits: reserveLimits, budget: reserveBudget,
			plan: checkedDeployment, ledger: openEntry, answer: dispatch,
			exempt: map[string]string{stepPolicy: "the gateway itself asks", stepGuardrails: "the gateway wrote what it asks"},
		})
		if err != nil {
			return nil, err
		}
		all[endpoint] = r
	}
	return all, nil
}

// CheckHealth asks the deployment's HealthCheckModel a small question, as a request of the team
// resource.SystemTeamID. It returns nil if that was answered, an *llm.Error of the provider's, and
// ErrNotAsked if nothing was sent: the team or its money is not there.
func (s *Server) CheckHealth(ctx context.Context, d *resource.Deployment) error {
	endpoint, ask, err := pingOf(d)
	if err != nil {
		return err
	}
	c := s.calls.Get().(*Call)
	var out reply.Memory
	c.came = came{
		id: fmt.Sprintf("health-%s-%d", d.ID, s.now().UnixNano()), route: s.checks[endpoint], path: s.checks[endpoint].name, method: http.MethodPost,
		header: http.Header{}, in: memory{bytes.NewReader(ask)}, length: int64(len(ask)), out: &out, started: s.now(), checkOf: d,
	}
	defer s.recycle(c)
	s.serve(ctx, c)
	switch e := c.failed; {
	case e == nil && out.Status == http.StatusOK:
		return nil
	case c.result.attempts == 0 && e != nil:
		return fmt.Errorf("%w: %s", ErrNotAsked, e.Message)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &llm.Error{Kind: llm.Timeout, Message: "The deployment did not answer in time."}
	case e == nil:
		return &llm.Error{Kind: llm.Upstream, Status: out.Status, Message: "The deployment did not answer."}
	default:
		return e
	}
}

// pingOf is the smallest request that the deployment answers.
func pingOf(d *resource.Deployment) (llm.Endpoint, []byte, error) {
	var info struct {
		Mode string `json:"mode"`
	}
	if len(d.Metadata) > 0 {
		_ = json.Unmarshal(d.Metadata, &info) // another form has no mode that is known here
	}
	ask := map[string]any{"model": d.HealthCheckModel}
	switch info.Mode {
	case "embedding":
		ask["input"] = "ping"
		b, err := json.Marshal(ask)
		return llm.Embeddings, b, err
	case "", "chat", "completion", "responses":
		ask["messages"] = []map[string]string{{"role": "user", "content": "ping"}}
		most := d.HealthCheckMaxTokens
		if most == 0 {
			most = resource.DefaultHealthCheckTokens
		}
		name := "max_tokens"
		if d.Provider == "openai" || d.Provider == "azure" { // whose newer models refuse the older name
			name = "max_completion_tokens"
		}
		ask[name] = most
		b, err := json.Marshal(ask)
		return llm.Chat, b, err
	default:
		return 0, nil, fmt.Errorf("%w: health checks know chat and embedding, not the mode %q of model_info", ErrNotAsked, info.Mode)
	}
}

// systemTeam is the step that takes the team of the gateway's own requests for whose this one is. It has a
// view of its own, for the deployment is asked for another model than requests are.
func systemTeam(_ context.Context, s *Server, c *Call) error {
	team, ok := c.cat.Team(resource.SystemTeamID)
	if !ok || team.Blocked {
		return &llm.Error{Kind: llm.Forbidden, Code: "team_blocked", Message: "The team " + resource.SystemTeamID + " is blocked, or was deleted."}
	}
	c.who = &resource.Principal{Team: team}
	own := view.Cache{Secrets: s.cfg.Secrets, Pricer: s.cfg.Pricer, Books: s.cfg.Prices, Egress: s.cfg.Egress, Blobs: s.cfg.Blobs}
	c.view = own.Of(c.cat)
	c.levels = c.who.Levels(c.levels[:0])
	c.chain, c.above = len(c.levels), len(c.levels)
	return policy.CheckExpiry(c.levels, s.now())
}

// checkedModel is the step that finds the model of the deployment.
func checkedModel(_ context.Context, _ *Server, c *Call) error {
	m, ok := c.cat.ModelByID(c.checkOf.ModelID)
	if !ok {
		return policy.UnknownModel(c.checkOf.ModelID)
	}
	c.model = m
	c.levels = c.cat.ModelLevels(c.levels[:c.above], nil, m)
	return nil
}

// checkedDeployment is the step that plans the one attempt.
func checkedDeployment(_ context.Context, _ *Server, c *Call) error {
	d := *c.checkOf
	if name := strings.TrimPrefix(d.HealthCheckModel, d.Provider+"/"); name != d.Upstream {
		d.Upstream = name
	}
	t := router.Target{Model: c.model, Deployment: &d}
	if d.CredentialID != "" {
		credential, ok := c.cat.Credential(d.CredentialID)
		if !ok {
			return &llm.Error{Kind: llm.Unavailable, Code: "no_deployment", Message: "The credential of the deployment is not known."}
		}
		t.Credential = credential
	}
	c.plan = append(c.plan[:0:0], t)
	return nil
}
