// Package vendors is the table of the dialects in which providers are asked for conversations, each with a
// script of what such a vendor answers, for the tests of all that reads them. A script follows what the
// vendor publishes; where that is not known here, the doc comment of the dialect's package says so.
package vendors

import (
	"maps"
	"slices"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/bedrock"
	"github.com/conclave-llm/conclave/provider/openai"
	"github.com/conclave-llm/conclave/provider/providertest"
)

// lacks is short for what a dialect lacks, and why.
type lacks = map[providertest.Lack]string

// without is what several tables say that a dialect lacks. What comes later counts.
func without(all ...lacks) lacks {
	sum := lacks{}
	for _, l := range all {
		maps.Copy(sum, l)
	}
	return sum
}

// because gives several things that a dialect lacks one reason.
func because(why string, list ...providertest.Lack) lacks {
	sum := lacks{}
	for _, l := range list {
		sum[l] = why
	}
	return sum
}

// textOnly is what all models lack that go on with a text.
func textOnly() lacks {
	return because("it goes on with a text",
		providertest.Tools, providertest.CallIDs, providertest.Choose, providertest.Parallel, providertest.ToolErrors, providertest.ToolImages,
		providertest.Images, providertest.ImageURLs, providertest.Audio, providertest.Files,
		providertest.Reasoning, providertest.SentThoughts, providertest.Signatures, providertest.Redacted, providertest.Refusals, providertest.Thoughts,
		providertest.Schemas, providertest.Choices, providertest.Heads, providertest.Turns, providertest.Caches)
}

// whole is what vendors lack that are not asked for streams.
func whole(why string) lacks {
	return because(why, providertest.Streams, providertest.Ends, providertest.Failures)
}

// uncounted is what vendors lack that count no tokens.
func uncounted(why string) lacks { return because(why, providertest.Usages) }

var (
	stops    = []chat.Finish{chat.FinishStop}
	lengths  = []chat.Finish{chat.FinishStop, chat.FinishLength}
	filters  = []chat.Finish{chat.FinishStop, chat.FinishLength, chat.FinishTools, chat.FinishFilter}
	refusals = append(slices.Clone(filters), chat.FinishRefusal)
)

// Conversations are the dialects, one for each endpoint at which a provider is asked, and more than one
// where rows that share an endpoint wrap it in frames of their own.
func Conversations() []*providertest.Format {
	return slices.Concat(openAIs(), majors(), clouds(), texts(), agents())
}

const failure = `data: {"error":{"message":"The server had an error","type":"server_error","param":null,"code":null}}` + "\n\n"

// ofChat is what OpenAI's chat completions lack.
func ofChat() lacks {
	return lacks{
		providertest.SentThoughts: "OpenAI takes no reasoning back", providertest.ToolErrors: "a tool's message has content alone",
		providertest.ToolImages: "a tool's message has texts alone",
	}
}

// ofResponses is what OpenAI's responses lack.
func ofResponses() lacks {
	return lacks{
		providertest.Heads: "the gateway makes the ids of responses", providertest.SentThoughts: "reasoning is told by a summary, and sent by its encrypted form",
		providertest.ToolErrors: "an output of a function has no flag", providertest.Choices: "it has one output", providertest.Stops: "it has no stop sequences",
	}
}

const failedResponse = "event: error\n" + `data: {"type":"error","code":"server_error","message":"The server had an error","param":null,"sequence_number":9}` + "\n\n"

// openAIs are OpenAI's own dialects, and those that differ in a few members.
func openAIs() []*providertest.Format {
	chatIn, _ := provider.InboundOf(llm.Chat)
	return []*providertest.Format{
		{Provider: "openai", Endpoint: llm.Chat, Failure: failure, Lacks: ofChat(), Finishes: refusals},
		{
			Provider: "openai", Endpoint: llm.Completions, Failure: failure, Finishes: []chat.Finish{chat.FinishStop, chat.FinishLength, chat.FinishFilter},
			Lacks: without(textOnly(), because("it has no stop of its own", providertest.Stops)),
		},
		{Provider: "openai", Endpoint: llm.Responses, Failure: failedResponse, Lacks: ofResponses(), Finishes: refusals},
		{
			Provider: "chatgpt", Endpoint: llm.ChatGPTResponses, Script: gathered{providertest.Mirror(openai.Responses{})}, Failure: failedResponse,
			Lacks: ofResponses(), Finishes: refusals,
		},
		{
			Provider: "watsonx", Endpoint: llm.WatsonxChat, Options: map[string]string{"project_id": "p"}, Script: providertest.Mirror(chatIn), Failure: failure,
			Lacks: without(ofChat(), because("IBM's streams may end without a mark", providertest.Ends)), Finishes: refusals,
		},
		{Provider: "predibase", Model: "qwen3-8b:repo/1", Endpoint: llm.PredibaseChat, Script: providertest.Mirror(chatIn), Failure: failure, Lacks: ofChat(), Finishes: refusals},
		{
			Provider: "text-completion-codestral", Endpoint: llm.FIMCompletions, Script: providertest.Mirror(chatIn), Failure: failure, Finishes: lengths,
			Lacks: without(textOnly(), lacks{providertest.Stops: "the play adds one of its own"}),
		},
		{Provider: "sagemaker_chat", Endpoint: llm.Chat, Script: framed{providertest.Mirror(chatIn)}, Failure: string(payload(failure)), Lacks: ofChat(), Finishes: refusals},
	}
}

