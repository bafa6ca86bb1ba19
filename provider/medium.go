package provider

import (
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/picture"
	"github.com/conclave-llm/conclave/llm/speech"
	"github.com/conclave-llm/conclave/llm/transcript"
	"github.com/conclave-llm/conclave/provider/assemblyai"
	azurepictures "github.com/conclave-llm/conclave/provider/azure/pictures"
	azurespeech "github.com/conclave-llm/conclave/provider/azure/speech"
	bedrockpictures "github.com/conclave-llm/conclave/provider/bedrock/pictures"
	"github.com/conclave-llm/conclave/provider/bfl"
	"github.com/conclave-llm/conclave/provider/cloudflare"
	"github.com/conclave-llm/conclave/provider/dashscope"
	"github.com/conclave-llm/conclave/provider/deepgram"
	"github.com/conclave-llm/conclave/provider/elevenlabs"
	"github.com/conclave-llm/conclave/provider/fal"
	"github.com/conclave-llm/conclave/provider/fireworks"
	"github.com/conclave-llm/conclave/provider/gemini/listen"
	"github.com/conclave-llm/conclave/provider/gemini/pictures"
	geminispeech "github.com/conclave-llm/conclave/provider/gemini/speech"
	"github.com/conclave-llm/conclave/provider/meta"
	"github.com/conclave-llm/conclave/provider/minimax"
	"github.com/conclave-llm/conclave/provider/polly"
	"github.com/conclave-llm/conclave/provider/riva"
	"github.com/conclave-llm/conclave/provider/runway"
	"github.com/conclave-llm/conclave/provider/soniox"
	"github.com/conclave-llm/conclave/provider/stability"
	"github.com/conclave-llm/conclave/provider/tencent"
	"github.com/conclave-llm/conclave/provider/topaz"
	transcribeapi "github.com/conclave-llm/conclave/provider/transcribe"
	"github.com/conclave-llm/conclave/provider/watsonx"
	"github.com/conclave-llm/conclave/provider/xai"
)

// PictureOutbound is the provider's half of a dialect of pictures. It does no I/O, and its methods
// may be called concurrently.
type PictureOutbound interface {
	// EncodeRequest writes a request. It must not change the canonical one.
	EncodeRequest(req *picture.Request, t *llm.Target) (*llm.Sent, error)
	// DecodeResponse reads an answer, whose bytes the pictures may share. Errors are *llm.Error.
	DecodeResponse(body []byte) (*picture.Response, error)
}

// PictureFollower is a PictureOutbound that takes several requests to its answer, and must know of which
// model; one that need not is a Follower.
type PictureFollower interface {
	// Follow is the request after the one that body answers; nil: body is the answer.
	Follow(t *llm.Target, body []byte) (*llm.Step, error)
}

// SpeechOutbound is the provider's half of a dialect of speech. Where the answer is audio as it
// stands, that is all; who wraps it is a SpeechReader too, or a
// SpeechEvents; and who takes several requests to it a Follower.
type SpeechOutbound interface {
	EncodeRequest(req *speech.Request, t *llm.Target) (*llm.Sent, error)
}

// SpeechReader reads answers that wrap audio.
type SpeechReader interface {
	// DecodeResponse reads an answer. Errors are *llm.Error of kind Upstream.
	DecodeResponse(req *speech.Request, body []byte) (*speech.Audio, error)
}

// SpeechEvents reads answers that hold audio in events.
type SpeechEvents interface {
	// Begin is the content type of the audio, and what stands before it.
	Begin(req *speech.Request, t *llm.Target) (kind string, head []byte)
	// Sound is the audio of an event with data, which may have none. Errors are *llm.Error of kind Upstream.
	Sound(data []byte) ([]byte, error)
}

// TranscriptOutbound is the provider's half of a dialect of transcriptions.
type TranscriptOutbound interface {
	EncodeRequest(req *transcript.Request, t *llm.Target) (*llm.Sent, error)
	// DecodeResponse reads an answer. Errors are *llm.Error.
	DecodeResponse(body []byte) (*transcript.Response, error)
}

// TranscriptFollower is a TranscriptOutbound that takes several requests to its answer.
type TranscriptFollower interface {
	// Follow is the request after the one that body answers; nil: body is the answer.
	Follow(req *transcript.Request, t *llm.Target, body []byte) (*llm.Step, error)
}

