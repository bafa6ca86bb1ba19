package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/tokenize"
	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/retry"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/proxy/utility"
	"github.com/conclave-llm/conclave/proxy/view"
)

// question makes a route that tells of a request without sending it. It passes the whole chain, as
// the request itself would, and costs nothing.
func question(path string, read, answer step) (*Route, error) {
	r, err := inference(llm.InputTokens, path)
	if err != nil {
		return nil, err
	}
	r.steps.body, r.steps.plan, r.steps.answer, r.about = read, planCount, answer, true
	return r, nil
}

// tokenCounterRoute counts the tokens of a request.
func tokenCounterRoute() (*Route, error) {
	return question("/utils/token_counter", readBody, countTokens)
}

// transformRoute shows what a request would become at its provider.
func transformRoute() (*Route, error) {
	return question("/utils/transform_request", readTransform, showTransformed)
}

// paramsRoute tells which of OpenAI's parameters a model takes.
func paramsRoute() (*Route, error) {
	return modelQuestion("/utils/supported_openai_params", showParams)
}

// modelInfoRoute tells what is known of a model: its sizes and its price.
func modelInfoRoute() (*Route, error) {
	return modelQuestion("/utils/model_info", showModelInfo)
}

// modelQuestion makes the route of a question about the model that the query names.
func modelQuestion(path string, answer step) (*Route, error) {
	r, err := lookup([]string{path}, answer)
	if err != nil {
		return nil, err
	}
	delete(r.steps.exempt, stepBody)
	delete(r.steps.exempt, stepAccess)
	r.steps.body, r.steps.access = readModelQuery, func(ctx context.Context, s *Server, c *Call) error {
		if c.named == "" {
			return nil
		}
		return authorize(ctx, s, c)
	}
	return r, nil
}

// tell answers a question. Nobody was asked.
func (s *Server) tell(ctx context.Context, c *Call, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	return s.say(ctx, c, body)
}

// say answers with a body that the gateway made itself.
func (s *Server) say(ctx context.Context, c *Call, body []byte) error {
	now := s.now()
	c.result.began, c.result.answered = now, now
	if c.result.dialled.IsZero() {
		c.result.dialled = now
	}
	return s.answer(ctx, c, &Answer{Status: http.StatusOK, Header: http.Header{"Content-Type": typeJSON}, Body: body})
}

func readModelQuery(_ context.Context, _ *Server, c *Call) error {
	q, _ := url.ParseQuery(c.query)
	c.named = q.Get("model")
	return nil
}

// first is the first deployment of the model, as an attempt sees it. The router is not asked: it
// would count a request.
func (c *Call) first() (*view.Deployment, error) {
	for _, d := range c.cat.ModelDeployments(c.model) {
		if d.Blocked {
			continue
		}
		t := router.Target{Model: c.model, Deployment: d}
		if cred, ok := c.cat.Credential(d.CredentialID); ok {
			t.Credential = cred
		}
		c.result.target = t
		seen := c.view.Deployment(&t)
		if seen.Err != nil {
			return nil, retry.Unusable("The deployment cannot be used.", seen.Err)
		}
		return seen, nil
	}
	return nil, &llm.Error{Kind: llm.Unavailable, Code: "no_deployment", Message: "The model has no deployment."}
}

func countTokens(ctx context.Context, s *Server, c *Call) error {
	d, err := c.first()
	if err != nil {
		return err
	}
	if q, _ := url.ParseQuery(c.query); q.Get("call_endpoint") == "true" {
		if out := s.countAsked(ctx, c, d); out != nil {
			return s.tell(ctx, c, out)
		}
	}
	t, exact, err := utility.Tokenizer(ctx, s.cfg.Tokenizers, c.result.target.Deployment, d.Name)
	if err != nil {
		return err
	}
	n, err := utility.Tokens(t, c.body)
	if err != nil {
		return err
	}
	out := utility.Count{Total: n, RequestModel: c.asked(), ModelUsed: d.Name, TokenizerType: "openai_tokenizer", Source: "estimated"}
	if t.Name() == tokenize.FileName {
		out.TokenizerType = "huggingface_tokenizer"
	}
	if exact {
		out.Source = "exact"
	}
	return s.tell(ctx, c, &out)
}

func showParams(_ context.Context, s *Server, c *Call) error {
	if c.model == nil {
		return s.writeJSON(c, map[string][]string{"supported_openai_params": provider.AllParams()})
	}
	d, err := c.first()
	if err != nil {
		return err
	}
	return s.writeJSON(c, map[string][]string{"supported_openai_params": d.Provider.Params(d.Name)})
}

func showModelInfo(_ context.Context, s *Server, c *Call) error {
	if c.model == nil {
		return &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Param: "model", Message: "The query names no model; give ?model=."}
	}
	d, err := c.first()
	if err != nil {
		return err
	}
	info := pricing.ModelInfo(c.result.target.Deployment, d.Name, d.List)
	info["supported_openai_params"] = d.Provider.Params(d.Name)
	return s.writeJSON(c, info)
}

// readTransform reads the question, and takes the request in it for the call's own.
func readTransform(ctx context.Context, s *Server, c *Call) error {
	if err := readBody(ctx, s, c); err != nil {
		return err
	}
	var in transformQuestion
	if err := json.Unmarshal(c.body, &in); err != nil {
		return &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Param: "request_body", Message: "The question must be an object with call_type and request_body."}
	}
	endpoint, ok := utility.CallType(in.CallType)
	if !ok {
		return utility.BadCallType(in.CallType)
	}
	c.would = endpoint
	if len(in.Body) == 0 { // the request itself
		return nil
	}
	if err := c.peek(in.Body); err != nil {
		return err
	}
	return c.fillPrompt(endpoint)
}

// transformQuestion is what readTransform reads.
type transformQuestion struct {
	CallType string          `json:"call_type"`
	Body     json.RawMessage `json:"request_body"`
}

// transformed is what would be sent.
type transformed struct {
	Method  string          `json:"raw_request_method"`
	URL     string          `json:"raw_request_api_base"`
	Body    json.RawMessage `json:"raw_request_body"`
	Headers http.Header     `json:"raw_request_headers"` // without secrets
	Dropped []string        `json:"dropped_params,omitempty"`
	Error   *string         `json:"error"`
}

func showTransformed(ctx context.Context, s *Server, c *Call) error {
	d, err := c.first()
	if err != nil {
		return err
	}
	own, asked := c.route, *c.route
	asked.endpoint = c.would
	c.route = &asked
	out, err := s.transformed(c, d)
	c.route = own
	if err != nil {
		return err
	}
	return s.tell(ctx, c, out)
}

// transformed prepares the attempt as if the request had come to its own endpoint.
func (s *Server) transformed(c *Call, d *view.Deployment) (*transformed, error) {
	way, ok := d.Way(c.route.endpoint)
	if !ok {
		return nil, &llm.Error{Kind: llm.NotFound, Code: "endpoint_not_supported", Param: "model", Message: "The model does not serve " + c.route.endpoint.String() + "."}
	}
	a, err := s.prepare(c, d, way)
	if err != nil {
		return nil, err
	}
	at, h, err := upstream.Describe(a)
	if err != nil {
		return nil, &llm.Error{Kind: llm.Unavailable, Code: retry.CodeUnusable, Message: "The deployment has no usable address.", Err: err}
	}
	body := json.RawMessage(a.Body)
	if !json.Valid(body) { // a form
		if body, err = json.Marshal(string(a.Body)); err != nil {
			return nil, err
		}
	}
	return &transformed{Method: http.MethodPost, URL: at, Body: body, Headers: h, Dropped: c.dropped}, nil
}
