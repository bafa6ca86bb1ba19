package openai_test

import (
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/openai"
	"github.com/conclave-llm/conclave/provider/providertest"
)

const failure = `data: {"error":{"message":"The server had an error","type":"server_error","param":null,"code":null}}` + "\n\n"

func TestChat_Conversation(t *testing.T) {
	t.Parallel()
	providertest.Conversation(t, &providertest.Format{
		In: openai.Chat{}, Out: openai.Chat{}, Endpoint: llm.Chat, Failure: failure,
		Lacks:    []providertest.Lack{providertest.SentThoughts, providertest.ToolErrors, providertest.ToolImages},
		Finishes: []chat.Finish{chat.FinishStop, chat.FinishLength, chat.FinishTools, chat.FinishFilter, chat.FinishRefusal},
	})
}

func TestCompletions_Conversation(t *testing.T) {
	t.Parallel()
	providertest.Conversation(t, &providertest.Format{
		In: openai.Completions{}, Out: openai.Completions{}, Endpoint: llm.Completions, Failure: failure,
		Lacks: []providertest.Lack{
			providertest.CallIDs, providertest.SentThoughts, providertest.Reasoning, providertest.Refusals, providertest.Images, providertest.Audio, providertest.Files,
			providertest.Tools, providertest.Choose, providertest.Schemas, providertest.Stops, providertest.Turns,
		},
		Finishes: []chat.Finish{chat.FinishStop, chat.FinishLength, chat.FinishFilter},
	})
}

func TestResponses_Conversation(t *testing.T) {
	t.Parallel()
	providertest.Conversation(t, &providertest.Format{
		In: openai.Responses{}, Out: openai.Responses{}, Endpoint: llm.Responses,
		Failure: "event: error\n" + `data: {"type":"error","code":"server_error","message":"The server had an error","param":null,"sequence_number":9}` + "\n\n",
		Lacks: []providertest.Lack{
			providertest.Heads, providertest.SentThoughts, providertest.ToolErrors, providertest.Choices, providertest.Stops,
		},
		Finishes: []chat.Finish{chat.FinishStop, chat.FinishLength, chat.FinishTools, chat.FinishFilter, chat.FinishRefusal},
	})
}
