package openai

import "github.com/conclave-llm/conclave/llm/jsonread"

// reader reads requests and answers; what they mean, its methods in the other files know.
type reader struct{ jsonread.Reader }
