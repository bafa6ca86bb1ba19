package bedrock_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/bedrock"
)

func payload(text string) func([]byte) []byte {
	return func(b []byte) []byte { return append(b, text...) }
}

// frame is an event of a stream of Converse.
func frame(typ, data string) []byte { return bedrock.AppendEvent(nil, typ, payload(data)) }

// next reads one event and copies it.
func next(r llm.EventReader) (llm.Event, error) {
	e, err := r.Next()
	return llm.Event{Raw: bytes.Clone(e.Raw), Data: bytes.Clone(e.Data), Type: bytes.Clone(e.Type)}, err
}

// TestReader_Vectors reads the frames of Amazon's published test suite of event streams.
func TestReader_Vectors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, hex, data string }{
		{"empty_message", "000000100000000005c248eb7d98c8ff", ""},
		{"payload_no_headers", "0000001d00000000fd528c5a7b27666f6f273a27626172277dc3653936", "{'foo':'bar'}"},
		{"payload_one_str_header", "0000003d0000002007fd83960c636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e7b27666f6f273a27626172277d8d9c08b1", "{'foo':'bar'}"},
		{"int32_header", "0000002d0000001041c424b80a6576656e742d7479706504000" + "0a00c7b27666f6f273a27626172277d36f480a0", "{'foo':'bar'}"},
	} {
		raw, err := hex.DecodeString(tt.hex)
		if err != nil {
			t.Fatal(err)
		}
		e, err := next(bedrock.NewReader(bytes.NewReader(raw), 0))
		if err != nil || string(e.Data) != tt.data || !bytes.Equal(e.Raw, raw) {
			t.Errorf("%s: got %q, %v", tt.name, e.Data, err)
		}
		for i := range raw {
			bad := bytes.Clone(raw)
			bad[i] ^= 1
			if e, err := next(bedrock.NewReader(bytes.NewReader(bad), 0)); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("%s: byte %d is wrong and passes: %q", tt.name, i, e.Data)
			}
		}
	}
}

func TestReader(t *testing.T) {
	t.Parallel()
	stream := frame("messageStart", `{"role":"assistant"}`)
	stream = append(stream, frame("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"hi"},"p":"abc"}`)...)
	stream = append(stream, frame("odd", "")...)
	stream = append(stream, bedrock.AppendException(nil, "throttlingException", `too "many"`)...)
	want := []struct{ typ, data string }{
		{"messageStart", `{"role":"assistant"}`},
		{"contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"hi"},"p":"abc"}`},
		{"odd", ""},
		{"throttlingException", `{"__type":"throttlingException","message":"too \"many\""}`},
	}
	for name, src := range map[string]io.Reader{
		"at once": bytes.NewReader(stream), "by bytes": iotest.OneByteReader(bytes.NewReader(stream)), "with the end": iotest.DataErrReader(bytes.NewReader(stream)),
	} {
		r, raw := bedrock.NewReader(src, 0), []byte(nil)
		for _, w := range want {
			e, err := next(r)
			if err != nil || string(e.Type) != w.typ || string(e.Data) != w.data || w.data == "" && e.Data != nil {
				t.Errorf("%s: got %s %s, %v, want %s %s", name, e.Type, e.Data, err, w.typ, w.data)
			}
			raw = append(raw, e.Raw...)
		}
		if _, err := r.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: got %v at the end", name, err)
		}
		if !bytes.Equal(raw, stream) {
			t.Errorf("%s: the bytes are not those that came", name)
		}
	}
}

// TestReader_Ends cuts a stream at every byte: only between frames is its end regular.
func TestReader_Ends(t *testing.T) {
	t.Parallel()
	one := frame("messageStart", `{"role":"assistant"}`)
	stream := append(bytes.Clone(one), frame("messageStop", `{"stopReason":"end_turn"}`)...)
	for i := range stream {
		r := bedrock.NewReader(bytes.NewReader(stream[:i]), 0)
		var err error
		for err == nil {
			_, err = r.Next()
		}
		regular := i == 0 || i == len(one)
		if errors.Is(err, io.EOF) != regular {
			t.Errorf("after %d bytes: got %v", i, err)
		}
	}
	lost := errors.New("lost")
	r := bedrock.NewReader(io.MultiReader(bytes.NewReader(stream[:len(one)+5]), iotest.ErrReader(lost)), 0)
	_, _ = r.Next()
	if _, err := r.Next(); !errors.Is(err, lost) {
		t.Errorf("got %v, want what the source returned", err)
	}
}

func TestReader_Bounds(t *testing.T) {
	t.Parallel()
	big := frame("contentBlockDelta", `{"delta":{"text":"`+string(bytes.Repeat([]byte("x"), 100_000))+`"}}`)
	if e, err := next(bedrock.NewReader(bytes.NewReader(big), 0)); err != nil || len(e.Raw) != len(big) {
		t.Errorf("a large frame: %d bytes, %v", len(e.Raw), err)
	}
	if _, err := bedrock.NewReader(bytes.NewReader(big), 50_000).Next(); !errors.Is(err, llm.ErrEventTooLarge) {
		t.Errorf("got %v, want %v", err, llm.ErrEventTooLarge)
	}
}

// TestInvoke unwraps the events of a stream of InvokeModel.
func TestInvoke(t *testing.T) {
	t.Parallel()
	chunk := func(data string) []byte {
		return frame("chunk", `{"bytes":"`+base64.StdEncoding.EncodeToString([]byte(data))+`","p":"abcd"}`)
	}
	stream := chunk(`{"type":"message_start","message":{"usage":{"input_tokens":3}}}`)
	stream = append(stream, chunk(`{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":3}}`)...)
	stream = append(stream, bedrock.AppendException(nil, "throttlingException", "slow down")...)
	r := bedrock.Codec{}.Frames(llm.Messages, iotest.OneByteReader(bytes.NewReader(stream)), 0)
	for _, want := range []struct{ typ, raw string }{
		{"message_start", "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":3}}}\n\n"},
		{"message_stop", "event: message_stop\ndata: {\"type\":\"message_stop\",\"amazon-bedrock-invocationMetrics\":{\"inputTokenCount\":3}}\n\n"},
		{"error", "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"slow down\",\"code\":\"rate_limit_exceeded\"}}\n\n"},
	} {
		e, err := next(r)
		if err != nil || string(e.Type) != want.typ || string(e.Raw) != want.raw {
			t.Errorf("got %s %q, %v, want %q", e.Type, e.Raw, err, want.raw)
		}
	}
	broken := bedrock.Codec{}.Frames(llm.Messages, bytes.NewReader(frame("chunk", `{"bytes":"%%%"}`)), 0)
	if _, err := broken.Next(); err == nil {
		t.Error("broken base64 passes")
	}
}

