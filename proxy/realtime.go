package proxy

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	authplugin "github.com/conclave-llm/conclave/plugins/auth"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/gemini"
	"github.com/conclave-llm/conclave/provider/vertex"
	"github.com/conclave-llm/conclave/proxy/auth"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/proxy/realtime"
	"github.com/conclave-llm/conclave/proxy/realtime/listen"
	"github.com/conclave-llm/conclave/proxy/realtime/live"
	"github.com/conclave-llm/conclave/proxy/realtime/peer"
	"github.com/conclave-llm/conclave/proxy/realtime/sonic"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/socket"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/proxy/view"
	"github.com/conclave-llm/conclave/resource"
)

// realtimeRoute serves sessions of OpenAI's Realtime API, over a WebSocket. The handshake takes all
// the steps of a request: what it reserves is the first response's.
func realtimeRoute() (*Route, error) {
	r, err := newRoute("GET", []string{"/v1/realtime", "/realtime", "/openai/v1/realtime", "/openai/realtime"}, llm.Realtime, steps{
		auth:       authenticateSession,
		body:       readSession,
		policy:     checkPolicies,
		access:     authorize,
		limits:     reserveLimits,
		budget:     reserveBudget,
		guardrails: guardSession,
		plan:       planSession,
		ledger:     openUse,
		answer:     dispatch,
	})
	if err != nil {
		return nil, err
	}
	r.socket = true
	return r, nil
}

// secretRoute makes secrets for pages: they open sessions for the sake of the key that asked for
// them, and nothing else.
func secretRoute(bare bool, paths ...string) func() (*Route, error) {
	return func() (*Route, error) {
		r, err := newRoute("POST", paths, llm.Realtime, steps{
			auth: authenticate,
			body: func(ctx context.Context, s *Server, c *Call) error {
				if err := readBody(ctx, s, c); err != nil {
					return err
				}
				wish, err := realtime.ReadWish(c.body, bare)
				c.wish, c.named = wish, wish.Model
				return err
			},
			policy: checkPolicies,
			access: authorize,
			answer: func(_ context.Context, s *Server, c *Call) error { return s.grant(c, bare) },
			exempt: map[string]string{
				stepLimits:     "each response of the session reserves its own",
				stepBudget:     "each response of the session reserves its own",
				stepGuardrails: "they see the configuration when the session is opened",
				stepPlan:       "no upstream is asked",
				stepLedger:     "costs nothing",
			},
		})
		if err != nil {
			return nil, err
		}
		r.lookup = true
		return r, nil
	}
}

// The paths of secrets, as they are and as they were before.
var (
	secretPaths  = []string{"/v1/realtime/client_secrets", "/realtime/client_secrets", "/openai/v1/realtime/client_secrets"}
	sessionPaths = []string{"/v1/realtime/sessions", "/realtime/sessions", "/openai/v1/realtime/sessions", "/openai/realtimeapi/sessions"}
)

// grant answers with a secret.
func (s *Server) grant(c *Call, bare bool) error {
	if s.cfg.Derive == nil || s.cfg.Sessions == nil {
		return noSessions()
	}
	expires := s.now().Add(c.wish.Life).Unix()
	hash := resource.HashSecret(auth.Secret(c.header, c.cat.Settings().KeyHeader))
	if c.who.Unkept {
		return keyRequired("A client secret is made of a virtual key")
	}
	if c.who.Auth != "" {
		hash = c.who.Key.Hash
	}
	g := &realtime.Grant{Hash: hash, Model: c.asked(), Session: c.wish.Session, Expires: expires}
	secret, err := s.secrets().Seal(g)
	if err != nil {
		return err
	}
	return s.writeJSON(c, c.wish.Answer(secret, expires, bare))
}

// keyRequired refuses a request of somebody whom an auth plugin let in without a key.
func keyRequired(why string) error {
	return &llm.Error{Kind: llm.Forbidden, Code: "key_required", Message: why + ", and an auth plugin let this request in without one."}
}

func (s *Server) secrets() *realtime.Secrets {
	return &realtime.Secrets{Derive: s.cfg.Derive, Now: s.now}
}

func noSessions() error {
	return &llm.Error{Kind: llm.NotFound, Code: "endpoint_not_served", Message: "This gateway serves no sessions."}
}

// How browsers, which cannot send headers, offer a key and the old form of the protocol.
const (
	keyProtocol  = "openai-insecure-api-key."
	oldProtocol  = "openai-beta.realtime-v1"
	realProtocol = "realtime"
)

