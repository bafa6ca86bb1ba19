package translate

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/jsonread"
	"github.com/conclave-llm/conclave/llm/picture"
	"github.com/conclave-llm/conclave/llm/speech"
	"github.com/conclave-llm/conclave/llm/transcript"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/openai/media"
)

// events are a whole answer as the events for which the client asked.
func events(body []byte, u llm.Usage) Source {
	return &Whole{pieces: pieces{body}, report: llm.Report{Usage: u, HasUsage: true, Finished: 1, Seen: 1}}
}

// drawing is a request for pictures.
type drawing struct {
	out provider.PictureOutbound
	req *picture.Request
	t   llm.Target // of the last Write
}

func readDrawing(body []byte) (Task, error) {
	req, err := media.DecodePicture(body)
	if err != nil {
		return nil, err
	}
	return &drawing{req: req}, media.CheckPrompt(req)
}

// maxInputs is how many pictures may be changed at once, as OpenAI has it.
const maxInputs = 16

// readChange reads a request for changes of pictures, or for variations of one, which have no prompt.
func readChange(e llm.Endpoint, body []byte, files []Upload) (Task, error) {
	req, err := media.DecodePicture(body)
	if err != nil {
		return nil, err
	}
	for i := range files {
		f := &files[i]
		kind := f.Type
		if !strings.HasPrefix(kind, "image/") {
			kind = http.DetectContentType(f.Data)
		}
		switch {
		case !strings.HasPrefix(kind, "image/"):
			return nil, jsonread.Invalid(f.Field, "is no picture")
		case f.Field == "mask":
			req.Masked, req.Mask = true, picture.Input{Type: kind, Data: f.Data}
		default:
			req.Inputs = append(req.Inputs, picture.Input{Type: kind, Data: f.Data})
		}
	}
	if n := len(req.Inputs); n == 0 || n > maxInputs {
		return nil, jsonread.Invalid("image", "must be a picture, or up to "+strconv.Itoa(maxInputs))
	}
	if e == llm.ImageVariations {
		req.Prompt = ""
		return &drawing{req: req}, nil
	}
	return &drawing{req: req}, media.CheckPrompt(req)
}

// Write implements Task.
func (d *drawing) Write(at llm.Endpoint, t *llm.Target) (*llm.Sent, error) {
	d.out, _ = provider.PictureOutboundOf(at)
	sent, err := d.out.EncodeRequest(d.req, t)
	if err != nil {
		return nil, err
	}
	d.t = llm.Target{Model: t.Model, Options: t.Options}
	return sent, t.Err()
}

// Follow implements Task.
func (d *drawing) Follow(body []byte) (*llm.Step, error) {
	switch f := d.out.(type) {
	case provider.Follower:
		return f.Follow(body)
	case provider.PictureFollower:
		return f.Follow(&d.t, body)
	}
	return nil, nil
}

// Answer implements Task.
func (d *drawing) Answer(g *Given) (*Said, error) {
	res, err := d.out.DecodeResponse(g.Body)
	if err != nil {
		return nil, err
	}
	res.Usage = g.Complete(res.Usage)
	body, kind := media.EncodePicture(d.req, res, g.Now)
	said := &Said{Body: body, Type: kind, Usage: res.Usage}
	if d.req.Stream {
		said.Stream = events(body, res.Usage)
	}
	return said, nil
}

// speaking is a request for speech.
type speaking struct {
	out provider.SpeechOutbound
	req *speech.Request
	t   llm.Target // of the last Write
}

func readSpeaking(body []byte) (Task, error) {
	req, err := media.DecodeSpeech(body)
	if err != nil {
		return nil, err
	}
	return &speaking{req: req}, nil
}

// Write implements Task.
func (s *speaking) Write(at llm.Endpoint, t *llm.Target) (*llm.Sent, error) {
	s.out, _ = provider.SpeechOutboundOf(at)
	sent, err := s.out.EncodeRequest(s.req, t)
	if err != nil {
		return nil, err
	}
	s.t = llm.Target{Model: t.Model, Options: t.Options}
	return sent, t.Err()
}

// Follow implements Task.
func (s *speaking) Follow(body []byte) (*llm.Step, error) {
	if f, ok := s.out.(provider.Follower); ok {
		return f.Follow(body)
	}
	return nil, nil
}

var errSound = errors.New("it is no audio")

// Answer implements Task.
func (s *speaking) Answer(g *Given) (*Said, error) {
	said := &Said{Stream: g.Raw, Raw: true}
	if e, ok := s.out.(provider.SpeechEvents); ok && g.Raw != nil {
		kind, head := e.Begin(s.req, &s.t)
		said.Stream, said.Type = &voiced{Source: g.Raw, sound: e.Sound, head: head}, kind
	}
	said.Stream = &audible{Source: said.Stream}
	if g.Raw == nil {
		reader, ok := s.out.(provider.SpeechReader)
		if !ok {
			return nil, transcript.Malformed(errSound)
		}
		audio, err := reader.DecodeResponse(s.req, g.Body)
		if err != nil {
			return nil, err
		}
		said.Usage = g.Complete(audio.Usage)
		said.Stream, said.Type = &sound{rest: audio.Bytes, usage: said.Usage}, audio.Type
	}
	if s.req.Events {
		said.Stream, said.Raw, said.Type = &spoken{Source: said.Stream, complete: g.Complete}, false, "text/event-stream"
	}
	return said, nil
}

// voiced is audio that comes in events, as bytes that leave.
type voiced struct {
	Source
	sound func(data []byte) ([]byte, error)
	head  []byte // what stands before the first
}

