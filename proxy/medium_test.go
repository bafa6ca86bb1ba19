package proxy_test

import (
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/providertest"
	"github.com/conclave-llm/conclave/resource"
)

// studio is a stand-in of a vendor: what it answers at a path, after it has checked the request.
type studio struct {
	provider, model string
	header          string // of the request that must hold the key
	serve           map[string]func(r *http.Request, body string) (kind, answer string)
}

// wireFor is a gateway with a deployment at the vendor, and a price for each unit.
func (v *studio) wireFor(t *testing.T) *wire {
	return v.wireOf(t, func(rw http.ResponseWriter, q *http.Request) {
		raw, _ := io.ReadAll(q.Body)
		serve := v.serve[q.Method+" "+q.URL.EscapedPath()]
		if serve == nil || !strings.HasSuffix(q.Header.Get(v.header), "sk-provider") {
			rw.Header().Set("Content-Type", "application/json")
			rw.WriteHeader(http.StatusNotFound)
			_, _ = fmt.Fprintf(rw, `{"error":{"message":"%s %s with %s"}}`, q.Method, q.URL.Path, q.Header.Get(v.header))
			return
		}
		kind, answer := serve(q, string(raw))
		rw.Header().Set("Content-Type", kind)
		_, _ = io.WriteString(rw, answer)
	})
}

// wireOf is wireFor with a stand-in of its own.
func (v *studio) wireOf(t *testing.T, serve http.HandlerFunc) *wire {
	w := newWire(t, serve)
	d := w.tables.Deployments[0]
	d.APIBase = strings.TrimSuffix(d.APIBase, "/v1")
	d.APIKey, d.Provider, d.Upstream = &resource.Sealed{}, v.provider, v.model
	d.Options = map[string]string{"region": "eu-central-1"}
	d.Price = &resource.Price{Input: resource.Dollar, Output: 2 * resource.Dollar, Units: resource.Units{
		InputSecond: 1e12, Character: 1e11, Query: 2e12, OutputImage: 4e13,
	}}
	return w
}

func answers(kind, answer string) func(*http.Request, string) (string, string) {
	return func(*http.Request, string) (string, string) { return kind, answer }
}

const json200 = "application/json"

// TestSpeech_Vendors: speech comes as bytes whatever the vendor's form, or as events where the client
// wants them; its characters are paid.
func TestSpeech_Vendors(t *testing.T) {
	t.Parallel()
	for _, v := range []studio{
		{"deepgram", "aura-2-thalia-en", "Authorization", map[string]func(*http.Request, string) (string, string){
			"POST /speak": answers("audio/mpeg", "SOUND"),
		}},
		{"elevenlabs", "eleven_multilingual_v2", "Xi-Api-Key", map[string]func(*http.Request, string) (string, string){
			"POST /v1/text-to-speech/voice-1": answers("audio/mpeg", "SOUND"),
		}},
		{"azure_speech", "tts", "Ocp-Apim-Subscription-Key", map[string]func(*http.Request, string) (string, string){
			"POST /cognitiveservices/v1": answers("audio/mpeg", "SOUND"),
		}},
		{"nvidia_riva", "magpie", "Authorization", map[string]func(*http.Request, string) (string, string){
			"POST /audio/synthesize": func(r *http.Request, body string) (string, string) {
				if f := fieldsOf(r, body); f["text"] != "one two" || f["voice"] != "voice-1" {
					return json200, `{}`
				}
				return "audio/mpeg", "SOUND"
			},
		}},
		{"aws_polly", "neural", "Authorization", map[string]func(*http.Request, string) (string, string){
			"POST /v1/speech": answers("audio/mpeg", "SOUND"),
		}},
	} {
		t.Run(v.provider, func(t *testing.T) {
			t.Parallel()
			w := v.wireFor(t)
			res, got := w.ask(t.Context(), "/v1/audio/speech", json200, strings.NewReader(`{"model":"demo","input":"one two","voice":"voice-1"}`)) //nolint:bodyclose // ask closes it
			if res.StatusCode != 200 || got != "SOUND" || res.Header.Get("Content-Type") != "audio/mpeg" {
				t.Fatalf("got %d %v %q", res.StatusCode, res.Header, got)
			}
			rec := w.record()
			if rec.Usage.Units.Characters != 7 || rec.Cost < 700_000 || rec.Endpoint != "speech" {
				t.Errorf("record %+v", rec)
			}
			w = v.wireFor(t)
			res, got = w.ask(t.Context(), "/v1/audio/speech", json200, strings.NewReader(`{"model":"demo","input":"one two","voice":"voice-1","stream_format":"sse"}`)) //nolint:bodyclose // ask closes it
			if !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") || !strings.Contains(got, `"audio":"U09VTkQ="`) || !strings.Contains(got, "speech.audio.done") {
				t.Errorf("events: got %v %q", res.Header, got)
			}
			if rec := w.record(); rec.Usage.Units.Characters != 7 {
				t.Errorf("events: record %+v", rec)
			}
		})
	}
}

