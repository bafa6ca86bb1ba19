package anthropic

import (
	"strconv"
	"strings"
)

// model is what a model takes, as far as models of Anthropic's differ.
type model struct {
	thinks     bool // extended thinking, with a budget unless budgets is false
	budgets    bool
	adaptive   bool // the model decides how long it thinks
	xhigh      bool // the effort of that name
	samples    bool // temperature, top_p and top_k
	bothAtOnce bool // temperature and top_p in one request
	structured bool // output_config.format
}

// modelOf reads what a model takes from its name, wherever it is served: "claude-3-7-sonnet",
// "claude-opus-4-6", "us.anthropic.claude-sonnet-4-20250514-v1:0". A model of Anthropic's whose
// name has no number is taken for a new one; another vendor's for one with budgets.
func modelOf(name string) model {
	name = strings.ToLower(name)
	at := strings.Index(name, "claude")
	if at < 0 {
		return model{thinks: true, budgets: true, samples: true, bothAtOnce: true, structured: true}
	}
	v := version(name[at:])
	opus := strings.Contains(name, "opus")
	return model{
		thinks: v >= 37, budgets: v < 47, adaptive: v >= 46, xhigh: v >= 47,
		samples: v < 47, bothAtOnce: v < 41, structured: v >= 45 || v == 41 && opus,
	}
}

// version is ten times the number in a name, 999 if there is none.
func version(name string) int {
	words := strings.FieldsFunc(name, func(r rune) bool { return r == '-' || r == '.' || r == '@' || r == ':' || r == '_' || r == '/' })
	for i, w := range words {
		major, ok := small(w)
		if !ok {
			continue
		}
		if i+1 < len(words) {
			if minor, ok := small(words[i+1]); ok {
				return 10*major + min(minor, 9)
			}
		}
		return 10 * major
	}
	return 999
}

// small reads a number of at most two digits, which is no date.
func small(w string) (int, bool) {
	n, err := strconv.Atoi(w)
	return n, err == nil && len(w) <= 2
}
