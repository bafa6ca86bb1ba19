package adminapi

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/litellm"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/delegate"
)

// indexWait bounds how long a request waits for the index that it asks for.
const indexWait = 5 * time.Second

// maxBody bounds the body of a request.
const maxBody = 1 << 20

type callerKey struct{}

// callerOf finds who makes the request that an operation answers.
func callerOf(ctx context.Context) records.Caller {
	c, _ := ctx.Value(callerKey{}).(records.Caller)
	return c
}

// admit authenticates a request for the route, authorises it and waits for the index that
// it asks for. The order matters: strangers must not make the node wait.
func (s *Server) admit(r *http.Request, route string) (records.Caller, error) {
	by, err := s.identify(r, route)
	if err != nil {
		return records.Caller{}, err
	}
	if r.Header.Get(client.HeaderMinIndex) != "" {
		if err := s.waitIndex(r); err != nil {
			return records.Caller{}, err
		}
		// What was waited for may be the end of the caller's own rights.
		if by, err = s.identify(r, route); err != nil {
			return records.Caller{}, err
		}
	}
	s.noteSignIn(by)
	return by, nil
}

// identify authenticates and authorises a request for the route.
func (s *Server) identify(r *http.Request, route string) (records.Caller, error) {
	by := records.Caller{RequestID: requestID(r), Address: s.cfg.Address(r), For: changedBy(r)}
	who, err := s.cfg.Authenticate(r)
	if err != nil {
		s.noteFailure(by, err)
		return records.Caller{}, err
	}
	if who == nil {
		return records.Caller{}, &llm.Error{Kind: llm.Unauthenticated, Code: "unauthenticated", Message: "no key was given"}
	}
	by.Who = *who
	by.Delegate = delegate.Of(who.Key, records.World(s.cfg.State))
	if by.OwnOnly, err = authorise(who, by.Delegate, route, r.URL.Path); err != nil {
		s.noteDenial(by, route)
		return records.Caller{}, err
	}
	if who.Key != nil && (who.Key.Role != resource.RoleInference || by.Delegate != nil && r.Method != http.MethodGet) {
		if err := s.cfg.Stale(); err != nil {
			return records.Caller{}, newProblem(http.StatusServiceUnavailable, "stale", err.Error(),
				"this node has not heard the leader for too long to trust a key with a role; ask another node, or use the master key")
		}
	}
	return by, nil
}

// waitIndex honours x-conclave-min-index: it never lets an older state be read.
func (s *Server) waitIndex(r *http.Request) error {
	text := r.Header.Get(client.HeaderMinIndex)
	generation, index, err := parseIndex(text)
	if err != nil {
		return err
	}
	if generation < s.cfg.State.Generation() {
		return nil // from before a restore: there is nothing left to wait for
	}
	ctx, cancel := context.WithTimeout(r.Context(), indexWait)
	defer cancel()
	err = s.cfg.State.WaitApplied(ctx, index)
	if err == nil && generation == s.cfg.State.Generation() {
		return nil
	}
	return newProblem(http.StatusServiceUnavailable, "behind",
		fmt.Sprintf("this node has applied index %d of generation %d and not yet what was asked for",
			s.cfg.State.Applied(), s.cfg.State.Generation()), "try again, or ask another node")
}

// parseIndex reads "GENERATION-INDEX".
func parseIndex(text string) (generation, index uint64, err error) {
	g, i, ok := strings.Cut(text, "-")
	if ok {
		generation, err = strconv.ParseUint(g, 10, 64)
	}
	if ok && err == nil {
		index, err = strconv.ParseUint(i, 10, 64)
	}
	if !ok || err != nil {
		return 0, 0, invalid(strings.ToLower(client.HeaderMinIndex), "is not GENERATION-INDEX as an answer gave it")
	}
	return generation, index, nil
}

// requestID takes the client's, if it is short and printable, or makes one.
func requestID(r *http.Request) string {
	id := r.Header.Get(client.HeaderRequest)
	ok := id != "" && len(id) <= 128
	for i := 0; ok && i < len(id); i++ {
		ok = id[i] > ' ' && id[i] <= '~'
	}
	if ok {
		return id
	}
	var b [12]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic("adminapi: no randomness: " + err.Error()) // crypto/rand does not fail on a working system
	}
	return hex.EncodeToString(b[:])
}

