package adminapi

import (
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

const (
	exportPage = 500                    // entries read at once
	exportWait = 10 * time.Second       // until the log says that it is exported
	headerFor  = "Litellm-Changed-By"   // whom the caller says he acts for
	signIn     = "sign_in"              // an admin credential is used from an address, or a wrong one
	access     = "access"               // a route that the credential may not use
	exported   = "export"               // of the audit log, the configuration, requests or spend
	readBody   = "read_body"            // what a request and its answer said
	maxFor     = 200                    // bytes of headerFor that are kept
	layoutDay  = time.DateOnly          // of from and to
	mediaCSV   = "text/csv"             // of an export
	mediaLines = "application/x-ndjson" // of an export
)

// errPruned says that entries were pruned while they were exported.
var errPruned = errors.New("the log was pruned while it was exported")

type (
	auditInput struct {
		Limit  int    `query:"limit" default:"50" minimum:"1" maximum:"500" doc:"entries a page; a page may be shorter, and next_cursor then goes on"`
		Cursor string `query:"cursor" doc:"next_cursor of the page before"`
		Sort   string `query:"sort" enum:"-number,number" default:"-number" doc:"newest or oldest first"`
		AuditFilter
	}
	exportInput struct {
		Format string `query:"format" enum:"jsonl,csv" default:"jsonl" doc:"of the export"`
		AuditFilter
	}
	auditOutput struct {
		Body struct {
			Items      []resource.AuditEntry `json:"items"`
			NextCursor string                `json:"next_cursor,omitempty"`
		}
	}
	auditRef struct {
		Number uint64 `path:"number" doc:"of the entry"`
	}
	auditEntryOutput struct {
		Body resource.AuditEntry
	}
	auditVerdictOutput struct {
		Body AuditVerdict
	}
)

// AuditFilter selects entries of the audit log. It is exported because huma looks into
// embedded fields only if they are.
type AuditFilter struct {
	Kind    string `query:"kind" doc:"of the record: key, team, …"`
	ID      string `query:"id" doc:"of the record"`
	Actor   string `query:"actor" doc:"master, key/ID, file or node/ID"`
	Action  string `query:"action" doc:"put_key, block_key, sign_in, export, …"`
	Address string `query:"address" doc:"that the request came from"`
	From    string `query:"from" doc:"entries since then, 2026-01-31 UTC or RFC 3339"`
	To      string `query:"to" doc:"entries before then; a day counts whole"`
	Q       string `query:"q" doc:"part of the actor, id, name, address or action"`
}

// AuditVerdict says whether the chain of the audit log is whole.
type AuditVerdict struct {
	Verified bool   `json:"verified"`
	Broken   uint64 `json:"broken,omitempty" doc:"number of the first entry that is not as it was written"`
	Reason   string `json:"reason,omitempty"`
	audit.Verdict
}

func (s *Server) registerAudit() {
	register(s, "list-audit", http.MethodGet, "/audit", "Who changed what, newest first", s.audit)
	register(s, "get-audit", http.MethodGet, "/audit/{number}", "One entry of the audit log", s.auditEntry)
	register(s, "verify-audit", http.MethodGet, "/audit/verify", "Whether the chain of the audit log is whole", s.verifyAudit)
	register(s, "export-audit", http.MethodGet, "/audit/export", "The audit log with what it takes to verify it", s.exportAudit)
}

func (s *Server) audit(_ context.Context, in *auditInput) (*auditOutput, error) {
	q, err := in.query()
	if err != nil {
		return nil, s.problem(err)
	}
	q.Limit, q.Cursor, q.Oldest = in.Limit, in.Cursor, in.Sort == "number"
	p := s.cfg.State.AuditPage(q)
	out := &auditOutput{}
	out.Body.Items, out.Body.NextCursor = p.Items, p.Next
	if out.Body.Items == nil {
		out.Body.Items = []resource.AuditEntry{}
	}
	return out, nil
}

func (in *AuditFilter) query() (fsm.AuditQuery, error) {
	q := fsm.AuditQuery{Kind: in.Kind, ID: in.ID, Actor: in.Actor, Action: in.Action, Address: in.Address, Text: in.Q}
	var err error
	if q.From, err = parseMoment("from", in.From, 0); err != nil {
		return q, err
	}
	q.To, err = parseMoment("to", in.To, 24*time.Hour)
	return q, err
}

// parseMoment reads a time, or a day and what is added to its begin.
func parseMoment(field, text string, day time.Duration) (resource.Time, error) {
	if text == "" {
		return 0, nil
	}
	if at, err := time.Parse(layoutDay, text); err == nil {
		return resource.At(at.Add(day)), nil
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return 0, invalid(field, "is neither a day such as 2026-01-31 nor a time such as 2026-01-31T12:00:00Z")
	}
	return resource.At(at), nil
}

func (s *Server) auditEntry(_ context.Context, in *auditRef) (*auditEntryOutput, error) {
	e, ok := s.cfg.State.AuditEntry(in.Number)
	if !ok {
		return nil, s.problem(fmt.Errorf("audit entry %d: %w", in.Number, resource.ErrNotFound))
	}
	return &auditEntryOutput{Body: e}, nil
}

func (s *Server) verifyAudit(ctx context.Context, _ *emptyInput) (*auditVerdictOutput, error) {
	for {
		h := s.auditHeader()
		verdict, err := s.followAudit(ctx, h)
		b, broken := errors.AsType[*audit.Broken](err)
		switch {
		case broken && s.prunedSince(&h) && ctx.Err() == nil: // what it misses is perhaps no more to be there
			continue
		case broken:
			return &auditVerdictOutput{Body: AuditVerdict{Broken: b.Number, Reason: b.Error(), Verdict: verdict}}, nil
		case err != nil:
			return nil, s.problem(err)
		}
		return &auditVerdictOutput{Body: AuditVerdict{Verified: true, Verdict: verdict}}, nil
	}
}

// followAudit verifies the chain from the header on.
func (s *Server) followAudit(ctx context.Context, h audit.Header) (audit.Verdict, error) {
	v := &audit.Verifier{}
	err := v.Start(h)
	for from := uint64(1); err == nil; {
		links := s.cfg.State.AuditLinks(from, 10*exportPage)
		if len(links) == 0 {
			break
		}
		for _, l := range links {
			if err = v.Add(l); err != nil {
				break
			}
		}
		from = links[len(links)-1].Number + 1
		if ctx.Err() != nil {
			return audit.Verdict{}, ctx.Err()
		}
	}
	verdict, ferr := v.Finish()
	return verdict, cmp.Or(err, ferr)
}

// prunedSince says whether entries were pruned since the header was made.
func (s *Server) prunedSince(h *audit.Header) bool {
	a := s.cfg.State.AuditExtent().Anchor
	return a != nil && (h.Anchor == nil || a.Number > h.Anchor.Number)
}

func (s *Server) auditHeader() audit.Header {
	info, _ := s.cfg.State.Cluster()
	extent := s.cfg.State.AuditExtent()
	return audit.NewHeader(extent, info.ClusterID, signerOf(&info, extent.Anchor), resource.At(s.cfg.Now()))
}

// signerOf is the CA that has signed the anchor, which may have been exchanged since.
func signerOf(info *fsm.ClusterInfo, anchor *resource.AuditAnchor) []byte {
	if anchor == nil {
		return info.CACert
	}
	for _, ca := range append(info.Trusted(), info.FormerCAs...) {
		if audit.CheckSignature(*anchor, ca) == nil {
			return ca
		}
	}
	return info.CACert
}

// exportAudit writes the entries that the query selects, the oldest first. That somebody
// took them away is an entry first.
func (s *Server) exportAudit(ctx context.Context, in *exportInput) (*huma.StreamResponse, error) {
	q, err := in.query()
	if err != nil {
		return nil, s.problem(err)
	}
	wait, cancel := context.WithTimeout(ctx, exportWait)
	defer cancel()
	if err := s.cfg.Auditor.Record(wait, event(callerOf(ctx), exported, "audit", in.Format)); err != nil {
		return nil, s.problem(err)
	}
	h := s.auditHeader()
	h.Filtered = in.AuditFilter != AuditFilter{}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		_, w := humago.Unwrap(hc)
		if err := s.writeExport(ctx, newExport(w, in.Format), &h, q); err != nil {
			s.cfg.Logger.Debug("audit export is cut off", "error", err)
			panic(http.ErrAbortHandler) // the status is written: all that is left is to cut the answer
		}
	}}, nil
}

