package pricing_test

import (
	"math/big"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/resource"
)

// worth works an amount out in fractions: a sum of "count*dollars-a-million" and
// "count@dollars-a-unit", in nanodollars, rounded up once.
func worth(t *testing.T, sum string) resource.Money {
	t.Helper()
	all := new(big.Rat)
	for term := range strings.SplitSeq(sum, "+") {
		scale := big.NewRat(1, 1_000_000)
		count, price, ok := strings.Cut(strings.TrimSpace(term), "*")
		if !ok {
			count, price, ok = strings.Cut(strings.TrimSpace(term), "@")
			scale = big.NewRat(1, 1)
		}
		n, ok1 := new(big.Rat).SetString(count)
		p, ok2 := new(big.Rat).SetString(price)
		if !ok || !ok1 || !ok2 {
			t.Fatalf("%q is no term", term)
		}
		all.Add(all, n.Mul(n, p).Mul(n, scale))
	}
	all.Mul(all, big.NewRat(1_000_000_000, 1))
	q, r := new(big.Int).QuoRem(all.Num(), all.Denom(), new(big.Int))
	if r.Sign() > 0 {
		q.Add(q, big.NewInt(1))
	}
	return resource.Money(q.Int64())
}

const (
	openAI    = llm.DialectOpenAI
	images    = llm.DialectImages
	anthropic = llm.DialectAnthropic
	gemini    = llm.DialectGemini
	converse  = llm.DialectConverse
	cohere    = llm.DialectCohere
)

// published is where the shape of a usage body stands, read on 2026-11-30.
var published = map[string]string{
	"openai spec":          "https://github.com/openai/openai-openapi (2.3.0: CompletionUsage, ServiceTier, ResponseUsage, ImageGenUsage, TranscriptTextUsageTokens, -Duration)",
	"openai chat":          "https://platform.openai.com/docs/api-reference/chat/create (the example of an image)",
	"openai caching":       "https://developers.openai.com/api/docs/guides/prompt-caching",
	"openai reasoning":     "https://developers.openai.com/api/docs/guides/reasoning",
	"openai realtime":      "https://developers.openai.com/api/docs/guides/realtime-costs",
	"openai conversations": "https://developers.openai.com/api/docs/guides/realtime-conversations",
	"azure":                "https://learn.microsoft.com/azure/ai-foundry/openai/reference",
	"deepseek":             "https://api-docs.deepseek.com/guides/kv_cache",
	"mistral":              "https://docs.mistral.ai/inference/conversations/advanced/prompt-caching.md",
	"xai":                  "https://docs.x.ai/developers/advanced-api-usage/prompt-caching/usage-and-pricing",
	"groq":                 "https://console.groq.com/docs/prompt-caching",
	"groq stream":          "https://github.com/vercel/ai (packages/groq: an exchange recorded on 2024-10-17)",
	"fireworks":            "https://docs.fireworks.ai/serverless/serving-paths",
	"kimi":                 "https://github.com/caudena/beam_weaver/releases/tag/v0.1.12 (what Kimi's documents say of the last chunk)",
	"anthropic messages":   "https://platform.claude.com/docs/en/api/messages",
	"anthropic caching":    "https://platform.claude.com/docs/en/build-with-claude/prompt-caching",
	"gemini":               "https://googleapis.github.io/js-genai/release_docs/classes/types.GenerateContentResponseUsageMetadata.html",
	"gemini tier":          "https://ai.google.dev/gemini-api/docs/optimization (and a recorded answer with usageMetadata.serviceTier)",
	"gemini tools":         "https://firebase.google.com/docs/reference/swift/firebaseailogic/api/reference/Structs/GenerateContentResponse/UsageMetadata",
	"bedrock":              "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html",
	"bedrock cache":        "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CacheDetail.html",
	"cohere chat":          "https://docs.cohere.com/reference/chat",
	"cohere rerank":        "https://docs.cohere.com/v2/docs/how-does-cohere-pricing-work",
	"openrouter rerank":    "https://openrouter.ai/docs/agent-sdk/typescript/api-reference/operations/creatererankusage",
}

