// Package typesafe knows TypeSafe's System One, as its API of 2026 has it: questions with typed answers
// and their probabilities. Others serve it too, also on one's own machines.
package typesafe

import (
	"net/url"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/openai"
)

// RowStrands is the row of Strands' decision models, which Amazon's runtime for agents may run.
const RowStrands = "strands_decider"

// OptionRuntime is the option of a deployment that names a runtime of Amazon's by its ARN.
const OptionRuntime = "runtime_arn"

// RuntimeHeader has the requests to a runtime answered by one instance of it, which is warm: without a
// session of its own each request would start one. The name of a session has 33 characters at least.
var RuntimeHeader = map[string]string{"X-Amzn-Bedrock-Agentcore-Runtime-Session-Id": "conclave-decisions-for-all-requests"}

// Codec is System One's format, which is OpenAI's but for where it is. The address may end in /v1.
type Codec struct{ openai.Codec }

// Path is the endpoint's path: in a runtime of Amazon's that of all that it runs.
func (Codec) Path(p llm.Place) string {
	if arn := p.Options[OptionRuntime]; arn != "" {
		return "/runtimes/" + url.PathEscape(arn) + "/invocations"
	}
	path := openai.Codec{}.Path(p)
	if strings.HasSuffix(p.Base, "/v1") {
		return path
	}
	return "/v1" + path
}

// RuntimeBase is where the runtime is that the options name, "" if they name none.
func RuntimeBase(options map[string]string) string {
	region := RuntimeRegion(options)
	if region == "" {
		return ""
	}
	host := "https://bedrock-agentcore." + region + ".amazonaws.com"
	if strings.HasPrefix(region, "cn-") {
		host += ".cn"
	}
	return host
}

// RuntimeRegion is the region of the runtime that the options name, "" if they name none:
// arn:aws:bedrock-agentcore:REGION:ACCOUNT:runtime/NAME.
func RuntimeRegion(options map[string]string) string {
	parts := strings.SplitN(options[OptionRuntime], ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[2] != "bedrock-agentcore" || !strings.HasPrefix(parts[5], "runtime/") {
		return ""
	}
	for _, r := range parts[3] {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' {
			return ""
		}
	}
	return parts[3]
}
