package provider_test

import (
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
)

// TestMedia_Addresses: what is asked of a model goes to the row, the host and the path that serve it.
func TestMedia_Addresses(t *testing.T) {
	t.Parallel()
	google := map[string]string{"project": "p", "location": "eu"}
	for _, tt := range []struct {
		provider, model, base string
		options               map[string]string
		of                    llm.Endpoint
		want                  string
	}{
		{"xai", "grok-voice-transcribe-2.0", "", nil, llm.Transcriptions, "https://api.x.ai/v1/stt"},
		{"fireworks_ai", "whisper-v3", "", nil, llm.Transcriptions, "https://audio-prod.api.fireworks.ai/v1/audio/transcriptions"},
		{"fireworks_ai", "accounts/fireworks/models/whisper-v3-turbo", "", nil, llm.Transcriptions, "https://audio-turbo.api.fireworks.ai/v1/audio/transcriptions"},
		{"fireworks_ai", "whisper-v3", "", nil, llm.Translations, "https://audio-prod.api.fireworks.ai/v1/audio/translations"},
		{"fireworks_ai", "flux-1-schnell-fp8", "", nil, llm.Images, "https://api.fireworks.ai/inference/v1/workflows/accounts/fireworks/models/flux-1-schnell-fp8/text_to_image"},
		{"fireworks_ai", "accounts/fireworks/models/flux-kontext-pro", "", nil, llm.ImageEdits, "https://api.fireworks.ai/inference/v1/workflows/accounts/fireworks/models/flux-kontext-pro"},
		{"fireworks_ai", "stable-diffusion-xl-1024-v1-0", "", nil, llm.Images, "https://api.fireworks.ai/inference/v1/image_generation/accounts/fireworks/models/stable-diffusion-xl-1024-v1-0"},
		{"watsonx", "whisper", "", map[string]string{"region": "us-south"}, llm.Transcriptions, "https://us-south.ml.cloud.ibm.com/ml/v1/audio/transcriptions?version=2025-05-20"},
		{"cloudflare", "@cf/openai/whisper-large-v3-turbo", "", map[string]string{"account_id": "a1"}, llm.Transcriptions, "https://api.cloudflare.com/client/v4/accounts/a1/ai/run/@cf/openai/whisper-large-v3-turbo"},
		{"gemini", "gemini-2.5-flash", "", nil, llm.Transcriptions, "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent"},
		{"gemini", "gemini-3.5-transcribe", "", nil, llm.Transcriptions, "https://generativelanguage.googleapis.com/v1beta/interactions"},
		{"vertex_ai", "gemini-3.5-transcribe", "", google, llm.Transcriptions, "https://aiplatform.eu.rep.googleapis.com/v1/projects/p/locations/eu/publishers/google/models/gemini-3.5-transcribe:generateContent"},
		{"vertex_ai", "chirp_3", "", google, llm.Transcriptions, "https://eu-speech.googleapis.com/v2/projects/p/locations/eu/recognizers/_:recognize"},
		{"vertex_ai", "chirp_3", "", map[string]string{"project": "p"}, llm.Transcriptions, "https://us-speech.googleapis.com/v2/projects/p/locations/us/recognizers/_:recognize"},
		{"vertex_ai", "chirp_3", "", map[string]string{"project": "p", "location": "global"}, llm.Transcriptions, "https://speech.googleapis.com/v2/projects/p/locations/global/recognizers/_:recognize"},
		{"azure_ai", "whisper", "https://r.services.ai.azure.com", nil, llm.Transcriptions, "https://r.services.ai.azure.com/openai/deployments/whisper/audio/transcriptions?api-version=2025-02-01-preview"},
		{"azure_ai", "gpt-image-2", "https://r.services.ai.azure.com/openai/v1", nil, llm.Images, "https://r.services.ai.azure.com/openai/v1/images/generations"},
		{"azure_ai", "FLUX-1.1-pro", "https://r.services.ai.azure.com", nil, llm.Images, "https://r.services.ai.azure.com/openai/deployments/FLUX-1.1-pro/images/generations?api-version=2025-02-01-preview"},
		{"azure_ai", "FLUX.2-pro", "https://r.services.ai.azure.com/models", nil, llm.Images, "https://r.services.ai.azure.com/providers/blackforestlabs/v1/flux-2-pro?api-version=preview"},
		{"azure_ai", "MAI-Image-2.5", "https://r.services.ai.azure.com", map[string]string{"api_version": "2026-01-01"}, llm.Images, "https://r.services.ai.azure.com/mai/v1/images/generations?api-version=2026-01-01"},
		{"dashscope", "qwen-image-2.0", "", nil, llm.Images, "https://dashscope-intl.aliyuncs.com/api/v1/services/aigc/multimodal-generation/generation"},
		{"qwencloud", "qwen-image-edit", "", nil, llm.ImageEdits, "https://dashscope-intl.aliyuncs.com/api/v1/services/aigc/multimodal-generation/generation"},
		{"qwen_ai_platform", "qwen3-tts-flash", "", nil, llm.Speech, "https://dashscope.aliyuncs.com/api/v1/services/aigc/multimodal-generation/generation"},
		{"dashscope", "qwen-audio-3.1-tts-flash", "", nil, llm.Speech, "https://dashscope-intl.aliyuncs.com/api/v1/services/audio/tts/SpeechSynthesizer"},
		{"minimax", "speech-2.8-hd", "", nil, llm.Speech, "https://api.minimax.io/v1/t2a_v2"},
		{"tencent", "seedream-image-v5.0-pro", "", nil, llm.ImageEdits, "https://tokenhub-intl.tencentcloudmaas.com/v1/wand/si-image/generation"},
		{"databricks", "databricks-gpt-image-1", "https://w.cloud.databricks.com/serving-endpoints", nil, llm.Images, "https://w.cloud.databricks.com/serving-endpoints/images/generations"},
		{"meta", "muse-image-1.0", "", nil, llm.ImageEdits, "https://api.meta.ai/v1/images/edits"},
		{"meta", "muse-voice-transcribe-1.0", "", nil, llm.Transcriptions, "https://api.meta.ai/v1/asr/transcribe"},
		{"meta", "muse-voice-transcribe-1.0", "", nil, llm.Realtime, "https://api.meta.ai/v1/asr/realtime"},
		{"transcribe", "StartTranscriptionJob", "", map[string]string{"region": "eu-west-1"}, llm.Transcriptions, "https://transcribestreaming.eu-west-1.amazonaws.com/stream-transcription"},
		{"bedrock", "amazon.nova-2-sonic-v1:0", "", map[string]string{"region": "eu-north-1"}, llm.Realtime, "https://bedrock-runtime.eu-north-1.amazonaws.com/model/amazon.nova-2-sonic-v1%3A0/invoke-with-bidirectional-stream"},
		{"soniox", "stt-rt-v5", "", nil, llm.Realtime, "https://stt-rt.soniox.com/transcribe-websocket"},
		{"soniox", "stt-rt-v5", "https://api.eu.soniox.com", nil, llm.Realtime, "https://stt-rt.eu.soniox.com/transcribe-websocket"},
		{"soniox", "stt-rt-v5", "https://api.example.com", nil, llm.Realtime, "https://api.example.com/transcribe-websocket"},
		{"oci", "cohere.embed-v4.0", "", map[string]string{"region": "us-chicago-1"}, llm.Embeddings, "https://inference.generativeai.us-chicago-1.oci.oraclecloud.com/20231130/actions/embedText"},
		{"runwayml", "eleven_multilingual_v2", "", nil, llm.Speech, "https://api.dev.runwayml.com/v1/text_to_speech"},
		{"runwayml", "gen4_image", "", nil, llm.Images, "https://api.dev.runwayml.com/v1/text_to_image"},
		{"triton", "my emb", "http://triton:8000", nil, llm.Embeddings, "http://triton:8000/v2/models/my%20emb/infer"},
		{"triton", "emb", "http://triton:8000/v2/models/emb/versions/2/infer", nil, llm.Embeddings, "http://triton:8000/v2/models/emb/versions/2/infer"},
		{"triton", "emb", "https://mine.example/triton/embeddings", nil, llm.Embeddings, "https://mine.example/triton/embeddings"},
		{"fal_ai", "fal-ai/moondream3-preview/query", "", nil, llm.Chat, "https://fal.run/fal-ai/moondream3-preview/query"},
		{"gemini", "gemini-3.8-live", "", nil, llm.Realtime, "https://generativelanguage.googleapis.com/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"},
		{"vertex_ai", "gemini-live-2.5-flash", "", google, llm.Realtime, "https://aiplatform.eu.rep.googleapis.com/ws/google.cloud.aiplatform.v1.LlmBidiService/BidiGenerateContent"},
		{"cohere", "parse-v5.0", "", nil, llm.OCR, "https://api.cohere.com/v2/parse"},
	} {
		p, ok := provider.Lookup(tt.provider)
		if !ok {
			t.Fatalf("%s is no row", tt.provider)
		}
		p = p.For(tt.model)
		at, ok := p.Way(tt.of)
		got, err := p.URL(tt.base, llm.Place{Endpoint: at, Model: tt.model, Options: tt.options})
		if !ok || err != nil || got != tt.want {
			t.Errorf("%s, %s: got %q, %v, %v, want %q", tt.provider, tt.model, got, ok, err, tt.want)
		}
	}
}

// TestRows: a row names those that serve some of its models, so that what they serve is listed with it.
func TestRows(t *testing.T) {
	t.Parallel()
	for _, name := range provider.Names() {
		p, _ := provider.Lookup(name)
		if (p.RowOf == nil) != (len(p.Rows) == 0) {
			t.Errorf("%s: has rows %v without a way to them, or the other way round", name, p.Rows)
		}
		for _, row := range p.Rows {
			if _, ok := provider.Lookup(row); !ok {
				t.Errorf("%s: %q is no row", name, row)
			}
		}
	}
}
