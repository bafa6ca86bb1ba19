//go:build e2e

package counterparts

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/plugins/builtin/otlp"
	"github.com/conclave-llm/conclave/plugins/builtin/sink/sinktest"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// installed is a program beside the interpreter that a variable names.
func installed(t *testing.T, variable, program string) string {
	t.Helper()
	python := os.Getenv(variable)
	if python == "" {
		t.Fatalf("%s names no interpreter with %s; run make e2e", variable, program)
	}
	return filepath.Join(filepath.Dir(python), program)
}

// told are the records that the servers get: a success with contents, a failure, and an embedding.
func told() []sdk.Record {
	list := sinktest.Telling(sinktest.Records(3))
	list[2].Status, list[2].HTTPStatus, list[2].ErrorCode, list[2].Guardrails = "success", http.StatusOK, "", nil
	list[2].Endpoint, list[2].Request, list[2].Response = "embeddings", []byte(`{"input":"sea"}`), []byte(`{"data":[]}`)
	return list
}

// traceOf is the record's trace as a server writes it.
func traceOf(r *sdk.Record) string { return hex.EncodeToString(otlp.TraceID(r.RequestID)) }

// call asks a server for JSON.
func call(t *testing.T, method, address string, body, into any) {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, address, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil || res.StatusCode != http.StatusOK || json.Unmarshal(answer, into) != nil {
		t.Fatalf("%s %s: %d %s, %v", method, address, res.StatusCode, answer, err)
	}
}

// TestOTLP_MLflow: an MLflow server shows requests with their state, contents, tokens, session and cost.
func TestOTLP_MLflow(t *testing.T) {
	port := freePort(t)
	t.Setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false") // eight processes that nothing here needs
	start(t, "Uvicorn running on", installed(t, "CONCLAVE_MLFLOW_PYTHON", "mlflow"), "server", "--host", "127.0.0.1", "--port", port, "--workers", "1",
		"--backend-store-uri", "sqlite:///"+filepath.Join(t.TempDir(), "mlflow.db"))
	base := "http://127.0.0.1:" + port
	var made struct {
		ID string `json:"experiment_id"`
	}
	call(t, http.MethodPost, base+"/api/2.0/mlflow/experiments/create", map[string]string{"name": "gateway"}, &made)
	c, records := otlp.New("mlflow"), told()
	sinktest.Configure(t, c, map[string]any{"endpoint": base, "project": made.ID})
	sinktest.Deliver(t, c, records)
	sinktest.Deliver(t, c, records[:1]) // at least once: it is one trace

	type trace struct {
		ID       string            `json:"trace_id"`
		Time     time.Time         `json:"request_time"`
		Duration string            `json:"execution_duration"`
		State    string            `json:"state"`
		Metadata map[string]string `json:"trace_metadata"`
		Request  string            `json:"request_preview"`
		Response string            `json:"response_preview"`
	}
	var found struct {
		Traces []trace `json:"traces"`
	}
	call(t, http.MethodPost, base+"/api/3.0/mlflow/traces/search", map[string]any{"max_results": 10, "locations": []any{
		map[string]any{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": map[string]string{"experiment_id": made.ID}},
	}}, &found)
	if len(found.Traces) != len(records) {
		t.Fatalf("MLflow has %d traces, want %d: %+v", len(found.Traces), len(records), found.Traces)
	}
	by := map[string]trace{}
	for _, tr := range found.Traces {
		by[tr.ID] = tr
	}
	first, failed := by["tr-"+traceOf(&records[0])], by["tr-"+traceOf(&records[1])]
	if first.State != "OK" || failed.State != "ERROR" || !first.Time.Equal(records[0].StartedAt) || first.Duration != "1.500s" {
		t.Errorf("states, time or duration: %+v, %+v", first, failed)
	}
	if first.Request != sinktest.Canary+" asked" || first.Response != sinktest.Canary+" said" || first.Metadata["mlflow.trace.session"] != "s-1" {
		t.Errorf("contents or session: %+v", first)
	}
	for name, want := range map[string]string{
		"mlflow.trace.tokenUsage": `"input_tokens": 100, "output_tokens": 25, "total_tokens": 125, "cache_read_input_tokens": 30`,
		"mlflow.trace.cost":       `"total_cost": 0.00125`,
	} {
		if !strings.Contains(first.Metadata[name], want) {
			t.Errorf("%s is %s, want %s in it", name, first.Metadata[name], want)
		}
	}
}

// TestOTLP_Phoenix: an Arize Phoenix server shows requests in their project, with kinds, messages and tokens.
func TestOTLP_Phoenix(t *testing.T) {
	port := freePort(t)
	for name, value := range map[string]string{
		"PHOENIX_WORKING_DIR": t.TempDir(), "PHOENIX_HOST": "127.0.0.1", "PHOENIX_PORT": port, "PHOENIX_GRPC_PORT": freePort(t), "PHOENIX_TELEMETRY_ENABLED": "false",
	} {
		t.Setenv(name, value)
	}
	start(t, "Uvicorn running on", installed(t, "CONCLAVE_PHOENIX_PYTHON", "phoenix"), "serve")
	base := "http://127.0.0.1:" + port
	c, records := otlp.New("phoenix"), told()
	sinktest.Configure(t, c, map[string]any{"endpoint": base, "project": "the gateway"})
	sinktest.Deliver(t, c, records)

	type span struct {
		Name    string `json:"name"`
		Kind    string `json:"span_kind"`
		Status  string `json:"status_code"`
		Message string `json:"status_message"`
		Context struct {
			Trace string `json:"trace_id"`
		} `json:"context"`
		Attributes map[string]any `json:"attributes"`
	}
	var found struct {
		Data []span `json:"data"`
	}
	end := time.Now().Add(time.Minute) // it writes in the background
	for len(found.Data) < len(records) && time.Now().Before(end) {
		var projects struct {
			Data []struct {
				Name string `json:"name"`
			} `json:"data"`
		}
		call(t, http.MethodGet, base+"/v1/projects", nil, &projects)
		for _, p := range projects.Data {
			if p.Name == "the gateway" {
				call(t, http.MethodGet, base+"/v1/projects/"+url.PathEscape(p.Name)+"/spans", nil, &found)
			}
		}
	}
	by := map[string]span{}
	for _, s := range found.Data {
		by[s.Context.Trace] = s
	}
	first, failed, embedding := by[traceOf(&records[0])], by[traceOf(&records[1])], by[traceOf(&records[2])]
	if len(by) != len(records) || first.Name != "chat fast" || first.Kind != "LLM" || embedding.Kind != "EMBEDDING" {
		t.Fatalf("Phoenix has %+v", found.Data)
	}
	if failed.Status != "ERROR" || failed.Message != "budget_exceeded: The team has spent its budget." {
		t.Errorf("the failed one: %+v", failed)
	}
	for name, want := range map[string]string{
		"llm.input_messages.0.message.content": sinktest.Canary + " asked", "llm.token_count.prompt": "100", "llm.token_count.completion": "25",
		"llm.token_count.prompt_details.cache_read": "30", "llm.cost.total": "0.00125", "session.id": "s-1", "llm.provider": "openai",
	} {
		if got := fmt.Sprint(first.Attributes[name]); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}