// TestSpeech_Runway: a task is ordered and asked for, and its sound is fetched from the address that it names,
// without the key. An address that is not the provider's own, and not over TLS, is not asked.
func TestSpeech_Runway(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, output string // HOST is the stand-in's
		status       int
	}{
		{"fetched", "http://HOST/out/a.mp3?sig=a%2Fb", 200},
		{"gone", "http://HOST/out/gone.mp3", 502},
		{"elsewhere", "http://127.0.0.2:9/out/a.mp3", 502},
		{"within, over TLS", "https://10.0.0.1/out/a.mp3", 502},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := studio{provider: "runwayml", model: "eleven_multilingual_v2"}
			w := v.wireOf(t, func(rw http.ResponseWriter, q *http.Request) {
				keyed := q.Header.Get("Authorization") == "Bearer sk-provider" && q.Header.Get("X-Runway-Version") == "2024-11-06"
				body, _ := io.ReadAll(q.Body)
				rw.Header().Set("Content-Type", json200)
				switch at := q.Method + " " + q.RequestURI; {
				case keyed && at == "POST /v1/text_to_speech" && string(body) == `{"model":"eleven_multilingual_v2","promptText":"one two","voice":{"type":"runway-preset","presetId":"Maya"}}`:
					_, _ = io.WriteString(rw, `{"id":"t1"}`)
				case keyed && at == "GET /v1/tasks/t1":
					_, _ = fmt.Fprintf(rw, `{"id":"t1","status":"SUCCEEDED","output":[%q]}`, strings.Replace(tt.output, "HOST", q.Host, 1))
				case at == "GET /out/a.mp3?sig=a%2Fb" && q.Header.Get("Authorization") == "" && q.Header.Get("X-Runway-Version") == "":
					rw.Header().Set("Content-Type", "audio/mpeg")
					_, _ = io.WriteString(rw, "SOUND")
				default:
					rw.WriteHeader(http.StatusNotFound)
				}
			})
			res, got := w.ask(t.Context(), "/v1/audio/speech", json200, strings.NewReader(`{"model":"demo","input":"one two","voice":"alloy"}`)) //nolint:bodyclose // ask closes it
			if res.StatusCode != tt.status || tt.status == 200 && (got != "SOUND" || res.Header.Get("Content-Type") != "audio/mpeg") {
				t.Fatalf("got %d %v %q", res.StatusCode, res.Header, got)
			}
			if rec := w.record(); tt.status == 200 && (rec.Usage.Units.Characters != 7 || rec.Cost < 700_000) || tt.status != 200 && rec.Cost != 0 {
				t.Errorf("record %+v", rec)
			}
		})
	}
}

