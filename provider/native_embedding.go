package provider

import (
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/openai/embeddings"
	"github.com/conclave-llm/conclave/provider/tei"
)

// embeddingRows are vendors whose embeddings have a form of their own, beside conversations in
// OpenAI's where they have some.
var embeddingRows = []Provider{
	{Name: "voyage", Base: "https://api.voyageai.com/v1", KeyVars: []string{"VOYAGE_API_KEY", "VOYAGE_AI_API_KEY", "VOYAGE_AI_TOKEN"}, BaseVars: []string{"VOYAGE_API_BASE"}, Endpoints: []llm.Endpoint{llm.VoyageEmbed}, MaxBatch: 1000},
	{Name: "jina_ai", Base: "https://api.jina.ai/v1", KeyVars: []string{"JINA_AI_API_KEY", "JINA_API_KEY", "JINA_AI_TOKEN"}, BaseVars: []string{"JINA_AI_API_BASE"}, Endpoints: []llm.Endpoint{llm.JinaEmbed}, MaxBatch: 2048},
	{Name: "mistral", Base: "https://api.mistral.ai/v1", KeyVars: []string{"MISTRAL_API_KEY"}, BaseVars: []string{"MISTRAL_API_BASE"}, Endpoints: []llm.Endpoint{llm.Chat, llm.MistralEmbed}, NoStreamOptions: true, MaxTokens: "max_tokens", Seed: "random_seed", Refuses: notMistral, NoNames: true, MaxBatch: 512},
	{Name: "infinity", KeyVars: []string{"INFINITY_API_KEY"}, BaseVars: []string{"INFINITY_API_BASE"}, Endpoints: []llm.Endpoint{llm.Embeddings}, MaxBatch: embeddings.MaxInputs},
	{Name: "tei", KeyVars: []string{"TEI_API_KEY"}, BaseVars: []string{"TEI_API_BASE"}, Endpoints: []llm.Endpoint{llm.TEIEmbed}, Codec: tei.Codec{}, MaxBatch: tei.MaxInputs},
	{Name: "huggingface", Base: "https://router.huggingface.co", KeyVars: []string{"HUGGINGFACE_API_KEY", "HF_TOKEN"}, BaseVars: []string{"HF_API_BASE", "HUGGINGFACE_API_BASE"}, Endpoints: []llm.Endpoint{llm.Chat, llm.TEIEmbed}, Codec: tei.Codec{}, MaxBatch: tei.MaxInputs},
}

// notMistral are parameters of OpenAI's that Mistral refuses, as it does whatever it does not know.
var notMistral = []string{
	"logit_bias", "logprobs", "top_logprobs", "user", "service_tier", "store", "stream_options", "top_k", "min_p", "verbosity",
	"prompt_cache_key", "web_search_options", "modalities", "audio",
}
