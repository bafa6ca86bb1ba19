package runway

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/speech"
)

// Speak is the form of speech: a task is ordered, asked for, and its sound fetched from the address that it has.
type Speak struct{}

// modelSeed is the model that speaks as a recording does, and makes several kinds of files. All others speak
// with one of the vendor's voices, and make MP3.
const modelSeed = "seed_audio"

// defaultVoice is spoken with where nobody names a voice, and voices are those that take the places of OpenAI's,
// which clients name because they must name one; both as LiteLLM has them.
const defaultVoice = "Bernard"

var voices = map[string]string{"alloy": "Maya", "echo": "James", "fable": "Bernard", "onyx": "Vincent", "nova": "Serene", "shimmer": "Ella"}

// seedOptions are the further members that modelSeed takes, and seedFormats its names of what clients ask for.
var (
	seedOptions = []string{"speechRate", "pitchRate", "loudnessRate", "sampleRate"}
	seedFormats = map[string]string{"mp3": "mp3", "wav": "wav", "opus": "ogg_opus"}
)

// EncodeRequest writes an order.
func (Speak) EncodeRequest(req *speech.Request, t *llm.Target) (*llm.Sent, error) {
	if req.Speed > 0 {
		t.Drop("speed")
	}
	if req.Instructions != "" {
		t.Drop("instructions")
	}
	dst := llm.AppendString([]byte(`{"model":`), t.Model)
	dst = llm.AppendString(llm.AppendKey(dst, "promptText"), req.Input)
	var err error
	if t.Model == modelSeed {
		dst = appendSeed(dst, req, t)
	} else if dst, err = appendPreset(dst, req, t); err != nil {
		return nil, err
	}
	return &llm.Sent{Body: append(dst, '}')}, nil
}

// appendPreset appends a voice of the vendor's.
func appendPreset(dst []byte, req *speech.Request, t *llm.Target) ([]byte, error) {
	voice := req.VoiceOf(t)
	if own, ok := voices[voice]; ok {
		voice = own
	}
	if voice == "" {
		voice = defaultVoice
	}
	if speech.OpenAIVoice(voice) {
		return nil, llm.Unsayable("voice", "The voice must be one of the provider's, such as Maya or Bernard, or the deployment needs the option voice.")
	}
	if req.Format != "" && req.Format != "mp3" {
		t.Drop("response_format")
	}
	req.DropExtra(t)
	dst = append(llm.AppendKey(dst, "voice"), `{"type":"runway-preset","presetId":`...)
	return append(llm.AppendString(dst, voice), '}'), nil
}

// appendSeed appends what the model that speaks as a recording does knows. The voice is the address of one, or its
// data in a URL; without one the model chooses.
func appendSeed(dst []byte, req *speech.Request, t *llm.Target) []byte {
	if voice := req.VoiceOf(t); voice != "" && !speech.OpenAIVoice(voice) {
		dst = append(llm.AppendKey(dst, "voice"), `{"type":"reference-audio","audioUri":`...)
		dst = append(llm.AppendString(dst, voice), '}')
	}
	format, ok := seedFormats[req.Format]
	if !ok {
		if req.Format != "" {
			t.Drop("response_format")
		}
		format = seedFormats["mp3"]
	}
	dst = llm.AppendString(llm.AppendKey(dst, "outputFormat"), format)
	req.DropExtra(t, seedOptions...)
	for _, name := range seedOptions {
		if raw := req.Member(name); raw != nil {
			dst = llm.AppendRaw(llm.AppendKey(dst, name), raw)
		}
	}
	return dst
}

var errSound = errors.New("it has no address of a sound")

// Follow asks for a task that is not finished, and fetches what a finished one has made.
func (Speak) Follow(body []byte) (*llm.Step, error) {
	var got task
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, speech.Malformed(err)
	}
	switch {
	case got.refused():
		return nil, &llm.Error{Kind: llm.Invalid, Code: "content_policy_violation", Param: "input", NoRetry: true, Message: "The provider does not speak this text: " + got.Failure}
	case got.failed():
		return nil, &llm.Error{Kind: llm.Upstream, Code: "upstream_error", Message: "The provider could not speak the text: " + got.Failure}
	case !got.ended() && got.ID != "":
		return got.again(), nil
	case len(got.Output) == 0 || got.Output[0] == "":
		return nil, speech.Malformed(errSound)
	}
	return &llm.Step{Method: http.MethodGet, URL: got.Output[0], Bytes: true}, nil
}
