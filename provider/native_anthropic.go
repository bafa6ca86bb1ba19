package provider

import (
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/anthropic"
	"github.com/conclave-llm/conclave/provider/anthropic/completions"
)

// messages are the endpoints of those who speak Anthropic's dialect.
var messages = []llm.Endpoint{llm.Messages, llm.CountTokens}

// anthropicHeader and anthropicForward are the headers of its requests: those that are always
// sent, and those of a client that go with its own bytes.
var (
	anthropicHeader  = map[string]string{"Anthropic-Version": anthropic.Version}
	anthropicForward = []string{"Anthropic-Beta", "Anthropic-Version"}
)

// anthropicRows are Anthropic, and the vendors that serve its dialect beside their own at another
// address.
var anthropicRows = []Provider{
	anthropicRow(Provider{Name: "anthropic", Base: "https://api.anthropic.com", KeyVars: []string{"ANTHROPIC_API_KEY"}, BaseVars: []string{"ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL"}, Endpoints: messages}),
	completeRow(),
}

func completeRow() Provider {
	p := anthropicRow(Provider{Name: "anthropic_text", Base: "https://api.anthropic.com", KeyVars: []string{"ANTHROPIC_API_KEY"}, BaseVars: []string{"ANTHROPIC_TEXT_API_BASE"}, Endpoints: []llm.Endpoint{llm.AnthropicComplete}})
	p.Codec = completions.New()
	return p
}

// anthropicRow fills in what all of them have in common.
func anthropicRow(p Provider) Provider {
	p.Auth, p.Codec = XAPIKey, anthropic.Codec{}
	p.Header, p.Forward = anthropicHeader, anthropicForward
	return p
}
