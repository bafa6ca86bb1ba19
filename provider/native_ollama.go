package provider

import (
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/ollama"
)

// ollamaRows are the names of Ollama. LiteLLM's two differ in the endpoint that it asked; here
// both are its conversation.
var ollamaRows = []Provider{
	{
		Name: "ollama", Base: "http://localhost:11434", KeyVars: []string{"OLLAMA_API_KEY"}, BaseVars: []string{"OLLAMA_API_BASE"},
		Endpoints: []llm.Endpoint{llm.OllamaChat, llm.OllamaEmbed}, Codec: ollama.Codec{},
	},
	{
		Name: "ollama_chat", Base: "http://localhost:11434", KeyVars: []string{"OLLAMA_API_KEY"}, BaseVars: []string{"OLLAMA_API_BASE"},
		Endpoints: []llm.Endpoint{llm.OllamaChat, llm.OllamaEmbed}, Codec: ollama.Codec{},
	},
}
