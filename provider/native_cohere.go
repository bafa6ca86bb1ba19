package provider

import (
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/cohere"
)

// cohereRows are the names of Cohere. LiteLLM's two differ in the endpoint that it asked; here
// both are its conversation.
var cohereRows = []Provider{
	{
		Name: "cohere", Base: "https://api.cohere.com/v2", KeyVars: []string{"COHERE_API_KEY", "CO_API_KEY"}, BaseVars: []string{"COHERE_API_BASE"},
		Endpoints: []llm.Endpoint{llm.CohereChat, llm.CohereEmbed}, Codec: cohere.Codec{}, MaxBatch: cohere.MaxTexts,
	},
	{
		Name: "cohere_chat", Base: "https://api.cohere.com/v2", KeyVars: []string{"COHERE_API_KEY", "CO_API_KEY"}, BaseVars: []string{"COHERE_API_BASE"},
		Endpoints: []llm.Endpoint{llm.CohereChat, llm.CohereEmbed}, Codec: cohere.Codec{}, MaxBatch: cohere.MaxTexts,
	},
}
