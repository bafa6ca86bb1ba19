package sonic_test

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/realtime/sonic"
)

var errOver = errors.New("the connection is over")

// nova is the provider's side of a connection.
type nova struct {
	told chan string
	says chan string
	over chan struct{}
}

func newNova() *nova {
	return &nova{make(chan string, 256), make(chan string, 256), make(chan struct{})}
}

func (v *nova) Read(ctx context.Context) (bool, []byte, error) {
	select {
	case s := <-v.says:
		return false, []byte(s), nil
	case <-v.over:
		return false, nil, errOver
	case <-ctx.Done():
		return false, nil, ctx.Err()
	}
}

func (v *nova) Write(_ context.Context, message []byte) error {
	v.told <- string(message)
	return nil
}

func (*nova) WriteBinary(context.Context, []byte) error { return errOver }
func (*nova) Ping(context.Context) error                { return nil }
func (*nova) Close(int, string)                         {}

// talk is a session under test, whose events are read.
type talk struct {
	t      *testing.T
	v      *nova
	c      *sonic.Conn
	events chan map[string]any
	failed chan error // why reading ended
}

func open(t *testing.T) *talk {
	v := newNova()
	k := &talk{t, v, sonic.New(v, "amazon.nova-2-sonic-v1:0"), make(chan map[string]any, 256), make(chan error, 1)}
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

func (k *talk) send(messages ...string) {
	k.t.Helper()
	for _, m := range messages {
		if err := k.c.Write(k.t.Context(), []byte(m)); err != nil {
			k.t.Fatal(err)
		}
	}
}

// heard are the types of the events that came, and the last one.
func (k *talk) heard() (kinds []string, last map[string]any) {
	k.t.Helper()
	synctest.Wait()
	for {
		select {
		case e := <-k.events:
			kinds, last = append(kinds, e["type"].(string)), e
		default:
			return kinds, last
		}
	}
}

func (k *talk) expect(want ...string) map[string]any {
	k.t.Helper()
	kinds, last := k.heard()
	if d := cmp.Diff(want, kinds); d != "" {
		k.t.Errorf("events (-want +got):\n%s", d)
	}
	return last
}

// names are those of contents, which are made up.
var names = regexp.MustCompile(`"content[0-9a-f]{18}\d+"`)

// told checks what Nova was told since the last time; the names of contents are "C".
func (k *talk) told(want ...string) {
	k.t.Helper()
	synctest.Wait()
	var got []string
	for len(k.v.told) > 0 {
		got = append(got, strings.TrimSuffix(strings.TrimPrefix(names.ReplaceAllString(<-k.v.told, `"C"`), `{"event":`), "}"))
	}
	if d := cmp.Diff(want, got); d != "" {
		k.t.Errorf("told (-want +got):\n%s", d)
	}
}

const (
	started = `{"promptStart":{"audioOutputConfiguration":{"audioType":"SPEECH","channelCount":1,"encoding":"base64","mediaType":"audio/lpcm","sampleRateHertz":24000,"sampleSizeBits":16,"voiceId":"matthew"},"promptName":"prompt","textOutputConfiguration":{"mediaType":"text/plain"},"toolUseOutputConfiguration":{"mediaType":"application/json"}}}`
	defined = `{"sessionStart":{"inferenceConfiguration":{"maxTokens":1024,"temperature":0.7,"topP":0.9}}}`
	audible = `{"contentStart":{"audioInputConfiguration":{"audioType":"SPEECH","channelCount":1,"encoding":"base64","mediaType":"audio/lpcm","sampleRateHertz":24000,"sampleSizeBits":16},"contentName":"C","interactive":true,"promptName":"prompt","role":"USER","type":"AUDIO"}}`
)

// TestConn_Audio: a turn of speech, which Nova hears, answers with words and audio, and counts.
func TestConn_Audio(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := open(t)
		k.send(`{"type":"session.update","session":{"audio":{"input":{"transcription":{"model":"x"}},"output":{"voice":"alloy"}}}}`,
			`{"type":"input_audio_buffer.append","audio":"AAAA"}`, `{"type":"input_audio_buffer.append","audio":"BBBB"}`, `{"type":"input_audio_buffer.commit"}`)
		k.told(defined, started, audible, `{"audioInput":{"content":"AAAA","contentName":"C","promptName":"prompt"}}`, `{"audioInput":{"content":"BBBB","contentName":"C","promptName":"prompt"}}`)
		k.expect("session.created", "session.updated")
		for _, s := range []string{
			`{"event":{"completionStart":{"completionId":"c"}}}`,
			`{"event":{"contentStart":{"contentId":"1","type":"TEXT","role":"USER","additionalModelFields":"{\"generationStage\":\"FINAL\"}"}}}`,
			`{"event":{"textOutput":{"contentId":"1","content":"Hi there"}}}`, `{"event":{"contentEnd":{"contentId":"1","type":"TEXT","stopReason":"PARTIAL_TURN"}}}`,
			`{"event":{"usageEvent":{"details":{"delta":{"input":{"speechTokens":20,"textTokens":5},"output":{"speechTokens":0,"textTokens":0}}}}}}`,
			`{"event":{"contentStart":{"contentId":"2","type":"TEXT","role":"ASSISTANT","additionalModelFields":"{\"generationStage\":\"SPECULATIVE\"}"}}}`,
			`{"event":{"textOutput":{"contentId":"2","content":"Hello."}}}`, `{"event":{"contentEnd":{"contentId":"2","type":"TEXT","stopReason":"PARTIAL_TURN"}}}`,
			`{"event":{"contentStart":{"contentId":"3","type":"AUDIO","role":"ASSISTANT"}}}`, `{"event":{"audioOutput":{"contentId":"3","content":"AQID"}}}`,
			`{"event":{"usageEvent":{"details":{"delta":{"input":{"speechTokens":0,"textTokens":1},"output":{"speechTokens":9,"textTokens":2}}}}}}`,
			`{"event":{"contentEnd":{"contentId":"3","type":"AUDIO","stopReason":"END_TURN"}}}`,
			`{"event":{"contentStart":{"contentId":"4","type":"TEXT","role":"ASSISTANT","additionalModelFields":"{\"generationStage\":\"FINAL\"}"}}}`,
			`{"event":{"textOutput":{"contentId":"4","content":"Hello."}}}`, `{"event":{"contentEnd":{"contentId":"4","type":"TEXT","stopReason":"END_TURN"}}}`,
			`{"event":{"usageEvent":{"details":{"delta":{"input":{"speechTokens":3,"textTokens":0},"output":{"speechTokens":0,"textTokens":-1}}}}}}`,
		} {
			k.v.says <- s
		}
		done := k.expect("input_audio_buffer.committed", "conversation.item.input_audio_transcription.delta", "conversation.item.input_audio_transcription.completed",
			"response.created", "response.output_item.added", "response.content_part.added", "response.output_audio_transcript.delta", "response.output_audio.delta",
			"response.output_audio.done", "response.output_audio_transcript.done", "response.content_part.done", "response.output_item.done", "response.done")
		raw, _ := json.Marshal(done["response"])
		for _, want := range []string{`"transcript":"Hello."`, `"input_tokens":26`, `"output_tokens":11`, `"status":"completed"`, `"audio_tokens":20`, `"audio_tokens":9`} {
			if !strings.Contains(string(raw), want) {
				t.Errorf("%s lacks %s", raw, want)
			}
		}
		if u := k.c.Unbooked(); u.AudioInput != 3 || u.Source != llm.UsageProvider || k.c.Unbooked() != (llm.Usage{}) {
			t.Errorf("unbooked %+v", u)
		}
		k.c.Close(1000, "")
		k.told(`{"contentEnd":{"contentName":"C","promptName":"prompt"}}`, `{"promptEnd":{"promptName":"prompt"}}`, `{"sessionEnd":{}}`)
	})
}

