package openai

// Chat is the dialect of chat completions, in both directions. Beside OpenAI's own words it reads
// and writes those of the vendors and gateways that follow it: reasoning_content, reasoning,
// reasoning_details, thinking_blocks with their signatures, cache_control, images in answers.
type Chat struct{}
