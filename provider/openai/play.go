package openai

import (
	"cmp"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// completionsExtra are members at the top that only completions have, and those of the servers
// that people run themselves.
var completionsExtra = map[string]bool{
	"best_of": true, "repetition_penalty": true, "min_tokens": true, "length_penalty": true, "typical_p": true, "ignore_eos": true,
	"skip_special_tokens": true, "stop_token_ids": true, "guided_json": true, "guided_regex": true, "guided_choice": true,
	"guided_grammar": true, "structured_outputs": true, "include_stop_str_in_output": true, "spaces_between_special_tokens": true,
	"cache_prompt": true, "grammar": true, "mirostat": true,
}

// speakers are the names of the roles in a play.
var speakers = map[chat.Role]string{
	chat.RoleSystem: "System", chat.RoleDeveloper: "System", chat.RoleUser: "User", chat.RoleAssistant: "Assistant", chat.RoleTool: "Tool",
}

// Infills marks that a request may have a suffix.
func (Completions) Infills() {}

// EncodeRequest writes a request for the completion of a text: as the model's template does, if it
// has one. Else what one user says alone is the text itself, and a conversation is a play, in which it is the assistant's turn; where the client
// names no ends, the user's next turn is one.
func (Completions) EncodeRequest(q *chat.Request, t *llm.Target) ([]byte, error) {
	prompt, played, err := promptOf(q.Messages, t)
	if err != nil {
		return nil, err
	}
	if played && len(q.Stop) == 0 {
		whole := *q
		whole.Stop = []string{"\n\n" + speakers[chat.RoleUser] + ":"}
		q = &whole
	}
	w := writer{q: q, t: t, b: append(make([]byte, 0, 512+len(prompt)), '{')}
	w.text("model", cmp.Or(t.Model, q.Model))
	w.key("prompt")
	w.b = llm.AppendString(w.b, prompt)
	if q.Suffix != "" {
		w.text("suffix", q.Suffix)
	}
	w.limit("max_tokens")
	w.sampling()
	w.integer("n", q.N)
	if q.LogProbs || q.TopLogProbs > 0 {
		w.key("logprobs")
		w.b = appendInt(w.b, "", q.TopLogProbs)
	}
	w.text("user", q.User)
	dropTalk(q, t)
	w.extra(completionsExtra)
	if q.Stream {
		w.raw("stream", []byte("true"))
		if !t.NoStreamOptions {
			w.raw("stream_options", []byte(`{"include_usage":true}`))
		}
	}
	w.b = append(w.b, '}')
	return w.b, t.Err()
}

// dropTalk names what a completion has no words for.
func dropTalk(q *chat.Request, t *llm.Target) {
	for _, v := range []struct {
		name string
		said bool
	}{
		{"tools", len(q.Tools) > 0},
		{"tool_choice", q.ToolChoice.Mode != "" && q.ToolChoice.Mode != "none"},
		{"response_format", q.Format.Type != ""},
		{"reasoning_effort", q.Reasoning.Asked() && !q.Reasoning.Off()},
		{"verbosity", q.Verbosity != ""},
		{"audio", q.Audio != nil},
		{"prediction", q.Prediction != nil},
		{"web_search_options", q.WebSearch != nil},
		{"metadata", q.Metadata != nil},
		{"service_tier", q.ServiceTier != ""},
		{"prompt_cache_key", q.CacheKey != ""},
	} {
		if v.said {
			t.Drop(v.name)
		}
	}
}

// promptOf is the text of a conversation.
func promptOf(list []chat.Message, t *llm.Target) (text string, played bool, err error) {
	if t.Prompt == nil {
		return play(list, t)
	}
	turns := make([]llm.Turn, len(list))
	for i := range list {
		said, err := lines(list[i].Parts, t)
		if err != nil {
			return "", false, err
		}
		role := list[i].Role
		if role == chat.RoleDeveloper {
			role = chat.RoleSystem
		}
		turns[i] = llm.Turn{Role: string(role), Content: said}
	}
	if text, err = t.Prompt(turns); err != nil {
		return "", false, llm.Unsayable("messages", "The model's prompt template cannot write the messages: "+err.Error()+".")
	}
	return text, false, nil
}

// play writes a conversation as a play, if it is one.
func play(list []chat.Message, t *llm.Target) (text string, played bool, err error) {
	if len(list) == 1 && list[0].Role == chat.RoleUser {
		text, err = lines(list[0].Parts, t)
		return text, false, err
	}
	var b strings.Builder
	for i := range list {
		said, err := lines(list[i].Parts, t)
		if err != nil {
			return "", false, err
		}
		b.WriteString(speakers[list[i].Role] + ": " + said + "\n\n")
	}
	if n := len(list); n > 0 && list[n-1].Role == chat.RoleAssistant {
		return strings.TrimSuffix(b.String(), "\n\n"), true, nil // which goes on
	}
	return b.String() + speakers[chat.RoleAssistant] + ":", true, nil
}

// lines are what a message says in words.
func lines(parts []chat.Part, t *llm.Target) (string, error) {
	var b strings.Builder
	for i := range parts {
		switch p := &parts[i]; p.Type {
		case chat.PartText, chat.PartRefusal:
			b.WriteString(p.Text)
		case chat.PartToolCall:
			b.WriteString(p.Name + "(" + string(orObject(p.Arguments)) + ")")
		case chat.PartToolResult:
			said, err := lines(p.Parts, t)
			if err != nil {
				return "", err
			}
			b.WriteString(said)
		case chat.PartReasoning:
			t.Drop("reasoning_content")
		case chat.PartOther:
			t.Drop("messages.content")
		default:
			text, ok := plainFile(p.Media)
			if !ok {
				return "", unsayable("images, audio or documents, but text alone")
			}
			b.WriteString(text)
		}
	}
	return b.String(), nil
}

// Script is a conversation as a text that a model goes on with, for providers of such models: what one
// user says alone is the text itself, else it is a play. stop are the ends that it then has. What such a
// text has no words for is dropped.
func Script(q *chat.Request, t *llm.Target) (text string, stop []string, err error) {
	text, played, err := play(q.Messages, t)
	if err != nil {
		return "", nil, err
	}
	dropTalk(q, t)
	if played && len(q.Stop) == 0 {
		return text, []string{"\n\n" + speakers[chat.RoleUser] + ":"}, nil
	}
	return text, q.Stop, nil
}
