package mock

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/conclave-llm/conclave/llm"
)

// What a session counts: bytes of audio that are heard for a token, and tokens of speech for a word.
const (
	heardBytes  = 4800
	spokenWords = 5
)

// realtime serves a session of OpenAI's Realtime API. It repeats what was said last. Audio is
// anything; a piece of it that is all zeros is the silence at which the user has finished.
func (s *Server) realtime(w http.ResponseWriter, r *http.Request) {
	entry := &Request{Time: time.Now(), Method: r.Method, Path: r.URL.Path, header: r.Header, Model: r.URL.Query().Get("model"), Stream: true, Status: http.StatusSwitchingProtocols}
	p, err := s.plan(r.Header)
	switch {
	case err != nil:
	case !s.allowed(r):
		err = &llm.Error{Kind: llm.Unauthenticated, Code: "invalid_api_key", Message: "Incorrect API key provided."}
	case entry.Model == "":
		err = &llm.Error{Kind: llm.Invalid, Param: "model", Message: "You must provide a model parameter."}
	case s.fails(&p):
		err = &llm.Error{Kind: llm.Upstream, Status: p.status, Code: "mock_error", Message: "The demo upstream fails on demand."}
	}
	if err != nil {
		e := asError(err)
		entry.Status = e.HTTPStatus()
		s.journal.add(entry)
		writeError(w, e)
		return
	}
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true, Subprotocols: []string{"realtime"}})
	if err != nil {
		return // it has answered
	}
	conn.SetReadLimit(maxBody)
	v := &voice{s: s, conn: conn, plan: p, model: entry.Model, header: r.Header, config: map[string]any{
		"type": "realtime", "object": "realtime.session", "model": entry.Model, "output_modalities": []string{"audio"},
		"audio": map[string]any{"input": map[string]any{"turn_detection": map[string]any{"type": "server_vad", "create_response": true}}},
	}}
	v.serve(r.Context())
}

// voice is one session.
type voice struct {
	s      *Server
	conn   *websocket.Conn
	plan   plan
	model  string
	header http.Header
	wg     sync.WaitGroup

	mu     sync.Mutex // guards what follows
	ids    int
	config map[string]any
	said   string // the user's last words
	heard  int    // bytes of audio that are not committed
	spoke  bool   // since the last silence
	text   int64  // tokens of the conversation
	audio  int64
	cached [2]int64           // of these, those that a response has read
	cancel context.CancelFunc // of the response that is made; nil: none is
}

type clientEvent struct {
	Type     string         `json:"type"`
	EventID  string         `json:"event_id"`
	Session  map[string]any `json:"session"`
	Audio    string         `json:"audio"`
	Item     item           `json:"item"`
	Response struct {
		Modalities []string `json:"output_modalities"`
		Most       any      `json:"max_output_tokens"`
	} `json:"response"`
}

type item struct {
	ID      string      `json:"id"`
	Type    string      `json:"type"`
	Role    string      `json:"role,omitempty"`
	Status  string      `json:"status,omitempty"`
	Content []voicePart `json:"content"`
}

type voicePart struct {
	Type       string  `json:"type"`
	Text       *string `json:"text,omitempty"`
	Transcript *string `json:"transcript,omitempty"`
}

// event is one of the upstream's.
type event = map[string]any

func (v *voice) serve(ctx context.Context) {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer v.wg.Wait()
	defer stop()
	v.send(ctx, event{"type": "session.created", "session": v.config})
	for {
		_, raw, err := v.conn.Read(ctx)
		if err != nil {
			_ = v.conn.CloseNow() // nobody is there
			return
		}
		var e clientEvent
		if err := json.Unmarshal(raw, &e); err != nil {
			v.refuse(ctx, "", "invalid_event", "The event could not be read.")
			continue
		}
		v.take(ctx, &e)
	}
}

// take acts on one event.
func (v *voice) take(ctx context.Context, e *clientEvent) {
	switch e.Type {
	case "session.update":
		v.configure(ctx, e.Session)
	case "conversation.item.create":
		v.add(ctx, &e.Item)
	case "input_audio_buffer.append":
		v.hear(ctx, e.Audio)
	case "input_audio_buffer.commit":
		v.commit(ctx)
	case "response.create":
		v.respond(ctx, e)
	case "response.cancel":
		v.mu.Lock()
		cancel := v.cancel
		v.mu.Unlock()
		if cancel != nil {
			cancel()
		}
	case "mock.close": // for tests: the upstream ends the session
		_ = v.conn.Close(4321, "the upstream has had enough")
	case "input_audio_buffer.clear", "output_audio_buffer.clear":
	default:
		v.refuse(ctx, e.EventID, "invalid_value", "Invalid value: '"+e.Type+"'.")
	}
}

