package otlp

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	trace "go.opentelemetry.io/proto/slim/otlp/trace/v1"

	"github.com/conclave-llm/conclave/plugins/builtin/payload"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// TraceID is the trace of a request: its id, if that is one in hexadecimal or a UUID, else a hash of it.
func TraceID(requestID string) []byte {
	if b, err := hex.DecodeString(strings.ReplaceAll(requestID, "-", "")); err == nil && len(b) == 16 && !allZero(b) {
		return b
	}
	sum := sha256.Sum256([]byte("trace " + requestID))
	return sum[:16]
}

// spanID is the same each time a record comes.
func spanID(r *sdk.Record) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "span %s %d", r.NodeID, r.Position))
	return sum[:8]
}

func allZero(b []byte) bool { return !slices.ContainsFunc(b, func(c byte) bool { return c != 0 }) }

// operations are the conventions' names of endpoints.
var operations = map[string]string{
	"chat": "chat", "messages": "chat", "responses": "chat", "generateContent": "generate_content", "generate_content": "generate_content",
	"completions": "text_completion", "embeddings": "embeddings",
}

// providers are the conventions' names of providers, where they differ from ours.
var providers = map[string]string{
	"azure": "azure.ai.openai", "bedrock": "aws.bedrock", "gemini": "gcp.gemini", "vertex_ai": "gcp.vertex_ai", "mistral": "mistral_ai",
	"xai": "x_ai", "watsonx": "ibm.watsonx.ai",
}

func orSelf(m map[string]string, name string) string {
	if v, ok := m[name]; ok {
		return v
	}
	return name
}

// span is the record as a span of the conventions for generative AI.
func (o *OTLP) span(r *sdk.Record) *trace.Span {
	operation := orSelf(operations, r.Endpoint)
	s := &trace.Span{
		TraceId: TraceID(r.RequestID), SpanId: spanID(r), Name: strings.TrimSpace(operation + " " + r.Model), Kind: trace.Span_SPAN_KIND_CLIENT,
		StartTimeUnixNano: nano(r.StartedAt), EndTimeUnixNano: nano(r.StartedAt.Add(r.Duration)),
		Attributes: append(attributes(r, operation), content(r, o.vendor.inference)...),
		Status:     &trace.Status{},
	}
	if r.Status != "success" {
		s.Status.Code, s.Status.Message = trace.Status_STATUS_CODE_ERROR, payload.ErrorText(r)
	}
	if r.FirstToken > 0 {
		s.Events = append(s.Events, &trace.Span_Event{TimeUnixNano: nano(r.StartedAt.Add(r.FirstToken)), Name: "gen_ai.first_token"})
	}
	if o.vendor.inference {
		s.Attributes = append(s.Attributes, inference(r)...)
	}
	if o.vendor.more != nil {
		s.Attributes = append(s.Attributes, o.vendor.more(r)...)
	}
	return s
}

func nano(t time.Time) uint64 { return uint64(max(0, t.UnixNano())) }

func attributes(r *sdk.Record, operation string) []*common.KeyValue {
	u := &r.Usage
	list := []*common.KeyValue{
		text("gen_ai.operation.name", operation),
		text("gen_ai.provider.name", orSelf(providers, r.Provider)),
		text("gen_ai.system", r.Provider), // the name that it had before
		text("gen_ai.request.model", r.Model),
		text("gen_ai.response.model", r.UpstreamModel),
		text("gen_ai.conversation.id", r.SessionID),
		number("http.response.status_code", int64(r.HTTPStatus)),
		text("enduser.id", r.EndUser),
		text("user.id", r.UserID),
		text("conclave.request.id", r.RequestID),
		text("conclave.node", r.NodeID),
		text("conclave.deployment.id", r.DeploymentID),
		text("conclave.key.id", r.KeyID), text("conclave.key.name", r.KeyName),
		text("conclave.team.id", r.TeamID), text("conclave.team.name", r.TeamName),
		text("conclave.organization.id", r.OrganizationID), text("conclave.project.id", r.ProjectID),
		text("conclave.status", r.Status),
		number("conclave.attempts", int64(r.Attempts)),
		text("conclave.tags", strings.Join(r.Tags, ",")),
		text("conclave.prompt.name", r.Prompt),
	}
	if r.Status != "success" {
		list = append(list, text("error.type", r.ErrorCode), text("conclave.error.step", r.Step))
	}
	if u.Source.String() != "none" {
		list = append(list,
			number("gen_ai.usage.input_tokens", u.Input+u.CacheRead+u.CacheWrite), number("gen_ai.usage.output_tokens", u.Output+u.Reasoning),
			number("gen_ai.usage.cache_read.input_tokens", u.CacheRead), number("gen_ai.usage.cache_creation.input_tokens", u.CacheWrite),
			text("conclave.usage.source", u.Source.String()))
	}
	if r.Priced {
		list = append(list, &common.KeyValue{Key: "gen_ai.usage.cost", Value: double(usd(r))})
	}
	if r.FirstToken > 0 {
		list = append(list, &common.KeyValue{Key: "gen_ai.server.time_to_first_token", Value: double(r.FirstToken.Seconds())})
	}
	for _, g := range r.Guardrails {
		list = append(list, text("conclave.guardrail."+g.Guardrail+"."+g.Hook, strings.TrimSpace(g.Status+" "+g.Found)))
	}
	return present(list...)
}

