package provider

import (
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/bedrock"
)

// bedrockRows are Amazon's.
var bedrockRows = []Provider{
	{
		Name: "bedrock", Base: "https://bedrock-runtime.{region}.amazonaws.com", Auth: SigV4,
		KeyVars: []string{"AWS_BEARER_TOKEN_BEDROCK"}, BaseVars: []string{"BEDROCK_API_BASE"},
		Endpoints: []llm.Endpoint{llm.Converse}, Codec: bedrock.Codec{},
	},
	{
		Name: "bedrock_converse", Base: "https://bedrock-runtime.{region}.amazonaws.com", Auth: SigV4,
		KeyVars: []string{"AWS_BEARER_TOKEN_BEDROCK"}, BaseVars: []string{"BEDROCK_API_BASE"},
		Endpoints: []llm.Endpoint{llm.Converse}, Codec: bedrock.Codec{},
	},
}
