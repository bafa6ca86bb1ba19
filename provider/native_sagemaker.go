package provider

import "github.com/conclave-llm/conclave/provider/sagemaker"

// sagemakerRows are Amazon SageMaker's endpoints that speak OpenAI's chat completions.
var sagemakerRows = []Provider{{
	Name: "sagemaker_chat", Base: "https://runtime.sagemaker.{region}.amazonaws.com", Auth: SigV4,
	BaseVars: []string{"SAGEMAKER_CHAT_API_BASE"}, Endpoints: chats, Codec: sagemaker.Codec{},
	Header: map[string]string{"Accept": "application/vnd.amazon.eventstream"}, // of streams
}}
