package otlp_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	tracecollect "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	trace "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/conclave-llm/conclave/plugins/builtin/otlp"
	"github.com/conclave-llm/conclave/plugins/builtin/sink/sinktest"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// collector answers as the protocol demands and refuses what is not in it.
func collector(path string) func(r *sinktest.Request) (int, string) {
	return func(r *sinktest.Request) (int, string) {
		var in tracecollect.ExportTraceServiceRequest
		switch {
		case r.Method != http.MethodPost || r.Path != path:
			return http.StatusNotFound, "no such path"
		case r.Header.Get("Content-Type") != "application/x-protobuf":
			return http.StatusUnsupportedMediaType, "not protobuf"
		case (proto.UnmarshalOptions{}).Unmarshal(r.Body, &in) != nil || len(in.ProtoReflect().GetUnknown()) > 0:
			return http.StatusBadRequest, "not the message"
		}
		for _, s := range spansOf(&in) {
			if len(s.TraceId) != 16 || len(s.SpanId) != 8 || s.EndTimeUnixNano < s.StartTimeUnixNano || s.Name == "" {
				return http.StatusBadRequest, "a span is not valid"
			}
		}
		return http.StatusOK, ""
	}
}

func spansOf(in *tracecollect.ExportTraceServiceRequest) (spans []*trace.Span) {
	for _, rs := range in.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			spans = append(spans, ss.Spans...)
		}
	}
	return spans
}

func valueOf(list []*common.KeyValue, key string) any {
	for _, kv := range list {
		if kv.Key != key {
			continue
		}
		switch v := kv.Value.Value.(type) {
		case *common.AnyValue_StringValue:
			return v.StringValue
		case *common.AnyValue_IntValue:
			return v.IntValue
		case *common.AnyValue_DoubleValue:
			return v.DoubleValue
		}
	}
	return nil
}

func read(t *testing.T, r *sinktest.Request) *tracecollect.ExportTraceServiceRequest {
	t.Helper()
	var in tracecollect.ExportTraceServiceRequest
	if err := proto.Unmarshal(r.Body, &in); err != nil {
		t.Fatal(err)
	}
	return &in
}

func TestOTLP(t *testing.T) {
	t.Parallel()
	s := sinktest.NewServer(t, "")
	config := map[string]any{"endpoint": s.URL, "headers": map[string]string{"x-token": "tok"}, "environment": "prod"}
	sinktest.Behaves(t, func() sdk.Callback { return otlp.New("otlp") }, s, sinktest.Config{Value: config, Secrets: []string{"tok"}}, collector("/v1/traces"))

	o := otlp.New("otlp")
	sinktest.Configure(t, o, config)
	s.Answer(collector("/v1/traces"))
	records := sinktest.Telling(sinktest.Records(2))
	records[0].RequestID = "4bf92f3577b34da6a3ce929d0e0e4736"
	sinktest.Deliver(t, o, records)
	in := read(t, &s.Take()[0])
	if got := valueOf(in.ResourceSpans[0].Resource.Attributes, "deployment.environment.name"); got != "prod" {
		t.Errorf("environment %v", got)
	}
	spans := spansOf(in)
	if len(spans) != 2 || hex.EncodeToString(spans[0].TraceId) != records[0].RequestID || spans[0].Name != "chat fast" {
		t.Fatalf("spans %v", spans)
	}
	for key, want := range map[string]any{
		"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "fast", "gen_ai.response.model": "gpt-x",
		"gen_ai.usage.input_tokens": int64(100), "gen_ai.usage.output_tokens": int64(25), "gen_ai.usage.cache_read.input_tokens": int64(30),
		"gen_ai.usage.cost": 0.00125, "gen_ai.conversation.id": "s-1", "conclave.team.name": "research", "error.type": nil,
		"gen_ai.input.messages":  `[{"role":"user","parts":[{"type":"text","content":"canary-5e1f asked"}]}]`,
		"gen_ai.output.messages": `[{"role":"assistant","parts":[{"type":"text","content":"canary-5e1f said"}]}]`,
	} {
		if got := valueOf(spans[0].Attributes, key); got != want {
			t.Errorf("%s: got %v, want %v", key, got, want)
		}
	}
	bad := spans[1]
	if bad.Status.Code != trace.Status_STATUS_CODE_ERROR || valueOf(bad.Attributes, "error.type") != "budget_exceeded" || valueOf(bad.Attributes, "gen_ai.usage.cost") != nil {
		t.Errorf("a failure: %v", bad)
	}
	if spans[0].EndTimeUnixNano-spans[0].StartTimeUnixNano != 1_500_000_000 {
		t.Error("the span is not as long as the request")
	}
	s.Answer(func(*sinktest.Request) (int, string) { return http.StatusServiceUnavailable, "" })
	first := s.Take()
	_ = first
	again := otlp.New("otlp")
	sinktest.Configure(t, again, config)
	s.Answer(collector("/v1/traces"))
	sinktest.Deliver(t, again, records[:1])
	if twice := spansOf(read(t, &s.Take()[0]))[0]; !bytes.Equal(twice.SpanId, spans[0].SpanId) {
		t.Error("a record that comes again has another span")
	}
}

