package provider_test

import (
	"testing"

	"github.com/conclave-llm/conclave/provider/providertest"
	"github.com/conclave-llm/conclave/provider/providertest/vendors"
)

// TestConversations runs the suite over every dialect in which providers are asked for conversations.
func TestConversations(t *testing.T) {
	t.Parallel()
	for _, f := range vendors.Conversations() {
		t.Run(f.Provider+"/"+f.Endpoint.String(), func(t *testing.T) {
			t.Parallel()
			providertest.Conversation(t, f)
		})
	}
}
