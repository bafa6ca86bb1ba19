// Package chat is the conversation between a client and a model, in terms that every dialect
// can express: OpenAI's chat completions, completions and responses, Anthropic's messages,
// Google's generateContent, Bedrock's converse and the vendors' own. A request in one dialect is
// read into a Request and written in another; an answer comes back as a Response, or as Chunks.
// Where client and provider speak the same dialect none of it runs: bytes are relayed.
//
// Nothing here does I/O, and nothing is safe for concurrent use unless it says so.
package chat
