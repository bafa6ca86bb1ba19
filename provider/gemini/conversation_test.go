package gemini_test

import (
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/gemini"
	"github.com/conclave-llm/conclave/provider/providertest"
)

func TestDialect_Conversation(t *testing.T) {
	t.Parallel()
	providertest.Conversation(t, &providertest.Format{
		In: gemini.Dialect{}, Out: gemini.Dialect{}, Endpoint: llm.GenerateContent,
		Failure:  `data: {"error":{"code":500,"message":"The server had an error","status":"INTERNAL"}}` + "\n\n",
		Lacks:    []providertest.Lack{providertest.CacheWrites, providertest.OpenSchemas, providertest.NamedTypes, providertest.SentThoughts},
		Finishes: []chat.Finish{chat.FinishStop, chat.FinishLength, chat.FinishTools, chat.FinishFilter},
	})
}