// part and message are the conventions' form of what was said.
type part struct {
	Type    string `json:"type"`
	Content string `json:"content"`
}

type message struct {
	Role  string `json:"role"`
	Parts []part `json:"parts"`
}

// content tells what was said: in the conventions' form where the body has messages, and as it is.
func content(r *sdk.Record, openInference bool) (list []*common.KeyValue) {
	if len(r.Request) > 0 {
		list = append(list, text("gen_ai.input.messages", inputOf(r.Request)))
	}
	if len(r.Response) > 0 {
		list = append(list, text("gen_ai.output.messages", outputOf(r.Response)))
	}
	if openInference {
		list = append(list, text("input.value", string(r.Request)), text("output.value", string(r.Response)))
	}
	return present(list...)
}

// said is one message of a body in any of the dialects that have messages.
type said struct {
	Role    string          `json:"role"`
	Content json.RawMessage `json:"content"`
}

func inputOf(body []byte) string  { return encoded(asked(body), body) }
func outputOf(body []byte) string { return encoded(answered(body), body) }

// asked are the messages of a request's body; none if it is in words of another kind.
func asked(body []byte) []said {
	var in struct {
		Messages []said          `json:"messages"`
		Prompt   json.RawMessage `json:"prompt"`
		Input    json.RawMessage `json:"input"`
	}
	if json.Unmarshal(body, &in) != nil {
		return nil
	}
	messages := in.Messages
	for _, raw := range []json.RawMessage{in.Prompt, in.Input} {
		if len(messages) == 0 && len(raw) > 0 {
			messages = []said{{Role: "user", Content: raw}}
		}
	}
	return messages
}

// answered are the messages of an answer's body; none if it is in words of another kind, or a stream's events.
func answered(body []byte) []said {
	var out struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"` // of Anthropic's
		Choices []struct {
			Message said   `json:"message"`
			Text    string `json:"text"`
		} `json:"choices"`
	}
	if json.Unmarshal(body, &out) != nil {
		return nil
	}
	var messages []said
	for _, c := range out.Choices {
		if c.Text != "" {
			b, _ := json.Marshal(c.Text)
			c.Message = said{Role: "assistant", Content: b}
		}
		messages = append(messages, c.Message)
	}
	if len(messages) == 0 && len(out.Content) > 0 {
		messages = []said{{Role: out.Role, Content: out.Content}}
	}
	return messages
}

// encoded is the messages in the conventions' form; the body as it is if there are none.
func encoded(messages []said, body []byte) string {
	if len(messages) == 0 {
		return string(body)
	}
	list := make([]message, len(messages))
	for i, m := range messages {
		list[i] = message{Role: m.Role, Parts: partsOf(m.Content)}
	}
	b, err := json.Marshal(list)
	if err != nil {
		return string(body)
	}
	return string(b)
}

// partsOf are the texts of a content: a string or a list of parts, of which others than texts are named.
func partsOf(content json.RawMessage) []part {
	var plain string
	if json.Unmarshal(content, &plain) == nil {
		return []part{{Type: "text", Content: plain}}
	}
	var list []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if json.Unmarshal(content, &list) != nil {
		return []part{{Type: "text", Content: string(content)}}
	}
	parts := make([]part, len(list))
	for i, p := range list {
		parts[i] = part{Type: p.Type, Content: p.Text}
		if strings.HasSuffix(p.Type, "text") {
			parts[i].Type = "text"
		}
	}
	return parts
}

// inference are the names of OpenInference, which Arize and Phoenix read.
func inference(r *sdk.Record) []*common.KeyValue {
	u := &r.Usage
	list := []*common.KeyValue{
		text("openinference.span.kind", kindOf(r, "LLM")), text("llm.model_name", payload.UpstreamModel(r)), text("llm.provider", r.Provider),
		text("session.id", r.SessionID),
		number("llm.token_count.prompt", u.Input+u.CacheRead+u.CacheWrite), number("llm.token_count.completion", u.Output+u.Reasoning),
		number("llm.token_count.total", u.Input+u.CacheRead+u.CacheWrite+u.Output+u.Reasoning),
	}
	if r.Priced {
		list = append(list, &common.KeyValue{Key: "llm.cost.total", Value: double(usd(r))})
	}
	return present(list...)
}

// kindOf is what OpenInference and MLflow call a request, which is chat if it is nothing else.
func kindOf(r *sdk.Record, chat string) string {
	switch r.Endpoint {
	case "embeddings":
		return "EMBEDDING"
	case "rerank":
		return "RERANKER"
	}
	return chat
}

func usd(r *sdk.Record) float64 { return float64(r.CostNanoUSD) / 1e9 }

// text is an attribute; nil if there is nothing to say.
func text(key, value string) *common.KeyValue {
	if value == "" {
		return nil
	}
	value = strings.ToValidUTF8(value, "\uFFFD")
	return &common.KeyValue{Key: strings.ToValidUTF8(key, "\uFFFD"), Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: value}}}
}

func number(key string, value int64) *common.KeyValue {
	return &common.KeyValue{Key: key, Value: &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: value}}}
}

func double(value float64) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_DoubleValue{DoubleValue: value}}
}

// texts are attributes in the order of their names.
func texts(all map[string]string) (list []*common.KeyValue) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if kv := text(name, all[name]); kv != nil {
			list = append(list, kv)
		}
	}
	return list
}
