package proxy

// embeddingsRoute serves embeddings, which generate no tokens and do not stream.
func embeddingsRoute() (*Route, error) { return inference(Embeddings, "/embeddings") }
