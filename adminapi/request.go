package adminapi

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// indexWait bounds how long a request waits for the index that it asks for.
const indexWait = 5 * time.Second

// caller is who makes a request. Handlers find it in their context.
type caller struct {
	who       *resource.Principal
	requestID string
	secret    string // of the key that was made, which the answer shows once
	ownOnly   bool   // may see his own record only
}

type callerKey struct{}

func callerOf(ctx context.Context) *caller {
	c, _ := ctx.Value(callerKey{}).(*caller)
	if c == nil {
		return &caller{who: &resource.Principal{}} // nobody: may do nothing
	}
	return c
}

// actor names the credential under which the caller's commands are applied.
func (c *caller) actor() fsm.Actor {
	if c.who.Key == nil {
		if !c.who.Master {
			return fsm.Actor{Kind: "nobody"}
		}
		return fsm.Actor{Kind: "master"}
	}
	return fsm.Actor{Kind: "key", ID: c.who.Key.ID, Version: c.who.Key.Version}
}

// admit authenticates a request for the route, authorises it and waits for the index that
// it asks for. The order matters: strangers must not make the node wait.
func (s *Server) admit(r *http.Request, route string) (context.Context, error) {
	who, err := s.cfg.Authenticate(r)
	if err != nil {
		return nil, err
	}
	if who == nil {
		return nil, &llm.Error{Kind: llm.Unauthenticated, Code: "unauthenticated", Message: "no key was given"}
	}
	ownOnly, err := authorise(who, route, r.URL.Path)
	if err != nil {
		return nil, err
	}
	if who.Key != nil && who.Key.Role != resource.RoleInference {
		if err := s.cfg.Stale(); err != nil {
			return nil, newProblem(http.StatusServiceUnavailable, "stale", err.Error(),
				"this node has not heard the leader for too long to trust a key with a role; ask another node, or use the master key")
		}
	}
	if err := s.waitIndex(r); err != nil {
		return nil, err
	}
	c := &caller{who: who, requestID: requestID(r), ownOnly: ownOnly}
	return context.WithValue(r.Context(), callerKey{}, c), nil
}

// waitIndex honours x-conclave-min-index: it never lets an older state be read.
func (s *Server) waitIndex(r *http.Request) error {
	text := r.Header.Get(client.HeaderMinIndex)
	if text == "" {
		return nil
	}
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

func formatIndex(r fsm.Result) string {
	return strconv.FormatUint(r.Generation, 10) + "-" + strconv.FormatUint(r.Index, 10)
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
	inner, err := s.admit(r, ctx.Operation().OperationID)
	if err != nil {
		s.writeProblem(w, err)
		return
	}
	w.Header().Set(client.HeaderRequest, callerOf(inner).requestID)
	w.Header().Set("Cache-Control", "no-store")
	next(huma.WithContext(ctx, inner))
}

func (s *Server) writeProblem(w http.ResponseWriter, err error) {
	p := s.problem(err)
	w.Header().Set("Content-Type", p.ContentType("application/json"))
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(p.Status)
	s.encode(w, p)
}

// problem logs what is our own fault and gives every error its form.
func (s *Server) problem(err error) *client.Problem {
	p := problemOf(err)
	if p.Status == http.StatusInternalServerError {
		s.cfg.Logger.Error("admin request failed", "error", err)
	}
	return p
}

// Written is what came of a command, for the headers of the answer. It is exported because
// huma looks into embedded fields only if they are.
type Written struct {
	Index   string `header:"X-Conclave-Index" doc:"Raft index of the change, with the generation in front; send it as x-conclave-min-index to read no older state"`
	Pending string `header:"X-Conclave-Pending" doc:"members that have not yet applied the change"`
	ETag    string `header:"ETag" doc:"version of the record, in quotes"`
}

// writer commits the caller's commands.
type writer struct {
	store   Store
	cluster Cluster
}

// do commits a command of the caller.
func (w writer) do(ctx context.Context, cmd fsm.Command) (Written, error) {
	c := callerOf(ctx)
	res, err := w.store.Propose(ctx, c.actor(), c.requestID, cmd)
	if err != nil {
		return Written{}, err
	}
	return Written{Index: formatIndex(res), ETag: etag(res.Version)}, nil
}

// confirmed commits a command that takes something away: it waits a moment for every
// member to have applied it, and names those that have not.
func (w writer) confirmed(ctx context.Context, cmd fsm.Command) (Written, error) {
	c := callerOf(ctx)
	res, err := w.store.Propose(ctx, c.actor(), c.requestID, cmd)
	if err != nil {
		return Written{}, err
	}
	late := w.cluster.Confirm(ctx, res.Index, confirmWait)
	return Written{Index: formatIndex(res), ETag: etag(res.Version), Pending: strings.Join(late, ", ")}, nil
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
