package proxy

// completionsRoute serves the older text completions.
func completionsRoute() (*Route, error) { return inference(Completions, "/completions") }
