package proxy

// chatRoute serves chat completions, in OpenAI's format on both sides.
func chatRoute() (*Route, error) { return inference(Chat, "/chat/completions") }