// TestSpeech_Gemini: samples come as a WAV file, and the tokens that Google counts are paid.
func TestSpeech_Gemini(t *testing.T) {
	t.Parallel()
	v := studio{"gemini", "gemini-2.5-flash-preview-tts", "X-Goog-Api-Key", map[string]func(*http.Request, string) (string, string){
		"POST /models/gemini-2.5-flash-preview-tts:generateContent": answers(json200, `{"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"audio/L16;codec=pcm;rate=24000","data":"AAABAAIAAwA="}}]}}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":40,"candidatesTokensDetails":[{"modality":"AUDIO","tokenCount":40}]}}`),
	}}
	w := v.wireFor(t)
	res, got := w.ask(t.Context(), "/v1/audio/speech", json200, strings.NewReader(`{"model":"demo","input":"Hi","voice":"alloy","response_format":"wav"}`)) //nolint:bodyclose // ask closes it
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "audio/wav" || len(got) != 52 || !strings.HasPrefix(got, "RIFF") {
		t.Fatalf("got %d %v %q", res.StatusCode, res.Header, got)
	}
	if rec := w.record(); rec.Usage.AudioOutput != 40 || rec.Usage.Input != 3 || rec.Usage.Source != llm.UsageProvider {
		t.Errorf("usage %+v", rec.Usage)
	}
}

// fieldsOf reads a form that a vendor was sent.
func fieldsOf(r *http.Request, body string) map[string]string {
	fields := map[string]string{}
	_, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	m := multipart.NewReader(strings.NewReader(body), params["boundary"])
	for {
		p, err := m.NextPart()
		if err != nil {
			return fields
		}
		raw, _ := io.ReadAll(p)
		fields[p.FormName()] = string(raw)
	}
}

