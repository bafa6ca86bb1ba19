package proxy

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/pass"
)

// A step is one part of a request's way. It returns an *llm.Error, or an error that counts
// as a fault of the gateway.
type step func(ctx context.Context, s *Server, c *Call) error

// steps are those that every route must have.
type steps struct {
	auth       step // who is it, and may it call the route
	body       step // read the body
	policy     step // what it must be and name, and for whom it is
	access     step // may it use the model
	limits     step // reserve requests and tokens
	budget     step // reserve money
	guardrails step // ask them before
	plan       step // choose deployments
	ledger     step // write the reservation
	answer     step // answer, and settle before the last byte

	// exempt names the steps that do not apply, which are left nil, each with its reason.
	exempt map[string]string
}

// named is a step with its name, as receipts have it.
type named struct {
	name string
	take step
}

// list gives the steps in the order in which a request takes them.
func (st *steps) list() [10]named {
	return [...]named{
		{stepAuth, st.auth},
		{stepBody, st.body},
		{stepPolicy, st.policy},
		{stepAccess, st.access},
		{stepLimits, st.limits},
		{stepBudget, st.budget},
		{stepGuardrails, st.guardrails},
		{stepPlan, st.plan},
		{stepLedger, st.ledger},
		{stepAnswer, st.answer},
	}
}

// Route is an endpoint that the proxy serves.
type Route struct {
	name     string   // canonical path, by which keys, metrics and records know it
	method   string   // of all patterns
	patterns []string // as http.ServeMux reads them, without the method; the first is the name
	azure    []string // patterns of Azure's clients, who tell themselves from others
	endpoint llm.Endpoint
	prefix   *pass.Prefix // of paths in a provider's own words; nil: it is none
	verb     string       // behind the model and a colon in the path, which then ends in {model...}; "" for none
	stream   bool         // the path says that the answer streams, where the endpoint has that in its path
	lookup   bool         // asks no provider: leaves no record
	upload   bool         // the body is a file
	socket   bool         // is served over a WebSocket
	plain    bool         // asks a model that the body or the path names
	about    bool         // tells of a request that asks one, in the gateway's own words
	steps    steps

	ok      prometheus.Counter // requests with status 200; set by the server's metrics
	seconds prometheus.Observer
}

// newRoute makes a route, and refuses one that leaves out a step.
func newRoute(method string, patterns []string, endpoint llm.Endpoint, st steps) (*Route, error) {
	if len(patterns) == 0 {
		return nil, fmt.Errorf("make route: no pattern")
	}
	for _, s := range st.list() {
		if s.take == nil && st.exempt[s.name] == "" {
			return nil, fmt.Errorf("make route %s: it has no step %q, and no reason why", patterns[0], s.name)
		}
	}
	return &Route{name: patterns[0], method: method, patterns: patterns, endpoint: endpoint, steps: st}, nil
}

// named is the model that the path names, "" for none.
func (r *Route) named(req *http.Request) string {
	name := cmp.Or(req.PathValue("model"), req.PathValue("response"), req.PathValue("artifact"))
	if r.verb == "" {
		return name
	}
	return strings.TrimSuffix(name, ":"+r.verb)
}

// openAI makes the route of an endpoint of OpenAI's, which has the paths of Azure too.
func openAI(endpoint llm.Endpoint, path string) (*Route, error) {
	return inference(
		endpoint, "/v1"+path, path,
		"/openai/v1"+path, "/openai/deployments/{model}"+path, "/engines/{model}"+path,
	)
}

// inference makes a POST route whose requests ask a model.
func inference(endpoint llm.Endpoint, patterns ...string) (*Route, error) {
	r, err := newRoute("POST", patterns, endpoint, steps{
		auth:       authenticate,
		body:       readBody,
		policy:     checkPolicies,
		access:     authorize,
		limits:     reserveLimits,
		budget:     reserveBudget,
		guardrails: guardBefore,
		plan:       planAttempts,
		ledger:     openEntry,
		answer:     dispatch,
	})
	if err != nil {
		return nil, err
	}
	r.plain = true
	return r, nil
}

// routes is the table of all routes: one line for each endpoint.
func routes() ([]*Route, error) {
	var all []*Route
	for _, make := range []func() (*Route, error){
		chatRoute, completionsRoute, embeddingsRoute, responsesRoute, messagesRoute,
		generateContentRoute, streamGenerateContentRoute, converseRoute, converseStreamRoute, invokeRoute, invokeStreamRoute,
		moderationsRoute, imagesRoute, imageEditsRoute, imageVariationsRoute, speechRoute, transcriptionsRoute, translationsRoute,
		tokenCounterRoute, transformRoute, paramsRoute, modelInfoRoute, trialRoute,
		rerankRoute, ocrRoute, decisionsRoute, systemOneRoute, extractionRoute, countTokensRoute, countContentRoute, inputTokensRoute,
		embedContentRoute, batchEmbedContentsRoute,
		modelsRoute, modelRoute, googleModelsRoute, googleModelRoute,
		socketResponsesRoute, realtimeRoute, secretRoute(false, secretPaths...), secretRoute(true, sessionPaths...),
		responseRoute, deleteResponseRoute, cancelResponseRoute, inputItemsRoute,
	} {
		r, err := make()
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	for _, make := range []func() ([]*Route, error){passRoutes, fileRoutes} {
		more, err := make()
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}
