package pricing

import (
	"fmt"
	"slices"
	"strings"
)

// Features are what a model can do: a set of bits, in the order of featureNames.
type Features uint32

// featureNames are the features' names in CSV and in the row form, and featureFlags those in the
// public JSON map.
var (
	featureNames = []string{
		"tools", "tool_choice", "parallel_tools", "json_schema", "reasoning", "vision", "pdf", "audio_in", "audio_out", "video_in",
		"prompt_caching", "prefill", "system", "web_search", "computer_use",
	}
	featureFlags = []string{
		"supports_function_calling", "supports_tool_choice", "supports_parallel_function_calling", "supports_response_schema", "supports_reasoning",
		"supports_vision", "supports_pdf_input", "supports_audio_input", "supports_audio_output", "supports_video_input",
		"supports_prompt_caching", "supports_assistant_prefill", "supports_system_messages", "supports_web_search", "supports_computer_use",
	}
)

// names lists the set's names out of all.
func (f Features) names(all []string) []string {
	var list []string
	for i, name := range all {
		if f&(1<<i) != 0 {
			list = append(list, name)
		}
	}
	return list
}

// String writes the set as the row form has it: "tools,vision".
func (f Features) String() string { return strings.Join(f.names(featureNames), ",") }

// Names lists the set as CSV has it.
func (f Features) Names() []string { return f.names(featureNames) }

// Flags lists the set as the public JSON map has it: "supports_vision", ….
func (f Features) Flags() []string { return f.names(featureFlags) }

// with adds the feature of a name in all; false: there is none.
func (f *Features) with(all []string, name string) bool {
	i := slices.Index(all, name)
	if i >= 0 {
		*f |= 1 << i
	}
	return i >= 0
}

// parseFeatures reads what String wrote.
func parseFeatures(text string) (f Features, err error) {
	for name := range strings.SplitSeq(text, ",") {
		if !f.with(featureNames, name) {
			return 0, fmt.Errorf("%q is not the name of a feature", name)
		}
	}
	return f, nil
}
