package listen_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/realtime/listen"
	"github.com/conclave-llm/conclave/secret"
)

var errOver = errors.New("the connection is over")

// vendor is a provider's side of a connection: what it was told, bytes after "bytes ", and what it says.
type vendor struct {
	told chan string
	says chan string
	over chan struct{}
}

func newVendor() *vendor {
	return &vendor{make(chan string, 64), make(chan string, 64), make(chan struct{})}
}

func (v *vendor) Read(ctx context.Context) (bool, []byte, error) {
	select {
	case s := <-v.says:
		return true, []byte(s), nil
	case <-v.over:
		return false, nil, errOver
	case <-ctx.Done():
		return false, nil, ctx.Err()
	}
}

func (v *vendor) Write(_ context.Context, message []byte) error {
	v.told <- string(message)
	if strings.Contains(string(message), "accessToken") {
		v.says <- `{"sessionId":"s1"}`
	}
	return nil
}

func (v *vendor) WriteBinary(_ context.Context, message []byte) error {
	v.told <- "bytes " + string(message)
	return nil
}

func (*vendor) Ping(context.Context) error { return nil }
func (*vendor) Close(int, string)          {}

// talk is a session under test, whose events are read.
type talk struct {
	t      *testing.T
	v      *vendor
	c      *listen.Conn
	events chan map[string]any
	failed chan error // why reading ended
}

func open(t *testing.T, words listen.Dialect) *talk {
	v := newVendor()
	k := &talk{t, v, listen.New(v, "stt", words), make(chan map[string]any, 256), make(chan error, 1)}
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

// gist is the events that came, in short.
func (k *talk) gist() (all []string) {
	k.t.Helper()
	synctest.Wait()
	for {
		select {
		case e := <-k.events:
			s := strings.TrimPrefix(strings.TrimPrefix(e["type"].(string), "conversation.item.input_audio_transcription."), "input_audio_buffer.")
			for _, name := range []string{"delta", "transcript", "usage", "error"} {
				if v, ok := e[name]; ok {
					raw, _ := json.Marshal(v)
					s += " " + string(raw)
				}
			}
			all = append(all, s)
		default:
			return all
		}
	}
}

// expect checks what was heard of since the last time.
func (k *talk) expect(want ...string) {
	k.t.Helper()
	if d := cmp.Diff(want, k.gist()); d != "" {
		k.t.Errorf("events (-want +got):\n%s", d)
	}
}

// told checks what the provider was told since the last time.
func (k *talk) told(want ...string) {
	k.t.Helper()
	synctest.Wait()
	var got []string
	for len(k.v.told) > 0 {
		got = append(got, <-k.v.told)
	}
	if d := cmp.Diff(want, got); d != "" {
		k.t.Errorf("told (-want +got):\n%s", d)
	}
}

// TestSoniox: what is final is handed on as it comes; a turn ends where Soniox finds its end, and has taken
// the audio that was heard since the one before.
func TestSoniox(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := open(t, &listen.Soniox{Model: "stt-rt-v5"})
		k.send(`{"type":"session.update","session":{"type":"transcription","audio":{"input":{"transcription":{"language":"en","prompt":"names"}}}}}`)
		k.send(`{"type":"input_audio_buffer.append","audio":"AQID"}`)
		k.told(`{"audio_format":"pcm_s16le","context":{"text":"names"},"enable_endpoint_detection":true,"language_hints":["en"],"model":"stt-rt-v5","num_channels":1,"sample_rate":24000}`, "bytes \x01\x02\x03")
		k.expect("session.created", "session.updated")
		k.v.says <- `{"tokens":[{"text":"Hel","is_final":false}],"final_audio_proc_ms":0,"total_audio_proc_ms":400}`
		k.v.says <- `{"tokens":[{"text":" Hello","start_ms":120,"end_ms":300,"is_final":true},{"text":" th","is_final":false}],"total_audio_proc_ms":900}`
		k.v.says <- `{"tokens":[{"text":" there.","is_final":true},{"text":"<end>","is_final":true}],"total_audio_proc_ms":1500}`
		k.expect("speech_started", `delta "Hello"`, `delta " there."`, "speech_stopped", "committed", `completed "Hello there." {"seconds":1.5,"type":"duration"}`)
		k.v.says <- `{"tokens":[{"text":"<end>","is_final":true}],"total_audio_proc_ms":2000}`
		k.expect()
		k.send(`{"type":"input_audio_buffer.commit"}`)
		k.told(`{"type":"finalize"}`)
		k.v.says <- `{"tokens":[{"text":"<fin>","is_final":true}],"total_audio_proc_ms":2250}`
		k.expect("committed", `completed "" {"seconds":0.75,"type":"duration"}`)
		k.v.says <- `{"tokens":[],"total_audio_proc_ms":4000}`
		synctest.Wait()
		if err := k.c.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		k.told(`{"type":"keepalive"}`)
		if u := k.c.Unbooked(); u.Units.InputMS != 1750 || u.Source != llm.UsageProvider {
			t.Errorf("unbooked %+v", u)
		}
		if u := k.c.Unbooked(); u != (llm.Usage{}) {
			t.Errorf("unbooked twice: %+v", u)
		}
		k.send(`{"type":"session.update","event_id":"e","session":{}}`)
		k.expect(`error {"code":"session_begun","event_id":"e","message":"The model's provider takes the configuration of a session before its first audio alone: send session.update first.","param":null,"type":"invalid_request_error"}`)
	})
}