// majors are vendors with conversations of a form of their own, which know tools.
func majors() []*providertest.Format {
	return []*providertest.Format{
		{
			Provider: "anthropic", Endpoint: llm.Messages,
			Failure: "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n",
			Lacks: lacks{
				providertest.Refusals: "a refusal is a stop reason", providertest.Choices: "it has one answer", providertest.Audio: "it hears nothing",
			},
			Finishes: []chat.Finish{chat.FinishStop, chat.FinishLength, chat.FinishTools, chat.FinishFilter, chat.FinishPause, chat.FinishOverflow},
		},
		{
			Provider: "gemini", Endpoint: llm.GenerateContent, Failure: `data: {"error":{"code":500,"message":"The server had an error","status":"INTERNAL"}}` + "\n\n",
			Lacks: lacks{
				providertest.CacheWrites: "caches are made by requests of their own", providertest.OpenSchemas: "a Schema has no additionalProperties",
				providertest.NamedTypes: "fileData has a mimeType", providertest.SentThoughts: "a signature stands at the part that it signs",
			},
			Finishes: filters,
		},
		{
			Provider: "cohere_chat", Endpoint: llm.CohereChat, Script: cohere{},
			Failure: "event: message-end\n" + `data: {"type":"message-end","delta":{"finish_reason":"ERROR","error":"the model failed"}}` + "\n\n",
			Lacks: without(because("thinking is a text alone", providertest.Signatures, providertest.Redacted), lacks{
				providertest.Heads: "an answer does not name its model", providertest.Choices: "it has one message", providertest.Refusals: "it has one kind of text",
				providertest.Audio: "it hears nothing", providertest.Files: "documents are texts", providertest.ToolErrors: "a tool's message has no flag",
				providertest.ToolImages: "a tool's message has texts and documents", providertest.Caches: "billed_units has none", providertest.Thoughts: "billed_units has none",
			}),
		},
		{
			Provider: "ollama_chat", Endpoint: llm.OllamaChat, Script: ollama{}, Failure: `{"error":"model runner has crashed"}` + "\n",
			Lacks: without(because("thinking is a text alone", providertest.Signatures, providertest.Redacted), lacks{
				providertest.Heads: "an answer has no id", providertest.Choices: "it has one message", providertest.Refusals: "it has one kind of text",
				providertest.ImageURLs: "images are base64", providertest.Audio: "it hears nothing", providertest.Files: "it reads no files",
				providertest.ToolErrors: "a tool's message has no flag", providertest.Choose: "it has no tool_choice",
				providertest.Caches: "eval_count has none", providertest.Thoughts: "eval_count has none",
			}),
		},
		{
			Provider: "gigachat", Endpoint: llm.GigaChat, Script: gigachat{}, Failure: failure, Finishes: filters,
			Lacks: without(
				because("a call is the message's one function_call", providertest.CallIDs, providertest.Parallel),
				because("a function's message is JSON", providertest.ToolErrors, providertest.ToolImages),
				because("files are uploaded before", providertest.Images, providertest.ImageURLs, providertest.Audio, providertest.Files),
				because("it tells no thoughts", providertest.Reasoning, providertest.SentThoughts, providertest.Signatures, providertest.Redacted, providertest.Thoughts),
				lacks{
					providertest.Refusals: "it has one kind of text", providertest.Heads: "an answer has no id", providertest.Stops: "it has no stop sequences",
					providertest.Schemas: "it has no response_format", providertest.CacheWrites: "usage has precached_prompt_tokens alone",
				}),
		},
	}
}

// clouds are Amazon's.
func clouds() []*providertest.Format {
	ofConverse := lacks{
		providertest.SentThoughts: "reasoning goes back to the models that signed it alone", providertest.Heads: "an answer has no id", providertest.Choices: "it has one message",
		providertest.Refusals: "it has one kind of text", providertest.ImageURLs: "media are bytes, or in S3", providertest.Audio: "Converse hears nothing",
		providertest.Schemas: "Converse has none", providertest.Thoughts: "usage has none",
	}
	return []*providertest.Format{
		{Provider: "bedrock", Endpoint: llm.Converse, Failure: string(bedrock.AppendException(nil, "internalServerException", "The server had an error")), Lacks: ofConverse, Finishes: filters},
		{
			Provider: bedrock.RowAnthropic, Endpoint: llm.Messages, Script: providertest.Mirror(bedrock.Invoked{}),
			Failure:  string(bedrock.AppendException(nil, "modelStreamErrorException", "The model failed")),
			Lacks:    lacks{providertest.Refusals: "a refusal is a stop reason", providertest.Choices: "it has one answer", providertest.Audio: "it hears nothing"},
			Finishes: []chat.Finish{chat.FinishStop, chat.FinishLength, chat.FinishTools, chat.FinishFilter, chat.FinishPause, chat.FinishOverflow},
		},
		{
			Provider: "sagemaker", Endpoint: llm.SageMakerText, Script: tgi, Finishes: lengths,
			Failure: string(payload("data: " + `{"error":"Request failed during generation","error_type":"generation"}` + "\n\n")),
			Lacks:   textOnly(),
		},
	}
}
