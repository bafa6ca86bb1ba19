package provider

import (
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/anthropic"
	"github.com/conclave-llm/conclave/provider/gemini"
	"github.com/conclave-llm/conclave/provider/gemini/embeddings"
	"github.com/conclave-llm/conclave/provider/openai"
	"github.com/conclave-llm/conclave/provider/vertex"
)

// geminiRows are Google's: the Gemini API, and Vertex with the models of others beside its own.
var geminiRows = []Provider{
	{
		Name: "gemini", Base: "https://generativelanguage.googleapis.com/v1beta", Auth: GoogKey,
		KeyVars: []string{"GEMINI_API_KEY", "GOOGLE_API_KEY"}, BaseVars: []string{"GEMINI_API_BASE"},
		Endpoints: []llm.Endpoint{llm.GenerateContent, llm.GeminiEmbed}, Codec: gemini.Codec{}, MaxBatch: embeddings.MaxRequests, RowOf: gemini.Row, RootOf: gemini.RootOf,
		Rows: []string{gemini.RowImagen, gemini.RowTranscribe}, StoresAt: []llm.Endpoint{llm.GenerateContent},
	},
	{
		Name: gemini.RowImagen, Base: "https://generativelanguage.googleapis.com/v1beta", Auth: GoogKey,
		KeyVars: []string{"GEMINI_API_KEY", "GOOGLE_API_KEY"}, BaseVars: []string{"GEMINI_API_BASE"},
		Endpoints: []llm.Endpoint{llm.ImagenImages}, Codec: gemini.Codec{},
	},
	{
		Name: gemini.RowTranscribe, Base: "https://generativelanguage.googleapis.com/v1beta", Auth: GoogKey,
		KeyVars: []string{"GEMINI_API_KEY", "GOOGLE_API_KEY"}, BaseVars: []string{"GEMINI_API_BASE"},
		Endpoints: []llm.Endpoint{llm.InteractionListen}, Codec: gemini.Codec{},
	},
	speechRow(),
	vertexRow(Provider{Name: vertex.RowImagen, Endpoints: []llm.Endpoint{llm.ImagenImages}, Codec: vertex.Google{}}),
	vertexRow(Provider{Name: "vertex_ai", Endpoints: []llm.Endpoint{llm.GenerateContent, llm.VertexEmbed}, Codec: vertex.Google{}, BatchOf: vertex.MaxBatch, RowOf: vertex.Row, Rows: vertex.Rows, RootOf: vertex.RootOf}),
	vertexRow(Provider{Name: "vertex_ai_beta", Endpoints: []llm.Endpoint{llm.GenerateContent, llm.VertexEmbed}, Codec: vertex.Google{}, BatchOf: vertex.MaxBatch, RowOf: vertex.Row, Rows: vertex.Rows, RootOf: vertex.RootOf}),
	vertexRow(Provider{
		Name: vertex.RowAnthropic, Endpoints: []llm.Endpoint{llm.Messages},
		Codec: vertex.Partner{Codec: anthropic.Codec{}, Publisher: "anthropic"}, Forward: []string{"Anthropic-Beta"},
		NoModel: true, Members: []llm.Member{{Name: "anthropic_version", Value: []byte(`"` + vertex.Version + `"`)}},
	}),
	vertexRow(Provider{Name: vertex.RowMistral, Endpoints: []llm.Endpoint{llm.Chat, llm.OCR}, Codec: vertex.Partner{Codec: openai.Codec{}, Publisher: "mistralai"}, NoStreamOptions: true, NoNames: true}),
	vertexRow(Provider{Name: vertex.RowOpenAI, Endpoints: chats, Codec: vertex.OpenAI{}}),
}

// vertexRow fills in what the rows of Vertex have in common.
func vertexRow(p Provider) Provider {
	p.BaseOf, p.Auth, p.BaseVars = vertex.Base, GoogleToken, []string{"VERTEXAI_API_BASE"}
	return p
}

// speechRow is Google's Speech-to-Text, which has an address of its own.
func speechRow() Provider {
	p := vertexRow(Provider{Name: vertex.RowSpeech, Endpoints: []llm.Endpoint{llm.GoogleListen}, Codec: vertex.Google{}})
	p.BaseOf = vertex.SpeechBase
	return p
}
