package provider

import (
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/assemblyai"
	azurespeech "github.com/conclave-llm/conclave/provider/azure/speech"
	"github.com/conclave-llm/conclave/provider/bfl"
	"github.com/conclave-llm/conclave/provider/deepgram"
	"github.com/conclave-llm/conclave/provider/elevenlabs"
	"github.com/conclave-llm/conclave/provider/fal"
	"github.com/conclave-llm/conclave/provider/polly"
	"github.com/conclave-llm/conclave/provider/riva"
	"github.com/conclave-llm/conclave/provider/runway"
	"github.com/conclave-llm/conclave/provider/soniox"
	"github.com/conclave-llm/conclave/provider/stability"
	"github.com/conclave-llm/conclave/provider/topaz"
	transcribeapi "github.com/conclave-llm/conclave/provider/transcribe"
)

// mediaRows are vendors of pictures and audio, most of whom have forms of their own.
var mediaRows = []Provider{
	{Name: "deepgram", Base: "https://api.deepgram.com/v1", KeyVars: []string{"DEEPGRAM_API_KEY"}, BaseVars: []string{"DEEPGRAM_API_BASE"}, Auth: TokenKey, Endpoints: []llm.Endpoint{llm.DeepgramListen, llm.DeepgramSpeak}, Codec: deepgram.Codec{}},
	{Name: "elevenlabs", Base: "https://api.elevenlabs.io", KeyVars: []string{"ELEVENLABS_API_KEY"}, BaseVars: []string{"ELEVENLABS_API_BASE"}, Auth: XIKey, Endpoints: []llm.Endpoint{llm.ElevenSpeech, llm.ElevenListen}, Codec: elevenlabs.Codec{}},
	{Name: assemblyai.RowSpeech, Base: "https://api.assemblyai.com", KeyVars: []string{"ASSEMBLYAI_API_KEY"}, Auth: PlainKey, Endpoints: []llm.Endpoint{llm.AssemblyListen}, Codec: assemblyai.Codec{}},
	{Name: "azure_speech", Base: "https://{region}.tts.speech.microsoft.com", KeyVars: []string{"AZURE_SPEECH_API_KEY"}, BaseVars: []string{"AZURE_SPEECH_API_BASE"}, Auth: AzureSubscription, Endpoints: []llm.Endpoint{llm.AzureSpeak, llm.AzureListen}, Codec: azurespeech.Codec{}, RootOf: azurespeech.RootOf},
	{Name: "aws_polly", Base: "https://polly.{region}.amazonaws.com", BaseVars: []string{"AWS_POLLY_API_BASE"}, Auth: SigV4, Endpoints: []llm.Endpoint{llm.PollySpeak}, Codec: polly.Codec{}},
	{Name: "transcribe", Base: "https://transcribestreaming.{region}.amazonaws.com", BaseVars: []string{"TRANSCRIBE_API_BASE"}, Auth: SigV4Events, Endpoints: []llm.Endpoint{llm.TranscribeListen}, Codec: transcribeapi.Codec{}, Streams: true},
	{Name: "soniox", Base: "https://api.soniox.com", KeyVars: []string{"SONIOX_API_KEY"}, BaseVars: []string{"SONIOX_API_BASE"}, Endpoints: []llm.Endpoint{llm.SonioxListen, llm.SonioxLive}, Codec: soniox.Codec{}, RootOf: soniox.RootOf},
	{Name: "nvidia_riva", KeyVars: []string{"NVIDIA_RIVA_API_KEY", "NVIDIA_NIM_API_KEY"}, BaseVars: []string{"NVIDIA_RIVA_API_BASE"}, Endpoints: []llm.Endpoint{llm.Transcriptions, llm.Translations, llm.RivaSpeak}, Codec: riva.Codec{}},
	{Name: "stability", Base: "https://api.stability.ai", KeyVars: []string{"STABILITY_API_KEY"}, BaseVars: []string{"STABILITY_API_BASE"}, Endpoints: []llm.Endpoint{llm.StabilityImages}, Codec: stability.Codec{}},
	{Name: "black_forest_labs", Base: "https://api.bfl.ai", KeyVars: []string{"BFL_API_KEY", "BLACK_FOREST_LABS_API_KEY"}, BaseVars: []string{"BLACK_FOREST_LABS_API_BASE"}, Auth: XKey, Endpoints: []llm.Endpoint{llm.BFLImages}, Codec: bfl.Codec{}},
	{Name: "runwayml", Base: "https://api.dev.runwayml.com", KeyVars: []string{"RUNWAYML_API_SECRET", "RUNWAYML_API_KEY"}, BaseVars: []string{"RUNWAYML_API_BASE"}, Endpoints: []llm.Endpoint{llm.RunwayImages, llm.RunwaySpeak}, Codec: runway.Codec{}, Header: runway.Header},
	{Name: "topaz", Base: "https://api.topazlabs.com", KeyVars: []string{"TOPAZ_API_KEY"}, BaseVars: []string{"TOPAZ_API_BASE"}, Auth: XAPIKey, Endpoints: []llm.Endpoint{llm.TopazImages}, Codec: topaz.Codec{}},
	{Name: "fal_ai", Base: "https://fal.run", KeyVars: []string{"FAL_AI_API_KEY"}, BaseVars: []string{"FAL_AI_API_BASE"}, Auth: KeyKey, Endpoints: []llm.Endpoint{llm.FalImages}, Codec: fal.Codec{}},
	{Name: "recraft", Base: "https://external.api.recraft.ai/v1", KeyVars: []string{"RECRAFT_API_KEY"}, BaseVars: []string{"RECRAFT_API_BASE"}, Endpoints: makeImages},
}
