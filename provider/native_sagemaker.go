package provider

import "github.com/conclave-llm/conclave/provider/sagemaker"

// sagemakerRows are Amazon SageMaker's endpoints that speak OpenAI's chat completions; those with models of
// the family Nova do, too.
var sagemakerRows = []Provider{
	sagemakerRow("sagemaker_chat", "SAGEMAKER_CHAT_API_BASE"),
	sagemakerRow("sagemaker_nova", "SAGEMAKER_NOVA_API_BASE"),
}

func sagemakerRow(name, base string) Provider {
	return Provider{
		Name: name, Base: "https://runtime.sagemaker.{region}.amazonaws.com", Auth: SigV4,
		BaseVars: []string{base}, Endpoints: chats, Codec: sagemaker.Codec{},
		Header: map[string]string{"Accept": "application/vnd.amazon.eventstream"}, // of streams
	}
}
