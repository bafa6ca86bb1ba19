package provider

import (
	"slices"

	"github.com/conclave-llm/conclave/llm"
)

// Sets of endpoints beside conversations and embeddings.
var (
	images     = []llm.Endpoint{llm.Images, llm.ImageEdits, llm.ImageVariations}
	makeImages = []llm.Endpoint{llm.Images}
	audio      = []llm.Endpoint{llm.Speech, llm.Transcriptions, llm.Translations}
	hears      = []llm.Endpoint{llm.Transcriptions, llm.Translations}
	transcribe = []llm.Endpoint{llm.Transcriptions}
	reranks    = []llm.Endpoint{llm.Rerank}
	sessions   = []llm.Endpoint{llm.Realtime}
	decides    = []llm.Endpoint{llm.Decisions, llm.SystemOne}
	everything = slices.Concat([]llm.Endpoint{llm.Moderations, llm.Rerank, llm.InputTokens, llm.OCR, llm.Extraction}, images, audio, sessions, decides)
)

// further are the endpoints that rows serve in OpenAI's form, or rerank in Cohere's, beside those
// that the rows name. Servers of one's own have all: which model they run decides.
var further = map[string][]llm.Endpoint{
	"openai":         slices.Concat([]llm.Endpoint{llm.Moderations, llm.InputTokens, llm.Decisions}, images, audio, sessions),
	"aiohttp_openai": slices.Concat([]llm.Endpoint{llm.Moderations, llm.InputTokens}, images, audio),
	"gemini":         {llm.CountContent, llm.GeminiImages, llm.GeminiSpeak, llm.GeminiListen, llm.GeminiLive},
	"vertex_ai":      {llm.CountContent, llm.VertexRank, llm.GeminiImages, llm.GeminiSpeak, llm.GeminiListen, llm.GeminiLive},
	"vertex_ai_beta": {llm.CountContent, llm.VertexRank, llm.GeminiImages, llm.GeminiSpeak, llm.GeminiListen, llm.GeminiLive},
	"bedrock":        {llm.BedrockRerank, llm.InvokeImages, llm.BedrockSonic, llm.BedrockCount}, "bedrock_converse": {llm.BedrockRerank, llm.InvokeImages, llm.BedrockSonic, llm.BedrockCount},
	"azure":            slices.Concat([]llm.Endpoint{llm.Images, llm.ImageEdits, llm.InputTokens}, audio, sessions),
	"cohere":           {llm.Rerank, llm.CohereParse},
	"cohere_chat":      {llm.Rerank, llm.CohereParse},
	"mistral":          {llm.Moderations, llm.Transcriptions, llm.Speech, llm.OCR},
	"groq":             audio,
	"xai":              {llm.Images, llm.Realtime, llm.XAIListen},
	"together_ai":      slices.Concat(reranks, makeImages, audio),
	"fireworks_ai":     {llm.FireworksRerank, llm.FireworksImages, llm.Decisions, llm.SystemOne},
	"deepinfra":        slices.Concat(images, audio, []llm.Endpoint{llm.DeepInfraRank}),
	"nscale":           makeImages,
	"aiml":             makeImages,
	"novita":           reranks,
	"openrouter":       decides,
	"jina_ai":          reranks,
	"voyage":           {llm.VoyageRerank},
	"tei":              {llm.TEIRerank},
	"huggingface":      {llm.TEIRerank},
	"watsonx":          {llm.WatsonxRerank, llm.WatsonxListen},
	"nvidia_nim":       {llm.NvidiaRank},
	"infinity":         reranks,
	"azure_ai":         slices.Concat([]llm.Endpoint{llm.Rerank, llm.OCR, llm.Images, llm.ImageEdits}, hears),
	"cloudflare":       {llm.CloudflareListen},
	"dashscope":        {llm.DashScopeImages, llm.DashScopeSpeak},
	"qwencloud":        {llm.DashScopeImages, llm.DashScopeSpeak},
	"qwen_ai_platform": {llm.DashScopeImages, llm.DashScopeSpeak},
	"minimax":          {llm.MiniMaxSpeak},
	"tencent":          {llm.TencentImages},
	"databricks":       makeImages,
	"meta":             {llm.Images, llm.ImageEdits, llm.MetaListen, llm.MetaLive},
	"fal_ai":           {llm.FalChat},
	"oci":              {llm.OracleEmbed},
	"scaleway":         transcribe,
	"nebius":           makeImages,

	"custom_openai": everything, "openai_like": everything, "litellm_proxy": everything,
	"hosted_vllm": slices.Concat(reranks, hears, makeImages),
	"xinference":  slices.Concat(reranks, images, audio),
	"lemonade":    slices.Concat(reranks, makeImages, audio),
	"llamafile":   reranks,
}

// extended is a row with what further says of it.
func extended(p Provider) Provider {
	if more := further[p.Name]; len(more) > 0 {
		p.Endpoints = slices.Concat(p.Endpoints, more)
	}
	return p
}
