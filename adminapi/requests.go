package adminapi

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/conclave-llm/conclave/adminapi/capture"
	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/replay"
	"github.com/conclave-llm/conclave/adminapi/spend"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/contents"
	"github.com/conclave-llm/conclave/ledger/evidence"
	"github.com/conclave-llm/conclave/ledger/requestlog"
	"github.com/conclave-llm/conclave/ledger/rollup"
	"github.com/conclave-llm/conclave/resource"
)

// verifyWait bounds how long the ledger is verified for one request.
const verifyWait = 5 * time.Minute

// FilterInput says whose requests or spend are meant. It is exported because huma looks into
// embedded fields only if they are.
type FilterInput struct {
	Key          string `query:"key" doc:"ids or names, with commas"`
	Team         string `query:"team" doc:"ids or names, with commas"`
	Organization string `query:"organization" doc:"ids, with commas"`
	Project      string `query:"project" doc:"ids, with commas"`
	User         string `query:"user" doc:"ids of the keys' users, with commas"`
	Customer     string `query:"customer" doc:"end users, as requests name them, with commas"`
	Tag          string `query:"tag" doc:"tags, with commas"`
	Model        string `query:"model" doc:"names, with commas"`
	Deployment   string `query:"deployment" doc:"ids, with commas"`
	Provider     string `query:"provider" doc:"names, with commas"`
	Endpoint     string `query:"endpoint" doc:"chat, completions, embeddings, …, with commas"`
}

func (f *FilterInput) values() url.Values {
	v := url.Values{}
	for name, text := range map[string]string{
		"key": f.Key, "team": f.Team, "organization": f.Organization, "project": f.Project, "user": f.User, "customer": f.Customer,
		"tag": f.Tag, "model": f.Model, "deployment": f.Deployment, "provider": f.Provider, "endpoint": f.Endpoint,
	} {
		if text != "" {
			v.Set(name, text)
		}
	}
	return v
}

type (
	requestsInput struct {
		FilterInput
		From    string `query:"from" doc:"a day (UTC), a time, or a duration such as 24h or 7d ago; default: all that is kept"`
		To      string `query:"to" doc:"likewise; a day is the end of it"`
		Status  string `query:"status" enum:"success,failure" doc:"of the requests"`
		Code    string `query:"code" doc:"error code"`
		Session string `query:"session" doc:"session id"`
		Sort    string `query:"sort" default:"-time" doc:"time, cost, tokens or duration; with - in front the largest first"`
		Limit   int    `query:"limit" default:"50" minimum:"1" maximum:"1000" doc:"requests a page"`
		Cursor  string `query:"cursor" doc:"next_cursor of the page before; in the order of time only"`
	}
	requestsOutput struct {
		Body struct {
			Items        []requestView `json:"items"`
			NextCursor   string        `json:"next_cursor,omitempty"`
			MissingNodes []string      `json:"missing_nodes,omitempty" doc:"nodes that gave no answer: their requests are not in it"`
		}
	}
	requestInput struct {
		ID      string `path:"id" doc:"request id, as x-request-id has it"`
		Content bool   `query:"content" doc:"show what the request and its answer said, if that was kept"`
		Replay  bool   `query:"replay" doc:"decide it again against what is stored now, without calling a provider"`
	}
	explainOutput struct {
		Body struct {
			Items        []explained `json:"items" doc:"one for each request that carried the id, the newest first"`
			Content      *said       `json:"content,omitempty"`
			MissingNodes []string    `json:"missing_nodes,omitempty"`
		}
	}
	verifyOutput struct {
		Body *requestlog.Verification
	}
)

// requestView is a row with its flags in words.
type requestView struct {
	requestlog.Row
	Flags []string `json:"flags"`
}

// explained is a request with its receipt.
type explained struct {
	requestView
	Decision requestlog.Receipt `json:"receipt"`
	Why      []string           `json:"explanation" doc:"the receipt in words"`
	Replay   *client.Replay     `json:"replay,omitempty" doc:"how it would be decided now"`
}

// said is what a request said.
type said struct {
	Request   string `json:"request"`
	Response  string `json:"response"`
	Truncated bool   `json:"truncated,omitempty"`
}

var flagNames = []struct {
	flag ledger.Flags
	name string
}{
	{ledger.Streamed, "streamed"},
	{ledger.HoldCharged, "estimated"},
	{ledger.Overrun, "overrun"},
	{ledger.Cached, "cached"},
	{ledger.Cut, "cut"},
	{ledger.Unpriced, "unpriced"},
	{ledger.Adjustment, "adjustment"},
}

func viewOf(r *requestlog.Row) requestView {
	v := requestView{Row: *r, Flags: []string{}}
	v.Receipt = ""
	for _, f := range flagNames {
		if ledger.Flags(r.Flags).Has(f.flag) {
			v.Flags = append(v.Flags, f.name)
		}
	}
	return v
}

// noRequests answers where the server was made without a request log.
type noRequests struct{}

func (noRequests) err() error {
	return newProblem(http.StatusServiceUnavailable, "unavailable", "this node keeps no request log", "")
}