// TestTranscriptions_Vendors: a form becomes what the vendor takes, in one request or in several; the
// seconds that it counts are paid.
func TestTranscriptions_Vendors(t *testing.T) {
	t.Parallel()
	for _, v := range []studio{
		{"deepgram", "nova-3", "Authorization", map[string]func(*http.Request, string) (string, string){
			"POST /listen": func(r *http.Request, body string) (string, string) {
				return json200, fmt.Sprintf(`{"metadata":{"duration":2.0},"results":{"channels":[{"alternatives":[{"transcript":"%s heard by %s","words":[]}]}]}}`, body, r.URL.Query().Get("model"))
			},
		}},
		{"azure_speech", "fast", "Ocp-Apim-Subscription-Key", map[string]func(*http.Request, string) (string, string){
			"POST /speechtotext/transcriptions:transcribe": func(r *http.Request, body string) (string, string) {
				return json200, fmt.Sprintf(`{"durationMilliseconds":2000,"combinedPhrases":[{"text":"%s heard by fast"}],"phrases":[]}`, fieldsOf(r, body)["audio"])
			},
		}},
		{"elevenlabs", "scribe_v1", "Xi-Api-Key", map[string]func(*http.Request, string) (string, string){
			"POST /v1/speech-to-text": func(r *http.Request, body string) (string, string) {
				f := fieldsOf(r, body)
				return json200, fmt.Sprintf(`{"text":"%s heard by %s","audio_duration_secs":2}`, f["file"], f["model_id"])
			},
		}},
		{"xai", "grok-voice-transcribe-2.0", "Authorization", map[string]func(*http.Request, string) (string, string){
			"POST /stt": func(r *http.Request, body string) (string, string) {
				f := fieldsOf(r, body)
				return json200, fmt.Sprintf(`{"text":"%s heard by %s","language":"","duration":2}`, f["file"], f["model"])
			},
		}},
		{"meta", "muse", "Authorization", map[string]func(*http.Request, string) (string, string){
			"POST /asr/transcribe": func(r *http.Request, body string) (string, string) {
				f := fieldsOf(r, body)
				return json200, fmt.Sprintf(`{"sessionId":"s","transcript":"%s heard by %s","audioDurationMs":2000,"turns":[]}`, f["audio"], strings.Split(f["request"], `"`)[3])
			},
		}},
		{"cloudflare", "@cf/openai/whisper", "Authorization", map[string]func(*http.Request, string) (string, string){
			"POST /run/@cf/openai/whisper": func(_ *http.Request, body string) (string, string) {
				return json200, fmt.Sprintf(`{"result":{"text":"%s heard by @cf/openai/whisper","transcription_info":{"duration":2}},"success":true}`, body)
			},
		}},
		{"fireworks_ai", "whisper-v3-turbo", "Authorization", map[string]func(*http.Request, string) (string, string){
			"POST /audio/transcriptions": func(r *http.Request, body string) (string, string) {
				f := fieldsOf(r, body)
				if f["stream"] == "true" {
					return "text/event-stream", "data: {\"type\":\"transcript.text.done\",\"text\":\"x\",\"usage\":{\"type\":\"duration\",\"seconds\":2}}\n\n"
				}
				return json200, fmt.Sprintf(`{"text":"%s heard by %s","usage":{"type":"duration","seconds":2}}`, f["file"], f["model"])
			},
		}},
		{"assemblyai", "universal-3-pro", "Authorization", map[string]func(*http.Request, string) (string, string){
			"POST /v2/upload": func(_ *http.Request, body string) (string, string) {
				return json200, fmt.Sprintf(`{"upload_url":"https://cdn.assemblyai.com/upload/%s"}`, body)
			},
			"POST /v2/transcript": func(_ *http.Request, body string) (string, string) {
				if body != `{"audio_url":"https://cdn.assemblyai.com/upload/SOUND","speech_models":["universal-3-pro"],"language_detection":true}` {
					return json200, `{"status":"error","error":"a wrong order"}`
				}
				return json200, `{"id":"t1","status":"completed","audio_duration":2,"text":"SOUND heard by universal-3-pro"}`
			},
		}},
	} {
		t.Run(v.provider, func(t *testing.T) {
			t.Parallel()
			w := v.wireFor(t)
			kind, form := formOf(t, map[string]string{"model": "demo"}, []byte("SOUND"))
			res, got := w.ask(t.Context(), "/v1/audio/transcriptions", kind, strings.NewReader(form)) //nolint:bodyclose // ask closes it
			if want := `{"text":"SOUND heard by ` + v.model + `","usage":{"type":"duration","seconds":2}}`; res.StatusCode != 200 || got != want || res.Header.Get("Content-Type") != json200 {
				t.Fatalf("got %d %v %s", res.StatusCode, res.Header, got)
			}
			if rec := w.record(); rec.Usage.Units.InputMS != 2000 || rec.Cost != 2_000_000 || rec.Usage.Source != llm.UsageProvider {
				t.Errorf("record %+v", rec)
			}
			w = v.wireFor(t)
			kind, form = formOf(t, map[string]string{"model": "demo", "stream": "true"}, []byte("SOUND"))
			res, got = w.ask(t.Context(), "/v1/audio/transcriptions", kind, strings.NewReader(form)) //nolint:bodyclose // ask closes it
			if !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") || !strings.Contains(got, "transcript.text.done") {
				t.Errorf("events: got %d %v %s", res.StatusCode, res.Header, got)
			}
			if rec := w.record(); rec.Cost != 2_000_000 {
				t.Errorf("events: record %+v", rec)
			}
		})
	}
}

