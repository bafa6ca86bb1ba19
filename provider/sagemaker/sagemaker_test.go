package sagemaker_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/bedrock"
	"github.com/conclave-llm/conclave/provider/providertest"
)

func row(t *testing.T) *provider.Provider {
	t.Helper()
	p, ok := provider.Lookup("sagemaker_chat")
	if !ok {
		t.Fatal("no provider sagemaker_chat")
	}
	return p
}

func TestExchanges(t *testing.T) {
	t.Parallel()
	providertest.Run(t, row(t), "testdata/errors.jsonl")
}

func TestPath(t *testing.T) {
	t.Parallel()
	for stream, want := range map[bool]string{false: "/invocations", true: "/invocations-response-stream"} {
		got, err := row(t).URL("", llm.Place{Model: "my ep", Stream: stream, Options: map[string]string{"region": "eu-west-1"}})
		if want = "https://runtime.sagemaker.eu-west-1.amazonaws.com/endpoints/my%20ep" + want; err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
}

// TestFrames reads events that are split between frames.
func TestFrames(t *testing.T) {
	t.Parallel()
	part := func(s string) []byte {
		return bedrock.AppendEvent(nil, "PayloadPart", func(b []byte) []byte { return append(b, s...) })
	}
	stream := append(part("data: {\"a\":1}\n\nda"), part("ta: [DONE]\n\n")...)
	r := row(t).Codec.Frames(llm.Chat, iotest.OneByteReader(bytes.NewReader(stream)), 0)
	for _, want := range []string{`{"a":1}`, "[DONE]"} {
		if e, err := r.Next(); err != nil || string(e.Data) != want {
			t.Errorf("got %q, %v, want %q", e.Data, err, want)
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v at the end", err)
	}
	broken := append(part("data: {}\n\n"), bedrock.AppendException(nil, "ModelStreamErrorException", "the model failed")...)
	r = row(t).Codec.Frames(llm.Chat, bytes.NewReader(broken), 0)
	_, _ = r.Next()
	if _, err := r.Next(); err == nil || err.Error() != "the model failed" {
		t.Errorf("got %v", err)
	}
	if e := row(t).Codec.Classify(time.Time{}, 424, nil, []byte(`{"OriginalStatusCode":"x"}`)); e.Kind != llm.Upstream {
		t.Errorf("got %+v", e)
	}
}

// TestFrames_Text reads both ways in which servers of texts divide their events.
func TestFrames_Text(t *testing.T) {
	t.Parallel()
	part := func(s string) []byte {
		return bedrock.AppendEvent(nil, "PayloadPart", func(b []byte) []byte { return append(b, s...) })
	}
	p, _ := provider.Lookup("sagemaker")
	for name, said := range map[string][2]string{
		"server-sent": {"data:{\"a\":1}\n\nda", "ta:{\"b\":2}\n\n"},
		"lines":       {"{\"a\":1}\n\n{\"b\"", ":2}"},
	} {
		stream := append(part(said[0]), part(said[1])...)
		r := p.Codec.Frames(llm.SageMakerText, iotest.OneByteReader(bytes.NewReader(stream)), 0)
		for _, want := range []string{`{"a":1}`, `{"b":2}`} {
			if e, err := r.Next(); err != nil || string(e.Data) != want {
				t.Errorf("%s: got %q, %v, want %q", name, e.Data, err, want)
			}
		}
		if _, err := r.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: got %v at the end", name, err)
		}
	}
	long := part("{\"a\":\"" + string(bytes.Repeat([]byte("x"), 200)) + "\"}\n")
	if _, err := p.Codec.Frames(llm.SageMakerText, bytes.NewReader(long), 100).Next(); err == nil {
		t.Error("an event that is too large is read")
	}
}