func FuzzReader(f *testing.F) {
	f.Add(frame("messageStop", `{"stopReason":"end_turn"}`))
	f.Add(bedrock.AppendException(nil, "validationException", "no"))
	f.Add([]byte("\x00\x00\x00\x10\x00\x00\x00\x00\x05\xc2\x48\xeb\x7d\x98\xc8\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		read := func(src io.Reader) (raw []byte, end error) {
			r := bedrock.NewReader(src, 1<<20)
			for {
				e, err := r.Next()
				if err != nil {
					return raw, err
				}
				raw = append(raw, e.Raw...)
			}
		}
		a, errA := read(bytes.NewReader(data))
		b, errB := read(iotest.OneByteReader(bytes.NewReader(data)))
		if !bytes.Equal(a, b) || (errA == nil) != (errB == nil) || errors.Is(errA, io.EOF) != errors.Is(errB, io.EOF) {
			t.Errorf("got %d bytes, %v at once, %d bytes, %v by bytes", len(a), errA, len(b), errB)
		}
		if !bytes.HasPrefix(data, a) {
			t.Error("the bytes are not those that came")
		}
	})
}

// FuzzChunk: what a chunk holds comes out of it, and nothing else is taken for one.
func FuzzChunk(f *testing.F) {
	f.Add("chunk", []byte(`{"bytes":"QQ=="}`), []byte("A"))
	f.Add("other", []byte(`{"bytes":7}`), []byte{})
	f.Fuzz(func(t *testing.T, kind string, data, message []byte) {
		if got, err := bedrock.Chunk(&llm.Event{Type: []byte(kind), Data: data}); err == nil && (kind != bedrock.EventChunk || !json.Valid(data)) {
			t.Fatalf("%q of %q is taken: %q", data, kind, got)
		}
		signed, err := bedrock.AppendSigned(nil, time.UnixMilli(1), bedrock.AppendChunk(nil, message), func([]byte, []byte) ([]byte, error) { return make([]byte, 32), nil })
		if err != nil {
			t.Fatal(err)
		}
		outer, err := bedrock.NewReader(bytes.NewReader(signed), 0).Next()
		if err != nil {
			t.Fatal(err)
		}
		inner, err := bedrock.NewReader(bytes.NewReader(outer.Data), 0).Next()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := bedrock.Chunk(&inner); err != nil || !bytes.Equal(got, message) {
			t.Fatalf("%q became %q, %v", message, got, err)
		}
	})
}

// Whatever a frame of InvokeModel holds, reading it and a whole answer ends, with numbers within bounds.
func FuzzInvoked(f *testing.F) {
	for _, s := range []string{
		`{"bytes":"eyJvdXRwdXRUZXh0IjoiYSJ9"}`, `{"bytes":"!"}`, `{"bytes":""}`, `{"content":[{"text":"a"}],"usage":{"input_tokens":1,"output_tokens":2}}`,
		`{"results":[{"outputText":"a","tokenCount":2}]}`, `{"__type":"x"}`, `[]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		codec := bedrock.Codec{}
		for _, read := range []func() (llm.Report, error){
			func() (llm.Report, error) { return codec.Read(llm.Invoke, data) },
			func() (llm.Report, error) {
				return codec.Meter(llm.Invoke).Event(llm.Event{Raw: data, Data: data, Type: []byte("chunk")})
			},
		} {
			r, err := read()
			if r.TextBytes < 0 || r.TextBytes > int64(len(data)) || r.Usage.Total() < 0 || err != nil && r.HasUsage {
				t.Errorf("%s: %+v, %v", data, r, err)
			}
		}
	})
}
