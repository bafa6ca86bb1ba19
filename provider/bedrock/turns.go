package bedrock

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// turn is what one side says until the other does: Converse wants them to alternate, and results
// of tools at the beginning of the turn behind the calls.
type turn struct {
	role    chat.Role
	results []chat.Part
	parts   []chat.Part
}

// arranger makes turns of messages. It copies what it changes.
type arranger struct {
	t      *llm.Target
	fam    family
	system []chat.Part
	turns  []turn
	open   []string // calls of the last turn that have no result yet
	calls  int      // that have been met, to name those without an id
}

// arrange makes turns of a conversation. All instructions stand before it.
func arrange(q *chat.Request, t *llm.Target, fam family) *arranger {
	a := &arranger{t: t, fam: fam}
	for i := range q.Messages {
		m := &q.Messages[i]
		if m.Name != "" {
			t.Drop("messages.name")
		}
		switch m.Role {
		case chat.RoleSystem, chat.RoleDeveloper:
			a.instruct(m.Parts)
		case chat.RoleAssistant:
			a.assistant(m.Parts)
		default:
			a.user(m.Parts)
		}
	}
	a.trim()
	return a
}

func blank(s string) bool { return strings.TrimSpace(s) == "" }

// instruct adds instructions, which are texts and marks.
func (a *arranger) instruct(parts []chat.Part) {
	for _, p := range parts {
		switch {
		case p.Type == chat.PartText && !blank(p.Text), p.Type == chat.PartOther && p.Origin == origin:
			a.system = append(a.system, p)
		case p.Type != chat.PartText:
			a.t.Drop("messages.content")
		}
	}
}

// add adds parts to the turn of the role.
func (a *arranger) add(role chat.Role, parts ...chat.Part) *turn {
	if n := len(a.turns); n == 0 || a.turns[n-1].role != role {
		a.turns = append(a.turns, turn{role: role})
	}
	last := &a.turns[len(a.turns)-1]
	last.parts = append(last.parts, parts...)
	return last
}

func (a *arranger) assistant(parts []chat.Part) {
	if n := len(a.turns); n > 0 && a.turns[n-1].role == chat.RoleUser {
		a.open = a.open[:0]
	}
	for _, p := range parts {
		switch p.Type {
		case chat.PartText, chat.PartRefusal:
			if !blank(p.Text) {
				p.Type = chat.PartText
				a.add(chat.RoleAssistant, p)
			}
		case chat.PartToolCall:
			a.calls++
			if p.ID = callID(p.ID); p.ID == "" {
				p.ID = "call_" + strconv.Itoa(a.calls)
			}
			a.open = append(a.open, p.ID)
			a.add(chat.RoleAssistant, p)
		case chat.PartReasoning:
			a.reasoning(p)
		case chat.PartOther:
			a.other(chat.RoleAssistant, p)
		default: // a model does not see what it drew
			a.t.Drop("messages.content")
		}
	}
}

// reasoning adds reasoning that the model can know again. The others may not see theirs.
func (a *arranger) reasoning(p chat.Part) {
	if p.Data != "" && !isBase64(p.Data) {
		p.Data = ""
	}
	if !a.fam.signs || p.Signature == "" && p.Data == "" {
		a.t.Drop("reasoning_content")
		return
	}
	a.add(chat.RoleAssistant, p)
}

// other adds a block that only Bedrock understands.
func (a *arranger) other(role chat.Role, p chat.Part) {
	if p.Origin != origin {
		a.t.Drop("messages.content")
		return
	}
	a.add(role, p)
}

func (a *arranger) user(parts []chat.Part) {
	for _, p := range parts {
		switch p.Type {
		case chat.PartToolResult:
			a.result(p)
		case chat.PartText:
			if !blank(p.Text) {
				a.add(chat.RoleUser, p)
			}
		case chat.PartOther:
			a.other(chat.RoleUser, p)
		case chat.PartToolCall, chat.PartReasoning, chat.PartRefusal:
			a.t.Drop("messages.content")
		default:
			a.add(chat.RoleUser, p)
		}
	}
}

// result adds the result of a call. One that belongs to no call is said as what it holds.
func (a *arranger) result(p chat.Part) {
	id := callID(p.ID)
	if id == "" && len(a.open) > 0 {
		id = a.open[0]
	}
	for i, open := range a.open {
		if open == id {
			a.open = append(a.open[:i], a.open[i+1:]...)
			p.ID = id
			last := a.add(chat.RoleUser)
			last.results = append(last.results, p)
			return
		}
	}
	a.user(p.Parts)
}

// trim takes the white space off the end of an answer that the model is to go on with, which
// Claude refuses.
func (a *arranger) trim() {
	n := len(a.turns)
	if n == 0 || a.turns[n-1].role != chat.RoleAssistant {
		return
	}
	parts := a.turns[n-1].parts
	if last := &parts[len(parts)-1]; last.Type == chat.PartText {
		last.Text = strings.TrimRight(last.Text, " \t\r\n")
	}
}

// callID makes an id that Bedrock takes, of at most 64 letters, digits, dashes and underscores,
// always the same one of the same.
func callID(id string) string {
	b := []byte(id)
	for i, c := range b {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			b[i] = '_'
		}
	}
	if string(b) == id && len(b) <= 64 {
		return id
	}
	sum := sha256.Sum256([]byte(id)) // two ids must not become one
	return string(b[:min(len(b), 47)]) + "_" + hex.EncodeToString(sum[:8])
}

// tools says whether the conversation holds calls, and names the tools that were called.
func (a *arranger) tools() (names []string) {
	seen := make(map[string]bool)
	for i := range a.turns {
		for j := range a.turns[i].parts {
			if p := &a.turns[i].parts[j]; p.Type == chat.PartToolCall && !seen[p.Name] {
				seen[p.Name] = true
				names = append(names, p.Name)
			}
		}
	}
	return names
}

// unreasoned says that the model called a tool in the turn that goes on, without reasoning that it
// could know again: Claude then refuses to think.
func (a *arranger) unreasoned() bool {
	for i := len(a.turns) - 1; i >= 0; i-- {
		t := &a.turns[i]
		if t.role == chat.RoleUser {
			if len(t.results) == 0 {
				return false
			}
			continue
		}
		return len(t.parts) > 0 && t.parts[0].Type != chat.PartReasoning
	}
	return false
}