func (v *voice) send(ctx context.Context, e event) {
	v.mu.Lock()
	v.ids++
	e["event_id"] = "event_mock_" + strconv.Itoa(v.ids)
	v.mu.Unlock()
	raw, err := json.Marshal(e)
	if err == nil {
		_ = v.conn.Write(ctx, websocket.MessageText, raw) // the reader finds out
	}
}

func (v *voice) refuse(ctx context.Context, of, code, message string) {
	v.send(ctx, event{"type": "error", "error": event{"type": "invalid_request_error", "code": code, "message": message, "param": nil, "event_id": of}})
}

func (v *voice) newID(prefix string) string { return prefix + strconv.FormatUint(v.s.ids.Add(1), 10) }

// configure merges a configuration into the session's.
func (v *voice) configure(ctx context.Context, with map[string]any) {
	v.mu.Lock()
	merge(v.config, with)
	if in, ok := with["instructions"].(string); ok {
		v.text += int64(len(strings.Fields(in)))
	}
	raw, _ := json.Marshal(v.config) // a copy, of what was JSON
	v.mu.Unlock()
	v.send(ctx, event{"type": "session.updated", "session": json.RawMessage(raw)})
}

func merge(into, with map[string]any) {
	for k, w := range with {
		a, old := into[k].(map[string]any)
		b, next := w.(map[string]any)
		if old && next {
			merge(a, b)
		} else {
			into[k] = w
		}
	}
}

// input is a part of how the session hears.
func (v *voice) input(name string) map[string]any {
	v.mu.Lock()
	defer v.mu.Unlock()
	audio, _ := v.config["audio"].(map[string]any)
	in, _ := audio["input"].(map[string]any)
	out, _ := in[name].(map[string]any)
	return out
}

// add takes an item into the conversation.
func (v *voice) add(ctx context.Context, it *item) {
	if it.ID == "" {
		it.ID = v.newID("item_mock_")
	}
	it.Status = "completed"
	v.mu.Lock()
	for _, p := range it.Content {
		if p.Text != nil {
			v.said = *p.Text
			v.text += int64(len(strings.Fields(v.said)))
		}
	}
	v.mu.Unlock()
	v.send(ctx, event{"type": "conversation.item.added", "item": it})
	v.send(ctx, event{"type": "conversation.item.done", "item": it})
}

// hear takes audio in. Where the session finds the ends of what is said, silence is one.
func (v *voice) hear(ctx context.Context, sound string) {
	raw, err := base64.StdEncoding.DecodeString(sound)
	if err != nil {
		v.refuse(ctx, "", "invalid_audio", "The audio is not base64.")
		return
	}
	silent := strings.Trim(string(raw), "\x00") == ""
	v.mu.Lock()
	v.heard += len(raw)
	ends := silent && v.spoke
	v.spoke = !silent || v.spoke && !ends
	v.mu.Unlock()
	turns := v.input("turn_detection")
	if !ends || turns == nil {
		return
	}
	v.commit(ctx)
	if turns["create_response"] != false {
		v.respond(ctx, &clientEvent{})
	}
}

// commit makes an item of the audio, and writes down what it says where that is wanted.
func (v *voice) commit(ctx context.Context) {
	v.mu.Lock()
	tokens := int64(v.heard/heardBytes + 1)
	v.audio += tokens
	v.heard, v.said = 0, "something aloud"
	v.mu.Unlock()
	id := v.newID("item_mock_")
	v.send(ctx, event{"type": "input_audio_buffer.committed", "item_id": id, "previous_item_id": nil})
	writes := v.input("transcription")
	if writes == nil {
		return
	}
	model, _ := writes["model"].(string)
	u := event{"type": "tokens", "input_tokens": tokens, "output_tokens": 2, "total_tokens": tokens + 2, "input_token_details": event{"audio_tokens": tokens, "text_tokens": 0}}
	v.s.journal.add(&Request{
		Time: time.Now(), Method: "WS", Path: "/v1/realtime", header: v.header, Model: model, Status: 200, Whole: true, PromptTokens: tokens, CompletionTokens: 2,
	})
	v.send(ctx, event{"type": "conversation.item.input_audio_transcription.delta", "item_id": id, "content_index": 0, "delta": "something "})
	v.send(ctx, event{"type": "conversation.item.input_audio_transcription.completed", "item_id": id, "content_index": 0, "transcript": "something aloud", "usage": u})
}