// TestImages_Vendors: pictures are asked for in the vendor's form, and each that came is paid.
func TestImages_Vendors(t *testing.T) {
	t.Parallel()
	const one = `"b64_json":"iVBORw0K"`
	for _, v := range []studio{
		{"stability", "stable-image-core", "Authorization", map[string]func(*http.Request, string) (string, string){
			"POST /v2beta/stable-image/generate/core": func(r *http.Request, body string) (string, string) {
				if fieldsOf(r, body)["prompt"] != "a cat" || r.Header.Get("Accept") != json200 {
					return json200, `{}`
				}
				return json200, `{"image":"iVBORw0K","finish_reason":"SUCCESS"}`
			},
		}},
		{"fal_ai", "fal-ai/flux/dev", "Authorization", map[string]func(*http.Request, string) (string, string){
			"POST /fal-ai/flux/dev": answers(json200, `{"images":[{"url":"data:image/png;base64,iVBORw0K"}]}`),
		}},
		{"bedrock", "amazon.nova-canvas-v1:0", "Authorization", map[string]func(*http.Request, string) (string, string){
			"POST /model/amazon.nova-canvas-v1%3A0/invoke": answers(json200, `{"images":["iVBORw0K"]}`),
		}},
		{"gemini", "imagen-4.0-generate-001", "X-Goog-Api-Key", map[string]func(*http.Request, string) (string, string){
			"POST /models/imagen-4.0-generate-001:predict": answers(json200, `{"predictions":[{"bytesBase64Encoded":"iVBORw0K","mimeType":"image/png"}]}`),
		}},
		{"gemini", "gemini-2.5-flash-image", "X-Goog-Api-Key", map[string]func(*http.Request, string) (string, string){
			"POST /models/gemini-2.5-flash-image:generateContent": answers(json200, `{"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"image/png","data":"iVBORw0K"}}]},"finishReason":"STOP"}]}`),
		}},
		{"fireworks_ai", "flux-1-schnell-fp8", "Authorization", map[string]func(*http.Request, string) (string, string){
			"POST /workflows/accounts/fireworks/models/flux-1-schnell-fp8/text_to_image": answers(json200, `{"base64":["iVBORw0K"],"finishReason":"SUCCESS"}`),
		}},
		{"azure_ai", "FLUX.2-pro", "Api-Key", map[string]func(*http.Request, string) (string, string){
			"POST /providers/blackforestlabs/v1/flux-2-pro": answers(json200, `{"data":[{"b64_json":"iVBORw0K"}]}`),
		}},
		{"azure_ai", "gpt-image-2", "Api-Key", map[string]func(*http.Request, string) (string, string){
			"POST /images/generations": answers(json200, `{"created":1,"data":[{"b64_json":"iVBORw0K"}]}`),
		}},
		{"tencent", "seedream-image-v5.0-pro", "Authorization", map[string]func(*http.Request, string) (string, string){
			"POST /wand/si-image/generation": answers(json200, `{"created":1,"data":[{"b64_json":"iVBORw0K"}]}`),
		}},
		{"databricks", "databricks-gpt-image-1", "Authorization", map[string]func(*http.Request, string) (string, string){
			"POST /images/generations": answers(json200, `{"created":1,"data":[{"b64_json":"iVBORw0K"}]}`),
		}},
		{"meta", "muse-image-1.0", "Authorization", map[string]func(*http.Request, string) (string, string){
			"POST /images/generations": answers(json200, `{"created":1,"data":[{"b64_json":"iVBORw0K"}]}`),
		}},
		{"recraft", "recraftv3", "Authorization", map[string]func(*http.Request, string) (string, string){
			"POST /images/generations": answers(json200, `{"created":1,"data":[{"b64_json":"iVBORw0K"}]}`),
		}},
	} {
		t.Run(v.provider+"/"+v.model, func(t *testing.T) {
			t.Parallel()
			w := v.wireFor(t)
			res, got := w.ask(t.Context(), "/v1/images/generations", json200, strings.NewReader(`{"model":"demo","prompt":"a cat"}`)) //nolint:bodyclose // ask closes it
			if res.StatusCode != 200 || !strings.Contains(got, one) {
				t.Fatalf("got %d %s", res.StatusCode, got)
			}
			if rec := w.record(); rec.Usage.Units.OutputImages != 1 || rec.Cost != 40_000_000 || rec.Usage.Source != llm.UsageProvider {
				t.Errorf("record %+v", rec)
			}
		})
	}
}

