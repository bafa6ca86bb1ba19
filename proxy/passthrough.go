package proxy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/form"
	"github.com/conclave-llm/conclave/proxy/order"
	"github.com/conclave-llm/conclave/proxy/pass"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/proxy/retry"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/proxy/view"
	"github.com/conclave-llm/conclave/resource"
)

// passRoutes serve every path below a provider's name in the provider's own words.
func passRoutes() ([]*Route, error) {
	var all []*Route
	for i := range pass.Prefixes {
		p := &pass.Prefixes[i]
		r, err := newRoute(p.Verb, p.Patterns(), llm.PassThrough, steps{
			auth:       authenticatePass,
			body:       readNamed,
			policy:     checkPolicies,
			access:     authorizePass,
			limits:     reserveLimits,
			budget:     reserveBudget,
			guardrails: guardBefore,
			plan:       planPass,
			ledger:     openEntry,
			answer:     dispatch,
		})
		if err != nil {
			return nil, err
		}
		r.prefix = p
		all = append(all, r)
	}
	return all, nil
}

// authenticatePass is authenticate, and refuses what the key may not pass through.
func authenticatePass(ctx context.Context, s *Server, c *Call) error {
	if err := authenticate(ctx, s, c); err != nil {
		return err
	}
	if pass.Mints(c.rest) {
		return &llm.Error{
			Kind: llm.Forbidden, Code: "provider_secret_not_served", NoRetry: true,
			Message: "The provider would answer with a secret of its own, whose use nobody limits or pays for here. POST /v1/realtime/client_secrets makes one of the gateway's.",
		}
	}
	return passAllowed(c, c.levels)
}

// passAllowed refuses what one of the levels may not pass through.
func passAllowed(c *Call, levels []resource.Level) error {
	if l := pass.Refuser(levels, c.path); l != nil {
		return &llm.Error{
			Kind: llm.Forbidden, Type: "auth_error", Code: "route_not_allowed", Scope: l.Kind, Entity: l.ID,
			Message: "The API key may not pass requests through to " + c.path + ".",
		}
	}
	return nil
}

// readPass is the step that reads the body, if there is one. It must be one that the policies and
// guardrails can read: JSON or a form.
func readPass(ctx context.Context, s *Server, c *Call) error {
	err := readBody(ctx, s, c)
	if err != nil && c.buf != nil && len(c.buf.Bytes()) == 0 {
		return c.peek([]byte("{}"))
	}
	var e *llm.Error
	kind := c.header.Get("Content-Type")
	if errors.As(err, &e) && e.Code == "invalid_json" && kind != "" && !strings.HasPrefix(kind, "application/json") {
		return &llm.Error{
			Kind: llm.Invalid, Status: http.StatusUnsupportedMediaType, Code: "unsupported_media_type", Err: err,
			Message: "A request that is passed through must be JSON or a form.",
		}
	}
	return err
}

// authorizePass is the step that finds the model whose limits, budget and price the request falls
// under: the one that it names, in its path or its body, else the first of the provider's that the
// key may use. Naming two would let one be charged and the other be asked.
func authorizePass(_ context.Context, s *Server, c *Call) error {
	inPath, ok := pass.Asked(c.rest)
	if !ok {
		return badPath()
	}
	asked, ok := inPath.Agree(c.fields.Model)
	if !ok {
		return &llm.Error{
			Kind: llm.Invalid, Code: "model_mismatch", Param: "model", NoRetry: true,
			Message: "The path names another model than the body.",
		}
	}
	c.named = asked
	if err := c.checkNested(); err != nil {
		return err
	}
	m, ok := c.route.prefix.Model(c.cat, c.levels[:c.above], c.wanted())
	if err := c.checkFallbacks(); err != nil {
		return err
	}
	if !ok && asked != "" {
		if err := c.checkNamed(asked); err != nil {
			return err
		}
	}
	if !ok {
		return &llm.Error{
			Kind: llm.NotFound, Code: "endpoint_not_served", Param: "model",
			Message: "No deployment of this provider that the API key may use is open to requests in the provider's own words (option " + pass.Option + ").",
		}
	}
	c.fields.Fallbacks, c.fields.NoFallbacks = nil, true
	c.model, c.flat = m, c.route.prefix.Flat(c.cat, m, c.wanted())
	c.levels = c.cat.ModelLevels(c.levels[:c.above], nil, m)
	return s.checkBatch(c)
}

// checkNamed refuses a model that a level does not allow.
func (c *Call) checkNamed(asked string) error {
	levels := c.levels[:c.above]
	name, by := policy.Rename(levels, asked)
	known, _ := c.cat.Resolve(name)
	return policy.CheckModel(c.cat, levels, name, known, asked, by)
}

