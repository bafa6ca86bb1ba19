package provider

import (
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/azure"
	"github.com/conclave-llm/conclave/provider/azure/pictures"
	"github.com/conclave-llm/conclave/provider/openai/embeddings"
)

// azureRows are Azure's. Their address is the resource's, so that every deployment gives its own.
var azureRows = []Provider{
	{
		Name: "azure", Auth: EntraToken, Refuses: notOpenAI, KeyVars: []string{"AZURE_API_KEY", "AZURE_OPENAI_API_KEY"}, BaseVars: []string{"AZURE_API_BASE", "AZURE_OPENAI_ENDPOINT"},
		Endpoints: openAI, Codec: azure.Codec{}, MaxBatch: embeddings.MaxInputs, KeepsResponses: true, OpenAIs: true,
	},
	{
		Name: "azure_text", Auth: EntraToken, KeyVars: []string{"AZURE_API_KEY", "AZURE_OPENAI_API_KEY"}, BaseVars: []string{"AZURE_API_BASE"},
		Endpoints: []llm.Endpoint{llm.Completions}, Codec: azure.Codec{},
	},
	{
		Name: "azure_ai", Auth: EntraToken, KeyVars: []string{"AZURE_AI_API_KEY"}, BaseVars: []string{"AZURE_AI_API_BASE"},
		Endpoints: chatsEmb, Codec: azure.Foundry{}, RowOf: azure.Row, Rows: []string{pictures.Row},
	},
	{
		Name: pictures.Row, Auth: EntraToken, KeyVars: []string{"AZURE_AI_API_KEY"}, BaseVars: []string{"AZURE_AI_API_BASE"},
		Endpoints: []llm.Endpoint{llm.AzurePictures}, Codec: azure.Foundry{}, RootOf: pictures.RootOf,
	},
}