// TestImages_Orders: vendors that take an order are asked until the picture is there; its address is the
// answer, and it is paid.
func TestImages_Orders(t *testing.T) {
	t.Parallel()
	for _, v := range []studio{
		{"black_forest_labs", "flux-2-pro", "X-Key", map[string]func(*http.Request, string) (string, string){
			"POST /v1/flux-2-pro": answers(json200, `{"id":"i1","polling_url":"https://evil.example/v1/get_result?id=i1"}`),
			"GET /v1/get_result":  answers(json200, `{"id":"i1","status":"Ready","result":{"sample":"https://cdn.example/x.png"}}`),
		}},
		{"fireworks_ai", "flux-kontext-pro", "Authorization", map[string]func(*http.Request, string) (string, string){
			"POST /workflows/accounts/fireworks/models/flux-kontext-pro": answers(json200, `{"request_id":"i1"}`),
			"POST /workflows/accounts/fireworks/models/flux-kontext-pro/get_result": func(_ *http.Request, body string) (string, string) {
				if body != `{"id":"i1"}` {
					return json200, `{"id":"i1","status":"Task not found"}`
				}
				return json200, `{"id":"i1","status":"Ready","result":{"sample":"https://cdn.example/x.png"}}`
			},
		}},
		{"dashscope", "qwen-image-2.0", "Authorization", map[string]func(*http.Request, string) (string, string){
			"POST /api/v1/services/aigc/multimodal-generation/generation": answers(json200, `{"output":{"choices":[{"message":{"content":[{"image":"https://cdn.example/x.png"}]}}]}}`),
		}},
		{"runwayml", "gen4_image", "Authorization", map[string]func(*http.Request, string) (string, string){
			"POST /v1/text_to_image": func(r *http.Request, _ string) (string, string) {
				if r.Header.Get("X-Runway-Version") != "2024-11-06" {
					return json200, `{}`
				}
				return json200, `{"id":"t1"}`
			},
			"GET /v1/tasks/t1": answers(json200, `{"id":"t1","status":"SUCCEEDED","output":["https://cdn.example/x.png"]}`),
		}},
	} {
		t.Run(v.provider, func(t *testing.T) {
			t.Parallel()
			w := v.wireFor(t)
			res, got := w.ask(t.Context(), "/v1/images/generations", json200, strings.NewReader(`{"model":"demo","prompt":"a cat"}`)) //nolint:bodyclose // ask closes it
			if res.StatusCode != 200 || !strings.Contains(got, `"url":"https://cdn.example/x.png"`) {
				t.Fatalf("got %d %s", res.StatusCode, got)
			}
			if rec := w.record(); rec.Usage.Units.OutputImages != 1 || rec.Cost != 40_000_000 || rec.Usage.Source != llm.UsageProvider {
				t.Errorf("record %+v", rec)
			}
		})
	}
}

// TestImages_Enhanced: a variation is a picture, enhanced; what makes none of a text says so.
func TestImages_Enhanced(t *testing.T) {
	t.Parallel()
	v := studio{"topaz", "Standard V2", "X-Api-Key", map[string]func(*http.Request, string) (string, string){
		"POST /image/v1/enhance/async": func(r *http.Request, body string) (string, string) {
			return json200, `{"process_id":"` + fieldsOf(r, body)["model"][:8] + `","eta":1}`
		},
		"GET /image/v1/status/Standard":   answers(json200, `{"process_id":"Standard","status":"Completed"}`),
		"GET /image/v1/download/Standard": answers(json200, `{"download_url":"https://cdn.example/x.png"}`),
	}}
	w := v.wireFor(t)
	kind, body := formOf(t, map[string]string{"model": "demo", "image": "x"}, []byte("\x89PNG\r\n\x1a\n"))
	res, got := w.ask(t.Context(), "/v1/images/variations", kind, strings.NewReader(body)) //nolint:bodyclose // ask closes it
	if res.StatusCode != 200 || !strings.Contains(got, `"url":"https://cdn.example/x.png"`) {
		t.Fatalf("got %d %s", res.StatusCode, got)
	}
	if rec := w.record(); rec.Usage.Units.OutputImages != 1 {
		t.Errorf("record %+v", rec)
	}
	if res, got := v.wireFor(t).ask(t.Context(), "/v1/images/generations", json200, strings.NewReader(`{"model":"demo","prompt":"a cat"}`)); res.StatusCode != 404 || !strings.Contains(got, "endpoint_not_supported") { //nolint:bodyclose // ask closes it
		t.Errorf("of a text: got %d %s", res.StatusCode, got)
	}
}