func TestOTLP_partial(t *testing.T) {
	t.Parallel()
	s := sinktest.NewServer(t, "")
	o := otlp.New("otlp")
	sinktest.Configure(t, o, map[string]any{"endpoint": s.URL, "gzip": false})
	s.Answer(func(r *sinktest.Request) (int, string) {
		if !bytes.Contains(r.Body, []byte("req-3")) {
			return http.StatusOK, ""
		}
		b, err := proto.Marshal(&tracecollect.ExportTraceServiceResponse{PartialSuccess: &tracecollect.ExportTracePartialSuccess{RejectedSpans: 1, ErrorMessage: "odd"}})
		if err != nil {
			t.Error(err)
		}
		return http.StatusOK, string(b)
	})
	if n, err := o.Deliver(t.Context(), sinktest.Records(5)); n != 2 || err == nil || !strings.Contains(err.Error(), "odd") {
		t.Errorf("delivered %d, %v, want a refusal of the third", n, err)
	}
}

// AgentOps takes spans with a token that it gives for the key, and not with the key.
func TestAgentOps(t *testing.T) {
	t.Parallel()
	s := sinktest.NewServer(t, "")
	down := true
	spans := collector("/v1/traces")
	s.Answer(func(r *sinktest.Request) (int, string) {
		switch {
		case r.Path == "/v3/auth/token" && down:
			down = false
			return http.StatusServiceUnavailable, ""
		case r.Path == "/v3/auth/token" && string(r.Body) == `{"api_key":"ak-s3cret"}`:
			return http.StatusOK, `{"token":"jwt","project_id":"p"}`
		case r.Path == "/v3/auth/token" || r.Header.Get("Authorization") != "Bearer jwt":
			return http.StatusUnauthorized, "no"
		}
		return spans(r)
	})
	config := map[string]any{"endpoint": s.URL, "api_key": "ak-s3cret", "token_url": s.URL + "/v3/auth/token"}
	o := otlp.New("agentops")
	sinktest.Configure(t, o, config)
	for range 2 {
		sinktest.Deliver(t, o, sinktest.Records(3))
	}
	var paths []string
	for _, r := range s.Take() {
		paths = append(paths, r.Path)
	}
	if want := []string{"/v3/auth/token", "/v3/auth/token", "/v1/traces", "/v1/traces"}; !slices.Equal(paths, want) {
		t.Errorf("got %q, want %q: one token for all", paths, want)
	}
	bad := otlp.New("agentops")
	config["api_key"] = "another"
	sinktest.Configure(t, bad, config)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if n, err := bad.Deliver(ctx, sinktest.Records(1)); n != 0 || err == nil || !strings.Contains(err.Error(), "gives no token for the api_key: it answers 401") || errors.As(err, new(*sdk.CallbackRefused)) {
		t.Errorf("with a wrong key: %d, %v; want an error that passes", n, err)
	}
	if err := sinktest.Try(otlp.New("agentops"), map[string]any{"api_key": "ak", "token_url": "x"}); err == nil {
		t.Error("a token_url that is no URL is taken")
	}
}

