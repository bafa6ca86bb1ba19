// Package otlp is the callback that sends finished requests as spans over OTLP/HTTP, with the
// attributes of OpenTelemetry's conventions for generative AI; and the table of vendors that take
// them, each with its address and its way to prove who sends.
package otlp

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"

	tracecollect "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	resourcev1 "go.opentelemetry.io/proto/slim/otlp/resource/v1"
	trace "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/sink"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// maxBatch is how many spans go into one request.
const maxBatch = 256

// Config is the configuration. What a vendor does not know is refused.
type Config struct {
	Endpoint    string            `json:"endpoint,omitempty"` // of a collector, without /v1/traces
	Headers     map[string]string `json:"headers,omitempty"`
	ServiceName string            `json:"service_name,omitempty"` // default conclave
	Environment string            `json:"environment,omitempty"`
	Resource    map[string]string `json:"resource,omitempty"` // further attributes of the resource

	APIKey    string `json:"api_key,omitempty"`
	PublicKey string `json:"public_key,omitempty"`
	SecretKey string `json:"secret_key,omitempty"`
	Project   string `json:"project,omitempty"`
	Workspace string `json:"workspace,omitempty"` // of Opik and LangSmith; the space of Arize; the entity of Weave
	Region    string `json:"region,omitempty"`
	TokenURL  string `json:"token_url,omitempty"` // of AgentOps, which gives tokens for the key there
	sink.HTTP
}

// OTLP sends spans to the vendor.
type OTLP struct {
	vendor   vendor
	cfg      Config
	url      string
	header   http.Header
	resource *resourcev1.Resource
	client   *sink.Client
	sign     func(r *http.Request, body []byte) error // nil: the header says it all
}

// New makes the callback of a vendor of the table; "otlp" is any collector.
func New(name string) *OTLP { return &OTLP{vendor: vendors[name]} }

// Configure implements sdk.Callback.
func (o *OTLP) Configure(_ context.Context, s sdk.CallbackSettings) (sdk.CallbackDescription, error) {
	cfg := Config{ServiceName: "conclave"}
	if err := sink.ReadConfig(s.Config, &cfg); err != nil {
		return sdk.CallbackDescription{}, err
	}
	if err := o.vendor.check(&cfg); err != nil {
		return sdk.CallbackDescription{}, err
	}
	o.cfg, o.header = cfg, http.Header{"Content-Type": {"application/x-protobuf"}}
	if o.vendor.json {
		o.header.Set("Content-Type", "application/json")
	}
	o.url = o.vendor.url(&cfg)
	if _, err := sink.URL("endpoint", o.url); err != nil {
		return sdk.CallbackDescription{}, err
	}
	attributes := map[string]string{"service.name": cfg.ServiceName, "service.version": s.HostVersion}
	if cfg.Environment != "" {
		attributes["deployment.environment.name"] = cfg.Environment
	}
	if o.vendor.prove != nil {
		o.vendor.prove(&cfg, o.header, attributes)
	}
	for name, value := range cfg.Headers {
		o.header.Set(name, value)
	}
	maps.Copy(attributes, cfg.Resource)
	o.resource = &resourcev1.Resource{Attributes: texts(attributes)}
	client, err := sink.NewClient(cfg.HTTP, !o.vendor.json)
	o.client = client
	if err == nil && o.vendor.tokenURL != "" {
		t := &tokens{url: cmp.Or(cfg.TokenURL, o.vendor.tokenURL), key: cfg.APIKey, client: client.HTTP()}
		_, err = sink.URL("token_url", t.url)
		o.sign = t.sign
	}
	return sdk.CallbackDescription{Version: scan.Version}, err
}

// Deliver implements sdk.Callback.
func (o *OTLP) Deliver(ctx context.Context, records []sdk.Record) (int, error) {
	return sink.Deliver(ctx, records, maxBatch, o.send)
}

func (o *OTLP) send(ctx context.Context, records []sdk.Record) (int, error) {
	body, err := o.encode(records)
	if err != nil {
		return 0, err
	}
	answer, err := o.client.Do(ctx, &sink.Request{URL: o.url, Header: o.header, Body: body, Sign: o.sign})
	if err != nil {
		return 0, err
	}
	var res tracecollect.ExportTraceServiceResponse
	if proto.Unmarshal(answer, &res) != nil {
		return len(records), nil // some answer with a page or in JSON: the status counts
	}
	if p := res.GetPartialSuccess(); p.GetRejectedSpans() > 0 {
		return 0, &sink.Rejected{Status: http.StatusOK, Reason: sink.Reason([]byte(p.GetErrorMessage()))}
	}
	return len(records), nil
}

func (o *OTLP) encode(records []sdk.Record) ([]byte, error) {
	spans := make([]*trace.Span, len(records))
	for i := range records {
		spans[i] = o.span(&records[i])
	}
	marshal := proto.Marshal
	if o.vendor.json {
		marshal = inJSON
	}
	b, err := marshal(&tracecollect.ExportTraceServiceRequest{ResourceSpans: []*trace.ResourceSpans{{
		Resource: o.resource,
		ScopeSpans: []*trace.ScopeSpans{{
			Scope: &common.InstrumentationScope{Name: "github.com/conclave-llm/conclave", Version: scan.Version}, Spans: spans,
		}},
	}}})
	if err != nil {
		return nil, fmt.Errorf("encode spans: %w", err)
	}
	return b, nil
}