// Rows implements spend.Requests.
func (n noRequests) Rows(context.Context, requestlog.Query) (requestlog.Page, []string, error) {
	return requestlog.Page{}, nil, n.err()
}

// Usage implements spend.Requests.
func (n noRequests) Usage(context.Context, rollup.Query) ([]rollup.Line, []string, error) {
	return nil, nil, n.err()
}

// Content implements spend.Requests.
func (n noRequests) Content(context.Context, string, string) (*contents.Content, []string, error) {
	return nil, nil, n.err()
}

// Verify implements spend.Requests.
func (n noRequests) Verify(context.Context, uint64, map[string]uint64, []requestlog.Replicated) (*requestlog.Verification, error) {
	return nil, n.err()
}

// registerRequests registers what is asked about requests and spend.
func (s *Server) registerRequests() {
	if s.cfg.Requests == nil {
		s.cfg.Requests = noRequests{}
	}
	s.spend = spend.New(spend.Config{
		Requests: s.cfg.Requests, Records: s.rs, Now: s.cfg.Now, Reads: s.noteRead, Exports: s.noteExport,
		KeyByHash: func(h resource.Hash) (*resource.Key, bool) { return s.cfg.State.KeyByHash(h) },
	})
	register(s, "list-requests", http.MethodGet, "/requests", "Requests that were served or refused, the newest first", s.requests)
	register(s, "get-request", http.MethodGet, "/requests/{id}", "One request, and why it was served or refused", s.request)
	s.registerCase()
	s.registerReprice()
	register(s, "verify-ledger", http.MethodGet, "/ledger/verify", "Compare what the nodes recorded with every replicated total", s.verify)
	s.registerExport("export-requests", "/requests", "All requests as CSV, or as JSON with one object a line", s.spend.ExportRows)
	s.registerExport("export-usage", "/usage", "What was spent as CSV or JSON", s.spend.ExportUsage)
	for _, r := range s.spend.Routes() {
		s.handleLiteLLM(Route{ID: r.ID, Method: r.Method, Pattern: r.Pattern}, wire.Handler(r.Handler))
	}
	if s.cfg.Capture == nil {
		s.cfg.Capture = capture.New(capture.Config{Catalog: s.cfg.State.Catalog, Usage: s.cfg.Requests.Usage, Now: s.cfg.Now, Logger: s.cfg.Logger})
	}
	for _, r := range s.cfg.Capture.Routes() {
		s.handleLiteLLM(Route{ID: r.ID, Method: r.Method, Pattern: r.Pattern}, r.Handler)
	}
}

// registerExport registers path/export, which takes the parameters of path and a format.
func (s *Server) registerExport(id, path, summary string, h spend.Handler) {
	doc := s.api.OpenAPI()
	params := append(slices.Clone(doc.Paths[Prefix+path].Get.Parameters), &huma.Param{
		Name: "format", In: "query", Description: "csv (the default) or json", Schema: oneOf("csv", "json"),
	})
	doc.AddOperation(&huma.Operation{
		OperationID: id, Method: http.MethodGet, Path: Prefix + path + "/export", Summary: summary, Parameters: params,
		Security: []map[string][]string{{"bearer": {}}},
		Responses: map[string]*huma.Response{"200": {Description: "the export", Content: map[string]*huma.MediaType{
			"text/csv": {Schema: &huma.Schema{Type: huma.TypeString}}, "application/json": {Schema: &huma.Schema{}},
		}}},
	})
	s.handle(Route{ID: id, Method: http.MethodGet, Pattern: Prefix + path + "/export"}, wire.Handler(h), s.writeProblem)
}

func (s *Server) requests(ctx context.Context, in *requestsInput) (*requestsOutput, error) {
	q, err := s.spend.Rows(callerOf(ctx), spend.RowParams{
		From: in.From, To: in.To, Status: in.Status, ErrorCode: in.Code, Session: in.Session, Sort: in.Sort, Limit: in.Limit,
		Cursor: in.Cursor, Names: in.values(),
	})
	if err != nil {
		return nil, s.problem(err)
	}
	page, missing, err := s.cfg.Requests.Rows(ctx, q)
	if err != nil {
		return nil, s.problem(err)
	}
	out := &requestsOutput{}
	out.Body.Items = make([]requestView, 0, len(page.Rows))
	for i := range page.Rows {
		out.Body.Items = append(out.Body.Items, viewOf(&page.Rows[i]))
	}
	out.Body.NextCursor, out.Body.MissingNodes = spend.Cursor(&page), missing
	return out, nil
}

