package translate_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/translate"
)

// mediaExchange is a recorded exchange: what a client of OpenAI's form asks, what the vendor is sent,
// what it answers, and what the client gets.
type mediaExchange struct {
	Name     string            `json:"name"`
	Endpoint string            `json:"endpoint"`
	Model    string            `json:"model"`
	Options  map[string]string `json:"options"`
	Request  json.RawMessage   `json:"request"`
	File     string            `json:"file"`
	NameOf   string            `json:"name_of"`
	Kind     string            `json:"kind"`
	Mask     bool              `json:"mask"`    // there is one, too
	Again    bool              `json:"again"`   // it is to be varied, not changed
	English  bool              `json:"english"` // a translation is asked for

	Sent     json.RawMessage   `json:"sent"`
	SentText string            `json:"sent_text"`
	Path     string            `json:"path"`
	Type     string            `json:"type"`
	Header   map[string]string `json:"header"`
	Dropped  []string          `json:"dropped"`
	Refused  string            `json:"refused"` // the param of the error

	Answer  json.RawMessage  `json:"answer"`
	Fails   string           `json:"fails"` // the code of the error
	Got     json.RawMessage  `json:"got"`
	GotText string           `json:"got_text"`
	GotType string           `json:"got_type"`
	GotSize int              `json:"got_size"`
	Usage   map[string]int64 `json:"usage"`
}

func loadMedia(t testing.TB) (list []mediaExchange) {
	t.Helper()
	raw, err := os.ReadFile("../../provider/testdata/media.json")
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&list); err != nil {
		t.Fatal(err)
	}
	return list
}

// clientOf is what a client asks that is made at a provider's endpoint.
func clientOf(at llm.Endpoint) llm.Endpoint {
	if _, ok := provider.PictureOutboundOf(at); ok {
		return llm.Images
	}
	if _, ok := provider.SpeechOutboundOf(at); ok {
		return llm.Speech
	}
	return llm.Transcriptions
}

func endpointNamed(name string) llm.Endpoint {
	for _, e := range llm.Endpoints() {
		if e.String() == name {
			return e
		}
	}
	return 255
}

func (x *mediaExchange) task() (translate.Task, llm.Endpoint, error) {
	at := endpointNamed(x.Endpoint)
	e := clientOf(at)
	files := []translate.Upload{{Field: "image", Name: x.NameOf, Type: x.Kind, Data: []byte(x.File)}}
	if x.English {
		e = llm.Translations
	}
	switch {
	case e != llm.Images:
	case x.File == "":
		files = nil
	case x.Again:
		e = llm.ImageVariations
	default:
		e = llm.ImageEdits
	}
	if x.Mask {
		files = append(files, translate.Upload{Field: "mask", Name: "mask.png", Type: "image/png", Data: []byte("M")})
	}
	task, err := translate.ReadTask(e, x.Request, files...)
	return task, at, err
}

