package proxy

import "github.com/conclave-llm/conclave/llm"

// embeddingsRoute serves embeddings, which generate no tokens and do not stream.
func embeddingsRoute() (*Route, error) { return openAI(llm.Embeddings, "/embeddings") }
