package bedrock

import (
	"strings"

	"github.com/conclave-llm/conclave/llm"
)

// family is what must be known of models of one kind, since Converse leaves to each what it
// cannot say for all.
type family struct {
	name   string // that stands in the model's
	caches bool   // knows cachePoint
	signs  bool   // knows its own reasoning again
	schema bool   // answers by a schema
	topK   string // the member of additionalModelRequestFields, "" if there is none
	thinks thinking
	major  int // of Claude
	minor  int
}

// thinking is how a family is told to think.
type thinking uint8

const (
	thinksNot    thinking = iota // it cannot be told
	thinksClaude                 // {"thinking":{"type":"enabled","budget_tokens":…}}
	thinksNova                   // {"reasoningConfig":{"type":"enabled","maxReasoningEffort":…}}
	thinksEffort                 // {"reasoning_effort":…}
)

// families are known by the first name that a model's has in it.
var families = []family{
	{name: "claude", caches: true, signs: true, topK: "top_k", thinks: thinksClaude},
	{name: "nova-2", caches: true, signs: true, topK: "inferenceConfig", thinks: thinksNova},
	{name: "nova", caches: true, topK: "inferenceConfig"},
	{name: "gpt-oss", schema: true, thinks: thinksEffort},
	{name: "mistral", schema: true, topK: "top_k"},
	{name: "magistral", schema: true, topK: "top_k"},
	{name: "ministral", schema: true, topK: "top_k"},
	{name: "cohere", topK: "k"},
	{name: "qwen", schema: true},
	{name: "deepseek", schema: true},
	{name: "moonshot", schema: true},
	{name: "kimi", schema: true},
	{name: "minimax", schema: true},
	{name: "gemma", schema: true},
	{name: "nvidia", schema: true},
}

// familyOf finds the family of a model. An ARN that does not name the model needs the option
// "base_model" beside it.
func familyOf(t *llm.Target) family {
	model := strings.ToLower(t.Model)
	if base := t.Options["base_model"]; base != "" {
		model = strings.ToLower(base)
	}
	for _, f := range families {
		if strings.Contains(model, f.name) {
			if f.name == "claude" {
				f.major, f.minor = claudeVersion(model)
				f.schema = f.since(4, 5)
			}
			return f
		}
	}
	return family{}
}

// since says whether the model is of the version or a later one.
func (f family) since(major, minor int) bool {
	return f.major > major || f.major == major && f.minor >= minor
}

// claudeVersion reads claude-3-5-sonnet-20241022 and claude-opus-4-6-20260205.
func claudeVersion(model string) (major, minor int) {
	_, rest, _ := strings.Cut(model, "claude-")
	var numbers []int
	for part := range strings.FieldsFuncSeq(rest, func(r rune) bool { return r == '-' || r == '.' || r == ':' }) {
		n, ok := short(part)
		switch {
		case ok:
			numbers = append(numbers, n)
		case len(numbers) > 0:
			return version(numbers)
		}
	}
	return version(numbers)
}

func version(numbers []int) (major, minor int) {
	if len(numbers) > 0 {
		major = numbers[0]
	}
	if len(numbers) > 1 {
		minor = numbers[1]
	}
	return major, minor
}

// short reads a number of at most two digits: longer ones are dates.
func short(s string) (n int, ok bool) {
	if s == "" || len(s) > 2 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}
