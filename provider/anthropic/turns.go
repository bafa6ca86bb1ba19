package anthropic

import (
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm/chat"
)

// turn is what one side says. Anthropic's conversations alternate, and begin with the user.
type turn struct {
	user  bool
	parts []chat.Part
}

// results says whether results of tools are in the turn.
func (t *turn) results() bool {
	return slices.ContainsFunc(t.parts, func(p chat.Part) bool { return p.Type == chat.PartToolResult })
}

// beginning is what the user says before a conversation that the assistant begins.
const beginning = "."

// turnsOf makes turns of messages, and gathers the instructions, wherever they stand.
func turnsOf(messages []chat.Message) (turns []turn, system []chat.Part) {
	for i := range messages {
		m := &messages[i]
		parts := sayable(m.Parts)
		if len(parts) == 0 {
			continue
		}
		if m.Role == chat.RoleSystem || m.Role == chat.RoleDeveloper {
			system = append(system, parts...)
			continue
		}
		user := m.Role != chat.RoleAssistant
		if n := len(turns); n > 0 && turns[n-1].user == user {
			turns[n-1].parts = append(turns[n-1].parts, parts...)
			continue
		}
		turns = append(turns, turn{user: user, parts: parts})
	}
	switch {
	case len(turns) == 0 && len(system) > 0: // there must be a message
		return []turn{{user: true, parts: system}}, nil
	case len(turns) > 0 && !turns[0].user:
		turns = slices.Insert(turns, 0, turn{user: true, parts: []chat.Part{{Text: beginning}}})
	}
	for i := range turns {
		turns[i].arrange()
	}
	return trimEnd(turns), system
}

// sayable copies the parts that Anthropic takes: it refuses texts that are blank, and thoughts
// that are not its own.
func sayable(parts []chat.Part) []chat.Part {
	kept := make([]chat.Part, 0, len(parts))
	for _, p := range parts {
		switch p.Type {
		case chat.PartText, chat.PartRefusal:
			if strings.TrimSpace(p.Text) == "" {
				continue
			}
		case chat.PartReasoning:
			if p.Signature == "" && p.Data == "" || !ours(p.Origin) || strings.HasPrefix(p.Signature, "google:") || strings.HasPrefix(p.Data, "gAAAA") {
				continue
			}
		case chat.PartOther:
			if p.Origin != origin {
				continue
			}
		}
		kept = append(kept, p)
	}
	return kept
}

// ours says whether thoughts with signatures from there may be Anthropic's: Bedrock hands on what
// Anthropic's models think.
func ours(from string) bool { return from == "" || from == origin || from == "converse" }

// arrange puts results before all else that the user says.
func (t *turn) arrange() {
	if !t.user || !t.results() {
		return
	}
	slices.SortStableFunc(t.parts, func(a, b chat.Part) int { return rank(a) - rank(b) })
}

func rank(p chat.Part) int {
	if p.Type == chat.PartToolResult {
		return 0
	}
	return 1
}

// trimEnd takes the white space off the end of a text with which the assistant is to go on, which
// Anthropic refuses.
func trimEnd(turns []turn) []turn {
	n := len(turns)
	if n == 0 || turns[n-1].user {
		return turns
	}
	parts := turns[n-1].parts
	if last := &parts[len(parts)-1]; last.Type == chat.PartText {
		last.Text = strings.TrimRight(last.Text, " \t\r\n")
	}
	return turns
}

// nameCalls gives every call an id that Anthropic takes, and its result the same one. A result
// without an id is the next one's that has none; one that belongs to no call of the turn before
// it, or to one that has its result, stays without a name and is said as what it holds.
func (w *writer) nameCalls() {
	number := 0
	var open []chat.Part // calls without a result, of the last turn of the assistant
	for i := range w.turns {
		t := &w.turns[i]
		if !t.user {
			open = open[:0]
		}
		for k := range t.parts {
			p := &t.parts[k]
			switch p.Type {
			case chat.PartToolCall:
				number++
				if p.ID = cleanID(p.ID); p.ID == "" {
					p.ID = "call_" + strconv.Itoa(number)
				}
				open = append(open, *p)
			case chat.PartToolResult:
				at := owner(open, p)
				p.ID = ""
				if at >= 0 {
					p.ID = open[at].ID
					open = slices.Delete(open, at, at+1)
				}
			}
		}
	}
}

// owner finds the call of a result, -1 if there is none.
func owner(open []chat.Part, result *chat.Part) int {
	id := cleanID(result.ID)
	return slices.IndexFunc(open, func(c chat.Part) bool {
		if id == "" {
			return result.Name == "" || result.Name == c.Name
		}
		return c.ID == id
	})
}

// cleanID replaces what Anthropic does not take in an id.
func cleanID(id string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' {
			return r
		}
		return '_'
	}, id)
}