// authenticateSession is authenticate, for a key that may stand among the subprotocols, and for a
// secret that was made of one.
func authenticateSession(ctx context.Context, s *Server, c *Call) error {
	further := c.cat.Settings().KeyHeader
	secret := auth.Secret(c.header, further)
	for _, p := range socket.Protocols(c.header) {
		if key, ok := strings.CutPrefix(p, keyProtocol); ok && secret == "" {
			secret = key
			c.header = c.header.Clone()
			c.header.Set("Authorization", "Bearer "+key)
		}
	}
	if c.grant == nil && strings.HasPrefix(secret, realtime.SecretPrefix) && s.cfg.Derive != nil {
		g, err := s.secrets().Open(secret)
		if err != nil {
			return err
		}
		c.grant = g
	}
	return authenticate(ctx, s, c)
}

// identify finds out who a request comes from: by its credential, or, for a line of a batch or a
// session, by the key for whose sake it is.
func (s *Server) identify(ctx context.Context, c *Call, secret string) (*resource.Principal, error) {
	switch {
	case c.batch != nil:
		return s.auth.Holder(c.cat, c.batch.Owners.KeyID)
	case c.grant != nil:
		return s.auth.AuthenticateHash(ctx, c.cat, c.grant.Hash)
	}
	if len(c.cat.Tables().Auths) == 0 {
		return s.auth.Authenticate(ctx, c.cat, secret)
	}
	return s.auth.AuthenticateRequest(ctx, c.cat, &authplugin.Request{
		Secret: secret, Header: c.header, Method: c.method, Path: c.path, Address: policy.ClientText(c.peer, c.header, c.cat.Settings()),
	})
}

// A session's intent, in the query: with it a session only transcribes.
const (
	intentParam      = "intent"
	intentTranscribe = "transcription"
)

// readSession is the step that reads what a handshake says of a request: the model, in the query.
func readSession(_ context.Context, s *Server, c *Call) error {
	if s.cfg.Sessions == nil {
		return noSessions()
	}
	if c.use == nil && !socket.Upgrade(c.header) {
		return socket.ErrUpgrade()
	}
	q, err := url.ParseQuery(c.query)
	if err != nil {
		return &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Message: "The query of the URL cannot be read.", Err: err}
	}
	if q.Has("call_id") {
		return &llm.Error{Kind: llm.Invalid, Code: "unsupported_parameter", Param: "call_id", Message: "Calls over WebRTC are not served."}
	}
	if intent := q.Get(intentParam); intent != "" && intent != intentTranscribe {
		return &llm.Error{Kind: llm.Invalid, Code: "unsupported_parameter", Param: intentParam, Message: "A session's intent may be " + intentTranscribe + " only."}
	}
	model := cmp.Or(q.Get("model"), q.Get("deployment"))
	if g := c.grant; g != nil {
		if model != "" && model != g.Model {
			return &llm.Error{Kind: llm.Forbidden, Code: "model_mismatch", Param: "model", Message: "The client secret is for another model."}
		}
		model = g.Model
	}
	body := append(llm.AppendString([]byte(`{"model":`), model), '}')
	if model == "" {
		body = []byte("{}")
	}
	if err := c.peek(body); err != nil {
		return err
	}
	c.asks()
	return nil
}

// guardSession is the step that finds the guardrails of a session. They are asked about what is
// said in it.
func guardSession(ctx context.Context, s *Server, c *Call) error {
	if err := s.cfg.Guardrails.Wait(ctx); err != nil {
		return err
	}
	c.guards = s.cfg.Guardrails.For(c.model.Name, c.choice())
	return nil
}

// planSession is planAttempts, but that a response is made by the deployment of its session.
func planSession(ctx context.Context, s *Server, c *Call) error {
	if c.use == nil {
		return planAttempts(ctx, s, c)
	}
	had := c.use.target.Deployment
	d, ok := c.cat.Deployment(had.ID)
	if !ok {
		return &llm.Error{Kind: llm.NotFound, Code: "deployment_removed", Message: "The session's deployment was removed. Open another session."}
	}
	t := router.Target{Model: c.use.target.Model, Deployment: d}
	if m, ok := c.cat.ModelByID(t.Model.ID); ok {
		t.Model = m
	}
	if d.CredentialID != "" {
		t.Credential, _ = c.cat.Credential(d.CredentialID)
	}
	c.plan = append(c.plan[:0], t)
	return nil
}

// openUse is openEntry. What is said in a session is not kept.
func openUse(ctx context.Context, s *Server, c *Call) error {
	err := openEntry(ctx, s, c)
	if c.heard != nil {
		c.out, c.heard = c.heard.Writer, nil
	}
	return err
}

// asks puts what a response is expected to take in the place of what a body would say.
func (c *Call) asks() {
	a := realtime.Ask{}
	if c.use != nil {
		a = c.use.ask
	}
	c.fields.MaxTokens = a.Output
	c.fields.SetPrompt(a.Prompt, a.Media)
}

