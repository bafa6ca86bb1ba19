// Package minimax knows MiniMax: OpenAI's format for conversations, and a form of its own for speech
// (/t2a_v2), as its API reference of 2026 has it.
package minimax

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/llm/picture"
	"github.com/conclave-llm/conclave/llm/speech"
	"github.com/conclave-llm/conclave/provider/openai"
)

// speak is the path of speech.
const speak = "/t2a_v2"

// Codec is MiniMax's format.
type Codec struct{ openai.Codec }

// Path is the endpoint's path.
func (c Codec) Path(p llm.Place) string {
	if p.Endpoint == llm.MiniMaxSpeak {
		return speak
	}
	return c.Codec.Path(p)
}

// verdict is what an answer says of itself: its status may be that of a good one all the same.
type verdict struct {
	Base struct {
		Code    int64  `json:"status_code"`
		Message string `json:"status_msg"`
	} `json:"base_resp"`
}

// Read reads a whole answer.
func (c Codec) Read(e llm.Endpoint, body []byte) (llm.Report, error) {
	if e != llm.MiniMaxSpeak {
		return c.Codec.Read(e, body)
	}
	r, err := embed.Report(body, "") // what it used is read with what it spoke
	var got verdict
	r.HasError = err == nil && json.Unmarshal(body, &got) == nil && got.Base.Code != 0
	return r, err
}

// statuses are what MiniMax's codes mean; all others are faults of its own.
var statuses = map[int64]int{
	1002: http.StatusTooManyRequests, 1039: http.StatusTooManyRequests, 2056: http.StatusTooManyRequests, // of requests, of tokens, of the plan
	1004: http.StatusUnauthorized, 1008: http.StatusUnauthorized, 2049: http.StatusUnauthorized, // of the key, of the balance
	1042: http.StatusBadRequest, 2013: http.StatusBadRequest, 2054: http.StatusBadRequest, // of signs, of parameters, of the voice
}

// What a text, or what was made of it, may not be.
const (
	sensitiveInput  = 1026
	sensitiveOutput = 1027
)

// Classify makes the error of an answer: OpenAI's, or {"base_resp":{"status_code":1004,"status_msg":"…"}}.
func (c Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	var said verdict
	if json.Unmarshal(body, &said) != nil || said.Base.Code == 0 {
		return c.Codec.Classify(now, status, h, body)
	}
	switch said.Base.Code {
	case sensitiveInput, sensitiveOutput:
		e, _ := errors.AsType[*llm.Error](picture.Filtered(said.Base.Message))
		e.Param, e.Message = "input", "The provider does not speak this text: "+said.Base.Message
		return e
	}
	if status < 300 {
		if status = statuses[said.Base.Code]; status == 0 {
			status = http.StatusBadGateway
		}
	}
	raw := llm.AppendString([]byte(`{"error":{"message":`), said.Base.Message)
	raw = strconv.AppendInt(append(raw, `,"code":`...), said.Base.Code, 10)
	e := c.Codec.Classify(now, status, h, append(raw, "}}"...))
	e.Body = nil
	return e
}

// Speak is the form of speech.
type Speak struct{}

// formats are those of the audio, with their content types.
var formats = map[string]string{"mp3": "audio/mpeg", "wav": "audio/wav", "flac": "audio/flac", "pcm": "audio/pcm", "opus": "audio/opus"}

// What further members hold: of the voice, of the audio, and beside them.
var (
	ofVoice = []string{"vol", "pitch", "emotion", "latex_read", "text_normalization"}
	ofAudio = []string{"sample_rate", "bitrate", "channel"}
	beside  = []string{"language_boost", "pronunciation_dict", "timbre_weights", "voice_modify"}
)

// The speeds that the vendor takes.
const (
	slowest = 0.5
	fastest = 2
)

// EncodeRequest writes a request for the provider.
func (Speak) EncodeRequest(req *speech.Request, t *llm.Target) (*llm.Sent, error) {
	voice := req.VoiceOf(t)
	if voice == "" || speech.OpenAIVoice(voice) {
		return nil, llm.Unsayable("voice", "The voice must be one of the provider's, such as English_expressive_narrator, or the deployment needs the option voice.")
	}
	if req.Instructions != "" {
		t.Drop("instructions")
	}
	req.DropExtra(t, slices.Concat(ofVoice, ofAudio, beside)...)
	dst := llm.AppendString([]byte(`{"model":`), t.Model)
	dst = llm.AppendString(llm.AppendKey(dst, "text"), req.Input)
	dst = append(dst, `,"stream":false,"output_format":"hex","voice_setting":{`...)
	dst = llm.AppendString(llm.AppendKey(dst, "voice_id"), voice)
	if req.Speed > 0 {
		if req.Speed < slowest || req.Speed > fastest {
			return nil, llm.Unsayable("speed", "The model's provider speaks at 0.5 to 2 times the speed.")
		}
		dst = strconv.AppendFloat(llm.AppendKey(dst, "speed"), req.Speed, 'g', -1, 64)
	}
	dst = append(appendMembers(dst, req, ofVoice), `},"audio_setting":{`...)
	format := req.Format
	if formats[format] == "" {
		if format != "" {
			t.Drop("response_format")
		}
		format = "mp3"
	}
	dst = llm.AppendString(llm.AppendKey(dst, "format"), format)
	dst = append(appendMembers(dst, req, ofAudio), '}')
	return &llm.Sent{Body: append(appendMembers(dst, req, beside), '}')}, nil
}

func appendMembers(dst []byte, req *speech.Request, names []string) []byte {
	for _, name := range names {
		if raw := req.Member(name); raw != nil {
			dst = llm.AppendRaw(llm.AppendKey(dst, name), raw)
		}
	}
	return dst
}

var errNone = errors.New("it has no audio")

// DecodeResponse reads an answer, whose audio is written in hexadecimal digits.
func (Speak) DecodeResponse(_ *speech.Request, body []byte) (*speech.Audio, error) {
	var got struct {
		Data struct {
			Audio string `json:"audio"`
		} `json:"data"`
		Extra struct {
			Format     string `json:"audio_format"`
			Length     int64  `json:"audio_length"` // in milliseconds
			Characters int64  `json:"usage_characters"`
		} `json:"extra_info"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, speech.Malformed(err)
	}
	sound, err := hex.DecodeString(got.Data.Audio)
	if err == nil && len(sound) == 0 {
		err = errNone
	}
	if err != nil {
		return nil, speech.Malformed(err)
	}
	a := &speech.Audio{Bytes: sound, Type: formats[got.Extra.Format]}
	if a.Type == "" {
		a.Type = formats["mp3"]
	}
	if n := got.Extra.Characters; n > 0 && n <= llm.MaxTokenCount {
		a.Usage.Units.Characters, a.Usage.Source = n, llm.UsageProvider
	}
	if n := got.Extra.Length; n > 0 && n <= llm.MaxTokenCount {
		a.Usage.Units.OutputMS = n
	}
	return a, nil
}
