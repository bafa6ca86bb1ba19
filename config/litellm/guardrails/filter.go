package guardrails

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// prebuilt are the patterns of LiteLLM's content filter that have a likeness.
var prebuilt = map[string]string{ //nolint:gosec // patterns of credentials are none
	"email": `\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,190}\.[A-Za-z]{2,24}\b`, "us_ssn": `\b\d{3}-\d{2}-\d{4}\b`, "us_ssn_no_dash": `\b\d{9}\b`,
	"us_phone": `(?:\+?1[ .-]?)?(?:\(\d{3}\)|\b\d{3})[ .-]?\d{3}[ .-]?\d{4}\b`, "visa": `\b4\d{3}(?:[ -]?\d{4}){3}\b`, "mastercard": `\b5[1-5]\d{2}(?:[ -]?\d{4}){3}\b`,
	"amex": `\b3[47]\d{2}[ -]?\d{6}[ -]?\d{5}\b`, "discover": `\b6(?:011|5\d{2})(?:[ -]?\d{4}){3}\b`, "credit_card": `\b(?:\d{4}[ -]?){3}\d{4}\b`,
	"aws_access_key": `\b(?:AKIA|ASIA)[0-9A-Z]{16}\b`, "github_token": `\bgh[pousr]_[A-Za-z0-9]{36,255}\b`, "slack_token": `\bxox[abeoprs]-[A-Za-z0-9-]{10,250}\b`,
	"ipv4": `\b(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b`, "url": `\bhttps?://[^\s<>"']{1,2000}`, "iban": `\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b`,
}

// contentFilter makes the patterns of a content filter: its expressions and its words.
func contentFilter(c map[string]any) error {
	var all []any
	for i, v := range list(c, "patterns") {
		p, err := pattern(v)
		if err != nil {
			return fmt.Errorf("patterns[%d]: %w", i, err)
		}
		all = append(all, p)
	}
	for i, v := range list(c, "blocked_words") {
		p, err := blockedWord(v)
		if err != nil {
			return fmt.Errorf("blocked_words[%d]: %w", i, err)
		}
		all = append(all, p)
	}
	tag, _ := c["keyword_redaction_tag"].(string)
	if tag != "" {
		for _, p := range all {
			if p := p.(map[string]any); p["name"] == "blocked_word" {
				p["mask"] = tag
			}
		}
	}
	for _, name := range []string{"blocked_words", "keyword_redaction_tag"} {
		delete(c, name)
	}
	for _, name := range slices.Sorted(maps.Keys(c)) {
		if name != "patterns" && name != "message" {
			return fmt.Errorf("%s: has no likeness here; patterns, blocked_words and keyword_redaction_tag have", name)
		}
	}
	if len(all) == 0 {
		return errors.New("give patterns or blocked_words")
	}
	c["patterns"] = all
	return nil
}

func list(c map[string]any, name string) []any {
	l, _ := c[name].([]any)
	return l
}

func pattern(v any) (map[string]any, error) {
	m, _ := v.(map[string]any)
	name, _ := m["name"].(string)
	re, _ := m["pattern"].(string)
	known, _ := m["pattern_name"].(string)
	if m["pattern_type"] == "prebuilt" {
		var ok bool
		if re, ok = prebuilt[known]; !ok {
			return nil, fmt.Errorf("there is no prebuilt pattern %q here; there are %s; the guardrails pii and secrets find more",
				known, strings.Join(slices.Sorted(maps.Keys(prebuilt)), ", "))
		}
		if name == "" {
			name = known
		}
	}
	if re == "" {
		return nil, errors.New("has no pattern")
	}
	if name == "" {
		name = "pattern"
	}
	return entry(name, re, m["action"])
}

func blockedWord(v any) (map[string]any, error) {
	m, _ := v.(map[string]any)
	word, _ := m["keyword"].(string)
	if strings.TrimSpace(word) == "" {
		return nil, errors.New("has no keyword")
	}
	return entry("blocked_word", "(?i)"+regexp.QuoteMeta(word), m["action"])
}

func entry(name, re string, action any) (map[string]any, error) {
	word, _ := action.(string)
	word = strings.ToLower(word)
	if word == "" {
		word = "block"
	}
	if word != "block" && word != "mask" {
		return nil, fmt.Errorf("action: %v is not one of BLOCK, MASK", action)
	}
	return map[string]any{"name": name, "regex": re, "action": word}, nil
}
