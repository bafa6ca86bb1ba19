package mcp

import (
	"errors"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// TestNeeded: the page that is for one person is told to whom asks, and to no log.
func TestNeeded(t *testing.T) {
	t.Parallel()
	var err error = &needed{&resource.MCPServer{Name: "tracker"}, "https://llm.example/mcp/oauth/authorize?ticket=T"}
	if strings.Contains(err.Error(), "ticket") || !strings.Contains(err.Error(), "tracker") {
		t.Errorf("a log says %q", err)
	}
	if e, ok := errors.AsType[*llm.Error](err); !ok || e.Code != CodeNeeded || !strings.Contains(e.Message, "ticket=T") {
		t.Errorf("who asks learns %v", e)
	}
}
