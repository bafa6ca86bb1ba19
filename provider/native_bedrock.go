package provider

import (
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/bedrock"
	"github.com/conclave-llm/conclave/provider/bedrock/embeddings"
)

// bedrockRows are the names of Amazon Bedrock. LiteLLM's two differ in the operation that it asked;
// here both are Converse.
//
// Anthropic's models are asked with InvokeModel, in their maker's own dialect, if their name begins
// with "invoke/".
var bedrockRows = []Provider{bedrockRow("bedrock"), bedrockRow("bedrock_converse"), invokeRow()}

func invokeRow() Provider {
	p := bedrockRow(bedrock.RowAnthropic)
	p.Endpoints, p.RowOf = []llm.Endpoint{llm.Messages, llm.BedrockCount, llm.Invoke}, nil
	p.Rows = nil
	p.NoModel, p.NoStream, p.Betas = true, true, "anthropic_beta"
	p.Members = []llm.Member{{Name: "anthropic_version", Value: []byte(`"` + bedrock.Version + `"`)}}
	return p
}

func bedrockRow(name string) Provider {
	return Provider{
		Name: name, Base: "https://bedrock-runtime.{region}.amazonaws.com", Auth: SigV4,
		KeyVars: []string{"AWS_BEARER_TOKEN_BEDROCK"}, BaseVars: []string{"BEDROCK_API_BASE"},
		Header:    map[string]string{"Accept": "application/vnd.amazon.eventstream"}, // of streams
		Endpoints: []llm.Endpoint{llm.Converse, llm.InvokeEmbed, llm.Invoke}, Codec: bedrock.Codec{}, BatchOf: embeddings.MaxBatch, RowOf: bedrock.Row, Rows: []string{bedrock.RowAnthropic}, RootOf: bedrock.RootOf,
	}
}