// TestSoniox_Old: the form of sessions before today's, with 8 bits a sample and ends that the client says.
func TestSoniox_Old(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := open(t, &listen.Soniox{Model: "m"})
		k.send(`{"type":"transcription_session.update","session":{"input_audio_format":"g711_ulaw","input_audio_transcription":{"model":"whisper-1"},"turn_detection":null}}`)
		k.send(`{"type":"input_audio_buffer.append","audio":"AA=="}`)
		k.told(`{"audio_format":"mulaw","enable_endpoint_detection":false,"model":"m","num_channels":1,"sample_rate":8000}`, "bytes \x00")
		k.v.says <- `{"tokens":[{"text":"Yes","is_final":true}],"total_audio_proc_ms":100}`
		k.send(`{"type":"input_audio_buffer.commit"}`)
		k.v.says <- `{"tokens":[{"text":"<fin>","is_final":true}],"total_audio_proc_ms":100}`
		k.v.says <- `{"tokens":[{"text":"No","is_final":true}],"total_audio_proc_ms":200,"finished":true}`
		all := k.gist()
		if got := all[len(all)-4:]; !cmp.Equal(got, []string{"speech_started", `delta "No"`, "committed", `completed "No" {"seconds":0.1,"type":"duration"}`}) {
			t.Errorf("got %q", all)
		}
	})
}

// TestMeta: the key stands in the first message, and audio waits until Meta has taken it. What may still change
// is not handed on.
func TestMeta(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := open(t, &listen.Meta{Model: "muse", Key: secret.New("sk-1")})
		k.send(`{"type":"session.update","session":{"audio":{"input":{"transcription":{"language":"pt-BR"},"format":{"type":"audio/pcm","rate":16000}}}}}`)
		k.send(`{"type":"input_audio_buffer.append","audio":"AAAA"}`)
		k.told(`{"audioEncoding":"PCM_16KHZ","authorization":{"accessToken":"Bearer sk-1"},"emitAudioProgress":true,"languageBias":["Portuguese"],"mode":"ENDPOINTING","model":"muse","partialMode":"CUMULATIVE"}`, "bytes \x00\x00\x00")
		k.expect("session.created", "session.updated")
		k.v.says <- `{"type":"speechStart","turnId":3,"audioProcessedMs":200}`
		k.v.says <- `{"type":"transcript","transcript":"Ola","audioProcessedMs":400,"final":false}`
		k.v.says <- `{"type":"speechEnd","turnId":3,"audioProcessedMs":800}`
		k.v.says <- `{"type":"speechStart","turnId":4,"audioProcessedMs":900}`
		k.v.says <- `{"type":"speechComplete","turnId":3,"transcript":"Olá.","audioProcessedMs":1000}`
		k.v.says <- `{"type":"audioProgress","audioProcessedMs":1200}`
		k.v.says <- `{"type":"something new"}`
		k.expect("speech_started", "speech_stopped", "committed", "speech_started", `completed "Olá." {"seconds":1,"type":"duration"}`)
		k.send(`{"type":"input_audio_buffer.commit","event_id":"e"}`)
		if got := k.gist(); len(got) != 1 || !strings.Contains(got[0], "unsupported_event") {
			t.Errorf("got %q", got)
		}
		if u := k.c.Unbooked(); u.Units.InputMS != 200 {
			t.Errorf("unbooked %+v", u)
		}
		k.v.says <- `{"type":"error","message":"bad sk-1"}`
		if e, ok := errors.AsType[*llm.Error](<-k.failed); !ok || e.Kind != llm.Upstream || strings.Contains(e.Message, "sk-1") {
			t.Errorf("got %v", e)
		}
	})
}