// Langtrace takes spans in JSON that is not compressed, and only of who says that he speaks OpenTelemetry's.
func TestLangtrace(t *testing.T) {
	t.Parallel()
	s := sinktest.NewServer(t, "{}")
	o := otlp.New("langtrace")
	sinktest.Configure(t, o, map[string]any{"endpoint": s.URL, "api_key": "ak"})
	records := sinktest.Telling(sinktest.Records(3))
	sinktest.Deliver(t, o, records)
	got := s.Take()[0]
	if got.Path != "/api/trace" || got.Header.Get("Content-Type") != "application/json" || got.Header.Get("Content-Encoding") != "" ||
		got.Header.Get("x-api-key") != "ak" || !strings.Contains(got.Header.Get("User-Agent"), "opentelemetry") {
		t.Errorf("got %s %v", got.Path, got.Header)
	}
	var in struct {
		ResourceSpans []struct {
			ScopeSpans []struct {
				Spans []struct {
					TraceID           string `json:"traceId"`
					SpanID            string `json:"spanId"`
					Name              string
					Kind              int
					StartTimeUnixNano string
				}
			}
		}
	}
	got.JSON(t, &in)
	spans := in.ResourceSpans[0].ScopeSpans[0].Spans
	if len(spans) != 3 || spans[0].TraceID != hex.EncodeToString(otlp.TraceID(records[0].RequestID)) || len(spans[0].SpanID) != 16 ||
		spans[0].Name != "chat fast" || spans[0].Kind != 3 || spans[0].StartTimeUnixNano != "1772368200123000000" {
		t.Errorf("got %+v", spans)
	}
}

// What was said, tags and sessions stand under the names that vendors publish.
func TestVendors_names(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]map[string]any{
		"langsmith": {
			"gen_ai.prompt": `{"model":"fast","messages":[{"role":"user","content":"canary-5e1f asked"}]}`, "langsmith.span.kind": "llm", "langsmith.span.tags": "prod",
			"gen_ai.completion": `{"choices":[{"message":{"role":"assistant","content":"canary-5e1f said"}}]}`, "langsmith.metadata.session_id": "s-1",
		},
		"lunary": {
			"gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": "canary-5e1f asked", "gen_ai.prompt.1.role": nil,
			"gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.content": "canary-5e1f said",
		},
		"opik":       {"opik.tags": "prod", "gen_ai.conversation.id": "s-1", "gen_ai.system": "openai"},
		"braintrust": {"gen_ai.input.messages": `[{"role":"user","parts":[{"type":"text","content":"canary-5e1f asked"}]}]`, "gen_ai.prompt": nil},
	} {
		s := sinktest.NewServer(t, "")
		o := otlp.New(name)
		sinktest.Configure(t, o, map[string]any{"endpoint": s.URL, "api_key": "ak", "project": "pr", "workspace": "ws"})
		records := sinktest.Telling(sinktest.Records(1))
		sinktest.Deliver(t, o, records)
		records[0].Endpoint, records[0].Request, records[0].Response = "embeddings", nil, []byte("data: {}\n\n")
		sinktest.Deliver(t, o, records)
		got := s.Take()
		spans := spansOf(read(t, &got[0]))
		for key, v := range want {
			if at := valueOf(spans[0].Attributes, key); at != v {
				t.Errorf("%s: %s: got %v, want %v", name, key, at, v)
			}
		}
		other := spansOf(read(t, &got[1]))[0].Attributes
		if name == "langsmith" && valueOf(other, "langsmith.span.kind") != "embedding" || name == "lunary" && valueOf(other, "gen_ai.completion.0.content") != "data: {}\n\n" {
			t.Errorf("%s: an answer that has no messages: %v", name, other)
		}
	}
}