// prepareSession makes the attempt of a handshake.
func (s *Server) prepareSession(c *Call, d *view.Deployment, at llm.Endpoint) *upstream.Attempt {
	timers := d.Timers
	timers.Total = s.timeout(c, d)
	c.attempt = upstream.Attempt{
		Provider: d.Provider, Endpoint: at, Base: d.Base, Model: d.Name, Account: d.Account, Timeouts: timers, Link: d.Link, Header: sessionHeaders(c.header),
	}
	return &c.attempt
}

// listens says whether a provider's sessions at an endpoint only transcribe.
func listens(e llm.Endpoint) bool { return e == llm.SonioxLive || e == llm.MetaLive }

// hasIntent refuses a session that is to transcribe only, of a model that answers.
func (c *Call) hasIntent(at llm.Endpoint) error {
	q, err := url.ParseQuery(c.query)
	if err == nil && q.Get(intentParam) != "" && !listens(at) {
		return &llm.Error{Kind: llm.Invalid, Code: "unsupported_parameter", Param: intentParam, Message: "The model's sessions do not only transcribe. Ask for one whose sessions do, such as Soniox's."}
	}
	return nil
}

// keepListening is the time between signs of life in sessions that only transcribe: Soniox ends those in which
// nothing comes for 20 seconds.
const keepListening = 8 * time.Second

// peerOf is the provider's side of a session, in the words of OpenAI's.
func peerOf(conn peer.Socket, a *upstream.Attempt) realtime.Peer {
	switch a.Endpoint {
	case llm.SonioxLive:
		return listen.New(conn, a.Model, &listen.Soniox{Model: a.Model})
	case llm.MetaLive:
		return listen.New(conn, a.Model, &listen.Meta{Model: a.Model, Key: a.Account.Or().Key})
	case llm.BedrockSonic:
		return sonic.New(conn, a.Model)
	case llm.GeminiLive:
		return live.New(conn, liveModel(a))
	}
	return conn
}

// liveModel is the name of Google's model in a session.
func liveModel(a *upstream.Attempt) string {
	model := gemini.LiveModel(a.Model)
	if a.Provider.Auth == provider.GoogleToken {
		model = vertex.LiveModel(a.Model, a.Account.Or().Options)
	}
	return model
}

// converse is the attempt of a handshake: it opens the session at the deployment and then the
// client's, and relays until one of them ends.
func (s *Server) converse(ctx context.Context, c *Call, d *view.Deployment, asked *upstream.Attempt, flight router.Flight) error {
	if err := c.hasIntent(asked.Endpoint); err != nil {
		return err
	}
	leave, ok := s.live.Enter()
	if !ok {
		return &llm.Error{Kind: llm.Unavailable, Code: "node_stopping", RetryAfter: time.Second, Message: "This node stops. Ask another one."}
	}
	defer leave()
	conn, err := s.cfg.Sessions.Open(ctx, asked, socket.Options{WriteTimeout: s.cfg.WriteTimeout})
	c.result.answered = s.now()
	c.result.waited += c.result.answered.Sub(c.result.began)
	if err != nil {
		return c.said(err, asked.Endpoint)
	}
	flight.FirstToken(c.result.answered.Sub(c.result.began))
	s.answerHeaders(c, c.out.Header())
	client, err := c.accept(socket.Options{WriteTimeout: s.cfg.WriteTimeout, Protocols: []string{realProtocol}})
	c.result.begun = true
	if err != nil {
		conn.Close(socket.Normal, "")
		return gone(err)
	}
	c.result.status = http.StatusOK
	g := newSession(s, c)
	cfg := realtime.Config{
		Client: client, Provider: peerOf(conn, asked), Gate: g, Model: c.asked(), Upstream: d.Name, First: g.first,
		Stop: s.live.Stopping(), Now: s.now, Idle: s.cfg.SessionIdle, Total: s.cfg.SessionTotal,
	}
	if c.grant != nil {
		cfg.Session = c.grant.Session
	}
	if cfg.Listens = listens(asked.Endpoint); cfg.Listens {
		cfg.Ping = keepListening
	}
	return realtime.Run(s.live.Context(), cfg)
}

// sessionHeaders are the client's headers that the provider sees.
func sessionHeaders(h http.Header) http.Header {
	out := http.Header{}
	if v := h["Openai-Beta"]; len(v) > 0 {
		out["Openai-Beta"] = v
	} else if slices.Contains(socket.Protocols(h), oldProtocol) {
		out["Openai-Beta"] = []string{"realtime=v1"}
	}
	return out
}