// writeExport writes an export of the header. One of all entries is cut off where the next one was pruned meanwhile: without
// it the rest would look as if somebody had taken it out.
func (s *Server) writeExport(ctx context.Context, e *export, h *audit.Header, q fsm.AuditQuery) error {
	if err := e.header(h); err != nil {
		return err
	}
	next := uint64(1)
	if h.Anchor != nil {
		next = h.Anchor.Number + 1
	}
	q.Oldest, q.Bytes, q.Limit = true, true, exportPage
	for {
		p := s.cfg.State.AuditPage(q)
		if n := len(p.Items); n > 0 && !h.Filtered {
			if p.Items[0].Number != next {
				return errPruned
			}
			next = p.Items[n-1].Number + 1
		}
		for i := range p.Items {
			if err := e.line(&audit.Line{AuditEntry: p.Items[i], Entry: p.Entries[i]}); err != nil {
				return err
			}
		}
		if q.Cursor = p.Next; q.Cursor == "" || ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// export writes an export in one of its formats.
type export struct {
	json *json.Encoder // nil: CSV
	csv  *csv.Writer
}

func newExport(w http.ResponseWriter, format string) *export {
	media := mediaLines
	if format == "csv" {
		media = mediaCSV
	}
	w.Header().Set("Content-Type", media)
	w.Header().Set("Content-Disposition", `attachment; filename="audit.`+format+`"`)
	if format == "csv" {
		return &export{csv: csv.NewWriter(w)}
	}
	return &export{json: json.NewEncoder(w)}
}

func (e *export) header(h *audit.Header) error {
	if e.json != nil {
		return e.json.Encode(h)
	}
	if err := e.csv.Write(audit.Columns); err != nil {
		return err
	}
	return e.row(h.Row())
}

func (e *export) line(l *audit.Line) error {
	if e.json != nil {
		return e.json.Encode(l)
	}
	return e.row(l.Row())
}

func (e *export) row(cells []string, err error) error {
	if err == nil {
		err = e.csv.Write(cells)
	}
	e.csv.Flush()
	return errors.Join(err, e.csv.Error())
}

// event is something that the caller does.
func event(by records.Caller, action, kind, id string) resource.AuditEvent {
	e := resource.AuditEvent{Address: by.Address, For: by.For, Action: action, Kind: kind, ID: id, RequestID: by.RequestID}
	if by.Who.Master || by.Who.Key != nil {
		e.Actor = by.Who.Actor()
	}
	return e
}

// noteRead records that somebody reads what a request of another said, before it is shown.
func (s *Server) noteRead(ctx context.Context, by records.Caller, requestID string) error {
	if by.OwnOnly {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, exportWait)
	defer cancel()
	return s.cfg.Auditor.Record(ctx, event(by, readBody, "request", requestID))
}

// noteExport records that somebody takes records of others' requests away, before they are given.
func (s *Server) noteExport(ctx context.Context, by records.Caller, kind, id string) error {
	if by.OwnOnly {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, exportWait)
	defer cancel()
	return s.cfg.Auditor.Record(ctx, event(by, exported, kind, id))
}

// noteFailure notes that a credential was not accepted.
func (s *Server) noteFailure(by records.Caller, err error) {
	if e, ok := errors.AsType[*llm.Error](err); ok && e.Kind != llm.Unauthenticated {
		return // the node cannot tell
	}
	e := event(by, signIn, "", "")
	e.Outcome = resource.AuditFailed
	s.cfg.Auditor.Note(e)
}

// noteDenial notes that somebody tried what he may not do.
func (s *Server) noteDenial(by records.Caller, route string) {
	e := event(by, access, "route", route)
	e.Outcome = resource.AuditDenied
	s.cfg.Auditor.Note(e)
}

// noteSignIn notes that a credential is used that may see or change everything.
func (s *Server) noteSignIn(by records.Caller) {
	if by.Who.MayRead() {
		s.cfg.Auditor.Note(event(by, signIn, "", ""))
	}
}

// addressOf is who is connected, without the port.
func addressOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	host, _, _ = strings.Cut(host, "%") // without a zone
	return host
}

// changedBy is whom the caller says he acts for, as LiteLLM's clients do.
func changedBy(r *http.Request) string {
	text := strings.ToValidUTF8(r.Header.Get(headerFor), "")
	text = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return -1
		}
		return c
	}, text)
	for len(text) > maxFor {
		text = strings.ToValidUTF8(text[:maxFor], "")
	}
	return text
}
