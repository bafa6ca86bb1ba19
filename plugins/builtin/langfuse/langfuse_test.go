package langfuse_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/langfuse"
	"github.com/conclave-llm/conclave/plugins/builtin/sink/sinktest"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

type event struct {
	ID, Timestamp, Type string
	Body                map[string]any
}

// ingestion answers as Langfuse's API of ingestion does: 207 and what became of each event.
func ingestion(known map[string]event, status func(e event) int) func(r *sinktest.Request) (int, string) {
	return func(r *sinktest.Request) (int, string) {
		if r.Path != "/api/public/ingestion" || r.Method != http.MethodPost {
			return http.StatusNotFound, ""
		}
		req := http.Request{Header: r.Header}
		if user, password, _ := req.BasicAuth(); user != "pk-lf-1" || password != "sk-lf-1" {
			return http.StatusUnauthorized, `{"message":"Invalid credentials"}`
		}
		var in struct{ Batch []event }
		if err := json.Unmarshal(r.Body, &in); err != nil || len(in.Batch) == 0 {
			return http.StatusBadRequest, "no batch"
		}
		var bad []string
		for _, e := range in.Batch {
			code := http.StatusCreated
			if status != nil {
				code = status(e)
			}
			if e.ID == "" || e.Timestamp == "" || e.Body["id"] == "" || e.Type != "trace-create" && e.Type != "generation-create" {
				code = http.StatusBadRequest
			}
			if code != http.StatusCreated {
				bad = append(bad, fmt.Sprintf(`{"id":%q,"status":%d,"message":"odd"}`, e.ID, code))
				continue
			}
			known[e.ID] = e
		}
		return http.StatusMultiStatus, `{"successes":[],"errors":[` + strings.Join(bad, ",") + `]}`
	}
}

func TestLangfuse(t *testing.T) {
	t.Parallel()
	s := sinktest.NewServer(t, "")
	config := map[string]any{"host": s.URL, "public_key": "pk-lf-1", "secret_key": "sk-lf-1", "environment": "prod"}
	sinktest.Behaves(t, func() sdk.Callback { return &langfuse.Langfuse{} }, s, sinktest.Config{Value: config, Secrets: []string{"sk-lf-1"}},
		ingestion(map[string]event{}, nil))

	known := map[string]event{}
	l := &langfuse.Langfuse{}
	sinktest.Configure(t, l, config)
	s.Answer(ingestion(known, nil))
	records := sinktest.Telling(sinktest.Records(2))
	sinktest.Deliver(t, l, records)
	sinktest.Deliver(t, l, records) // comes again
	if len(known) != 4 {
		t.Fatalf("%d events, want two a record, each once", len(known))
	}
	for _, e := range known {
		if e.Type != "generation-create" {
			continue
		}
		usage, _ := e.Body["usageDetails"].(map[string]any)
		switch e.Body["traceId"] {
		case "req-1":
			if usage["input"] != 70.0 || usage["output"] != 20.0 || usage["total"] != 125.0 || e.Body["level"] != "DEFAULT" ||
				e.Body["startTime"] != "2026-03-01T12:30:00.123Z" || e.Body["completionStartTime"] != "2026-03-01T12:30:00.373Z" ||
				fmt.Sprint(e.Body["costDetails"]) != "map[total:0.00125]" || e.Body["model"] != "gpt-x" ||
				!strings.Contains(fmt.Sprint(e.Body["input"]), sinktest.Canary) {
				t.Errorf("generation %v", e.Body)
			}
		case "req-2":
			if e.Body["level"] != "ERROR" || e.Body["statusMessage"] != "budget_exceeded: The team has spent its budget." || e.Body["costDetails"] != nil {
				t.Errorf("failure %v", e.Body)
			}
		}
	}
}

func TestLangfuse_partial(t *testing.T) {
	t.Parallel()
	s := sinktest.NewServer(t, "")
	l := &langfuse.Langfuse{}
	sinktest.Configure(t, l, map[string]any{"host": s.URL, "public_key": "pk-lf-1", "secret_key": "sk-lf-1"})
	for _, tt := range []struct {
		status  int
		refused bool
	}{{http.StatusBadRequest, true}, {http.StatusInternalServerError, false}, {http.StatusForbidden, false}, {http.StatusNotFound, false}} {
		s.Answer(ingestion(map[string]event{}, func(e event) int {
			if e.Body["traceId"] == "req-3" {
				return tt.status
			}
			return http.StatusCreated
		}))
		n, err := l.Deliver(t.Context(), sinktest.Records(5))
		if _, refused := errors.AsType[*sdk.CallbackRefused](err); n != 2 || refused != tt.refused || err == nil {
			t.Errorf("answered %d: delivered %d, %v, want a refusal: %t", tt.status, n, err, tt.refused)
		}
	}
	for _, bad := range []map[string]any{
		{"public_key": "pk"}, // half of the keys
		{"public_key": "pk", "secret_key": "sk", "environment": "Production"},
		{"public_key": "pk", "secret_key": "sk", "environment": "langfuse-prod"},
	} {
		if sinktest.Try(&langfuse.Langfuse{}, bad) == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}
