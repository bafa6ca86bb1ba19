package bedrock_test

import (
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/bedrock"
	"github.com/conclave-llm/conclave/provider/providertest"
)

func TestFormat_Conversation(t *testing.T) {
	t.Parallel()
	providertest.Conversation(t, &providertest.Format{
		In: bedrock.Format{}, Out: bedrock.Format{}, Codec: bedrock.Codec{}, Endpoint: llm.Converse,
		Failure:  string(bedrock.AppendException(nil, "internalServerException", "The server had an error")),
		Lacks:    []providertest.Lack{providertest.SentThoughts, providertest.Heads, providertest.Choices, providertest.Refusals, providertest.ImageURLs, providertest.Audio, providertest.Schemas, providertest.Thoughts},
		Finishes: []chat.Finish{chat.FinishStop, chat.FinishLength, chat.FinishTools, chat.FinishFilter},
	})
}
