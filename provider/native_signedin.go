package provider

import (
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/chatgpt"
	"github.com/conclave-llm/conclave/provider/copilot"
	"github.com/conclave-llm/conclave/provider/m365"
)

// SignIn is the secret of a credential that a person's sign-in with a device's code gives; "": the provider knows no
// such sign-in.
func (p *Provider) SignIn() string {
	switch p.Auth {
	case CopilotToken:
		return "api_key"
	case ChatGPTToken:
		return chatgpt.Secret
	}
	return ""
}

// signedInRows are services that answer for a person who has signed in, and not for a key.
var signedInRows = []Provider{
	{Name: "github_copilot", Base: "https://api.githubcopilot.com", KeyVars: []string{"GITHUB_COPILOT_TOKEN"}, BaseVars: []string{"GITHUB_COPILOT_API_BASE"}, Auth: CopilotToken, Endpoints: chatsEmb, Header: copilot.Header, RowOf: copilot.Row, Rows: []string{copilot.RowResponses}},
	{Name: copilot.RowResponses, Base: "https://api.githubcopilot.com", KeyVars: []string{"GITHUB_COPILOT_TOKEN"}, BaseVars: []string{"GITHUB_COPILOT_API_BASE"}, Auth: CopilotToken, Endpoints: []llm.Endpoint{llm.Responses}, Header: copilot.Header},
	{Name: "chatgpt", Base: "https://chatgpt.com/backend-api/codex", BaseVars: []string{"CHATGPT_API_BASE"}, Auth: ChatGPTToken, Endpoints: []llm.Endpoint{llm.ChatGPTResponses}, Codec: chatgpt.Codec{}, Header: chatgpt.Header, Streams: true},
	{Name: "microsoft_365_copilot", Base: "https://graph.microsoft.com/beta", KeyVars: []string{"MICROSOFT_365_COPILOT_TOKEN"}, BaseVars: []string{"MICROSOFT_365_COPILOT_API_BASE"}, Auth: GraphToken, Endpoints: []llm.Endpoint{llm.M365Chat}, Codec: m365.New(), NoEndMark: true},
}
