package consensus_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// Raft does not answer futures that are in its queue when it stops.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/conclave-llm/conclave/node/consensus.waitFuture.func1"))
}
