// Package copilot knows GitHub's Copilot, which answers in OpenAI's format to editors. GitHub documents neither
// the service nor the exchange of tokens; what is here is what open clients send and get.
package copilot

import (
	"cmp"
	"strconv"
	"strings"
)

// The options that name other services than github.com's, for GitHub Enterprise: where tokens of Copilot are given, and
// where people sign in.
const (
	OptionAPI   = "github_api_url"
	OptionLogin = "github_url"
)

// ClientID is the application that people sign in to: an editor's, whose tokens Copilot takes.
const ClientID = "Iv1.b507a08c87ecfe98"

// Login is the service of sign-ins, without a slash at the end.
func Login(options map[string]string) string {
	return strings.TrimRight(cmp.Or(options[OptionLogin], "https://github.com"), "/")
}

// API is where tokens of Copilot are given.
func API(options map[string]string) string {
	return strings.TrimRight(cmp.Or(options[OptionAPI], "https://api.github.com"), "/")
}

// RowResponses is the row of the models that only answer with responses.
const RowResponses = "github_copilot_responses"

// Header are the headers by which Copilot knows an editor. It answers nobody without them.
var Header = map[string]string{
	"Editor-Version": "vscode/1.104.1", "Editor-Plugin-Version": "copilot-chat/0.26.7", "Copilot-Integration-Id": "vscode-chat",
	"Openai-Intent": "conversation-panel", "X-Github-Api-Version": "2025-05-01",
}

// Row is the row that serves a model by its name, "" for that of conversations and embeddings: models for code
// (gpt-5.3-codex) and OpenAI's after gpt-5.4 only answer with responses.
func Row(model string) string {
	version, ok := strings.CutPrefix(model, "gpt-")
	if strings.Contains(model, "codex") || strings.HasPrefix(model, "mai-code") {
		return RowResponses
	}
	if !ok {
		return ""
	}
	number, kind, _ := strings.Cut(version, "-")
	major, minor, _ := strings.Cut(number, ".")
	a, errA := strconv.Atoi(major)
	b, errB := strconv.Atoi(minor)
	switch {
	case errA != nil || minor != "" && errB != nil:
		return ""
	case a > 5, a == 5 && b > 4, a == 5 && b == 4 && kind != "":
		return RowResponses
	}
	return ""
}
