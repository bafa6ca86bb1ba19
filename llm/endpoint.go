package llm

// Endpoint is a kind of request, whatever the dialect in which it comes.
type Endpoint uint8

// The endpoints.
const (
	Chat Endpoint = iota
	Completions
	Embeddings
	numEndpoints
)

var endpointNames = [numEndpoints]string{"chat", "completions", "embeddings"}

// String names the endpoint as the ledger and the metrics do.
func (e Endpoint) String() string {
	if e < numEndpoints {
		return endpointNames[e]
	}
	return "unknown"
}

// Endpoints lists all endpoints.
func Endpoints() []Endpoint { return []Endpoint{Chat, Completions, Embeddings} }
