package llm

// Endpoint is a kind of request in one dialect. Endpoints of one Family say the same in
// different words, and are translated into each other.
type Endpoint uint8

// The endpoints. Their numbers are not stored anywhere.
const (
	Chat               Endpoint = iota // OpenAI's chat completions
	Completions                        // OpenAI's older ones, of a text
	Embeddings                         // OpenAI's
	Responses                          // OpenAI's
	Messages                           // Anthropic's
	GenerateContent                    // Google's, streamed or not
	Converse                           // Bedrock's, streamed or not
	CohereChat                         // Cohere's v2
	OllamaChat                         // Ollama's own
	CountTokens                        // Anthropic's count_tokens
	CountContent                       // Google's countTokens
	InputTokens                        // OpenAI's count for responses
	Moderations                        // OpenAI's
	Images                             // OpenAI's: images of a text
	ImageEdits                         // OpenAI's: of images and a text, in a form
	ImageVariations                    // OpenAI's: of an image, in a form
	Speech                             // OpenAI's: audio of a text
	Transcriptions                     // OpenAI's: text of audio, in a form
	Translations                       // OpenAI's: English text of audio, in a form
	Rerank                             // Cohere's, which others serve too
	PassThrough                        // any of a provider's own
	OCR                                // Mistral's: text of a document, which others serve too
	Decisions                          // OpenAI's: questions whose answers have a type and probabilities
	SystemOne                          // TypeSafe's form of them, which others serve too
	Extraction                         // what a text names, of the kinds asked for; relayed alone
	Realtime                           // OpenAI's: a session of events over a WebSocket
	EmbedContent                       // Google's, of one content
	BatchEmbedContents                 // Google's, of several
	Invoke                             // Bedrock's InvokeModel, streamed or not: a body in the words of the model's maker

	// What providers alone are asked. GeminiEmbed is batchEmbedContents, which is never relayed: each of
	// its requests names the model again.
	GeminiEmbed
	VertexEmbed // :predict
	CohereEmbed
	InvokeEmbed // Bedrock's invoke
	OllamaEmbed
	VoyageEmbed
	JinaEmbed
	MistralEmbed
	TEIEmbed // Hugging Face's server and its feature extraction
	WatsonxEmbed
	WatsonxChat
	VoyageRerank
	FireworksRerank
	TEIRerank
	WatsonxRerank
	BedrockRerank // of its agents' service
	VertexRank    // of Google's Discovery Engine
	NvidiaRank
	DeepInfraRank
	DeepgramSpeak
	DeepgramListen
	ElevenSpeech
	ElevenListen
	AssemblyListen
	AzureSpeak
	AzureListen
	PollySpeak
	SonioxListen
	TextractRead // Amazon's DetectDocumentText
	ReductoParse
	RivaSpeak // of NVIDIA's speech microservices
	GeminiSpeak
	GeminiImages
	ImagenImages
	InvokeImages
	StabilityImages
	FalImages
	BFLImages // Black Forest Labs'
	RunwayImages
	TopazImages
	TritonChat
	ReplicateChat
	NLPCloudChat
	PredibaseChat
	GigaChat
	GigaEmbed
	FIMCompletions // Mistral's: the middle of a text
	SageMakerText
	WatsonxText
	AlephAlphaChat
	AnthropicComplete
	BytezChat
	LangGraphRun
	LangflowRun
	A2AMessage
	XAIListen
	WatsonxListen
	CloudflareListen
	GeminiListen      // generateContent
	InteractionListen // Google's interactions
	GoogleListen      // its Speech-to-Text
	FireworksImages
	AzurePictures // of other makers than OpenAI, at Azure AI Foundry
	DashScopeImages
	TencentImages
	DashScopeSpeak
	MiniMaxSpeak
	OracleEmbed
	FalChat
	CohereParse
	GeminiLive // Google's Live API, over a WebSocket
	SonioxLive // what Soniox hears, over a WebSocket
	MetaListen
	MetaLive         // what Meta hears, over a WebSocket
	TranscribeListen // Amazon Transcribe's streams
	BedrockSonic     // Amazon's stream that goes both ways
	ChatGPTResponses
	PetalsGenerate
	ManusTask
	TritonEmbed // its infer, of KServe's protocol
	RunwaySpeak
	BedrockCount // its CountTokens
	M365Chat     // Microsoft 365 Copilot
	numEndpoints
)

// Family is what an endpoint is for.
type Family uint8

