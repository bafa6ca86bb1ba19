package resource

import (
	"slices"
	"strings"
)

// maxFrameText bounds each text of a prompt template, in bytes.
const maxFrameText = 16 << 10

// promptRoles are the roles of turns that a prompt template may frame.
var promptRoles = []string{"system", "user", "assistant", "tool"}

// PromptTemplate is how a conversation becomes the one text that a model of completions was trained
// on: LiteLLM's custom prompt template, or a chat template in Jinja.
type PromptTemplate struct {
	Roles   map[string]PromptFrame `json:"roles,omitempty"`
	Initial string                 `json:"initial_prompt_value,omitempty"` // before the first turn
	Final   string                 `json:"final_prompt_value,omitempty"`   // after the last
	BOS     string                 `json:"bos_token,omitempty"`
	EOS     string                 `json:"eos_token,omitempty"`
	// Jinja is the digest of a blob that holds a chat template, instead of Roles, Initial and Final.
	Jinja string `json:"jinja,omitempty"`
}

// PromptFrame is what stands before and after a turn.
type PromptFrame struct {
	Pre  string `json:"pre_message,omitempty"`
	Post string `json:"post_message,omitempty"`
}

// validate returns an *Invalid that names the field.
func (p *PromptTemplate) validate(field string) error {
	if p == nil {
		return nil
	}
	texts := map[string]string{"initial_prompt_value": p.Initial, "final_prompt_value": p.Final, "bos_token": p.BOS, "eos_token": p.EOS}
	for _, role := range sortedKeys(p.Roles) {
		if !slices.Contains(promptRoles, role) {
			return invalidf(field+".roles", "%q is not one of %s", role, strings.Join(promptRoles, ", "))
		}
		texts["roles."+role+".pre_message"], texts["roles."+role+".post_message"] = p.Roles[role].Pre, p.Roles[role].Post
	}
	for _, name := range sortedKeys(texts) {
		if len(texts[name]) > maxFrameText {
			return invalidf(field+"."+name, "is longer than %d bytes", maxFrameText)
		}
	}
	switch {
	case p.Jinja != "" && !ValidDigest(p.Jinja):
		return invalidf(field+".jinja", "%q is not the SHA-256 digest of a blob; in a file, write blob(\"PATH\")", p.Jinja)
	case p.Jinja != "" && (len(p.Roles) > 0 || p.Initial != "" || p.Final != ""):
		return invalidf(field+".jinja", "a Jinja template has no roles, initial_prompt_value and final_prompt_value beside it")
	case p.Jinja == "" && len(p.Roles) == 0:
		return invalidf(field, "give roles or jinja")
	}
	return nil
}
