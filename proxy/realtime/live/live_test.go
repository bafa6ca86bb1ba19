package live_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/realtime/live"
)

var errOver = errors.New("the connection is over")

// google is a stand-in of the Live API: what it is told, and what it says.
type google struct {
	told chan string
	says chan string
	over chan struct{}
}

func newGoogle() *google {
	return &google{make(chan string, 64), make(chan string, 64), make(chan struct{})}
}

func (g *google) Read(ctx context.Context) (bool, []byte, error) {
	select {
	case s := <-g.says:
		return false, []byte(s), nil // it sends JSON in binary messages
	case <-g.over:
		return false, nil, errOver
	case <-ctx.Done():
		return false, nil, ctx.Err()
	}
}

func (g *google) Write(_ context.Context, message []byte) error {
	g.told <- string(message)
	if strings.HasPrefix(string(message), `{"setup":`) {
		g.says <- `{"setupComplete":{}}`
	}
	return nil
}

func (*google) WriteBinary(context.Context, []byte) error { return errOver }

func (*google) Ping(context.Context) error { return nil }
func (*google) Close(int, string)          {}

// talk is a session with a stand-in.
type talk struct {
	t      *testing.T
	g      *google
	c      *live.Conn
	events chan map[string]any
	failed chan error // why reading ended
}

func open(t *testing.T) *talk {
	g := newGoogle()
	k := &talk{t, g, live.New(g, "models/gemini-live"), make(chan map[string]any, 256), make(chan error, 1)}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			text, raw, err := k.c.Read(ctx)
			if err != nil {
				k.failed <- err
				return
			}
			var e map[string]any
			if err := json.Unmarshal(raw, &e); err != nil || !text || e["event_id"] == "" {
				t.Errorf("got %q, %v", raw, err)
			}
			k.events <- e
		}
	}()
	t.Cleanup(func() { stop(); <-done; k.c.Close(1000, "") })
	return k
}

func (k *talk) send(message string) {
	k.t.Helper()
	if err := k.c.Write(k.t.Context(), []byte(message)); err != nil {
		k.t.Fatal(err)
	}
}

// kinds are the types of the events up to one of a kind, which it returns.
func (k *talk) until(kind string) (kinds []string, last map[string]any) {
	k.t.Helper()
	synctest.Wait()
	for {
		select {
		case e := <-k.events:
			kinds = append(kinds, e["type"].(string))
			if e["type"] == kind {
				return kinds, e
			}
		default:
			k.t.Fatalf("no %s: got %v", kind, kinds)
		}
	}
}

func (k *talk) told(want ...string) {
	k.t.Helper()
	for _, w := range want {
		select {
		case got := <-k.g.told:
			var a, b any
			_ = json.Unmarshal([]byte(got), &a)
			_ = json.Unmarshal([]byte(w), &b)
			if d := cmp.Diff(b, a); d != "" {
				k.t.Errorf("told (-want +got):\n%s", d)
			}
		default:
			k.t.Fatalf("was not told %s", w)
		}
	}
	select {
	case got := <-k.g.told:
		k.t.Errorf("was told %s, too", got)
	default:
	}
}

