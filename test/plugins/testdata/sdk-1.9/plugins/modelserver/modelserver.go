// Package modelserver holds the contract of plugins of the kind provider, which answer requests in the place of a
// provider that is asked over HTTP: what a plugin implements, its gRPC client and server, and the Gate through
// which a node asks.
//
// Requests and answers are the JSON of OpenAI's endpoints. Every adapter of package provider gives and takes the
// bytes of its vendor's dialect, all other dialects of clients are translated into OpenAI's already, and most
// servers of models speak it: their plugins hand bytes on. A structure of ours would be one more thing to learn,
// and would lose the members that it does not know.
package modelserver

import (
	"context"
	"fmt"
	"time"
)

// The endpoints that a plugin may serve, by their names on the wire.
const (
	Chat       = "chat"
	Embeddings = "embeddings"
)

// Bounds of messages, in bytes.
const (
	maxRequest = 47 << 20 // of a request's body, so that its message is below guardrail.MaxMessage
	maxPiece   = 8 << 20  // of a message of the plugin: guardrail.MaxAnswer
	pieceSize  = 1 << 20  // of the pieces into which this package's server cuts a whole answer
)

// Description is what a configured plugin says about itself.
type Description struct {
	Version   string   // of the plugin, for display
	Models    []string // that it has, by the names that deployments give; empty: it takes any
	Endpoints []string // that it serves. The SDK fills it in.
	SDKMinor  uint32   // of the contract which the plugin was built against. The SDK fills it in.
}

// Settings are what a plugin is configured with.
type Settings struct {
	Name        string // of the process, unique on the node
	Config      []byte // JSON object of texts: the options and the secrets of the deployments; may be empty
	HostVersion string
	HostMinor   uint32 // of the contract that the host speaks
}

// Request is a request of a client, as the deployment is to be asked.
type Request struct {
	ID    string // of the request, as answers and logs of the gateway have it
	Model string // the deployment's name of it, as in Body
	Body  []byte // the JSON body of a request to OpenAI's endpoint
}

// Plugin is what the author of a provider implements, beside Chatter, Embedder or both. Configure is called
// once, before anything else; it does not need a server to answer that may be up when a request comes.
type Plugin interface {
	Configure(ctx context.Context, s Settings) (Description, error)
}

// Chatter is a Plugin that answers chat completions. Chat returns the JSON body of a whole answer, with its usage
// if the plugin knows it: what is not said is estimated. It is called concurrently; ctx ends when nobody waits
// any more. Its error is an *Error, or counts as one of the status 502 whose text the client does not get.
//
// Of a Chatter that is no Streamer, the answer to a request for a stream is sent as one chunk.
type Chatter interface {
	Chat(ctx context.Context, q *Request) (body []byte, err error)
}

// Streamer is a Chatter that streams. ChatStream hands over the JSON of each chunk and returns when the answer
// is whole. send blocks while the client is slower than the plugin, does not keep the chunk, and returns an
// error when nobody waits any more. Usage stands in the last chunk, as with OpenAI's include_usage. An error that
// is returned after the first chunk ends the client's stream, too.
type Streamer interface {
	Chatter
	ChatStream(ctx context.Context, q *Request, send func(chunk []byte) error) error
}

// Embedder is a Plugin that makes embeddings. Embed is as Chat.
type Embedder interface {
	Embed(ctx context.Context, q *Request) (body []byte, err error)
}

// Error is why there is no answer, as OpenAI's errors have it. The status decides what becomes of the request, as
// with any other provider: 429 and 503 rest the deployment, for RetryAfter if it is given, and fallbacks are tried
// after most; 400 and 422 are the client's fault.
type Error struct {
	Status     int    // of HTTP, 400 to 599
	Code       string // "rate_limit_exceeded"
	Message    string // for the client: it holds no secret
	Type       string // "": the usual one of the status
	Param      string // member of the request that is wrong
	RetryAfter time.Duration
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("%d %s: %s", e.Status, e.Code, e.Message) }
