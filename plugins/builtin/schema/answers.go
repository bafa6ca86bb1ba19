package schema

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/plugins/sdk"
)

// one is the name of the answer of a dialect that has one: Anthropic's, Amazon's.
const one = "content"

// places are where the texts of answers stand, in whole answers and in the events of streams. What the first
// group finds names the answer that a text is a part of. Other texts are no answer: reasoning, arguments of
// tools, refusals.
var places = []*regexp.Regexp{
	// OpenAI's and Google's choices, whole or streamed
	regexp.MustCompile(`^((?:choices|candidates)(?:#\d+|\.\d+))\.(?:(?:message|delta)\.content(?:\.\d+\.text)?|text|content\.parts\.\d+\.text)$`),
	// the items of a response, which the last event of its stream repeats
	regexp.MustCompile(`^((?:response\.)?output(?:#\d+|\.\d+))\.content(?:#\d+|\.\d+)\.text$`),
	// the blocks of a message
	regexp.MustCompile(`^(?:(?:output\.)?message\.)?(content)(?:#\d+|\.\d+)\.text$`),
	regexp.MustCompile(`^(?:#\d+\.)?(delta|content_block)\.text$`),
	regexp.MustCompile(`^(?:#\d+\.delta\.)?(message)\.content(?:\.text)?$`),
}

// event is the path of an event of a stream that is not JSON.
const event = "event"

// answers are the texts of the check's answers, one for each of them.
func answers(c *sdk.Check) []string {
	items := itemsOf(c.Texts)
	at := map[string]int{}
	var out []string
	for i := range c.Texts {
		t := &c.Texts[i]
		name := answer(t.Path, items)
		if c.Info.Stream && t.Path == event {
			name = event
		}
		if name == "" {
			continue
		}
		n, ok := at[name]
		if !ok {
			n = len(out)
			at[name], out = n, append(out, "")
		}
		out[n] += t.Text
	}
	return out
}

// answer is the name of the answer that a path's text is a part of, "" for none.
func answer(path string, items map[string]bool) string {
	for _, re := range places {
		m := re.FindStringSubmatch(path)
		switch {
		case m == nil:
		case m[1] == "delta", m[1] == "content_block", m[1] == "message":
			return one
		default:
			if item, ok := strings.CutPrefix(m[1], "response.output."); ok && items[item] {
				return ""
			}
			return m[1]
		}
	}
	return streamed(path, items)
}

// pieces are the texts in the events of a streamed response. It says each of them several times, and each
// time it is judged: piece by piece, as a whole, as a part, and within its item.
var pieces = regexp.MustCompile(`^#(\d+)\.(delta|text|part\.text|item\.content(?:#\d+|\.\d+)\.text)$`)

// streamed is the same for the events of a streamed response. What may be a text of a message is one.
func streamed(path string, items map[string]bool) string {
	m := pieces.FindStringSubmatch(path)
	if m == nil {
		return ""
	}
	item := itemAt(m[1])
	if items[item] || items["#"+m[1]] {
		return ""
	}
	kind, _, _ := strings.Cut(m[2], ".")
	return kind + " " + item
}

// itemAt is the place of the item in the output of a response, which an event's index begins with. The index of
// a part of the item is behind it, in 16 bits, and both are counted from one.
func itemAt(index string) string {
	n, err := strconv.ParseInt(index, 10, 64)
	if err != nil || n < 1<<16 {
		return index
	}
	return strconv.FormatInt((n+1)>>16-1, 10)
}

// others are the texts that only items have which are no messages, and that only parts have which are no
// answers: summaries of reasoning, calls of tools, refusals.
var others = regexp.MustCompile(`^(?:#(\d+)\.(?:item\.)?|response\.output\.(\d+)\.)(summary\.|arguments$|input$|code$|refusal$|part\.refusal$)`)

// itemsOf are the items of a streamed response, by their places, and the parts of items, by their indexes with a
// # before them, that are no answers.
func itemsOf(texts []sdk.Text) map[string]bool {
	out := map[string]bool{}
	for i := range texts {
		m := others.FindStringSubmatch(texts[i].Path)
		switch {
		case m == nil:
		case strings.HasSuffix(m[3], "refusal"):
			out["#"+m[1]] = true
		case m[1] != "":
			out[itemAt(m[1])] = true
		default:
			out[m[2]] = true
		}
	}
	return out
}
