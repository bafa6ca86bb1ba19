package bedrock_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/bedrock"
	"github.com/conclave-llm/conclave/provider/providertest"
)

func TestExchanges(t *testing.T) {
	t.Parallel()
	p, ok := provider.Lookup("bedrock")
	if !ok {
		t.Fatal("bedrock is no provider")
	}
	providertest.Run(t, p, "testdata/exchanges.jsonl")
}

func TestPath(t *testing.T) {
	t.Parallel()
	p, _ := provider.Lookup("bedrock")
	const host = "https://bedrock-runtime.eu-central-1.amazonaws.com/model/"
	for _, tt := range []struct {
		model    string
		endpoint llm.Endpoint
		stream   bool
		want     string
	}{
		{"eu.anthropic.claude-sonnet-4-5-20250929-v1:0", llm.Converse, false, "eu.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse"},
		{"converse/amazon.nova-lite-v1:0", llm.Converse, true, "amazon.nova-lite-v1%3A0/converse-stream"},
		{
			"arn:aws:bedrock:eu-central-1:1234:application-inference-profile/ab c", llm.Converse, true,
			"arn%3Aaws%3Abedrock%3Aeu-central-1%3A1234%3Aapplication-inference-profile%2Fab%20c/converse-stream",
		},
		{"../x?y#z", llm.Converse, false, "..%2Fx%3Fy%23z/converse"},
		{"m", llm.Messages, false, "m/invoke"},
		{"m", llm.Messages, true, "m/invoke-with-response-stream"},
	} {
		got, err := p.URL("", llm.Place{Endpoint: tt.endpoint, Model: tt.model, Stream: tt.stream, Options: map[string]string{"region": "eu-central-1"}})
		if err != nil || got != host+tt.want {
			t.Errorf("%s: got %q, %v, want %q", tt.model, got, err, host+tt.want)
		}
	}
	if _, err := p.URL("", llm.Place{Model: "m", Options: map[string]string{"region": "evil.example/"}}); err == nil {
		t.Error("a region leads to another host")
	}
}

// TestMeter reads a stream's events: exceptions are errors whatever the words in them.
func TestMeter(t *testing.T) {
	t.Parallel()
	m := bedrock.Codec{}.Meter(llm.Converse)
	for _, tt := range []struct {
		typ, data string
		want      llm.Report
	}{
		{"messageStart", `{"role":"assistant"}`, llm.Report{Seen: 1}},
		{"contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"hello"},"p":"abc"}`, llm.Report{Seen: 1, TextBytes: 5}},
		{"contentBlockDelta", `{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"hm"}}}`, llm.Report{Seen: 1, TextBytes: 2}},
		{"contentBlockDelta", `{"contentBlockIndex":1,"delta":{"toolUse":{"input":"{}"}}}`, llm.Report{Seen: 1, TextBytes: 2}},
		{"messageStop", `{"stopReason":"end_turn"}`, llm.Report{Seen: 1, Finished: 1}},
		{"metadata", `{"usage":{"inputTokens":3,"outputTokens":4,"totalTokens":7},"metrics":{"latencyMs":1}}`, llm.Report{Seen: 1, Done: true, HasUsage: true, Usage: llm.Usage{Input: 3, Output: 4, Source: llm.UsageProvider}}},
		{"throttlingException", `{"__type":"throttlingException","message":"x"}`, llm.Report{Seen: 1, HasError: true}},
	} {
		got, err := m.Event(llm.Event{Type: []byte(tt.typ), Data: []byte(tt.data)})
		if err != nil || got != tt.want {
			t.Errorf("%s: got %+v, %v, want %+v", tt.typ, got, err, tt.want)
		}
	}
	for _, data := range []string{"", "[]", `{"delta":`} {
		if _, err := m.Event(llm.Event{Type: []byte("contentBlockDelta"), Data: []byte(data)}); err == nil {
			t.Errorf("%q passes", data)
		}
	}
}

func TestStreamException(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]llm.Kind{
		"throttlingException": llm.RateLimited, "validationException": llm.Invalid, "internalServerException": llm.Upstream,
		"serviceUnavailableException": llm.Unavailable, "modelStreamErrorException": llm.Upstream, "modelTimeoutException": llm.Timeout, "newException": llm.Upstream,
	} {
		_, err := bedrock.Format{}.NewDecoder().Decode(nil, llm.Event{Type: []byte(name), Data: []byte(`{"__type":"` + name + `","message":"it went wrong"}`)})
		e, ok := errors.AsType[*llm.Error](err)
		if !ok || e.Kind != want || e.Message != "it went wrong" {
			t.Errorf("%s: got %v, want kind %s", name, err, want)
		}
	}
}

// TestAppendError writes errors whose exception a client of Amazon's recognises.
func TestAppendError(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err       llm.Error
		typ, name string
	}{
		{llm.Error{Kind: llm.OverBudget, Code: "budget_exceeded"}, "ThrottlingException", "throttlingException"},
		{llm.Error{Kind: llm.Unauthenticated}, "AccessDeniedException", "validationException"},
		{llm.Error{Kind: llm.Forbidden}, "AccessDeniedException", "validationException"},
		{llm.Error{Kind: llm.NotFound}, "ResourceNotFoundException", "validationException"},
		{llm.Error{Kind: llm.Invalid, Message: "say \"please\""}, "ValidationException", "validationException"},
		{llm.Error{Kind: llm.RateLimited}, "ThrottlingException", "throttlingException"},
		{llm.Error{Kind: llm.Unavailable}, "ServiceUnavailableException", "serviceUnavailableException"},
		{llm.Error{Kind: llm.Timeout}, "ModelTimeoutException", "modelStreamErrorException"},
		{llm.Error{Kind: llm.Upstream}, "ModelErrorException", "modelStreamErrorException"},
		{llm.Error{Kind: llm.Internal}, "InternalServerException", "internalServerException"},
		{llm.Error{Kind: llm.RateLimited, Type: "ServiceQuotaExceededException", ResetsAt: time.Unix(0, 0)}, "ServiceQuotaExceededException", "throttlingException"},
	} {
		var got map[string]string
		if err := json.Unmarshal(bedrock.AppendError(nil, &tt.err), &got); err != nil || got["__type"] != tt.typ || got["message"] == "" || got["reason"] != tt.err.Code {
			t.Errorf("%s: got %v, %v, want %s", tt.err.Kind, got, err, tt.typ)
		}
		e, err := next(bedrock.NewReader(frameOf(&tt.err), 0))
		if err != nil || string(e.Type) != tt.name {
			t.Errorf("%s: got frame %s, %v, want %s", tt.err.Kind, e.Type, err, tt.name)
		}
	}
	if e := (bedrock.Codec{}).Classify(time.Time{}, 429, http.Header{"X-Amzn-Requestid": {"r1"}}, nil); e.Header.Get("X-Amzn-Requestid") != "r1" {
		t.Errorf("the request's id is lost: %v", e.Header)
	}
}

func frameOf(e *llm.Error) *bytes.Reader { return bytes.NewReader(bedrock.AppendErrorEvent(nil, e)) }