// TestConn_Text: nothing reaches Google before the model is to answer; its answer comes in events, with what it used.
func TestConn_Text(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := open(t)
		k.send(`{"type":"session.update","session":{"output_modalities":["text"],"instructions":"Be short.","tools":[{"type":"function","name":"look","parameters":{"type":"object"}}],"max_output_tokens":9,"audio":{"output":{"voice":"alloy"}}}}`)
		k.send(`{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[{"type":"input_text","text":"Hi"}]}}`)
		if kinds, _ := k.until("conversation.item.done"); !cmp.Equal(kinds, []string{"session.created", "session.updated", "conversation.item.added", "conversation.item.done"}) {
			t.Errorf("got %v", kinds)
		}
		k.told()
		k.send(`{"type":"response.create"}`)
		k.told(`{"setup":{"model":"models/gemini-live","generationConfig":{"responseModalities":["TEXT"],"maxOutputTokens":9},"systemInstruction":{"parts":[{"text":"Be short."}]},"tools":[{"functionDeclarations":[{"name":"look","parametersJsonSchema":{"type":"object"}}]}]}}`,
			`{"clientContent":{"turns":[{"role":"user","parts":[{"text":"Hi"}]}],"turnComplete":true}}`)
		k.g.says <- `{"serverContent":{"modelTurn":{"parts":[{"text":"Hel"}]}}}`
		k.g.says <- `{"serverContent":{"modelTurn":{"parts":[{"text":"lo"}]}}}`
		k.g.says <- `{"serverContent":{"turnComplete":true},"usageMetadata":{"promptTokenCount":5,"responseTokenCount":2,"totalTokenCount":7}}`
		kinds, done := k.until("response.done")
		if want := []string{"response.created", "response.output_item.added", "response.content_part.added", "response.output_text.delta", "response.output_text.delta", "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.done"}; !cmp.Equal(kinds, want) {
			t.Errorf("got %v", kinds)
		}
		r := done["response"].(map[string]any)
		u := r["usage"].(map[string]any)
		if r["status"] != "completed" || u["input_tokens"] != 5.0 || u["output_tokens"] != 2.0 || u["total_tokens"] != 7.0 || !strings.Contains(toJSON(r["output"]), `"text":"Hello"`) {
			t.Errorf("got %v", r)
		}
		k.send(`{"type":"session.update","event_id":"e9","session":{"instructions":"x"}}`)
		if _, e := k.until("error"); !strings.Contains(toJSON(e), `"event_id":"e9"`) || !strings.Contains(toJSON(e), "session_begun") {
			t.Errorf("got %v", e)
		}
	})
}

func toJSON(v any) string {
	raw, _ := json.Marshal(v)
	return string(raw)
}

// TestConn_Audio: what is heard is written down, what is said comes as sound with its words, and the user may
// interrupt.
func TestConn_Audio(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := open(t)
		k.send(`{"type":"session.update","session":{"audio":{"input":{"transcription":{"model":"x"},"turn_detection":{"type":"server_vad","silence_duration_ms":300}},"output":{"voice":"Puck"}}}}`)
		k.send(`{"type":"input_audio_buffer.append","audio":"AAAA"}`)
		k.told(`{"setup":{"model":"models/gemini-live","generationConfig":{"responseModalities":["AUDIO"],"speechConfig":{"voiceConfig":{"prebuiltVoiceConfig":{"voiceName":"Puck"}}}},"inputAudioTranscription":{},"outputAudioTranscription":{},"realtimeInputConfig":{"automaticActivityDetection":{"silenceDurationMs":300}}}}`,
			`{"realtimeInput":{"audio":{"mimeType":"audio/pcm;rate=24000","data":"AAAA"}}}`)
		k.g.says <- `{"serverContent":{"inputTranscription":{"text":"Hi "}}}`
		k.g.says <- `{"serverContent":{"inputTranscription":{"text":"you"}}}`
		k.g.says <- `{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"mimeType":"audio/pcm;rate=24000","data":"AQID"}}]},"outputTranscription":{"text":"Hello"}}}`
		k.g.says <- `{"serverContent":{"interrupted":true}}`
		k.g.says <- `{"serverContent":{"turnComplete":true}}`
		kinds, done := k.until("response.done")
		want := []string{
			"session.created", "session.updated", "input_audio_buffer.committed", "conversation.item.input_audio_transcription.delta", "conversation.item.input_audio_transcription.delta",
			"conversation.item.input_audio_transcription.completed", "response.created", "response.output_item.added", "response.content_part.added", "response.output_audio.delta",
			"response.output_audio_transcript.delta", "response.output_audio.done", "response.output_audio_transcript.done", "response.content_part.done", "response.output_item.done", "response.done",
		}
		if d := cmp.Diff(want, kinds); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		if r := toJSON(done["response"]); !strings.Contains(r, `"status":"cancelled"`) || !strings.Contains(r, `"transcript":"Hello"`) {
			t.Errorf("got %s", r)
		}
	})
}

