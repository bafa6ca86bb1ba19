package provider

import (
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/gemini"
)

// geminiRows are the providers that speak Google's generateContent.
var geminiRows = []Provider{
	{
		Name: "gemini", Base: "https://generativelanguage.googleapis.com/v1beta", Auth: GoogKey,
		KeyVars: []string{"GEMINI_API_KEY", "GOOGLE_API_KEY"}, BaseVars: []string{"GEMINI_API_BASE"},
		Endpoints: []llm.Endpoint{llm.GenerateContent}, Codec: gemini.Codec{},
	},
	{
		Name: "vertex_ai", Base: "https://{location}-aiplatform.googleapis.com/v1/projects/{project}/locations/{location}/publishers/google",
		Auth: GoogleToken, BaseVars: []string{"VERTEXAI_API_BASE"},
		Endpoints: []llm.Endpoint{llm.GenerateContent}, Codec: gemini.Codec{},
	},
}