// The dialects of providers beside OpenAI's.
var (
	pictureOutbound = map[llm.Endpoint]PictureOutbound{
		llm.StabilityImages: stability.Format{},
		llm.FalImages:       fal.Format{},
		llm.InvokeImages:    bedrockpictures.Format{},
		llm.BFLImages:       bfl.Format{},
		llm.RunwayImages:    runway.Format{},
		llm.TopazImages:     topaz.Format{},
		llm.ImagenImages:    pictures.Imagen{},
		llm.GeminiImages:    pictures.Talking{},
		llm.FireworksImages: fireworks.Pictures{},
		llm.AzurePictures:   azurepictures.Format{},
		llm.DashScopeImages: dashscope.Pictures{},
		llm.TencentImages:   tencent.Pictures{},
	}
	speechOutbound = map[llm.Endpoint]SpeechOutbound{
		llm.DeepgramSpeak:  deepgram.Speak{},
		llm.ElevenSpeech:   elevenlabs.Speech{},
		llm.AzureSpeak:     azurespeech.Speak{},
		llm.PollySpeak:     polly.Speech{},
		llm.GeminiSpeak:    geminispeech.Format{},
		llm.RivaSpeak:      riva.Speak{},
		llm.DashScopeSpeak: dashscope.Speak{},
		llm.MiniMaxSpeak:   minimax.Speak{},
		llm.RunwaySpeak:    runway.Speak{},
	}
	transcriptOutbound = map[llm.Endpoint]TranscriptOutbound{
		llm.DeepgramListen:    deepgram.Listen{},
		llm.ElevenListen:      elevenlabs.Listen{},
		llm.AssemblyListen:    assemblyai.Listen{},
		llm.AzureListen:       azurespeech.Listen{},
		llm.SonioxListen:      soniox.Listen{},
		llm.MetaListen:        meta.Listen{},
		llm.TranscribeListen:  transcribeapi.Listen{},
		llm.XAIListen:         xai.Listen{},
		llm.WatsonxListen:     watsonx.Listen{},
		llm.CloudflareListen:  cloudflare.Listen{},
		llm.GeminiListen:      listen.Talking{},
		llm.InteractionListen: listen.Interaction{},
		llm.GoogleListen:      listen.Recognize{},
	}
)

// PictureOutboundOf is the provider's half of an endpoint's dialect.
func PictureOutboundOf(e llm.Endpoint) (PictureOutbound, bool) {
	f, ok := pictureOutbound[e]
	return f, ok
}

// SpeechOutboundOf is the provider's half of an endpoint's dialect.
func SpeechOutboundOf(e llm.Endpoint) (SpeechOutbound, bool) {
	f, ok := speechOutbound[e]
	return f, ok
}

// TranscriptOutboundOf is the provider's half of an endpoint's dialect.
func TranscriptOutboundOf(e llm.Endpoint) (TranscriptOutbound, bool) {
	f, ok := transcriptOutbound[e]
	return f, ok
}

func draws(e llm.Endpoint) bool   { _, ok := pictureOutbound[e]; return ok }
func speaks(e llm.Endpoint) bool  { _, ok := speechOutbound[e]; return ok }
func listens(e llm.Endpoint) bool { _, ok := transcriptOutbound[e]; return ok }

// changes are those of the dialects of pictures that change pictures, too.
var changes = map[llm.Endpoint]bool{
	llm.GeminiImages: true, llm.InvokeImages: true, llm.FalImages: true, llm.BFLImages: true, llm.RunwayImages: true, llm.StabilityImages: true,
	llm.FireworksImages: true, llm.AzurePictures: true, llm.DashScopeImages: true, llm.TencentImages: true,
}

// varies are those that make variations of a picture, or enhance it.
var varies = map[llm.Endpoint]bool{llm.InvokeImages: true, llm.TopazImages: true}

// translates are those of the dialects of transcriptions that have the text in English, too.
var translates = map[llm.Endpoint]bool{llm.SonioxListen: true, llm.AzureListen: true, llm.AssemblyListen: true, llm.GeminiListen: true, llm.CloudflareListen: true}

// sameMedium says that what a client asks for at e is what a provider makes at the endpoint at.
func sameMedium(e, at llm.Endpoint) bool {
	switch {
	case draws(at):
		return e == llm.Images && at != llm.TopazImages || e == llm.ImageEdits && changes[at] || e == llm.ImageVariations && varies[at]
	case speaks(at):
		return e == llm.Speech
	case listens(at):
		return e == llm.Transcriptions || e == llm.Translations && translates[at]
	}
	return true
}
