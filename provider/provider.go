// Package provider knows the vendors that the gateway can send requests to: one table with a
// row for each, holding where it is, how it wants its key, which endpoints it serves and what
// is odd about it. How a vendor's bytes are read and written is a Codec, in a package of its
// own below this one. Nothing here does I/O.
package provider

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/openai"
	"github.com/conclave-llm/conclave/provider/openai/embeddings"
	"github.com/conclave-llm/conclave/resource"
)

// Auth says where a provider wants its key.
type Auth uint8

// The ways to send a key. An empty key is never sent.
const (
	Bearer            Auth = iota // Authorization: Bearer KEY
	APIKey                        // api-key: KEY
	XAPIKey                       // x-api-key: KEY
	SubscriptionKey               // api-subscription-key: KEY
	NoAuth                        // the key is not sent
	GoogKey                       // x-goog-api-key: KEY
	TokenKey                      // Authorization: Token KEY
	KeyKey                        // Authorization: Key KEY
	PlainKey                      // Authorization: KEY
	XIKey                         // xi-api-key: KEY
	AzureSubscription             // ocp-apim-subscription-key: KEY
	XKey                          // x-key: KEY
	UnderscoreKey                 // API_KEY: KEY
	SigV4                         // Amazon's signature over the request
	GoogleToken                   // a bearer token of Google's, made of a service account
	EntraToken                    // a bearer token of Microsoft's Entra, or a key where there is one
	IBMToken                      // a bearer token of IBM's cloud, for a key
	DatabricksToken               // a bearer token of a Databricks workspace, or a key
	SAPToken                      // a bearer token of SAP's cloud
	SnowflakeToken                // a bearer token of one's own making, or a key
	OracleSignature               // Oracle's signature over the request, or a key
	GigaToken                     // a bearer token of Sber's, for a key
	SigV4Events                   // Amazon's signature over the request and the events in its body
	CopilotToken                  // a bearer token of Copilot's, for a token of GitHub's
	ChatGPTToken                  // a bearer token of a sign-in to ChatGPT
	GraphToken                    // a bearer token of Microsoft's Entra for a person
	RuntimeSigV4                  // Amazon's signature for a runtime of agents, or a key, or nothing elsewhere
)

// authNames are the ways, as people read them.
var authNames = [...]string{ //nolint:gosec // of kinds, and none of them
	Bearer: "bearer", APIKey: "api-key", XAPIKey: "x-api-key", SubscriptionKey: "api-subscription-key", NoAuth: "none",
	TokenKey: "authorization_token", KeyKey: "authorization_key", PlainKey: "authorization", XIKey: "xi-api-key", XKey: "x-key", UnderscoreKey: "api_key",
	AzureSubscription: "ocp-apim-subscription-key", GoogKey: "x-goog-api-key", SigV4: "aws_sigv4", GoogleToken: "google_token", EntraToken: "entra_token",
	IBMToken: "ibm_token", DatabricksToken: "databricks_token", SAPToken: "sap_token", SnowflakeToken: "snowflake_token",
	OracleSignature: "oci_signature", GigaToken: "gigachat_token",
	SigV4Events: "aws_sigv4_events", CopilotToken: "github_copilot_token", ChatGPTToken: "chatgpt_token", GraphToken: "graph_token", RuntimeSigV4: "aws_sigv4_runtime",
}

// String names the way: "bearer".
func (a Auth) String() string {
	if int(a) < len(authNames) {
		return authNames[a]
	}
	return "unknown"
}

// InHeader says whether the key itself is sent, so that Set is all there is to do.
func (a Auth) InHeader() bool { return a < SigV4 }

// Set puts key into h.
func (a Auth) Set(h http.Header, key string) {
	if key == "" {
		return
	}
	switch a {
	case Bearer:
		h["Authorization"] = []string{"Bearer " + key}
	case APIKey:
		h["Api-Key"] = []string{key}
	case XAPIKey:
		h["X-Api-Key"] = []string{key}
	case SubscriptionKey:
		h["Api-Subscription-Key"] = []string{key}
	case GoogKey:
		h["X-Goog-Api-Key"] = []string{key}
	case TokenKey:
		h["Authorization"] = []string{"Token " + key}
	case KeyKey:
		h["Authorization"] = []string{"Key " + key}
	case PlainKey:
		h["Authorization"] = []string{key}
	case XIKey:
		h["Xi-Api-Key"] = []string{key}
	case XKey:
		h["X-Key"] = []string{key}
	case UnderscoreKey:
		h["API_KEY"] = []string{key}
	case AzureSubscription:
		h["Ocp-Apim-Subscription-Key"] = []string{key}
	}
}

