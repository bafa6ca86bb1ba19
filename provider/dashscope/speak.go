package dashscope

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/speech"
)

// Speak is the form of what is spoken, asked for in events, which hold the audio: a whole answer has
// nothing but an address of it.
type Speak struct{}

// synthesizes says whether a model is one of the synthesizer's, which makes files of several kinds. Those of
// the others are samples.
func synthesizes(model string) bool { return strings.HasPrefix(model, "qwen-audio-") }

// rate is how many samples a second has.
const rate = 24000

// kinds are the content types of the synthesizer's formats.
var kinds = map[string]string{"mp3": "audio/mpeg", "wav": "audio/wav", "opus": "audio/opus", "pcm": "audio/pcm"}

// speakOptions are the further members that are taken.
var speakOptions = []string{"language_type", "optimize_instructions"}

// EncodeRequest writes a request for the provider.
func (Speak) EncodeRequest(req *speech.Request, t *llm.Target) (*llm.Sent, error) {
	voice := req.VoiceOf(t)
	if voice == "" || speech.OpenAIVoice(voice) {
		return nil, llm.Unsayable("voice", "The voice must be one of the model's, such as Cherry, or the deployment needs the option voice.")
	}
	if req.Speed > 0 {
		t.Drop("speed")
	}
	req.DropExtra(t, speakOptions...)
	dst := llm.AppendString([]byte(`{"model":`), t.Model)
	dst = llm.AppendString(append(dst, `,"input":{"text":`...), req.Input)
	dst = llm.AppendString(llm.AppendKey(dst, "voice"), voice)
	instructed := "instructions"
	if synthesizes(t.Model) {
		dst = llm.AppendString(llm.AppendKey(dst, "format"), formatOf(req, t.Model))
		instructed = "instruction"
	}
	switch {
	case req.Instructions == "":
	case synthesizes(t.Model) || strings.Contains(t.Model, "instruct"):
		dst = llm.AppendString(llm.AppendKey(dst, instructed), req.Instructions)
	default:
		t.Drop("instructions")
	}
	if req.Format != "" && req.Format != formatOf(req, t.Model) {
		t.Drop("response_format")
	}
	for _, name := range speakOptions {
		if raw := req.Member(name); raw != nil {
			dst = llm.AppendRaw(llm.AppendKey(dst, name), raw)
		}
	}
	return &llm.Sent{Body: append(dst, "}}"...), Header: http.Header{"X-Dashscope-Sse": {"enable"}}, Bytes: true}, nil
}

// formatOf is the format of the audio that the client gets.
func formatOf(req *speech.Request, model string) string {
	switch {
	case req.Format == "pcm":
		return "pcm"
	case !synthesizes(model):
		return "wav"
	case kinds[req.Format] != "":
		return req.Format
	}
	return "mp3"
}

// Begin is the content type of the audio, and what stands before it.
func (Speak) Begin(req *speech.Request, t *llm.Target) (kind string, head []byte) {
	format := formatOf(req, t.Model)
	if format == "wav" && !synthesizes(t.Model) {
		head = speech.WAVHead(-1, rate)
	}
	return kinds[format], head
}

// event is an event of what is spoken.
type event struct {
	Code   string `json:"code"`
	Output struct {
		Finish string `json:"finish_reason"` // "null" until the last
		Audio  struct {
			Data string `json:"data"`
		} `json:"audio"`
	} `json:"output"`
}

// Sound is the audio of an event.
func (Speak) Sound(data []byte) ([]byte, error) {
	var got event
	if err := json.Unmarshal(data, &got); err != nil {
		return nil, speech.Malformed(err)
	}
	sound, err := base64.StdEncoding.DecodeString(got.Output.Audio.Data)
	if err != nil {
		return nil, speech.Malformed(err)
	}
	return sound, nil
}

// meter reads the events of what is spoken.
type meter struct{}

// Event implements llm.Meter.
func (meter) Event(e llm.Event) (llm.Report, error) {
	var got event
	if err := json.Unmarshal(e.Data, &got); err != nil {
		return llm.Report{}, speech.Malformed(err)
	}
	return llm.Report{HasError: got.Code != "", Done: got.Output.Finish != "" && got.Output.Finish != "null"}, nil
}
