// Package litellm reads LiteLLM's config.yaml, and knows what its keys are called here.
package litellm