// Codec is what the relay must know of a provider's dialects. It does no I/O, and its methods
// may be called concurrently.
type Codec interface {
	// Path is what follows the base URL, with a query if there is one.
	Path(p llm.Place) string
	// Read reads a whole answer from the endpoint.
	Read(e llm.Endpoint, body []byte) (llm.Report, error)
	// Meter reads one stream of the endpoint; nil: its events are OpenAI's chunks, each of which
	// Read reads, up to [DONE].
	Meter(e llm.Endpoint) llm.Meter
	// Frames splits the bytes of a stream of the endpoint, of events that are no larger than max
	// bytes; nil: they are server-sent events.
	Frames(e llm.Endpoint, src io.Reader, max int) llm.EventReader
	// Classify turns an answer with an error's status, or with an error in its body, into an
	// error. now is for dates in headers. It keeps what the client may see.
	Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error
}

// Provider is one row of the table. Rows are shared and never written to.
type Provider struct {
	Name string
	// Base is the URL before an endpoint's path, "" if every deployment must give its own.
	Base string
	// BaseOf gives the base for the options of a deployment, where it is not one template; nil: it
	// is Base.
	BaseOf func(options map[string]string) string
	// RootOf gives the address of an endpoint that is not below the base, such as one that another
	// host serves; nil: all are below it.
	RootOf func(e llm.Endpoint, base string) string
	// KeyVars and BaseVars are the environment variables that hold its key and its base URL,
	// in order of preference.
	KeyVars, BaseVars []string
	Auth              Auth
	Endpoints         []llm.Endpoint
	Codec             Codec
	// MaxTokens is the only name under which it takes the limit on output, "" if it takes both
	// max_tokens and max_completion_tokens.
	MaxTokens string
	// NoStreamOptions says that it refuses stream_options; it sends usage without being asked.
	NoStreamOptions bool
	// Seed is its name for OpenAI's "seed", "" for the same.
	Seed string
	// Refuses are parameters of its dialect, by OpenAI's names, that it refuses. What becomes of them is the model's policy.
	Refuses []string
	// PlainContent says that it takes no lists of texts as a message's content, and MaxTemperature is the highest temperature
	// that it takes, 0 for OpenAI's own.
	PlainContent   bool
	MaxTemperature float64
	// OpenAIs says that it is OpenAI, which takes messages as it says them. Others may know no role "developer", and refuse
	// members of an answer that is sent back to them.
	OpenAIs bool
	// NoNames says that it refuses the names of those who speak.
	NoNames bool
	// Header are headers, by their canonical names, that every request carries unless the client's
	// own stand in their place.
	Header map[string]string
	// NoModel says that it wants the model in the path alone, and Members are those that it wants in
	// every body.
	NoModel bool
	Members []llm.Member
	// NoStream says that it wants to know from the path alone whether the answer streams.
	NoStream bool
	// RowOf names the row that serves a model of another maker, "" for this one; nil: there are none.
	RowOf func(model string) string
	// Rows are the rows that RowOf names.
	Rows []string
	// Forward are the headers of a client, in canonical form, that it is to see where the client
	// speaks its dialect.
	Forward []string
	// Betas is the member of a body that names the features of Anthropic's under test which a client asks for; "": it has
	// none, and a header that is forwarded may name them.
	Betas string
	// MaxBatch is how many inputs one request for embeddings may have, 0 for any number; BatchOf says
	// it by the model and the options of the deployment, where that differs.
	MaxBatch int
	BatchOf  func(model string, options map[string]string) int
	// KeepsResponses says that it keeps responses that are stored, so that they can be continued by
	// their id.
	KeepsResponses bool
	// StoresAt are the endpoints, besides responses, at which it may keep what is said, for its customer to look at, unless
	// the body says "store": false.
	StoresAt []llm.Endpoint
	// Streams says that its answers are streams, also to who asked for none.
	Streams bool
	// NoEndMark says that its streams may end without a finish reason and [DONE].
	NoEndMark bool
}

// notOpenAI are parameters of others that OpenAI refuses.
var notOpenAI = []string{"top_k", "min_p", "repetition_penalty"}

// chats, text and all are the sets of endpoints that most rows have.
var (
	chats    = []llm.Endpoint{llm.Chat}
	text     = []llm.Endpoint{llm.Chat, llm.Completions}
	chatsEmb = []llm.Endpoint{llm.Chat, llm.Embeddings}
	all      = []llm.Endpoint{llm.Chat, llm.Completions, llm.Embeddings}
	openAI   = []llm.Endpoint{llm.Chat, llm.Completions, llm.Embeddings, llm.Responses}
	complete = []llm.Endpoint{llm.Completions}
)