// TestTask_Media plays the recorded exchanges of pictures, speech and transcriptions.
func TestTask_Media(t *testing.T) {
	t.Parallel()
	played := map[string]bool{}
	for _, x := range loadMedia(t) {
		played[x.Endpoint] = true
		t.Run(x.Endpoint+"/"+x.Name, func(t *testing.T) {
			t.Parallel()
			task, at, err := x.task()
			if err != nil {
				t.Fatal(err)
			}
			target := llm.Target{Model: x.Model, Options: x.Options}
			sent, err := task.Write(at, &target)
			if x.Refused != "" {
				if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Invalid || e.Param != x.Refused {
					t.Errorf("got %v, want a refusal of %s", err, x.Refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			x.checkSent(t, sent, &target)
			if x.Answer == nil {
				return
			}
			if step, err := task.Follow(x.Answer); step != nil || err != nil {
				t.Fatalf("follows with %+v, %v", step, err)
			}
			said, err := task.Answer(&translate.Given{
				Body: x.Answer, Now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Complete: func(u llm.Usage) llm.Usage { return u },
			})
			if x.Fails != "" {
				if e, ok := errors.AsType[*llm.Error](err); !ok || e.Code != x.Fails {
					t.Errorf("got %v, want the code %s", err, x.Fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			x.checkSaid(t, said)
		})
	}
	for _, e := range llm.Endpoints() {
		_, draws := provider.PictureOutboundOf(e)
		_, speaks := provider.SpeechOutboundOf(e)
		_, listens := provider.TranscriptOutboundOf(e)
		if (draws || speaks || listens) && !played[e.String()] {
			t.Errorf("%s has no recorded exchange", e)
		}
	}
}

func (x *mediaExchange) checkSent(t *testing.T, sent *llm.Sent, target *llm.Target) {
	t.Helper()
	body, kind := string(sent.Body), sent.Type
	if sent.Pieces != nil {
		body = string(bytes.Join(sent.Pieces, nil))
	}
	if _, params, err := mime.ParseMediaType(kind); err == nil && params["boundary"] != "" {
		body, kind = strings.ReplaceAll(body, params["boundary"], "B"), strings.ReplaceAll(kind, params["boundary"], "B")
	}
	if x.Sent != nil {
		sameJSON(t, "sent", x.Sent, []byte(body))
	} else if body != x.SentText {
		t.Errorf("sent %q, want %q", body, x.SentText)
	}
	if kind != x.Type || sent.Path != x.Path {
		t.Errorf("sent type %q and path %q, want %q and %q", kind, sent.Path, x.Type, x.Path)
	}
	for name, want := range x.Header {
		if got := sent.Header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if d := cmp.Diff(x.Dropped, target.Dropped()); d != "" {
		t.Errorf("dropped (-want +got):\n%s", d)
	}
}

func (x *mediaExchange) checkSaid(t *testing.T, said *translate.Said) {
	t.Helper()
	body := said.Body
	if said.Stream != nil {
		body = nil
		for {
			e, err := said.Stream.Next()
			if err == io.EOF { //nolint:errorlint // a Source never wraps it
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			body = append(body, e.Raw...)
		}
	}
	switch {
	case x.Got != nil:
		sameJSON(t, "got", x.Got, body)
	case x.GotSize > 0:
		if len(body) != x.GotSize {
			t.Errorf("got %d bytes, want %d", len(body), x.GotSize)
		}
	case string(body) != x.GotText:
		t.Errorf("got %q, want %q", body, x.GotText)
	}
	if said.Type != x.GotType {
		t.Errorf("got type %q, want %q", said.Type, x.GotType)
	}
	u := said.Usage
	all := map[string]int64{
		"Input": u.Input, "AudioOutput": u.AudioOutput, "ImageOutput": u.ImageOutput, "InputMS": u.Units.InputMS, "OutputImages": u.Units.OutputImages,
	}
	for name, got := range all {
		if got != x.Usage[name] {
			t.Errorf("%s: used %d, want %d", name, got, x.Usage[name])
		}
	}
}

func sameJSON(t *testing.T, what string, want, got []byte) {
	t.Helper()
	var w, g any
	if err := json.Unmarshal(got, &g); err != nil {
		t.Fatalf("%s: %s: %v", what, got, err)
	}
	_ = json.Unmarshal(want, &w)
	if d := cmp.Diff(w, g); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// TestTask_Bad: what cannot be a request is refused, with the name of what is wrong.
func TestTask_Bad(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		e           llm.Endpoint
		body, param string
	}{
		{llm.Images, `{}`, "prompt"},
		{llm.Images, `{"prompt":"x","n":11}`, "n"},
		{llm.Images, `{"prompt":"x","size":3}`, "size"},
		{llm.Speech, `{"voice":"x"}`, "input"},
		{llm.Speech, `{"input":"x","speed":"fast"}`, "speed"},
		{llm.Speech, `{"input":"x","stream_format":"x"}`, "stream_format"},
		{llm.Transcriptions, `{}`, "file"},
		{llm.Transcriptions, `{"response_format":"pdf"}`, "response_format"},
		{llm.Transcriptions, `{"temperature":"warm"}`, "temperature"},
	} {
		_, err := translate.ReadTask(tt.e, []byte(tt.body), translate.Upload{})
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Invalid || e.Param != tt.param {
			t.Errorf("%s %s: got %v, want an error at %s", tt.e, tt.body, err, tt.param)
		}
	}
}

// FuzzTask: no request and no answer makes a reader or a writer panic; what is answered can be read.
func FuzzTask(f *testing.F) {
	for _, x := range loadMedia(f) {
		f.Add([]byte(x.Request), []byte(x.Answer))
	}
	f.Fuzz(func(t *testing.T, request, answer []byte) {
		for _, at := range llm.Endpoints() {
			_, draws := provider.PictureOutboundOf(at)
			_, speaks := provider.SpeechOutboundOf(at)
			_, listens := provider.TranscriptOutboundOf(at)
			if !draws && !speaks && !listens {
				continue
			}
			task, err := translate.ReadTask(clientOf(at), request, translate.Upload{Data: []byte("S")})
			if err != nil {
				if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Invalid {
					t.Fatalf("%s: got %v", at, err)
				}
				continue
			}
			sent, err := task.Write(at, &llm.Target{Model: "amazon.nova-canvas", Options: map[string]string{"voice": "v"}})
			if err != nil {
				continue
			}
			if sent.Type == "" && !json.Valid(sent.Body) {
				t.Fatalf("%s: sent %s", at, sent.Body)
			}
			if _, err := task.Follow(answer); err != nil {
				continue
			}
			said, err := task.Answer(&translate.Given{Body: answer, Complete: func(u llm.Usage) llm.Usage { return u }})
			if err != nil {
				if _, ok := errors.AsType[*llm.Error](err); !ok {
					t.Fatalf("%s: got %v", at, err)
				}
				continue
			}
			if said.Stream == nil && said.Type == "" && !json.Valid(said.Body) {
				t.Fatalf("%s: said %s", at, said.Body)
			}
		}
	})
}

// A change without a picture, with something else in its place, or without words is the client's fault.
func TestReadTask_Changes(t *testing.T) {
	t.Parallel()
	png := translate.Upload{Field: "image", Type: "image/png", Data: []byte("P")}
	for _, tt := range []struct {
		name, body, param string
		e                 llm.Endpoint
		files             []translate.Upload
	}{
		{"no picture", `{"prompt":"x"}`, "image", llm.ImageEdits, nil},
		{"only a mask", `{"prompt":"x"}`, "image", llm.ImageEdits, []translate.Upload{{Field: "mask", Type: "image/png"}}},
		{"a text", `{"prompt":"x"}`, "image", llm.ImageEdits, []translate.Upload{{Field: "image", Type: "text/plain", Data: []byte("hi")}}},
		{"no prompt", `{}`, "prompt", llm.ImageEdits, []translate.Upload{png}},
		{"too many", `{}`, "image", llm.ImageVariations, slices.Repeat([]translate.Upload{png}, 17)},
	} {
		_, err := translate.ReadTask(tt.e, []byte(tt.body), tt.files...)
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Invalid || e.Param != tt.param {
			t.Errorf("%s: got %v, want a refusal of %s", tt.name, err, tt.param)
		}
	}
	if _, err := translate.ReadTask(llm.ImageVariations, []byte(`{}`), png); err != nil {
		t.Errorf("a variation: %v", err)
	}
}