// The address of one's own server may be what the vendor's pages call its endpoint.
func TestVendors_endpoint(t *testing.T) {
	t.Parallel()
	s := sinktest.NewServer(t, "")
	for name, tt := range map[string][2]string{
		"langsmith":     {"/api/v1/otel", "/api/v1/otel/v1/traces"},
		"opik":          {"/opik/api/v1/private/otel/", "/opik/api/v1/private/otel/v1/traces"},
		"langfuse_otel": {"/api/public/otel", "/api/public/otel/v1/traces"},
		"weave":         {"/otel/v1/traces", "/otel/v1/traces"},
		"lunary":        {"/v1/otel", "/v1/otel/v1/traces"},
	} {
		o := otlp.New(name)
		sinktest.Configure(t, o, map[string]any{
			"endpoint": s.URL + tt[0], "api_key": "ak", "public_key": "pk", "secret_key": "sk", "project": "pr", "workspace": "ws",
		})
		sinktest.Deliver(t, o, sinktest.Records(1))
		if got := s.Take()[0].Path; got != tt[1] {
			t.Errorf("%s at %s: got %s, want %s", name, tt[0], got, tt[1])
		}
	}
}

// Each vendor gets the headers and the path of its row; whether the vendor takes them this cannot tell.
func TestVendors(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct {
		path     string
		headers  map[string]string
		resource map[string]string
	}{
		"arize":         {"/v1/traces", map[string]string{"Authorization": "ak", "api_key": "ak", "arize-space-id": "ws", "space_id": "ws"}, map[string]string{"model_id": "pr"}},
		"braintrust":    {"/v1/traces", map[string]string{"Authorization": "Bearer ak", "x-bt-parent": "project_name:pr"}, nil},
		"honeycomb":     {"/v1/traces", map[string]string{"x-honeycomb-team": "ak"}, nil},
		"langfuse_otel": {"/api/public/otel/v1/traces", map[string]string{"Authorization": "Basic cGs6c2s=", "x-langfuse-ingestion-version": "4"}, nil},
		"langsmith":     {"/otel/v1/traces", map[string]string{"x-api-key": "ak", "Langsmith-Project": "pr"}, nil},
		"logfire":       {"/v1/traces", map[string]string{"Authorization": "ak"}, nil},
		"lunary":        {"/v1/traces", map[string]string{"Authorization": "Bearer ak"}, nil},
		"mlflow":        {"/v1/traces", map[string]string{"x-mlflow-experiment-id": "pr"}, nil},
		"newrelic":      {"/v1/traces", map[string]string{"api-key": "ak"}, nil},
		"opik":          {"/v1/private/otel/v1/traces", map[string]string{"Authorization": "ak", "Comet-Workspace": "ws", "projectName": "pr"}, nil},
		"otlp":          {"/v1/traces", nil, nil},
		"phoenix":       {"/v1/traces", map[string]string{"Authorization": "Bearer ak"}, map[string]string{"openinference.project.name": "pr"}},
		"signoz":        {"/v1/traces", map[string]string{"signoz-ingestion-key": "ak"}, nil},
		"traceloop":     {"/v1/traces", map[string]string{"Authorization": "Bearer ak"}, nil},
		"weave":         {"/otel/v1/traces", map[string]string{"wandb-api-key": "ak"}, map[string]string{"wandb.entity": "ws", "wandb.project": "pr"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sinktest.NewServer(t, "")
			s.Answer(collector(want.path))
			o := otlp.New(name)
			sinktest.Configure(t, o, map[string]any{
				"endpoint": s.URL, "api_key": "ak", "public_key": "pk", "secret_key": "sk", "project": "pr", "workspace": "ws",
			})
			sinktest.Deliver(t, o, sinktest.Records(3))
			got := s.Take()[0]
			for h, v := range want.headers {
				if got.Header.Get(h) != v {
					t.Errorf("%s: got %q, want %q", h, got.Header.Get(h), v)
				}
			}
			for key, v := range want.resource {
				if at := valueOf(read(t, &got).ResourceSpans[0].Resource.Attributes, key); at != v {
					t.Errorf("%s: got %v, want %s", key, at, v)
				}
			}
		})
	}
	if n := len(otlp.Vendors()); n != 17 {
		t.Errorf("%d vendors, of which 15 are tested here", n)
	}
	for _, name := range otlp.Vendors() {
		if err := sinktest.Try(otlp.New(name), map[string]any{"region": "eu/evil"}); err == nil {
			t.Errorf("%s takes a configuration without anything, or any region", name)
		}
	}
}
