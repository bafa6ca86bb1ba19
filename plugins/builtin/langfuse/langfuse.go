// Package langfuse is the callback that sends finished requests to Langfuse's ingestion API: a
// trace and a generation in it for each.
package langfuse

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/plugins/builtin/payload"
	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/sink"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// maxBatch is how many requests go into one batch, of which Langfuse takes 3.5 MB.
const maxBatch = 100

// environment is what Langfuse takes as one: it refuses every event with another.
var environment = regexp.MustCompile(`^[a-z0-9_-]{1,40}$`)

// Config is the configuration.
type Config struct {
	PublicKey   string `json:"public_key"`
	SecretKey   string `json:"secret_key"`
	Host        string `json:"host,omitempty"` // default https://cloud.langfuse.com
	Environment string `json:"environment,omitempty"`
	Release     string `json:"release,omitempty"`
	sink.HTTP
}

// Langfuse sends events.
type Langfuse struct {
	cfg    Config
	header http.Header
	client *sink.Client
}

// Configure implements sdk.Callback.
func (l *Langfuse) Configure(_ context.Context, s sdk.CallbackSettings) (sdk.CallbackDescription, error) {
	cfg := Config{Host: "https://cloud.langfuse.com"}
	if err := sink.ReadConfig(s.Config, &cfg); err != nil {
		return sdk.CallbackDescription{}, err
	}
	if cfg.PublicKey == "" || cfg.SecretKey == "" {
		return sdk.CallbackDescription{}, errors.New("public_key, secret_key: give both keys of the Langfuse project")
	}
	if _, err := sink.URL("host", cfg.Host); err != nil {
		return sdk.CallbackDescription{}, err
	}
	if e := cfg.Environment; e != "" && (!environment.MatchString(e) || strings.HasPrefix(e, "langfuse")) {
		return sdk.CallbackDescription{}, fmt.Errorf("environment: %q is none that Langfuse takes: at most 40 letters in lower case, digits, - and _, not beginning with langfuse", e)
	}
	r := http.Request{Header: http.Header{"Content-Type": {"application/json"}}}
	r.SetBasicAuth(cfg.PublicKey, cfg.SecretKey)
	client, err := sink.NewClient(cfg.HTTP, false)
	l.cfg, l.client, l.header = cfg, client, r.Header
	return sdk.CallbackDescription{Version: scan.Version}, err
}

// Deliver implements sdk.Callback.
func (l *Langfuse) Deliver(ctx context.Context, records []sdk.Record) (int, error) {
	return sink.Deliver(ctx, records, maxBatch, l.send)
}

// event is what a batch has. Langfuse drops one whose id it knows.
type event struct {
	ID        string `json:"id"`
	Timestamp string `json:"timestamp"`
	Type      string `json:"type"`
	Body      any    `json:"body"`
}

type traceBody struct {
	ID          string          `json:"id"`
	Timestamp   string          `json:"timestamp"`
	Name        string          `json:"name"`
	UserID      string          `json:"userId,omitempty"`
	SessionID   string          `json:"sessionId,omitempty"`
	Release     string          `json:"release,omitempty"`
	Environment string          `json:"environment,omitempty"`
	Tags        []string        `json:"tags,omitempty"`
	Metadata    any             `json:"metadata,omitempty"`
	Input       json.RawMessage `json:"input,omitempty"`
	Output      json.RawMessage `json:"output,omitempty"`
}

type generationBody struct {
	ID                  string             `json:"id"`
	TraceID             string             `json:"traceId"`
	Name                string             `json:"name"`
	StartTime           string             `json:"startTime"`
	EndTime             string             `json:"endTime"`
	CompletionStartTime string             `json:"completionStartTime,omitempty"`
	Model               string             `json:"model,omitempty"`
	Level               string             `json:"level"`
	StatusMessage       string             `json:"statusMessage,omitempty"`
	UsageDetails        map[string]int64   `json:"usageDetails,omitempty"`
	CostDetails         map[string]float64 `json:"costDetails,omitempty"`
	PromptName          string             `json:"promptName,omitempty"`
	PromptVersion       int64              `json:"promptVersion,omitempty"`
	Environment         string             `json:"environment,omitempty"`
	Metadata            any                `json:"metadata,omitempty"`
	Input               json.RawMessage    `json:"input,omitempty"`
	Output              json.RawMessage    `json:"output,omitempty"`
}