// request explains a request. Whoever sees all requests may see what was said, an inference
// key only that of its own.
func (s *Server) request(ctx context.Context, in *requestInput) (*explainOutput, error) {
	q, err := s.spend.Rows(callerOf(ctx), spend.RowParams{RequestID: in.ID, Limit: 100})
	if err != nil {
		return nil, s.problem(err)
	}
	page, missing, err := s.cfg.Requests.Rows(ctx, q)
	if err != nil {
		return nil, s.problem(err)
	}
	if len(page.Rows) == 0 {
		return nil, s.problem(notFound(in.ID, missing))
	}
	out := &explainOutput{}
	out.Body.MissingNodes = missing
	for i := range page.Rows {
		r := &page.Rows[i]
		receipt, err := r.Explain()
		if err != nil {
			return nil, s.problem(fmt.Errorf("read receipt of %q: %w", in.ID, err))
		}
		one := explained{requestView: viewOf(r), Decision: receipt, Why: receipt.Words(r)}
		if in.Replay && r.Adjusts == 0 {
			if one.Replay, err = s.replay(&evidence.Request{Row: *r, Receipt: receipt}); err != nil {
				return nil, s.problem(err)
			}
		}
		out.Body.Items = append(out.Body.Items, one)
	}
	if in.Content {
		key, by := "", callerOf(ctx) // whose it must be; "": anybody's
		if by.OwnOnly {
			key = by.Who.Key.ID
		}
		if err := s.noteRead(ctx, by, in.ID); err != nil {
			return nil, s.problem(err)
		}
		c, _, err := s.cfg.Requests.Content(ctx, in.ID, key)
		if err != nil {
			return nil, s.problem(err)
		}
		if c != nil {
			out.Body.Content = &said{string(c.Request), string(c.Response), c.Truncated}
		}
	}
	return out, nil
}

// replay decides a request again.
func (s *Server) replay(r *evidence.Request) (*client.Replay, error) {
	if s.cfg.Judge == nil {
		return nil, fmt.Errorf("replay: this server decides about no requests: %w", resource.ErrRefused)
	}
	court := replay.Court{Judge: s.cfg.Judge, Catalog: s.cfg.State.Catalog, People: s.cfg.State, Book: s.prices.Book}
	return court.Replay(r), nil
}

func notFound(id string, missing []string) error {
	if len(missing) == 0 {
		return fmt.Errorf("request %q: %w", id, resource.ErrNotFound)
	}
	return newProblem(http.StatusNotFound, "not_found", fmt.Sprintf("request %q is not on the nodes that answered", id),
		"these gave no answer: "+strings.Join(missing, ", "))
}

// spendUsage answers a question about spend that totals by one kind cannot answer.
func (s *Server) spendUsage(ctx context.Context, in *usageInput) (*usageOutput, error) {
	names := in.values()
	if in.Kind != "total" && in.ID != "" {
		names.Add(in.Kind, in.ID)
	}
	q, err := s.spend.Usage(callerOf(ctx), spend.UsageParams{
		From: in.From, To: in.To, Granularity: in.Granularity, GroupBy: in.GroupBy, Names: names,
	})
	if err != nil {
		return nil, s.problem(err)
	}
	lines, missing, err := s.cfg.Requests.Usage(ctx, q)
	if err != nil {
		return nil, s.problem(err)
	}
	out := &usageOutput{}
	out.Body.MissingNodes = missing
	out.Body.From, out.Body.To = resource.Time(q.From*1e9), resource.Time(q.To*1e9)
	out.Body.Items = make([]client.Usage, 0, len(lines))
	for i := range lines {
		out.Body.Items = append(out.Body.Items, usageOfLine(&q, &lines[i]))
	}
	return out, nil
}

func usageOfLine(q *rollup.Query, l *rollup.Line) client.Usage {
	s := &l.Sums
	u := client.Usage{
		Cost: resource.Money(s.Cost), Requests: s.Requests, Failures: s.Failures, PromptTokens: s.Prompt, CompletionTokens: s.Completion,
		CacheReadTokens: s.CacheRead, CacheWriteTokens: s.CacheWrite, ReasoningTokens: s.Reasoning, CacheHits: s.CacheHits,
		Unpriced: s.Unpriced, Estimated: s.HoldCharged,
	}
	if s.Requests > 0 {
		u.AverageMS = s.Duration / s.Requests / 1e6
	}
	if s.Streams > 0 {
		u.AverageTTFTMS = s.TTFT / s.Streams / 1e6
	}
	if q.Granularity != "total" {
		u.Start = resource.Time(l.Start * 1e9)
		u.Day = time.Unix(l.Start, 0).UTC().Format(time.DateOnly)
	}
	if len(l.Names) > 0 {
		u.By = map[string]string{}
		for i, d := range q.GroupBy {
			u.By[d.String()] = l.Names[i]
		}
	}
	return u
}

// verify lets all nodes fold what they recorded and compares it with the replicated totals.
func (s *Server) verify(ctx context.Context, _ *struct{}) (*verifyOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, verifyWait)
	defer cancel()
	var want []requestlog.Replicated
	index, covered := s.cfg.State.EachDay(func(kind, id string, day int32, t fsm.Totals) {
		want = append(want, requestlog.Replicated{
			Kind: kind, ID: id, Day: day, Cost: t.Cost, Requests: t.Requests, Failures: t.Failures, Prompt: t.Prompt, Completion: t.Completion,
		})
	})
	v, err := s.cfg.Requests.Verify(ctx, index, covered, want)
	if err != nil {
		return nil, s.problem(err)
	}
	v.Differences = slices.Clip(v.Differences)
	return &verifyOutput{v}, nil
}