// The families.
const (
	FamilyOther        Family = iota // relayed, never translated
	FamilyConversation               // package llm/chat
	FamilyEmbedding                  // package llm/embed
	FamilyMedia                      // images and audio, made or read: packages llm/picture, speech, transcript
	FamilyCount                      // answers how many tokens a request has, and makes none
	FamilyRanking                    // package llm/rerank
	FamilyDocument                   // package llm/document
	FamilyDecision                   // package llm/decision
	FamilySession                    // a connection with events of both sides
)

// Vendor is whose dialect an endpoint has. Errors look alike at all endpoints of one.
type Vendor uint8

// The vendors.
const (
	VendorOpenAI Vendor = iota
	VendorAnthropic
	VendorGoogle
	VendorAmazon
	VendorCohere
	VendorOllama
	VendorOther // speaks a dialect that no client does
)

// traits are what is known of each endpoint.
var traits = [numEndpoints]struct {
	name   string
	family Family
	vendor Vendor
	most   string // the member at the top that bounds the output; "": a nested one, or none
	inPath bool   // the model, and whether the answer streams, stand in the path
}{
	Chat:            {name: "chat", family: FamilyConversation, most: "max_tokens"},
	Completions:     {name: "completions", family: FamilyConversation, most: "max_tokens"},
	Embeddings:      {name: "embeddings", family: FamilyEmbedding},
	Responses:       {name: "responses", family: FamilyConversation, most: "max_output_tokens"},
	Messages:        {name: "messages", family: FamilyConversation, vendor: VendorAnthropic, most: "max_tokens"},
	GenerateContent: {name: "generate_content", family: FamilyConversation, vendor: VendorGoogle, inPath: true},
	Converse:        {name: "converse", family: FamilyConversation, vendor: VendorAmazon, inPath: true},
	Invoke:          {name: "invoke", family: FamilyConversation, vendor: VendorAmazon, inPath: true},
	CohereChat:      {name: "cohere_chat", family: FamilyConversation, vendor: VendorCohere, most: "max_tokens"},
	OllamaChat:      {name: "ollama_chat", family: FamilyConversation, vendor: VendorOllama},
	CountTokens:     {name: "count_tokens", family: FamilyCount, vendor: VendorAnthropic},
	CountContent:    {name: "count_content", family: FamilyCount, vendor: VendorGoogle, inPath: true},
	InputTokens:     {name: "input_tokens", family: FamilyCount},
	Moderations:     {name: "moderations"},
	Images:          {name: "images", family: FamilyMedia},
	ImageEdits:      {name: "image_edits", family: FamilyMedia},
	ImageVariations: {name: "image_variations", family: FamilyMedia},
	Speech:          {name: "speech", family: FamilyMedia},
	Transcriptions:  {name: "transcriptions", family: FamilyMedia},
	Translations:    {name: "translations", family: FamilyMedia},
	Rerank:          {name: "rerank", family: FamilyRanking},
	OCR:             {name: "ocr", family: FamilyDocument},
	Decisions:       {name: "decisions", family: FamilyDecision},
	SystemOne:       {name: "system_one", family: FamilyDecision},
	Extraction:      {name: "extraction", family: FamilyDecision},
	PassThrough:     {name: "pass_through"},
	Realtime:        {name: "realtime", family: FamilySession},

	EmbedContent:       {name: "embed_content", family: FamilyEmbedding, vendor: VendorGoogle, inPath: true},
	BatchEmbedContents: {name: "batch_embed_contents", family: FamilyEmbedding, vendor: VendorGoogle, inPath: true},
	GeminiEmbed:        {name: "gemini_embed", family: FamilyEmbedding, vendor: VendorGoogle, inPath: true},
	VertexEmbed:        {name: "vertex_embed", family: FamilyEmbedding, vendor: VendorGoogle, inPath: true},
	CohereEmbed:        {name: "cohere_embed", family: FamilyEmbedding, vendor: VendorCohere},
	InvokeEmbed:        {name: "invoke_embed", family: FamilyEmbedding, vendor: VendorAmazon, inPath: true},
	OllamaEmbed:        {name: "ollama_embed", family: FamilyEmbedding, vendor: VendorOllama},
	VoyageEmbed:        {name: "voyage_embed", family: FamilyEmbedding, vendor: VendorOther},
	JinaEmbed:          {name: "jina_embed", family: FamilyEmbedding, vendor: VendorOther},
	MistralEmbed:       {name: "mistral_embed", family: FamilyEmbedding, vendor: VendorOther},
	TEIEmbed:           {name: "tei_embed", family: FamilyEmbedding, vendor: VendorOther},
	WatsonxEmbed:       {name: "watsonx_embed", family: FamilyEmbedding, vendor: VendorOther},
	WatsonxChat:        {name: "watsonx_chat", family: FamilyConversation, vendor: VendorOther},

	VoyageRerank:    {name: "voyage_rerank", family: FamilyRanking, vendor: VendorOther},
	FireworksRerank: {name: "fireworks_rerank", family: FamilyRanking, vendor: VendorOther},
	TEIRerank:       {name: "tei_rerank", family: FamilyRanking, vendor: VendorOther},
	WatsonxRerank:   {name: "watsonx_rerank", family: FamilyRanking, vendor: VendorOther},
	BedrockRerank:   {name: "bedrock_rerank", family: FamilyRanking, vendor: VendorAmazon},
	VertexRank:      {name: "vertex_rank", family: FamilyRanking, vendor: VendorGoogle},
	NvidiaRank:      {name: "nvidia_rank", family: FamilyRanking, vendor: VendorOther},
	DeepInfraRank:   {name: "deepinfra_rank", family: FamilyRanking, vendor: VendorOther},

	DeepgramSpeak:   {name: "deepgram_speak", family: FamilyMedia, vendor: VendorOther},
	DeepgramListen:  {name: "deepgram_listen", family: FamilyMedia, vendor: VendorOther},
	ElevenSpeech:    {name: "elevenlabs_speech", family: FamilyMedia, vendor: VendorOther},
	ElevenListen:    {name: "elevenlabs_listen", family: FamilyMedia, vendor: VendorOther},
	AssemblyListen:  {name: "assemblyai_listen", family: FamilyMedia, vendor: VendorOther},
	AzureSpeak:      {name: "azure_speak", family: FamilyMedia, vendor: VendorOther},
	AzureListen:     {name: "azure_listen", family: FamilyMedia, vendor: VendorOther},
	PollySpeak:      {name: "polly_speak", family: FamilyMedia, vendor: VendorAmazon},
	SonioxListen:    {name: "soniox_listen", family: FamilyMedia, vendor: VendorOther},
	RivaSpeak:       {name: "riva_speak", family: FamilyMedia, vendor: VendorOther},
	TextractRead:    {name: "textract_read", family: FamilyDocument, vendor: VendorAmazon},
	ReductoParse:    {name: "reducto_parse", family: FamilyDocument, vendor: VendorOther},
	GeminiSpeak:     {name: "gemini_speak", family: FamilyMedia, vendor: VendorGoogle, inPath: true},
	GeminiImages:    {name: "gemini_images", family: FamilyMedia, vendor: VendorGoogle, inPath: true},
	ImagenImages:    {name: "imagen_images", family: FamilyMedia, vendor: VendorGoogle, inPath: true},
	InvokeImages:    {name: "invoke_images", family: FamilyMedia, vendor: VendorAmazon, inPath: true},
	StabilityImages: {name: "stability_images", family: FamilyMedia, vendor: VendorOther},
	BFLImages:       {name: "bfl_images", family: FamilyMedia, vendor: VendorOther},
	RunwayImages:    {name: "runway_images", family: FamilyMedia, vendor: VendorOther},
	TopazImages:     {name: "topaz_images", family: FamilyMedia, vendor: VendorOther},
	FalImages:       {name: "fal_images", family: FamilyMedia, vendor: VendorOther},

	TritonChat:        {name: "triton_chat", family: FamilyConversation, vendor: VendorOther},
	ReplicateChat:     {name: "replicate_chat", family: FamilyConversation, vendor: VendorOther},
	NLPCloudChat:      {name: "nlp_cloud_chat", family: FamilyConversation, vendor: VendorOther},
	PredibaseChat:     {name: "predibase_chat", family: FamilyConversation, vendor: VendorOther},
	GigaChat:          {name: "gigachat_chat", family: FamilyConversation, vendor: VendorOther},
	FIMCompletions:    {name: "fim_completions", family: FamilyConversation, most: "max_tokens"},
	SageMakerText:     {name: "sagemaker_text", family: FamilyConversation, vendor: VendorAmazon},
	WatsonxText:       {name: "watsonx_text", family: FamilyConversation, vendor: VendorOther},
	AlephAlphaChat:    {name: "aleph_alpha_chat", family: FamilyConversation, vendor: VendorOther, most: "maximum_tokens"},
	AnthropicComplete: {name: "anthropic_complete", family: FamilyConversation, vendor: VendorAnthropic, most: "max_tokens_to_sample"},
	BytezChat:         {name: "bytez_chat", family: FamilyConversation, vendor: VendorOther},
	LangGraphRun:      {name: "langgraph_run", family: FamilyConversation, vendor: VendorOther},
	LangflowRun:       {name: "langflow_run", family: FamilyConversation, vendor: VendorOther},
	A2AMessage:        {name: "a2a_message", family: FamilyConversation, vendor: VendorOther},
	GigaEmbed:         {name: "gigachat_embed", family: FamilyEmbedding, vendor: VendorOther},

	XAIListen:         {name: "xai_listen", family: FamilyMedia, vendor: VendorOther},
	WatsonxListen:     {name: "watsonx_listen", family: FamilyMedia, vendor: VendorOther},
	CloudflareListen:  {name: "cloudflare_listen", family: FamilyMedia, vendor: VendorOther, inPath: true},
	GeminiListen:      {name: "gemini_listen", family: FamilyMedia, vendor: VendorGoogle, inPath: true},
	InteractionListen: {name: "interaction_listen", family: FamilyMedia, vendor: VendorGoogle},
	GoogleListen:      {name: "google_listen", family: FamilyMedia, vendor: VendorGoogle},
	FireworksImages:   {name: "fireworks_images", family: FamilyMedia, vendor: VendorOther, inPath: true},
	AzurePictures:     {name: "azure_pictures", family: FamilyMedia, vendor: VendorOther},
	DashScopeImages:   {name: "dashscope_images", family: FamilyMedia, vendor: VendorOther},
	TencentImages:     {name: "tencent_images", family: FamilyMedia, vendor: VendorOther},
	DashScopeSpeak:    {name: "dashscope_speak", family: FamilyMedia, vendor: VendorOther},
	MiniMaxSpeak:      {name: "minimax_speak", family: FamilyMedia, vendor: VendorOther},
	OracleEmbed:       {name: "oci_embed", family: FamilyEmbedding, vendor: VendorOther},
	FalChat:           {name: "fal_chat", family: FamilyConversation, vendor: VendorOther},
	CohereParse:       {name: "cohere_parse", family: FamilyDocument, vendor: VendorCohere},
	GeminiLive:        {name: "gemini_live", family: FamilySession, vendor: VendorGoogle, inPath: true},
	SonioxLive:        {name: "soniox_live", family: FamilySession, vendor: VendorOther},
	MetaListen:        {name: "meta_listen", family: FamilyMedia, vendor: VendorOther},
	MetaLive:          {name: "meta_live", family: FamilySession, vendor: VendorOther},
	TranscribeListen:  {name: "transcribe_listen", family: FamilyMedia, vendor: VendorAmazon},
	BedrockSonic:      {name: "bedrock_sonic", family: FamilySession, vendor: VendorAmazon, inPath: true},
	ChatGPTResponses:  {name: "chatgpt_responses", family: FamilyConversation, vendor: VendorOther},
	PetalsGenerate:    {name: "petals_generate", family: FamilyConversation, vendor: VendorOther},
	ManusTask:         {name: "manus_task", family: FamilyConversation, vendor: VendorOther},
	TritonEmbed:       {name: "triton_embed", family: FamilyEmbedding, vendor: VendorOther},
	RunwaySpeak:       {name: "runway_speak", family: FamilyMedia, vendor: VendorOther},
	M365Chat:          {name: "microsoft_365_chat", family: FamilyConversation, vendor: VendorOther},
	BedrockCount:      {name: "bedrock_count", family: FamilyCount, vendor: VendorAmazon, inPath: true},
}

// String names the endpoint as the ledger and the metrics do.
func (e Endpoint) String() string {
	if e < numEndpoints {
		return traits[e].name
	}
	return "unknown"
}

// Family is what the endpoint is for.
func (e Endpoint) Family() Family {
	if e < numEndpoints {
		return traits[e].family
	}
	return FamilyOther
}

// Vendor is whose dialect the endpoint has.
func (e Endpoint) Vendor() Vendor {
	if e < numEndpoints {
		return traits[e].vendor
	}
	return VendorOpenAI
}

// ModelInPath says whether the model stands in the path, and not in the body.
func (e Endpoint) ModelInPath() bool { return e < numEndpoints && traits[e].inPath }

// UsageChunk says whether a stream of the endpoint reports its usage only if it is asked to, in a
// chunk of its own.
func (e Endpoint) UsageChunk() bool { return e == Chat || e == Completions }

// Endpoints lists all endpoints.
func Endpoints() []Endpoint {
	all := make([]Endpoint, numEndpoints)
	for i := range all {
		all[i] = Endpoint(i)
	}
	return all
}