// middleware admits a request to the operation, or answers with the problem.
func (s *Server) middleware(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	leave, err := s.gate.Enter(r.Method)
	if err != nil {
		s.writeProblem(w, err)
		return
	}
	defer leave()
	by, err := s.admit(r, ctx.Operation().OperationID)
	if err != nil {
		s.writeProblem(w, err)
		return
	}
	setCommonHeaders(w, by)
	next(huma.WithValue(ctx, callerKey{}, by))
}

// handle registers a route outside the OpenAPI document behind the same authoriser.
func (s *Server) handle(route Route, handler wire.Handler, writeError func(http.ResponseWriter, error)) {
	s.routes = append(s.routes, route)
	s.mux.HandleFunc(route.Method+" "+route.Pattern, func(w http.ResponseWriter, r *http.Request) {
		leave, err := s.gate.Enter(r.Method)
		if err != nil {
			writeError(w, err)
			return
		}
		defer leave()
		by, err := s.admit(r, route.ID)
		if err == nil {
			setCommonHeaders(w, by)
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			err = handler(w, r, by)
		}
		if err != nil {
			writeError(w, err)
		}
	})
}

func setCommonHeaders(w http.ResponseWriter, by records.Caller) {
	w.Header().Set(client.HeaderRequest, by.RequestID)
	w.Header().Set("Cache-Control", "no-store")
}

// registerLiteLLM registers LiteLLM's management paths.
func (s *Server) registerLiteLLM() {
	cfg := litellm.Config{
		Records: s.rs, State: s.cfg.State, Prices: s.prices, Now: s.cfg.Now, MCP: s.cfg.MCP, TryAlert: s.tryChannel, Guardrails: s.cfg.Guardrails,
		TestCallback: s.testCallback(), TryDeployment: s.cfg.TryDeployment,
	}
	for _, r := range litellm.New(cfg).Routes() {
		s.handleLiteLLM(Route{ID: r.ID, Method: r.Method, Pattern: r.Pattern}, r.Handler)
	}
}

// handleLiteLLM registers a route of LiteLLM's, with errors in the form that its clients know.
func (s *Server) handleLiteLLM(route Route, handler wire.Handler) {
	s.handle(route, handler, func(w http.ResponseWriter, err error) {
		if strings.HasPrefix(route.Pattern, wire.Management+"/") {
			wire.WriteProblem(w, route.Method, err, s.problem(err))
			return
		}
		wire.WriteError(w, err, s.problem(err))
	})
}

func (s *Server) writeProblem(w http.ResponseWriter, err error) {
	p := s.problem(err)
	w.Header().Set("Content-Type", p.ContentType("application/json"))
	maps.Copy(w.Header(), p.GetHeaders())
	w.WriteHeader(p.Status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(p); err != nil {
		s.cfg.Logger.Debug("problem not written", "error", err)
	}
}

// problem logs what is our own fault and gives every error its form.
func (s *Server) problem(err error) *client.Problem {
	p := problemOf(err)
	if p.Status == http.StatusInternalServerError {
		s.cfg.Logger.Error("admin request failed", "error", err)
	}
	return p
}

// Written is the headers of an answer to a write. It is exported because huma looks into
// embedded fields only if they are.
type Written struct {
	Index    string `header:"X-Conclave-Index" doc:"Raft index of the change, with the generation in front; send it as x-conclave-min-index to read no older state"`
	Enforced string `header:"X-Conclave-Enforced-By" doc:"of a change that takes something away: members that have applied it"`
	Pending  string `header:"X-Conclave-Pending" doc:"members that have not yet applied the change"`
	Until    string `header:"X-Conclave-Pending-Until" doc:"when the last of the pending members stops serving inference unless it has applied the change: RFC 3339, or forever"`
	ETag     string `header:"ETag" doc:"version of the record, in quotes"`
}

func headersOf(w records.Written) Written {
	r := w.Receipt
	return Written{
		Index: w.Index, Enforced: strings.Join(r.EnforcedBy, ", "), Pending: strings.Join(r.Pending, ", "), Until: r.Deadline(),
		ETag: etag(w.Version),
	}
}

func etag(version uint64) string {
	if version == 0 {
		return ""
	}
	return `"` + strconv.FormatUint(version, 10) + `"`
}

// parseVersion reads If-Match; "" gives 0.
func parseVersion(ifMatch string) (uint64, error) {
	if ifMatch == "" {
		return 0, nil
	}
	v, err := strconv.ParseUint(strings.Trim(strings.TrimPrefix(ifMatch, "W/"), `"`), 10, 64)
	if err != nil || v == 0 {
		return 0, invalid("If-Match", "is not the ETag of a record")
	}
	return v, nil
}
