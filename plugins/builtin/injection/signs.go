package injection

import (
	"encoding/base64"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// sign is one thing that attempts have in common.
type sign struct {
	category string
	weight   float64 // how sure it makes, 0 to 1
	near     []string
	re       *regexp.Regexp
	raw      bool // looks at the text as it is, not at its normal form
}

// signs are compiled once for each process. Those of the normal form are in lower case, with single
// blanks and without marks.
func signs() []sign {
	const (
		forget = `(?:ignore|disregard|forget|override|bypass|overrule|skip|drop|neglect|do not follow|don t follow|stop following)`
		prior  = `(?:previous|prior|above|earlier|preceding|foregoing|initial|original|existing|former|your|all|any|the|these|those|my|every|of|and|system)`
		orders = `(?:instructions?|prompts?|rules?|directives?|guidelines?|commands?|directions?|constraints?|restrictions?|programming|training|context|polic(?:y|ies)|safeguards?|guardrails?)`
	)
	all := []struct {
		category string
		weight   float64
		near     string // words, one of which every match holds; "": looked for everywhere
		re       string
		raw      bool
	}{
		{"instruction_override", 0.8, "ignore disregard forget override bypass overrule skip drop neglect follow", forget + `(?: ` + prior + `){1,5} ` + orders, false},
		{"instruction_override", 0.8, "ignore disregard forget override bypass overrule skip drop neglect follow", forget + ` (?:everything|anything|all|what) (?:you were|you have been|you ve been|i|that was|that were|was|were|said|written|above|before)`, false},
		{"instruction_override", 0.6, "new updated real actual true", `(?:new|updated|real|actual|true) (?:system )?(?:instructions?|prompt|task|rules?) (?:are|is|follow|below|begin)`, false},
		{"instruction_override", 0.8, "ignor", `ignor(?:iere|ieren sie|ez|e|a|ate|i)(?: \p{L}+){0,3} (?:anweisungen|instruktionen|regeln|vorgaben|instructions|consignes|regles|instrucciones|reglas|ordenes|istruzioni|regole|instrucoes|regras)`, false},
		{"instruction_override", 0.8, "vergiss oublie olvida dimentica", `vergiss(?: \p{L}+){0,3} (?:anweisungen|instruktionen|regeln|vorgaben)|oublie[zr]?(?: \p{L}+){0,3} (?:instructions|consignes|regles)|olvida(?: \p{L}+){0,3} (?:instrucciones|reglas)|dimentica(?: \p{L}+){0,3} (?:istruzioni|regole)`, false},
		{"instruction_override", 0.8, "忽略 无视 無視 忘 игнорируй", `(?:忽略|无视|無視|忘记)(?:\p{Han}|\s){0,8}(?:指令|指示|规则|提示)|(?:以前|これま[でて]|上記)の(?:指示|命令|ルール)を(?:無視|忘れ)|игнориру[йи](?: \p{L}+){0,3} (?:инструкции|правила|указания)`, false},
		{"role_change", 0.5, "act you behave respond pretend roleplay", `(?:you are|you re|act|behave|respond|pretend|roleplay)(?: now| as| like| to be| that you are)+ (?:a |an |my )?(?:\p{L}+ ){0,4}(?:unrestricted|unfiltered|uncensored|jailbroken|evil|amoral|without (?:any )?(?:restrictions?|filters?|rules?|limits?|ethics))`, false},
		{"role_change", 0.7, "anything mode confidant", `\b(?:do anything now|developer mode (?:enabled|on|output)|jailbreak(?:ed)? mode|dan mode|stan mode|god mode enabled|opposite mode|evil confidant)\b`, false},
		{"role_change", 0.5, "from now on", `from now on (?:you|your) (?:are|will|must|shall|have|responses?|answers?)`, false},
		{"role_change", 0.5, "without longer free bound", `(?:without|no longer (?:have|bound by|restricted by)|free (?:of|from)|not bound by) (?:any |all |your )?(?:moral|ethical|safety|content|openai|anthropic|usual|typical)? ?(?:restrictions?|filters?|guidelines?|polic(?:y|ies)|limitations?|constraints?)`, false},
		{"prompt_leak", 0.7, "prompt instructions message", `(?:reveal|show|print|repeat|output|display|tell me|give me|write out|dump|expose|leak|recite|what (?:is|are|was|were))(?: \p{L}+){0,4} (?:system prompt|initial prompt|hidden prompt|original prompt|system message|initial instructions|hidden instructions|secret instructions|system instructions|pre ?prompt)`, false},
		{"prompt_leak", 0.7, "repeat print output copy return", `(?:repeat|print|output|copy|return) (?:everything|all|the (?:text|words|content|lines?))(?: \p{L}+){0,3} (?:above|before this|starting with you are)`, false},
		{"forged_turn", 0.7, "", `<\|(?:im_start|im_end|system|user|assistant|endoftext|start_header_id|end_header_id|eot_id|begin_of_text)\|>|\[/?INST\]|<<SYS>>|<start_of_turn>|<\|(?:start|channel|message|return)\|>`, true},
		{"forged_turn", 0.4, "", `(?im)^\s*(?:#{1,4}\s*|\*\*|\[|<)?(?:system|developer|assistant)(?: (?:message|prompt|note|override))?(?:\]|>|\*\*)?\s*:\s*\S`, true},
		{"forged_turn", 0.6, "", `(?i)(?:begin|end|start) (?:of )?(?:new )?(?:system|admin(?:istrator)?|developer) (?:prompt|message|instructions?|override)`, true},
		{"exfiltration", 0.6, "![", `(?i)!\[[^\]]{0,200}\]\(\s*https?://[^)\s]{1,300}[?&/][^)\s]{0,100}(?:\{|\$|%7b|<|data=|q=|prompt=|secret=|token=|c=)`, true},
		{"exfiltration", 0.6, "conversation history prompt credential password keys secret environment", `(?:send|post|upload|forward|e?mail|transmit|exfiltrate)(?: \p{L}+){0,5} (?:conversation|chat history|system prompt|credentials|passwords?|api keys?|secrets|environment variables)(?: \p{L}+){0,3} (?:to|at|via)`, false},
		{"hidden_order", 0.5, "do not don t never", `(?:do not|don t|never) (?:tell|mention|inform|reveal|say|show)(?: \p{L}+){0,4} (?:user|human|anyone|this (?:instruction|message|note))`, false},
	}
	out := make([]sign, len(all))
	for i, s := range all {
		out[i] = sign{s.category, s.weight, strings.Fields(s.near), regexp.MustCompile(s.re), s.raw}
	}
	return out
}

// Where an expression is tried, in bytes around one of its words.
const window = 400

// in says whether the text has the sign. Its expression is only tried near its words: texts are long,
// and attempts are rare.
func (s *sign) in(text string) bool {
	if len(s.near) == 0 || len(text) <= 2*window {
		return s.re.MatchString(text)
	}
	for _, word := range s.near {
		for from := 0; ; {
			at := strings.Index(text[from:], word)
			if at < 0 {
				break
			}
			at += from
			end := min(len(text), at+window)
			if s.re.MatchString(text[max(0, at-window):end]) {
				return true
			}
			from = max(at+1, end-window/2)
		}
	}
	return false
}

// leastHidden is how many characters that nobody sees make a sign. A few stand in honest texts, such
// as emoji that are joined.
const leastHidden = 8

// normal is the text in lower case, with letters that only look like Latin ones replaced and everything
// between words a single blank. hidden says that it has characters that people do not see.
func normal(text string) (plain string, hidden bool) {
	var b strings.Builder
	b.Grow(len(text))
	unseen, blank := 0, true
	for _, r := range text {
		switch {
		case r >= 0xE0000 && r <= 0xE007F: // tags: letters that are not shown
			unseen += leastHidden
			if r > 0xE0020 && r < 0xE007F {
				b.WriteRune(unicode.ToLower(r - 0xE0000))
				blank = false
			}
			continue
		case r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069, r == 0x200B, r == 0x2060, r == 0xFEFF, r == 0x00AD:
			unseen++
			continue
		case r == 0x200C, r == 0x200D, unicode.Is(unicode.Mn, r):
			continue
		}
		if r = latin(r); unicode.IsLetter(r) || unicode.IsDigit(r) {
			b.WriteRune(unicode.ToLower(r))
			blank = false
		} else if !blank {
			b.WriteByte(' ')
			blank = true
		}
	}
	return unmixed(b.String()), unseen >= leastHidden
}

// unmixed spells words whose letters are partly Latin and partly Cyrillic, which no language does, with
// Latin ones.
func unmixed(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return unicode.Is(unicode.Cyrillic, r) }) {
		return text
	}
	words := strings.Split(text, " ")
	for i, w := range words {
		if strings.ContainsFunc(w, func(r rune) bool { return r < utf8.RuneSelf }) {
			words[i] = strings.Map(func(r rune) rune { return likeness(r, cyrillic, cyrillicLike) }, w)
		}
	}
	return strings.Join(words, " ")
}