// TestTranslations_Vendors: what is spoken is written down in English by those that can; others say that
// they cannot.
func TestTranslations_Vendors(t *testing.T) {
	t.Parallel()
	removed := make(chan string, 4)
	soniox := studio{"soniox", "stt-async-v4", "Authorization", map[string]func(*http.Request, string) (string, string){
		"POST /v1/files": func(r *http.Request, body string) (string, string) {
			return json200, `{"id":"f1","filename":"` + fieldsOf(r, body)["file"] + `","size":5}`
		},
		"POST /v1/transcriptions": func(_ *http.Request, body string) (string, string) {
			if body != `{"model":"stt-async-v4","file_id":"f1","translation":{"type":"one_way","target_language":"en"}}` {
				return json200, `{"id":"t1","status":"error","error_message":"a wrong order"}`
			}
			return json200, `{"id":"t1","status":"completed","filename":"SOUND"}`
		},
		"GET /v1/transcriptions/t1/transcript": answers(json200, `{"id":"t1","text":"Hallo Hello","tokens":[{"text":"Hallo","start_ms":0,"end_ms":2000,"translation_status":"original"},{"text":"Hello","translation_status":"translation"}]}`),
		"DELETE /v1/files/f1":                  func(r *http.Request, _ string) (string, string) { removed <- r.URL.Path; return json200, `{}` },
		"DELETE /v1/transcriptions/t1":         func(r *http.Request, _ string) (string, string) { removed <- r.URL.Path; return json200, `{}` },
	}}
	azure := studio{"azure_speech", "fast", "Ocp-Apim-Subscription-Key", map[string]func(*http.Request, string) (string, string){
		"POST /speechtotext/transcriptions:transcribe": func(r *http.Request, body string) (string, string) {
			if r.URL.Query().Get("api-version") != "2025-10-15" || !strings.Contains(fieldsOf(r, body)["definition"], `"task":"translate"`) {
				return json200, `{}`
			}
			return json200, `{"durationMilliseconds":2000,"combinedPhrases":[{"text":"Hello"}],"phrases":[]}`
		},
	}}
	for _, v := range []studio{soniox, azure} {
		w := v.wireFor(t)
		kind, body := formOf(t, map[string]string{"model": "demo", "response_format": "verbose_json"}, []byte("SOUND"))
		res, got := w.ask(t.Context(), "/v1/audio/translations", kind, strings.NewReader(body)) //nolint:bodyclose // ask closes it
		if res.StatusCode != 200 || !strings.Contains(got, `"text":"Hello"`) || !strings.Contains(got, `{"task":"translate","language":"english"`) {
			t.Errorf("%s: got %d %s", v.provider, res.StatusCode, got)
		}
		if rec := w.record(); rec.Cost == 0 || rec.Endpoint != "translations" || rec.Usage.Source == llm.UsageNone {
			t.Errorf("%s: record %+v", v.provider, rec)
		}
	}
	if len(removed) != 2 {
		t.Errorf("%d of what was left at Soniox were removed, want 2", len(removed))
	}
	v := studio{"deepgram", "nova-3", "Authorization", nil}
	kind, body := formOf(t, map[string]string{"model": "demo"}, []byte("SOUND"))
	if res, got := v.wireFor(t).ask(t.Context(), "/v1/audio/translations", kind, strings.NewReader(body)); res.StatusCode != 404 || !strings.Contains(got, "endpoint_not_supported") { //nolint:bodyclose // ask closes it
		t.Errorf("deepgram: got %d %s", res.StatusCode, got)
	}
}