// TestConn_Interrupted: who speaks into an answer ends it.
func TestConn_Interrupted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := open(t)
		k.heard()
		for _, s := range []string{
			`{"event":{"contentStart":{"contentId":"2","type":"TEXT","role":"ASSISTANT","additionalModelFields":"{\"generationStage\":\"SPECULATIVE\"}"}}}`,
			`{"event":{"textOutput":{"contentId":"2","content":"Hello."}}}`, `{"event":{"textOutput":{"contentId":"2","content":"{ \"interrupted\" : true }"}}}`,
			`{"event":{"contentEnd":{"contentId":"2","type":"TEXT","stopReason":"INTERRUPTED"}}}`,
		} {
			k.v.says <- s
		}
		_, done := k.heard()
		if r, _ := done["response"].(map[string]any); done["type"] != "response.done" || r["status"] != "cancelled" {
			t.Errorf("got %v", done)
		}
	})
}

// TestConn_Items: messages before the audio are the conversation so far, and the last of those that wait for a response
// is answered; so are the answers of functions.
func TestConn_Items(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := open(t)
		k.send(`{"type":"session.update","session":{"instructions":"Be short.","max_output_tokens":9,"temperature":0.1,"tools":[{"type":"function","name":"look","description":"d","parameters":{"type":"object"}}]}}`,
			`{"type":"conversation.item.create","item":{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Yes?"}]}}`,
			`{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[{"type":"input_text","text":"Look"}]}}`, `{"type":"response.create"}`)
		text := func(role, text string, interactive string) []string {
			return []string{
				`{"contentStart":{"contentName":"C","interactive":` + interactive + `,"promptName":"prompt","role":"` + role + `","textInputConfiguration":{"mediaType":"text/plain"},"type":"TEXT"}}`,
				`{"textInput":{"content":"` + text + `","contentName":"C","promptName":"prompt"}}`, `{"contentEnd":{"contentName":"C","promptName":"prompt"}}`,
			}
		}
		want := []string{
			`{"sessionStart":{"inferenceConfiguration":{"maxTokens":9,"temperature":0.1,"topP":0.9}}}`,
			strings.Replace(started, `"toolUseOutput`, `"toolConfiguration":{"tools":[{"toolSpec":{"description":"d","inputSchema":{"json":"{\"type\":\"object\"}"},"name":"look"}}]},"toolUseOutput`, 1),
		}
		want = append(append(append(want, text("SYSTEM", "Be short.", "false")...), text("ASSISTANT", "Yes?", "false")...), text("USER", "Look", "true")...)
		k.told(want...)
		k.heard()
		k.v.says <- `{"event":{"contentStart":{"contentId":"5","type":"TOOL","role":"TOOL"}}}`
		k.v.says <- `{"event":{"toolUse":{"contentId":"5","content":"{\"a\":1}","toolName":"look","toolUseId":"u1"}}}`
		k.v.says <- `{"event":{"contentEnd":{"contentId":"5","type":"TOOL","stopReason":"TOOL_USE"}}}`
		done := k.expect("response.created", "response.output_item.added", "response.function_call_arguments.delta", "response.function_call_arguments.done", "response.output_item.done", "response.done")
		if raw, _ := json.Marshal(done); !strings.Contains(string(raw), `"arguments":"{\"a\":1}","call_id":"u1"`) {
			t.Errorf("got %s", raw)
		}
		k.send(`{"type":"conversation.item.create","item":{"type":"function_call_output","call_id":"u1","output":"sunny"}}`, `{"type":"response.create"}`)
		k.told(`{"contentStart":{"contentName":"C","interactive":false,"promptName":"prompt","role":"TOOL","toolResultInputConfiguration":{"textInputConfiguration":{"mediaType":"text/plain"},"toolUseId":"u1","type":"TEXT"},"type":"TOOL"}}`,
			`{"toolResult":{"content":"{\"output\":\"sunny\"}","contentName":"C","promptName":"prompt"}}`, `{"contentEnd":{"contentName":"C","promptName":"prompt"}}`)
	})
}