// TestConn_Manual: where the client says when the user has finished, Google is told.
func TestConn_Manual(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := open(t)
		k.send(`{"type":"session.update","session":{"audio":{"input":{"turn_detection":null}}}}`)
		k.send(`{"type":"input_audio_buffer.append","audio":"AAAA"}`)
		k.send(`{"type":"input_audio_buffer.commit"}`)
		k.send(`{"type":"response.create"}`)
		k.told(`{"setup":{"model":"models/gemini-live","generationConfig":{"responseModalities":["AUDIO"]},"outputAudioTranscription":{},"realtimeInputConfig":{"automaticActivityDetection":{"disabled":true}}}}`,
			`{"realtimeInput":{"activityStart":{}}}`, `{"realtimeInput":{"audio":{"mimeType":"audio/pcm;rate=24000","data":"AAAA"}}}`, `{"realtimeInput":{"activityEnd":{}}}`)
	})
}

// TestConn_Tools: a function that is called ends the response; its answer goes back by the name of the function.
func TestConn_Tools(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := open(t)
		k.send(`{"type":"response.create"}`)
		k.told(`{"setup":{"model":"models/gemini-live","generationConfig":{"responseModalities":["AUDIO"]},"outputAudioTranscription":{}}}`, `{"clientContent":{"turnComplete":true}}`)
		k.g.says <- `{"toolCall":{"functionCalls":[{"id":"f1","name":"look","args":{"a":1}}]}}`
		_, done := k.until("response.done")
		if r := toJSON(done["response"]); !strings.Contains(r, `"arguments":"{\"a\":1}","call_id":"f1"`) || !strings.Contains(r, `"name":"look"`) {
			t.Errorf("got %s", r)
		}
		k.send(`{"type":"conversation.item.create","item":{"type":"function_call_output","call_id":"f1","output":"sunny"}}`)
		k.send(`{"type":"response.create"}`)
		k.told(`{"toolResponse":{"functionResponses":[{"id":"f1","name":"look","response":{"output":"sunny"}}]}}`)
	})
}

// TestConn_Refused: what Google has no words for is answered with an error event, and what cannot be read ends
// the session.
func TestConn_Refused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := open(t)
		for _, message := range []string{
			`nonsense`, `{"type":"conversation.item.delete","item_id":"i"}`, `{"type":"conversation.item.create"}`,
			`{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[{"type":"input_image","image_url":"https://x"}]}}`,
			`{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[]}}`,
			`{"type":"session.update","session":{"audio":{"input":{"format":{"type":"audio/pcmu"}}}}}`,
		} {
			k.send(message)
			k.until("error")
		}
		k.told()
		k.g.says <- `[`
		if e, ok := errors.AsType[*llm.Error](<-k.failed); !ok || e.Kind != llm.Upstream {
			t.Errorf("got %v", e)
		}
	})
}

// FuzzConn: no message of either side makes the session panic, and every event is JSON.
func FuzzConn(f *testing.F) {
	f.Add(`{"type":"conversation.item.create","item":{"type":"message","content":[{"type":"input_text","text":"x"}]}}`, `{"serverContent":{"modelTurn":{"parts":[{"text":"x"}]},"turnComplete":true}}`)
	f.Add(`{"type":"session.update","session":{"audio":{"input":{"turn_detection":null}},"tools":[{"type":"function"}]}}`, `{"toolCall":{"functionCalls":[{"args":{}}]},"usageMetadata":{"promptTokenCount":-1}}`)
	f.Add(`{"type":"response.create"}`, `{"serverContent":{"interrupted":true,"inputTranscription":{"text":"a"},"outputTranscription":{"text":"b"}}}`)
	f.Fuzz(func(t *testing.T, client, server string) {
		g := newGoogle()
		c := live.New(g, "m")
		defer c.Close(1000, "")
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		wrote := make(chan struct{})
		go func() {
			defer close(wrote)
			_ = c.Write(ctx, []byte(client))
			g.says <- server
			close(g.over)
		}()
		for {
			_, raw, err := c.Read(ctx)
			if err != nil {
				if e, ok := errors.AsType[*llm.Error](err); !ok && !errors.Is(err, errOver) || ok && e.Kind != llm.Upstream {
					t.Errorf("got %v", err)
				}
				break
			}
			if !json.Valid(raw) {
				t.Fatalf("got %q", raw)
			}
		}
		stop()
		<-wrote
	})
}