func (l *Langfuse) send(ctx context.Context, records []sdk.Record) (int, error) {
	batch := struct {
		Batch []event `json:"batch"`
	}{}
	for i := range records {
		batch.Batch = append(batch.Batch, l.events(&records[i])...)
	}
	body, err := json.Marshal(batch)
	if err != nil {
		return 0, fmt.Errorf("encode events: %w", err)
	}
	answer, err := l.client.Do(ctx, &sink.Request{URL: strings.TrimSuffix(l.cfg.Host, "/") + "/api/public/ingestion", Header: l.header, Body: body})
	if err != nil {
		return 0, err
	}
	return taken(answer, records)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

// idOf is the same for a record each time that it comes.
func idOf(r *sdk.Record, what string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d", what, r.NodeID, r.Position))
	return hex.EncodeToString(sum[:16])
}

func (l *Langfuse) events(r *sdk.Record) []event {
	p := payload.Of(r)
	about := map[string]any{
		"outcome": r.Status, "http_status": r.HTTPStatus, "attempts": r.Attempts, "provider": r.Provider, "model_group": r.Model,
		"model_id": r.DeploymentID, "node": r.NodeID, "stream": r.Stream, "guardrail_information": p.Guardrails, "user_api_key": p.Metadata,
	}
	user := r.EndUser
	if user == "" {
		user = r.UserID
	}
	trace := traceBody{
		ID: r.RequestID, Timestamp: stamp(r.StartedAt), Name: "conclave-" + r.Endpoint, UserID: user, SessionID: r.SessionID, Release: l.cfg.Release,
		Environment: l.cfg.Environment, Tags: r.Tags, Metadata: about, Input: payload.Content(r.Request), Output: p.Response,
	}
	g := generationBody{
		ID: idOf(r, "generation"), TraceID: r.RequestID, Name: r.Endpoint, StartTime: stamp(r.StartedAt), EndTime: stamp(r.StartedAt.Add(r.Duration)),
		Model: payload.UpstreamModel(r), Level: "DEFAULT", Environment: l.cfg.Environment, Metadata: about, Input: payload.Content(r.Request), Output: p.Response,
		PromptName: r.Prompt, PromptVersion: r.PromptVersion,
		UsageDetails: map[string]int64{
			"input": r.Usage.Input, "output": r.Usage.Output, "cache_read_input_tokens": r.Usage.CacheRead,
			"cache_creation_input_tokens": r.Usage.CacheWrite, "reasoning": r.Usage.Reasoning, "total": p.Total,
		},
	}
	if p.Cost != nil {
		g.CostDetails = map[string]float64{"total": *p.Cost}
	}
	if r.FirstToken > 0 {
		g.CompletionStartTime = stamp(r.StartedAt.Add(r.FirstToken))
	}
	if r.Status != "success" {
		g.Level, g.StatusMessage = "ERROR", payload.ErrorText(r)
	}
	at := stamp(r.StartedAt.Add(r.Duration))
	return []event{{idOf(r, "trace event"), at, "trace-create", trace}, {idOf(r, "generation event"), at, "generation-create", g}}
}

// taken reads how many of the records, from the first, Langfuse has: it answers 207 and tells of
// each event. What it has comes again under the same id.
func taken(answer []byte, records []sdk.Record) (int, error) {
	var res struct {
		Errors []struct {
			ID      string `json:"id"`
			Status  int    `json:"status"`
			Message string `json:"message"`
		} `json:"errors"`
	}
	if err := json.Unmarshal(answer, &res); err != nil {
		return 0, fmt.Errorf("read Langfuse's answer: %w", err)
	}
	bad := map[string]int{}
	for i, e := range res.Errors {
		bad[e.ID] = i
	}
	for n := range records {
		for _, what := range []string{"trace event", "generation event"} {
			i, is := bad[idOf(&records[n], what)]
			if !is {
				continue
			}
			if e := res.Errors[i]; sink.Rejects(e.Status) {
				return n, &sdk.CallbackRefused{Reason: fmt.Sprintf("answered %d: %s", e.Status, sink.Reason([]byte(e.Message)))}
			}
			return n, fmt.Errorf("event is answered %d: %s", res.Errors[i].Status, sink.Reason([]byte(res.Errors[i].Message)))
		}
	}
	return len(records), nil
}