// TestMeta_Manual: a client that ends the turn ends the stream with it.
func TestMeta_Manual(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := open(t, &listen.Meta{Model: "muse", Key: secret.New("sk-1")})
		k.send(`{"type":"session.update","session":{"audio":{"input":{"turn_detection":null}}}}`)
		k.send(`{"type":"input_audio_buffer.append","audio":"AAAA"}`)
		k.send(`{"type":"input_audio_buffer.commit"}`)
		synctest.Wait()
		if setup := <-k.v.told; !strings.Contains(setup, `"mode":"PUSH_TO_TALK"`) {
			t.Errorf("told %s", setup)
		}
		k.told("bytes \x00\x00\x00", `{"type":"endStream"}`)
		k.v.says <- `{"type":"transcript","transcript":"Hi","final":true,"audioProcessedMs":700}`
		k.expect("session.created", "session.updated", "committed", `completed "Hi" {"seconds":0.7,"type":"duration"}`)
	})
}

// TestRefused: what cannot be followed is refused by itself, and the session goes on.
func TestRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := open(t, &listen.Meta{Model: "muse", Key: secret.New("sk-1")})
		k.gist()
		for _, message := range []string{
			`nonsense`, `{"type":"response.create"}`, `{"type":"input_audio_buffer.append","audio":"!"}`, `{"type":"input_audio_buffer.append"}`, `{"type":"input_audio_buffer.commit"}`,
			`{"type":"session.update","session":{"audio":{"input":{"format":{"type":"audio/pcmu"}}}}}`, `{"type":"session.update","session":{"audio":7}}`,
			`{"type":"session.update","session":{"audio":{"input":{"format":{"rate":44100}}}}}`,
		} {
			k.send(message)
			if got := k.gist(); len(got) != 1 || !strings.HasPrefix(got[0], "error") {
				t.Errorf("%s: got %q", message, got)
			}
		}
		k.send(`{"type":"input_audio_buffer.clear"}`)
		k.expect()
		k.told()
	})
}

// TestEnded: what ends a session says whose fault it is.
func TestEnded(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		says string
		want llm.Kind
	}{
		{`{"error_code":400,"error_message":"Invalid model specified."}`, llm.Invalid},
		{`{"error_code":401,"error_message":"Incorrect API key."}`, llm.Upstream},
		{`{"error_code":408,"error_message":"Timeout."}`, llm.Timeout},
		{`{"error_code":429,"error_message":"Too many."}`, llm.RateLimited},
		{`{"error_code":503,"error_message":"Cannot continue."}`, llm.Upstream},
		{`[`, llm.Upstream},
	} {
		d := &listen.Soniox{Model: "m"}
		_, err := d.Take([]byte(tt.says))
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != tt.want || strings.Contains(e.Message, "key") {
			t.Errorf("%s: got %v", tt.says, err)
		}
	}
}

// FuzzConn checks that no words of either side make anything but events of JSON, or an error of the provider's.
func FuzzConn(f *testing.F) {
	f.Add(false, `{"type":"input_audio_buffer.append","audio":"AAAA"}`, `{"tokens":[{"text":" a","is_final":true},{"text":"<end>","is_final":true}],"total_audio_proc_ms":1e30}`)
	f.Add(false, `{"type":"input_audio_buffer.commit"}`, `{"finished":true,"total_audio_proc_ms":-1,"error_code":0}`)
	f.Add(true, `{"type":"session.update","session":{"audio":{"input":{"turn_detection":null,"format":null}}}}`, `{"type":"transcript","final":true,"transcript":"x","audioProcessedMs":5}`)
	f.Add(true, `{"type":"transcription_session.update","session":{"input_audio_format":"pcm16"}}`, `{"type":"speechComplete","turnId":-9,"transcript":"x"}`)
	f.Fuzz(func(t *testing.T, other bool, client, server string) {
		v := newVendor()
		var words listen.Dialect = &listen.Soniox{Model: "m"}
		if other {
			words = &listen.Meta{Model: "m", Key: secret.New("k")}
		}
		c := listen.New(v, "m", words)
		defer c.Close(1000, "")
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		wrote := make(chan struct{})
		go func() {
			defer close(wrote)
			v.says <- server
			_ = c.Write(ctx, []byte(client))
			close(v.over)
		}()
		for {
			_, raw, err := c.Read(ctx)
			if err != nil {
				if _, ok := errors.AsType[*llm.Error](err); !ok && !errors.Is(err, errOver) {
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
		if u := c.Unbooked(); u.Units.InputMS < 0 {
			t.Errorf("unbooked %+v", u)
		}
	})
}