// checkNested refuses work that is ordered with models that a level does not allow: in the requests of a batch,
// in an eval, in the lines of a file for a batch. What names no model itself is for the first of them.
func (c *Call) checkNested() error {
	if c.method != http.MethodPost || pass.Infers(c.rest) {
		return nil
	}
	models, ok := pass.Models(c.body)
	if ok && c.form != nil {
		models, ok = c.uploadedModels()
	}
	if !ok {
		return &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Param: "model", NoRetry: true, Message: "The request names too many models."}
	}
	if strings.HasSuffix("/"+strings.TrimSuffix(c.rest, "/"), "/uploads") && c.form == nil && batchOf(c.body) {
		return &llm.Error{
			Kind: llm.Invalid, Code: "unsupported_value", Param: "purpose", NoRetry: true,
			Message: "The file of a batch is uploaded whole, with POST /v1/files: the models of its lines are checked.",
		}
	}
	for _, name := range models {
		w := c.wanted()
		w.Model = name
		if _, ok := c.route.prefix.Model(c.cat, c.levels[:c.above], w); ok {
			c.named = cmp.Or(c.named, name)
		} else if err := c.checkNamed(name); err != nil {
			return err
		}
	}
	return nil
}

// uploadedModels are the models of the lines of a batch's file. false: they are too many.
func (c *Call) uploadedModels() ([]string, bool) {
	if !batchOf(c.body) {
		return nil, true
	}
	return pass.LineModels(c.form.File())
}

// batchOf says whether the fields of an upload are those of a batch's file.
func batchOf(fields []byte) bool {
	var said struct {
		Purpose string `json:"purpose"`
	}
	return json.Unmarshal(fields, &said) == nil && said.Purpose == "batch"
}

// checkBatch refuses a batch to those who have a budget, where nobody would learn what it uses.
func (s *Server) checkBatch(c *Call) error {
	how := pass.BatchAt(c.rest)
	if c.method != http.MethodPost || how == pass.NoBatch {
		return nil
	}
	c.owed = how == pass.BatchResults && s.cfg.Artifacts != nil && c.cat.Settings().OwnerDays > 0 && c.who.Key != nil
	if c.owed || !slices.ContainsFunc(c.levels, func(l resource.Level) bool { return hasBudget(l.Allowance) }) {
		return nil
	}
	return &llm.Error{
		Kind: llm.Forbidden, Code: "batch_not_billable", NoRetry: true,
		Message: "Nobody would learn what this batch uses, and there is a budget that it must be charged to. POST /v1/batches of a file of the gateway's is charged.",
	}
}

// wanted is what the deployment that is asked must be: the one that keeps what the request is
// about, the one that the client names, of the provider that it or the cluster names.
func (c *Call) wanted() pass.Wanted {
	w := pass.Wanted{Model: c.named, Owner: cmp.Or(c.kept.DeploymentID, policy.Said(c.header, pass.Owner)), Provider: c.kept.Provider}
	if w.Model == "" && w.Owner == "" && w.Provider == "" && c.route.prefix.Documented() {
		w.Provider = c.cat.Settings().DefaultProvider
	}
	return w
}

// planPass is the step that chooses the one deployment that is asked, once: nobody knows whether
// asking twice would do something twice.
func planPass(ctx context.Context, s *Server, c *Call) error {
	plan, err := s.cfg.Router.Plan(c.cat, c.model, router.Query{
		Levels: c.levels[:c.above], SessionID: c.session, NoFallbacks: true, HasRetries: true,
	})
	if err != nil {
		return err
	}
	if c.plan = c.route.prefix.Target(c.cat, c.model, plan, c.wanted()); len(c.plan) == 0 {
		return &llm.Error{Kind: llm.Unavailable, Code: "no_deployment", Message: "The model has no deployment that can answer."}
	}
	if err := s.filterPass(ctx, c); err != nil {
		return err
	}
	return s.holdBatch(ctx, c)
}

// filterPass asks the router filters about the one deployment.
func (s *Server) filterPass(ctx context.Context, c *Call) error {
	filter := s.routerFilter(ctx, c)
	if filter == nil {
		return nil
	}
	t := &c.plan[0]
	chosen, err := filter(t.Model, []router.Candidate{{Deployment: t.Deployment}})
	if err == nil && len(chosen) == 0 {
		err = &llm.Error{
			Kind: llm.Unavailable, Code: router.CodeNotAllowed,
			Message: "A router filter, or the region of the end user, does not leave this request to the deployment that it is for.",
		}
	}
	return err
}