// table has all rows, sorted by name.
var table = sorted(slices.Concat([]Provider{
	{
		Name: "openai", Base: "https://api.openai.com/v1", Endpoints: openAI, Refuses: notOpenAI, MaxBatch: embeddings.MaxInputs, KeepsResponses: true, OpenAIs: true,
		StoresAt: chats, KeyVars: []string{"OPENAI_API_KEY"}, BaseVars: []string{"OPENAI_BASE_URL", "OPENAI_API_BASE"},
	},
}, compatible, anthropicRows, azureRows, bedrockRows, sagemakerRows, geminiRows, cohereRows, ollamaRows, embeddingRows, cloudRows, textRows, signedInRows, agentRows, mediaRows, documentRows, decisionRows))

// sorted fills in what rows leave out and sorts them.
func sorted(rows []Provider) []Provider {
	for i := range rows {
		rows[i] = extended(rows[i])
		if rows[i].Codec == nil {
			rows[i].Codec = openai.Codec{}
		}
	}
	slices.SortFunc(rows, func(a, b Provider) int { return cmp.Compare(a.Name, b.Name) })
	return rows
}

// Lookup returns the row of a provider. All plugins ("plugin/NAME") have the same one, which Names leaves out.
func Lookup(name string) (*Provider, bool) {
	if strings.HasPrefix(name, resource.PluginProvider) {
		return &pluginRow, true
	}
	i, ok := slices.BinarySearchFunc(table, name, func(p Provider, name string) int { return cmp.Compare(p.Name, name) })
	if !ok {
		return nil, false
	}
	return &table[i], true
}

// For is the row that serves a model of the provider.
func (p *Provider) For(model string) *Provider {
	if p.RowOf == nil {
		return p
	}
	if row, ok := Lookup(p.RowOf(model)); ok {
		return row
	}
	return p
}

// Stores says whether it may keep what is said at an endpoint unless the body says "store": false. Responses are
// stored by default wherever they are served, as OpenAI's document has it.
func (p *Provider) Stores(at llm.Endpoint) bool {
	return at == llm.Responses || slices.Contains(p.StoresAt, at)
}

// Names lists the providers in alphabetical order.
func Names() []string {
	names := make([]string, len(table))
	for i := range table {
		names[i] = table[i].Name
	}
	return names
}

// Split takes the provider off a model's name that begins with one, such as
// "groq/llama-3.3-70b". ok is false if it begins with none.
func Split(model string) (p *Provider, rest string, ok bool) {
	name, rest, found := strings.Cut(model, "/")
	if !found {
		return nil, model, false
	}
	if p, ok = Lookup(name); !ok {
		return nil, model, false
	}
	return p, rest, true
}

// Serves says whether the provider has the endpoint.
func (p *Provider) Serves(e llm.Endpoint) bool { return slices.Contains(p.Endpoints, e) }

// URL is where a request goes. base replaces the provider's own; "" keeps it. What stands in
// braces in the provider's own base is an option of the deployment: "https://{region}.host".
func (p *Provider) URL(base string, at llm.Place) (string, error) {
	base, err := p.At(base, at)
	if err != nil {
		return "", err
	}
	at.Base = base
	return base + p.Codec.Path(at), nil
}

// At is the address that the path of an endpoint follows, without a slash at its end.
func (p *Provider) At(base string, at llm.Place) (string, error) {
	base, err := p.Root(base, at.Options)
	if err == nil && p.RootOf != nil {
		base = p.RootOf(at.Endpoint, base)
	}
	return base, err
}

// Root is the address that a request's path follows, without a slash at its end.
func (p *Provider) Root(base string, options map[string]string) (string, error) {
	if base == "" {
		base = p.Base
		if p.BaseOf != nil {
			base = p.BaseOf(options)
		}
		var err error
		if base, err = fill(base, options); err != nil {
			return "", fmt.Errorf("provider %s: %w", p.Name, err)
		}
	}
	if base == "" {
		return "", fmt.Errorf("provider %s has no address of its own: set api_base", p.Name)
	}
	return strings.TrimRight(base, "/"), nil
}

// fill puts options in the place of their names in braces. An option is part of a host's name or
// of a path, so that it may hold nothing that would lead elsewhere.
func fill(template string, options map[string]string) (string, error) {
	if !strings.Contains(template, "{") {
		return template, nil
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(template, "{")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		name, after, _ := strings.Cut(rest, "}")
		v := options[name]
		if v == "" {
			return "", fmt.Errorf("its address needs the option %q", name)
		}
		if strings.ContainsFunc(v, func(r rune) bool { return !urlSafe(r) }) {
			return "", fmt.Errorf("the option %q may hold letters, digits, dashes, dots and underscores only", name)
		}
		b.WriteString(v)
		template = after
	}
}

func urlSafe(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_'
}