// bill is a usage body and what it comes to at list prices.
type bill struct {
	name    string
	from    string // of published, with a * where that prints these very numbers; else the numbers are ours
	dialect llm.Dialect
	price   string // provider/model
	body    string
	want    string      // a sum, worked out from the vendor's price page by hand
	service llm.Service // that the gateway knows by itself: nothing in the answers of a batch says so
}

// bills are usage bodies as the vendors send them.
var bills = []bill{
	{"chat, nothing special", "openai chat*", openAI, "openai/gpt-4o", `{"id":"chatcmpl-1","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1117,"completion_tokens":46,"total_tokens":1163,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default"}`, "1117*2.5 + 46*10", 0},
	{"chat, cached", "openai caching*", openAI, "openai/gpt-4o", `{"usage":{"prompt_tokens":2006,"completion_tokens":300,"total_tokens":2306,"prompt_tokens_details":{"cached_tokens":1920},"completion_tokens_details":{"reasoning_tokens":0}}}`, "86*2.5 + 1920*1.25 + 300*10", 0},
	{"chat, a fraction of a nanodollar", "openai spec", openAI, "openai/gpt-4o-mini", `{"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10,"prompt_tokens_details":{"cached_tokens":1}}}`, "6*0.15 + 1*0.075 + 3*0.6", 0},
	{"chat, predicted output", "openai spec", openAI, "openai/gpt-4o", `{"usage":{"prompt_tokens":410,"completion_tokens":512,"total_tokens":922,"completion_tokens_details":{"reasoning_tokens":0,"accepted_prediction_tokens":201,"rejected_prediction_tokens":77}}}`, "410*2.5 + 512*10", 0},
	{"chat, reasoning", "openai reasoning*", openAI, "openai/o4-mini", `{"usage":{"prompt_tokens":75,"completion_tokens":1186,"total_tokens":1261,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":1024}}}`, "75*1.1 + 1186*4.4", 0},
	{"chat, flex", "openai spec", openAI, "openai/o3", `{"usage":{"prompt_tokens":5000,"completion_tokens":2000,"total_tokens":7000,"completion_tokens_details":{"reasoning_tokens":1500}},"service_tier":"flex"}`, "5000*1 + 2000*4", 0},
	{"chat, priority", "openai spec", openAI, "openai/gpt-4.1", `{"service_tier":"priority","usage":{"prompt_tokens":30000,"completion_tokens":900,"total_tokens":30900}}`, "30000*3.5 + 900*14", 0},
	{"chat, priority with a cache that has no price for it", "openai spec", openAI, "openai/gpt-4.1", `{"service_tier":"priority","usage":{"prompt_tokens":30000,"completion_tokens":900,"total_tokens":30900,"prompt_tokens_details":{"cached_tokens":20000}}}`, "10000*3.5 + 20000*0.5 + 900*14", 0},
	{"chat, priority asked for and not given", "openai spec", openAI, "openai/gpt-4.1", `{"service_tier":"default","usage":{"prompt_tokens":30000,"completion_tokens":900,"total_tokens":30900}}`, "30000*2 + 900*8", 0},
	{"batch", "openai spec", openAI, "openai/gpt-5-mini", `{"usage":{"prompt_tokens":8191,"completion_tokens":511,"total_tokens":8702,"prompt_tokens_details":{"cached_tokens":4096}}}`, "4095*0.125 + 4096*0.0125 + 511*1", llm.ServiceBatch},
	{"batch of a model without prices for batches", "mistral", openAI, "mistral/mistral-large-latest", `{"usage":{"prompt_tokens":1001,"completion_tokens":333,"total_tokens":1334}}`, "1001*0.25 + 333*0.75", llm.ServiceBatch},
	{"at the threshold of 272,000", "openai spec", openAI, "openai/gpt-5.4", `{"usage":{"prompt_tokens":272000,"completion_tokens":1000,"total_tokens":273000,"prompt_tokens_details":{"cached_tokens":100000}}}`, "172000*2.5 + 100000*0.25 + 1000*15", 0},
	{"above the threshold of 272,000", "openai spec", openAI, "openai/gpt-5.4", `{"usage":{"prompt_tokens":272001,"completion_tokens":1000,"total_tokens":273001,"prompt_tokens_details":{"cached_tokens":100000},"completion_tokens_details":{"reasoning_tokens":640}}}`, "172001*5 + 100000*0.5 + 1000*22.5", 0},
	{"a batch above the threshold pays half", "openai spec", openAI, "openai/gpt-5.4", `{"usage":{"prompt_tokens":300000,"completion_tokens":1000,"total_tokens":301000}}`, "300000*2.5 + 1000*11.25", llm.ServiceBatch},
	{"priority above the threshold pays the long price", "openai spec", openAI, "openai/gpt-5.4", `{"service_tier":"priority","usage":{"prompt_tokens":300000,"completion_tokens":1000,"total_tokens":301000}}`, "300000*5 + 1000*22.5", 0},
	{"responses", "openai spec", openAI, "openai/gpt-5.4-pro", `{"object":"response","usage":{"input_tokens":328,"input_tokens_details":{"cached_tokens":0},"output_tokens":5321,"output_tokens_details":{"reasoning_tokens":5120},"total_tokens":5649}}`, "328*30 + 5321*180", 0},
	{"responses, cached", "openai spec", openAI, "openai/o3-deep-research", `{"usage":{"input_tokens":60506,"input_tokens_details":{"cached_tokens":49152},"output_tokens":22883,"output_tokens_details":{"reasoning_tokens":20416},"total_tokens":83389}}`, "11354*10 + 49152*2.5 + 22883*40", 0},
	{"responses, reasoning", "openai reasoning*", openAI, "openai/o4-mini", `{"usage":{"input_tokens":75,"input_tokens_details":{"cached_tokens":0},"output_tokens":1186,"output_tokens_details":{"reasoning_tokens":1024},"total_tokens":1261}}`, "75*1.1 + 1186*4.4", 0},
	{"audio in and out", "openai spec", openAI, "openai/gpt-audio", `{"usage":{"prompt_tokens":236,"completion_tokens":298,"total_tokens":534,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":181,"text_tokens":55,"image_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":241,"text_tokens":57}}}`, "55*2.5 + 181*32 + 57*10 + 241*64", 0},
	{"realtime, cached text and audio", "openai realtime", openAI, "openai/gpt-realtime", `{"usage":{"total_tokens":1253,"input_tokens":1132,"output_tokens":121,"input_token_details":{"text_tokens":119,"audio_tokens":1013,"image_tokens":0,"cached_tokens":1024,"cached_tokens_details":{"text_tokens":64,"audio_tokens":960,"image_tokens":0}},"output_token_details":{"text_tokens":30,"audio_tokens":91}}}`, "55*4 + 53*32 + 1024*0.4 + 30*16 + 91*64", 0},
	{"realtime, cached text beside audio", "openai realtime*", openAI, "openai/gpt-realtime", `{"type":"response.done","response":{"usage":{"total_tokens":253,"input_tokens":132,"output_tokens":121,"input_token_details":{"text_tokens":119,"audio_tokens":13,"image_tokens":0,"cached_tokens":64,"cached_tokens_details":{"text_tokens":64,"audio_tokens":0,"image_tokens":0}},"output_token_details":{"text_tokens":30,"audio_tokens":91}}}}`, "55*4 + 64*0.4 + 13*32 + 30*16 + 91*64", 0},
	{"realtime, an image", "openai realtime", openAI, "openai/gpt-realtime", `{"usage":{"total_tokens":700,"input_tokens":600,"output_tokens":100,"input_token_details":{"text_tokens":100,"audio_tokens":0,"image_tokens":500,"cached_tokens":0},"output_token_details":{"text_tokens":100,"audio_tokens":0}}}`, "100*4 + 500*5 + 100*16", 0},
	{"realtime, a function is called", "openai conversations*", openAI, "openai/gpt-realtime", `{"usage":{"total_tokens":541,"input_tokens":521,"output_tokens":20,"input_token_details":{"text_tokens":292,"audio_tokens":229,"cached_tokens":0,"cached_tokens_details":{"text_tokens":0,"audio_tokens":0}},"output_token_details":{"text_tokens":20,"audio_tokens":0}}}`, "292*4 + 229*32 + 20*16", 0},
	{"images, tokens", "openai spec", images, "openai/gpt-image-1", `{"created":1,"data":[{"b64_json":"AA=="}],"usage":{"total_tokens":4505,"input_tokens":345,"output_tokens":4160,"input_tokens_details":{"text_tokens":22,"image_tokens":323}}}`, "22*5 + 323*10 + 4160*40", 0},
	{"images, text beside them", "openai spec", images, "openai/gpt-image-1.5", `{"usage":{"total_tokens":1500,"input_tokens":100,"output_tokens":1400,"input_tokens_details":{"text_tokens":100,"image_tokens":0},"output_tokens_details":{"image_tokens":1056,"text_tokens":344}}}`, "100*5 + 1056*32 + 344*10", 0},
	{"transcription by tokens", "openai spec", openAI, "openai/gpt-4o-transcribe", `{"text":"Hello","usage":{"type":"tokens","total_tokens":127,"input_tokens":14,"input_token_details":{"text_tokens":0,"audio_tokens":14},"output_tokens":113}}`, "14*2.5 + 113*10", 0},
	{"transcription by seconds", "openai spec", openAI, "openai/whisper-1", `{"text":"Hello","usage":{"type":"duration","seconds":37}}`, "37@0.0001", 0},
	{"transcription by parts of a second", "openai spec", openAI, "openai/whisper-1", `{"usage":{"type":"duration","seconds":12.345}}`, "12.345@0.0001", 0},
	{"embeddings", "openai spec", openAI, "openai/text-embedding-3-small", `{"object":"list","data":[],"usage":{"prompt_tokens":8,"total_tokens":8}}`, "8*0.02", 0},
	{"a usage chunk of a stream", "openai spec", openAI, "openai/gpt-4o-mini", `{"object":"chat.completion.chunk","choices":[],"service_tier":"default","usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":0}}}`, "19*0.15 + 10*0.6", 0},
	{"azure", "azure", openAI, "azure/gpt-4o", `{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop","content_filter_results":{}}],"usage":{"completion_tokens":77,"prompt_tokens":1900,"total_tokens":1977,"prompt_tokens_details":{"audio_tokens":0,"cached_tokens":1792}}}`, "108*2.5 + 1792*1.25 + 77*10", 0},
	{"deepseek, hits and misses", "deepseek", openAI, "deepseek/deepseek-chat", `{"usage":{"prompt_tokens":4800,"completion_tokens":250,"total_tokens":5050,"prompt_tokens_details":{"cached_tokens":4736},"prompt_cache_hit_tokens":4736,"prompt_cache_miss_tokens":64}}`, "64*0.28 + 4736*0.028 + 250*0.42", 0},
	{"deepseek, reasoning", "deepseek", openAI, "deepseek/deepseek-reasoner", `{"usage":{"prompt_tokens":120,"completion_tokens":900,"total_tokens":1020,"completion_tokens_details":{"reasoning_tokens":700},"prompt_cache_hit_tokens":0,"prompt_cache_miss_tokens":120}}`, "120*0.28 + 900*0.42", 0},
	{"xai leaves the reasoning out of the completion", "xai", openAI, "xai/grok-4.20", `{"usage":{"prompt_tokens":100,"completion_tokens":20,"total_tokens":420,"completion_tokens_details":{"reasoning_tokens":300}}}`, "100*1.25 + 320*2.5", 0},
	{"xai means 200,000 too", "xai", openAI, "xai/grok-4.20", `{"usage":{"prompt_tokens":200000,"completion_tokens":20,"total_tokens":200020,"prompt_tokens_details":{"text_tokens":200000,"audio_tokens":0,"image_tokens":0,"cached_tokens":150000}}}`, "50000*2.5 + 150000*0.4 + 20*5", 0},
	{"xai below 200,000", "xai", openAI, "xai/grok-4.20", `{"usage":{"prompt_tokens":199999,"completion_tokens":20,"total_tokens":200019}}`, "199999*1.25 + 20*2.5", 0},
	{"xai, a cache", "xai*", openAI, "xai/grok-4.20", `{"usage":{"prompt_tokens":125,"completion_tokens":48,"total_tokens":173,"prompt_tokens_details":{"text_tokens":125,"audio_tokens":0,"image_tokens":0,"cached_tokens":98},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}`, "27*1.25 + 98*0.2 + 48*2.5", 0},
	{"groq, in x_groq", "groq", openAI, "groq/openai/gpt-oss-120b", `{"choices":[],"x_groq":{"id":"r","usage":{"queue_time":0.01,"prompt_tokens":2000,"completion_tokens":500,"total_tokens":2500,"prompt_tokens_details":{"cached_tokens":1536}}}}`, "464*0.15 + 1536*0.075 + 500*0.6", 0},
	{"groq, the end of a stream", "groq stream*", openAI, "groq/openai/gpt-oss-120b", `{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"tool_calls"}],"x_groq":{"id":"req","usage":{"queue_time":0.061348671,"prompt_tokens":18,"prompt_time":0.000211569,"completion_tokens":439,"completion_time":0.798181818,"total_tokens":457,"total_time":0.798393387}}}`, "18*0.15 + 439*0.6", 0},
	{"fireworks, priority", "fireworks", openAI, "fireworks_ai/accounts/fireworks/models/kimi-k2p6", `{"service_tier":"priority","usage":{"prompt_tokens":1000,"completion_tokens":100,"total_tokens":1100}}`, "1000*1.5 + 100*6", 0},
	{"moonshot, in the choice", "kimi", openAI, "fireworks_ai/accounts/fireworks/models/kimi-k2p5", `{"choices":[{"index":0,"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":1000,"completion_tokens":100,"total_tokens":1100,"cached_tokens":512}}]}`, "488*0.6 + 512*0.1 + 100*3", 0},

	{"messages", "anthropic messages*", anthropic, "anthropic/claude-sonnet-4-5", `{"type":"message","content":[],"usage":{"input_tokens":2095,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"output_tokens":503,"service_tier":"standard"}}`, "2095*3 + 503*15", 0},
	{"messages, a cache of five minutes is written", "anthropic caching*", anthropic, "anthropic/claude-sonnet-4-5", `{"usage":{"input_tokens":21,"cache_creation_input_tokens":188086,"cache_read_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":188086,"ephemeral_1h_input_tokens":0},"output_tokens":393}}`, "21*3 + 188086*3.75 + 393*15", 0},
	{"messages, a cache is read", "anthropic caching*", anthropic, "anthropic/claude-sonnet-4-5", `{"usage":{"input_tokens":21,"cache_creation_input_tokens":0,"cache_read_input_tokens":188086,"output_tokens":393}}`, "21*3 + 188086*0.3 + 393*15", 0},
	{"messages, both lifetimes", "anthropic caching*", anthropic, "anthropic/claude-haiku-4-5", `{"usage":{"input_tokens":2048,"cache_read_input_tokens":1800,"cache_creation_input_tokens":248,"output_tokens":503,"cache_creation":{"ephemeral_5m_input_tokens":148,"ephemeral_1h_input_tokens":100}}}`, "2048*1 + 1800*0.1 + 148*1.25 + 100*2 + 503*5", 0},
	{"messages, batch", "anthropic messages", anthropic, "anthropic/claude-opus-4-6", `{"usage":{"input_tokens":11001,"cache_read_input_tokens":3001,"output_tokens":77,"service_tier":"batch"}}`, "11001*2.5 + 3001*0.25 + 77*12.5", 0},
	{"messages, batch writes a cache", "anthropic messages", anthropic, "anthropic/claude-opus-4-6", `{"usage":{"input_tokens":1,"cache_creation_input_tokens":4001,"cache_creation":{"ephemeral_1h_input_tokens":4001},"output_tokens":1,"service_tier":"batch"}}`, "1*2.5 + 4001*5 + 1*12.5", 0},
	{"messages, the start of a stream", "anthropic messages", anthropic, "anthropic/claude-sonnet-5", `{"type":"message_start","message":{"id":"msg","usage":{"input_tokens":25,"cache_read_input_tokens":12000,"output_tokens":1}}}`, "25*2 + 12000*0.2 + 1*10", 0},
	{"messages on vertex, at 200,000", "anthropic messages", anthropic, "vertex_ai/claude-sonnet-4-5", `{"usage":{"input_tokens":50000,"cache_read_input_tokens":150000,"output_tokens":1000}}`, "50000*3 + 150000*0.3 + 1000*15", 0},
	{"messages on vertex, the cache takes it above 200,000", "anthropic messages", anthropic, "vertex_ai/claude-sonnet-4-5", `{"usage":{"input_tokens":50000,"cache_read_input_tokens":150000,"cache_creation_input_tokens":1,"output_tokens":1000}}`, "50000*6 + 150000*0.6 + 1*7.5 + 1000*22.5", 0},
	{"messages on vertex, batch above 200,000", "anthropic messages", anthropic, "vertex_ai/claude-sonnet-4-5", `{"usage":{"input_tokens":200001,"output_tokens":1001,"service_tier":"batch"}}`, "200001*3 + 1001*11.25", 0},

	{"gemini", "gemini", gemini, "gemini/gemini-2.5-pro", `{"candidates":[],"usageMetadata":{"promptTokenCount":1234,"candidatesTokenCount":567,"totalTokenCount":1801,"promptTokensDetails":[{"modality":"TEXT","tokenCount":1234}]},"modelVersion":"gemini-2.5-pro"}`, "1234*1.25 + 567*10", 0},
	{"gemini, thoughts beside the candidates", "gemini", gemini, "gemini/gemini-2.5-pro", `{"usageMetadata":{"promptTokenCount":1234,"candidatesTokenCount":567,"thoughtsTokenCount":891,"totalTokenCount":2692}}`, "1234*1.25 + 1458*10", 0},
	{"gemini, what its prompt and its answer leave of the total are thoughts", "gemini tier*", gemini, "gemini/gemini-2.5-pro", `{"usageMetadata":{"promptTokenCount":844,"candidatesTokenCount":46,"totalTokenCount":2040,"promptTokensDetails":[{"modality":"TEXT","tokenCount":844}],"thoughtsTokenCount":1150,"serviceTier":"standard"}}`, "844*1.25 + 1196*10", 0},
	{"gemini, cached within the prompt", "gemini", gemini, "gemini/gemini-2.5-pro", `{"usageMetadata":{"promptTokenCount":150000,"cachedContentTokenCount":149000,"candidatesTokenCount":10,"totalTokenCount":150010,"cacheTokensDetails":[{"modality":"TEXT","tokenCount":149000}]}}`, "1000*1.25 + 149000*0.125 + 10*10", 0},
	{"gemini, above 200,000", "gemini", gemini, "gemini/gemini-2.5-pro", `{"usageMetadata":{"promptTokenCount":200001,"cachedContentTokenCount":100000,"candidatesTokenCount":10,"thoughtsTokenCount":5,"totalTokenCount":200016}}`, "100001*2.5 + 100000*0.25 + 15*15", 0},
	{"gemini, audio", "gemini", gemini, "gemini/gemini-2.5-flash", `{"usageMetadata":{"promptTokenCount":1010,"candidatesTokenCount":99,"totalTokenCount":1109,"promptTokensDetails":[{"modality":"TEXT","tokenCount":10},{"modality":"AUDIO","tokenCount":1000}]}}`, "10*0.3 + 1000*1 + 99*2.5", 0},
	{"gemini, cached audio", "gemini", gemini, "gemini/gemini-2.5-flash", `{"usageMetadata":{"promptTokenCount":1010,"cachedContentTokenCount":900,"candidatesTokenCount":99,"totalTokenCount":1109,"promptTokensDetails":[{"modality":"TEXT","tokenCount":10},{"modality":"AUDIO","tokenCount":1000}],"cacheTokensDetails":[{"modality":"AUDIO","tokenCount":900}]}}`, "10*0.3 + 100*1 + 900*0.03 + 99*2.5", 0},
	{"gemini, priority raises the thoughts too", "gemini tier", gemini, "gemini/gemini-2.5-flash", `{"usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":20,"thoughtsTokenCount":80,"totalTokenCount":200,"serviceTier":"priority"}}`, "100*0.54 + 100*4.5", 0},
	{"gemini, flex", "gemini tier", gemini, "gemini/gemini-2.5-flash-lite", `{"serviceTier":"flex","usageMetadata":{"promptTokenCount":101,"candidatesTokenCount":21,"totalTokenCount":122}}`, "101*0.05 + 21*0.2", 0},
	{"gemini, tools read a page", "gemini tools", gemini, "gemini/gemini-2.5-flash", `{"usageMetadata":{"promptTokenCount":27,"toolUsePromptTokenCount":10309,"candidatesTokenCount":45,"thoughtsTokenCount":31,"totalTokenCount":10412}}`, "10336*0.3 + 76*2.5", 0},
	{"gemini makes an image", "gemini", gemini, "gemini/gemini-2.5-flash-image", `{"usageMetadata":{"promptTokenCount":270,"candidatesTokenCount":1302,"totalTokenCount":1572,"promptTokensDetails":[{"modality":"TEXT","tokenCount":12},{"modality":"IMAGE","tokenCount":258}],"candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":1290}]}}`, "270*0.3 + 12*2.5 + 1290*30", 0},
	{"gemini live", "gemini", gemini, "gemini/gemini-2.5-flash-native-audio-latest", `{"usageMetadata":{"promptTokenCount":400,"responseTokenCount":250,"totalTokenCount":650,"promptTokensDetails":[{"modality":"AUDIO","tokenCount":350},{"modality":"TEXT","tokenCount":50}],"responseTokensDetails":[{"modality":"AUDIO","tokenCount":250}]}}`, "50*0.5 + 350*3 + 250*12", 0},
	{"gemini, a blocked prompt", "gemini", gemini, "gemini/gemini-2.5-flash", `{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":8,"totalTokenCount":8}}`, "8*0.3", 0},

	{"converse", "bedrock", converse, "bedrock/amazon.nova-lite-v1:0", `{"metrics":{"latencyMs":551},"output":{},"stopReason":"end_turn","usage":{"inputTokens":21,"outputTokens":87,"totalTokens":108}}`, "21*0.06 + 87*0.24", 0},
	{"converse, a cache", "bedrock", converse, "bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0", `{"usage":{"inputTokens":12,"outputTokens":300,"cacheReadInputTokens":1500,"cacheWriteInputTokens":900,"totalTokens":2712}}`, "12*3 + 1500*0.3 + 900*3.75 + 300*15", 0},
	{"converse, a cache for an hour", "bedrock cache", converse, "bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0", `{"usage":{"inputTokens":12,"outputTokens":300,"cacheWriteInputTokens":900,"cacheDetails":[{"ttl":"1h","inputTokens":500},{"ttl":"5m","inputTokens":400}],"totalTokens":1212}}`, "12*3 + 400*3.75 + 500*6 + 300*15", 0},
	{"converse, above 200,000", "bedrock", converse, "bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0", `{"usage":{"inputTokens":200000,"outputTokens":300,"cacheReadInputTokens":1,"totalTokens":200301}}`, "200000*6 + 1*0.6 + 300*22.5", 0},
	{"converse, priority", "bedrock", converse, "bedrock/amazon.nova-pro-v1:0", `{"serviceTier":{"type":"priority"},"usage":{"inputTokens":1001,"outputTokens":99,"totalTokens":1100}}`, "1001*1.4 + 99*5.6", 0},

	{"cohere chat", "cohere chat*", cohere, "cohere/command-a-03-2025", `{"id":"x","usage":{"billed_units":{"input_tokens":5,"output_tokens":418},"tokens":{"input_tokens":71,"output_tokens":418}}}`, "5*2.5 + 418*10", 0},
	{"cohere rerank", "cohere rerank", cohere, "cohere/rerank-v3.5", `{"results":[],"meta":{"api_version":{"version":"2"},"billed_units":{"search_units":3}}}`, "3@0.002", 0},
	{"a rerank in OpenAI's shape", "openrouter rerank", openAI, "cohere/rerank-v3.5", `{"results":[],"usage":{"search_units":2}}`, "2@0.002", 0},
}

func TestBill_Vendors(t *testing.T) {
	t.Parallel()
	if len(bills) < 60 {
		t.Fatalf("got %d bodies, want 60", len(bills))
	}
	used := map[string]bool{}
	for _, tt := range bills {
		from := strings.TrimSuffix(tt.from, "*")
		used[from] = true
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if !strings.HasPrefix(published[from], "https://") {
				t.Fatalf("%q says not where the body's shape stands", tt.from)
			}
			u, ok := llm.ReadUsage(tt.dialect, []byte(tt.body))
			if !ok {
				t.Fatal("no usage")
			}
			if tt.service != 0 {
				u.Service = tt.service
			}
			if got, want := pricing.Cost(priceOf(t, tt.price), u), worth(t, tt.want); got != want {
				t.Errorf("got %s, want %s (%+v)", got, want, u)
			}
		})
	}
	for from := range published {
		if !used[from] {
			t.Errorf("no body is from %s", from)
		}
	}
}