// preparePass is prepare for a request in the provider's own words.
func (s *Server) preparePass(c *Call, d *view.Deployment) (*upstream.Attempt, error) {
	if c.configured != nil {
		return s.prepareConfigured(c, d)
	}
	root, err := d.Provider.Root(d.Base, d.Account.Or().Options)
	if err != nil {
		return nil, &llm.Error{Kind: llm.Internal, Code: retry.CodeUnusable, Message: "The deployment has no usable address.", Err: err}
	}
	rest, inBody := c.rest, c.fields.Model
	if c.route.prefix == &pass.Files {
		inBody = "" // it said who is asked, and no more
	}
	if c.named == c.model.Name && c.named != d.Name {
		if inPath, _ := pass.Asked(rest); inPath.Model != "" {
			rest = inPath.Rename(rest, d.Name)
		}
		if inBody != "" {
			c.names.Add(inBody, d.Name)
			inBody = pass.InBody(inBody, d.Name)
		}
	}
	path, ok := pass.Path(root, rest, c.query)
	if !ok {
		return nil, badPath()
	}
	at, _ := pass.Endpoint(d.Provider, c.rest)
	c.lent = true
	timers := d.Timers
	timers.Total = s.timeout(c, d)
	c.attempt = upstream.Attempt{
		Provider: d.Provider, Endpoint: at, Base: root, Path: path, Method: c.method, Model: d.Name, Account: d.Account, Opaque: true, Link: d.Link,
		Stream: c.fields.Stream, Waits: c.waits, Timeouts: timers, Header: c.betas(pass.Headers(c.header), d), MaxBody: c.readAtMost(),
	}
	switch {
	case c.form != nil:
		var lines func([]byte) []byte
		if batchOf(c.body) {
			lines = func(file []byte) []byte { return pass.RenameLines(file, c.namesAt(d)) }
		}
		if c.attempt.Pieces, err = c.formAt(inBody, lines); err != nil {
			return nil, err
		}
		c.attempt.Type = c.form.Type()
	case len(c.buf.Bytes()) > 0:
		c.attempt.Body = c.passBody(d, inBody)
	}
	return &c.attempt, nil
}

// passBody is the client's body for the deployment: with the models' names there, nothing kept where nothing is to be, and the
// expiry that the key's team forces. inBody is the model's name in it; "": as it is.
func (c *Call) passBody(d *view.Deployment, inBody string) []byte {
	edits := llm.Edits{DropOwn: true, Model: inBody}
	if i, ok := pass.InferenceAt(c.rest); ok && c.method == http.MethodPost {
		c.unkept(&edits, c.body, i.Keeps || d.Provider.Stores(i.At))
	}
	body := pass.Without(llm.Rewrite(c.body, &c.fields, edits), c.drops())
	if c.method == http.MethodPost && pass.BatchAt(c.rest) != pass.NoBatch {
		body = pass.RenameOrdered(body, c.namesAt(d))
	}
	if e, field := c.forcedExpiry(); e != nil {
		body = pass.WithExpiry(body, field, e)
	}
	return body
}

// forcedExpiry is when what the request makes at its provider expires, if the key's team says so whatever the client
// does, and the field in which JSON says it.
func (c *Call) forcedExpiry() (*resource.Expiry, string) {
	t := c.who.Team
	if c.route.prefix == nil || c.configured != nil || t == nil || t.FileExpiry == nil && t.BatchOutputExpiry == nil {
		return nil, ""
	}
	return pass.Expires(c.result.target.Deployment.Provider, c.method, c.rest, t.FileExpiry, t.BatchOutputExpiry)
}

// namesAt gives the models' names at the provider of a deployment: those of the gateway's models that have a deployment of
// the same account, and all others as they are. It notes them.
func (c *Call) namesAt(d *view.Deployment) func(name string) string {
	return func(asked string) string {
		name, _ := policy.Rename(c.levels[:c.above], asked)
		m, ok := c.cat.Resolve(name)
		if !ok {
			return asked
		}
		at := order.Beside(c.cat, c.result.target.Deployment, c.model, m)
		if at == nil {
			return asked
		}
		sent := d.Name
		if m != c.model {
			sent = c.view.Deployment(&router.Target{Model: m, Deployment: at}).Name
		}
		c.names.Add(asked, sent)
		return sent
	}
}

func badPath() error {
	return &llm.Error{Kind: llm.Invalid, Code: "invalid_path", NoRetry: true, Message: "The path does not lead to the provider."}
}

// takesForm says whether the route reads bodies that are forms.
func (c *Call) takesForm() bool {
	e := c.route.endpoint
	return (e.Family() == llm.FamilyMedia || e == llm.PassThrough) && form.Is(c.header.Get("Content-Type"))
}