// TestImages_Refused: what a vendor refuses is the client's to hear, and costs nothing.
func TestImages_Refused(t *testing.T) {
	t.Parallel()
	v := studio{"bedrock", "amazon.titan-image-generator-v2:0", "Authorization", map[string]func(*http.Request, string) (string, string){
		"POST /model/amazon.titan-image-generator-v2%3A0/invoke": answers(json200, `{"images":[],"error":"blocked"}`),
	}}
	w := v.wireFor(t)
	res, got := w.ask(t.Context(), "/v1/images/generations", json200, strings.NewReader(`{"model":"demo","prompt":"x"}`)) //nolint:bodyclose // ask closes it
	if res.StatusCode != 400 || codeOf(t, got) != "content_policy_violation" {
		t.Errorf("got %d %s", res.StatusCode, got)
	}
	if rec := w.record(); rec.Cost != 0 {
		t.Errorf("record %+v", rec)
	}
	kind, form := formOf(t, map[string]string{"model": "demo", "prompt": "a dog", "image": "x"}, []byte("PNG"))
	if res, got := w.ask(t.Context(), "/v1/images/edits", kind, strings.NewReader(form)); res.StatusCode != 400 || !strings.Contains(got, "no picture") { //nolint:bodyclose // ask closes it
		t.Errorf("a change of what is no picture: got %d %s", res.StatusCode, got)
	}
}

// TestMedia_Conformance: the rules for codecs hold for vendors of media, and their recorded errors
// become what they mean.
func TestMedia_Conformance(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"deepgram", "elevenlabs", "assemblyai_speech", "azure_speech", "aws_polly", "stability", "fal_ai", "recraft", "gemini_imagen", "soniox", "nvidia_riva", "black_forest_labs", "runwayml", "topaz", "xai", "dashscope", "minimax", "tencent", "fireworks_ai", "oci", "azure_ai_pictures", "gemini_transcribe", "vertex_ai_speech", "meta", "transcribe"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, ok := provider.Lookup(name)
			if !ok {
				t.Fatal("no row")
			}
			providertest.Run(t, p, "../provider/testdata/errors_media_"+name+".jsonl")
		})
	}
}

// TestImages_Changed: a form of OpenAI's with a picture becomes what Google's model is asked, and the picture
// that it makes is paid.
func TestImages_Changed(t *testing.T) {
	t.Parallel()
	sent := ""
	v := studio{"gemini", "gemini-2.5-flash-image", "X-Goog-Api-Key", map[string]func(*http.Request, string) (string, string){
		"POST /models/gemini-2.5-flash-image:generateContent": func(_ *http.Request, body string) (string, string) {
			sent = body
			return json200, `{"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"image/png","data":"TmV3"}}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":260,"candidatesTokenCount":1290}}`
		},
	}}
	w := v.wireFor(t)
	kind, body := formOf(t, map[string]string{"model": "demo", "prompt": "a hat", "image": "x", "stream": "true"}, []byte("\x89PNG\r\n\x1a\n"))
	res, got := w.ask(t.Context(), "/v1/images/edits", kind, strings.NewReader(body)) //nolint:bodyclose // ask closes it
	if res.StatusCode != 200 || !strings.Contains(got, "event: image_edit.completed\n") || !strings.Contains(got, `"b64_json":"TmV3"`) {
		t.Errorf("got %d %s", res.StatusCode, got)
	}
	if !strings.Contains(sent, `"parts":[{"inlineData":{"mimeType":"image/png","data":"iVBORw0KGgo="}},{"text":"a hat"}]`) {
		t.Errorf("sent %s", sent)
	}
	if rec := w.record(); rec.Usage.Units.OutputImages != 1 || rec.Usage.Input != 260 || rec.Endpoint != "image_edits" || rec.Cost == 0 {
		t.Errorf("record %+v", rec)
	}
	kind, body = formOf(t, map[string]string{"model": "demo", "image": "x"}, []byte("\x89PNG\r\n\x1a\n"))
	if res, got := v.wireFor(t).ask(t.Context(), "/v1/images/variations", kind, strings.NewReader(body)); res.StatusCode != 404 || !strings.Contains(got, "endpoint_not_supported") { //nolint:bodyclose // ask closes it
		t.Errorf("variations: got %d %s", res.StatusCode, got)
	}
}