// respond makes a response, unless one is made.
func (v *voice) respond(ctx context.Context, e *clientEvent) {
	v.mu.Lock()
	if v.cancel != nil {
		v.mu.Unlock()
		v.refuse(ctx, e.EventID, "conversation_already_has_active_response", "Conversation already has an active response in progress.")
		return
	}
	making, cancel := context.WithCancel(ctx)
	v.cancel = cancel
	words := (&exchange{plan: v.plan}).echo([]byte(v.said))
	speaks := true
	for _, m := range e.Response.Modalities {
		speaks = m != "text"
	}
	if list, ok := v.config["output_modalities"].([]any); ok && len(e.Response.Modalities) == 0 {
		speaks = len(list) == 0 || list[0] != "text"
	}
	v.mu.Unlock()
	if most, ok := e.Response.Most.(float64); ok && int(most) < len(words) {
		words = words[:int(most)]
	}
	v.wg.Go(func() { v.speak(ctx, making, words, speaks) })
}

// speak says the words.
func (v *voice) speak(ctx, making context.Context, words []string, speaks bool) {
	id, itemID := v.newID("resp_mock_"), v.newID("item_mock_")
	v.send(ctx, event{"type": "response.created", "response": event{"id": id, "object": "realtime.response", "status": "in_progress", "output": []any{}}})
	at := func(kind string, more event) event {
		e := event{"type": kind, "response_id": id, "item_id": itemID, "output_index": 0, "content_index": 0}
		maps.Copy(e, more)
		return e
	}
	kind, text := "response.output_text.", "text"
	if speaks {
		kind, text = "response.output_audio_transcript.", "transcript"
	}
	v.send(ctx, event{"type": "response.output_item.added", "response_id": id, "output_index": 0, "item": item{ID: itemID, Type: "message", Role: "assistant", Status: "in_progress"}})
	status, n := "completed", 0
	for _, w := range words {
		if n == v.plan.cutAfter {
			_ = v.conn.CloseNow() // as is wanted
			return
		}
		if v.plan.stallAfter >= 0 && n == v.plan.stallAfter {
			<-making.Done()
		}
		if !wait(making, v.plan.chunkDelay) {
			status = "cancelled"
			break
		}
		n++
		v.send(ctx, at(kind+"delta", event{"delta": w}))
		if speaks {
			v.send(ctx, at("response.output_audio.delta", event{"delta": base64.StdEncoding.EncodeToString(make([]byte, spokenWords*2400))}))
		}
	}
	all := strings.Join(words[:n], "")
	done := item{ID: itemID, Type: "message", Role: "assistant", Status: status}
	p := voicePart{Type: "output_text", Text: &all}
	if speaks {
		p = voicePart{Type: "output_audio", Transcript: &all}
		v.send(ctx, at("response.output_audio.done", nil))
	}
	done.Content = []voicePart{p}
	v.send(ctx, at(kind+"done", event{text: all}))
	v.send(ctx, event{"type": "response.output_item.done", "response_id": id, "output_index": 0, "item": done})
	v.send(ctx, event{"type": "conversation.item.done", "item": done})
	v.finish(ctx, id, &done, status, int64(n), speaks)
}

// finish says what a response has cost.
func (v *voice) finish(ctx context.Context, id string, done *item, status string, n int64, speaks bool) {
	v.mu.Lock()
	spoken := int64(0)
	if speaks {
		spoken = n * spokenWords
	}
	text, audio, cached := v.text, v.audio, v.cached
	v.cached = [2]int64{v.text, v.audio}
	v.text += n
	v.audio += spoken
	v.cancel = nil
	v.mu.Unlock()
	u := event{
		"input_tokens": text + audio, "output_tokens": n + spoken, "total_tokens": text + audio + n + spoken,
		"input_token_details":  event{"text_tokens": text, "audio_tokens": audio, "cached_tokens": cached[0] + cached[1], "cached_tokens_details": event{"text_tokens": cached[0], "audio_tokens": cached[1]}},
		"output_token_details": event{"text_tokens": n, "audio_tokens": spoken},
	}
	v.s.journal.add(&Request{
		Time: time.Now(), Method: "WS", Path: "/v1/realtime", header: v.header, Model: v.model, Stream: true, Status: 200, Whole: status == "completed",
		PromptTokens: text + audio, CompletionTokens: n + spoken, CachedTokens: cached[0] + cached[1],
	})
	v.send(ctx, event{"type": "response.done", "response": event{
		"id": id, "object": "realtime.response", "status": status, "output": []any{done}, "usage": u,
	}})
}