// latin is the letter for which a reader takes r: of full width, of mathematics, accented, or of an alphabet
// that shares shapes with ours. Words in other alphabets are spelled wrongly by it, all in the same way.
func latin(r rune) rune {
	switch {
	case r < utf8.RuneSelf:
		return r
	case r >= 0xFF01 && r <= 0xFF5E:
		return r - 0xFF01 + '!'
	case r >= 0x1D400 && r <= 0x1D6A3:
		n := (r - 0x1D400) % 52
		if n < 26 {
			return 'a' + n
		}
		return 'a' + n - 26
	}
	return likeness(r, accented, plainly)
}

// likeness is the letter that stands in like where r stands in letters, or r.
func likeness(r rune, letters, like string) rune {
	if i := strings.IndexRune(letters, r); i >= 0 {
		return rune(like[utf8.RuneCountInString(letters[:i])])
	}
	return r
}

// Letters and, place by place, those that they are taken for.
const (
	cyrillic     = "аеорсухіјѕԁһнкмтвг"
	cyrillicLike = "aeopcyxijsdhhkmtbr"

	accented = "àáâãäåāăąçćčďèéêëēėęěìíîïīįñńňòóôõöøōùúûüūůýÿžźżšśÀÁÂÃÄÅÇÈÉÊËÌÍÎÏÑÒÓÔÕÖÙÚÛÜÝαεικνορτυχ"
	plainly  = "aaaaaaaaacccdeeeeeeeeiiiiiinnnooooooouuuuuuyyzzzssaaaaaaceeeeiiiinooooouuuuyaeiknoptux"
)

// Bounds of what is decoded of a text.
const (
	leastEncoded = 24
	mostEncoded  = 16
)

// base64Text finds what may be an encoded text.
var base64Text = regexp.MustCompile(`[A-Za-z0-9+/_-]{24,}={0,2}`)

// encoded are texts that stand in the text as base64.
func encoded(text string) []string {
	var out []string
	for _, m := range base64Text.FindAllString(text, mostEncoded) {
		m = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(m, "="))
		if len(m) < leastEncoded {
			continue
		}
		raw, err := base64.RawStdEncoding.DecodeString(m[:len(m)/4*4])
		if err == nil && utf8.Valid(raw) {
			out = append(out, string(raw))
		}
	}
	return out
}