// TestConn_Refused: what cannot be followed is refused by itself, and the session goes on.
func TestConn_Refused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := open(t)
		k.heard()
		for _, message := range []string{
			`nonsense`, `{"type":"conversation.item.delete","item_id":"i"}`, `{"type":"response.create"}`, `{"type":"conversation.item.create"}`,
			`{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[{"type":"input_image","image_url":"https://x"}]}}`,
			`{"type":"session.update","session":{"audio":{"input":{"turn_detection":null}}}}`, `{"type":"session.update","session":{"audio":{"output":{"format":{"type":"audio/pcmu"}}}}}`,
		} {
			k.send(message)
			k.expect("error")
		}
		k.told()
		k.send(`{"type":"input_audio_buffer.append","audio":"AAAA"}`, `{"type":"session.update","session":{}}`,
			`{"type":"conversation.item.create","item":{"type":"message","role":"assistant","content":[{"type":"output_text","text":"x"}]}}`)
		k.expect("error", "error")
		k.v.says <- `[`
		if e, ok := errors.AsType[*llm.Error](<-k.failed); !ok || e.Kind != llm.Upstream {
			t.Errorf("got %v", e)
		}
	})
}

// FuzzConn checks that no words of either side make anything but events of JSON.
func FuzzConn(f *testing.F) {
	f.Add(`{"type":"conversation.item.create","item":{"type":"message","content":[{"type":"input_text","text":"x"}]}}`, `{"event":{"textOutput":{"contentId":"1","content":"{ \"interrupted\" : true }"}}}`)
	f.Add(`{"type":"session.update","session":{"audio":{"input":{"turn_detection":7}},"tools":[{"type":"function"}]}}`, `{"event":{"toolUse":{"content":"nonsense"}}}`)
	f.Add(`{"type":"input_audio_buffer.append","audio":"A"}`, `{"event":{"audioOutput":{"content":"AQ=="},"usageEvent":{"details":{"delta":{"input":{"textTokens":9000000000000000000}}}}}}`)
	f.Fuzz(func(t *testing.T, client, server string) {
		v := newNova()
		c := sonic.New(v, "m")
		defer c.Close(1000, "")
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		wrote := make(chan struct{})
		go func() {
			defer close(wrote)
			_ = c.Write(ctx, []byte(client))
			v.says <- server
			close(v.over)
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
		if u := c.Unbooked(); u.Total() < 0 {
			t.Errorf("unbooked %+v", u)
		}
	})
}
