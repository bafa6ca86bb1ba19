package providertest

import (
	"fmt"
	"slices"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// An answer is one that a vendor may give.
type answer struct {
	name string
	res  *chat.Response
}

// answers is the table of answers that the dialect has words for.
func answers(f *Format) (list []answer) {
	add := func(name string, finish chat.Finish, parts []chat.Part, needs ...Lack) {
		if slices.ContainsFunc(needs, f.lacks) {
			return
		}
		list = append(list, answer{name, reply(chat.Choice{Parts: parts, Finish: finish})})
	}
	for _, fin := range f.Finishes {
		parts := []chat.Part{words("Hällo "), words("\"you\"\n")}
		switch fin {
		case chat.FinishTools:
			if f.lacks(Tools) {
				continue
			}
			parts = []chat.Part{call("c1", "look", `{"at":"home"}`)}
		case chat.FinishRefusal:
			if !f.lacks(Refusals) {
				parts = []chat.Part{{Type: chat.PartRefusal, Text: "no"}}
			}
		}
		add(fmt.Sprintf("that ends for reason %d", fin), fin, parts)
	}
	add("of a text and a call", chat.FinishTools, []chat.Part{words("one"), call("c1", "look", `{"at":"a \"b\" \\ é"}`)}, Tools)
	add("of a text and calls", chat.FinishTools, []chat.Part{words("both"), call("c1", "look", `{"at":"a \"b\" \\ é"}`), call("c2", "count", `{}`)}, Tools, Parallel)
	add("of a call without arguments", chat.FinishTools, []chat.Part{call("c2", "count", ``)}, Tools)
	add("with thoughts", chat.FinishStop, []chat.Part{{Type: chat.PartReasoning, Text: "hm", Signature: "c2lnbmVk"}, words("so")}, Reasoning)
	add("with thoughts and a call", chat.FinishTools, []chat.Part{{Type: chat.PartReasoning, Text: "hm", Signature: "c2lnbmVk"}, call("c1", "look", `{"at":"home"}`)}, Reasoning, Tools)
	add("with hidden thoughts", chat.FinishStop, []chat.Part{{Type: chat.PartReasoning, Data: "aGlkZGVu"}, words("so")}, Reasoning, Redacted)
	if !f.lacks(Choices) {
		list = append(list, answer{"of two choices", reply(
			chat.Choice{Index: 0, Parts: []chat.Part{words("a")}, Finish: chat.FinishStop},
			chat.Choice{Index: 1, Parts: []chat.Part{words("b")}, Finish: chat.FinishLength},
		)})
	}
	return list
}

// reply is an answer of the choices.
func reply(choices ...chat.Choice) *chat.Response {
	return &chat.Response{
		ID: "r1", Model: "model", Created: 1735689600, Choices: choices,
		Usage: llm.Usage{Input: 10, CacheRead: 20, CacheWrite: 5, Output: 7, Reasoning: 3, Source: llm.UsageProvider},
	}
}