// Next returns the next bytes; events without audio are left out.
func (v *voiced) Next() (llm.Event, error) {
	for {
		e, err := v.Source.Next()
		if err != nil {
			return llm.Event{}, err
		}
		if e.Data == nil {
			continue
		}
		sound, err := v.sound(e.Data)
		if err != nil {
			return llm.Event{}, err
		}
		if len(sound) > 0 {
			sound, v.head = append(v.head, sound...), nil
			return llm.Event{Raw: sound}, nil
		}
	}
}

// audible is audio of which something must come.
type audible struct {
	Source
	some bool
}

// Next returns the next bytes. Where nothing came before the end, that is the provider's fault.
func (a *audible) Next() (llm.Event, error) {
	e, err := a.Source.Next()
	a.some = a.some || len(e.Raw) > 0
	if err == io.EOF && !a.some { //nolint:errorlint // a Source never wraps it
		return e, transcript.Malformed(errSound)
	}
	return e, err
}

// sound is audio that came whole, as bytes that leave.
type sound struct {
	rest  []byte
	usage llm.Usage
}

// soundSize is how much of it leaves at once.
const soundSize = 32 << 10

// Next returns the next bytes, io.EOF after the last.
func (s *sound) Next() (llm.Event, error) {
	if len(s.rest) == 0 {
		return llm.Event{}, io.EOF
	}
	n := min(len(s.rest), soundSize)
	e := llm.Event{Raw: s.rest[:n:n]}
	s.rest = s.rest[n:]
	return e, nil
}

// Done is false: the bytes end with the answer.
func (*sound) Done() bool { return false }

// Usage is what the provider reported.
func (s *sound) Usage() (llm.Usage, bool) { return s.usage, s.usage.Source != llm.UsageNone }

// TextBytes is 0: the bytes are no text.
func (*sound) TextBytes() int64 { return 0 }

// Close does nothing: the provider has ended.
func (*sound) Close() {}

// spoken is audio as events, each of which holds what came at once.
type spoken struct {
	Source
	complete func(llm.Usage) llm.Usage
	out      []byte
	whole    bool
}

// Next returns the next event; the last says what was used.
func (s *spoken) Next() (llm.Event, error) {
	if s.whole {
		return llm.Event{}, io.EOF
	}
	e, err := s.Source.Next()
	switch {
	case err == io.EOF: //nolint:errorlint // a Source never wraps it
		u, _ := s.Usage()
		s.whole = true
		s.out = media.AppendAudioDone(s.out[:0], s.complete(u))
	case err != nil:
		return llm.Event{}, err
	default:
		s.out = media.AppendAudio(s.out[:0], e.Raw)
	}
	return llm.Event{Raw: s.out}, nil
}

// Done says that what Next returned last ends the stream.
func (s *spoken) Done() bool { return s.whole }

// Spoken is audio that is there whole, of a content type, as bytes or as the events for which the client asked.
func Spoken(audio []byte, kind string, events bool) *Said {
	if !events {
		return &Said{Stream: &sound{rest: audio}, Raw: true, Type: kind}
	}
	nothing := func(u llm.Usage) llm.Usage { return u }
	return &Said{Stream: &spoken{Source: &sound{rest: audio}, complete: nothing}, Type: "text/event-stream"}
}

// listening is a request for a transcription.
type listening struct {
	out provider.TranscriptOutbound
	req *transcript.Request
	t   llm.Target // of the last Write
}

func readListening(e llm.Endpoint, fields []byte, file Upload) (Task, error) {
	req, err := media.DecodeTranscript(fields)
	if err != nil {
		return nil, err
	}
	req.English = e == llm.Translations
	if len(file.Data) == 0 {
		return nil, jsonread.Invalid("file", "must be an audio file that is not empty, in a form")
	}
	req.File, req.Name, req.Type = file.Data, file.Name, file.Type
	return &listening{req: req}, nil
}

// Write implements Task.
func (l *listening) Write(at llm.Endpoint, t *llm.Target) (*llm.Sent, error) {
	l.out, _ = provider.TranscriptOutboundOf(at)
	sent, err := l.out.EncodeRequest(l.req, t)
	if err != nil {
		return nil, err
	}
	l.t = llm.Target{Model: t.Model, Options: t.Options}
	return sent, t.Err()
}

// Follow implements Task.
func (l *listening) Follow(body []byte) (*llm.Step, error) {
	if f, ok := l.out.(provider.TranscriptFollower); ok {
		return f.Follow(l.req, &l.t, body)
	}
	return nil, nil
}

// Answer implements Task.
func (l *listening) Answer(g *Given) (*Said, error) {
	res, err := l.out.DecodeResponse(g.Body)
	if err != nil {
		return nil, err
	}
	res.Usage = g.Complete(res.Usage)
	if res.Language == "" {
		res.Language = l.req.Language
	}
	if l.req.English {
		res.Language = "english" // of the text, as OpenAI names it
	}
	if res.Duration == 0 {
		res.Duration = float64(res.Usage.Units.InputMS) / 1000
	}
	return heard(l.req, res), nil
}

// heard says what was heard as the client wants it.
func heard(req *transcript.Request, res *transcript.Response) *Said {
	body, kind := media.EncodeTranscript(req, res)
	said := &Said{Body: body, Type: kind, Usage: res.Usage}
	if req.Stream {
		said.Stream = events(body, res.Usage)
	}
	return said
}

// Heard says a text that no provider heard as a client wants it, of whose form fields are the text fields. Errors
// are *llm.Error of kind Invalid.
func Heard(fields []byte, text string) (*Said, error) {
	req, err := media.DecodeTranscript(fields)
	if err != nil {
		return nil, err
	}
	return heard(req, &transcript.Response{Text: text}), nil
}
