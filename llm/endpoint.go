package llm

// Endpoint is a kind of request in one dialect. Endpoints of one Family say the same in
// different words, and are translated into each other.
type Endpoint uint8

// The endpoints. Their numbers are not stored anywhere.
const (
	Chat            Endpoint = iota // OpenAI's chat completions
	Completions                     // OpenAI's older ones, of a text
	Embeddings                      // OpenAI's
	Responses                       // OpenAI's
	Messages                        // Anthropic's
	GenerateContent                 // Google's, streamed or not
	Converse                        // Bedrock's, streamed or not
	CohereChat                      // Cohere's v2
	OllamaChat                      // Ollama's own
	CountTokens                     // Anthropic's count_tokens
	numEndpoints
)

// Family is what an endpoint is for.
type Family uint8

// The families.
const (
	FamilyOther        Family = iota // relayed, never translated
	FamilyConversation               // package llm/chat
	FamilyEmbedding
)

// traits are what is known of each endpoint.
var traits = [numEndpoints]struct {
	name   string
	family Family
}{
	Chat:            {"chat", FamilyConversation},
	Completions:     {"completions", FamilyConversation},
	Embeddings:      {"embeddings", FamilyEmbedding},
	Responses:       {"responses", FamilyConversation},
	Messages:        {"messages", FamilyConversation},
	GenerateContent: {"generate_content", FamilyConversation},
	Converse:        {"converse", FamilyConversation},
	CohereChat:      {"cohere_chat", FamilyConversation},
	OllamaChat:      {"ollama_chat", FamilyConversation},
	CountTokens:     {"count_tokens", FamilyOther},
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

// Endpoints lists all endpoints.
func Endpoints() []Endpoint {
	all := make([]Endpoint, numEndpoints)
	for i := range all {
		all[i] = Endpoint(i)
	}
	return all
}
