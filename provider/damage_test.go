package provider_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/decision"
	"github.com/conclave-llm/conclave/llm/speech"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/providertest"
)

// mediaAnswer is what is looked at here of a recorded exchange about pictures, speech or transcriptions,
// which are played in proxy/translate.
type mediaAnswer struct {
	Name, Endpoint, Fails string
	Answer                json.RawMessage
}

// TestDamaged: no damage of a recorded answer that is no conversation is an accident, or passes for whole.
func TestDamaged(t *testing.T) {
	t.Parallel()
	seen := map[llm.Endpoint]bool{}
	try := func(name string, at llm.Endpoint, answer []byte, read func([]byte) error) {
		if read == nil {
			t.Fatalf("%s is no endpoint", at)
		}
		if len(answer) == 0 {
			return
		}
		seen[at] = true
		t.Run(at.String()+"/"+name, func(t *testing.T) {
			t.Parallel()
			providertest.Damaged(t, answer, read)
		})
	}
	for _, x := range loadEmbed(t) {
		at := endpointNamed(x.Endpoint)
		try(x.Name, at, x.Answer, readerOf(at))
	}
	for _, x := range loadRerank(t) {
		at := endpointNamed(x.Endpoint)
		try(x.Name, at, x.Answer, readerOf(at))
	}
	for _, x := range loadDecisions(t) {
		at := endpointNamed(x.Endpoint)
		if in, _ := provider.DecisionInboundOf(endpointNamed(x.Client)); x.Refused == "" {
			req, err := in.DecodeRequest(x.Request)
			if err != nil {
				t.Fatal(err)
			}
			try(x.Client+" "+x.Name, at, x.Answer, decisionReader(at, req))
		}
	}
	for _, x := range load[mediaAnswer](t, "testdata/media.json") {
		at := endpointNamed(x.Endpoint)
		if read := readerOf(at); x.Fails == "" && read != nil && strings.HasPrefix(string(x.Answer), "{") {
			try(x.Name, at, x.Answer, read)
		}
	}
	try("a count", llm.BedrockCount, []byte(`{"inputTokens":7}`), readerOf(llm.BedrockCount))
	for _, x := range documents {
		if x.fails == "" {
			try(x.name, x.at, []byte(x.body), readerOf(x.at))
		}
	}
	seen[llm.TranscribeListen] = true // its answers are events, of which silence has none: package transcribe has them
	for _, e := range llm.Endpoints() {
		if (readerOf(e) != nil || decisionReader(e, nil) != nil) && !seen[e] {
			t.Errorf("%s has no recorded answer", e)
		}
	}
}

// readerOf is the reader of whole answers from an endpoint; nil: it has none of its own, or must be told
// what was asked.
func readerOf(at llm.Endpoint) func([]byte) error {
	if out, ok := provider.EmbedOutboundOf(at); ok {
		return func(b []byte) error { _, err := out.DecodeResponse(b); return err }
	}
	if out, ok := provider.RerankOutboundOf(at); ok {
		return func(b []byte) error { _, err := out.DecodeResponse(b); return err }
	}
	if out, ok := provider.DocumentOutboundOf(at); ok {
		return func(b []byte) error { _, err := out.DecodeResponse(b); return err }
	}
	if out, ok := provider.CountOutboundOf(at); ok {
		return func(b []byte) error { _, err := out.DecodeResponse(b); return err }
	}
	if out, ok := provider.PictureOutboundOf(at); ok {
		return func(b []byte) error { _, err := out.DecodeResponse(b); return err }
	}
	if out, ok := provider.TranscriptOutboundOf(at); ok {
		return func(b []byte) error { _, err := out.DecodeResponse(b); return err }
	}
	out, _ := provider.SpeechOutboundOf(at)
	if reader, ok := out.(provider.SpeechReader); ok {
		return func(b []byte) error { _, err := reader.DecodeResponse(&speech.Request{Input: "Hi"}, b); return err }
	}
	return nil
}

// decisionReader is the reader of answers to a request for decisions; nil: the endpoint has none.
func decisionReader(at llm.Endpoint, req *decision.Request) func([]byte) error {
	out, ok := provider.DecisionOutboundOf(at)
	if !ok {
		return nil
	}
	return func(b []byte) error { _, err := out.DecodeResponse(req, b); return err }
}
