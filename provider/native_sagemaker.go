package provider

import (
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/sagemaker"
)

// sagemakerRows are Amazon SageMaker's endpoints: with a server of texts, and those that speak OpenAI's
// chat completions, as those with models of the family Nova do.
var sagemakerRows = []Provider{
	sagemakerTextRow(),
	sagemakerRow("sagemaker_chat", "SAGEMAKER_CHAT_API_BASE"),
	sagemakerRow("sagemaker_nova", "SAGEMAKER_NOVA_API_BASE"),
}

func sagemakerTextRow() Provider {
	p := sagemakerRow("sagemaker", "SAGEMAKER_API_BASE")
	p.Endpoints, p.Codec = []llm.Endpoint{llm.SageMakerText}, sagemaker.TextCodec{}
	return p
}

func sagemakerRow(name, base string) Provider {
	return Provider{
		Name: name, Base: "https://runtime.sagemaker.{region}.amazonaws.com", Auth: SigV4,
		BaseVars: []string{base}, Endpoints: chats, Codec: sagemaker.Codec{},
		Header: map[string]string{"Accept": "application/vnd.amazon.eventstream"}, // of streams
	}
}
