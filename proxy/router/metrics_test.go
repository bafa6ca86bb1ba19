package router_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/conclave-llm/conclave/proxy/router"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	r := router.New(router.Config{Now: newClock().now, Registerer: reg})
	r.Begin("dep_1")
	f := r.Begin("dep_1")
	f.FirstToken(500 * time.Millisecond)
	f.End(router.Outcome{OK: true, Elapsed: 1500 * time.Millisecond, Tokens: 11})
	want := `
# HELP conclave_deployment_first_token_seconds Average time to the first token.
# TYPE conclave_deployment_first_token_seconds gauge
conclave_deployment_first_token_seconds{deployment="dep_1"} 0.5
# HELP conclave_deployment_in_flight Requests in flight from this node.
# TYPE conclave_deployment_in_flight gauge
conclave_deployment_in_flight{deployment="dep_1"} 1
# HELP conclave_deployment_tokens_per_second Average speed of this node's answers.
# TYPE conclave_deployment_tokens_per_second gauge
conclave_deployment_tokens_per_second{deployment="dep_1"} 10
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want),
		"conclave_deployment_first_token_seconds", "conclave_deployment_in_flight", "conclave_deployment_tokens_per_second"); err != nil {
		t.Error(err)
	}
}
