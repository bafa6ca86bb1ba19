package provider_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
)

// decisionExchange is a recorded exchange, as embedExchange is, of a client that speaks a dialect.
type decisionExchange struct {
	embedExchange
	Client string `json:"client"`
}

func loadDecisions(t testing.TB) []decisionExchange {
	return load[decisionExchange](t, "testdata/decisions.json")
}

// TestDecisions plays the recorded exchanges: each dialect of clients at the other's providers.
func TestDecisions(t *testing.T) {
	t.Parallel()
	for _, x := range loadDecisions(t) {
		t.Run(x.Client+"/"+x.Name, func(t *testing.T) {
			t.Parallel()
			in, _ := provider.DecisionInboundOf(endpointNamed(x.Client))
			at := endpointNamed(x.Endpoint)
			out, ok := provider.DecisionOutboundOf(at)
			if !ok {
				t.Fatalf("%s is no endpoint", x.Endpoint)
			}
			req, err := in.DecodeRequest(x.Request)
			if x.Refused != "" {
				if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Invalid || e.Param != x.Refused {
					t.Errorf("got %v, want a refusal of %s", err, x.Refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			target := llm.Target{Model: x.Model}
			sent, err := out.EncodeRequest(req, &target)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "sent", x.Sent, sent)
			if d := cmp.Diff(x.Dropped, target.Dropped()); d != "" {
				t.Errorf("dropped (-want +got):\n%s", d)
			}
			if x.Answer == nil {
				return
			}
			report, err := rowServing(t, at).Codec.Read(at, x.Answer)
			if err != nil || report.HasError || report.Usage.Input != x.Tokens || report.Usage.Service != llm.ServiceDecisions {
				t.Fatalf("read: %+v, %v", report, err)
			}
			res, err := out.DecodeResponse(req, x.Answer)
			if err != nil {
				t.Fatal(err)
			}
			res.Usage = report.Usage
			got, err := in.EncodeResponse(req, res)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "got", x.Got, got)
		})
	}
}

// TestDecisions_Bad: what cannot be a request is refused with the name of the field, and what cannot be
// its answer is the provider's fault.
func TestDecisions_Bad(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		at          llm.Endpoint
		body, param string
	}{
		{llm.Decisions, `{"questions":[{"type":"predicate","instructions":"i"}]}`, "input"},
		{llm.Decisions, `{"input":"a"}`, "questions"},
		{llm.Decisions, `{"input":"a","questions":{}}`, "questions"},
		{llm.Decisions, `{"input":"a","questions":[7]}`, "questions[0]"},
		{llm.Decisions, `{"input":"a","questions":[{"type":"predicate"}]}`, "questions[0].instructions"},
		{llm.Decisions, `{"input":"a","questions":[{"type":"rank","instructions":"i"}]}`, "questions[0].type"},
		{llm.Decisions, `{"input":"a","questions":[{"type":"choice","instructions":"i","choices":[{"value":"true"},{"value":true}]}]}`, "questions[0].choices"},
		{llm.Decisions, `{"input":"a","questions":[{"type":"choice","instructions":"i","choices":[{"value":3}]}]}`, "questions[0].choices[0].value"},
		{llm.Decisions, `{"input":"a","questions":[{"type":"score","instructions":"i","levels":[]}]}`, "questions[0].levels"},
		{llm.Decisions, `{"input":7,"questions":[{"type":"predicate","instructions":"i"}]}`, "input"},
		{llm.SystemOne, `{"questions":{"a":{"type":"noul","instructions":"i"}}}`, "state"},
		{llm.SystemOne, `{"state":7,"questions":{"a":{"type":"noul","instructions":"i"}}}`, "state"},
		{llm.SystemOne, `{"state":"s"}`, "questions"},
		{llm.SystemOne, `{"state":"s","questions":[]}`, "questions"},
		{llm.SystemOne, `{"state":"s","questions":{"a":[]}}`, "questions.a"},
		{llm.SystemOne, `{"state":"s","questions":{"a":{"type":"noul"}}}`, "questions.a.instructions"},
		{llm.SystemOne, `{"state":"s","questions":{"a":{"type":"choice","criteria":{}}}}`, "questions.a.criteria"},
		{llm.SystemOne, `{"state":"s","questions":{"a":{"type":"score"}}}`, "questions.a.criteria"},
	} {
		in, _ := provider.DecisionInboundOf(tt.at)
		if _, err := in.DecodeRequest([]byte(tt.body)); err == nil {
			t.Errorf("%s %s is taken", tt.at, tt.body)
		} else if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Invalid || e.Param != tt.param {
			t.Errorf("%s %s: %v, want a word about %s", tt.at, tt.body, err, tt.param)
		}
	}
	in, _ := provider.DecisionInboundOf(llm.SystemOne)
	req, err := in.DecodeRequest([]byte(`{"state":"s","questions":{"a":{"type":"noul","instructions":"i"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for at, bodies := range map[llm.Endpoint][]string{
		llm.SystemOne: {`{}`, `[`, `{"answers":[]}`, `{"answers":{"a":{"type":"noul"}}}`, `{"answers":{"a":{"type":"noul","noul":"yes"}}}`, `{"answers":{"a":{"type":"noul","noul":1e999}}}`},
		llm.Decisions: {`{}`, `{"answers":[]}`, `{"answers":[{"type":"predicate"}]}`, `{"answers":[{"type":"score","score":1}]}`, `{"answers":[{"type":"predicate","probability":null}]}`, `{"answers":[{"type":"refusal"},{"type":"refusal"}]}`},
	} {
		out, _ := provider.DecisionOutboundOf(at)
		for _, body := range bodies {
			if _, err := out.DecodeResponse(req, []byte(body)); err == nil {
				t.Errorf("%s %s is taken", at, body)
			} else if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Upstream {
				t.Errorf("%s %s: %v", at, body, err)
			}
		}
	}
}

// TestDecisions_Address: where each row is asked.
func TestDecisions_Address(t *testing.T) {
	t.Parallel()
	const arn = "arn:aws:bedrock-agentcore:us-west-2:123456789012:runtime/decider-1"
	for _, tt := range []struct {
		provider, base string
		options        map[string]string
		at             llm.Endpoint
		want           string
	}{
		{"typesafe", "", nil, llm.SystemOne, "https://api.typesafe.ai/v1/systemone"},
		{"nace", "", nil, llm.SystemOne, "https://console.nace.ai/v1/systemone"},
		{"eu_jev", "", nil, llm.SystemOne, "https://eu-jev.com/v1/systemone"},
		{"laya", "http://laya:8000", nil, llm.SystemOne, "http://laya:8000/v1/systemone"},
		{"laya", "http://laya:8000/v1/", nil, llm.Extraction, "http://laya:8000/v1/extraction"},
		{"bespoke", "http://nimble:8000", nil, llm.SystemOne, "http://nimble:8000/v1/systemone"},
		{"bespoke", "", nil, llm.SystemOne, ""},
		{"strands_decider", "http://decider:8000", nil, llm.SystemOne, "http://decider:8000/v1/systemone"},
		{"strands_decider", "", map[string]string{"runtime_arn": arn}, llm.SystemOne, "https://bedrock-agentcore.us-west-2.amazonaws.com/runtimes/arn:aws:bedrock-agentcore:us-west-2:123456789012:runtime%2Fdecider-1/invocations"},
		{"strands_decider", "", map[string]string{"runtime_arn": "arn:aws:bedrock-agentcore:evil.host/:1:runtime/x"}, llm.SystemOne, ""},
		{"openai", "", nil, llm.Decisions, "https://api.openai.com/v1/decisions"},
		{"fireworks_ai", "", nil, llm.SystemOne, "https://api.fireworks.ai/inference/v1/systemone"},
		{"openrouter", "", nil, llm.Decisions, "https://openrouter.ai/api/v1/decisions"},
	} {
		p, ok := provider.Lookup(tt.provider)
		if !ok || !p.Serves(tt.at) {
			t.Fatalf("%s does not serve %s", tt.provider, tt.at)
		}
		got, err := p.URL(tt.base, llm.Place{Endpoint: tt.at, Model: "m", Options: tt.options})
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%s: got %q, %v, want %q", tt.provider, got, err, tt.want)
		}
	}
}

// FuzzDecisionResponse: no answer makes a reader panic, and one that fits the request can be written.
func FuzzDecisionResponse(f *testing.F) {
	for _, x := range loadDecisions(f) {
		f.Add([]byte(x.Answer))
	}
	in, _ := provider.DecisionInboundOf(llm.SystemOne)
	req, err := in.DecodeRequest([]byte(`{"state":"s","questions":{"billing":{"type":"noul","instructions":"i"},"tone":{"type":"choice","criteria":{"calm":null,"angry":"x"}},"urgency":{"type":"score","criteria":["a","b"]}}}`))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, e := range []llm.Endpoint{llm.Decisions, llm.SystemOne} {
			out, _ := provider.DecisionOutboundOf(e)
			res, err := out.DecodeResponse(req, body)
			if err != nil {
				if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Upstream {
					t.Fatalf("got %v", err)
				}
				continue
			}
			for _, e := range []llm.Endpoint{llm.Decisions, llm.SystemOne} {
				in, _ := provider.DecisionInboundOf(e)
				if got, err := in.EncodeResponse(req, res); err != nil || !json.Valid(got) {
					t.Fatalf("%s of %s: %s, %v", e, body, got, err)
				}
			}
		}
	})
}

// FuzzDecisionRequest: no request makes a reader panic; one that is taken is written for every vendor.
func FuzzDecisionRequest(f *testing.F) {
	for _, x := range loadDecisions(f) {
		f.Add([]byte(x.Request))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, e := range []llm.Endpoint{llm.Decisions, llm.SystemOne} {
			in, _ := provider.DecisionInboundOf(e)
			req, err := in.DecodeRequest(body)
			if err != nil {
				if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Invalid {
					t.Fatalf("got %v", err)
				}
				continue
			}
			for _, e := range []llm.Endpoint{llm.Decisions, llm.SystemOne} {
				out, _ := provider.DecisionOutboundOf(e)
				for _, policy := range []llm.Policy{llm.PolicyDrop, llm.PolicyPass} {
					sent, err := out.EncodeRequest(req, &llm.Target{Model: "m", Policy: policy})
					if err == nil && !json.Valid(sent) {
						t.Fatalf("%s of %s: %s", e, body, sent)
					}
				}
			}
		}
	})
}
